package pop3x_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/corpus"
	"github.com/mailhaul/mailhaul/internal/pop3server"
	"github.com/mailhaul/mailhaul/internal/testserver"
	"github.com/mailhaul/mailhaul/pop3x"
)

func TestOddMessagesOctetForOctet(t *testing.T) {
	for _, opts := range []pop3server.Options{{}, {NoPipelining: true}, {NoTOP: true}} {
		r := newRig(t, opts)
		for _, m := range corpus.Odd() {
			r.drop.Add("", m.Body())
		}
		for _, odd := range []string{"", "\r\n", ".", ".\r\n", "..\r\n.\r\n", "a\n.\nb", "a: b\r\n\r\n.\r\n\n.\r\n", "\x00", "x\r\n.\r\n+OK\r\n-ERR\r\n", "bare\n.\r\nlf\r"} {
			r.drop.Add("", []byte(odd))
		}
		for i := range 300 {
			r.drop.Add("", message(i, 100+i*37))
		}
		_, reader := r.mustReader()
		r.holds(reader)
	}
}

func TestListing(t *testing.T) {
	r := newRig(t, pop3server.Options{})
	for i := range 3 {
		r.drop.Add(fmt.Sprintf("id%d", i), message(i, 500))
	}
	s, reader := r.mustReader()
	l, err := s.OpenReader(shortly(t), inbox)
	require.Error(t, err, "a second Reader waits")
	require.Nil(t, l)
	msgs := list(t, reader, mailhaul.FieldSize|mailhaul.FieldFlags|mailhaul.FieldDate)
	require.Len(t, msgs, 3)
	for i, m := range msgs {
		require.Equal(t, mailhaul.UID(i+1), m.UID)
		require.Equal(t, mailhaul.UIDL(fmt.Sprintf("id%d", i)), m.UIDL)
		require.EqualValues(t, len(message(i, 500)), m.Size)
		require.Empty(t, m.Flags)
		require.Zero(t, m.InternalDate)
	}
	require.Zero(t, r.server.Commands("TOP")+r.server.Commands("RETR"))
	msgs = list(t, reader, mailhaul.FieldHeader|mailhaul.FieldDate)
	require.Equal(t, "Message-ID: <1@test>\r\nSubject: no 1\r\n\r\n", string(msgs[1].Header))
	require.Equal(t, "2023-01-02T15:04:01+01:00", msgs[1].InternalDate.Format(time.RFC3339))
	require.Equal(t, 3, r.server.Commands("TOP"))

	seq, err := reader.Fetch(context.Background(), mailhaul.UIDSetOf(2), true)
	require.NoError(t, err)
	for f, err := range seq {
		require.NoError(t, err)
		require.Equal(t, "2023-01-02T15:04:01+01:00", f.InternalDate.Format(time.RFC3339))
		require.True(t, f.Body.Buffered())
		f.Body.Release()
	}
	require.Equal(t, map[pop3x.DateSource]int{pop3x.DateReceived: 1}, s.Dates())
	require.Empty(t, s.Warnings())
}

