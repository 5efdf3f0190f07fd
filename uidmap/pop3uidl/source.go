package pop3uidl

// This file is the Source: an IMAP account whose INBOX tells UIDLs.

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/uidmap"
)

// Memory keeps small values between runs. checkpoint.Notes is one.
type Memory interface {
	// Load returns what was saved under the key, or nil.
	Load(ctx context.Context, key string) ([]byte, error)
	// Save replaces what is saved under the key, durably.
	Save(ctx context.Context, key string, value []byte) error
}

// Config says which account a [Source] is for. IMAP and POP3 are needed.
type Config struct {
	// IMAP is where the mail comes from. POP3 is the same account over POP3,
	// such as a pop3x.Source: it is only asked for its listing and for headers.
	// Both belong to the Source from New on, and Close closes them.
	IMAP, POP3 mailhaul.Source

	// Memory keeps what was found. Default: it is forgotten with the Source.
	Memory Memory

	// Bodies allows bodies to be fetched over POP3 where nothing else decides,
	// which is between messages with the same header and size. It may mark mail
	// as read on the source. Default: such messages get no UIDL.
	Bodies bool

	// Thorough compares the header of every message that no formula explains.
	// See [uidmap.UIDLConfig].
	Thorough bool

	// Logger is told what was found. Default: nobody.
	Logger *slog.Logger
}

// Source is an IMAP account whose INBOX tells UIDLs. It is safe for concurrent
// use, and waits for nothing but the two servers.
type Source struct {
	mailhaul.Source // IMAP
	cfg             Config
	turn            chan struct{} // held by whoever compares the two listings

	mu       sync.Mutex // protects what follows
	loaded   bool
	checked  bool // the POP3 account lets us in
	state    state
	report   Report
	warnings []string
}

var (
	_ mailhaul.UIDLTeller = (*Source)(nil)
	_ mailhaul.Warner     = (*Source)(nil)
	_ mailhaul.Meter      = (*Source)(nil)
)

