package imapx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/imapserver"
)

// ways are the kinds of servers that APPEND has to cope with.
var ways = map[string][]string{
	"MULTIAPPEND LITERAL+": {"MULTIAPPEND", "LITERAL+", "UIDPLUS"},
	"MULTIAPPEND LITERAL-": {"MULTIAPPEND", "LITERAL-", "UIDPLUS"},
	"MULTIAPPEND":          {"MULTIAPPEND", "UIDPLUS"},
	"LITERAL+":             {"LITERAL+", "UIDPLUS"},
	"LITERAL-":             {"LITERAL-", "UIDPLUS"},
	"bare":                 {},
}

// dovecotLike makes the in-process server pass for Dovecot, in what APPEND
// needs: it says so, and it lets a MULTIAPPEND be cancelled.
func dovecotLike(opts imapserver.Options) imapserver.Options {
	opts.ID = map[string]string{"name": "Dovecot"}
	opts.Caps = append([]string{"ID"}, opts.Caps...)
	refuse := opts.Refuse
	opts.Refuse = func(body []byte) error {
		if len(body) == 0 {
			return errors.New("Can't save a zero byte message.")
		}
		if refuse != nil {
			return refuse(body)
		}
		return nil
	}
	return opts
}

// target is a Client of an in-process server, with one user and INBOX. It must
// be made in a synctest bubble.
type target struct {
	*Client
	server *imapserver.Server
	inbox  *imapserver.Mailbox
	user   *imapserver.User

	mu   sync.Mutex
	sent []string
}

func newTarget(t *testing.T, opts imapserver.Options, change ...func(*Config)) *target {
	t.Helper()
	tg := &target{server: imapserver.New(opts)}
	tg.user = tg.server.AddUser("ada", "pw")
	tg.inbox = tg.user.Mailbox("INBOX")
	cfg := Config{
		Server: mailhaul.Server{
			Host: "localhost", User: "ada", Security: mailhaul.Plaintext, Dial: tg.server.Dial,
			Credentials: func(context.Context) (mailhaul.Secret, error) { return mailhaul.NewSecret("pw"), nil },
		},
		Trace: func(l TraceLine) {
			if l.Sent {
				tg.mu.Lock()
				defer tg.mu.Unlock()
				tg.sent = append(tg.sent, l.Text)
			}
		},
	}
	for _, c := range change {
		c(&cfg)
	}
	var err error
	tg.Client, err = New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, tg.Client.Close())
		assert.NoError(t, tg.server.Close())
	})
	return tg
}

// lines returns what the client has sent that contains the text.
func (tg *target) lines(containing string) []string {
	tg.mu.Lock()
	defer tg.mu.Unlock()
	var found []string
	for _, l := range tg.sent {
		if strings.Contains(l, containing) {
			found = append(found, l)
		}
	}
	return found
}

func (tg *target) writer(t *testing.T) *Writer {
	t.Helper()
	w, err := tg.OpenWriter(t.Context(), inbox)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, w.Close()) })
	return w.(*Writer)
}

// stored returns the bodies in INBOX, in order.
func (tg *target) stored() []string {
	var all []string
	for _, m := range tg.inbox.Messages() {
		all = append(all, string(m.Body))
	}
	return all
}

// letters makes a batch of messages with these bodies.
func letters(texts ...string) []mailhaul.Outgoing {
	var batch []mailhaul.Outgoing
	for _, text := range texts {
		batch = append(batch, out(text))
	}
	return batch
}

// released asserts that each body was released once.
func released(t *testing.T, batch []mailhaul.Outgoing) {
	t.Helper()
	for i, o := range batch {
		assert.Equal(t, 1, o.Body.(*heldBody).released, "body %d", i)
	}
}

// eachWay runs a test in a bubble for each kind of server, and for one that
// passes for Dovecot.
func eachWay(t *testing.T, test func(t *testing.T, name string, opts imapserver.Options)) {
	for name, caps := range ways {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, name, imapserver.Options{Caps: caps, UIDValidity: 9}) })
		})
	}
	t.Run("like Dovecot", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			test(t, "like Dovecot", dovecotLike(imapserver.Options{Caps: ways["MULTIAPPEND LITERAL+"], UIDValidity: 9}))
		})
	})
	// Far away, several batches come together behind one that is not answered.
	t.Run("like Dovecot, far away", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			opts := dovecotLike(imapserver.Options{Caps: ways["MULTIAPPEND LITERAL+"], UIDValidity: 9})
			opts.Hooks.Wrap = func(_ int, c net.Conn) net.Conn { return lateWriter{c} }
			test(t, "like Dovecot, far away", opts)
		})
	})
}

