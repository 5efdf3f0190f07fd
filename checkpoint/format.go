// The format key says which version of the format a checkpoint has.

package checkpoint

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/mailhaul/mailhaul"
)

// formatVersion is what this package writes; it reads all versions up to it.
// Version 1 does not say which messages were adopted.
const formatVersion = 2

// formatMagic begins the format key's value. It, the version behind it and the
// checksum are the same in all versions, so that an older program can tell.
const formatMagic = "mailhaul checkpoint\n"

func formatOp() Op {
	value, _ := seal(formatKey, binary.AppendUvarint([]byte(formatMagic), formatVersion))
	return Op{formatKey, value}
}

// readFormat returns the version of the Store's format, 0 where it has no format
// key. It returns an error where this package cannot read what the Store holds.
func readFormat(ctx context.Context, s Store) (version uint64, err error) {
	value, err := s.Get(ctx, formatKey)
	if errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	body, _, err := unseal(formatKey, value)
	if err != nil {
		return 0, damaged(s, "the format", err)
	}
	rest, ok := bytes.CutPrefix(body, []byte(formatMagic))
	in := decoder{b: rest}
	version = in.uvarint(math.MaxUint64)
	if !ok || in.err != nil || version == 0 {
		return 0, fault("open "+location(s), mailhaul.Permanent, fmt.Errorf("it is %w", ErrNotCheckpoint), hintOther)
	}
	if version > formatVersion {
		return 0, fault("open "+location(s), mailhaul.Permanent,
			fmt.Errorf("it was %w (format %d, this one reads up to %d)", ErrNewerFormat, version, formatVersion),
			"use that version or another -state file")
	}
	return version, nil
}
