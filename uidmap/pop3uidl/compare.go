package pop3uidl

// This file compares what the two protocols list, and reads what decides.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/uidmap"
)

// compare finds the UIDLs of messages that were not seen before. It is for
// whoever holds the turn. Mail that may have come between the two listings is
// left for the next comparison.
func (s *Source) compare(ctx context.Context, m mailhaul.Mailbox) error {
	s.logout()
	pop3, err := s.listPOP3(ctx)
	if err != nil {
		return err
	}
	s.logout()
	imap, validity, err := s.listIMAP(ctx, m)
	if err != nil {
		return err
	}
	s.mu.Lock()
	if s.state.validity != validity {
		s.state = newState(validity)
	}
	st := &s.state // only the holder of the turn changes it
	s.mu.Unlock()

	newPOP3, newIMAP := st.residue(pop3, imap)
	c := &comparison{Source: s, box: m, validity: validity, listed: pop3}
	res, err := c.run(ctx, newPOP3, newIMAP)
	if err != nil {
		return err
	}
	s.mu.Lock()
	first := st.add(res)
	s.note(res)
	s.mu.Unlock()
	return s.save(ctx, first)
}

// note puts what a comparison found into the report. s.mu is held.
func (s *Source) note(res uidmap.UIDLResult) {
	r := &s.report
	if r.Pairs == nil {
		r.Pairs = make(map[uidmap.UIDLBasis]int)
	}
	for _, p := range res.Pairs {
		if uidmap.ValidUIDL(p.UIDL) {
			r.Pairs[p.Basis]++
		}
		r.Unmatched = slices.DeleteFunc(r.Unmatched, func(u uidmap.UnmatchedUIDL) bool { return u.UIDL == p.UIDL })
	}
	if res.Formula != (uidmap.Formula{}) {
		r.Formula = res.Formula
	}
	for _, u := range res.UnmatchedPOP3 {
		if !slices.ContainsFunc(r.Unmatched, func(v uidmap.UnmatchedUIDL) bool { return v.UIDL == u.UIDL }) {
			r.Unmatched = append(r.Unmatched, u)
		}
	}
	r.WithoutUIDL = slices.Clone(s.state.none)
	r.Headers += res.Asked[uidmap.POP3Header]
	r.Bodies += res.Asked[uidmap.POP3Body]
	s.cfg.Logger.Info("UIDLs were compared", "pairs", len(res.Pairs), "formula", res.Formula.String(),
		"pop3 only", len(res.UnmatchedPOP3), "imap only", len(res.UnmatchedIMAP), "headers", res.Asked[uidmap.POP3Header], "rounds", res.Rounds)
}

// inboxOverPOP3 is the one mailbox of a POP3 account.
var inboxOverPOP3 = mailhaul.Mailbox{Path: []string{"INBOX"}, Name: "INBOX", Wire: "INBOX", Role: mailhaul.RoleInbox}

// listPOP3 returns the maildrop's messages by their numbers.
func (s *Source) listPOP3(ctx context.Context) ([]uidmap.POP3Message, error) {
	r, err := s.cfg.POP3.OpenReader(ctx, inboxOverPOP3)
	if err != nil {
		return nil, err
	}
	list, err := listingOf(ctx, r)
	return list, errors.Join(err, r.Close())
}

func listingOf(ctx context.Context, r mailhaul.Reader) ([]uidmap.POP3Message, error) {
	uids, err := r.UIDs(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]uidmap.POP3Message, 0, uids.Len())
	for m, err := range r.Messages(ctx, uids, mailhaul.FieldSize, 0) {
		if err != nil {
			return nil, err
		}
		list = append(list, uidmap.POP3Message{Number: int(m.UID), UIDL: m.UIDL, Size: m.Size})
	}
	return list, nil
}

// listIMAP returns the messages of INBOX, and its UIDVALIDITY.
func (s *Source) listIMAP(ctx context.Context, m mailhaul.Mailbox) (list []uidmap.IMAPMessage, v mailhaul.UIDValidity, err error) {
	r, uids, err := s.open(ctx, m)
	if err != nil {
		return nil, 0, err
	}
	v = r.Status().UIDValidity
	list = make([]uidmap.IMAPMessage, 0, uids.Len())
	for m, err := range r.Messages(ctx, uids, mailhaul.FieldSize, 0) {
		if err != nil {
			return nil, 0, errors.Join(err, r.Close())
		}
		list = append(list, uidmap.IMAPMessage{UID: m.UID, Size: m.Size})
	}
	return list, v, r.Close()
}

// comparison is one run of the matcher.
type comparison struct {
	*Source
	box      mailhaul.Mailbox
	validity mailhaul.UIDValidity
	listed   []uidmap.POP3Message // what POP3 listed, as requests name it

	sessions int  // of POP3 that were lost
	silent   bool // POP3 is not asked any more
}

