package maildir

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
)

func writeFile(t *testing.T, text string, parts ...string) {
	t.Helper()
	name := filepath.Join(parts...)
	require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o700))
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
}

func newTree(t *testing.T, flavor Flavor) *Target {
	t.Helper()
	return open(t, Config{Path: filepath.Join(t.TempDir(), "Maildir"), Flavor: flavor})
}

func TestExistingMailKeepsItsUIDs(t *testing.T) {
	for _, flavor := range both {
		t.Run(string(flavor), func(t *testing.T) {
			target := newTree(t, flavor)
			list := "3 V55 N100 G0f0e0d0c0b0a09080706050403020100\n7 Pold W9 :1500000000.a.h\n8 :1500000001.gone.h\n"
			if flavor == Courier {
				list = "1 55 100\n7 1500000000.a.h\n8 1500000001.gone.h\n"
			}
			writeFile(t, list, target.path, folder{target, ".", ""}.listName())
			writeFile(t, "old\n", target.path, "cur", "1500000000.a.h:2,FS")
			writeFile(t, "two\n", target.path, "cur", "1600000002.c.h:2,")
			writeFile(t, "one\n", target.path, "cur", "1600000001.b.h:2,T")
			writeFile(t, "new\n", target.path, "new", "1700000000.d.h")
			inbox := mailboxOf(t, target, "INBOX")

			want := identity(1234, 0, letter{uid: 5})
			can, err := target.Imposable(context.Background(), inbox, want)
			require.NoError(t, err)
			require.Equal(t, mailhaul.LevelOrder, can.Level)
			require.Contains(t, can.Reason, "UIDVALIDITY 55")
			require.FileExists(t, filepath.Join(target.path, "new", "1700000000.d.h"), "asking changes nothing")

			got := readAll(t, target, inbox)
			require.Equal(t, mailhaul.UIDValidity(55), got.status.UIDValidity)
			require.Equal(t, []mailhaul.UID{7, 100, 101, 102}, got.uids())
			require.Equal(t, map[mailhaul.UID]string{7: "old\r\n", 100: "one\r\n", 101: "two\r\n", 102: "new\r\n"}, got.bodies)
			require.Equal(t, []mailhaul.Flag{mailhaul.FlagFlagged, mailhaul.FlagSeen}, got.messages[0].Flags)
			require.Empty(t, got.messages[3].Flags)
			require.Equal(t, mailhaul.UID(103), got.status.UIDNext)
			require.FileExists(t, filepath.Join(target.path, "cur", "1700000000.d.h:2,"))

			// Whatever is asked for, it keeps what it has; the new one comes last.
			require.Equal(t, []mailhaul.UID{103}, impose(t, target, inbox, want, letter{uid: 5}))
			got = readAll(t, target, inbox)
			require.Equal(t, mailhaul.UIDValidity(55), got.status.UIDValidity)
			require.Equal(t, []mailhaul.UID{7, 100, 101, 102, 103}, got.uids())
			if flavor == Dovecot {
				text, err := os.ReadFile(filepath.Join(target.path, "dovecot-uidlist"))
				require.NoError(t, err)
				require.Contains(t, string(text), "3 V55 N104 G0f0e0d0c0b0a09080706050403020100\n7 Pold W9 :1500000000.a.h\n")
			}

			// A UID that is taken is not given again, and the level says so.
			same := identity(55, 0, letter{uid: 90}, letter{uid: 200})
			can, err = target.Imposable(context.Background(), inbox, same)
			require.NoError(t, err)
			require.Equal(t, mailhaul.LevelOrder, can.Level)
			require.Contains(t, can.Reason, "UID 90")
			require.Equal(t, []mailhaul.UID{104, 200}, impose(t, target, inbox, same, letter{uid: 90}, letter{uid: 200}))
		})
	}
}

