package dsync

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/mailhaul/mailhaul"
)

// How Dovecot may keep mail, as far as it matters.
const (
	storeMaildir = "maildir"
	storeSdbox   = "sdbox"
	storeMdbox   = "mdbox"
)

// Target is a Dovecot account whose mailboxes can be given the identity that
// they have elsewhere. It implements [mailhaul.Imposer] and is safe for
// concurrent use; each Writer of OpenImposing has a connection of its own, or a
// command.
type Target struct {
	mailhaul.Target // all but identity

	cfg     Config
	where   string
	portion int // how many messages an exchange takes

	mu    sync.Mutex        // protects the fields below
	store *string           // what askStore has answered
	guids map[string]string // of mailboxes by name; each use of one is checked
}

var _ mailhaul.Imposer = (*Target)(nil)

// New returns a Target that leaves to inner, an account on the same Dovecot,
// all but identity. It connects to nothing yet. An error names all mistakes in
// the configuration.
func New(inner mailhaul.Target, cfg Config) (*Target, error) {
	if inner == nil {
		return nil, errors.New("dsync: bad configuration: there is no Target to decorate")
	}
	cfg = cfg.withDefaults(inner)
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return &Target{Target: inner, cfg: cfg, where: cfg.where(), portion: portion, guids: make(map[string]string)}, nil
}

// Unwrap returns the Target that is decorated.
func (t *Target) Unwrap() mailhaul.Target { return t.Target }

// connect opens a connection on which the peer has begun the exchange.
func (t *Target) connect(ctx context.Context, box string) (*peer, error) {
	if len(t.cfg.Command) > 0 {
		c, err := startCommand(t.cfg.argv())
		if err != nil {
			e := t.fault(box, mailhaul.Permanent, mailhaul.ScopeServer, fmt.Errorf("the command could not be started: %w", err))
			e.Hint = "check the argument list"
			return nil, e
		}
		p := t.newPeer(c)
		p.box = box
		return p, nil
	}
	p, err := t.logIn(ctx)
	if err != nil {
		return nil, t.named(box, err)
	}
	p.box = box
	err = p.while(ctx, func() error {
		_, err := p.run(t.cfg.User, "dsync-server", "-u"+t.cfg.User)
		return err
	})
	if r, refused := errors.AsType[*refusal](err); refused {
		err = t.refused(p, r)
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// refused makes an error of the server's refusal to run dsync.
func (t *Target) refused(p *peer, r *refusal) error {
	switch r.code {
	case "NOUSER":
		return p.fault(mailhaul.Permanent, mailhaul.ScopeAccount, "check the user's name as doveadm knows it (doveadm user)", r)
	case "NOPERM", "USAGE":
		return p.fault(mailhaul.Permanent, mailhaul.ScopeAccount, "check doveadm_allowed_commands", r)
	}
	return p.fault(mailhaul.Transient, mailhaul.ScopeAccount, hintLog, r)
}

// knownStore returns how the server keeps the mail, or nothing where it cannot
// be asked. It is asked once.
func (t *Target) knownStore(ctx context.Context) (string, error) {
	if t.cfg.Store != "" || len(t.cfg.Command) > 0 {
		return t.cfg.Store, nil
	}
	t.mu.Lock()
	known := t.store
	t.mu.Unlock()
	if known != nil {
		return *known, nil
	}
	store, err := t.askStore(ctx)
	if err != nil {
		return "", err
	}
	t.mu.Lock()
	t.store = &store
	t.mu.Unlock()
	return store, nil
}

// uidlsOnce reports whether stored UIDLs have to come in the first session of a
// mailbox. Where the store is not known they do.
func (t *Target) uidlsOnce(ctx context.Context) (bool, error) {
	store, err := t.knownStore(ctx)
	return store != storeMaildir && store != storeMdbox, err
}

func (t *Target) guidOf(box string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.guids[box]
}

func (t *Target) setGUID(box, guid string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.guids[box] = guid
}

// unselect makes sure that no idle connection of ours is in the way.
func (t *Target) unselect(ctx context.Context, m mailhaul.Mailbox) error {
	if u, ok := mailhaul.As[mailhaul.Unselecter](t.Target); ok {
		return u.Unselect(ctx, m)
	}
	return nil
}

// look returns the mailbox's state and its UIDs, as the decorated Target sees
// them.
func (t *Target) look(ctx context.Context, m mailhaul.Mailbox) (st mailhaul.Status, uids mailhaul.UIDSet, err error) {
	err = t.reading(ctx, m, func(r mailhaul.Reader) error {
		st = r.Status()
		uids, err = r.UIDs(ctx)
		return err
	})
	return st, uids, err
}

// reading runs f with the mailbox open for reading.
func (t *Target) reading(ctx context.Context, m mailhaul.Mailbox, f func(mailhaul.Reader) error) error {
	r, err := t.OpenReader(ctx, m)
	if err != nil {
		return err
	}
	err = f(r)
	_ = r.Close()
	if uerr := t.unselect(ctx, m); err == nil {
		err = uerr
	}
	return err
}
