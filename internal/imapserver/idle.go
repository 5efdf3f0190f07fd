// IDLE (RFC 2177).

package imapserver

import (
	"strings"
	"sync"
)

func (s *Session) idle(p *parser) reply {
	if !p.end() {
		return bad("Error in IDLE arguments.")
	}
	s.out.line("+ idling")
	s.out.flush()
	// The pusher owns the output until DONE; this goroutine only reads.
	stop := make(chan struct{})
	var pusher sync.WaitGroup
	var news, told chan struct{} // nil: nothing comes
	push := func() {
		if s.view != nil && !s.view.orphaned() {
			s.sync(true)
		}
		if s.told != nil {
			s.tellAll()
		}
		s.out.flush()
	}
	if s.view != nil {
		news = s.view.news
	}
	if s.told != nil {
		told = s.told.news
	}
	if news != nil || told != nil {
		push()
		pusher.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-news:
				case <-told:
				}
				push()
			}
		})
	}
	s.out.lent = true
	line, err := s.readLine()
	close(stop)
	pusher.Wait()
	s.out.lent = false
	if err != nil {
		return reply{err: err}
	}
	if !strings.EqualFold(string(line), "DONE") {
		return bad("Expected DONE.")
	}
	return ok("Idle completed.")
}
