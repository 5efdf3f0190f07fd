package imapx

// STORE with a condition, and commands that a server limits.

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/imapserver"
)

// flagsOf reads the flags of a mailbox, by UID.
func flagsOf(t *testing.T, tg *target) map[mailhaul.UID][]mailhaul.Flag {
	t.Helper()
	r, err := tg.OpenReader(t.Context(), inbox)
	require.NoError(t, err)
	defer r.Close()
	flags := make(map[mailhaul.UID][]mailhaul.Flag)
	for m, err := range r.Messages(t.Context(), mailhaul.UIDSet{{First: 1, Last: 99}}, mailhaul.FieldFlags, 0) {
		require.NoError(t, err)
		flags[m.UID], _ = mailhaul.NormalizeFlags(m.Flags)
	}
	return flags
}

func TestStoreUnchanged(t *testing.T) {
	for _, caps := range [][]string{imapserver.DefaultCaps, imapserver.Without("CONDSTORE")} {
		synctest.Test(t, func(t *testing.T) {
			tg := newTarget(t, imapserver.Options{Caps: caps})
			for range 4 {
				tg.inbox.Add(imapserver.Message{Body: []byte("x"), Flags: []mailhaul.Flag{`\Seen`}})
			}
			r, err := tg.OpenReader(t.Context(), inbox)
			require.NoError(t, err)
			since := r.Status().HighestModSeq
			require.NoError(t, r.Close())
			tg.inbox.SetFlags(2, []mailhaul.Flag{`\Flagged`}) // by its user, after it was read
			w := tg.writer(t)
			modified, err := w.StoreUnchanged(t.Context(), []mailhaul.FlagChange{
				{UID: 1, Add: []mailhaul.Flag{`\Answered`}, Remove: []mailhaul.Flag{`\Seen`}},
				{UID: 2, Add: []mailhaul.Flag{`\Answered`}, Remove: []mailhaul.Flag{`\Seen`}},
				{UID: 3, Add: []mailhaul.Flag{`\Answered`}},
				{UID: 77, Add: []mailhaul.Flag{`\Answered`}},
			}, since)
			require.NoError(t, err)
			require.NoError(t, w.Close())
			got := flagsOf(t, tg)
			assert.Equal(t, []mailhaul.Flag{`\Answered`}, got[1], "both changes")
			assert.Equal(t, []mailhaul.Flag{`\Answered`, `\Seen`}, got[3])
			if since == 0 {
				assert.Empty(t, modified)
				assert.Equal(t, []mailhaul.Flag{`\Answered`, `\Flagged`}, got[2])
				assert.Empty(t, tg.lines("UNCHANGEDSINCE"))
			} else {
				assert.Equal(t, "2", modified.String())
				assert.Equal(t, []mailhaul.Flag{`\Flagged`}, got[2])
			}
			assert.Empty(t, tg.lines(" FLAGS.SILENT"), "flags are added and taken away, never replaced")
		})
	}
}

// A server may say of whom it was NO, and in what words nobody knows.
func TestStoreUnchangedRefused(t *testing.T) {
	for answer, want := range map[string]string{
		"NO [MODIFIED 2:3,9] some are gone": "2-3",
		"OK [MODIFIED what?] hm":            "1-3",
		"OK done":                           "",
		"NO [EXPUNGEISSUED] gone":           "",
		"NO [SERVERBUG] oops":               "error",
	} {
		synctest.Test(t, func(t *testing.T) {
			cl := hostileClient(t, "CONDSTORE", func(s *script) {
				s.simple(func(tag, rest string) bool {
					switch {
					case strings.HasPrefix(rest, "SELECT"):
						s.send(tag, "* 3 EXISTS", "* OK [UIDVALIDITY 1] x", "* OK [HIGHESTMODSEQ 9] x", `* OK [PERMANENTFLAGS (\Seen)] x`, "TAG OK [READ-WRITE] done")
					case strings.HasPrefix(rest, "UID STORE 1:3 (UNCHANGEDSINCE 9) +FLAGS.SILENT"):
						s.send(tag, "TAG "+answer)
					default:
						return false
					}
					return true
				})
			})
			w, err := cl.OpenWriter(t.Context(), inbox)
			require.NoError(t, err)
			defer w.Close()
			var changes []mailhaul.FlagChange
			for uid := range mailhaul.UID(3) {
				changes = append(changes, mailhaul.FlagChange{UID: uid + 1, Add: []mailhaul.Flag{`\Seen`}})
			}
			modified, err := w.(*Writer).StoreUnchanged(t.Context(), changes, 9)
			if want == "error" {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, want, strings.ReplaceAll(modified.String(), ":", "-"), answer)
		})
	}
}

