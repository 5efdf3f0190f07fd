package maildir

// What was written is served by the real Dovecot and the real Courier.

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/corpus"
	"github.com/mailhaul/mailhaul/internal/oracle"
)

func eachServer(t *testing.T, test func(t *testing.T, flavor Flavor)) {
	t.Parallel()
	for _, flavor := range both {
		t.Run(string(flavor), func(t *testing.T) {
			t.Parallel() // Courier takes seconds for each log-in
			test(t, flavor)
		})
	}
}

// letters with holes between their UIDs, and UIDLs that both servers can have.
func someLetters() []letter {
	return []letter{
		{uid: 5, uidl: "UID17-99", order: 3, flags: []mailhaul.Flag{mailhaul.FlagSeen, "$Work"}},
		{uid: 900, uidl: "UID4242", order: 1, flags: []mailhaul.Flag{mailhaul.FlagFlagged, mailhaul.FlagAnswered, "$Work", "Later"}},
		{uid: 70000, uidl: "UID18-99", order: 2, flags: []mailhaul.Flag{mailhaul.FlagDraft, mailhaul.FlagDeleted}},
		{uid: 2000000000, uidl: "UID5-1", order: 4},
	}
}

// sameAs compares what the server says of a mailbox with letters.
func sameAs(t *testing.T, box *oracle.Mailbox, validity mailhaul.UIDValidity, letters []letter) {
	t.Helper()
	require.NotNil(t, box)
	require.Equal(t, validity, box.UIDValidity)
	require.Len(t, box.Messages, len(letters))
	for i, l := range letters {
		m := box.Messages[i]
		body := octetsOf(l)
		require.Equal(t, l.uid, m.UID)
		require.Equal(t, sha256.Sum256(body), m.Sum, "UID %d", l.uid)
		require.EqualValues(t, len(body), m.Size)
		require.Equal(t, date(l.uid).Unix(), m.Date.Unix(), "UID %d", l.uid)
		var flags []string
		for _, f := range l.flags {
			flags = append(flags, strings.ToLower(string(f)))
		}
		slices.Sort(flags)
		require.Equal(t, flags, slices.Clip(append([]string(nil), m.Flags...)), "UID %d", l.uid)
	}
}

func octetsOf(l letter) []byte { return l.outgoing().Body.(octets).b }

func TestServedWithItsIdentity(t *testing.T) {
	eachServer(t, func(t *testing.T, flavor Flavor) {
		ctx := context.Background()
		s := serve(t, flavor)
		target := tree(t, s, flavor)
		letters := someLetters()
		inbox := mailboxOf(t, target, "INBOX")
		want := identity(1234567, 2000000011, letters...)
		can, err := target.Imposable(ctx, inbox, want)
		require.NoError(t, err)
		require.Equal(t, mailhaul.Imposable{Level: mailhaul.LevelExact}, can)
		require.Equal(t, []mailhaul.UID{5, 900, 70000, 2000000000}, impose(t, target, inbox, want, letters...))

		sub := mailboxOf(t, target, "Entwürfe & mehr", "2019")
		require.NoError(t, target.Subscribe(ctx, sub))
		subLetters := []letter{{uid: 77, flags: []mailhaul.Flag{"Later"}}, {uid: 78}}
		impose(t, target, sub, identity(5, 100, subLetters...), subLetters...)
		empty := mailboxOf(t, target, "Empty")
		impose(t, target, empty, identity(42, 4000))

		a := served(t, s)
		sameAs(t, a.Find("INBOX"), 1234567, letters)
		sameAs(t, a.Find("Entwürfe & mehr", "2019"), 5, subLetters)
		sameAs(t, a.Find("Empty"), 42, nil)
		require.True(t, a.Find("Entwürfe & mehr", "2019").Subscribed)
		require.False(t, a.Find("Empty").Subscribed)
		prefix := target.naming().Prefix
		c := session(t, s)
		require.Contains(t, command(t, c, "STATUS %sEmpty (UIDNEXT UIDVALIDITY)", prefix), "(UIDNEXT 4000 UIDVALIDITY 42)")
		require.Contains(t, command(t, c, "STATUS INBOX (UIDNEXT UIDVALIDITY)"), "(UIDNEXT 2000000011 UIDVALIDITY 1234567)")
		c.Close()

		// By order: Dovecot has one of its own, Courier's is that of names.
		require.Equal(t, []string{"UID4242", "UID18-99", "UID17-99", "UID5-1"}, maildrop(t, s))

		require.Contains(t, appendMail(t, s, "INBOX"), "[APPENDUID 1234567 2000000011]")
		require.Contains(t, appendMail(t, s, prefix+"Empty"), "[APPENDUID 42 4000]")
		require.NoError(t, target.checkUnusedSoon(t))

		// The server's own is listed like any other.
		got := readAll(t, target, inbox)
		require.Equal(t, []mailhaul.UID{5, 900, 70000, 2000000000, 2000000011}, got.uids())
		l, err := target.List(ctx)
		require.NoError(t, err)
		require.Empty(t, l.Warnings)
		require.Len(t, l.Mailboxes, 3)
		require.True(t, l.Find([]string{"Entwürfe & mehr", "2019"}).Subscribed)
	})
}