func shortly(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

func TestUTF8IsAskedFor(t *testing.T) {
	r := newRig(t, pop3server.Options{UTF8: true})
	r.drop.Add("", []byte("Subject: Grüße\r\n\r\nx\r\n"))
	_, reader := r.mustReader()
	r.holds(reader)
}

func TestNothingIsMarkedAsRead(t *testing.T) {
	r := newRig(t, pop3server.Options{})
	for i := range 50 {
		r.drop.Add("", message(i, 1000))
	}
	_, reader := r.mustReader()
	r.holds(reader)
	seen := 0
	for i, m := range r.drop.Messages() {
		if m.Seen {
			seen++
			require.Less(t, i, 30, "only old ones are tried by RETR")
		}
	}
	require.LessOrEqual(t, seen, 3)
	require.Equal(t, seen, r.server.Commands("RETR"))
}

func TestTOPThatDiffers(t *testing.T) {
	for name, opts := range map[string]pop3server.Options{
		"cut":       {TOP: func(b []byte) []byte { return b[:len(b)/2] }},
		"added to":  {TOP: func(b []byte) []byte { return append([]byte("X-Top: 1\r\n"), b...) }},
		"refused":   {NoTOP: true, Caps: pop3server.DefaultCaps},
		"not there": {NoTOP: true},
		"no CAPA":   {NoTOP: true, NoCapa: true},
		"some cut": {TOP: func(b []byte) []byte { // the sample does not show it
			if strings.Contains(string(b), "no 40\r\n") {
				return b[:len(b)-20]
			}
			return b
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "refused" {
				opts.Caps = slices.Clone(opts.Caps)
			}
			r := newRig(t, opts)
			for i := range 50 {
				r.drop.Add("", message(i, 1000))
			}
			s, reader := r.mustReader()
			r.holds(reader)
			require.Len(t, s.Warnings(), 1)
			require.Contains(t, s.Warnings()[0], "RETR")
		})
	}
}

// sized is the line of LIST for message(i, 500).
func sized(i int) string { return fmt.Sprintf("%d %d\r\n", i+1, len(message(i, 500))) }

func TestListingsThatDisagree(t *testing.T) {
	replace := func(verb, old, new string) pop3server.Hooks {
		return pop3server.Hooks{Response: func(_ int, line string, b []byte) []byte {
			if line == verb {
				return []byte(strings.Replace(string(b), old, new, 1))
			}
			return b
		}}
	}
	for name, opts := range map[string]pop3server.Options{
		"STAT counts one more":    {LieCount: 1},
		"STAT counts one less":    {LieCount: -1},
		"UIDL lacks one":          {Hooks: replace("UIDL", "2 id1\r\n", "")},
		"LIST lacks one":          {Hooks: replace("LIST", sized(1), "")},
		"UIDL cut by a dot":       {Hooks: replace("UIDL", "2 id1\r\n", ".\r\n")},
		"UIDL has one twice":      {Hooks: replace("UIDL", "2 id1\r\n", "1 id1\r\n")},
		"UIDL with an empty id":   {Hooks: replace("UIDL", "2 id1\r\n", "2 \r\n")},
		"UIDL with an empty line": {Hooks: replace("UIDL", "2 id1\r\n", "\r\n")},
		"UIDL with words":         {Hooks: replace("UIDL", "2 id1\r\n", "two id1\r\n")},
		"UIDL with a NUL":         {Hooks: replace("UIDL", "2 id1\r\n", "2 i\x00d1\r\n")},
		"LIST without a size":     {Hooks: replace("LIST", sized(1), "2\r\n")},
		"LIST with a minus":       {Hooks: replace("LIST", sized(1), "2 -5\r\n")},
		"number beyond":           {Hooks: replace("LIST", sized(1), "4 502\r\n")},
		"number zero":             {Hooks: replace("LIST", sized(1), "0 502\r\n")},
		"STAT without numbers":    {Hooks: replace("STAT", "+OK 3", "+OK three")},
		"STAT is empty": {Hooks: pop3server.Hooks{Response: func(_ int, line string, b []byte) []byte {
			return map[bool][]byte{true: []byte("+OK\r\n"), false: b}[line == "STAT"]
		}}},
		"an id of a megabyte": {Hooks: replace("UIDL", "2 id1\r\n", "2 "+strings.Repeat("x", 1<<20)+"\r\n")},
		"no word at all":      {Hooks: replace("STAT", "+OK", "OK")},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, opts)
			for i := range 3 {
				r.drop.Add(fmt.Sprintf("id%d", i), message(i, 500))
			}
			require.Equal(t, mailhaul.Corrupt, r.refused().Kind)
		})
	}
}

func TestSizesThatDisagreeAreAWarning(t *testing.T) {
	r := newRig(t, pop3server.Options{LieOctets: 7})
	r.drop.Add("", message(1, 500))
	s, reader := r.mustReader()
	r.holds(reader)
	require.Len(t, s.Warnings(), 1)

	r = newRig(t, pop3server.Options{ListSize: func(n int) int { return n / 2 }})
	r.drop.Add("", message(1, 5000))
	_, reader = r.mustReader()
	r.holds(reader)
}

func TestTolerated(t *testing.T) {
	swap := func(old, new string) pop3server.Options {
		return pop3server.Options{Hooks: pop3server.Hooks{Response: func(_ int, line string, b []byte) []byte {
			return []byte(strings.Replace(string(b), old, new, 1))
		}}}
	}
	for name, opts := range map[string]pop3server.Options{
		"lower case":           swap("+OK", "+ok"),
		"tab behind OK":        swap("+OK ", "+OK\t"),
		"lines in other order": swap("1 id0\r\n2 id1\r\n", "2 id1\r\n1 id0\r\n"),
		"no CAPA":              {NoCapa: true},
		"LIST says more":       swap(sized(1), strings.TrimSpace(sized(1))+" octets\r\n"),
		"EXPIRENEVER":          {Caps: append(slices.Clone(pop3server.DefaultCaps), "EXPIRENEVER")},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, opts)
			for i := range 3 {
				r.drop.Add(fmt.Sprintf("id%d", i), message(i, 500))
			}
			_, reader := r.mustReader()
			require.Equal(t, mailhaul.UIDL("id1"), list(t, reader, 0)[1].UIDL)
			r.holds(reader)
		})
	}
}

