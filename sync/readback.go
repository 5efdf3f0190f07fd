// Reading back what a server may have altered in silence.

package sync

import (
	"context"
	"crypto/sha256"
	"io"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
)

// readBack compares the messages that hold octets which some servers alter
// with what the target has of them, and lists those that differ. What an
// earlier run appended and did not live to read back is read on both sides.
// again asks for another pass: UIDs mean something else by now.
func (j *job) readBack(ctx context.Context) (again bool, err error) {
	unread, err := j.unread(ctx)
	if err != nil || len(unread) == 0 {
		return false, err
	}
	var there, here mailhaul.UIDSet
	for target, rec := range unread {
		there.Add(target)
		if _, known := j.checks[rec.Source]; !known {
			here.Add(rec.Source)
		}
	}
	t, err := j.r.cfg.Target.OpenReader(ctx, j.target)
	if err != nil {
		return false, err
	}
	defer t.Close()
	if t.Status().UIDValidity != j.led.State().TargetValidity {
		return true, nil
	}
	if len(here) > 0 {
		s, err := j.r.cfg.Source.OpenReader(ctx, j.source)
		if err != nil {
			return false, err
		}
		defer s.Close()
		if s.Status().UIDValidity != j.led.State().SourceValidity {
			return true, nil
		}
		if err := streamEach(ctx, s, here, func(uid mailhaul.UID, body io.Reader) (err error) {
			j.checks[uid], err = fingerprintOf(body)
			return err
		}); err != nil {
			return false, err
		}
	}
	return false, streamEach(ctx, t, there, func(uid mailhaul.UID, body io.Reader) error {
		got, err := fingerprintOf(body)
		if err != nil {
			return err
		}
		rec := unread[uid]
		rec.State = checkpoint.Mapped
		want, known := j.checks[rec.Source]
		if known && got != want {
			rec.Altered = true
			j.alter(rec.Source, uid, "the target's server changed octets (NUL, a CR or LF by itself, or 8-bit characters in the header) while it stored the message")
		}
		delete(j.checks, rec.Source)
		return j.led.Put(ctx, rec)
	})
}

// unread returns the records that are to be read back, by target UID.
func (j *job) unread(ctx context.Context) (map[mailhaul.UID]checkpoint.Record, error) {
	if j.led.State().Complete && len(j.checks) == 0 {
		return nil, nil
	}
	unread := make(map[mailhaul.UID]checkpoint.Record)
	for rec, err := range j.led.Records(ctx, 0) {
		if err != nil {
			return nil, err
		}
		_, check := j.checks[rec.Source]
		if rec.State == checkpoint.Unread || check && rec.State == checkpoint.Mapped {
			unread[rec.Target] = rec
		}
	}
	return unread, nil
}

func fingerprintOf(body io.Reader) (fingerprint, error) {
	h := sha256.New()
	n, err := io.Copy(h, body)
	f := fingerprint{size: n}
	h.Sum(f.sum[:0])
	return f, err
}
