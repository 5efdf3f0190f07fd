package imapx

// COMPRESS=DEFLATE (RFC 4978): what goes over a connection is compressed, above
// TLS and below everything else.

import (
	"bufio"
	"bytes"
	stdflate "compress/flate"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"

	"github.com/klauspost/compress/flate"

	"github.com/mailhaul/mailhaul/imapx/internal/wire"
)

// CompressMode says when a connection is compressed (COMPRESS=DEFLATE, RFC
// 4978). Whatever it says, a server that does not offer it is spoken to
// without.
type CompressMode int

const (
	// CompressAuto compresses where there is distance to bridge: not on
	// loopback addresses, Unix sockets and pipes in memory, and everywhere
	// else. A tunnel whose near end is a loopback address is taken for one:
	// say CompressAlways there. After a server has refused to compress, or
	// what it compressed made no sense, the Client's later connections go
	// without.
	CompressAuto CompressMode = iota

	// CompressAlways compresses wherever the server offers it.
	CompressAlways

	// CompressNever does not compress.
	CompressNever
)

// String returns the mode in a word: auto, always or never.
func (m CompressMode) String() string {
	switch m {
	case CompressAuto:
		return "auto"
	case CompressAlways:
		return "always"
	case CompressNever:
		return "never"
	}
	return fmt.Sprintf("CompressMode(%d)", int(m))
}

// deflateLevel is for what is sent. Measured on mail as package corpus makes
// it, one core, the best of three, MB/s and ratio, with attachments (most
// octets are base64) and for messages of up to 12,000 octets alone:
//
//	package    level   with attachments   small messages
//	standard       1      252     1.54       159     3.21
//	standard       2       89     1.63
//	standard       6       48     1.67        23     3.93
//	klauspost      1      429     1.30       199     3.28
//	klauspost      3      368     1.35       199     3.44
//	klauspost      6      207     1.39       128     3.72
//	klauspost      7       88     1.65        56     3.73
//
// All are faster than the lines that are worth it, so fewer octets win; from
// level 2 on, 6 in a hundred cost three times the processor. For reading it is
// klauspost's package, for [flate.WithPartialBlock], and 308 MB/s for 222.
const deflateLevel = stdflate.BestSpeed

const (
	deflateBuffer = 32 << 10 // compressed octets that are written at a time
	inflateBuffer = 32 << 10 // and read

	// inflateRatio is how many octets may come of one on the wire in the long
	// run. Listings reach 20, mail 4.
	inflateRatio = 100
)

// What an inflater's errors wrap.
var (
	errInflate = errors.New("what the server sent cannot be decompressed")
	errBomb    = errors.New("what the server sent decompresses without end")
)

// wantsCompression reports whether COMPRESS is to be given on the connection.
func (c *conn) wantsCompression() bool {
	mode, offered := c.cfg.Compress, c.can("COMPRESS=DEFLATE")
	switch {
	case mode == CompressNever:
		return false
	case mode == CompressAlways && !offered:
		c.cfg.Logger.Warn("imap server does not offer to compress", slog.String("server", c.addr))
		return false
	case mode == CompressAuto && (c.facts.get(noCompress) || !c.distant()):
		return false
	}
	return offered
}

// distant reports whether the octets of the connection travel at all.
func (c *conn) distant() bool {
	addr := c.link.raw.RemoteAddr()
	if addr == nil {
		return true
	}
	switch network := addr.Network(); {
	case strings.HasPrefix(network, "unix"), network == "pipe", network == "mem":
		return false
	}
	to, err := netip.ParseAddrPort(addr.String())
	return err != nil || !to.Addr().Unmap().IsLoopback()
}

// compressCommand returns a COMPRESS (RFC 4978 section 3). Nothing may be sent
// behind it before it is answered.
func (c *conn) compressCommand() *command {
	cmd := c.command(opCompress, "COMPRESS DEFLATE")
	cmd.upgrade = func() error {
		// All behind the line end of the OK is compressed, what has been read
		// already too.
		in := newInflater(io.MultiReader(bytes.NewReader(bytes.Clone(c.framer.Rest())), c.link), c.cfg.Limits, c.dead)
		c.inflater = in
		c.framer.Reset(in)
		w, err := newDeflater(c.link)
		if err != nil {
			return err
		}
		c.out.through(w)
		return nil
	}
	return cmd
}