func TestBrokenPipelining(t *testing.T) {
	r := newRig(t, pop3server.Options{BrokenPipelining: true})
	r.cfg.ProgressTimeout = 100 * time.Millisecond
	for i := range 20 {
		r.drop.Add("", message(i, 500))
	}
	s := r.source()
	_, err := s.OpenReader(context.Background(), inbox)
	require.Equal(t, mailhaul.Transient, mailhaul.KindOf(err), "%v", err)
	var reader mailhaul.Reader
	require.Eventually(t, func() bool { // the server may not know yet that the first session is gone
		reader, err = s.OpenReader(context.Background(), inbox)
		return mailhaul.KindOf(err) != mailhaul.Throttled
	}, 5*time.Second, time.Millisecond)
	require.NoError(t, err)
	defer reader.Close()
	r.holds(reader)
	require.Contains(t, s.Warnings()[0], "PIPELINING")
}

func TestFewRoundTrips(t *testing.T) {
	r := newRig(t, pop3server.Options{})
	for i := range 1000 {
		r.drop.Add("", message(i, 2000))
	}
	s, reader := r.mustReader()
	require.LessOrEqual(t, s.Traffic().RoundTrips, int64(5))
	r.holds(reader)
	require.LessOrEqual(t, s.Traffic().RoundTrips, int64(30))

	r = newRig(t, pop3server.Options{NoPipelining: true})
	for i := range 100 {
		r.drop.Add("", message(i, 2000))
	}
	s, reader = r.mustReader()
	r.holds(reader)
	require.GreaterOrEqual(t, s.Traffic().RoundTrips, int64(100))
}

func TestWithoutUIDL(t *testing.T) {
	for name, opts := range map[string]pop3server.Options{
		"with TOP": {NoUIDL: true}, "without": {NoUIDL: true, NoTOP: true}, "without CAPA": {NoUIDL: true, NoCapa: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, opts)
			for i := range 12 {
				r.drop.Add("", message(i, 500))
			}
			s, reader := r.mustReader()
			first := list(t, reader, 0)
			seen := make(map[mailhaul.UIDL]bool)
			for _, m := range first {
				require.True(t, strings.HasPrefix(string(m.UIDL), " "), "%q", m.UIDL)
				require.False(t, seen[m.UIDL])
				seen[m.UIDL] = true
			}
			require.NotEmpty(t, s.Warnings())
			r.holds(reader)

			r.drop.Change(func(m []*pop3server.Message) []*pop3server.Message {
				slices.Reverse(m)
				m[0].Body = append([]byte("Status: RO\r\nX-UID: 3\r\n"), m[0].Body...)
				return m[:11]
			})
			require.NoError(t, reader.Close())
			require.NoError(t, s.Close())
			_, reader = r.mustReader()
			second := list(t, reader, 0)
			require.Len(t, second, 11)
			for i := range 10 { // the one whose size changed is another
				require.Equal(t, first[10-i].UIDL, second[i+1].UIDL)
			}
		})
	}
}

func TestLogIns(t *testing.T) {
	for _, mechanism := range []string{"", "PLAIN", "LOGIN", "CRAM-MD5", "XOAUTH2", "APOP", "USER"} {
		t.Run("by "+mechanism, func(t *testing.T) {
			opts := pop3server.Options{AuthMechs: []string{"PLAIN", "LOGIN", "CRAM-MD5", "XOAUTH2"}, APOP: true}
			r := newRig(t, opts)
			secret := password
			switch mechanism {
			case "APOP":
				r.cfg.APOP = true
			case "USER":
				r = newRig(t, pop3server.Options{AuthMechs: []string{}})
			case "XOAUTH2":
				secret = "token-1234"
				r.drop = r.server.AddUser("ann", secret)
				fallthrough
			default:
				r.cfg.Server.Mechanism = mechanism
			}
			r.cfg.Server.Credentials = testserver.Password(secret)
			r.drop.Add("", message(1, 100))
			s, reader := r.mustReader()
			r.holds(reader)
			require.NoError(t, reader.Close())
			require.NoError(t, s.Close())
			for _, line := range r.trace {
				require.NotContains(t, line, secret)
			}
			require.Contains(t, r.trace, "true QUIT")

			r.cfg.Server.Credentials = testserver.Password("wrong-one")
			e := r.refused()
			require.Equal(t, mailhaul.Auth, e.Kind)
			require.Equal(t, mailhaul.ScopeAccount, e.Scope)
			require.NotContains(t, e.Error(), "wrong-one")
		})
	}
}