// lateWriter writes everything a second late.
type lateWriter struct{ net.Conn }

func (c lateWriter) Write(p []byte) (int, error) {
	time.Sleep(time.Second)
	return c.Conn.Write(p)
}

// What comes while an answer is under way goes as one command.
func TestBatchesShareACommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := dovecotLike(imapserver.Options{Caps: ways["MULTIAPPEND LITERAL+"]})
		opts.Hooks.Response = func(_ *imapserver.Session, command, tag string, _ []byte) imapserver.Action {
			if command == "APPEND" && tag != "" {
				return imapserver.Action{Delay: time.Second}
			}
			return imapserver.Action{}
		}
		tg := newTarget(t, opts)
		w := tg.writer(t)
		before := tg.Traffic().Commands
		start := time.Now()
		var want []string
		for i := range 20 {
			texts := []string{fmt.Sprintf("a%02d", i), fmt.Sprintf("b%02d", i)}
			want = append(want, texts...)
			_, err := w.Append(t.Context(), letters(texts...))
			require.NoError(t, err)
		}
		assert.Zero(t, time.Since(start))
		require.NoError(t, w.Finish(t.Context()))
		assert.Equal(t, want, tg.stored())
		assert.EqualValues(t, 2, tg.Traffic().Commands-before)
	})
}

func poisonous(body []byte) error {
	if bytes.Contains(body, []byte("poison")) {
		return errors.New("Message contains poison")
	}
	return nil
}

func TestAppendEveryWay(t *testing.T) {
	eachWay(t, func(t *testing.T, name string, opts imapserver.Options) {
		tg := newTarget(t, opts)
		w := tg.writer(t)
		before := tg.Traffic()
		var all []string
		var batches [][]mailhaul.Outgoing
		var receipts []mailhaul.Receipt
		for i := range 4 {
			var texts []string
			for j := range 25 {
				texts = append(texts, fmt.Sprintf("Subject: %d\r\n\r\n%s", 25*i+j, strings.Repeat("x", 400*j)))
			}
			batch := letters(texts...)
			all = append(all, texts...)
			r, err := w.Append(t.Context(), batch)
			require.NoError(t, err)
			batches, receipts = append(batches, batch), append(receipts, r)
		}
		require.NoError(t, w.Finish(t.Context()))
		var uid mailhaul.UID
		for _, r := range receipts {
			outcomes, err := r.Wait(t.Context())
			require.NoError(t, err)
			require.Len(t, outcomes, 25)
			for _, o := range outcomes {
				assert.Equal(t, mailhaul.Stored, o.Delivery)
				if uid++; len(opts.Caps) > 0 {
					assert.Equal(t, uid, o.UID)
				} else {
					assert.Zero(t, o.UID)
				}
			}
		}
		assert.Equal(t, all, tg.stored())
		first := tg.inbox.Messages()[0]
		assert.True(t, first.Date.Equal(batches[0][0].InternalDate))
		_, offset := first.Date.Zone()
		assert.Equal(t, 5400, offset)
		for _, b := range batches {
			released(t, b)
		}
		after := tg.Traffic()
		commands, trips := after.Commands-before.Commands, after.RoundTrips-before.RoundTrips
		switch {
		case strings.HasPrefix(name, "like Dovecot"):
			assert.LessOrEqual(t, commands, int64(4))
		case strings.Contains(name, "MULTI"):
			assert.EqualValues(t, 4, commands)
		default:
			assert.EqualValues(t, 100, commands)
		}
		t.Logf("%d commands, %d round trips", commands, trips)
	})
}

