package imapx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
)

var inbox = mailhaul.Mailbox{Path: []string{"INBOX"}, Name: "INBOX", Wire: "INBOX", Role: mailhaul.RoleInbox}

// scriptedReader opens INBOX, of three messages, on a server that answers each
// UID FETCH and UID SEARCH by the function.
func scriptedReader(t *testing.T, capabilities string, change func(*Config), answer func(s *script, tag, rest string)) *Reader {
	t.Helper()
	cl := hostileClient(t, capabilities, func(s *script) {
		s.simple(func(tag, rest string) bool {
			switch {
			case strings.HasPrefix(rest, "EXAMINE"):
				s.send(tag, "* 3 EXISTS", "* OK [UIDVALIDITY 1] x", "* OK [UIDNEXT 9] x", "* OK [HIGHESTMODSEQ 7] x", "TAG OK [READ-ONLY] done")
			case strings.HasPrefix(rest, "UID "):
				answer(s, tag, rest)
			default:
				return false
			}
			return true
		})
	})
	if change != nil {
		change(&cl.cfg)
	}
	r, err := cl.OpenReader(t.Context(), inbox)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, r.Close()) })
	return r.(*Reader)
}

// bodies ranges over a sequence and returns the bodies by UID, and the errors.
func bodies(t *testing.T, r *Reader, set mailhaul.UIDSet, stream bool) (map[mailhaul.UID]string, []error) {
	t.Helper()
	seq, err := r.Fetch(t.Context(), set, stream)
	require.NoError(t, err)
	got := make(map[mailhaul.UID]string)
	var errs []error
	for f, err := range seq {
		if err != nil {
			errs = append(errs, err)
			continue
		}
		b, err := io.ReadAll(f.Body.Reader())
		if err != nil {
			errs = append(errs, err)
		}
		assert.EqualValues(t, len(b), f.Body.Size())
		assert.NotContains(t, got, f.UID, "twice")
		got[f.UID] = string(b)
		f.Body.Release()
		f.Body.Release()
	}
	return got, errs
}