func TestRefusals(t *testing.T) {
	answer := func(verb, reply string) pop3server.Options {
		return pop3server.Options{AuthMechs: []string{}, Hooks: pop3server.Hooks{Command: func(_ int, line string) *pop3server.Override {
			if strings.HasPrefix(line, verb) {
				return &pop3server.Override{Reply: reply}
			}
			return nil
		}}}
	}
	for _, tt := range []struct {
		opts  pop3server.Options
		kind  mailhaul.Kind
		scope mailhaul.Scope
	}{
		{answer("PASS", "-ERR [IN-USE] Do you have another POP session running?"), mailhaul.Throttled, mailhaul.ScopeAccount},
		{answer("PASS", "-ERR [LOGIN-DELAY] minimum time between mail checks violation"), mailhaul.Throttled, mailhaul.ScopeAccount},
		{answer("PASS", "-ERR [SYS/TEMP] try later"), mailhaul.Transient, mailhaul.ScopeAccount},
		{answer("PASS", "-ERR [SYS/PERM] no such thing"), mailhaul.Permanent, mailhaul.ScopeAccount},
		{answer("PASS", "-ERR [AUTH] Web login required"), mailhaul.Auth, mailhaul.ScopeAccount},
		{answer("PASS", "-ERR unable to lock mailbox"), mailhaul.Throttled, mailhaul.ScopeAccount},
		{answer("PASS", "-ERR Temporary problem, please try again later"), mailhaul.Throttled, mailhaul.ScopeAccount},
		{answer("PASS", "-ERR no"), mailhaul.Auth, mailhaul.ScopeAccount},
		{answer("PASS", "-ERR wrong: "+password), mailhaul.Auth, mailhaul.ScopeAccount},
		{answer("STAT", "-ERR [SYS/TEMP] no"), mailhaul.Transient, mailhaul.ScopeAccount},
		{answer("PASS", "what?"), mailhaul.Corrupt, mailhaul.ScopeConnection},
		{answer("PASS", ""), mailhaul.Transient, mailhaul.ScopeConnection},
		{pop3server.Options{Expire: "0"}, mailhaul.Permanent, mailhaul.ScopeAccount},
		{pop3server.Options{Hooks: pop3server.Hooks{Wrap: func(_ int, c net.Conn) net.Conn { _ = c.Close(); return c }}}, mailhaul.Throttled, mailhaul.ScopeServer},
	} {
		r := newRig(t, tt.opts)
		r.cfg.ProgressTimeout = 100 * time.Millisecond
		e := r.refused()
		require.Equal(t, tt.kind, e.Kind, "%v", e)
		require.Equal(t, tt.scope, e.Scope, "%v", e)
	}
}

func TestExpire0Allowed(t *testing.T) {
	r := newRig(t, pop3server.Options{Expire: "0"})
	r.cfg.AllowExpire0 = true
	r.drop.Add("", message(1, 100))
	_, reader := r.mustReader()
	r.holds(reader)
	newRig(t, pop3server.Options{Expire: "0 USER"}).refused() // the same behind the log-in
}

func TestNoLineEndsInArguments(t *testing.T) {
	for _, user := range []string{"ann\r\nDELE 1", "ann\nx", "a\x00b"} {
		r := newRig(t, pop3server.Options{AuthMechs: []string{}})
		r.cfg.Server.User = user
		require.Equal(t, mailhaul.Permanent, r.refused().Kind)
		require.Zero(t, r.server.Commands("DELE")+r.server.Commands("USER"))
	}
	r := newRig(t, pop3server.Options{AuthMechs: []string{}})
	r.cfg.Server.Credentials = testserver.Password("x\r\nDELE 1")
	require.Equal(t, mailhaul.Permanent, r.refused().Kind)
	require.Zero(t, r.server.Commands("DELE"))
}