// One bad message costs itself, and nobody's place.
func TestRefusedMessagesAreIsolated(t *testing.T) {
	eachWay(t, func(t *testing.T, name string, opts imapserver.Options) {
		for _, mask := range []uint32{0b1, 0b1000_0000, 0b0101_1010, 0b1111_1111, 0b0110_0000_0000_0000, 1 << 23, 0xffffff} {
			refuse := opts
			inner := opts.Refuse
			refuse.Refuse = func(body []byte) error {
				if inner != nil && inner(body) != nil {
					return inner(body)
				}
				return poisonous(body)
			}
			tg := newTarget(t, refuse)
			w := tg.writer(t)
			var want []string
			var receipts []mailhaul.Receipt
			var all []mailhaul.Outgoing
			for i := range 3 {
				var texts []string
				for j := range 8 {
					text := fmt.Sprintf("message %d", 8*i+j)
					if mask&(1<<(8*i+j)) != 0 {
						text += " with poison"
					} else {
						want = append(want, text)
					}
					texts = append(texts, text)
				}
				batch := letters(texts...)
				all = append(all, batch...)
				r, err := w.Append(t.Context(), batch)
				require.NoError(t, err)
				receipts = append(receipts, r)
			}
			uid := mailhaul.UID(0)
			for i, r := range receipts {
				outcomes, err := r.Wait(t.Context())
				require.NoError(t, err)
				for j, o := range outcomes {
					if mask&(1<<(8*i+j)) != 0 {
						assert.Equal(t, mailhaul.NotStored, o.Delivery)
						e := checkError(t, o.Err)
						assert.Equal(t, mailhaul.ScopeMessage, e.Scope)
						assert.Contains(t, e.Error(), "poison")
						continue
					}
					assert.Equal(t, mailhaul.Stored, o.Delivery)
					assert.NoError(t, o.Err)
					if len(opts.Caps) > 0 {
						assert.Greater(t, o.UID, uid)
						uid = o.UID
					}
				}
			}
			require.NoError(t, w.Finish(t.Context()))
			assert.Equal(t, want, tg.stored(), "%b", mask)
			released(t, all)
			require.NoError(t, w.Close())
			assert.EqualValues(t, 1, tg.Traffic().Connections)
		}
	})
}

// What a MULTIAPPEND cannot carry goes beside it, in its place.
func TestAppendOddMessages(t *testing.T) {
	eachWay(t, func(t *testing.T, name string, opts imapserver.Options) {
		opts.Caps = append(opts.Caps, "APPENDLIMIT")
		opts.AppendLimit = 100
		tg := newTarget(t, opts)
		w := tg.writer(t)
		batch := letters("one", "", strings.Repeat("x", 101), "three", "four")
		batch[3].Body.(*heldBody).stream = true
		r, err := w.Append(t.Context(), batch)
		require.NoError(t, err)
		outcomes, err := r.Wait(t.Context())
		require.NoError(t, err)
		want := []string{"one", "", "three", "four"}
		if strings.HasPrefix(name, "like Dovecot") {
			want = []string{"one", "three", "four"}
			assert.Equal(t, mailhaul.NotStored, outcomes[1].Delivery)
		} else {
			assert.Equal(t, mailhaul.Stored, outcomes[1].Delivery)
		}
		assert.Equal(t, want, tg.stored())
		assert.Equal(t, mailhaul.NotStored, outcomes[2].Delivery)
		e := checkError(t, outcomes[2].Err)
		assert.Equal(t, "TOOBIG", e.Code)
		assert.Equal(t, mailhaul.ScopeMessage, e.Scope)
		assert.Empty(t, tg.lines("{101"), "it was sent all the same")
		released(t, batch)
	})
}

func TestFlagsThatMailboxesKeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tg := newTarget(t, imapserver.Options{Caps: ways["LITERAL+"], PermanentFlags: []string{`\Seen`, `\Deleted`, "$Known"}})
		w := tg.writer(t)
		assert.False(t, w.Status().AnyKeyword)
		o := out("x", `\Seen`, `\Flagged`, "$known", "$Unknown", `\Recent`, `\Odd`, "a b")
		r, err := w.Append(t.Context(), []mailhaul.Outgoing{o})
		require.NoError(t, err)
		outcomes, err := r.Wait(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 4, outcomes[0].Dropped, "\\Flagged, $Unknown, \\Odd and what is no flag")
		assert.ElementsMatch(t, []mailhaul.Flag{`\Seen`, "$known"}, tg.inbox.Messages()[0].Flags)
		require.NoError(t, w.Store(t.Context(), []mailhaul.FlagChange{{UID: outcomes[0].UID, Add: []mailhaul.Flag{`\Flagged`, `\Deleted`}, Remove: []mailhaul.Flag{`\Seen`, "x"}}}))
		assert.ElementsMatch(t, []mailhaul.Flag{`\Deleted`, "$known"}, tg.inbox.Messages()[0].Flags)
	})
}

