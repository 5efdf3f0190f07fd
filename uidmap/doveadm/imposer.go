package doveadm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/uidmap"
	"github.com/mailhaul/mailhaul/uidmap/internal/lineup"
)

// Config says what an Imposer works with.
type Config struct {
	// Target is what it decorates: the same user's account over IMAP, perhaps
	// already decorated by a filler.Imposer or an xuidl.Imposer. Needed.
	Target mailhaul.Target

	// Server is where the API is: Host and Port are needed. Security is
	// ImplicitTLS (https) or Plaintext (http, for loopback addresses only
	// unless AllowPlaintext is set). User and Credentials are not looked at.
	Server mailhaul.Server

	// Key is the server's doveadm_api_key. Needed.
	Key mailhaul.Secret

	// User is the name by which the server knows the user. Default: the
	// Target's.
	User string

	// UIDLs is how the server makes UIDLs (its pop3_uidl_format), since the API
	// does not tell. Default: Dovecot's own default, "uid+uidvalidity hex" in
	// [uidmap.Formulas].
	UIDLs uidmap.Formula

	// FillUpTo is the widest gap between two UIDs that is left to a
	// filler.Imposer, where Target has one. Default 32, since a call takes as
	// long as some dozens of fillers.
	FillUpTo int

	// Timeout bounds each call. Default one minute.
	Timeout time.Duration

	// Logger is told what could not be imposed; nil is silent.
	Logger *slog.Logger
}

func (c *Config) validate() error {
	var mistakes []error
	wrong := func(text string) { mistakes = append(mistakes, errors.New("doveadm: "+text)) }
	if c.Target == nil {
		wrong("Config.Target is needed")
	}
	if c.Server.Host == "" || c.Server.Port <= 0 || c.Server.Port > 65535 {
		wrong("Config.Server needs a host and a port")
	}
	if c.Server.Security == mailhaul.StartTLS {
		wrong("Config.Server.Security is StartTLS, which HTTP does not have")
	}
	if c.Key.Empty() {
		wrong("Config.Key is needed: the server's doveadm_api_key")
	}
	if c.FillUpTo < 0 {
		wrong("Config.FillUpTo is negative")
	}
	if c.Timeout < 0 {
		wrong("Config.Timeout is negative")
	}
	return errors.Join(mistakes...)
}

// Imposer gives mailboxes and messages their identity through Dovecot's
// administration over HTTP. It implements [mailhaul.Imposer].
type Imposer struct {
	mailhaul.Target
	api      *api
	uidls    uidmap.Formula
	fillUpTo mailhaul.UID
	log      *slog.Logger

	mu       sync.Mutex // protects warnings
	warnings []string
}

var (
	_ mailhaul.Imposer = (*Imposer)(nil)
	_ mailhaul.Warner  = (*Imposer)(nil)
	_ mailhaul.Writer  = (*Writer)(nil)
)

// What is used of the Target and its Writers, where they have it.
type (
	// filling is a filler.Imposer, and filler one of its Writers.
	filling interface {
		OpenFilling(ctx context.Context, m mailhaul.Mailbox, want mailhaul.Identity) (mailhaul.Writer, error)
	}
	filler interface {
		Claim(n uint64) bool
		Raised(next mailhaul.UID)
		Held(uid mailhaul.UID) bool
	}
	// reopener is a Writer that can give up what its session has piled up.
	reopener interface {
		Reopen(ctx context.Context) error
	}

	// uidlWriter is an xuidl.Imposer.
	uidlWriter interface{ WritesUIDLs() bool }

	replacer interface {
		WhenRefused(func(context.Context, mailhaul.Outgoing) (*mailhaul.Outgoing, func(mailhaul.Outcome), error))
	}
)

