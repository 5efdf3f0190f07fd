package imapx

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailhaul/mailhaul"
)

// Client is an IMAP account: a [mailhaul.Source] and a [mailhaul.Target]. It is
// safe for concurrent use. It opens connections as they are needed, keeps them
// for the next use, and never retries anything.
type Client struct {
	cfg    Config
	pool   *pool
	meter  meter
	facts  facts
	number atomic.Int64 // of connections made
}

var (
	_ mailhaul.Source         = (*Client)(nil)
	_ mailhaul.Target         = (*Client)(nil)
	_ mailhaul.QuotaTeller    = (*Client)(nil)
	_ mailhaul.AppendLimiter  = (*Client)(nil)
	_ mailhaul.SettleTimer    = (*Client)(nil)
	_ mailhaul.Meter          = (*Client)(nil)
	_ mailhaul.Reserver       = (*Client)(nil)
	_ mailhaul.Unselecter     = (*Client)(nil)
	_ mailhaul.EightBitKeeper = (*Client)(nil)
	_ mailhaul.Watcher        = (*Client)(nil)
	_ mailhaul.Reader         = (*Reader)(nil)
	_ mailhaul.Writer         = (*Writer)(nil)
)

// New returns a Client. It connects to nothing yet. An error names all
// mistakes in the configuration.
func New(cfg Config) (*Client, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cl := &Client{cfg: cfg.withDefaults()}
	cl.pool = newPool(cl.cfg.Connections, cl.connect)
	return cl, nil
}

// connect opens a connection and logs in.
func (cl *Client) connect(ctx context.Context, p *pool) (*conn, error) {
	leash, err := cl.leave(ctx, p)
	if err != nil {
		return nil, err
	}
	raw, nc, err := dial(ctx, &cl.cfg, &cl.meter)
	if err != nil {
		leash.release()
		leash.failed(ctx, err)
		return nil, err
	}
	c := newConn(&cl.cfg, &cl.meter, cl.number.Add(1), raw, nc, leash)
	c.facts = &cl.facts
	if !p.enter(c) {
		c.Close()
		return nil, mailhaul.ErrClosed
	}
	leash.attach(func() { p.recall(c) })
	if err := c.establish(ctx, cl.facts.names()); err != nil {
		p.leave(c)
		c.Close()
		return nil, c.named(opGreeting, "", err)
	}
	cl.cfg.Logger.Debug("imap connection is logged in", slog.Int64("connection", c.number), slog.String("server", c.addr))
	return c, nil
}

// with runs f on a connection of the pool.
func (cl *Client) with(ctx context.Context, op, mailbox string, f func(*conn) error) error {
	c, err := cl.acquire(ctx, op, mailbox, "")
	if err != nil {
		return err
	}
	return cl.use(c, op, mailbox, f)
}

// acquire takes a connection of the pool, whose server has said what it is.
// Among the idle ones it prefers the one that has the mailbox open.
func (cl *Client) acquire(ctx context.Context, op, mailbox, wireName string) (*conn, error) {
	for {
		c, err := cl.pool.get(ctx, wireName)
		if err != nil {
			return nil, cl.fault(op, mailbox, err)
		}
		err = c.introduced(ctx)
		if c.leash.wanted() && ctx.Err() == nil {
			cl.giveBack(c, err) // nothing has been done on it yet: another one does as well
			continue
		}
		if err != nil {
			cl.giveBack(c, err)
			return nil, err
		}
		return c, nil
	}
}

// use runs f on a connection of the pool and gives it back.
func (cl *Client) use(c *conn, op, mailbox string, f func(*conn) error) error {
	err := f(c)
	cl.giveBack(c, err)
	if errors.Is(err, mailhaul.ErrUnsupported) {
		return err
	}
	return c.named(op, mailbox, err)
}

// fault is the error for something that kept op from having a connection.
func (cl *Client) fault(op, mailbox string, err error) error {
	if _, ok := errors.AsType[*mailhaul.Error](err); ok {
		return err
	}
	e := &mailhaul.Error{
		Op: verb(op), Server: cl.cfg.Server.Addr(), Account: cl.Account().User, Mailbox: mailbox,
		Kind: mailhaul.Transient, Scope: mailhaul.ScopeConnection, Err: err,
	}
	if errors.Is(err, mailhaul.ErrClosed) {
		e.Kind, e.Scope = mailhaul.Permanent, mailhaul.ScopeAccount
	}
	return e
}

// Account implements [mailhaul.Source].
func (cl *Client) Account() mailhaul.Account { return cl.cfg.Server.Account() }

// Close logs out, ends every connection, those of open Readers and Writers
// too, and returns when nothing runs any more. It may be called more than once.
func (cl *Client) Close() error {
	cl.pool.close()
	return nil
}

// Traffic implements [mailhaul.Meter]. A connection's greeting counts as a
// round trip, and so does each literal that the server has to ask for.
func (cl *Client) Traffic() mailhaul.Traffic {
	return mailhaul.Traffic{
		RoundTrips:  cl.meter.roundTrips.Load(),
		BytesIn:     cl.meter.in.Load(),
		BytesOut:    cl.meter.out.Load(),
		Commands:    cl.meter.commands.Load(),
		Connections: cl.meter.connections.Load(),
	}
}

