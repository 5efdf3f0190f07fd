package imapx

import (
	"context"
	"fmt"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/imapx/internal/wire"
)

// UIDExpunge removes those messages of the set that have the flag \Deleted,
// and no others (RFC 4315 section 2.1). It returns an error that wraps
// [mailhaul.ErrUnsupported] where the server cannot do that: the EXPUNGE of
// RFC 3501 would take what others have marked.
func (w *Writer) UIDExpunge(ctx context.Context, set mailhaul.UIDSet) error {
	if len(set) == 0 {
		return nil
	}
	return w.withTurn(ctx, opExpunge, func() error {
		if !w.c.can("UIDPLUS") {
			return fmt.Errorf("expunge by UID: %w", mailhaul.ErrUnsupported)
		}
		// Courier expunges nothing that it has not shown yet.
		if err := w.c.noop(ctx); err != nil {
			return err
		}
		for _, part := range wire.SplitSet(set, w.c.cfg.Limits.MaxCommand-32, w.c.atOnce(maxFetchSet)) {
			cmd := w.c.command(opExpunge, "UID EXPUNGE ")
			cmd.enc.Set(part)
			if _, err := w.c.run(ctx, cmd); err != nil {
				return err
			}
		}
		return nil
	})
}
