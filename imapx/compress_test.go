package imapx

import (
	"bufio"
	"bytes"
	stdflate "compress/flate"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/imapserver"
	"github.com/mailhaul/mailhaul/internal/mempipe"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

// farAway is a connection whose peer has another address.
type farAway struct {
	net.Conn
	addr net.Addr
}

func (c farAway) RemoteAddr() net.Addr { return c.addr }

// from makes the server of a configuration look as if it were at an address.
func from(addr net.Addr) func(*Config) {
	return func(cfg *Config) {
		dial := cfg.Server.Dial
		cfg.Server.AllowPlaintext = true
		cfg.Server.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return farAway{c, addr}, nil
		}
	}
}

func tcp(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 143} }

func always(cfg *Config) { cfg.Compress = CompressAlways }

func TestCompressMode(t *testing.T) {
	none := func(*Config) {}
	for _, tt := range []struct {
		name   string
		mode   CompressMode
		caps   []string
		change func(*Config)
		want   bool
	}{
		{"auto, in memory", CompressAuto, nil, none, false},
		{"auto, loopback", CompressAuto, nil, from(tcp("127.1.2.3")), false},
		{"auto, loopback of IPv6", CompressAuto, nil, from(tcp("::1")), false},
		{"auto, loopback mapped", CompressAuto, nil, from(tcp("::ffff:127.0.0.1")), false},
		{"auto, a Unix socket", CompressAuto, nil, from(&net.UnixAddr{Net: "unix", Name: "/run/imap"}), false},
		{"auto, away", CompressAuto, nil, from(tcp("192.0.2.1")), true},
		{"auto, in the house", CompressAuto, nil, from(tcp("fd00::1")), true},
		{"auto, who knows", CompressAuto, nil, from(nil), true},
		{"auto, not offered", CompressAuto, []string{"ID"}, from(tcp("192.0.2.1")), false},
		{"always", CompressAlways, nil, none, true},
		{"always, not offered", CompressAlways, []string{"ID", "UIDPLUS"}, none, false},
		{"never", CompressNever, nil, from(tcp("192.0.2.1")), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				tg := newTarget(t, imapserver.Options{Caps: tt.caps}, tt.change, func(cfg *Config) {
					cfg.Compress = tt.mode
					cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
				})
				w := tg.writer(t)
				r, err := w.Append(t.Context(), letters("one", "two"))
				require.NoError(t, err)
				_, err = r.Wait(t.Context())
				require.NoError(t, err)
				assert.Equal(t, []string{"one", "two"}, tg.stored())
				assert.Equal(t, tt.want, len(tg.lines(" COMPRESS DEFLATE")) == 1)
				assert.Equal(t, tt.mode == CompressAlways && !tt.want, strings.Contains(log.String(), "does not offer to compress"))
			})
		})
	}
	assert.Equal(t, "auto always never CompressMode(7)", fmt.Sprint(CompressAuto, CompressAlways, CompressNever, CompressMode(7)))
	_, err := New(Config{Server: mailhaul.Server{Host: "h", User: "u"}, Compress: 3})
	assert.ErrorContains(t, err, "Compress")
}

// COMPRESS shares a round trip with what is asked after the log-in anyway. But
// the first LIST cannot go right behind it (RFC 4978 section 3), as it does
// otherwise.
func TestCompressCostsOneRoundTrip(t *testing.T) {
	trips := make(map[CompressMode]int64)
	for _, mode := range []CompressMode{CompressNever, CompressAlways} {
		synctest.Test(t, func(t *testing.T) {
			tg := newTarget(t, imapserver.Options{}, func(cfg *Config) { cfg.Compress = mode })
			_, err := tg.List(t.Context())
			require.NoError(t, err)
			trips[mode] = tg.Traffic().RoundTrips
		})
	}
	assert.Equal(t, trips[CompressNever]+1, trips[CompressAlways])
}