// New returns a Source. It connects to nothing yet.
func New(cfg Config) (*Source, error) {
	if cfg.IMAP == nil || cfg.POP3 == nil {
		return nil, errors.New("pop3uidl: bad configuration: IMAP and POP3 are both needed")
	}
	if p := cfg.POP3.Account().Protocol; p != mailhaul.POP3 {
		return nil, fmt.Errorf("pop3uidl: bad configuration: POP3 is an account over %q", p)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Source{Source: cfg.IMAP, cfg: cfg, turn: make(chan struct{}, 1)}, nil
}

// Unwrap lets mailhaul.As see the IMAP account.
func (s *Source) Unwrap() mailhaul.Source { return s.Source }

// TellsUIDLs implements [mailhaul.UIDLTeller]: POP3 shows INBOX only.
func (s *Source) TellsUIDLs(m mailhaul.Mailbox) bool { return m.IsInbox() }

// List implements [mailhaul.Source]. The first time it also logs in over POP3,
// so that a password that is refused shows before anything is moved. A maildrop
// that is in use is no error here.
func (s *Source) List(ctx context.Context) (*mailhaul.Listing, error) {
	s.mu.Lock()
	checked := s.checked
	s.mu.Unlock()
	if !checked {
		if _, err := s.cfg.POP3.List(ctx); err != nil {
			return nil, err
		}
		s.logout()
		s.mu.Lock()
		s.checked = true
		s.mu.Unlock()
	}
	return s.Source.List(ctx)
}

// logout ends the POP3 session that is kept, so that the maildrop is free.
func (s *Source) logout() {
	if l, ok := mailhaul.As[interface{ Logout() }](s.cfg.POP3); ok {
		l.Logout()
	}
}

// Close implements [mailhaul.Source]: it closes both accounts.
func (s *Source) Close() error {
	return errors.Join(s.Source.Close(), s.cfg.POP3.Close())
}

// Traffic implements [mailhaul.Meter]: that of both accounts.
func (s *Source) Traffic() (sum mailhaul.Traffic) {
	for _, side := range []mailhaul.Source{s.Source, s.cfg.POP3} {
		if m, ok := mailhaul.As[mailhaul.Meter](side); ok {
			t := m.Traffic()
			sum.RoundTrips += t.RoundTrips
			sum.BytesIn += t.BytesIn
			sum.BytesOut += t.BytesOut
			sum.Commands += t.Commands
			sum.Connections += t.Connections
		}
	}
	return sum
}

// Warnings implements [mailhaul.Warner]: those of both accounts, and what is
// less than certain of the UIDLs.
func (s *Source) Warnings() (out []string) {
	for _, side := range []mailhaul.Source{s.Source, s.cfg.POP3} {
		if w, ok := mailhaul.As[mailhaul.Warner](side); ok {
			out = append(out, w.Warnings()...)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return append(append(out, s.warnings...), s.report.sentences()...)
}

func (s *Source) warn(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.warnings, text) {
		s.warnings = append(s.warnings, text)
		s.cfg.Logger.Warn(text)
	}
}

// Report says what this Source has found out so far, in all comparisons that it
// made. What earlier runs have found is not in it.
type Report struct {
	// Pairs counts the messages that were found on both sides, by the evidence.
	Pairs map[uidmap.UIDLBasis]int
	// Formula is how the server makes UIDLs, where that is known.
	Formula uidmap.Formula
	// Unmatched are messages that POP3 lists and IMAP does not, as far as can
	// be told: no copy has their UIDL.
	Unmatched []uidmap.UnmatchedUIDL
	// WithoutUIDL are messages of INBOX that have none.
	WithoutUIDL mailhaul.UIDSet
	// Headers counts the headers that were asked for by TOP, and Bodies the
	// bodies that were fetched, over POP3.
	Headers, Bodies int
}

// Report returns what was found out so far.
func (s *Source) Report() Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.report
	r.Pairs = maps.Clone(r.Pairs)
	r.Unmatched = slices.Clone(r.Unmatched)
	r.WithoutUIDL = slices.Clone(r.WithoutUIDL)
	return r
}

// sentences are what an operator should know.
func (r *Report) sentences() (out []string) {
	degrees := make(map[uidmap.Confidence]int)
	total := 0
	for basis, n := range r.Pairs {
		degrees[basis.Confidence()] += n
		total += n
	}
	if n := degrees[uidmap.Inferred] + degrees[uidmap.Interchangeable]; n > 0 {
		out = append(out, fmt.Sprintf("UIDLs: %d of %d are proved; %d were inferred from the sizes of neighbours or from a few header fields, %d are of messages that are copies of one another and may have changed places",
			degrees[uidmap.Proved], total, degrees[uidmap.Inferred], degrees[uidmap.Interchangeable]))
	}
	if len(r.Unmatched) > 0 {
		reasons := make(map[uidmap.UnmatchedReason]int)
		for _, u := range r.Unmatched {
			reasons[u.Reason]++
		}
		var parts []string
		for _, reason := range slices.Sorted(maps.Keys(reasons)) {
			parts = append(parts, fmt.Sprintf("%d: %s", reasons[reason], reason))
		}
		var names []string
		for _, u := range r.Unmatched[:min(len(r.Unmatched), 5)] {
			names = append(names, fmt.Sprintf("%.80q", string(u.UIDL)))
		}
		more := ""
		if len(names) < len(r.Unmatched) {
			more = ", …"
		}
		out = append(out, fmt.Sprintf("UIDLs: of %d messages that POP3 lists it could not be told which they are over IMAP (%s): %s%s",
			len(r.Unmatched), strings.Join(parts, "; "), strings.Join(names, ", "), more))
	}
	if n := r.WithoutUIDL.Len(); n > 0 {
		out = append(out, fmt.Sprintf("UIDLs: %d messages of INBOX have none, since they were not found over POP3; they are moved without", n))
	}
	return out
}

// OpenReader implements [mailhaul.Source]. A Reader of INBOX tells UIDLs, and
// holds no message that came after they were found out: such a message is in
// the next Reader, with its UIDL.
func (s *Source) OpenReader(ctx context.Context, m mailhaul.Mailbox) (mailhaul.Reader, error) {
	if !m.IsInbox() {
		return s.Source.OpenReader(ctx, m)
	}
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, &mailhaul.Error{Op: "open", Mailbox: m.Name, Account: s.Account().String(), Kind: mailhaul.Transient, Scope: mailhaul.ScopeMailbox, Err: ctx.Err()}
	}
	defer func() { <-s.turn }()
	if err := s.load(ctx); err != nil {
		return nil, err
	}
	// A mailbox that is changed all the time is compared a few times, and
	// what came last waits for the next Reader.
	const most = 3
	for n := 1; ; n++ {
		r, uids, err := s.open(ctx, m)
		if err != nil {
			return nil, err
		}
		st := r.Status()
		unseen := s.unseen(st.UIDValidity, uids)
		if unseen.Len() == 0 || n > most && s.holds(st.UIDValidity) {
			return s.telling(r, uids.Minus(unseen), unseen), nil
		}
		if err := r.Close(); err != nil {
			return nil, err
		}
		if err := s.compare(ctx, m); err != nil {
			return nil, err
		}
	}
}