// limited plays a server of 25 messages that handles 10 a command, from the
// highest UID down (RFC 9738).
func limited(s *script, search bool) func(tag, rest string) bool {
	return func(tag, rest string) bool {
		bounds := func(text string) (first, last int) {
			a, b, ranged := strings.Cut(text, ":")
			first, _ = strconv.Atoi(a)
			if last, _ = strconv.Atoi(b); !ranged {
				last = first
			}
			if b == "*" || last > 25 {
				last = 25
			}
			return first, last
		}
		var first, last int
		searching := strings.HasPrefix(rest, "UID SEARCH")
		switch {
		case strings.HasPrefix(rest, "EXAMINE"):
			s.send(tag, "* 25 EXISTS", "* OK [UIDVALIDITY 1] x", "* OK [UIDNEXT 26] x", "TAG OK [READ-ONLY] done")
			return true
		case searching && !search:
			s.send(tag, "* SEARCH 1 2 3", "TAG OK done")
			return true
		case rest == "UID SEARCH ALL":
			first, last = 1, 25
		case searching:
			first, last = bounds(strings.TrimPrefix(rest, "UID SEARCH UID "))
		case strings.HasPrefix(rest, "UID FETCH "):
			set, _, _ := strings.Cut(strings.TrimPrefix(rest, "UID FETCH "), " ")
			first, last = bounds(set)
		default:
			return false
		}
		var lines []string
		low := max(first, last-9)
		for uid := last; uid >= low; uid-- {
			if searching {
				lines = append(lines, fmt.Sprintf("* SEARCH %d", uid))
			} else {
				lines = append(lines, fmt.Sprintf(`* %d FETCH (UID %d FLAGS ())`, uid, uid))
			}
		}
		if low > first {
			lines = append(lines, fmt.Sprintf("TAG OK [MESSAGELIMIT 10 %d] a part", low))
		} else {
			lines = append(lines, "TAG OK done")
		}
		s.send(tag, lines...)
		return true
	}
}

func TestMessageLimit(t *testing.T) {
	for _, search := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			cl := hostileClient(t, "MESSAGELIMIT=10", func(s *script) { s.simple(limited(s, search)) })
			r, err := cl.OpenReader(t.Context(), inbox)
			require.NoError(t, err)
			defer r.Close()
			all, err := r.UIDs(t.Context())
			require.NoError(t, err)
			assert.Equal(t, "1:25", all.String())
			var got mailhaul.UIDSet
			for m, err := range r.Messages(t.Context(), all, mailhaul.FieldFlags, 0) {
				require.NoError(t, err)
				got.Add(m.UID)
			}
			assert.Equal(t, "1:25", got.String())
		})
	}
}

// A server that goes on announcing parts is not asked for ever.
func TestMessageLimitWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		cl := hostileClient(t, "MESSAGELIMIT=10", func(s *script) {
			s.simple(func(tag, rest string) bool {
				switch {
				case strings.HasPrefix(rest, "EXAMINE"):
					s.send(tag, "* 25 EXISTS", "* OK [UIDVALIDITY 1] x", "TAG OK done")
				case strings.HasPrefix(rest, "UID "):
					asked++
					s.send(tag, "* SEARCH 7", "TAG OK [MESSAGELIMIT 10 7] a part")
				default:
					return false
				}
				return true
			})
		})
		r, err := cl.OpenReader(t.Context(), inbox)
		require.NoError(t, err)
		defer r.Close()
		_, err = r.UIDs(t.Context())
		checkError(t, err)
		assert.LessOrEqual(t, asked, 4)
	})
}