// Whatever the order in which a server puts things, no body is lost, and none
// is taken for another's.
func TestFetchBodiesInAnyForm(t *testing.T) {
	want := map[mailhaul.UID]string{5: "five", 6: "", 8: "eight"}
	tests := map[string][]string{
		"as usual":            {"* 1 FETCH (UID 5 BODY[] {4}", "five)", "* 2 FETCH (UID 6 BODY[] {0}", ")", "* 3 FETCH (UID 8 BODY[] {5}", "eight)"},
		"UID behind the body": {"* 1 FETCH (BODY[] {4}", "five UID 5)", "* 2 FETCH (BODY[] {0}", " UID 6)", "* 3 FETCH (BODY[] {5}", "eight UID 8)"},
		"backwards":           {"* 3 FETCH (UID 8 BODY[] {5}", "eight)", "* 2 FETCH (UID 6 BODY[] {0}", ")", "* 1 FETCH (UID 5 BODY[] {4}", "five)"},
		"a flag update before the body": {"* 1 FETCH (UID 5 FLAGS (\\Seen))", "* 1 FETCH (FLAGS (\\Answered))", "* 1 FETCH (UID 5 BODY[] {4}", "five)",
			"* 2 FETCH (UID 6 FLAGS () BODY[] {0}", ")", "* 3 FETCH (UID 8 BODY[] {5}", "eight)", "* 3 FETCH (UID 8 FLAGS ())"},
		"UID and body in two responses": {"* 1 FETCH (UID 5 FLAGS ())", "* 1 FETCH (BODY[] {4}", "five)", "* 2 FETCH (BODY[] {0}", ")", "* 2 FETCH (UID 6)",
			"* 3 FETCH (BODY[] {5}", "eight)", "* 3 FETCH (FLAGS (x) UID 8)"},
		"literal8":       {"* 1 FETCH (UID 5 BODY[] ~{4}", "five)", "* 2 FETCH (UID 6 BODY[] ~{0}", ")", "* 3 FETCH (UID 8 BODY[] ~{5}", "eight)"},
		"quoted":         {`* 1 FETCH (UID 5 BODY[] "five")`, `* 2 FETCH (BODY[] "" UID 6)`, "* 3 FETCH (UID 8 BODY[] {5}", "eight)"},
		"unknown items":  {"* 1 FETCH (X-GM-LABELS (\"\\\\Inbox\" a) UID 5 ENVELOPE NIL BODY[] {4}", "five X-GM-MSGID 1)", "* 2 FETCH (EMAILID (M1) UID 6 BODY[] {0}", " PREVIEW NIL)", "* 3 FETCH (UID 8 SAVEDATE NIL BODY[] {5}", "eight)"},
		"news between":   {"* 4 EXISTS", "* 1 FETCH (UID 5 BODY[] {4}", "five)", "* OK still here", "* 2 RECENT", "* XYZZY foo", "* 2 FETCH (UID 6 BODY[] {0}", ")", "* FLAGS (a)", "* 3 FETCH (UID 8 BODY[] {5}", "eight)"},
		"twice":          {"* 1 FETCH (UID 5 BODY[] {4}", "five)", "* 1 FETCH (UID 5 BODY[] {4}", "six!)", "* 2 FETCH (UID 6 BODY[] {0}", ")", "* 3 FETCH (UID 8 BODY[] {5}", "eight)"},
		"others' bodies": {"* 9 FETCH (UID 7 BODY[] {4}", "nope)", "* 9 FETCH (BODY[] {4}", "nope UID 7)", "* 1 FETCH (UID 5 BODY[] {4}", "five)", "* 2 FETCH (UID 6 BODY[] {0}", ")", "* 3 FETCH (UID 8 BODY[] {5}", "eight)"},
		"malformed between": {"* 1 FETCH (UID 5 BODY[] {4}", "five)", "* 2 FETCH NIL", "* FETCH (", "* 2 FETCH (X " + strings.Repeat("(", 100), "* 2 FETCH (UID 6 BODY[] {0}", ")",
			"* 3 FETCH (UID 8 BODY[] {5}", "eight) )"},
		"a missing message": {"* 1 FETCH (UID 5 BODY[] {4}", "five)", "* 2 FETCH (UID 6 BODY[] {0}", ")", "* 3 FETCH (UID 8 BODY[] {5}", "eight)", "* 4 FETCH (UID 7 BODY[] NIL)"},
	}
	for name, lines := range tests {
		for _, stream := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/stream=%v", name, stream), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := scriptedReader(t, "", nil, func(s *script, tag, rest string) {
						assert.Equal(t, "UID FETCH 5:6,8 (UID BODY.PEEK[])", rest)
						s.send(tag, append(lines, "TAG OK done")...)
					})
					got, errs := bodies(t, r, mailhaul.UIDSetOf(5, 6, 8), stream)
					assert.Empty(t, errs)
					assert.Equal(t, want, got)
				})
			})
		}
	}
}

func TestFetchRefused(t *testing.T) {
	tests := []struct {
		answer string
		kind   mailhaul.Kind
		scope  mailhaul.Scope
	}{
		{"NO [UNAVAILABLE] UID FETCH Server error while fetching messages", mailhaul.Transient, mailhaul.ScopeMessage},
		{"NO Some messages could not be FETCHed (Failure)", mailhaul.Permanent, mailhaul.ScopeMessage},
		{"BAD Request is throttled. Suggested Backoff Time: 1000 milliseconds", mailhaul.Throttled, mailhaul.ScopeAccount},
		{"OK done [THROTTLED]", mailhaul.Throttled, mailhaul.ScopeAccount},
		{"NO [CORRUPTION] index", mailhaul.Permanent, mailhaul.ScopeMailbox},
	}
	for _, tt := range tests {
		t.Run(tt.answer, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := scriptedReader(t, "", nil, func(s *script, tag, _ string) {
					s.send(tag, "* 1 FETCH (UID 5 BODY[] {4}", "five)", "TAG "+tt.answer)
				})
				got, errs := bodies(t, r, mailhaul.UIDSetOf(5, 6), false)
				assert.Equal(t, map[mailhaul.UID]string{5: "five"}, got)
				require.Len(t, errs, 1)
				e := checkError(t, errs[0])
				assert.Equal(t, tt.kind, e.Kind)
				assert.Equal(t, tt.scope, e.Scope)
				assert.Equal(t, "INBOX", e.Mailbox)
			})
		})
	}
}