// checkUnusedSoon waits until nobody has INBOX open, as servers let go of it
// late.
func (t *Target) checkUnusedSoon(tb testing.TB) error {
	f := folder{t, ".", "INBOX"}
	require.Eventually(tb, func() bool { return f.checkUnused() == nil }, waitLong, waitStep)
	return nil
}

func TestArbitraryUIDLs(t *testing.T) {
	eachServer(t, func(t *testing.T, flavor Flavor) {
		s := serve(t, flavor)
		target := tree(t, s, flavor)
		uidls := []mailhaul.UIDL{"GmailId16a0b2c3", "00000012abcdef01", "x!#$%&~", "(:{|}=;<>?@[]^_`,-*.\\", "/+'\""}
		if flavor == Courier {
			// in the order of its POP3, which begins with the lowest number
			uidls = []mailhaul.UIDL{"GmailId16a0b2c3", "x!#$%&~", "00000012abcdef01"}
		}
		var letters []letter
		for i, u := range uidls {
			letters = append(letters, letter{uid: mailhaul.UID(10 * (i + 1)), uidl: u})
		}
		want := identity(99, 1000, letters...)
		inbox := mailboxOf(t, target, "INBOX")
		can, err := target.Imposable(context.Background(), inbox, want)
		require.NoError(t, err)
		require.Equal(t, mailhaul.LevelExact, can.Level, can.Reason)
		impose(t, target, inbox, want, letters...)
		sameAs(t, served(t, s).Find("INBOX"), 99, letters)
		got := maildrop(t, s)
		require.Len(t, got, len(uidls))
		for i := range uidls {
			require.Equal(t, string(uidls[i]), got[i])
		}
		sameAs(t, served(t, s).Find("INBOX"), 99, letters) // and POP3 moved nothing
	})
}

// What the server shows of odd messages is what our Reader says that it shows.
func TestOddMessagesReadBack(t *testing.T) {
	eachServer(t, func(t *testing.T, flavor Flavor) {
		s := serve(t, flavor)
		target := tree(t, s, flavor)
		inbox := mailboxOf(t, target, "INBOX")
		var letters []letter
		for i, m := range corpus.Odd() {
			body := string(m.Body())
			if body == "" {
				continue // an empty letter stands for any
			}
			letters = append(letters, letter{uid: mailhaul.UID(i + 1), body: body})
		}
		for _, body := range []string{"\r", "\r\r", "a\r\r", "\n", "\r\n\r", "a\r\r\nb\r\r\r\n", "\x00", "a\n\r", strings.Repeat("x", 32767) + "\r\n" + strings.Repeat("\r", 70000) + "\n"} {
			letters = append(letters, letter{uid: letters[len(letters)-1].uid + 1, body: body})
		}
		impose(t, target, inbox, identity(7, 0, letters...), letters...)
		ours, theirs := readAll(t, target, inbox), served(t, s).Find("INBOX")
		require.Len(t, theirs.Messages, len(letters))
		same := 0
		for i, m := range theirs.Messages {
			text := ours.bodies[m.UID]
			require.Equal(t, sha256.Sum256([]byte(text)), m.Sum, "%s: UID %d: %.100q of %.100q", flavor, m.UID, text, letters[i].body)
			if text == letters[i].body {
				same++
			} else {
				require.True(t, altered(flavor, letters[i].body), "%.100q became %.100q", letters[i].body, text)
			}
		}
		require.Greater(t, same, len(letters)/2)
	})
}

