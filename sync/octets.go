// Octets that some servers alter without saying so, and how they are found.

package sync

import (
	"bytes"
	"crypto/sha256"
	"hash"
	"io"
	"math"
	"sync/atomic"

	"github.com/mailhaul/mailhaul"
)

// inspector is a writer that looks for what servers are known to alter in
// silence: NUL (Dovecot stores 0x80), a bare CR, a bare LF, and an octet above
// 0x7f in the header (Cyrus stores X, unless it is told otherwise).
type inspector struct {
	risky bool // a NUL, a bare CR or a bare LF
	eight bool // an octet above 0x7f in the header
	cr    bool // the last octet was a CR
	body  bool // the header has ended
	line  bool // the line of the header that began has something in it
}

// header looks at octets of the header.
func (i *inspector) header(p []byte) {
	for _, c := range p {
		switch {
		case c >= 0x80:
			i.eight = true
			return
		case c == '\n' && !i.line:
			i.body = true
			return
		case c != '\r':
			i.line = c != '\n'
		}
	}
}

func (i *inspector) Write(p []byte) (int, error) {
	n := len(p)
	if !i.eight && !i.body {
		i.header(p)
	}
	if i.risky || n == 0 {
		return n, nil
	}
	if i.cr && p[0] != '\n' || bytes.IndexByte(p, 0) >= 0 {
		i.risky = true
		return n, nil
	}
	prev := i.cr // whether a CR stands before p
	crs, lfs := 0, 0
	for rest := p; ; {
		k := bytes.IndexByte(rest, '\n')
		if k < 0 {
			break
		}
		lfs++
		if k > 0 && rest[k-1] == '\r' || k == 0 && prev && lfs == 1 {
			crs++
		} else {
			i.risky = true
			return n, nil
		}
		rest = rest[k+1:]
	}
	// Every LF has its CR; a CR more than that is bare, unless it is the last
	// octet of p or stood before it.
	all := bytes.Count(p, []byte{'\r'})
	if prev && p[0] == '\n' {
		crs--
	}
	i.cr = p[n-1] == '\r'
	if i.cr {
		all--
	}
	i.risky = all != crs
	return n, nil
}

// end is called after the last octet: a CR there is bare.
func (i *inspector) end() (risky, eight bool) { return i.risky || i.cr, i.eight }

// fingerprint says which octets must be found on the target.
type fingerprint struct {
	sum  [sha256.Size]byte
	size int64

	// eight is set where nothing is at risk but octets above 0x7f in the header.
	eight bool
}

// of reports whether octets with that sum are those that must be found.
func (f fingerprint) of(got fingerprint) bool { return f.sum == got.sum && f.size == got.size }

// provesEight is how many messages with octets above 0x7f in the header a target
// has to give back as they were before it is taken to keep them all: it is a
// matter of the server's settings, not of the message.
const provesEight = 8

// eightBit is what a run has found out about that. It is safe for concurrent
// use.
type eightBit struct{ kept atomic.Int64 }

// ask asks a target that may know.
func (e *eightBit) ask(target mailhaul.Target) {
	if k, ok := mailhaul.As[mailhaul.EightBitKeeper](target); ok && k.KeepsEightBit() {
		e.kept.CompareAndSwap(0, provesEight)
	}
}

// seen notes a message that was read back.
func (e *eightBit) seen(kept bool) {
	if kept {
		e.kept.Add(1)
	} else {
		e.kept.Store(math.MinInt32)
	}
}

func (e *eightBit) proved() bool { return e.kept.Load() >= provesEight }

// inspect reads a buffered body and returns its fingerprint if it holds
// octets that may be altered.
func (e *eightBit) inspect(b mailhaul.Body) (fingerprint, bool, error) {
	var look inspector
	if _, err := io.Copy(&look, b.Reader()); err != nil {
		return fingerprint{}, false, err
	}
	risky, eight := look.end()
	if !risky && (!eight || e.proved()) {
		return fingerprint{}, false, nil
	}
	h := sha256.New()
	n, err := io.Copy(h, b.Reader())
	f := fingerprint{size: n, eight: !risky}
	h.Sum(f.sum[:0])
	return f, true, err
}

// watchedBody is a streamed Body that is inspected on its way through.
type watchedBody struct {
	mailhaul.Body
	look inspector
	sum  hash.Hash
	n    int64
}

func watch(b mailhaul.Body) *watchedBody { return &watchedBody{Body: b, sum: sha256.New()} }

func (w *watchedBody) Reader() io.Reader {
	return io.TeeReader(w.Body.Reader(), w)
}

func (w *watchedBody) Write(p []byte) (int, error) {
	w.n += int64(len(p))
	w.sum.Write(p)
	return w.look.Write(p)
}

// fingerprint is known once the body has been read.
func (w *watchedBody) fingerprint() (fingerprint, bool) {
	risky, eight := w.look.end()
	f := fingerprint{size: w.n, eight: !risky}
	w.sum.Sum(f.sum[:0])
	return f, risky || eight
}
