// Errors that the package returns, and the sentences that operators read.

package checkpoint

import (
	"errors"
	"fmt"

	"github.com/mailhaul/mailhaul"
)

// These errors can be found, by errors.Is, in what [Open], [OpenLedger] and
// the methods of a Ledger return.
var (
	// ErrInUse is returned by Open when the file is open already, in another
	// process or in this one.
	ErrInUse = errors.New("in use by another process")

	// ErrNewerFormat is returned when a newer mailhaul wrote the checkpoint.
	ErrNewerFormat = errors.New("written by a newer mailhaul")

	// ErrNotCheckpoint is returned when the file is something else. It is left
	// as it is.
	ErrNotCheckpoint = errors.New("not a checkpoint of mailhaul")

	// ErrDamaged is returned when what was stored is not what is read. The
	// Kind of the error around it is Corrupt.
	ErrDamaged = errors.New("damaged")
)

const (
	hintOther  = "use another -state file"
	hintDelete = "delete the file: the next run recognises what is on the target already and goes on from there"
)

// location names the file behind a Store, where there is one.
func location(s Store) string {
	for s != nil {
		if p, ok := s.(interface{ Path() string }); ok {
			return "checkpoint " + p.Path()
		}
		u, ok := s.(interface{ Unwrap() Store })
		if !ok {
			break
		}
		s = u.Unwrap()
	}
	return "checkpoint"
}

// fault makes the Error for something that is wrong with a checkpoint as a
// whole: its scope is everything that would use it.
func fault(op string, kind mailhaul.Kind, err error, hint string) *mailhaul.Error {
	return &mailhaul.Error{Op: op, Kind: kind, Scope: mailhaul.ScopeServer, Err: err, Hint: hint}
}

// damaged makes the Error for a value that is not what was written.
func damaged(s Store, what string, err error) error {
	return fault("read "+location(s), mailhaul.Corrupt, fmt.Errorf("it is %w: %s: %w", ErrDamaged, what, err), hintDelete)
}