// The first message with a keyword waits for the server's leave: what a server
// finds wrong with it, it finds wrong while the body is still here.
func TestFirstKeywordSynchronizes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := dovecotLike(imapserver.Options{Caps: ways["MULTIAPPEND LITERAL+"]})
		opts.ID["name"] = "Cyrus" // Dovecot itself was seen to need no waiting
		tg := newTarget(t, opts)
		w := tg.writer(t)
		r, err := w.Append(t.Context(), []mailhaul.Outgoing{out("aa", `\Seen`), out("bb", "$New"), out("cc", "$new"), out("dd", "$Other", "$New")})
		require.NoError(t, err)
		_, err = r.Wait(t.Context())
		require.NoError(t, err)
		lines := tg.lines("{2")
		require.Len(t, lines, 4)
		for i, sync := range []bool{false, true, false, true} {
			assert.Equal(t, sync, strings.HasSuffix(lines[i], "{2}"), lines[i])
		}
	})
}

func TestKeywordsThatAreRefused(t *testing.T) {
	for _, answer := range []string{"NO Invalid keyword", "BAD Invalid keyword"} {
		for name, caps := range ways {
			t.Run(answer+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					opts := imapserver.Options{Caps: caps}
					opts.Hooks.Command = func(c *imapserver.Session, command, args string) *imapserver.Override {
						if command == "APPEND" && strings.Contains(args, "$Bad") {
							return &imapserver.Override{Reply: answer}
						}
						return nil
					}
					tg := newTarget(t, opts)
					var outcomes []mailhaul.Outcome
					for range 3 { // as the engine does: what failed is tried again
						w := tg.writer(t)
						r, _ := w.Append(t.Context(), []mailhaul.Outgoing{out("aa", `\Seen`, "$Bad")})
						outcomes, _ = r.Wait(t.Context())
						_ = w.Close()
						if outcomes[0].Delivery == mailhaul.Stored {
							break
						}
						assert.Equal(t, mailhaul.NotStored, outcomes[0].Delivery)
						assert.Equal(t, mailhaul.Transient, mailhaul.KindOf(outcomes[0].Err))
					}
					assert.Equal(t, mailhaul.Stored, outcomes[0].Delivery)
					assert.Equal(t, 1, outcomes[0].Dropped)
					assert.Equal(t, []string{"aa"}, tg.stored())
					assert.Equal(t, []mailhaul.Flag{`\Seen`}, tg.inbox.Messages()[0].Flags)
				})
			})
		}
	}
}

// A refusal that is not about a message stops the Writer: nothing goes on
// being sent to a full mailbox.
func TestStopClasses(t *testing.T) {
	tests := []struct {
		answer string
		kind   mailhaul.Kind
	}{
		{"NO [OVERQUOTA] full", mailhaul.OverQuota},
		{"NO [TRYCREATE] no such mailbox", mailhaul.Conflict},
		{"NO Request is throttled. Suggested Backoff Time: 299961 milliseconds", mailhaul.Throttled},
	}
	for _, tt := range tests {
		t.Run(tt.answer, func(t *testing.T) {
			eachWay(t, func(t *testing.T, name string, opts imapserver.Options) {
				appends := 0
				opts.Hooks.Command = func(_ *imapserver.Session, command, args string) *imapserver.Override {
					if command != "APPEND" || strings.HasPrefix(args, `"mailhaul-probe`) {
						return nil
					}
					if appends++; appends == 1 {
						return nil
					}
					return &imapserver.Override{Reply: tt.answer}
				}
				tg := newTarget(t, opts)
				w := tg.writer(t)
				first := letters("one")
				r, err := w.Append(t.Context(), first)
				require.NoError(t, err)
				_, err = r.Wait(t.Context())
				require.NoError(t, err)

				batch := letters("two", "three", "four")
				r, _ = w.Append(t.Context(), batch)
				outcomes, err := r.Wait(t.Context())
				assert.Equal(t, tt.kind, mailhaul.KindOf(err))
				for _, o := range outcomes {
					assert.Equal(t, mailhaul.NotStored, o.Delivery)
					assert.Equal(t, tt.kind, mailhaul.KindOf(o.Err))
				}
				more := letters("five")
				r, err = w.Append(t.Context(), more)
				assert.Equal(t, tt.kind, mailhaul.KindOf(err))
				outcomes, _ = r.Wait(t.Context())
				assert.Equal(t, mailhaul.NotStored, outcomes[0].Delivery)
				assert.Equal(t, tt.kind, mailhaul.KindOf(w.Finish(t.Context())))
				assert.Equal(t, []string{"one"}, tg.stored())
				released(t, append(append(first, batch...), more...))
			})
		})
	}
}