// A body larger than is buffered goes to a file, one larger than is taken is
// reported, and neither costs its neighbours.
func TestLargeBodies(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	small, large, huge := "small", strings.Repeat("large\n", 50_000), strings.Repeat("huge\n", 200_000)
	synctest.Test(t, func(t *testing.T) {
		r := scriptedReader(t, "", func(cfg *Config) {
			cfg.Limits.MaxBuffered, cfg.Limits.MaxBody = 100_000, 500_000
		}, func(s *script, tag, rest string) {
			for i, b := range []string{small, large, huge, small} {
				s.send(tag, fmt.Sprintf("* %d FETCH (UID %d BODY[] {%d}", i+1, i+1, len(b)), b+")")
			}
			s.send(tag, "TAG OK done")
		})
		seq, err := r.Fetch(t.Context(), mailhaul.UIDSet{{First: 1, Last: 4}}, false)
		require.NoError(t, err)
		var got []string
		for f, err := range seq {
			if err != nil {
				e := checkError(t, err)
				assert.EqualValues(t, 3, e.UID)
				assert.EqualValues(t, 3, f.UID)
				assert.Equal(t, mailhaul.ScopeMessage, e.Scope)
				got = append(got, "error")
				continue
			}
			assert.True(t, f.Body.Buffered())
			for range 2 {
				b, err := io.ReadAll(f.Body.Reader())
				assert.NoError(t, err)
				assert.Equal(t, []string{"", small, large, "", small}[f.UID], string(b))
			}
			got = append(got, fmt.Sprintf("%T", f.Body))
			f.Body.Release()
		}
		assert.Equal(t, []string{"*imapx.memoryBody", "*imapx.fileBody", "error", "*imapx.memoryBody"}, got)
	})
	left, err := os.ReadDir(dir)
	assert.NoError(t, err)
	assert.Empty(t, left)
}

// A stream ends well only where the whole response is there and was the one
// that was asked for.
func TestStreamVerdict(t *testing.T) {
	tests := map[string]struct {
		lines []string
		err   string
	}{
		"UID behind":     {[]string{"* 1 FETCH (BODY[] {4}", "five UID 5)"}, ""},
		"none":           {[]string{"* 1 FETCH (BODY[] {4}", "five)"}, ""},
		"another behind": {[]string{"* 1 FETCH (BODY[] {4}", "five UID 6)"}, "UID 6"},
		"cut short":      {[]string{"* 1 FETCH (BODY[] {5}", "five"}, "closed the connection"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := scriptedReader(t, "", nil, func(s *script, tag, rest string) {
					text := strings.Join(tt.lines, "\r\n")
					if name == "cut short" {
						_, _ = io.WriteString(s.conn, text)
						_ = s.conn.Close()
						return
					}
					s.send(tag, text, "TAG OK done")
				})
				got, errs := bodies2(t, r)
				if tt.err == "" {
					assert.Empty(t, errs)
					assert.Equal(t, "five", got)
					return
				}
				require.NotEmpty(t, errs)
				assert.ErrorContains(t, errs[0], tt.err)
			})
		})
	}
}

