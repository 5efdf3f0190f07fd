// What the disk and the database say, as sentences for an operator.

package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"syscall"

	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/mailhaul/mailhaul"
)

// pageError is what guard makes of a panic, and Check of what it finds.
type pageError struct{ cause error }

func (e *pageError) Error() string { return e.cause.Error() }
func (e *pageError) Unwrap() error { return e.cause }

// guard calls fn and returns a panic as a *pageError. bbolt panics over pages
// that make no sense, and the kernel sends a fault for those that a file which
// was cut short does not have any more.
func guard(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch r := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }:
			err = &pageError{errors.New("a part of it cannot be read")}
		default:
			err = &pageError{fmt.Errorf("%v", r)}
		}
	}()
	return fn()
}

// translate makes an Error of what went wrong with an open file. Damage and a
// failing disk are final: after them nobody knows what the file holds, so each
// later call returns the same. A full disk is not.
func (b *Bolt) translate(verb string, err error) error {
	if err == nil {
		return nil
	}
	sentence := describe(verb+" checkpoint "+b.path, err)
	var page *pageError
	if errors.As(err, &page) || errors.Is(err, syscall.EIO) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.broken == nil {
			b.broken = sentence
		}
	}
	return sentence
}

// describe puts what went wrong into words, and says what to do.
func describe(op string, err error) error {
	cause := err
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		cause = pathErr.Err // op names the file already
	}
	var page *pageError
	say := func(kind mailhaul.Kind, text, hint string) error {
		return fault(op, kind, &saying{text, cause}, hint)
	}
	switch {
	case errors.As(err, &page):
		return fault(op, mailhaul.Corrupt, fmt.Errorf("it is %w: %w", ErrDamaged, err), hintDelete)
	case errors.Is(err, bolterrors.ErrTimeout):
		return fault(op, mailhaul.Transient, fmt.Errorf("it is %w", ErrInUse), "wait for that one to end, or "+hintOther)
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrVersionMismatch), errors.Is(err, bolterrors.ErrChecksum):
		return fault(op, mailhaul.Permanent, fmt.Errorf("it is %w", ErrNotCheckpoint), hintOther)
	case isDiskFull(err):
		return say(mailhaul.Permanent, "the disk is full", "make room and run again: nothing is lost")
	case errors.Is(err, syscall.EROFS):
		return say(mailhaul.Permanent, "the file system is read-only", hintOther)
	case errors.Is(err, fs.ErrPermission):
		return say(mailhaul.Permanent, "permission denied", "make the file and its directory writable for this user, or "+hintOther)
	case errors.Is(err, fs.ErrNotExist):
		return say(mailhaul.Permanent, "its directory does not exist", "create it, or "+hintOther)
	case errors.Is(err, syscall.EIO):
		return say(mailhaul.Permanent, "the disk fails (input/output error)", "put the file on a sound disk; if it cannot be read there, "+hintDelete)
	}
	return fault(op, mailhaul.Permanent, cause, "")
}

// saying is a sentence that still unwraps to its cause.
type saying struct {
	text  string
	cause error
}

func (s *saying) Error() string { return s.text }
func (s *saying) Unwrap() error { return s.cause }