// oddBodies are messages of all kinds of octets.
func oddBodies() [][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 300_000)
	for i := range noise {
		// Servers do not take NUL, and make line ends of half ones.
		noise[i] = max(byte(r.Uint32()), '\r'+1)
	}
	bodies := [][]byte{
		[]byte("x"),
		[]byte("Subject: s\r\n\r\na1 OK\r\n* BYE\r\n{3}\r\n"),
		noise,
		bytes.Repeat([]byte("A"), 3<<20), // a thousand of one
		[]byte("Subject: deflate\r\n\r\n\x01\xff\xfe\xff\r\n"),
	}
	for i := range 120 {
		bodies = append(bodies, []byte(mail(i*37)))
	}
	return bodies
}

// A message goes there and back, on every kind of server and in every kind of
// protection, octet by octet; the trace shows what was said.
func TestCompressedEndToEnd(t *testing.T) {
	servers := map[string]func(t *testing.T) mailhaul.Server{
		"imapserver": func(t *testing.T) mailhaul.Server {
			return testserver.InProcess(t, imapserver.Options{ID: map[string]string{"name": "Dovecot"}}).Account(1).Server
		},
		"imapserver, bodies asked for": func(t *testing.T) mailhaul.Server {
			return testserver.InProcess(t, imapserver.Options{Caps: []string{"ID", "UIDPLUS", "COMPRESS=DEFLATE"}}).Account(1).Server
		},
		"dovecot, implicit TLS": func(t *testing.T) mailhaul.Server {
			return testserver.Dovecot(t, testserver.DovecotOptions{Protocols: []string{"imap"}}).Account(1).Server
		},
		"dovecot, STARTTLS": func(t *testing.T) mailhaul.Server {
			s := testserver.Dovecot(t, testserver.DovecotOptions{Protocols: []string{"imap"}})
			return s.Reach(s.Users[0], testserver.IMAP)
		},
	}
	for name, server := range servers {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			var mu sync.Mutex
			var trace []string
			cl := openClient(t, Config{Server: server(t), Compress: CompressAlways, Trace: func(l TraceLine) {
				mu.Lock()
				defer mu.Unlock()
				trace = append(trace, l.Text)
			}})
			box, err := cl.Create(ctx, []string{"compressed"}, mailhaul.RoleNone)
			require.NoError(t, err)
			w, err := cl.OpenWriter(ctx, box)
			require.NoError(t, err)
			want := oddBodies()
			if strings.Contains(name, "asked for") {
				want = want[:10]
			}
			octets := int64(0)
			var receipts []mailhaul.Receipt
			for i := 0; i < len(want); i += 25 {
				var batch []mailhaul.Outgoing
				for _, body := range want[i:min(i+25, len(want))] {
					octets += int64(len(body))
					batch = append(batch, mailhaul.Outgoing{Body: &heldBody{data: body}, Flags: []mailhaul.Flag{mailhaul.FlagSeen}})
				}
				r, err := w.Append(ctx, batch)
				require.NoError(t, err)
				receipts = append(receipts, r)
			}
			require.NoError(t, w.Finish(ctx))
			var uids []mailhaul.UID
			for _, r := range receipts {
				outcomes, err := r.Wait(ctx)
				require.NoError(t, err)
				for _, o := range outcomes {
					require.Equal(t, mailhaul.Stored, o.Delivery)
					uids = append(uids, o.UID)
				}
			}
			require.NoError(t, w.Close())
			assert.Less(t, cl.Traffic().BytesOut, octets/4, "octets are counted as they are on the wire")

			r, err := cl.OpenReader(ctx, box)
			require.NoError(t, err)
			for _, stream := range []bool{false, true} {
				seq, err := r.Fetch(ctx, mailhaul.UIDSetOf(uids...), stream)
				require.NoError(t, err)
				n := 0
				for f, err := range seq {
					require.NoError(t, err)
					require.Equal(t, uids[n], f.UID)
					got, err := io.ReadAll(f.Body.Reader())
					require.NoError(t, err)
					require.True(t, bytes.Equal(want[n], got), "message %d", n)
					f.Body.Release()
					n++
				}
				require.Len(t, want, n)
			}
			require.NoError(t, r.Close())
			assert.Less(t, cl.Traffic().BytesIn, octets/2)
			require.NoError(t, cl.Close())

			mu.Lock()
			defer mu.Unlock()
			all := strings.Join(trace, "\n")
			assert.Equal(t, 1, strings.Count(all, " COMPRESS DEFLATE"))
			_, behind, _ := strings.Cut(all, " COMPRESS DEFLATE")
			for _, said := range []string{" APPEND ", " UID FETCH ", "LOGOUT", " OK "} {
				assert.Contains(t, behind, said)
			}
		})
	}
}