// bodies2 streams UID 5.
func bodies2(t *testing.T, r *Reader) (got string, errs []error) {
	seq, err := r.Fetch(t.Context(), mailhaul.UIDSetOf(5), true)
	require.NoError(t, err)
	for f, err := range seq {
		if err != nil {
			errs = append(errs, err)
			continue
		}
		assert.False(t, f.Body.Buffered())
		body := f.Body.Reader()
		b, err := io.ReadAll(body)
		if err != nil {
			errs = append(errs, err)
		}
		got = string(b)
		if _, err := f.Body.Reader().Read(make([]byte, 1)); !errors.Is(err, mailhaul.ErrBodyConsumed) {
			t.Errorf("a second reader: %v", err)
		}
		f.Body.Release()
	}
	return got, errs
}

// A stream that is not read, or not to its end, costs what was not read.
func TestStreamReleasedEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := strings.Repeat("x", 1_000_000)
		r := scriptedReader(t, "", nil, func(s *script, tag, rest string) {
			s.send(tag, fmt.Sprintf("* 1 FETCH (UID 5 BODY[] {%d}", len(body)), body+")", "TAG OK done")
		})
		for _, n := range []int{0, 1000} {
			seq, err := r.Fetch(t.Context(), mailhaul.UIDSetOf(5), true)
			require.NoError(t, err)
			for f, err := range seq {
				require.NoError(t, err)
				rd := f.Body.Reader()
				_, err = io.ReadFull(rd, make([]byte, n))
				require.NoError(t, err)
				f.Body.Release()
				_, err = rd.Read(make([]byte, 1))
				assert.Error(t, err)
			}
		}
		got, errs := bodies(t, r, mailhaul.UIDSetOf(5), false)
		assert.Empty(t, errs)
		assert.Len(t, got[5], len(body))
	})
}

// A consumer may take his time: the server is not what is slow.
func TestSlowConsumer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := strings.Repeat("x", 300_000)
		r := scriptedReader(t, "", nil, func(s *script, tag, rest string) {
			s.send(tag, fmt.Sprintf("* 1 FETCH (UID 5 BODY[] {%d}", len(body)), body+")", "TAG OK done")
		})
		seq, err := r.Fetch(t.Context(), mailhaul.UIDSetOf(5), true)
		require.NoError(t, err)
		for f, err := range seq {
			require.NoError(t, err)
			rd := f.Body.Reader()
			_, err = io.ReadFull(rd, make([]byte, 1000))
			require.NoError(t, err)
			time.Sleep(time.Hour)
			rest, err := io.ReadAll(rd)
			require.NoError(t, err)
			assert.Len(t, rest, len(body)-1000)
			f.Body.Release()
		}
	})
}

// Several fetches are under way at a time, and are one round trip.
func TestFetchPipelines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := scriptedReader(t, "", nil, func(s *script, tag, rest string) {
			time.Sleep(100 * time.Millisecond)
			uid := strings.Fields(rest)[2]
			s.send(tag, "* 1 FETCH (UID "+uid+" BODY[] {1}", uid+")", "TAG OK done")
		})
		before := r.client.Traffic().RoundTrips
		var seqs []func(func(mailhaul.Fetched, error) bool)
		for uid := range 5 {
			seq, err := r.Fetch(t.Context(), mailhaul.UIDSetOf(mailhaul.UID(uid+1)), false)
			require.NoError(t, err)
			seqs = append(seqs, seq)
		}
		n := 0
		for _, seq := range seqs {
			for f, err := range seq {
				require.NoError(t, err)
				n++
				assert.EqualValues(t, n, f.UID)
				f.Body.Release()
			}
		}
		assert.Equal(t, 5, n)
		assert.EqualValues(t, 1, r.client.Traffic().RoundTrips-before)
	})
}

// A long set is cut into commands that every server takes.
func TestLongSets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var set mailhaul.UIDSet
		for i := range 10_000 {
			set.Add(mailhaul.UID(100_000 + 2*i))
		}
		commands := 0
		r := scriptedReader(t, "", nil, func(s *script, tag, rest string) {
			assert.LessOrEqual(t, len(tag)+1+len(rest), 8000)
			commands++
			asked, err := mailhaul.ParseUIDSet(strings.Fields(rest)[2])
			assert.NoError(t, err)
			for uid := range asked.All() {
				s.send(tag, fmt.Sprintf("* %d FETCH (UID %d FLAGS ())", (uid-100_000)/2+1, uid))
			}
			s.send(tag, "TAG OK done")
		})
		var got mailhaul.UIDSet
		for m, err := range r.Messages(t.Context(), set, mailhaul.FieldFlags, 0) {
			require.NoError(t, err)
			got.Add(m.UID)
		}
		assert.Equal(t, set, got)
		assert.Greater(t, commands, 5)
	})
}