// SettleTime implements [mailhaul.SettleTimer]. It knows Dovecot and Cyrus,
// once a connection to the server has been made.
func (cl *Client) SettleTime() (d time.Duration, known bool) {
	d = cl.facts.quirks().settle
	return d, d > 0
}

// KeepsEightBit implements [mailhaul.EightBitKeeper]. It knows Dovecot, once a
// connection to the server has been made.
func (cl *Client) KeepsEightBit() bool { return cl.facts.quirks().keeps8bit }

// OpenReader implements [mailhaul.Source]: it opens the mailbox with EXAMINE.
func (cl *Client) OpenReader(ctx context.Context, m mailhaul.Mailbox) (mailhaul.Reader, error) {
	c, err := cl.acquire(ctx, opExamine, m.Name, m.Wire)
	if err != nil {
		return nil, err
	}
	o, err := c.open(ctx, m, false)
	if err != nil {
		cl.giveBack(c, err)
		return nil, c.named(opExamine, m.Name, err)
	}
	return &Reader{client: cl, c: c, box: m, status: o.status}, nil
}

// giveBack returns a connection that err came of. A refusal leaves it as it
// was, and so does what was never sent; a server that makes no sense is not
// asked again.
func (cl *Client) giveBack(c *conn, err error) {
	if condOf(err) == 0 && mailhaul.KindOf(err) == mailhaul.Corrupt {
		cl.pool.discard(c)
		return
	}
	cl.pool.put(c)
}

// OpenWriter implements [mailhaul.Target]: it opens the mailbox with SELECT. No
// other connection of the Client has the mailbox selected then.
func (cl *Client) OpenWriter(ctx context.Context, m mailhaul.Mailbox) (mailhaul.Writer, error) {
	r, err := cl.Reserve(ctx, m)
	if err != nil {
		return nil, err
	}
	return r.Open(ctx)
}

// Reserve implements [mailhaul.Reserver].
func (cl *Client) Reserve(ctx context.Context, m mailhaul.Mailbox) (mailhaul.Reservation, error) {
	c, err := cl.acquire(ctx, opSelect, m.Name, m.Wire)
	if err != nil {
		return nil, err
	}
	return &reservation{cl, c, m}, nil
}

type reservation struct {
	cl  *Client
	c   *conn
	box mailhaul.Mailbox
}

// Open implements [mailhaul.Reservation].
func (r *reservation) Open(ctx context.Context) (mailhaul.Writer, error) {
	w, err := r.cl.openWriter(ctx, r.c, r.box)
	if err != nil {
		r.cl.giveBack(r.c, err)
		return nil, r.c.named(opSelect, r.box.Name, err)
	}
	return w, nil
}

func (cl *Client) openWriter(ctx context.Context, c *conn, m mailhaul.Mailbox) (*Writer, error) {
	cl.unselect(ctx, m)
	limit, err := c.appendLimit(ctx, m.Wire)
	if err != nil {
		return nil, err
	}
	way, err := cl.way(ctx, c)
	if err != nil {
		return nil, err
	}
	o, err := c.open(ctx, m, true)
	if err != nil {
		return nil, err
	}
	return newWriter(cl, c, m, o, way, limit), nil
}

// Unselect implements [mailhaul.Unselecter]. A connection that cannot leave the
// mailbox otherwise is closed.
func (cl *Client) Unselect(ctx context.Context, m mailhaul.Mailbox) error {
	cl.unselect(ctx, m)
	return ctx.Err()
}

// unselect makes idle connections leave a mailbox: identity drivers change it
// behind IMAP's back, which a session that has it selected would get in the way
// of.
func (cl *Client) unselect(ctx context.Context, m mailhaul.Mailbox) {
	for _, other := range cl.pool.takeSelected(m.Wire) {
		if !other.unselect(ctx) {
			other.fail(other.fault(opUnselect, mailhaul.Transient, mailhaul.ScopeConnection, mailhaul.ErrClosed))
		}
		cl.pool.park(other)
	}
}

// fact is something that was found out about the server, for all connections.
type fact uint8

const (
	noExtendedList    fact = 1 << iota // LIST … RETURN is refused
	literalsSwallowed                  // the probe found LITERAL+ to be safe
	literalsRun                        // the probe found it to be dangerous, or it failed
	noMultiAppend                      // MULTIAPPEND was answered with BAD
	noKeywords                         // a keyword was answered with BAD
	noCompress                         // COMPRESS was refused, or came to nothing
	noNotify                           // NOTIFY was refused
)

// facts is what the connections of a Client have found out about its server.
type facts struct {
	mu     sync.Mutex // protects the fields below
	known  fact
	naming *namespaces
	quirk  quirks
}

func (f *facts) get(x fact) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.known&x != 0
}

func (f *facts) set(x fact) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.known |= x
}

func (f *facts) names() *namespaces {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.naming
}

func (f *facts) setNames(n *namespaces) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.naming = n
}

func (f *facts) quirks() quirks {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.quirk
}

// learn keeps what a new connection has found out.
func (f *facts) learn(c *conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.quirk = c.quirks
	if c.namespace != nil {
		f.naming = c.namespace
	}
}