// run answers what the matcher asks for.
func (c *comparison) run(ctx context.Context, pop3 []uidmap.POP3Message, imap []uidmap.IMAPMessage) (uidmap.UIDLResult, error) {
	m, err := uidmap.NewUIDLMatcher(pop3, imap, uidmap.UIDLConfig{UIDValidity: c.validity, Thorough: c.cfg.Thorough, NoRETR: !c.cfg.Bodies})
	if err != nil {
		return uidmap.UIDLResult{}, &mailhaul.Error{Op: "compare the listings of", Mailbox: c.box.Name, Kind: mailhaul.Corrupt, Scope: mailhaul.ScopeMailbox, Err: err}
	}
	for !m.Done() {
		by := make(map[uidmap.Evidence][]uidmap.Request)
		for _, r := range m.Need() {
			by[r.Evidence] = append(by[r.Evidence], r)
		}
		if err := c.answerIMAP(ctx, m, by[uidmap.IMAPHeader], by[uidmap.IMAPBody]); err != nil {
			return uidmap.UIDLResult{}, err
		}
		if err := c.answerPOP3(ctx, m, by[uidmap.POP3Header], by[uidmap.POP3Body]); err != nil {
			return uidmap.UIDLResult{}, err
		}
	}
	return m.Result(), nil
}

// errChanged is another UIDVALIDITY than a moment ago.
var errChanged = errors.New("INBOX was replaced by another while it was compared")

// answerIMAP answers requests about IMAP messages.
func (c *comparison) answerIMAP(ctx context.Context, m *uidmap.UIDLMatcher, headers, bodies []uidmap.Request) error {
	if len(headers)+len(bodies) == 0 {
		return nil
	}
	r, err := c.Source.Source.OpenReader(ctx, c.box)
	if err != nil {
		return err
	}
	if r.Status().UIDValidity != c.validity {
		return errors.Join(&mailhaul.Error{Op: "open", Mailbox: c.box.Name, Kind: mailhaul.Transient, Scope: mailhaul.ScopeMailbox, Err: errChanged}, r.Close())
	}
	uid := func(r uidmap.Request) mailhaul.UID { return r.UID }
	err = readHeaders(ctx, r, m, requestsBy(headers, uid))
	if err == nil {
		err = readBodies(ctx, r, m, requestsBy(bodies, uid))
	}
	return errors.Join(err, r.Close())
}

// requestsBy returns the requests by what a Reader knows the message by.
func requestsBy(requests []uidmap.Request, uid func(uidmap.Request) mailhaul.UID) map[mailhaul.UID]uidmap.Request {
	out := make(map[mailhaul.UID]uidmap.Request, len(requests))
	for _, r := range requests {
		out[uid(r)] = r
	}
	return out
}

func setOf(requests map[mailhaul.UID]uidmap.Request) mailhaul.UIDSet {
	uids := make([]mailhaul.UID, 0, len(requests))
	for uid := range requests {
		uids = append(uids, uid)
	}
	slices.Sort(uids)
	return mailhaul.UIDSetOf(uids...)
}

// readHeaders answers requests for headers, and takes them out of the map. What
// the server leaves out is answered too, when it has answered.
func readHeaders(ctx context.Context, r mailhaul.Reader, m *uidmap.UIDLMatcher, requests map[mailhaul.UID]uidmap.Request) error {
	for msg, err := range r.Messages(ctx, setOf(requests), mailhaul.FieldWholeHeader, 0) {
		if err != nil {
			return err
		}
		if req, ok := requests[msg.UID]; ok {
			if len(msg.Header) == 0 {
				m.Unavailable(req)
			} else {
				m.Header(req, msg.Header)
			}
			delete(requests, msg.UID)
		}
	}
	for uid, req := range requests {
		m.Unavailable(req)
		delete(requests, uid)
	}
	return nil
}

// bodiesAtOnce bounds the memory that bodies take on their way.
const bodiesAtOnce = 16

// readBodies is readHeaders for bodies.
func readBodies(ctx context.Context, r mailhaul.Reader, m *uidmap.UIDLMatcher, requests map[mailhaul.UID]uidmap.Request) error {
	d := uidmap.NewDigester()
	for chunk := range setOf(requests).Chunks(bodiesAtOnce) {
		answer, err := r.Fetch(ctx, chunk, false)
		if err != nil {
			return err
		}
		for f, err := range answer {
			if e, ok := errors.AsType[*mailhaul.Error](err); ok && e.Scope == mailhaul.ScopeMessage {
				continue // it is left out, and answered for below
			}
			if err != nil {
				return err
			}
			d.Reset()
			_, err = io.Copy(d, f.Body.Reader())
			f.Body.Release()
			if err != nil {
				return err
			}
			if req, ok := requests[f.UID]; ok {
				m.Body(req, d.Sum())
				delete(requests, f.UID)
			}
		}
		for uid := range chunk.All() {
			if req, ok := requests[uid]; ok {
				m.Unavailable(req)
				delete(requests, uid)
			}
		}
	}
	return nil
}