// deflating is a server's end that is compressed from now on.
func (s *script) deflating() io.Writer {
	w, err := stdflate.NewWriter(s.conn, stdflate.BestSpeed)
	require.NoError(s.t, err)
	s.r = bufio.NewReader(stdflate.NewReader(s.r))
	return flushing{w}
}

type flushing struct{ *stdflate.Writer }

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.Writer.Write(p)
	if err == nil {
		err = f.Flush()
	}
	return n, err
}

// compressing is a connection to a server that offers compression, gets asked for
// it, and then plays on, having answered nothing.
func compressing(t *testing.T, cfg Config, play func(s *script, tag string)) (*conn, *script, error) {
	t.Helper()
	cfg.Compress = CompressAlways
	return connect(t, cfg, func(s *script) {
		s.send("", "* OK hello")
		s.logIn("COMPRESS=DEFLATE")
		play(s, s.expect("COMPRESS DEFLATE"))
	})
}

// A refusal costs nothing but the compression, and is not asked for again.
func TestCompressRefused(t *testing.T) {
	for _, answer := range []string{"NO [COMPRESSIONACTIVE] TLS does it", "NO not today", "BAD what?"} {
		synctest.Test(t, func(t *testing.T) {
			var asked atomic.Int32
			opts := imapserver.Options{}
			opts.Hooks.Command = func(_ *imapserver.Session, command, _ string) *imapserver.Override {
				if command == "COMPRESS" {
					asked.Add(1)
					return &imapserver.Override{Reply: answer}
				}
				return nil
			}
			tg := newTarget(t, opts, from(tcp("192.0.2.1")))
			for range 2 {
				w := tg.writer(t)
				r, err := w.Append(t.Context(), letters("one"))
				require.NoError(t, err)
				_, err = r.Wait(t.Context())
				require.NoError(t, err)
				w.c.fail(net.ErrClosed)
			}
			assert.Equal(t, []string{"one", "one"}, tg.stored())
			assert.EqualValues(t, 2, tg.Traffic().Connections)
			assert.EqualValues(t, 1, asked.Load())
		})
	}
}

// What comes behind the OK is compressed, whatever packets it comes in, or it
// is the end.
func TestBehindCompressOK(t *testing.T) {
	packed := func(text string) []byte {
		var b bytes.Buffer
		w, _ := stdflate.NewWriter(&b, 6)
		_, _ = io.WriteString(w, text)
		_ = w.Flush()
		return b.Bytes()
	}
	for name, tt := range map[string]struct {
		behind string
		kind   mailhaul.Kind
	}{
		"compressed":             {string(packed("* OK hear this\r\n")), mailhaul.KindUnknown},
		"in the clear":           {"* OK hear this\r\n* 1 EXISTS\r\n", mailhaul.Corrupt},
		"zlib's header":          {"\x78\x9c" + string(packed("* OK hear this\r\n")), mailhaul.Corrupt},
		"garbage":                {strings.Repeat("\xff", 100), mailhaul.Corrupt},
		"an end":                 {"\x03\x00", mailhaul.Transient},
		"a reference to nothing": {"\x03\x02\x00\x00", mailhaul.Corrupt},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, _, err := compressing(t, plain(), func(s *script, tag string) {
					_, _ = io.WriteString(s.conn, tag+" OK go\r\n"+tt.behind)
					w := s.deflating()
					if strings.HasPrefix(name, "compressed") {
						// A stream has no beginning of its own in its middle.
						raw, _ := stdflate.NewWriter(s.conn, 1)
						w = flushing{raw}
					}
					if tag, _ := s.command(); tag != "" {
						_, _ = io.WriteString(w, tag+" OK done\r\n")
					}
					s.drain()
				})
				if err == nil {
					err = noop(t.Context(), c)
				}
				if tt.kind == mailhaul.KindUnknown {
					require.NoError(t, err)
					return
				}
				e := checkError(t, err)
				assert.Equal(t, tt.kind, e.Kind, "%v", err)
				assert.Equal(t, mailhaul.ScopeConnection, e.Scope)
				assert.Equal(t, tt.kind == mailhaul.Corrupt, c.facts.get(noCompress))
			})
		})
	}
}

