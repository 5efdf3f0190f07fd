package imapx

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/imapx/internal/wire"
	"github.com/mailhaul/mailhaul/internal/delayproxy"
	"github.com/mailhaul/mailhaul/internal/imapserver"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

// sizes of message bodies: a note, a usual mail, one with a picture.
var benchSizes = []int{200, 10_000, 500_000}

// replay gives the same octets again and again.
type replay struct {
	text []byte
	at   int
}

func (r *replay) Read(p []byte) (int, error) {
	n := copy(p, r.text[r.at:])
	r.at = (r.at + n) % len(r.text)
	return n, nil
}

// BenchmarkFetchParse is the ceiling of a connection: framing, parsing and
// buffering of bodies that come from memory.
func BenchmarkFetchParse(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			var stream bytes.Buffer
			for i := range 100 {
				fmt.Fprintf(&stream, "* %d FETCH (UID %d FLAGS (\\Seen) BODY[] {%d}\r\n%s)\r\n", i+1, i+1, size, strings.Repeat("x", size))
			}
			limits := Limits{}.withDefaults().wire()
			parser := wire.NewParser(limits)
			framer := wire.NewFramer(&replay{text: stream.Bytes()}, limits, func(_ *wire.Response, size int64, r io.Reader) (any, error) {
				return readBody(r, size)
			})
			var fetch wire.Fetch
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				resp, err := framer.Next()
				if err != nil {
					b.Fatal(err)
				}
				s := resp.Scan(limits)
				head := s.Head()
				if err := parser.Fetch(&s, head.Num, &fetch); err != nil {
					b.Fatal(err)
				}
				fetch.Body.(*memoryBody).Release()
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
		})
	}
}

// BenchmarkListingParse is the ceiling of a listing of metadata.
func BenchmarkListingParse(b *testing.B) {
	var stream bytes.Buffer
	header := "Message-ID: <1234567890@example.org>\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\nSubject: hello\r\nFrom: a@example.org\r\n\r\n"
	for i := range 1000 {
		fmt.Fprintf(&stream, "* %d FETCH (UID %d FLAGS (\\Seen $Forwarded) RFC822.SIZE 12345 INTERNALDATE \"17-Jul-1996 02:44:25 -0700\" BODY[HEADER.FIELDS (MESSAGE-ID DATE SUBJECT FROM)] {%d}\r\n%s)\r\n", i+1, i+1, len(header), header)
	}
	limits := Limits{}.withDefaults().wire()
	parser := wire.NewParser(limits)
	framer := wire.NewFramer(&replay{text: stream.Bytes()}, limits, nil)
	var fetch wire.Fetch
	b.SetBytes(int64(stream.Len() / 1000))
	b.ReportAllocs()
	for b.Loop() {
		resp, err := framer.Next()
		if err != nil {
			b.Fatal(err)
		}
		s := resp.Scan(limits)
		head := s.Head()
		if err := parser.Fetch(&s, head.Num, &fetch); err != nil || fetch.UID == 0 || len(fetch.Header) == 0 {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
}

// benchServers are what the end-to-end benchmarks run against.
func benchServers(b *testing.B, run func(b *testing.B, srv mailhaul.Server)) {
	b.Run("imapserver", func(b *testing.B) {
		run(b, testserver.InProcess(b, imapserver.Options{ID: map[string]string{"name": "Dovecot"}}).Account(1).Server)
	})
	b.Run("dovecot", func(b *testing.B) {
		run(b, testserver.Dovecot(b, testserver.DovecotOptions{Store: "sdbox"}).Account(1).Server)
	})
}

const benchBatch = 100

// benchText is a message of about the given size.
func benchText(size int) []byte { return []byte(strings.Repeat("Subject: x\r\n\r\n", size/14)) }

// benchClient returns a Client with a new mailbox.
func benchClient(b *testing.B, srv mailhaul.Server, name string) (*Client, mailhaul.Mailbox) {
	cl, err := New(Config{Server: srv})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, cl.Close()) })
	box, err := cl.Create(b.Context(), []string{name}, mailhaul.RoleNone)
	require.NoError(b, err)
	return cl, box
}

