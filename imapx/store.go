package imapx

import (
	"context"
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

func (w *Writer) store(ctx context.Context, changes []mailhaul.FlagChange) error {
	c := w.c
	var cmds []*command
	var err error
send:
	for _, op := range w.flagOps(changes) {
		for _, set := range wire.SplitSet(op.set, c.cfg.Limits.MaxCommand-512, maxFetchSet) {
			cmd := c.command(opStore, "UID STORE ")
			cmd.enc.Set(set).SP().Raw(op.item).SP().Flags(op.flags)
			if err = c.send(ctx, cmd); err != nil {
				break send
			}
			cmds = append(cmds, cmd)
		}
	}
	for _, cmd := range cmds {
		_, e := c.result(ctx, cmd)
		if me, ok := e.(*mailhaul.Error); ok && me.Code == "EXPUNGEISSUED" {
			continue // some are gone, which is no error
		}
		if err == nil {
			err = e
		}
	}
	return err
}