func TestMessages(t *testing.T) {
	tests := map[string][]string{
		"as usual":      {`* 1 FETCH (UID 5 FLAGS (\Seen) MODSEQ (9) RFC822.SIZE 4 INTERNALDATE "17-Jul-1996 02:44:25 -0700")`, `* 2 FETCH (UID 6 FLAGS () RFC822.SIZE 0 INTERNALDATE NIL)`},
		"another order": {`* 1 FETCH (RFC822.SIZE 4 INTERNALDATE "17-Jul-1996 02:44:25 -0700" MODSEQ (9) FLAGS (\Seen) UID 5)`, `* 2 FETCH (INTERNALDATE "x" UID 6 FLAGS () RFC822.SIZE 0)`},
		"in pieces": {`* 2 FETCH (FLAGS () UID 6)`, `* 1 FETCH (FLAGS (\Seen) RFC822.SIZE 4)`, `* 1 FETCH (UID 5 MODSEQ (9))`, `* 2 FETCH (RFC822.SIZE 0)`,
			`* 1 FETCH (INTERNALDATE "17-Jul-1996 02:44:25 -0700")`},
		"with news":  {`* 1 FETCH (FLAGS (\Seen))`, `* 1 FETCH (UID 5 FLAGS (\Seen) MODSEQ (9) RFC822.SIZE 4 INTERNALDATE "17-Jul-1996 02:44:25 -0700")`, `* 1 FETCH (UID 5 FLAGS (\Answered))`, `* 9 FETCH (UID 99 FLAGS ())`, `* 2 FETCH (UID 6 FLAGS () RFC822.SIZE 0 INTERNALDATE NIL)`, `* 2 FETCH (FLAGS (x))`},
		"only flags": {`* 1 FETCH (UID 5 FLAGS (\Seen) MODSEQ (9) RFC822.SIZE 4 INTERNALDATE "17-Jul-1996 02:44:25 -0700")`, `* 2 FETCH (UID 6 FLAGS () RFC822.SIZE 0)`, `* 3 FETCH (UID 8 FLAGS ())`},
	}
	for name, lines := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := scriptedReader(t, "CONDSTORE", nil, func(s *script, tag, rest string) {
					assert.Equal(t, "UID FETCH 5:8 (UID FLAGS MODSEQ RFC822.SIZE INTERNALDATE) (CHANGEDSINCE 3)", rest)
					s.send(tag, append(lines, "TAG OK done")...)
				})
				got := make(map[mailhaul.UID]mailhaul.Message)
				for m, err := range r.Messages(t.Context(), mailhaul.UIDSet{{First: 5, Last: 8}}, mailhaul.FieldFlags|mailhaul.FieldSize|mailhaul.FieldDate, 3) {
					require.NoError(t, err)
					assert.NotContains(t, got, m.UID)
					got[m.UID] = m
				}
				require.Len(t, got, 2)
				assert.Equal(t, []mailhaul.Flag{`\Seen`}, got[5].Flags)
				assert.EqualValues(t, 4, got[5].Size)
				assert.EqualValues(t, 9, got[5].ModSeq)
				assert.Equal(t, "1996-07-17T02:44:25-07:00", got[5].InternalDate.Format(time.RFC3339))
				assert.True(t, got[6].InternalDate.IsZero())
				assert.Empty(t, got[6].Flags)
			})
		})
	}
}

