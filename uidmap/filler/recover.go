package filler

import (
	"context"
	"fmt"

	"github.com/mailhaul/mailhaul"
)

// lookAt is how many bodies are read at a time.
const lookAt = 500

// Recover implements [mailhaul.Recoverer]. A message is removed if all of this
// holds: its UID is from or above, it has the flag \Deleted, its header names
// it as a filler of this mailbox, and its octets are those of that filler, to
// the last.
func (f *Imposer) Recover(ctx context.Context, m mailhaul.Mailbox, from mailhaul.UID) error {
	if m.Wire == "" {
		return nil
	}
	left, err := f.leftBehind(ctx, m, max(from, 1))
	if err != nil || len(left) == 0 {
		return err
	}
	w, err := f.OpenWriter(ctx, m)
	if err != nil {
		return err
	}
	defer w.Close()
	x, ok := mailhaul.As[mailhaul.Expunger](w)
	if !ok {
		return fmt.Errorf("remove fillers from mailbox %q: expunge by UID: %w", m.Name, mailhaul.ErrUnsupported)
	}
	if err := x.UIDExpunge(ctx, left); err != nil {
		return err
	}
	f.log.Info("fillers of an earlier run were removed", "mailbox", m.Name, "count", left.Len())
	return w.Finish(ctx)
}

// leftBehind returns the fillers in a mailbox.
func (f *Imposer) leftBehind(ctx context.Context, m mailhaul.Mailbox, from mailhaul.UID) (mailhaul.UIDSet, error) {
	r, err := f.OpenReader(ctx, m)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	st := r.Status()
	if st.Messages == 0 || st.UIDNext != 0 && st.UIDNext <= from {
		return nil, nil
	}
	ours := mark(m, st.UIDValidity)
	numbers := make(map[mailhaul.UID]mailhaul.UID) // by UID
	all := mailhaul.UIDSet{{First: from, Last: 1<<32 - 1}}
	present, err := r.UIDs(ctx)
	if err != nil {
		return nil, err
	}
	if all = all.Intersect(present); len(all) == 0 {
		return nil, nil
	}
	var deleted, candidates, left mailhaul.UIDSet
	for msg, err := range r.Messages(ctx, all, mailhaul.FieldFlags|mailhaul.FieldSize, 0) {
		if err != nil {
			return nil, err
		}
		if mailhaul.HasFlag(msg.Flags, mailhaul.FlagDeleted) && msg.Size <= 2*largest {
			deleted.Add(msg.UID)
		}
	}
	if len(deleted) == 0 {
		return nil, nil
	}
	for msg, err := range r.Messages(ctx, deleted, mailhaul.FieldHeader, 0) {
		if err != nil {
			return nil, err
		}
		if n, ok := numbered(ours, msg.Header); ok && deleted.Contains(msg.UID) {
			numbers[msg.UID] = n
			candidates.Add(msg.UID)
		}
	}
	for some := range candidates.Chunks(lookAt) {
		bodies, err := r.Fetch(ctx, some, false)
		if err != nil {
			return nil, err
		}
		for b, err := range bodies {
			if err != nil {
				return nil, err
			}
			same, err := isLetter(ours, numbers[b.UID], b.Body.Reader())
			b.Body.Release()
			if err != nil {
				return nil, err
			}
			if same && some.Contains(b.UID) {
				left.Add(b.UID)
			}
		}
	}
	return left, nil
}
