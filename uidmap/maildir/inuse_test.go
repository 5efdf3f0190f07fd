package maildir

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/testserver/wire"
)

// A mailbox that a real session has open is refused; one beside it is not
// (Dovecot), and neither is one that nobody has open any more.
func TestRefusesAMailboxInUse(t *testing.T) {
	eachServer(t, func(t *testing.T, flavor Flavor) {
		ctx := context.Background()
		s := serve(t, flavor)
		target := tree(t, s, flavor)
		inbox, other := mailboxOf(t, target, "INBOX"), mailboxOf(t, target, "Other")
		l := letter{uid: 3, uidl: "UID5-5"}
		impose(t, target, inbox, identity(77, 0, l), l)
		impose(t, target, other, identity(78, 0))

		refused := func(m mailhaul.Mailbox, program string) {
			t.Helper()
			for range 2 { // and goes on being refused
				_, err := target.OpenWriter(ctx, m)
				require.Error(t, err)
				require.Equal(t, mailhaul.Transient, mailhaul.KindOf(err))
				require.ErrorContains(t, err, "("+program)
			}
			_, err := target.OpenImposing(ctx, m, identity(1, 1))
			require.ErrorContains(t, err, "has it open")
			require.Equal(t, []mailhaul.UID{3}, readAll(t, target, inbox).uids(), "reading is not refused")
		}
		allowed := func(m mailhaul.Mailbox) {
			t.Helper()
			// Dovecot looks into all mailboxes that are new to it, and lets go
			// of them seconds later.
			require.Eventually(t, func() bool { return folder{target, m.Wire, ""}.checkUnused() == nil }, waitLong, waitStep)
			w, err := target.OpenWriter(ctx, m)
			require.NoError(t, err)
			require.NoError(t, w.Close())
		}
		imap, pop3 := "imap", "pop3"
		if flavor == Courier {
			imap, pop3 = "imapd", "courierpop3d"
		}

		c := session(t, s)
		if flavor == Dovecot {
			allowed(inbox) // logged in, and nowhere
		} else {
			refused(inbox, imap)
		}
		command(t, c, "SELECT INBOX")
		refused(inbox, imap)
		if flavor == Dovecot {
			allowed(other)
		}
		tag := c.Send("IDLE")
		require.NoError(t, c.Continue(tag))
		refused(inbox, imap)
		c.Close()
		require.NoError(t, target.checkUnusedSoon(t))
		allowed(inbox)

		p, err := wire.Dial(ctx, s.Account(1).POP3)
		require.NoError(t, err)
		defer p.Close()
		fmt.Fprintf(p, "USER %s\r\nPASS %s\r\nSTAT\r\n", s.Users[0].Name, s.Users[0].Password)
		require.Eventually(t, func() bool { return folder{target, ".", ""}.checkUnused() != nil }, waitLong, waitStep)
		refused(inbox, pop3)
	})
}

// Several mailboxes, which are subfolders: the one that is selected is refused.
func TestRefusesASubfolderInUse(t *testing.T) {
	t.Parallel()
	s := serve(t, Dovecot)
	target := tree(t, s, Dovecot)
	inbox, sub := mailboxOf(t, target, "INBOX"), mailboxOf(t, target, "A", "Ä")
	c := session(t, s)
	command(t, c, "EXAMINE A/&AMQ-")
	_, err := target.OpenWriter(context.Background(), sub)
	require.ErrorContains(t, err, "has it open")
	require.NoError(t, target.checkUnusedSoon(t))
	w, err := target.OpenWriter(context.Background(), inbox)
	require.NoError(t, err)
	require.NoError(t, w.Close())
}

func TestLocks(t *testing.T) {
	for _, flavor := range both {
		t.Run(string(flavor), func(t *testing.T) {
			ctx := context.Background()
			target := open(t, Config{Path: filepath.Join(t.TempDir(), "Maildir"), Flavor: flavor, LockTimeout: 50 * time.Millisecond})
			inbox := mailboxOf(t, target, "INBOX")
			lock := filepath.Join(target.path, folder{target, ".", ""}.lockName())
			host := target.host
			for name, held := range map[string]struct {
				text string
				age  time.Duration
				err  string
			}{
				"alive":          {fmt.Sprintf("%d:%s", os.Getpid(), host), time.Hour, fmt.Sprintf("process %d holds its lock", os.Getpid())},
				"dead":           {fmt.Sprintf("%d:%s", deadPID, host), 0, ""},
				"elsewhere":      {"1:elsewhere.example", time.Minute, "another machine"},
				"elsewhere, old": {"1:elsewhere.example", 10 * time.Minute, ""},
				"empty":          {"", time.Minute, "another machine"},
				"hostile":        {"\x1b[2J\n", time.Minute, `"\x1b[2J\n"`},
			} {
				require.NoError(t, os.WriteFile(lock, []byte(held.text), 0o600))
				then := time.Now().Add(-held.age)
				require.NoError(t, os.Chtimes(lock, then, then))
				if _, err := os.Stat(filepath.Join(target.path, folder{target, ".", ""}.listName())); err == nil {
					require.NoError(t, os.Chtimes(filepath.Join(target.path, folder{target, ".", ""}.listName()), then, then))
				}
				w, err := target.OpenWriter(ctx, inbox)
				if held.err == "" {
					require.NoError(t, err, name)
					require.NoError(t, w.Close())
					require.NoFileExists(t, lock)
					continue
				}
				require.ErrorContains(t, err, held.err, name)
				require.Equal(t, mailhaul.Transient, mailhaul.KindOf(err), name)
				require.FileExists(t, lock, name)
				require.NoError(t, os.Remove(lock))
			}
		})
	}
}

// Dovecot waits for our lock, and finds what was written when it gets it.
func TestDovecotHeedsOurLock(t *testing.T) {
	t.Parallel()
	s := serve(t, Dovecot)
	target := tree(t, s, Dovecot)
	inbox := mailboxOf(t, target, "INBOX")
	l := letter{uid: 3}
	impose(t, target, inbox, identity(77, 0, l), l)
	f := folder{target, ".", "INBOX"}
	unlock, err := f.lock(context.Background())
	require.NoError(t, err)
	answer := make(chan string, 1)
	go func() { answer <- appendMail(t, s, "INBOX") }()
	select {
	case got := <-answer:
		t.Fatalf("Dovecot did not wait: %s", got)
	case <-time.After(2 * time.Second):
	}
	require.NoError(t, unlock())
	select {
	case got := <-answer:
		require.Contains(t, got, "[APPENDUID 77 4]")
	case <-time.After(waitLong):
		t.Fatal("Dovecot does not see that the lock is free")
	}
}
