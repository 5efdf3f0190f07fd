package imapx

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/imapx/internal/wire"
)

// Store implements [mailhaul.Writer]. Equal changes share a command, and all
// commands share a round trip. Flags that the mailbox cannot keep are left out.
func (w *Writer) Store(ctx context.Context, changes []mailhaul.FlagChange) error {
	return w.withTurn(ctx, opStore, func() error {
		if err := w.stopped(); err != nil {
			return err
		}
		return w.store(ctx, changes)
	})
}

// flagOp is one STORE: what it does, and to which messages.
type flagOp struct {
	item  string // +FLAGS.SILENT or -FLAGS.SILENT
	flags []mailhaul.Flag
	set   mailhaul.UIDSet
}

// flagOps groups changes. The order of additions and removals does not matter:
// no change names a flag twice that makes sense.
func (w *Writer) flagOps(changes []mailhaul.FlagChange) []*flagOp {
	var ops []*flagOp
	byKey := make(map[string]*flagOp)
	add := func(item string, flags []mailhaul.Flag, uid mailhaul.UID) {
		kept, _ := w.storable(flags)
		if len(kept) == 0 || uid == 0 {
			return
		}
		var key strings.Builder
		key.WriteString(item)
		for _, f := range kept {
			key.WriteByte(' ')
			key.WriteString(strings.ToLower(string(f)))
		}
		op := byKey[key.String()]
		if op == nil {
			op = &flagOp{item: item, flags: kept}
			byKey[key.String()] = op
			ops = append(ops, op)
		}
		op.set.Add(uid)
	}
	for _, ch := range changes {
		add("-FLAGS.SILENT", ch.Remove, ch.UID)
		add("+FLAGS.SILENT", ch.Add, ch.UID)
	}
	return ops
}

// StoreUnchanged implements [mailhaul.ConditionalStorer], with UNCHANGEDSINCE
// (RFC 7162 section 3.1.3). Where flags of a message are to be taken away and
// others added, the second command follows the answer to the first, and is not
// conditional any more: the first has changed the message itself.
func (w *Writer) StoreUnchanged(ctx context.Context, changes []mailhaul.FlagChange, since mailhaul.ModSeq) (modified mailhaul.UIDSet, err error) {
	if since == 0 || w.status.HighestModSeq == 0 {
		return nil, w.Store(ctx, changes)
	}
	err = w.withTurn(ctx, opStore, func() error {
		if err := w.stopped(); err != nil {
			return err
		}
		var first, second []mailhaul.FlagChange
		for _, ch := range changes {
			if len(ch.Remove) > 0 && len(ch.Add) > 0 {
				second = append(second, mailhaul.FlagChange{UID: ch.UID, Add: ch.Add})
				ch.Add = nil
			}
			first = append(first, ch)
		}
		if modified, err = w.storeOps(ctx, w.flagOps(first), since); err != nil {
			return err
		}
		second = slices.DeleteFunc(second, func(ch mailhaul.FlagChange) bool { return modified.Contains(ch.UID) })
		_, err := w.storeOps(ctx, w.flagOps(second), 0)
		return err
	})
	return modified, err
}

func (w *Writer) store(ctx context.Context, changes []mailhaul.FlagChange) error {
	_, err := w.storeOps(ctx, w.flagOps(changes), 0)
	return err
}

// storeOps gives all commands in one round trip. It returns the messages that
// were left alone because they had changed after since.
func (w *Writer) storeOps(ctx context.Context, ops []*flagOp, since mailhaul.ModSeq) (modified mailhaul.UIDSet, err error) {
	c := w.c
	type sentOp struct {
		cmd *command
		set mailhaul.UIDSet
	}
	var sent []sentOp
send:
	for _, op := range ops {
		for _, set := range wire.SplitSet(op.set, c.cfg.Limits.MaxCommand-512, c.atOnce(maxFetchSet)) {
			cmd := c.command(opStore, "UID STORE ")
			cmd.enc.Set(set).SP()
			if since > 0 {
				cmd.enc.Raw(fmt.Sprintf("(UNCHANGEDSINCE %d) ", since))
			}
			cmd.enc.Raw(op.item).SP().Flags(op.flags)
			if err = c.send(ctx, cmd); err != nil {
				break send
			}
			sent = append(sent, sentOp{cmd, set})
		}
	}
	for _, s := range sent {
		st, e := c.wait(ctx, s.cmd)
		switch {
		case e != nil:
		case st.Code == "MODIFIED" && since > 0: // with OK, and with NO where some are gone as well
			set, bad := mailhaul.ParseUIDSet(st.Arg)
			if bad != nil {
				set = s.set // nobody knows which
			}
			modified = modified.Union(set.Intersect(s.set))
		case st.Cond != wire.OK && st.Code != "EXPUNGEISSUED": // some are gone, which is no error
			e = c.refused(s.cmd.op, st)
		}
		if err == nil {
			err = e
		}
	}
	return modified, err
}