// open opens INBOX over IMAP and lists its UIDs.
func (s *Source) open(ctx context.Context, m mailhaul.Mailbox) (mailhaul.Reader, mailhaul.UIDSet, error) {
	r, err := s.Source.OpenReader(ctx, m)
	if err != nil {
		return nil, nil, err
	}
	if r.Status().Messages == 0 {
		return r, nil, nil
	}
	uids, err := r.UIDs(ctx)
	if err != nil {
		return nil, nil, errors.Join(err, r.Close())
	}
	return r, uids, nil
}

// unseen returns the UIDs that were never compared.
func (s *Source) unseen(v mailhaul.UIDValidity, uids mailhaul.UIDSet) mailhaul.UIDSet {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.validity != v {
		return uids
	}
	return uids.Minus(s.state.seen())
}

func (s *Source) holds(v mailhaul.UIDValidity) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.validity == v
}

// telling decorates a Reader of INBOX.
func (s *Source) telling(r mailhaul.Reader, uids, unseen mailhaul.UIDSet) mailhaul.Reader {
	s.mu.Lock()
	defer s.mu.Unlock()
	pairs := make(map[mailhaul.UID]pair, len(s.state.pairs))
	for uid, p := range s.state.pairs {
		if uids.Contains(uid) {
			pairs[uid] = p
		}
	}
	st := r.Status()
	if len(unseen) > 0 { // they are still to come, for whoever compares states
		st.Messages = uint32(uids.Len())
		st.UIDNext = unseen[0].First
	}
	return &reader{Reader: r, status: st, uids: uids, pairs: pairs}
}

// reader is INBOX over IMAP, with UIDLs.
type reader struct {
	mailhaul.Reader
	status mailhaul.Status
	uids   mailhaul.UIDSet
	pairs  map[mailhaul.UID]pair
}

// Status implements [mailhaul.Reader]: that of the messages that were compared.
func (r *reader) Status() mailhaul.Status { return r.status }

// Unwrap lets mailhaul.As see the Reader over IMAP.
func (r *reader) Unwrap() mailhaul.Reader { return r.Reader }

// UIDs implements [mailhaul.Reader]: of the messages that were compared.
func (r *reader) UIDs(ctx context.Context) (mailhaul.UIDSet, error) {
	uids, err := r.Reader.UIDs(ctx)
	return uids.Intersect(r.uids), err
}

// Messages implements [mailhaul.Reader].
func (r *reader) Messages(ctx context.Context, set mailhaul.UIDSet, f mailhaul.Fields, since mailhaul.ModSeq) iter.Seq2[mailhaul.Message, error] {
	return func(yield func(mailhaul.Message, error) bool) {
		for m, err := range r.Reader.Messages(ctx, set, f, since) {
			if p, ok := r.pairs[m.UID]; ok && err == nil {
				m.UIDL, m.Order = p.uidl, p.order
			}
			if !yield(m, err) {
				return
			}
		}
	}
}