// After a server whose compression makes no sense, there is a connection that
// works.
func TestCompressIsGivenUp(t *testing.T) {
	for name, behind := range map[string]string{"garbage": "\xff\xff\xff\xff", "silence": ""} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var n atomic.Int32
				cfg := plain()
				cfg.Server.Host, cfg.Server.User = theServer, theUser
				cfg.Server.Credentials = func(context.Context) (mailhaul.Secret, error) { return mailhaul.NewSecret(thePass), nil }
				var scripts sync.WaitGroup
				cfg.Server.Dial = func(context.Context, string, string) (net.Conn, error) {
					client, server := mempipe.Pipe()
					s := &script{t: t, conn: server}
					s.r = bufio.NewReader(s)
					scripts.Go(func() {
						defer server.Close()
						s.send("", "* OK hello")
						s.logIn("COMPRESS=DEFLATE")
						s.simple(func(tag, rest string) bool {
							if rest != "COMPRESS DEFLATE" {
								return false
							}
							n.Add(1)
							_, _ = io.WriteString(s.conn, tag+" OK go\r\n"+behind)
							s.drain()
							return true
						})
					})
					return client, nil
				}
				from(tcp("192.0.2.1"))(&cfg)
				cl, err := New(cfg)
				require.NoError(t, err)
				_, err = cl.OpenReader(t.Context(), inbox)
				checkError(t, err)
				r, err := cl.OpenReader(t.Context(), inbox)
				require.NoError(t, err)
				assert.NoError(t, r.Close())
				assert.EqualValues(t, 1, n.Load())
				assert.NoError(t, cl.Close())
				scripts.Wait()
			})
		})
	}
}

// bits writes a stream of the deflate format by hand (RFC 1951).
type bits struct {
	out []byte
	acc uint64
	n   int
}

func (b *bits) put(v uint64, n int) {
	b.acc |= v << b.n
	for b.n += n; b.n >= 8; b.n -= 8 {
		b.out = append(b.out, byte(b.acc))
		b.acc >>= 8
	}
}

// code puts a Huffman code, whose highest bit comes first.
func (b *bits) code(v uint64, n int) {
	for i := n - 1; i >= 0; i-- {
		b.put(v>>i&1, 1)
	}
}

// partial puts ASCII in a block of fixed codes, and then what zlib's
// Z_PARTIAL_FLUSH does: an empty one. It returns the whole octets.
func (b *bits) partial(text string) []byte {
	b.put(0b010, 3)
	for _, c := range []byte(text) {
		b.code(0x30+uint64(c), 8)
	}
	b.code(0, 7)
	b.put(0b010, 3)
	b.code(0, 7)
	out := b.out
	b.out = nil
	return out
}

// Servers need not flush to a whole octet.
func TestPartialFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, err := compressing(t, plain(), func(s *script, tag string) {
			s.send(tag, "TAG OK go")
			s.deflating()
			var b bits
			for {
				tag, _ := s.command()
				if tag == "" {
					return
				}
				_, _ = s.conn.Write(b.partial(tag + " OK done\r\n"))
			}
		})
		require.NoError(t, err)
		start := time.Now()
		for range 20 {
			require.NoError(t, noop(t.Context(), c))
		}
		assert.Zero(t, time.Since(start))
	})
}