// compressed takes the answer to COMPRESS.
func (c *conn) compressed(st wire.Status) {
	if st.Cond == wire.OK {
		c.cfg.Logger.Debug("imap connection is compressed", slog.Int64("connection", c.number))
		return
	}
	// One reason is that a layer below does it already (COMPRESSIONACTIVE).
	c.facts.set(noCompress)
	c.cfg.Logger.Warn("imap server offers to compress and refuses", slog.String("server", c.addr),
		slog.Any("reason", c.refused(opCompress, st)))
}

// spoiled notes, when reading has failed with err, whether that is for the
// compression, so that there is a next connection that works.
func (c *conn) spoiled(err error) {
	if c.inflater == nil {
		return
	}
	mute := errors.Is(err, errSilent) && !c.inflater.spoken // perhaps it does not flush
	if errors.Is(err, errInflate) || errors.Is(err, errBomb) || mute {
		c.facts.set(noCompress)
	}
}

// deflater compresses what is written to it. Nothing is with the transport for
// sure before Flush. It is not pooled: making one takes 0.2 ms and 1.2 MB, once
// a connection, which costs a log-in besides.
type deflater struct {
	z *stdflate.Writer
	w *bufio.Writer // the compressor writes in pieces of 240 octets
}

func newDeflater(w io.Writer) (*deflater, error) {
	d := &deflater{w: bufio.NewWriterSize(w, deflateBuffer)}
	var err error
	d.z, err = stdflate.NewWriter(d.w, deflateLevel)
	return d, err
}

func (d *deflater) Write(p []byte) (int, error) { return d.z.Write(p) }

// Flush gives everything to the transport, in a form that the server can
// decompress at once.
func (d *deflater) Flush() error {
	if err := d.z.Flush(); err != nil {
		return err
	}
	return d.w.Flush()
}

// inflater decompresses what is read through it, and keeps the server from
// making much of little: what comes of it, octets that nobody wants included,
// costs time here and next to nothing there. It is for the goroutine that
// reads.
type inflater struct {
	r      io.Reader // the wire
	z      io.Reader
	dead   <-chan struct{}
	slack  int64
	spoken bool // something has come of it

	in, out int64 // octets since the last pardon
}

func newInflater(r io.Reader, limits Limits, dead <-chan struct{}) *inflater {
	// A message that is all the same octets is a message, and may be had up
	// to its limit whatever its ratio; so may one response.
	in := &inflater{r: r, dead: dead, slack: limits.MaxBody + limits.MaxResponse}
	// Some flush with what zlib calls a partial flush. It ends a block and no
	// more, and the standard package waits for the next one then
	// (golang/go#31514).
	in.z = flate.NewReaderOpts(bufio.NewReaderSize(readerFunc(in.fill), inflateBuffer), flate.WithPartialBlock())
	return in
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// fill reads from the wire.
func (in *inflater) fill(p []byte) (int, error) {
	n, err := in.r.Read(p)
	in.in += int64(n)
	return n, err
}

func (in *inflater) Read(p []byte) (int, error) {
	select {
	case <-in.dead: // a thousand reads may come of one from the wire
		return 0, net.ErrClosed
	default:
	}
	n, err := in.z.Read(p)
	in.out += int64(n)
	in.spoken = in.spoken || n > 0
	if in.out > in.slack+inflateRatio*in.in {
		return 0, fmt.Errorf("%w: %d octets of %d", errBomb, in.out, in.in)
	}
	if _, ok := errors.AsType[flate.CorruptInputError](err); ok {
		err = fmt.Errorf("%w: %w", errInflate, err)
	}
	return n, err
}

// pardon says that what has come was worth it: a message that was asked for, or
// the end of a command.
func (in *inflater) pardon() {
	if in != nil {
		in.in, in.out = 0, 0
	}
}
