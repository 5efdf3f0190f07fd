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
const formatVersion = 1

// formatMagic begins the format key's value. It, the version behind it and the
// checksum are the same in all versions, so that an older program can tell.
const formatMagic = "mailhaul checkpoint\n"

func formatOp() Op {
	value, _ := seal(formatKey, binary.AppendUvarint([]byte(formatMagic), formatVersion))
	return Op{formatKey, value}
}

// readFormat reports whether the Store has a format key. It returns an error
// where this package cannot read what the Store holds.
func readFormat(ctx context.Context, s Store) (known bool, err error) {
	value, err := s.Get(ctx, formatKey)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	body, _, err := unseal(formatKey, value)
	if err != nil {
		return false, damaged(s, "the format", err)
	}
	rest, ok := bytes.CutPrefix(body, []byte(formatMagic))
	in := decoder{b: rest}
	version := in.uvarint(math.MaxUint64)
	if !ok || in.err != nil || version == 0 {
		return false, fault("open "+location(s), mailhaul.Permanent, fmt.Errorf("it is %w", ErrNotCheckpoint), hintOther)
	}
	if version > formatVersion {
		return false, fault("open "+location(s), mailhaul.Permanent,
			fmt.Errorf("it was %w (format %d, this one reads up to %d)", ErrNewerFormat, version, formatVersion),
			"use that version or another -state file")
	}
	return true, nil
}
