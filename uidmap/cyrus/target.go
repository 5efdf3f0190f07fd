package cyrus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/uidmap"
)

// Session is an administrator's IMAP connection, logged in. imapx.RawSession is
// one. It is for one goroutine at a time.
type Session interface {
	// Can reports whether the server has announced the capability.
	Can(capability string) bool

	// Send gives one command, which is sent as it is behind a tag, and returns
	// when its last octet is with the transport. The function that is returned
	// waits for the answer, and returns the untagged responses without "* " and
	// the last line end, literals as they came. A refusal is a *mailhaul.Error
	// whose Code is the word that Cyrus begins its text with, as in
	// IMAP_SYNC_CHECKSUM, and leaves the Session as it was; any other error
	// ends it.
	Send(ctx context.Context, command io.Reader) (answer func(context.Context) ([][]byte, error), err error)

	// Close gives the connection back.
	Close() error
}

// Config says how a [Target] reaches the server as an administrator. Only Admin
// is needed.
type Config struct {
	// Admin opens a session of an administrator: a user that imapd.conf names in
	// admins. One is open for as long as a Writer is. With an imapx.Client:
	//
	//	Admin: func(ctx context.Context) (cyrus.Session, error) { return client.OpenRaw(ctx) }
	Admin func(context.Context) (Session, error)

	// Login opens a session of the account's own user, so that he can be asked
	// which of the mailboxes that the administrator sees is his: by its
	// UNIQUEID. Without it that is told by UIDVALIDITY, UIDNEXT and
	// HIGHESTMODSEQ, which another user's mailbox may have too that was made in
	// the same second. An imapx.Client's OpenRaw will do, as for Admin.
	Login func(context.Context) (Session, error)

	// User is the account's user as Cyrus knows it. Default: the Account's of
	// the Target that is decorated.
	User string

	// UIDLFormat is uidl_format of the server's imapd.conf, which cannot be
	// asked for: "cyrus", "uidonly", "dovecot" or "courier". Default "cyrus",
	// which is Cyrus's.
	UIDLFormat string

	// TempDir is where messages that arrive as a stream are kept until they
	// are stored, since their hash has to be sent first. Default: the system's
	// directory for that.
	TempDir string
}

// formulas are the UIDLs that Cyrus can be told to make.
var formulas = map[string]string{
	"": "uidvalidity.uid", "cyrus": "uidvalidity.uid", "uidonly": "uid",
	"dovecot": "uid+uidvalidity hex", "courier": "uidvalidity-uid",
}

// Target is a Target on a Cyrus that gives messages the identity that they have
// on the source. It implements [mailhaul.Imposer], and is safe for concurrent
// use. All that is not about identity, reading above all, is left to the Target
// that it decorates.
type Target struct {
	mailhaul.Target
	cfg     Config
	formula uidmap.Formula

	mu       sync.Mutex // protects the fields below
	naming   *mailhaul.Naming
	warnings []string
}

var (
	_ mailhaul.Imposer = (*Target)(nil)
	_ mailhaul.Warner  = (*Target)(nil)
	_ mailhaul.Writer  = (*Writer)(nil)
)

// New returns a Target that decorates inner, which is the account of one user.
// It connects to nothing. An error names all mistakes in the configuration.
func New(inner mailhaul.Target, cfg Config) (*Target, error) {
	var errs []error
	if inner == nil {
		errs = append(errs, errors.New("there is no Target to decorate"))
	}
	if cfg.Admin == nil {
		errs = append(errs, errors.New("Config.Admin is nil"))
	}
	formula, ok := uidmap.FormulaNamed(formulas[cfg.UIDLFormat])
	if !ok {
		errs = append(errs, fmt.Errorf("Config.UIDLFormat is %q, not cyrus, uidonly, dovecot or courier", cfg.UIDLFormat))
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("cyrus: bad configuration: %w", errors.Join(errs...))
	}
	if cfg.User == "" {
		cfg.User = inner.Account().User
	}
	return &Target{Target: inner, cfg: cfg, formula: formula}, nil
}

// Unwrap returns the Target that is decorated.
func (t *Target) Unwrap() mailhaul.Target { return t.Target }

// fault is the error for something that happened to a mailbox.
func (t *Target) fault(op string, m mailhaul.Mailbox, kind mailhaul.Kind, scope mailhaul.Scope, hint string, err error) *mailhaul.Error {
	a := t.Account()
	return &mailhaul.Error{Op: op, Server: net.JoinHostPort(a.Host, strconv.Itoa(a.Port)), Account: a.User, Mailbox: m.Name, Kind: kind, Scope: scope, Hint: hint, Err: err}
}

// named returns an error of the session with the mailbox that it met.
func (t *Target) named(op string, m mailhaul.Mailbox, err error) error {
	e, ok := errors.AsType[*mailhaul.Error](err)
	switch {
	case err == nil:
		return nil
	case !ok && errors.Is(err, errSyntax):
		return t.fault(op, m, mailhaul.Corrupt, mailhaul.ScopeMailbox, "", err)
	case !ok:
		return t.fault(op, m, mailhaul.Transient, mailhaul.ScopeConnection, "", err)
	}
	named := *e
	if named.Mailbox == "" {
		named.Mailbox = m.Name
	}
	return &named
}

