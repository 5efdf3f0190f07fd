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
	var there, later, here mailhaul.UIDSet // later: what is not read if enough others prove it needless
	for target, rec := range unread {
		want, known := j.checks[rec.Source]
		switch {
		case !known:
			there.Add(target)
			here.Add(rec.Source)
		case want.eight:
			later.Add(target)
		default:
			there.Add(target)
		}
	}
	if j.r.eight.proved() {
		if err := j.believe(ctx, unread, later); err != nil || len(there) == 0 {
			return false, err
		}
		later = nil
	}
	for sample := range later.Chunks(provesEight) {
		there, later = there.Union(sample), later.Minus(sample)
		break
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
	if err := j.compareOctets(ctx, t, unread, there); err != nil {
		return false, err
	}
	if j.r.eight.proved() {
		return false, j.believe(ctx, unread, later)
	}
	return false, j.compareOctets(ctx, t, unread, later)
}

// compareOctets reads messages from the target, lists those that differ, and
// records that they were read.
func (j *job) compareOctets(ctx context.Context, t mailhaul.Reader, unread map[mailhaul.UID]checkpoint.Record, set mailhaul.UIDSet) error {
	return streamEach(ctx, t, set, func(uid mailhaul.UID, body io.Reader) error {
		got, err := fingerprintOf(body)
		if err != nil {
			return err
		}
		rec := unread[uid]
		rec.State = checkpoint.Mapped
		want, known := j.checks[rec.Source]
		if known && want.eight {
			j.r.eight.seen(want.of(got))
		}
		if known && !want.of(got) {
			rec.Altered = true
			j.alter(rec.Source, uid, "the target's server changed octets (NUL, a CR or LF by itself, or 8-bit characters in the header) while it stored the message")
		}
		delete(j.checks, rec.Source)
		return j.led.Put(ctx, rec)
	})
}

// believe records, of messages that were not read, that they need not be.
func (j *job) believe(ctx context.Context, unread map[mailhaul.UID]checkpoint.Record, set mailhaul.UIDSet) error {
	for uid := range set.All() {
		rec := unread[uid]
		rec.State = checkpoint.Mapped
		delete(j.checks, rec.Source)
		if err := j.led.Put(ctx, rec); err != nil {
			return err
		}
	}
	return nil
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