func TestDamagedListsAreRefusedAndKept(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	for flavor, lists := range map[Flavor][]string{
		Dovecot: {"", "\n", "2 5 6\n", "3 N5\n", "3 V0 N5\n", "3 V1 N99999999999\n", "3 V1 N5\n0 :a\n", "3 V1 N5\n4294967295 :a\n", "3 V1 N5\n3 :a\n2 :b\n",
			"3 V1 N5\n1 :../../etc/passwd\n", "3 V1 N5\n1 x:a\n", "3 V1 N5\n1 :\n", "3 V1 N5\n1\n", "3 V1 N5\n1 :" + long + "\n", long, "3 V1 N5\n1 :a\x00b\n", "3 V1 N5\n+1 :a\n"},
		Courier: {"", "1 0 5\n", "1 5 0\n", "1 5\n", "7 5 5\n", "1 5 9\n1 a/b\n", "1 5 9\n1 a\n1 b\n", "1 5 9\nx a\n", "1 5 9\n1 " + long + "\n"},
	} {
		for _, text := range lists {
			target := newTree(t, flavor)
			f := folder{target, ".", "INBOX"}
			writeFile(t, text, target.path, f.listName())
			writeFile(t, "mail\n", target.path, "cur", "1.a.h:2,")
			inbox := mailboxOf(t, target, "INBOX")
			_, err := target.OpenReader(context.Background(), inbox)
			require.Error(t, err, "%.50q", text)
			require.Equal(t, mailhaul.Corrupt, mailhaul.KindOf(err), "%.50q: %v", text, err)
			require.Less(t, len(err.Error()), 600)
			_, err = target.OpenWriter(context.Background(), inbox)
			require.Equal(t, mailhaul.Corrupt, mailhaul.KindOf(err))
			_, err = target.Imposable(context.Background(), inbox, identity(1, 1))
			require.Error(t, err)
			kept, err := os.ReadFile(filepath.Join(target.path, f.listName()))
			require.NoError(t, err)
			require.Equal(t, text, string(kept))
		}
	}
}

func TestNamesThatHaveNoFormAreRefused(t *testing.T) {
	ctx := context.Background()
	for _, flavor := range both {
		target := newTree(t, flavor)
		for _, path := range [][]string{
			{}, {""}, {"a", ""}, {".."}, {"."}, {"a.b"}, {"a/b"}, {"../../x"}, {"a\x00b"}, {"a\nb"}, {"\x7f"}, {"inbox"}, {"~root"}, {"caf\xe9"},
			{strings.Repeat("x", 255)}, {strings.Repeat("x", 200), strings.Repeat("y", 200)}, {"/"}, {"a", ".."},
		} {
			_, err := target.Create(ctx, path, mailhaul.RoleNone)
			require.Error(t, err, "%q", path)
			require.Equal(t, mailhaul.Permanent, mailhaul.KindOf(err))
			can, err := target.Imposable(ctx, mailhaul.Mailbox{Path: path}, identity(1, 1))
			require.NoError(t, err)
			require.Equal(t, mailhaul.LevelNone, can.Level)
		}
		for _, wire := range []string{"..", "", "/etc", "../x", ".a/../../x", "cur", ".a/b", ".", "..a", ".a\x00"} {
			_, err := target.OpenReader(ctx, mailhaul.Mailbox{Wire: wire})
			if wire != "." {
				require.Error(t, err, "%q", wire)
			}
		}
		entries, err := os.ReadDir(target.path)
		require.NoError(t, err)
		for _, e := range entries {
			require.Contains(t, []string{"cur", "new", "tmp", folder{target, ".", ""}.listName()}, e.Name())
		}
		require.Equal(t, mailhaul.RoleInbox, mailboxOf(t, target, "INBOX").Role)
		child := mailboxOf(t, target, "INBOX", "Sub")
		if flavor == Courier {
			require.Equal(t, []string{"Sub"}, child.Path)
			require.Equal(t, "INBOX.Sub", child.Name)
		} else {
			require.Equal(t, ".INBOX.Sub", child.Wire)
		}
	}
}