// A server that says NO and stores all the same is not believed.
func TestRefusalIsSettled(t *testing.T) {
	for _, code := range []string{"[SERVERBUG] internal error", "[UNAVAILABLE] later", "refused"} {
		t.Run(code, func(t *testing.T) {
			eachWay(t, func(t *testing.T, name string, opts imapserver.Options) {
				opts.Hooks.Command = func(_ *imapserver.Session, command, args string) *imapserver.Override {
					if command == "APPEND" && !strings.HasPrefix(args, `"mailhaul-probe`) {
						return &imapserver.Override{Execute: true, Reply: "NO " + code}
					}
					return nil
				}
				tg := newTarget(t, opts)
				tg.inbox.Add(imapserver.Message{Body: []byte("here before")})
				w := tg.writer(t)
				texts := []string{"one", "two", "three"}
				if code == "refused" && !w.way.multi {
					return // one message, refused in so many words: there is no doubt
				}
				batch := letters(texts...)
				r, _ := w.Append(t.Context(), batch)
				outcomes, err := r.Wait(t.Context())
				assert.Error(t, err)
				unknown := 0
				for _, o := range outcomes {
					assert.NotEqual(t, mailhaul.Stored, o.Delivery)
					if o.Delivery == mailhaul.DeliveryUnknown {
						unknown++
					}
				}
				assert.Equal(t, len(tg.stored())-1, unknown)
				_ = w.Finish(t.Context())
				released(t, batch)
			})
		})
	}
}

// A NO behind the literal, with nothing stored, is NotStored, and others'
// deliveries leave it open.
func TestSettlingSeesOthers(t *testing.T) {
	for _, others := range []bool{false, true} {
		eachWay(t, func(t *testing.T, name string, opts imapserver.Options) {
			var tg *target
			opts.Hooks.Command = func(_ *imapserver.Session, command, args string) *imapserver.Override {
				if command == "APPEND" && !strings.HasPrefix(args, `"mailhaul-probe`) {
					if others {
						tg.inbox.Add(imapserver.Message{Body: []byte("from elsewhere")})
					}
					return &imapserver.Override{Reply: "NO [SERVERBUG] internal error"}
				}
				return nil
			}
			// The Override answers before the literal is asked for, unless it
			// is not waited for.
			tg = newTarget(t, opts)
			w := tg.writer(t)
			r, _ := w.Append(t.Context(), letters("one"))
			outcomes, _ := r.Wait(t.Context())
			want := mailhaul.NotStored
			if others && !w.way.waits(3) {
				want = mailhaul.DeliveryUnknown
			}
			assert.Equal(t, want, outcomes[0].Delivery)
		})
	}
}

// BAD ends the connection at once: the server may be running mail as commands.
func TestBADEndsTheConnection(t *testing.T) {
	eachWay(t, func(t *testing.T, name string, opts imapserver.Options) {
		opts.ParseBodyAfterBAD = true
		bad := true
		opts.Hooks.Command = func(_ *imapserver.Session, command, args string) *imapserver.Override {
			if bad && command == "APPEND" && !strings.HasPrefix(args, `"mailhaul-probe`) {
				return &imapserver.Override{Reply: "BAD Command Argument Error. 12"}
			}
			return nil
		}
		tg := newTarget(t, opts)
		w := tg.writer(t)
		batch := letters("one", "two", "three")
		r, _ := w.Append(t.Context(), batch)
		outcomes, err := r.Wait(t.Context())
		assert.Error(t, err)
		for _, o := range outcomes {
			assert.NotEqual(t, mailhaul.Stored, o.Delivery)
		}
		released(t, batch)
		require.Error(t, w.Finish(t.Context()))
		require.NoError(t, w.Close())
		assert.Empty(t, tg.stored())
		// From now on one at a time, each literal asked for.
		bad = false
		w = tg.writer(t)
		assert.False(t, w.way.plus || w.way.small)
		r, err = w.Append(t.Context(), letters("one", "two"))
		require.NoError(t, err)
		_, err = r.Wait(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []string{"one", "two"}, tg.stored())
		assert.EqualValues(t, 2, tg.Traffic().Connections)
	})
}