// A listing holds the server up rather than memory, but never its own
// consumer.
func TestMessagesBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 5 * queueLength
		sent := 0
		r := scriptedReader(t, "", nil, func(s *script, tag, rest string) {
			if strings.Contains(rest, "BODY") {
				s.send(tag, "* 1 FETCH (UID 1 BODY[] {1}", "x)", "TAG OK done")
				return
			}
			for i := range n {
				s.send(tag, fmt.Sprintf("* %d FETCH (UID %d FLAGS (a_rather_long_keyword_so_that_buffers_do_not_hold_them_all))", i+1, i+1))
				sent = i + 1
			}
			s.send(tag, "TAG OK done")
		})
		got := 0
		for _, err := range r.Messages(t.Context(), mailhaul.UIDSet{{First: 1, Last: n}}, mailhaul.FieldFlags, 0) {
			require.NoError(t, err)
			if got++; got == 1 {
				synctest.Wait()
				assert.Less(t, sent, n)
				got, errs := bodies(t, r, mailhaul.UIDSetOf(1), false)
				assert.Empty(t, errs)
				assert.Len(t, got, 1)
			}
		}
		assert.Equal(t, n, got)
	})
}

// Who leaves a sequence early leaves the connection usable.
func TestBreak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 3 * queueLength
		r := scriptedReader(t, "", nil, func(s *script, tag, rest string) {
			for i := range n {
				if strings.Contains(rest, "BODY") {
					s.send(tag, fmt.Sprintf("* %d FETCH (UID %d BODY[] {1}", i+1, i+1), "x)")
				} else {
					s.send(tag, fmt.Sprintf("* %d FETCH (UID %d FLAGS ())", i+1, i+1))
				}
			}
			s.send(tag, "TAG OK done")
		})
		set := mailhaul.UIDSet{{First: 1, Last: n}}
		for range r.Messages(t.Context(), set, mailhaul.FieldFlags, 0) {
			break
		}
		for _, stream := range []bool{false, true} {
			seq, err := r.Fetch(t.Context(), set, stream)
			require.NoError(t, err)
			for f, err := range seq {
				require.NoError(t, err)
				f.Body.Release()
				break
			}
		}
		count := 0
		for _, err := range r.Messages(t.Context(), set, mailhaul.FieldFlags, 0) {
			require.NoError(t, err)
			count++
		}
		assert.Equal(t, n, count)
	})
}

// The end of a context ends the wait at once, wherever it is.
func TestCancel(t *testing.T) {
	where := map[string]func(ctx context.Context, r *Reader) error{
		"UIDs": func(ctx context.Context, r *Reader) error { _, err := r.UIDs(ctx); return err },
		"Messages": func(ctx context.Context, r *Reader) error {
			for _, err := range r.Messages(ctx, mailhaul.UIDSetOf(1), mailhaul.FieldFlags, 0) {
				return err
			}
			return nil
		},
		"Fetch": func(ctx context.Context, r *Reader) error {
			seq, err := r.Fetch(ctx, mailhaul.UIDSetOf(1), false)
			if err != nil {
				return err
			}
			for _, err := range seq {
				return err
			}
			return nil
		},
	}
	for name, wait := range where {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := scriptedReader(t, "", nil, func(s *script, tag, rest string) { s.drain() })
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				start := time.Now()
				err := wait(ctx, r)
				assert.ErrorIs(t, err, context.DeadlineExceeded)
				checkError(t, err)
				assert.Equal(t, time.Second, time.Since(start))
				_, err = r.UIDs(t.Context())
				assert.Error(t, err, "the connection is dead")
			})
		})
	}
}