// What is next to nothing on the wire must not become everything here.
func TestDecompressionBombs(t *testing.T) {
	zeros := strings.Repeat("\x00", 1<<20)
	for name, tt := range map[string]struct {
		command string
		head    string // once
		text    string // again and again
	}{
		"a line":                              {text: zeros},
		"a literal":                           {head: "* X {4000000}\r\n", text: zeros},
		"a body":                              {head: "* 1 FETCH (UID 1 BODY[] {33000000}\r\n", text: zeros},
		"many small bodies":                   {text: "* 1 FETCH (UID 1 BODY[] {1048576}\r\n" + zeros + ")\r\n"},
		"many lines":                          {text: strings.Repeat("* 1 EXISTS\r\n", 1000)},
		"SEARCH":                              {head: "* SEARCH", text: strings.Repeat(" 1", 1<<19)},
		"a body that is wanted but too large": {command: "FETCH", head: "* 1 FETCH (UID 1 BODY[] {33000000}\r\n", text: zeros},
	} {
		t.Run(name, func(t *testing.T) {
			start, before := time.Now(), allocated()
			synctest.Test(t, func(t *testing.T) {
				cfg := plain()
				cfg.Limits = Limits{MaxBody: 2 << 20, MaxResponse: 4 << 20, MaxResponses: 1 << 30}
				sent := 0
				c, s, err := compressing(t, cfg, func(s *script, tag string) {
					s.send(tag, "TAG OK go")
					w := s.deflating()
					if tag, _ = s.command(); tag == "" {
						return
					}
					_, _ = io.WriteString(w, tt.head)
					for sent < 4<<30 {
						n, err := io.WriteString(w, tt.text)
						if sent += n; err != nil {
							return
						}
					}
				})
				require.NoError(t, err)
				if tt.command == "" {
					err = noop(t.Context(), c)
				} else {
					var d *download
					d, err = c.download(t.Context(), mailhaul.UIDSetOf(1), false)
					require.NoError(t, err)
					for err == nil {
						_, err = d.q.take(t.Context(), nil)
					}
					err = c.named(opFetch, "", c.reason())
				}
				e := checkError(t, err)
				assert.Equal(t, mailhaul.Corrupt, e.Kind, "%v", err)
				if strings.Contains(name, "body") || strings.Contains(name, "many") { // else a limit without compression is met
					assert.ErrorIs(t, err, errBomb)
				}
				c.Close()
				<-s.done
				assert.Less(t, sent, 100<<20)
			})
			assert.Less(t, time.Since(start), 20*time.Second)
			assert.Less(t, allocated()-before, uint64(100<<20))
		})
	}
}

// Messages that compress without measure are messages, as many as there are.
func TestNotABomb(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tg := newTarget(t, dovecotLike(imapserver.Options{Caps: imapserver.DefaultCaps}), always, func(cfg *Config) {
			cfg.Limits = Limits{MaxBody: 4 << 20, MaxResponse: 1 << 20}
		})
		body := bytes.Repeat([]byte("A"), 4<<20)
		w := tg.writer(t)
		for range 10 {
			r, err := w.Append(t.Context(), []mailhaul.Outgoing{{Body: &heldBody{data: body}}})
			require.NoError(t, err)
			_, err = r.Wait(t.Context())
			require.NoError(t, err)
		}
		require.NoError(t, w.Close())
		for _, stream := range []bool{false, true} {
			r, err := tg.OpenReader(t.Context(), inbox)
			require.NoError(t, err)
			set, err := r.UIDs(t.Context())
			require.NoError(t, err)
			got, errs := bodies(t, r.(*Reader), set, stream)
			assert.Empty(t, errs)
			assert.Len(t, got, 10)
			require.NoError(t, r.Close())
		}
		assert.Less(t, tg.Traffic().BytesIn, int64(2<<20))
	})
}