// altered reports whether the server cannot show these octets.
func altered(flavor Flavor, body string) bool {
	bareLF := strings.Count(body, "\n") > strings.Count(body, "\r\n")
	if flavor == Courier {
		return bareLF || strings.HasSuffix(body, "\r")
	}
	return bareLF || strings.Contains(body, "\x00")
}

// A delta, written while the server runs and after it has served the mailbox.
func TestDeltaBesideTheServer(t *testing.T) {
	eachServer(t, func(t *testing.T, flavor Flavor) {
		s := serve(t, flavor)
		target := tree(t, s, flavor)
		letters := someLetters()
		inbox := mailboxOf(t, target, "INBOX")
		impose(t, target, inbox, identity(1234567, 0, letters[:2]...), letters[:2]...)
		require.Equal(t, []string{"UID4242", "UID17-99"}, maildrop(t, s))
		sameAs(t, served(t, s).Find("INBOX"), 1234567, letters[:2])

		for stage, l := range letters[2:] {
			require.NoError(t, target.checkUnusedSoon(t))
			if stage == 1 {
				s.Kill()
			}
			want := identity(1234567, l.uid+10, l)
			can, err := target.Imposable(context.Background(), inbox, want)
			require.NoError(t, err)
			require.Equal(t, mailhaul.LevelExact, can.Level, can.Reason)
			require.Equal(t, []mailhaul.UID{l.uid}, impose(t, target, inbox, want, l))
			if stage == 1 {
				s.Restart()
			}
			sameAs(t, served(t, s).Find("INBOX"), 1234567, letters[:stage+3])
			require.Contains(t, maildrop(t, s), string(l.uidl))
		}
		require.Equal(t, []string{"UID4242", "UID18-99", "UID17-99", "UID5-1"}, maildrop(t, s))
		require.Contains(t, appendMail(t, s, "INBOX"), fmt.Sprintf("[APPENDUID 1234567 %d]", 2000000010))
	})
}

// An empty mailbox that the server knows already gets another UIDVALIDITY.
func TestKnownEmptyMailboxIsRenamed(t *testing.T) {
	eachServer(t, func(t *testing.T, flavor Flavor) {
		s := serve(t, flavor)
		target := tree(t, s, flavor)
		c := session(t, s)
		box := target.naming().Prefix + "Box"
		command(t, c, "CREATE %s", box)
		require.NotContains(t, command(t, c, "STATUS %s (UIDNEXT UIDVALIDITY)", box), "4711")
		for range 3 { // it has had mail, too
			appendMail(t, s, box)
		}
		command(t, c, "SELECT %s", box)
		command(t, c, "STORE 1:* +FLAGS.SILENT (\\Deleted)")
		command(t, c, "CLOSE")
		require.Contains(t, command(t, c, "STATUS %s (UIDNEXT MESSAGES)", box), "4")
		c.Close()
		require.NoError(t, target.checkUnusedSoon(t))
		l, err := target.List(context.Background())
		require.NoError(t, err)
		m := l.Find([]string{"Box"})
		require.NotNil(t, m)
		l1 := letter{uid: 2}
		impose(t, target, *m, identity(4711, 500, l1), l1)
		sameAs(t, served(t, s).Find("Box"), 4711, []letter{l1})
		require.Contains(t, command(t, session(t, s), "STATUS %s (UIDNEXT UIDVALIDITY)", box), "(UIDNEXT 500 UIDVALIDITY 4711)")
		require.Contains(t, appendMail(t, s, box), "[APPENDUID 4711 500]")
	})
}