func TestLockIsSeen(t *testing.T) {
	r := newRig(t, pop3server.Options{})
	r.drop.Add("", message(1, 100))
	first, reader := r.mustReader()
	e := r.refused()
	require.Equal(t, mailhaul.Throttled, e.Kind)
	l, err := r.source().List(context.Background())
	require.NoError(t, err)
	require.Nil(t, l.Mailboxes[0].Status)

	require.NoError(t, reader.Close())
	require.True(t, r.drop.Locked(), "the session is kept")
	again, err := first.OpenReader(context.Background(), inbox)
	require.NoError(t, err)
	require.NoError(t, again.Close())
	require.Equal(t, 1, r.server.Commands("STAT")) // the refused sessions did not come so far
	require.NoError(t, first.Close())
	require.Eventually(t, func() bool { return !r.drop.Locked() }, time.Second, time.Millisecond)
	_, err = first.OpenReader(context.Background(), inbox)
	require.ErrorIs(t, err, mailhaul.ErrClosed)
}

func TestIdleSessionEnds(t *testing.T) {
	r := newRig(t, pop3server.Options{})
	r.cfg.IdleTime = 10 * time.Millisecond
	_, reader := r.mustReader()
	require.NoError(t, reader.Close())
	require.Eventually(t, func() bool { return !r.drop.Locked() }, 5*time.Second, time.Millisecond)
	require.Equal(t, 1, r.server.Commands("QUIT"))
}

func TestLoginDelay(t *testing.T) {
	r := newRig(t, pop3server.Options{LoginDelay: time.Hour})
	s, reader := r.mustReader()
	reader.(*pop3x.Reader).Close()
	require.NoError(t, s.Close())
	require.Equal(t, mailhaul.Throttled, r.refused().Kind) // another program's view: the server says so

	r = newRig(t, pop3server.Options{LoginDelay: time.Hour})
	r.cfg.IdleTime = time.Millisecond
	s, reader = r.mustReader()
	require.NoError(t, reader.Close())
	require.Eventually(t, func() bool { return r.server.Commands("QUIT") == 1 }, 5*time.Second, time.Millisecond)
	_, err := s.OpenReader(context.Background(), inbox)
	e, ok := errors.AsType[*mailhaul.Error](err)
	require.True(t, ok)
	require.Equal(t, mailhaul.Throttled, e.Kind)
	require.Greater(t, e.Wait, 59*time.Minute)
	require.Equal(t, 1, r.server.Connections(), "nobody is asked")
}

func TestListSeesNewMail(t *testing.T) {
	r := newRig(t, pop3server.Options{})
	s := r.source()
	for n := range 3 {
		l, err := s.List(context.Background())
		require.NoError(t, err)
		require.EqualValues(t, n, l.Mailboxes[0].Status.Messages)
		r.drop.Add("", message(n, 100))
	}
}

func TestSessionsAreBounded(t *testing.T) {
	r := newRig(t, pop3server.Options{})
	r.cfg.SessionBytes, r.cfg.SessionPause = 20_000, time.Millisecond
	for i := range 40 {
		r.drop.Add(fmt.Sprintf("id%d", i), message(i, 2000))
	}
	_, reader := r.mustReader()
	for uid := mailhaul.UID(1); uid <= 40; uid++ {
		got, err := fetchAll(reader, mailhaul.UIDSetOf(uid))
		require.NoError(t, err)
		if uid == 30 {
			require.Empty(t, got)
			continue
		}
		require.Equal(t, map[mailhaul.UID]string{uid: string(message(int(uid)-1, 2000))}, got)
		if uid == 5 { // the user deletes one and gets another, and the order changes
			r.drop.Change(func(m []*pop3server.Message) []*pop3server.Message {
				m = slices.Delete(m, 29, 30)
				slices.Reverse(m)
				return m
			})
			r.drop.Add("new", message(99, 100))
		}
	}
	require.GreaterOrEqual(t, r.server.Connections(), 4)
	require.Equal(t, r.server.Connections()-1, r.server.Commands("QUIT"))
	require.LessOrEqual(t, r.server.Commands("RETR"), 3)
}

func TestMessageErrors(t *testing.T) {
	r := newRig(t, pop3server.Options{Hooks: pop3server.Hooks{Command: func(_ int, line string) *pop3server.Override {
		if line == "RETR 3" || line == "TOP 3 2147483647" {
			return &pop3server.Override{Reply: "-ERR damaged"}
		}
		return nil
	}}})
	r.cfg.Limits.MaxBody = 5000
	for i := range 6 {
		r.drop.Add(fmt.Sprintf("id%d", i), message(i, 500+i/5*8000))
	}
	_, reader := r.mustReader()
	got, err := fetchAll(reader, mailhaul.UIDSet{{First: 1, Last: 5}})
	require.Len(t, got, 4)
	e, ok := errors.AsType[*mailhaul.Error](err)
	require.True(t, ok)
	require.Equal(t, mailhaul.ScopeMessage, e.Scope)
	require.Equal(t, mailhaul.UID(3), e.UID)
	require.Equal(t, mailhaul.UIDL("id2"), e.UIDL)
	_, err = fetchAll(reader, mailhaul.UIDSetOf(6))
	require.ErrorContains(t, err, "Limits.MaxBody")
	_, err = fetchAll(reader, mailhaul.UIDSetOf(1))
	require.NoError(t, err, "the Reader lives")
}

