package pop3x

// How messages are removed: the one thing here that changes the maildrop.

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/mailhaul/mailhaul"
)

var _ mailhaul.Remover = (*Source)(nil)

// opDelete is what errors of Remove are about.
const opDelete = "delete messages of"

// deletesAhead is how many DELE may be ahead of their answers.
const deletesAhead = 100

// Remove implements [mailhaul.Remover], in the session that is kept from the last
// Reader (a server may not allow another so soon, LOGIN-DELAY) or else in one of
// its own: DELE for each message, and QUIT, whose answer is what counts (RFC 1939 section 6: until
// then nothing is removed, and if the connection is lost nothing will be).
//
// A message is known by its UIDL and its size; one whose UIDL others have too,
// or that has none of the server's making, is left alone, and so are all where
// the server's UIDLs are but the numbers of the messages.
func (s *Source) Remove(ctx context.Context, m mailhaul.Mailbox, messages []mailhaul.Message) ([]mailhaul.Message, error) {
	if m.Wire != inbox {
		e := faultOf(&s.cfg, opDelete, mailhaul.Conflict, mailhaul.ScopeMailbox, errors.New("a POP3 account has no mailbox but INBOX"))
		e.Mailbox = m.Name
		return nil, e
	}
	if len(messages) == 0 {
		return nil, nil
	}
	sess, err := s.take(ctx, false)
	if err != nil {
		return nil, err
	}
	defer func() { <-s.slot }()
	defer s.forget(sess.conn)
	removed, err := sess.remove(ctx, messages)
	sess.kill(mailhaul.ErrClosed) // without QUIT, nothing is removed
	return removed, err
}

// remove marks the messages and says QUIT.
func (s *session) remove(ctx context.Context, messages []mailhaul.Message) ([]mailhaul.Message, error) {
	found := s.find(messages)
	if len(found) == 0 {
		_, err := s.ask(opQuit, "QUIT")
		return nil, err
	}
	stop := s.while(ctx)
	defer stop()
	s.phase = opDelete
	ahead := 1
	if s.pipelined && s.src.facts.get(provedPipelining) {
		ahead = deletesAhead
	}
	var marked []mailhaul.Message
	for len(found) > 0 {
		batch := found[:min(ahead, len(found))]
		found = found[len(batch):]
		for _, f := range batch {
			if err := s.mayAsk(0); err != nil {
				return nil, err
			}
			line := fmt.Sprintf("DELE %d", f.number)
			if err := s.say(line, line); err != nil {
				return nil, err
			}
		}
		if err := s.flush(); err != nil {
			return nil, err
		}
		for _, f := range batch {
			st, err := s.status()
			if err != nil {
				return nil, err
			}
			if st.ok {
				marked = append(marked, f.message)
				continue
			}
			s.src.warn("the server refused to delete some messages, which are still there: " + quote(s.redact(st.text)))
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, s.cancelled(ctx)
	}
	st, err := s.ask(opQuit, "QUIT")
	switch {
	case err != nil:
		e := s.fault(opDelete, mailhaul.Transient, mailhaul.ScopeConnection, fmt.Errorf("%w: %w", mailhaul.ErrUncertain, err))
		e.Mailbox, e.Hint = inbox, "a further run shows what is still there"
		return nil, e
	case !st.ok:
		e := s.fault(opDelete, mailhaul.Transient, mailhaul.ScopeMailbox, fmt.Errorf("%w: %w", mailhaul.ErrUncertain, &refusal{st}))
		e.Mailbox, e.Hint = inbox, "a further run shows what is still there"
		return nil, e
	}
	return marked, nil
}

// foundMessage is a message and its number in this session.
type foundMessage struct {
	number  int
	message mailhaul.Message
}

// find returns the messages that are certainly in this session's listing.
func (s *session) find(messages []mailhaul.Message) (found []foundMessage) {
	if s.own {
		return nil
	}
	numbers := make(map[mailhaul.UIDL]int, len(s.list))
	counters := true // the UIDLs are but numbers
	for i, e := range s.list {
		if _, twice := numbers[e.uidl]; twice {
			numbers[e.uidl] = 0
		} else {
			numbers[e.uidl] = i + 1
		}
		counters = counters && string(e.uidl) == strconv.Itoa(i+1)
	}
	if counters {
		s.src.warn("the server's unique-ids are but the numbers of the messages, so that none is deleted by them")
		return nil
	}
	for _, m := range messages {
		n := numbers[m.UIDL]
		if n == 0 || s.list[n-1].size != m.Size {
			continue
		}
		numbers[m.UIDL] = 0 // each once
		found = append(found, foundMessage{n, m})
	}
	return found
}