// errNotAdmin is returned where the session may not replicate.
var errNotAdmin = errors.New("the server does not let this user replicate")

// session opens a session and makes sure that its user is an administrator.
// That comes before anything else: to a user who is none the server answers BAD
// before it has read the command, and would take the messages that follow for
// commands of his.
func (t *Target) session(ctx context.Context) (Session, error) {
	sess, err := t.cfg.Admin(ctx)
	if err != nil {
		return nil, err
	}
	if !sess.Can("X-REPLICATION") {
		_ = sess.Close()
		return nil, fmt.Errorf("%w: it does not announce X-REPLICATION", errNotAdmin)
	}
	if _, err := do(ctx, sess, []byte("SYNCGET MAILBOXES ()")); err != nil {
		_ = sess.Close()
		if refused(err) {
			return nil, fmt.Errorf("%w: %w", errNotAdmin, err)
		}
		return nil, err
	}
	return sess, nil
}

// refused reports whether err is the server's answer to a command, after which
// the session goes on.
func refused(err error) bool {
	e, ok := errors.AsType[*mailhaul.Error](err)
	return ok && e.Scope != mailhaul.ScopeConnection
}

// names returns how the server builds names.
func (t *Target) names(ctx context.Context) (mailhaul.Naming, error) {
	t.mu.Lock()
	known := t.naming
	t.mu.Unlock()
	if known != nil {
		return *known, nil
	}
	listing, err := t.Target.List(ctx)
	if err != nil {
		return mailhaul.Naming{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.naming = &listing.Naming
	return listing.Naming, nil
}

// find returns the state of the mailbox that the user knows as m.
func (t *Target) find(ctx context.Context, sess Session, m mailhaul.Mailbox, seen *mailhaul.Status) (*state, error) {
	naming, err := t.names(ctx)
	if err != nil {
		return nil, err
	}
	names := internalNames(t.cfg.User, naming, m)
	states, err := get(ctx, sess, names)
	if err != nil {
		return nil, err
	}
	is := func(s *state) bool { // mail may have come between the two looks
		return s.validity == seen.UIDValidity && s.lastUID+1 >= seen.UIDNext && s.modSeq >= seen.HighestModSeq
	}
	if t.cfg.Login != nil {
		id, err := t.uniqueID(ctx, m)
		if err != nil {
			return nil, err
		}
		is = func(s *state) bool { return s.uniqueID == id }
	}
	var found *state
	matches := 0
	for _, s := range states {
		if !is(s) || found != nil && found.name == s.name { // a name has two forms in the default domain
			continue
		}
		found = s
		matches++
	}
	if matches != 1 {
		return nil, t.fault("impose identity on", m, mailhaul.Permanent, mailhaul.ScopeMailbox,
			"give the user's name as Cyrus knows it",
			fmt.Errorf("%d of the mailboxes that the administrator finds by its name (%s) are this one", matches, strings.Join(names, ", ")))
	}
	return found, nil
}

// uniqueID asks the user for the mailbox's UNIQUEID.
func (t *Target) uniqueID(ctx context.Context, m mailhaul.Mailbox) (string, error) {
	user, err := t.cfg.Login(ctx)
	if err != nil {
		return "", err
	}
	defer user.Close()
	id, err := metadata(ctx, user, m.Wire, "uniqueid")
	if err == nil && id == "" {
		err = errSyntax
	}
	return id, err
}

// metadata asks for an annotation of Cyrus's own (RFC 5464), of a mailbox or, with
// no name, of the server. It is empty where there is none.
func metadata(ctx context.Context, sess Session, wire, name string) (string, error) {
	command := appendString([]byte("GETMETADATA "), wire, false)
	responses, err := do(ctx, sess, append(command, " (/shared/vendor/cmu/cyrus-imapd/"+name+")"...))
	if err != nil {
		return "", err
	}
	for _, r := range responses {
		// METADATA name (entry value)
		v, err := parse(append([]byte("X ("), append(r, ')')...))
		if err == nil && len(v.items) == 3 && v.items[0].text == "METADATA" && len(v.items[2].items) == 2 {
			if found := v.items[2].items[1]; found.kind != atom || found.text != "NIL" {
				return found.text, nil
			}
		}
	}
	return "", nil
}

// look opens the mailbox as its user for a moment, so that afterwards no
// connection has it selected.
func (t *Target) look(ctx context.Context, m mailhaul.Mailbox) (mailhaul.Status, error) {
	w, err := t.Target.OpenWriter(ctx, m)
	if err != nil {
		return mailhaul.Status{}, err
	}
	status := w.Status()
	err = w.Close()
	if u, ok := mailhaul.As[mailhaul.Unselecter](t.Target); ok {
		err = errors.Join(err, u.Unselect(ctx, m))
	}
	return status, err
}