// New returns an Imposer. It connects to nothing yet. The error names all
// mistakes in the configuration.
func New(cfg Config) (*Imposer, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if cfg.User == "" {
		cfg.User = cfg.Target.Account().User
	}
	if cfg.UIDLs.IsZero() {
		cfg.UIDLs, _ = uidmap.FormulaNamed("uid+uidvalidity hex")
	}
	if cfg.FillUpTo == 0 {
		cfg.FillUpTo = 32
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = time.Minute
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Imposer{Target: cfg.Target, api: newAPI(&cfg), uidls: cfg.UIDLs, fillUpTo: mailhaul.UID(cfg.FillUpTo), log: cfg.Logger}, nil
}

// Unwrap returns the Target that is decorated.
func (d *Imposer) Unwrap() mailhaul.Target { return d.Target }

// Close closes the connections to the API and the Target.
func (d *Imposer) Close() error {
	d.api.close()
	return d.Target.Close()
}

// Warnings implements [mailhaul.Warner]: the Target's, and in which mailboxes
// something could not be imposed.
func (d *Imposer) Warnings() []string {
	var all []string
	if w, ok := mailhaul.As[mailhaul.Warner](d.Target); ok {
		all = slices.Clone(w.Warnings())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return append(all, d.warnings...)
}

func (d *Imposer) warn(m mailhaul.Mailbox, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	d.log.Warn("identity could not be kept", "mailbox", m.Name, "reason", text)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.warnings = append(d.warnings, fmt.Sprintf("mailbox %q: %s", m.Name, text))
}

// Imposable implements [mailhaul.Imposer].
func (d *Imposer) Imposable(ctx context.Context, m mailhaul.Mailbox, want mailhaul.Identity) (mailhaul.Imposable, error) {
	st, err := d.look(ctx, m)
	if e, ok := errors.AsType[*mailhaul.Error](err); ok && e.Kind == mailhaul.Permanent && ctx.Err() == nil {
		return mailhaul.Imposable{Level: mailhaul.LevelOrder, Reason: "the doveadm API cannot be used: " + e.Reason()}, nil
	}
	if err != nil {
		return mailhaul.Imposable{}, err
	}
	level, reason := d.judge(st, want)
	return mailhaul.Imposable{Level: level, Reason: reason}, nil
}

// look asks for the state of a mailbox. One that is still to be made is empty;
// INBOX is asked for then, to see whether the user is known.
func (d *Imposer) look(ctx context.Context, m mailhaul.Mailbox) (mailhaul.Status, error) {
	name := m.Name
	if m.Wire == "" {
		name = "INBOX"
	}
	st, found, err := d.api.status(ctx, name)
	switch {
	case err != nil:
		return st, err
	case m.Wire == "":
		return mailhaul.Status{UIDNext: 1}, nil
	case !found:
		return st, d.api.failed("ask for the state of", name, "exitCode", 68)
	}
	return st, nil
}

// judge says how much of want can be imposed on a mailbox in the state st.
func (d *Imposer) judge(st mailhaul.Status, want mailhaul.Identity) (mailhaul.Level, string) {
	taken := 0
	next := st.UIDNext
	for _, m := range want.Messages {
		switch {
		case m.UID >= next && m.UID != 0:
			next = m.UID + 1
		case m.UID != 0:
			taken++
			next++
		}
	}
	switch {
	case taken > 0:
		return mailhaul.LevelOrder, fmt.Sprintf("%d of the UIDs are taken: the mailbox has come to UID %d already, and UIDNEXT cannot be lowered", taken, st.UIDNext-1)
	case len(want.Messages) == 0 && want.UIDNext != 0 && want.UIDNext < st.UIDNext:
		return mailhaul.LevelOrder, fmt.Sprintf("the mailbox has come to UID %d already, the source only to %d", st.UIDNext-1, want.UIDNext-1)
	case want.UIDValidity != 0 && want.UIDValidity != st.UIDValidity && st.Messages > 0:
		return mailhaul.LevelUID, fmt.Sprintf("the mailbox holds %d messages under the UIDVALIDITY %d, which programs may know them by", st.Messages, st.UIDValidity)
	}
	if !want.UIDLs {
		return mailhaul.LevelExact, ""
	}
	v := want.UIDValidity
	if v == 0 {
		v = st.UIDValidity
	}
	xuidl := false
	if u, ok := mailhaul.As[uidlWriter](d.Target); ok {
		xuidl = u.WritesUIDLs()
	}
	for _, m := range want.Messages {
		if m.UIDL == "" {
			continue
		}
		made, ok := d.uidls.UIDL(uidmap.IMAPMessage{UID: m.UID}, v)
		switch {
		case ok && made == m.UIDL, xuidl && uidmap.ValidUIDL(m.UIDL):
		case xuidl:
			return mailhaul.LevelUID, fmt.Sprintf("the UIDL %.80q of UID %d is none that a header can carry", string(m.UIDL), m.UID)
		default:
			return mailhaul.LevelUID, fmt.Sprintf("the UIDL %.80q of UID %d is not what the server makes (%s); X-UIDL could carry it, or dsync", string(m.UIDL), m.UID, d.uidls)
		}
	}
	if uid, ok := lineup.OrderIsThatOfUIDs(want.Messages); !ok {
		return mailhaul.LevelUID, fmt.Sprintf("the server's POP3 shows messages in the order of their UIDs, in which that of UID %d is not on the source; dsync could carry the order", uid)
	}
	return mailhaul.LevelExact, ""
}

// OpenImposing implements [mailhaul.Imposer].
//
// The UIDVALIDITY is set first and by itself, while no connection of the Target
// has the mailbox selected, and only where the mailbox is empty: a session that
// has it selected is cut behind its next APPEND, which is stored. UIDNEXT
// follows in a call of its own.
func (d *Imposer) OpenImposing(ctx context.Context, m mailhaul.Mailbox, want mailhaul.Identity) (mailhaul.Writer, error) {
	if u, ok := mailhaul.As[mailhaul.Unselecter](d.Target); ok {
		if err := u.Unselect(ctx, m); err != nil {
			return nil, err
		}
	}
	d.api.prepare()
	st, err := d.look(ctx, m)
	if err != nil {
		return nil, err
	}
	if v := want.UIDValidity; v != 0 && v != st.UIDValidity {
		if st.Messages > 0 {
			d.warn(m, "it holds %d messages, and so keeps its UIDVALIDITY %d in place of the source's %d", st.Messages, st.UIDValidity, v)
		} else {
			if err := d.api.set(ctx, m.Name, v, 0, 0); err != nil {
				return nil, err
			}
			// Opened once more, Maildir knows its UIDNEXT again.
			if st, err = d.look(ctx, m); err != nil {
				return nil, err
			}
		}
	}
	if len(want.Messages) > 0 && want.Messages[0].UID > st.UIDNext {
		if err := d.api.set(ctx, m.Name, 0, want.Messages[0].UID, 0); err != nil {
			return nil, err
		}
	}
	return d.open(ctx, m, want, st)
}

// open opens the Target's Writer of a mailbox that is prepared.
func (d *Imposer) open(ctx context.Context, m mailhaul.Mailbox, want mailhaul.Identity, st mailhaul.Status) (*Writer, error) {
	w := &Writer{d: d, box: m, want: want, messages: int(st.Messages)}
	var err error
	d.api.prepare()
	if f, ok := mailhaul.As[filling](d.Target); ok {
		w.inner, err = f.OpenFilling(ctx, m, want)
	} else {
		w.inner, err = d.OpenWriter(ctx, m)
	}
	if err != nil {
		return nil, err
	}
	opened := w.inner.Status()
	if opened.UIDValidity != st.UIDValidity {
		_ = w.inner.Close()
		return nil, d.api.fault("open", m.Name, mailhaul.Conflict, mailhaul.ScopeMailbox,
			fmt.Errorf("over IMAP its UIDVALIDITY is %d, and by the doveadm API %d", opened.UIDValidity, st.UIDValidity))
	}
	if r, ok := mailhaul.As[reopener](w.inner); ok {
		w.reopen = r.Reopen
	}
	w.line = lineup.New(opened.UIDNext, w.answer)
	if f, ok := mailhaul.As[filler](w.inner); ok {
		w.fill, w.line.Below = f, f.Held
	} else if r, ok := mailhaul.As[replacer](w.inner); ok {
		r.WhenRefused(w.replace)
	}
	return w, nil
}