// cutter ends a connection when a number of octets has passed towards the
// server, or back.
type cutter struct {
	net.Conn
	in, out int // octets left; negative: no end
}

func (c *cutter) Read(p []byte) (int, error) {
	if c.in == 0 {
		c.Conn.Close()
		return 0, io.EOF
	}
	if c.in > 0 && len(p) > c.in {
		p = p[:c.in]
	}
	n, err := c.Conn.Read(p)
	if c.in > 0 {
		c.in -= n
	}
	return n, err
}

func (c *cutter) Write(p []byte) (int, error) {
	if c.out >= 0 && len(p) > c.out {
		n, _ := c.Conn.Write(p[:c.out])
		c.out = 0
		c.Conn.Close()
		return n, io.ErrClosedPipe
	}
	n, err := c.Conn.Write(p)
	if c.out >= 0 {
		c.out -= n
	}
	return n, err
}

// Wherever a connection is cut, in whichever direction, what is Stored is in
// the mailbox, what is NotStored is not, and each body is released once.
func TestCutAnywhere(t *testing.T) {
	eachWay(t, func(t *testing.T, name string, opts imapserver.Options) {
		run := func(in, out int) (readIn, writtenOut int, alive bool) {
			opts := opts
			var cut *cutter
			opts.Hooks.Wrap = func(n int, c net.Conn) net.Conn {
				cut = &cutter{c, in, out}
				return cut
			}
			tg := newTarget(t, opts)
			defer func() { assert.NoError(t, tg.Client.Close()); assert.NoError(t, tg.server.Close()) }()
			tg.facts.set(literalsSwallowed)
			w, err := tg.OpenWriter(t.Context(), inbox)
			if err != nil {
				return 0, 0, false
			}
			batches := [][]mailhaul.Outgoing{letters("one", "twotwo"), letters("three")}
			var outcomes []mailhaul.Outcome
			var receipts []mailhaul.Receipt
			for _, b := range batches {
				r, _ := w.Append(t.Context(), b)
				receipts = append(receipts, r)
			}
			finished := w.Finish(t.Context())
			for _, r := range receipts {
				o, _ := r.Wait(t.Context())
				outcomes = append(outcomes, o...)
			}
			assert.NoError(t, w.Close())
			synctest.Wait() // the server may still be at it
			stored := strings.Join(tg.stored(), " ")
			for i, text := range []string{"one", "twotwo", "three"} {
				switch outcomes[i].Delivery {
				case mailhaul.Stored:
					assert.Contains(t, stored, text, "cut at %d, %d", in, out)
				case mailhaul.NotStored:
					assert.NotContains(t, stored, text, "cut at %d, %d", in, out)
					assert.Error(t, outcomes[i].Err)
				default:
					assert.Error(t, outcomes[i].Err)
				}
			}
			for _, b := range batches {
				released(t, b)
			}
			return 0, 0, finished == nil
		}
		whole := func(next func(n int) bool) {
			for n := 0; ; n++ {
				if next(n) {
					return
				}
				require.Less(t, n, 10_000)
			}
		}
		whole(func(n int) bool { _, _, alive := run(n, -1); return alive })
		whole(func(n int) bool { _, _, alive := run(-1, n); return alive })
	})
}

// failing is a body whose reader fails, or lies about its length.
type failing struct {
	heldBody
	r    func() io.Reader
	size int64
}

func (b *failing) Reader() io.Reader { return b.r() }
func (b *failing) Size() int64       { return b.size }