// appendBatch appends one batch.
func appendBatch(b *testing.B, w mailhaul.Writer, text []byte) mailhaul.Receipt {
	batch := make([]mailhaul.Outgoing, benchBatch)
	for i := range batch {
		batch[i] = mailhaul.Outgoing{Body: &heldBody{data: text}, Flags: []mailhaul.Flag{mailhaul.FlagSeen}}
	}
	r, err := w.Append(b.Context(), batch)
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// BenchmarkAppend measures batches of messages that arrive in a mailbox, each
// sent before the one before it is answered.
func BenchmarkAppend(b *testing.B) {
	benchServers(b, func(b *testing.B, srv mailhaul.Server) {
		for _, size := range benchSizes {
			b.Run(fmt.Sprint(size), func(b *testing.B) {
				cl, box := benchClient(b, srv, fmt.Sprint("append", size, b.N))
				w, err := cl.OpenWriter(b.Context(), box)
				require.NoError(b, err)
				defer w.Close()
				text := benchText(size)
				var receipts []mailhaul.Receipt
				b.SetBytes(int64(benchBatch * len(text)))
				b.ReportAllocs()
				for b.Loop() {
					receipts = append(receipts, appendBatch(b, w, text))
				}
				require.NoError(b, w.Finish(b.Context()))
				b.ReportMetric(float64(b.N*benchBatch)/b.Elapsed().Seconds(), "msgs/s")
				for _, r := range receipts {
					outcomes, err := r.Wait(b.Context())
					require.NoError(b, err)
					for _, o := range outcomes {
						require.Equal(b, mailhaul.Stored, o.Delivery)
					}
				}
			})
		}
	})
}

// BenchmarkFetch measures bodies that leave a mailbox: one operation is a
// mailbox of a hundred messages, the next being asked for before it is read.
func BenchmarkFetch(b *testing.B) {
	benchServers(b, func(b *testing.B, srv mailhaul.Server) {
		for _, size := range benchSizes {
			b.Run(fmt.Sprint(size), func(b *testing.B) {
				cl, box := benchClient(b, srv, fmt.Sprint("fetch", size, b.N))
				w, err := cl.OpenWriter(b.Context(), box)
				require.NoError(b, err)
				text := benchText(size)
				appendBatch(b, w, text)
				require.NoError(b, w.Finish(b.Context()))
				require.NoError(b, w.Close())
				r, err := cl.OpenReader(b.Context(), box)
				require.NoError(b, err)
				defer r.Close()
				set, err := r.UIDs(b.Context())
				require.NoError(b, err)
				ahead, err := r.Fetch(b.Context(), set, false)
				require.NoError(b, err)
				octets := int64(0)
				b.SetBytes(int64(benchBatch * len(text)))
				b.ReportAllocs()
				for b.Loop() {
					seq := ahead
					if ahead, err = r.Fetch(b.Context(), set, false); err != nil {
						b.Fatal(err)
					}
					for f, err := range seq {
						if err != nil {
							b.Fatal(err)
						}
						octets += f.Body.Size()
						f.Body.Release()
					}
				}
				b.ReportMetric(float64(b.N*benchBatch)/b.Elapsed().Seconds(), "msgs/s")
				require.Equal(b, int64(b.N*benchBatch*len(text)), octets)
			})
		}
	})
}

// BenchmarkWithheldEnd measures what it is worth not to wait for the answer to
// one MULTIAPPEND before the next is sent (docs/adr/0006): twenty batches, over
// a distance, each way.
func BenchmarkWithheldEnd(b *testing.B) {
	srv := testserver.Dovecot(b, testserver.DovecotOptions{Store: "sdbox"}).Account(1).Server
	for _, rtt := range []time.Duration{0, 20 * time.Millisecond, 100 * time.Millisecond} {
		for _, withheld := range []bool{true, false} {
			b.Run(fmt.Sprintf("%v/withheld=%v", rtt, withheld), func(b *testing.B) {
				proxy := delayproxy.New(delayproxy.Options{RTT: rtt})
				defer proxy.Close()
				srv := srv
				srv.Dial = proxy.Dial(nil)
				cl, box := benchClient(b, srv, fmt.Sprint("end", rtt, withheld, time.Now().UnixNano()))
				defer cl.Close()
				w, err := cl.OpenWriter(b.Context(), box)
				require.NoError(b, err)
				defer w.Close()
				w.(*Writer).c.quirks.cancels = withheld
				text := benchText(10_000)
				var receipts []mailhaul.Receipt
				for b.Loop() {
					for range 20 {
						receipts = append(receipts, appendBatch(b, w, text))
					}
					require.NoError(b, w.Finish(b.Context()))
				}
				b.ReportMetric(float64(b.N*20*benchBatch)/b.Elapsed().Seconds(), "msgs/s")
				for _, r := range receipts {
					outcomes, err := r.Wait(b.Context())
					require.NoError(b, err)
					require.Len(b, outcomes, benchBatch)
				}
			})
		}
	}
}