func TestKeywordsBeyondTheLetters(t *testing.T) {
	for _, flavor := range both {
		target := newTree(t, flavor)
		inbox := mailboxOf(t, target, "INBOX")
		var l letter
		l.uid = 1
		for i := range 30 {
			l.flags = append(l.flags, mailhaul.Flag(fmt.Sprintf("Word%02d", i)))
		}
		w, err := target.OpenWriter(context.Background(), inbox)
		require.NoError(t, err)
		r, err := w.Append(context.Background(), []mailhaul.Outgoing{l.outgoing()})
		require.NoError(t, err)
		got, err := r.Wait(context.Background())
		require.NoError(t, err)
		require.NoError(t, w.Close())
		if flavor == Dovecot {
			require.Equal(t, 4, got[0].Dropped)
			require.Len(t, readAll(t, target, inbox).messages[0].Flags, 26)
		} else {
			require.Zero(t, got[0].Dropped)
			require.Len(t, readAll(t, target, inbox).messages[0].Flags, 30)
		}
	}
}

func TestStoreChangesFlags(t *testing.T) {
	eachServer(t, func(t *testing.T, flavor Flavor) {
		ctx := context.Background()
		s := serve(t, flavor)
		target := tree(t, s, flavor)
		inbox := mailboxOf(t, target, "INBOX")
		letters := []letter{{uid: 1, flags: []mailhaul.Flag{mailhaul.FlagSeen, "A"}}, {uid: 2, flags: []mailhaul.Flag{"B"}}, {uid: 3}}
		impose(t, target, inbox, identity(9, 0, letters...), letters...)
		w, err := target.OpenWriter(ctx, inbox)
		require.NoError(t, err)
		require.NoError(t, w.Store(ctx, []mailhaul.FlagChange{
			{UID: 1, Add: []mailhaul.Flag{mailhaul.FlagFlagged, "B"}, Remove: []mailhaul.Flag{mailhaul.FlagSeen, "A"}},
			{UID: 3, Add: []mailhaul.Flag{"C"}}, {UID: 99, Add: []mailhaul.Flag{"C"}},
		}))
		require.NoError(t, w.Finish(ctx))
		require.NoError(t, w.Close())
		letters[0].flags = []mailhaul.Flag{mailhaul.FlagFlagged, "B"}
		letters[2].flags = []mailhaul.Flag{"C"}
		sameAs(t, served(t, s).Find("INBOX"), 9, letters)
	})
}

func TestOpenSaysWhoseTreeItIs(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	_, err := Open(ctx, Config{Path: filepath.Join(dir, "Maildir")})
	require.ErrorContains(t, err, "server=dovecot")
	_, err = Open(ctx, Config{Path: filepath.Join(dir, "no", "parent"), Flavor: Dovecot})
	require.ErrorIs(t, err, os.ErrNotExist)
	writeFile(t, "", dir, "file")
	_, err = Open(ctx, Config{Path: filepath.Join(dir, "file"), Flavor: Dovecot})
	require.ErrorContains(t, err, "not a directory")
	_, err = Open(ctx, Config{Path: dir, Flavor: Dovecot})
	require.ErrorContains(t, err, "no Maildir")
	for _, flavor := range both {
		target := newTree(t, flavor)
		readAll(t, target, mailboxOf(t, target, "INBOX")) // leaves a list
		require.Equal(t, flavor, open(t, Config{Path: target.path}).Flavor())
	}
	target := newTree(t, Dovecot)
	writeFile(t, "", target.path, "dovecot.index.log")
	writeFile(t, "", target.path, ".Sub", "courierimapuiddb")
	require.NoError(t, os.Mkdir(filepath.Join(target.path, ".Sub", "cur"), 0o700))
	_, err = Open(ctx, Config{Path: target.path})
	require.ErrorContains(t, err, "both")

	utf := newTree(t, Dovecot)
	require.NoError(t, os.MkdirAll(filepath.Join(utf.path, ".Grüße", "cur"), 0o700))
	again := open(t, Config{Path: utf.path, Flavor: Dovecot})
	require.Equal(t, ".Ä", mailboxOf(t, again, "Ä").Wire)
	require.Equal(t, ".&AMQ-", mailboxOf(t, newTree(t, Dovecot), "Ä").Wire)
	require.Equal(t, mailhaul.Account{Protocol: "maildir", Host: "localhost", User: again.path}, again.Account())
}