func TestLargeMessagesGoToAFile(t *testing.T) {
	r := newRig(t, pop3server.Options{})
	r.cfg.Limits.MaxBuffered = 10_000
	for i := range 5 {
		r.drop.Add("", message(i, i*100_000+500))
	}
	_, reader := r.mustReader()
	r.holds(reader)
}

func TestCutAndHang(t *testing.T) {
	for _, hang := range []bool{false, true} {
		n := 0
		r := newRig(t, pop3server.Options{Hooks: pop3server.Hooks{Command: func(_ int, line string) *pop3server.Override {
			if strings.HasPrefix(line, "TOP") || strings.HasPrefix(line, "RETR") {
				if n++; n == 20 {
					return &pop3server.Override{Close: !hang, Hang: hang}
				}
			}
			return nil
		}}})
		r.cfg.ProgressTimeout = 100 * time.Millisecond
		for i := range 30 {
			r.drop.Add("", message(i, 500))
		}
		_, reader := r.mustReader()
		got, err := fetchAll(reader, all(reader))
		require.Equal(t, mailhaul.Transient, mailhaul.KindOf(err), "%v", err)
		require.Less(t, len(got), 20)
		_, err = reader.Fetch(context.Background(), mailhaul.UIDSetOf(1), false)
		require.Error(t, err, "the Reader is dead")
	}
}

func TestContextEndsFetch(t *testing.T) {
	r := newRig(t, pop3server.Options{Hooks: pop3server.Hooks{Command: func(_ int, line string) *pop3server.Override {
		if strings.HasPrefix(line, "RETR") {
			return &pop3server.Override{Hang: true}
		}
		return nil
	}}})
	r.cfg.RetrieveAlways = true
	r.drop.Add("", message(1, 500))
	_, reader := r.mustReader()
	ctx, cancel := context.WithCancel(context.Background())
	seq, err := reader.Fetch(ctx, mailhaul.UIDSetOf(1), false)
	require.NoError(t, err)
	time.AfterFunc(20*time.Millisecond, cancel)
	for _, err = range seq {
	}
	require.ErrorIs(t, err, context.Canceled)
}

func TestCloseWithFetchesUnderWay(t *testing.T) {
	r := newRig(t, pop3server.Options{})
	for i := range 200 {
		r.drop.Add("", message(i, 5000))
	}
	s, reader := r.mustReader()
	for range 5 {
		_, err := reader.Fetch(context.Background(), all(reader), false)
		require.NoError(t, err)
	}
	require.NoError(t, reader.Close())
	again, err := s.OpenReader(context.Background(), inbox)
	if err != nil { // the server may still hold the lock of the session that was cut
		require.Equal(t, mailhaul.Throttled, mailhaul.KindOf(err))
		require.Eventually(t, func() bool {
			again, err = s.OpenReader(context.Background(), inbox)
			return err == nil
		}, 5*time.Second, time.Millisecond)
	}
	r.holds(again)
	require.NoError(t, again.Close())
}

func TestStoppedServerDoesNotHoldClose(t *testing.T) {
	r := newRig(t, pop3server.Options{Hooks: pop3server.Hooks{Command: func(_ int, line string) *pop3server.Override {
		if line == "QUIT" {
			return &pop3server.Override{Hang: true}
		}
		return nil
	}}})
	r.cfg.ProgressTimeout = 50 * time.Millisecond
	s, reader := r.mustReader()
	require.NoError(t, reader.Close())
	began := time.Now()
	require.NoError(t, s.Close())
	require.Less(t, time.Since(began), 2*time.Second)
}

func TestConfigIsChecked(t *testing.T) {
	_, err := pop3x.New(pop3x.Config{Window: -1, Server: mailhaul.Server{Protocol: mailhaul.IMAP}})
	for _, part := range []string{"Host", "Protocol", "User", "Window"} {
		require.ErrorContains(t, err, part)
	}
}