// A body that cannot be read to its end never becomes a message, nor does what
// follows it.
func TestUnreadableBodies(t *testing.T) {
	broken := errors.New("the source broke")
	long := strings.Repeat("x", 200_000)
	readers := map[string]struct {
		size int64
		r    func() io.Reader
	}{
		"fails at once":       {10, func() io.Reader { return &faulty{err: broken} }},
		"fails in the middle": {200_001, func() io.Reader { return &faulty{text: long, err: broken} }},
		"fails at its end":    {200_000, func() io.Reader { return &faulty{text: long, err: broken} }},
		"is short":            {200_001, func() io.Reader { return strings.NewReader(long) }},
		"is long":             {199_999, func() io.Reader { return strings.NewReader(long) }},
		"is not empty":        {0, func() io.Reader { return strings.NewReader("x") }},
	}
	for what, body := range readers {
		t.Run(what, func(t *testing.T) {
			eachWay(t, func(t *testing.T, name string, opts imapserver.Options) {
				tg := newTarget(t, opts)
				w := tg.writer(t)
				batch := letters("one", "", "three")
				bad := &failing{r: body.r, size: body.size}
				bad.stream = true
				batch[1].Body = bad
				r, err := w.Append(t.Context(), batch)
				assert.Error(t, err)
				outcomes, err := r.Wait(t.Context())
				assert.Error(t, err)
				assert.Equal(t, mailhaul.NotStored, outcomes[1].Delivery)
				assert.Equal(t, mailhaul.NotStored, outcomes[2].Delivery)
				if strings.HasPrefix(what, "fails") {
					assert.ErrorIs(t, outcomes[1].Err, broken)
				}
				assert.Equal(t, 1, bad.released)
				for _, s := range tg.stored() {
					assert.Equal(t, "one", s)
				}
			})
		})
	}
}

type faulty struct {
	text string
	err  error
}

func (f *faulty) Read(p []byte) (int, error) {
	if f.text == "" {
		return 0, f.err
	}
	n := copy(p, f.text)
	f.text = f.text[n:]
	return n, nil
}

// The end of the context ends an Append at once, wherever it is, and so does
// Close from elsewhere.
func TestAppendCancelled(t *testing.T) {
	for _, how := range []string{"context", "writer", "client"} {
		for _, stalled := range []string{"server", "source"} {
			t.Run(how+"/"+stalled, func(t *testing.T) {
				eachWay(t, func(t *testing.T, name string, opts imapserver.Options) {
					if stalled == "server" {
						opts.Hooks.Command = func(_ *imapserver.Session, command, args string) *imapserver.Override {
							if command == "APPEND" && !strings.HasPrefix(args, `"mailhaul-probe`) {
								return &imapserver.Override{Delay: time.Hour}
							}
							return nil
						}
					}
					tg := newTarget(t, opts, func(c *Config) { c.ProgressTimeout = 24 * time.Hour })
					w, err := tg.OpenWriter(t.Context(), inbox)
					require.NoError(t, err)
					batch := letters("one", strings.Repeat("x", 1_000_000))
					pr, pw := io.Pipe()
					if stalled == "source" {
						batch[1].Body = &failing{r: func() io.Reader { return pr }, size: 1_000_000}
					}
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					start := time.Now()
					time.AfterFunc(time.Second, func() {
						switch how {
						case "context":
							cancel()
						case "writer":
							assert.NoError(t, w.Close())
						case "client":
							assert.NoError(t, tg.Client.Close())
						}
						assert.Equal(t, time.Second, time.Since(start), "Close waited")
						// The source is another's, and ends by itself.
						_ = pw.CloseWithError(context.Canceled)
					})
					r, _ := w.Append(ctx, batch)
					outcomes, err := r.Wait(ctx)
					if err == nil {
						err = w.Finish(ctx)
					}
					assert.Error(t, err)
					assert.Equal(t, time.Second, time.Since(start))
					assert.NotEqual(t, mailhaul.Stored, outcomes[1].Delivery)
					assert.NoError(t, w.Close())
					assert.NoError(t, tg.Client.Close())
				})
			})
		}
	}
}

