package imapx

import (
	"context"
	"sync"

	"github.com/mailhaul/mailhaul"
)

var _ mailhaul.Warmer = (*Client)(nil)

// Warm implements [mailhaul.Warmer]. Where a Throttle is asked, it may keep
// Warm waiting until ctx is done.
func (cl *Client) Warm(ctx context.Context, n int) {
	cl.pool.warm(ctx, n)
}

// warm opens connections besides those that are open, once one is, and makes
// them idle. It takes only slots that nobody waits for.
func (p *pool) warm(ctx context.Context, n int) {
	select {
	case <-p.first:
	case <-p.gone:
		return
	case <-ctx.Done():
		return
	}
	p.mu.Lock()
	n = min(n, cap(p.slots)) - len(p.open)
	p.mu.Unlock()
	var dialling sync.WaitGroup
	defer dialling.Wait()
	for range max(0, n) {
		select {
		case p.slots <- struct{}{}:
		default:
			return
		}
		dialling.Go(func() {
			c, err := p.dial(ctx, p)
			if err != nil {
				<-p.slots
				return
			}
			_ = c.introduced(ctx) // what went wrong ended the connection, as put sees
			p.put(c)
		})
	}
}