func TestFilesHaveTheTreesOwnerAndMode(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files away")
	}
	dir := filepath.Join(t.TempDir(), "Maildir")
	require.NoError(t, os.Mkdir(dir, 0o750))
	require.NoError(t, os.Chmod(dir, 0o750))
	require.NoError(t, os.Chown(dir, 5999, 5998))
	for _, flavor := range both {
		target := open(t, Config{Path: dir, Flavor: flavor})
		sub := mailboxOf(t, target, string(flavor))
		require.NoError(t, target.Subscribe(context.Background(), sub))
		l := letter{uid: 1, uidl: "x", flags: []mailhaul.Flag{"K"}}
		impose(t, target, sub, identity(4, 9, l), l)
		impose(t, target, mailboxOf(t, target, "INBOX"), identity(4, 9, l), l)
	}
	require.NoError(t, filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := d.Info()
		require.NoError(t, err)
		owner, _ := ownerOf(info)
		require.Equal(t, Owner{5999, 5998}, owner, name)
		if d.IsDir() {
			require.Equal(t, os.FileMode(0o750), info.Mode().Perm(), name)
		} else {
			require.Equal(t, os.FileMode(0o640), info.Mode().Perm(), name)
		}
		return nil
	}))
}

func TestImposableRefusesWhatCourierCannotName(t *testing.T) {
	target := newTree(t, Courier)
	inbox := mailboxOf(t, target, "INBOX")
	for uidl, reason := range map[mailhaul.UIDL]string{
		"a/b": "slash", "a:b": "colon", "a'b": "quotes", `a"b`: "quotes", "a+b": "plus", ".a": "dot", "99999999999": "31 bits",
		" x": "no unique-id", mailhaul.UIDL(strings.Repeat("x", 71)): "no unique-id", "UID05-7": "",
		"UID5-7": "", "UID5": "", "UID0-7": "", "GmailId16a0b2c3": "", "0000001a6b01fd6a": "",
	} {
		can, err := target.Imposable(context.Background(), inbox, identity(5, 0, letter{uid: 1, uidl: uidl}))
		require.NoError(t, err)
		if reason == "" {
			require.Equal(t, mailhaul.LevelExact, can.Level, "%s: %s", uidl, can.Reason)
		} else {
			require.Equal(t, mailhaul.LevelUID, can.Level, uidl)
			require.Contains(t, can.Reason, reason)
		}
	}
	for _, order := range []struct {
		uidls []mailhaul.UIDL
		kept  bool
	}{
		{[]mailhaul.UIDL{"a", "b", "c"}, true}, {[]mailhaul.UIDL{"b", "a"}, false}, {[]mailhaul.UIDL{"msg10", "msg1"}, true}, {[]mailhaul.UIDL{"msg1", "msg10"}, false}, {[]mailhaul.UIDL{"9", "10"}, true},
		{[]mailhaul.UIDL{"UID9-5", "UID7-5"}, true},
		{[]mailhaul.UIDL{"a", "UID7-5"}, false}, {[]mailhaul.UIDL{"UID7-5", "a"}, false},
	} {
		var letters []letter
		for i, uidl := range order.uidls {
			letters = append(letters, letter{uid: mailhaul.UID(i + 1), uidl: uidl})
		}
		can, err := target.Imposable(context.Background(), inbox, identity(5, 0, letters...))
		require.NoError(t, err)
		require.Equal(t, order.kept, can.Level == mailhaul.LevelExact, "%q: %+v", order.uidls, can)
	}
	twice := identity(5, 0, letter{uid: 1, uidl: "x"}, letter{uid: 2, uidl: "x"})
	can, err := target.Imposable(context.Background(), inbox, twice)
	require.NoError(t, err)
	require.Contains(t, can.Reason, "twice")
	can, err = target.Imposable(context.Background(), mailhaul.Mailbox{Path: []string{"Sub"}}, identity(5, 0, letter{uid: 1, uidl: "x"}))
	require.NoError(t, err)
	require.Contains(t, can.Reason, "INBOX only")
}