// Everything that Dovecot does, it does here as well.
func TestAppendDovecotRefusals(t *testing.T) {
	eachServer(t, func(t *testing.T, srv mailhaul.Server) {
		cl := openClient(t, Config{Server: srv})
		w, err := cl.OpenWriter(t.Context(), inbox)
		require.NoError(t, err)
		long := mailhaul.Flag(strings.Repeat("k", 60)) // Dovecot takes 50 octets
		var receipts []mailhaul.Receipt
		var want []string
		for i := range 5 {
			var batch []mailhaul.Outgoing
			for j := range 10 {
				text := fmt.Sprintf("Subject: %d\r\n\r\nx\r\n", 10*i+j)
				o := out(text)
				if j == 3 && i%2 == 1 {
					o = out(text, long)
				}
				want = append(want, text)
				batch = append(batch, o)
			}
			r, err := w.Append(t.Context(), batch)
			require.NoError(t, err)
			receipts = append(receipts, r)
		}
		require.NoError(t, w.Finish(t.Context()))
		for _, r := range receipts {
			outcomes, err := r.Wait(t.Context())
			require.NoError(t, err)
			for _, o := range outcomes {
				assert.Equal(t, mailhaul.Stored, o.Delivery, o.Err)
			}
		}
		require.NoError(t, w.Close())
		r, err := cl.OpenReader(t.Context(), inbox)
		require.NoError(t, err)
		defer r.Close()
		set, err := r.UIDs(t.Context())
		require.NoError(t, err)
		seq, err := r.Fetch(t.Context(), set, false)
		require.NoError(t, err)
		var got []string
		for f, err := range seq {
			require.NoError(t, err)
			b, err := io.ReadAll(f.Body.Reader())
			require.NoError(t, err)
			got = append(got, string(b))
			f.Body.Release()
		}
		assert.Equal(t, want, got)
	})
}

// Dovecot runs bodies of what it refuses as bad syntax, but not where it finds
// no mailbox: the probe must not take that for safety. (It is used there all the
// same, since it is known to refuse nothing of ours that way.)
func TestProbeFindsDovecot(t *testing.T) {
	eachServer(t, func(t *testing.T, srv mailhaul.Server) {
		cl := openClient(t, Config{Server: srv})
		c, err := cl.acquire(t.Context(), opNoop, "", "")
		require.NoError(t, err)
		defer cl.pool.put(c)
		safe, err := c.probeLiterals(t.Context())
		require.NoError(t, err)
		assert.Equal(t, c.quirks.name != "Dovecot", safe)
		assert.NoError(t, c.noop(t.Context()), "the connection is as good as before")
	})
}

// Receipts may be waited for in any order, by anybody, with no further call of
// the Writer's.
func TestReceiptsInAnyOrder(t *testing.T) {
	for _, refusal := range []string{"Message contains poison", "[OVERQUOTA] full", "[SERVERBUG] oops"} {
		t.Run(refusal, func(t *testing.T) {
			eachWay(t, func(t *testing.T, name string, opts imapserver.Options) {
				inner := opts.Refuse
				opts.Refuse = func(body []byte) error {
					if bytes.Contains(body, []byte("poison")) {
						return errors.New(refusal)
					}
					if inner != nil {
						return inner(body)
					}
					return nil
				}
				tg := newTarget(t, opts)
				w := tg.writer(t)
				batches := [][]mailhaul.Outgoing{letters("a1", "a2 poison", "a3"), letters("b1", "b2"), letters("c1"), letters("d1", "d2 poison")}
				var receipts []mailhaul.Receipt
				for _, b := range batches {
					r, _ := w.Append(t.Context(), b)
					receipts = append(receipts, r)
				}
				var wg sync.WaitGroup
				outcomes := make([][]mailhaul.Outcome, len(receipts))
				for i := len(receipts) - 1; i >= 0; i-- {
					wg.Go(func() { outcomes[i], _ = receipts[i].Wait(t.Context()) })
					synctest.Wait()
				}
				wg.Wait()
				stored := " " + strings.Join(tg.stored(), " ") + " "
				for i, b := range batches {
					for j, o := range b {
						text := " " + string(o.Body.(*heldBody).data) + " "
						switch outcomes[i][j].Delivery {
						case mailhaul.Stored:
							assert.Contains(t, stored, text)
						case mailhaul.NotStored:
							assert.NotContains(t, stored, text)
							assert.Error(t, outcomes[i][j].Err)
						default:
							t.Errorf("%s: unknown: %v", text, outcomes[i][j].Err)
						}
					}
					released(t, b)
				}
				if strings.HasPrefix(refusal, "Message") {
					assert.Equal(t, " a1 a3 b1 b2 c1 d1 ", stored)
				}
				assert.IsIncreasing(t, append([]string{""}, strings.Fields(stored)...), "the order given")
			})
		})
	}
}