// mostSessions is how many POP3 sessions may be lost in one comparison before
// what is left is done without.
const mostSessions = 12

// answerPOP3 answers requests about POP3 messages, in sessions of their own. A
// session that is lost is followed by another, which asks for less at once, so
// that a message that the server cannot hand out is found, and left out. The
// error is the context's.
func (c *comparison) answerPOP3(ctx context.Context, m *uidmap.UIDLMatcher, headers, bodies []uidmap.Request) error {
	if len(headers)+len(bodies) == 0 {
		return nil
	}
	defer c.logout()
	byNumber := func(r uidmap.Request) int { return r.Number }
	for _, kind := range []struct {
		requests []uidmap.Request
		read     func(context.Context, mailhaul.Reader, *uidmap.UIDLMatcher, map[mailhaul.UID]uidmap.Request) error
	}{{headers, readHeaders}, {bodies, readBodies}} {
		left := slices.Clone(kind.requests)
		slices.SortFunc(left, func(a, b uidmap.Request) int { return cmp.Compare(byNumber(a), byNumber(b)) })
		for atOnce := 512; len(left) > 0 && !c.silent; {
			done, err := c.session(ctx, m, left, atOnce, kind.read)
			left = left[done:]
			switch {
			case err == nil:
			case ctx.Err() != nil:
				return err
			default:
				if done == 0 && atOnce == 1 {
					m.Unavailable(left[0])
					left = left[1:]
				}
				if done == 0 {
					atOnce = max(1, atOnce/8)
				}
				if err := c.lost(ctx, err); err != nil {
					return err
				}
			}
		}
		for _, r := range left {
			m.Unavailable(r)
		}
	}
	return nil
}

// session answers requests, in order, as long as it lasts, and returns how many.
func (c *comparison) session(ctx context.Context, m *uidmap.UIDLMatcher, requests []uidmap.Request, atOnce int,
	read func(context.Context, mailhaul.Reader, *uidmap.UIDLMatcher, map[mailhaul.UID]uidmap.Request) error) (done int, err error) {
	r, err := c.cfg.POP3.OpenReader(ctx, inboxOverPOP3)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	now, err := listingOf(ctx, r)
	if err != nil {
		return 0, err
	}
	number := renumber(c.listed, now)
	for done < len(requests) {
		part := requests[done:min(done+atOnce, len(requests))]
		wanted := make(map[mailhaul.UID]uidmap.Request, len(part))
		for _, q := range part {
			if n := number(q); n != 0 {
				wanted[mailhaul.UID(n)] = q
			} else {
				m.Unavailable(q)
			}
		}
		if err := read(ctx, r, m, wanted); err != nil {
			return done, err
		}
		done += len(part)
	}
	return done, nil
}

// lost decides what follows when a POP3 session was lost, and waits before the
// next. The error is the context's.
func (c *comparison) lost(ctx context.Context, err error) error {
	c.sessions++
	e, ok := errors.AsType[*mailhaul.Error](err)
	again := ok && c.sessions < mostSessions
	if ok {
		switch e.Kind {
		case mailhaul.Transient, mailhaul.Throttled, mailhaul.Conflict, mailhaul.Corrupt:
		default:
			again = false
		}
	}
	if !again {
		c.silent = true
		c.warn(fmt.Sprintf("UIDLs: POP3 did not tell all that was asked for (%v); what only that could decide stays undecided", err))
		return nil
	}
	wait := e.Wait
	if wait <= 0 {
		wait = min(time.Duration(c.sessions)*250*time.Millisecond, 2*time.Second)
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// renumber returns what finds the messages of one listing in another. What has
// a UIDL that others have too is found where it has not moved.
func renumber(then, now []uidmap.POP3Message) func(uidmap.Request) int {
	byUIDL := make(map[mailhaul.UIDL]int, len(now))
	for _, p := range now {
		if _, twice := byUIDL[p.UIDL]; twice {
			byUIDL[p.UIDL] = 0
		} else {
			byUIDL[p.UIDL] = p.Number
		}
	}
	size := make(map[int]int64, len(then))
	for _, p := range then {
		size[p.Number] = p.Size
	}
	return func(q uidmap.Request) int {
		if n := byUIDL[q.UIDL]; n != 0 && q.UIDL != "" {
			return n
		}
		if q.Number <= len(now) && len(now) >= len(then) {
			if p := now[q.Number-1]; p.Number == q.Number && p.UIDL == q.UIDL && p.Size == size[q.Number] {
				return q.Number
			}
		}
		return 0
	}
}