func TestParseURL(t *testing.T) {
	c, err := ParseURL("maildir:///var/mail/ada%20b/Maildir?server=courier&names=mutf7&owner=5000:5001")
	require.NoError(t, err)
	require.Equal(t, Config{Path: "/var/mail/ada b/Maildir", Flavor: Courier, Names: ModifiedUTF7, Owner: &Owner{5000, 5001}}, c)
	c, err = ParseURL("maildir:///m")
	require.NoError(t, err)
	require.Equal(t, Config{Path: "/m"}, c)
	for _, bad := range []string{"", "maildir://host/m", "maildir:m", "imap:///m", "maildir:///m?server=qmail", "maildir:///m?owner=5", "maildir:///m?owner=-1:5", "maildir:///m?x=1",
		"maildir:///m?server=dovecot&server=courier", "maildir:///m#x", "maildir:///m%00", "maildir:///m?names=latin1", "maildir:///%zz", "maildir://u:secret@/m"} {
		_, err := ParseURL(bad)
		require.Error(t, err, bad)
		require.NotContains(t, err.Error(), "secret")
	}
}

// A lost source is the source's error, and what was staged before it is stored.
func TestWriterAnswers(t *testing.T) {
	ctx := context.Background()
	target := newTree(t, Dovecot)
	inbox := mailboxOf(t, target, "INBOX")
	w, err := target.OpenWriter(ctx, inbox)
	require.NoError(t, err)
	first, err := w.Append(ctx, []mailhaul.Outgoing{letter{uid: 1}.outgoing()})
	require.NoError(t, err)
	second, err := w.Append(ctx, []mailhaul.Outgoing{letter{uid: 2}.outgoing()})
	require.NoError(t, err)
	got, err := first.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, mailhaul.Outcome{Delivery: mailhaul.Stored, UID: 1}, got[0])
	got, err = second.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, mailhaul.Outcome{Delivery: mailhaul.Stored, UID: 2}, got[0])
	unasked, err := w.Append(ctx, []mailhaul.Outgoing{letter{uid: 3}.outgoing()})
	require.NoError(t, err)
	require.NoError(t, w.Close())
	got, _ = unasked.Wait(ctx)
	require.Equal(t, mailhaul.NotStored, got[0].Delivery)
	_, err = w.Append(ctx, []mailhaul.Outgoing{letter{uid: 4}.outgoing()})
	require.ErrorIs(t, err, mailhaul.ErrClosed)
	require.Len(t, readAll(t, target, inbox).messages, 2)
	require.Empty(t, tempFiles(t, target, "."))

	// The server, or another, changes the UIDVALIDITY behind our back.
	w, err = target.OpenWriter(ctx, inbox)
	require.NoError(t, err)
	defer w.Close()
	r, err := w.Append(ctx, []mailhaul.Outgoing{letter{uid: 5}.outgoing()})
	require.NoError(t, err)
	writeFile(t, "3 V999 N50\n", target.path, "dovecot-uidlist")
	got, err = r.Wait(ctx)
	require.Equal(t, mailhaul.Conflict, mailhaul.KindOf(err))
	require.Equal(t, mailhaul.NotStored, got[0].Delivery)
	require.Len(t, readAll(t, target, inbox).messages, 2)
}