// Wherever a compressed connection is cut, what is Stored is there, what is
// NotStored is not, and everything ends.
func TestCompressedCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		run := func(in, out int) (whole bool) {
			opts := dovecotLike(imapserver.Options{Caps: []string{"MULTIAPPEND", "LITERAL+", "UIDPLUS", "COMPRESS=DEFLATE"}})
			opts.Hooks.Wrap = func(_ int, c net.Conn) net.Conn { return &cutter{c, in, out} }
			tg := newTarget(t, opts, always)
			defer func() { assert.NoError(t, tg.Client.Close()); assert.NoError(t, tg.server.Close()) }()
			w, err := tg.OpenWriter(t.Context(), inbox)
			if err != nil {
				checkErrorOf(t, err)
				return false
			}
			texts := []string{"one", "two", mail(300)}
			r, _ := w.Append(t.Context(), letters(texts...))
			finished := w.Finish(t.Context())
			outcomes, _ := r.Wait(t.Context())
			assert.NoError(t, w.Close())
			synctest.Wait()
			stored := strings.Join(tg.stored(), " ")
			for i, o := range outcomes {
				switch o.Delivery {
				case mailhaul.Stored:
					assert.Contains(t, stored, texts[i], "cut at %d, %d", in, out)
				case mailhaul.NotStored:
					assert.NotContains(t, stored, texts[i], "cut at %d, %d", in, out)
				}
			}
			if finished != nil {
				checkErrorOf(t, finished)
				return false
			}
			rd, err := tg.OpenReader(t.Context(), inbox)
			if err != nil {
				checkErrorOf(t, err)
				return false
			}
			defer rd.Close()
			seq, err := rd.Fetch(t.Context(), mailhaul.UIDSetOf(1, 2, 3), false)
			if err != nil {
				checkErrorOf(t, err)
				return false
			}
			n := 0
			for f, err := range seq {
				if err != nil {
					checkErrorOf(t, err)
					return false
				}
				got, err := io.ReadAll(f.Body.Reader())
				assert.NoError(t, err)
				assert.Equal(t, texts[n], string(got))
				f.Body.Release()
				n++
			}
			return n == 3
		}
		for _, dir := range []func(n int) bool{
			func(n int) bool { return run(n, -1) },
			func(n int) bool { return run(-1, n) },
		} {
			for n := 0; !dir(n); n++ {
				require.Less(t, n, 5000)
			}
		}
	})
}

// checkErrorOf asserts that a cut is reported as what can be tried again.
func checkErrorOf(t *testing.T, err error) {
	t.Helper()
	e := checkError(t, err)
	assert.Contains(t, []mailhaul.Kind{mailhaul.Transient, mailhaul.Throttled}, e.Kind, "%v", err)
}

// The deflater holds nothing back at the end of a burst, and sends whole
// packets in its middle.
func TestDeflaterWrites(t *testing.T) {
	var writes []int
	d, err := newDeflater(writerFunc(func(p []byte) (int, error) { writes = append(writes, len(p)); return len(p), nil }))
	require.NoError(t, err)
	noise := make([]byte, 100_000)
	r := rand.New(rand.NewPCG(3, 4))
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	_, err = d.Write(noise)
	require.NoError(t, err)
	require.NoError(t, d.Flush())
	assert.Less(t, len(writes), 6)
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// FuzzInflater compares with the standard library, and finds no input that
// costs more than it may.
func FuzzInflater(f *testing.F) {
	for _, text := range []string{"", "* OK hello\r\n", strings.Repeat("x", 100_000)} {
		var b bytes.Buffer
		w, _ := stdflate.NewWriter(&b, 6)
		_, _ = io.WriteString(w, text)
		_ = w.Flush()
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, packed []byte) {
		limits := Limits{MaxBody: 1 << 20, MaxResponse: 1 << 20}
		in := newInflater(bytes.NewReader(packed), limits, make(chan struct{}))
		got, err := io.ReadAll(in)
		if len(got) > 2<<20+inflateRatio*(len(packed)+1) {
			t.Fatalf("%d octets of %d", len(got), len(packed))
		}
		want, werr := io.ReadAll(io.LimitReader(stdflate.NewReader(bytes.NewReader(packed)), int64(len(got))))
		// How much is given out before an error is theirs to decide.
		if !bytes.HasPrefix(got, want) && !bytes.HasPrefix(want, got) || (err == nil || werr == nil) && len(got) != len(want) {
			t.Fatalf("%q (%v), not %q (%v)", got, err, want, werr)
		}
	})
}
