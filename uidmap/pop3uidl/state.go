package pop3uidl

// This file is what is remembered of comparisons.

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/uidmap"
)

// pair is what POP3 knows a message by.
type pair struct {
	uidl  mailhaul.UIDL
	order uint32
}

// state is what is known of INBOX.
type state struct {
	validity mailhaul.UIDValidity
	pairs    map[mailhaul.UID]pair
	made     []entry                // the pairs in the order in which they were made
	none     mailhaul.UIDSet        // compared, and in no pair
	late     mailhaul.UIDSet        // in no pair, but perhaps because POP3 was listed before they came
	rejected map[mailhaul.UIDL]bool // POP3's messages that IMAP does not have
	last     uint32                 // the highest order
}

// entry is a pair as it is saved.
type entry struct {
	UID   mailhaul.UID  `json:"uid"`
	UIDL  mailhaul.UIDL `json:"uidl"`
	Order uint32        `json:"order"`
}

func newState(v mailhaul.UIDValidity) state {
	return state{validity: v, pairs: make(map[mailhaul.UID]pair), rejected: make(map[mailhaul.UIDL]bool)}
}

func (s *state) put(e entry) {
	s.pairs[e.UID] = pair{e.UIDL, e.Order}
	s.made = append(s.made, e)
	s.last = max(s.last, e.Order)
}

// seen returns the UIDs that were compared.
func (s *state) seen() mailhaul.UIDSet {
	uids := make([]mailhaul.UID, 0, len(s.pairs))
	for uid := range s.pairs {
		uids = append(uids, uid)
	}
	slices.Sort(uids)
	return mailhaul.UIDSetOf(uids...).Union(s.none)
}

// residue returns what is to be compared of two listings: messages that are in
// no pair. Those of IMAP that had no counterpart before are compared with what
// POP3 lists anew.
func (s *state) residue(pop3 []uidmap.POP3Message, imap []uidmap.IMAPMessage) (newPOP3 []uidmap.POP3Message, newIMAP []uidmap.IMAPMessage) {
	taken := make(map[mailhaul.UIDL]bool, len(imap))
	rejected := make(map[mailhaul.UIDL]bool)
	for _, m := range imap {
		if p, ok := s.pairs[m.UID]; ok {
			taken[p.uidl] = true
		} else {
			newIMAP = append(newIMAP, m)
		}
	}
	for _, p := range pop3 {
		switch {
		case s.rejected[p.UIDL]:
			rejected[p.UIDL] = true
		case !taken[p.UIDL]:
			newPOP3 = append(newPOP3, p)
		}
	}
	s.rejected = rejected // what is listed no more is forgotten
	if !slices.ContainsFunc(newPOP3, func(p uidmap.POP3Message) bool { return uidmap.ValidUIDL(p.UIDL) }) {
		newPOP3 = nil // digests in the place of UIDLs, which are nothing to keep
	}
	return newPOP3, newIMAP
}

// add takes over what a comparison found, and returns how many pairs there were
// before. Messages above all pairs may have come since POP3 was listed: they are
// compared once more, with a later listing.
func (s *state) add(res uidmap.UIDLResult) (first int) {
	first = len(s.made)
	// In the first comparison a message's place is its number. Those that come
	// later follow in the order of their numbers: what is there already keeps
	// its place on the target.
	begin := s.last
	for n, p := range res.Pairs { // in the order of the numbers
		if !uidmap.ValidUIDL(p.UIDL) {
			s.none.Add(p.UID)
			s.rejected[p.UIDL] = true
			continue
		}
		order := uint32(p.Number)
		if begin > 0 {
			order = begin + uint32(n) + 1
		}
		s.none = s.none.Minus(mailhaul.UIDSetOf(p.UID))
		s.put(entry{p.UID, p.UIDL, order})
	}
	top := mailhaul.UID(0)
	for uid := range s.pairs {
		top = max(top, uid)
	}
	late := s.late
	s.late = nil
	for _, uid := range res.UnmatchedIMAP {
		if top == 0 || uid < top || late.Contains(uid) {
			s.none.Add(uid)
		} else {
			s.late.Add(uid)
		}
	}
	for _, u := range res.UnmatchedPOP3 {
		if u.Reason != uidmap.NoEvidence && u.UIDL != "" {
			s.rejected[u.UIDL] = true
		}
	}
	return first
}

// What is saved: a head, and the pairs in chunks. The head is written last, so
// that a chunk that it does not count is as if it was not there.

const (
	savedVersion = 1
	chunkSize    = 4096
)

type savedHead struct {
	Version  int                  `json:"version"`
	Validity mailhaul.UIDValidity `json:"uidvalidity"`
	Pairs    int                  `json:"pairs"`
	None     string               `json:"none,omitempty"`
	Rejected []mailhaul.UIDL      `json:"rejected,omitempty"`
}

// key is what a value of this pair of accounts is saved under.
func (s *Source) key(v mailhaul.UIDValidity, chunk int) string {
	sum := sha256.Sum256([]byte(s.Account().String() + "\x00" + s.cfg.POP3.Account().String()))
	name := hex.EncodeToString(sum[:16])
	if chunk < 0 {
		return name
	}
	return fmt.Sprintf("%s/%d/%d", name, v, chunk)
}

// save saves the state, of which the pairs from first on are new.
func (s *Source) save(ctx context.Context, first int) error {
	if s.cfg.Memory == nil {
		return nil
	}
	s.mu.Lock()
	st := s.state
	s.mu.Unlock()
	for at := first / chunkSize * chunkSize; at < len(st.made); at += chunkSize {
		text, err := json.Marshal(st.made[at:min(at+chunkSize, len(st.made))])
		if err != nil {
			return err
		}
		if err := s.cfg.Memory.Save(ctx, s.key(st.validity, at/chunkSize), text); err != nil {
			return err
		}
	}
	head := savedHead{Version: savedVersion, Validity: st.validity, Pairs: len(st.made), None: st.none.String()}
	for uidl := range st.rejected {
		head.Rejected = append(head.Rejected, uidl)
	}
	slices.SortFunc(head.Rejected, cmp.Compare)
	text, err := json.Marshal(head)
	if err != nil {
		return err
	}
	return s.cfg.Memory.Save(ctx, s.key(st.validity, -1), text)
}

// load reads what earlier runs have found, once. What cannot be understood is
// found out again.
func (s *Source) load(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loaded {
		return nil
	}
	s.state = newState(0)
	if s.cfg.Memory == nil {
		s.loaded = true
		return nil
	}
	text, err := s.cfg.Memory.Load(ctx, s.key(0, -1))
	if err != nil {
		return err
	}
	s.loaded = true
	var head savedHead
	if text == nil || json.Unmarshal(text, &head) != nil || head.Version != savedVersion {
		return nil
	}
	st := newState(head.Validity)
	if head.None != "" {
		if st.none, err = mailhaul.ParseUIDSet(head.None); err != nil {
			return nil
		}
	}
	for _, uidl := range head.Rejected {
		st.rejected[uidl] = true
	}
	for chunk := 0; len(st.made) < head.Pairs; chunk++ {
		text, err := s.cfg.Memory.Load(ctx, s.key(head.Validity, chunk))
		if err != nil {
			return err
		}
		var entries []entry
		if json.Unmarshal(text, &entries) != nil || len(entries) == 0 {
			return nil
		}
		for _, e := range entries[:min(len(entries), head.Pairs-len(st.made))] {
			st.put(e)
		}
	}
	s.state = st
	return nil
}
