package filler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/uidmap/internal/lineup"
)

// Config says what an Imposer works with.
type Config struct {
	// Target is what it decorates. Needed.
	Target mailhaul.Target

	// Max is how many UIDs may be burnt, in all mailboxes together and as long
	// as the Imposer lives. Needed, since each one costs the server a message
	// stored and removed: there is no default that is right.
	Max int

	// Logger is told why filling stopped; nil is silent.
	Logger *slog.Logger
}

// Imposer gives messages the UIDs that they have on the source. It implements
// [mailhaul.Imposer] and [mailhaul.Recoverer], and closes nothing that it did
// not open, except that Close closes the Target.
type Imposer struct {
	mailhaul.Target
	max    int
	budget *budget
	log    *slog.Logger

	mu       sync.Mutex // protects warnings
	warnings []string
}

var (
	_ mailhaul.Imposer   = (*Imposer)(nil)
	_ mailhaul.Recoverer = (*Imposer)(nil)
	_ mailhaul.Warner    = (*Imposer)(nil)
	_ mailhaul.Writer    = (*Writer)(nil)
)

// What is needed of the Target and its Writers.
type (
	capable interface {
		Capable(ctx context.Context, capability string) (bool, error)
	}
	statuser interface {
		MailboxStatus(ctx context.Context, m mailhaul.Mailbox) (mailhaul.Status, error)
	}
	copier interface {
		UIDCopy(ctx context.Context, set mailhaul.UIDSet, to mailhaul.Mailbox) (mailhaul.UIDSet, error)
	}
	together interface{ Multi() bool }
	replacer interface {
		WhenRefused(func(context.Context, mailhaul.Outgoing) (*mailhaul.Outgoing, func(mailhaul.Outcome), error))
	}
)

