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
	if s.view != nil {
		s.sync(true)
		s.out.flush()
		pusher.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-s.view.news:
					if !s.view.orphaned() {
						s.sync(true)
						s.out.flush()
					}
				}
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
