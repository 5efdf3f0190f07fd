// Bolt is the Store behind a file.

package checkpoint

import (
	"context"
	"iter"
	"time"
)

// Options are optional settings of [Open]; nil or the zero value will do.
type Options struct {
	// LockTimeout is how long Open waits for another process to let go of the
	// file. Default 1 s: enough for a predecessor that is just ending, and not
	// so long that a second start by mistake seems to hang. Negative: do not
	// wait.
	LockTimeout time.Duration
}

type Bolt struct{}

func Open(path string, opts *Options) (*Bolt, error) { panic("soon") }

func (b *Bolt) Get(ctx context.Context, key []byte) ([]byte, error) { panic("soon") }
func (b *Bolt) Scan(ctx context.Context, prefix, from []byte) iter.Seq2[KeyValue, error] {
	panic("soon")
}
func (b *Bolt) Commit(ctx context.Context, ops []Op) error { panic("soon") }
func (b *Bolt) Close() error                               { panic("soon") }
