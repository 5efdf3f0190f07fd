// COMPRESS=DEFLATE (RFC 4978).

package imapserver

import (
	"compress/flate"
	"strings"
)

func (s *Session) compress(p *parser) reply {
	p.space()
	if algorithm := strings.ToUpper(p.atom()); !p.end() || algorithm != "DEFLATE" {
		return bad("Error in COMPRESS arguments.")
	}
	if s.compressed {
		return no("[COMPRESSIONACTIVE] Compression is already active.")
	}
	s.respond(ok("Begin compression."))
	s.out.flush()
	if s.out.broken != nil {
		return reply{err: s.out.broken}
	}
	w, err := flate.NewWriter(s.conn, flate.BestSpeed)
	if err != nil {
		return reply{err: err}
	}
	s.compressed = true
	s.out.flate = w
	s.out.w.Reset(w)
	// Nothing is pipelined behind COMPRESS (RFC 4978 section 3): what has been
	// read already is compressed.
	rest, _ := s.r.Peek(s.r.Buffered())
	rest = append([]byte(nil), rest...)
	s.r.Reset(flushReader{flate.NewReader(&leftover{rest, flushReader{s.conn, &s.out}}), &s.out})
	return reply{}
}

// leftover gives out what had been read ahead, then reads on.
type leftover struct {
	head []byte
	r    flushReader
}

func (l *leftover) Read(p []byte) (int, error) {
	if len(l.head) > 0 {
		n := copy(p, l.head)
		l.head = l.head[n:]
		return n, nil
	}
	return l.r.Read(p)
}