// New returns an Imposer. The error names all mistakes in the configuration.
func New(cfg Config) (*Imposer, error) {
	var mistakes []error
	if cfg.Target == nil {
		mistakes = append(mistakes, errors.New("filler: Config.Target is needed"))
	}
	if cfg.Max <= 0 {
		mistakes = append(mistakes, errors.New("filler: Config.Max is needed: how many UIDs may be burnt"))
	}
	if len(mistakes) > 0 {
		return nil, errors.Join(mistakes...)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Imposer{Target: cfg.Target, max: cfg.Max, budget: newBudget(cfg.Max), log: cfg.Logger}, nil
}

// Unwrap returns the Target that is decorated.
func (f *Imposer) Unwrap() mailhaul.Target { return f.Target }

// Warnings implements [mailhaul.Warner]: the Target's, and in which mailboxes
// filling stopped.
func (f *Imposer) Warnings() []string {
	var all []string
	if w, ok := mailhaul.As[mailhaul.Warner](f.Target); ok {
		all = slices.Clone(w.Warnings())
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return append(all, f.warnings...)
}

func (f *Imposer) warn(m mailhaul.Mailbox, reason string) {
	f.log.Warn("fillers are no longer used", "mailbox", m.Name, "reason", reason)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.warnings = append(f.warnings, fmt.Sprintf("mailbox %q: no more UIDs are burnt: %s", m.Name, reason))
}

// Imposable implements [mailhaul.Imposer]. It is never more than
// [mailhaul.LevelUID]. Where want.Messages is not known, how many UIDs have to be
// burnt follows from want.UIDNext and want.Count; without these, OpenImposing
// refuses what is above the limit. As many as a mailbox needs are kept for it
// from then on, so that mailboxes that are asked about one after the other, or
// side by side, are refused as soon as there is not enough for all.
func (f *Imposer) Imposable(ctx context.Context, m mailhaul.Mailbox, want mailhaul.Identity) (mailhaul.Imposable, error) {
	only := func(reason string, args ...any) (mailhaul.Imposable, error) {
		return mailhaul.Imposable{Level: mailhaul.LevelOrder, Reason: fmt.Sprintf(reason, args...)}, nil
	}
	if c, ok := mailhaul.As[capable](f.Target); ok {
		can, err := c.Capable(ctx, "UIDPLUS")
		if err != nil {
			return mailhaul.Imposable{}, err
		}
		if !can {
			return only("the server does not say which UIDs messages get (UIDPLUS), which fillers need")
		}
	}
	next, err := f.next(ctx, m)
	switch {
	case err != nil:
		return mailhaul.Imposable{}, err
	case next == 0:
		return only("the server does not tell UIDNEXT, which fillers need")
	}
	n := need(next, want)
	switch {
	case n.taken > 0:
		return only("%d of the UIDs are taken: the mailbox has come to UID %d already", n.taken, next-1)
	case len(want.Messages) == 0 && want.UIDNext != 0 && want.UIDNext < next:
		return only("the mailbox has come to UID %d already, the source only to %d", next-1, want.UIDNext-1)
	}
	reason, err := f.room(ctx, n)
	if err != nil {
		return mailhaul.Imposable{}, err
	}
	if reason != "" {
		return only("%s", reason)
	}
	if len(want.Messages) > 0 || want.Count > 0 || want.UIDLs {
		if key := keyOf(m); !f.budget.promise(key, n.fillers) {
			return only("%s", f.tooMany(key, n))
		}
	}
	return mailhaul.Imposable{Level: mailhaul.LevelUID, Reason: "fillers give messages their UIDs, but nothing gives the mailbox its UIDVALIDITY"}, nil
}

// tooMany says why a mailbox cannot have its fillers.
func (f *Imposer) tooMany(key string, n needed) string {
	if n.fillers > uint64(f.max) {
		return fmt.Sprintf("%d UIDs would have to be burnt, and no more than %d may be", n.fillers, f.max)
	}
	return fmt.Sprintf("%d UIDs would have to be burnt, and of the %d that may be, %d are left when the other mailboxes have theirs",
		n.fillers, f.max, f.budget.available(key))
}

// next returns the mailbox's UIDNEXT, 0 where the server does not tell.
func (f *Imposer) next(ctx context.Context, m mailhaul.Mailbox) (mailhaul.UID, error) {
	if m.Wire == "" {
		return 1, nil
	}
	if s, ok := mailhaul.As[statuser](f.Target); ok {
		st, err := s.MailboxStatus(ctx, m)
		if errors.Is(err, mailhaul.ErrUnsupported) {
			return 0, nil
		}
		return st.UIDNext, err
	}
	r, err := f.OpenReader(ctx, m)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	return r.Status().UIDNext, nil
}

// needed is what it takes to impose an identity.
type needed struct {
	fillers uint64
	taken   int   // messages whose UIDs cannot be had any more
	octets  int64 // of the messages
}

func need(next mailhaul.UID, want mailhaul.Identity) needed {
	var n needed
	at := uint64(next)
	for _, m := range want.Messages {
		n.octets += m.Size
		switch uid := uint64(m.UID); {
		case uid == 0:
			at++
		case uid < at:
			n.taken++
			at++
		default:
			n.fillers += uid - at
			at = uid + 1
		}
	}
	if len(want.Messages) == 0 { // no more of them can be below UIDNEXT
		at += uint64(max(want.Count, 0))
	}
	if end := uint64(want.UIDNext); end > at {
		n.fillers += end - at
	}
	return n
}

// room says why the account has no room for the fillers that are there at a
// time, or nothing.
func (f *Imposer) room(ctx context.Context, n needed) (string, error) {
	q, ok := mailhaul.As[mailhaul.QuotaTeller](f.Target)
	if !ok || n.fillers == 0 {
		return "", nil
	}
	room, err := q.Quota(ctx)
	if errors.Is(err, mailhaul.ErrUnsupported) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	atATime := int64(min(n.fillers, most))
	switch {
	case room.Bytes >= 0 && room.Bytes < n.octets+atATime*largest:
		return fmt.Sprintf("there is room for %d octets, and the messages with the fillers among them take %d", room.Bytes, n.octets+atATime*largest), nil
	case room.Messages >= 0 && room.Messages < atATime:
		return fmt.Sprintf("there is room for %d messages, and up to %d fillers are there at a time", room.Messages, atATime), nil
	}
	return "", nil
}

// OpenImposing implements [mailhaul.Imposer]. Where the messages of want need
// more fillers than may be used it returns an error and has written nothing.
func (f *Imposer) OpenImposing(ctx context.Context, m mailhaul.Mailbox, want mailhaul.Identity) (mailhaul.Writer, error) {
	next, err := f.next(ctx, m)
	if err != nil {
		return nil, err
	}
	n := need(next, want)
	key := keyOf(m)
	if next != 0 && n.fillers > f.budget.available(key) {
		return nil, &mailhaul.Error{
			Op: "give messages their UIDs in", Server: f.server(), Account: f.Account().User, Mailbox: m.Name,
			Kind: mailhaul.Permanent, Scope: mailhaul.ScopeMailbox,
			Err:  errors.New(f.tooMany(key, n)),
			Hint: "allow more fillers (-fillers), or ask for less identity",
		}
	}
	// Asked before the Writer is opened: that takes a connection, too, and all
	// of them may be held by Writers that ask.
	reason, err := f.room(ctx, n)
	if err != nil {
		return nil, err
	}
	w, err := f.open(ctx, m, want, next)
	if err != nil {
		return nil, err
	}
	if reason != "" {
		w.stop(reason)
	}
	return w, nil
}

// OpenFilling is OpenImposing for a driver that closes some of the gaps by
// itself: it claims from the Writer what is to be burnt, and tells it what it
// raised UIDNEXT to. More than the limit is never burnt.
func (f *Imposer) OpenFilling(ctx context.Context, m mailhaul.Mailbox, want mailhaul.Identity) (mailhaul.Writer, error) {
	next, err := f.next(ctx, m)
	if err != nil {
		return nil, err
	}
	want.UIDNext = 0
	return f.open(ctx, m, want, next)
}

func (f *Imposer) open(ctx context.Context, m mailhaul.Mailbox, want mailhaul.Identity, next mailhaul.UID) (*Writer, error) {
	inner, err := f.OpenWriter(ctx, m)
	if err != nil {
		return nil, err
	}
	if u := inner.Status().UIDNext; u != 0 {
		next = u
	}
	w := &Writer{f: f, inner: inner, box: m, mark: mark(m, inner.Status().UIDValidity), key: keyOf(m), raise: want.UIDNext}
	w.line = lineup.New(next, w.answer)
	if x, ok := mailhaul.As[mailhaul.Expunger](inner); ok {
		w.expunge = x
	}
	if c, ok := mailhaul.As[copier](inner); ok {
		w.copy = c
	}
	if t, ok := mailhaul.As[together](inner); ok {
		w.multi = t.Multi
	}
	if r, ok := mailhaul.As[replacer](inner); ok {
		r.WhenRefused(w.replace)
	}
	switch {
	case next == 0:
		w.stop("the server does not tell UIDNEXT")
	case w.expunge == nil:
		w.stop("what writes the messages cannot expunge by UID")
	}
	return w, nil
}

func (f *Imposer) server() string {
	a := f.Account()
	return mailhaul.Server{Protocol: a.Protocol, Host: a.Host, Port: a.Port}.Addr()
}