func TestUIDs(t *testing.T) {
	tests := []struct {
		name, caps string
		answers    map[string][]string
		want       string
	}{
		{"SEARCH", "", map[string][]string{"UID SEARCH ALL": {"* SEARCH 5 6 8"}}, "5:6,8"},
		{"ESEARCH", "ESEARCH", map[string][]string{"UID SEARCH RETURN (ALL) ALL": {`* ESEARCH (TAG "TAG") UID ALL 5:6,8`}}, "5:6,8"},
		{"in two responses", "", map[string][]string{"UID SEARCH ALL": {"* SEARCH 8", "* SEARCH 5 6"}}, "5:6,8"},
		{"messages that are gone", "", map[string][]string{"UID SEARCH ALL": {"* SEARCH 1 2 5 6 8"},
			"UID FETCH 1:* (UID)": {"* 1 FETCH (UID 5)", "* 2 FETCH (FLAGS () UID 6)", "* 3 FETCH (UID 8)"}}, "5:6,8"},
		{"no answer", "", map[string][]string{"UID SEARCH ALL": nil, "UID FETCH 1:* (UID)": {"* 3 FETCH (UID 8)", "* 2 FETCH (UID 6)", "* 1 FETCH (UID 5)"}}, "5:6,8"},
		{"a bomb", "ESEARCH", map[string][]string{"UID SEARCH RETURN (ALL) ALL": {"* ESEARCH ALL 1:4294967295"},
			"UID FETCH 1:* (UID)": {"* 1 FETCH (UID 5)"}}, "5"},
		{"refused", "", map[string][]string{"UID SEARCH ALL": {"NO"}, "UID FETCH 1:* (UID)": {"* 1 FETCH (UID 5)"}}, "5"},
		{"gone since", "", map[string][]string{"UID SEARCH ALL": {"* SEARCH", "* 1 EXPUNGE", "* 1 EXPUNGE", "* 1 EXPUNGE"}}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := scriptedReader(t, tt.caps, nil, func(s *script, tag, rest string) {
					answer, ok := tt.answers[rest]
					assert.True(t, ok, rest)
					if len(answer) == 1 && answer[0] == "NO" {
						s.send(tag, "TAG NO cannot search")
						return
					}
					s.send(tag, append(answer, "TAG OK done")...)
				})
				got, err := r.UIDs(t.Context())
				require.NoError(t, err)
				assert.Equal(t, tt.want, got.String())
			})
		})
	}
}

// Closing never waits for a server or a consumer.
func TestReaderCloseInAnyState(t *testing.T) {
	states := map[string]func(t *testing.T, r *Reader){
		"idle": func(*testing.T, *Reader) {},
		"fetch never ranged over": func(t *testing.T, r *Reader) {
			_, err := r.Fetch(t.Context(), mailhaul.UIDSet{{First: 1, Last: 100}}, false)
			require.NoError(t, err)
		},
		"stream never ranged over": func(t *testing.T, r *Reader) {
			_, err := r.Fetch(t.Context(), mailhaul.UIDSet{{First: 1, Last: 100}}, true)
			require.NoError(t, err)
		},
		"body not read": func(t *testing.T, r *Reader) {
			seq, err := r.Fetch(t.Context(), mailhaul.UIDSet{{First: 1, Last: 100}}, true)
			require.NoError(t, err)
			for f, err := range seq {
				require.NoError(t, err)
				_, _ = f.Body.Reader().Read(make([]byte, 1))
				assert.NoError(t, r.Close())
				_, err = io.ReadAll(failReadAfterClose{f.Body})
				assert.Error(t, err)
				break
			}
		},
	}
	for name, enter := range states {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := scriptedReader(t, "", nil, func(s *script, tag, rest string) {
					for i := range 100 {
						s.send(tag, fmt.Sprintf("* %d FETCH (UID %d BODY[] {100000}", i+1, i+1), strings.Repeat("x", 100_000)+")")
					}
					s.send(tag, "TAG OK done")
				})
				enter(t, r)
				synctest.Wait()
				start := time.Now()
				assert.NoError(t, r.Close())
				assert.NoError(t, r.client.Close())
				assert.Zero(t, time.Since(start))
			})
		})
	}
}

// failReadAfterClose reads a body whose reader was made already.
type failReadAfterClose struct{ mailhaul.Body }

func (b failReadAfterClose) Read(p []byte) (int, error) {
	return (*streamReader)(b.Body.(*streamBody)).Read(p)
}