// Courier tells files apart by the numbers that their names begin with, in 32
// bits: UIDLs that are longer numbers are refused, since the messages would lose
// their UIDs. Those that are not are kept.
func TestCourierAndLongNumbers(t *testing.T) {
	t.Parallel()
	s := serve(t, Courier)
	target := tree(t, s, Courier)
	box := func(path, sign string, step uint64) (kept int) {
		m := mailboxOf(t, target, path)
		f := folder{target, m.Wire, path}
		list := &uidList{validity: 77, next: 1}
		for i := uint64(1); i <= 300; i++ {
			e := uidEntry{uid: mailhaul.UID(10 * i), base: sign + fmt.Sprint(i*step)}
			list.add(e)
			require.NoError(t, f.disk.write(f.file("cur/"+e.base+":2,"), []byte("x\n")))
		}
		require.NoError(t, f.writeList(list))
		for i, m := range served(t, s).Find(path).Messages {
			if m.UID == mailhaul.UID(10*(i+1)) {
				kept++
			}
		}
		return kept
	}
	require.Equal(t, 300, box("Short", "", (1<<31-1)/300))
	require.Equal(t, 300, box("Below", "-", (1<<31-1)/300))
	require.Less(t, box("Long", "", 1111111111111), 300)
	require.Less(t, box("LongBelow", "-", 1111111111111), 300)
	_, _, reason := courierUIDL(mailhaul.UIDL(fmt.Sprint(300 * ((1<<31 - 1) / 300))))
	require.Empty(t, reason)
	for _, uidl := range []mailhaul.UIDL{"1111111111111", "-1111111111111"} {
		_, _, reason = courierUIDL(uidl)
		require.Contains(t, reason, "31 bits")
	}
}

// The order in which Courier's POP3 lists UIDLs that are names is the one order
// in which they are promised to be exact.
func TestCourierListsByName(t *testing.T) {
	t.Parallel()
	s := serve(t, Courier)
	target := tree(t, s, Courier)
	inbox := mailboxOf(t, target, "INBOX")
	var letters []letter
	for i, u := range []mailhaul.UIDL{
		"msg1", "10", "msg10", "9", "msgA", "0000000ax", "msg!", "-7", "msg", "00000010x", "Z", "-12", "msg-1", "a~", "9b", "2147483647", "09",
	} {
		letters = append(letters, letter{uid: mailhaul.UID(i + 1), uidl: u})
	}
	level := func(target *Target, m mailhaul.Mailbox, uidls []string) mailhaul.Level {
		var letters []letter
		for i, u := range uidls {
			letters = append(letters, letter{uid: mailhaul.UID(i + 1), uidl: mailhaul.UIDL(u)})
		}
		can, err := target.Imposable(context.Background(), m, identity(5, 0, letters...))
		require.NoError(t, err)
		return can.Level
	}
	want := identity(5, 0, letters...)
	can, err := target.Imposable(context.Background(), inbox, want)
	require.NoError(t, err)
	require.Equal(t, mailhaul.LevelUID, can.Level)
	impose(t, target, inbox, want, letters...)
	got := maildrop(t, s)
	require.Len(t, got, len(letters))
	sameAs(t, served(t, s).Find("INBOX"), 5, letters) // the UIDs are those of before all the same

	empty := newTree(t, Courier)
	box := mailboxOf(t, empty, "INBOX")
	require.Equal(t, mailhaul.LevelExact, level(empty, box, got), "%q", got)
	for i := range got[1:] {
		swapped := slices.Clone(got)
		swapped[i], swapped[i+1] = swapped[i+1], swapped[i]
		require.Equal(t, mailhaul.LevelUID, level(empty, box, swapped), "%q", swapped)
	}
}

// Mail of the server's own, which has no UIDLs but by format, has been listed
// over POP3, which Dovecot notes in its index, before mail with UIDLs comes. With
// a Maildir it looks all the same, so that the index can stay.
func TestUIDLsBehindMailThatHasNone(t *testing.T) {
	t.Parallel()
	s := serve(t, Dovecot)
	target := tree(t, s, Dovecot)
	require.Contains(t, appendMail(t, s, "INBOX"), "APPENDUID")
	require.Len(t, maildrop(t, s), 1)
	require.Len(t, maildrop(t, s), 1)
	require.NoError(t, target.checkUnusedSoon(t))
	inbox := mailboxOf(t, target, "INBOX")
	validity := readAll(t, target, inbox).status.UIDValidity
	letters := []letter{{uid: 20, uidl: "Behind20", order: 2}, {uid: 30, uidl: "Behind30", order: 1}}
	impose(t, target, inbox, identity(validity, 40, letters...), letters...)
	got := maildrop(t, s)
	require.Equal(t, []string{"Behind30", "Behind20"}, got[:2])
	require.Len(t, got, 3)
}
