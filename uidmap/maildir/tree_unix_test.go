//go:build unix

package maildir

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
)

func TestSymbolicLinksDoNotLeadOut(t *testing.T) {
	ctx := context.Background()
	outside := t.TempDir()
	for _, d := range []string{"cur", "new", "tmp"} {
		require.NoError(t, os.Mkdir(filepath.Join(outside, d), 0o700))
	}
	writeFile(t, "secret\n", outside, "cur", "1.secret.h:2,")
	target := newTree(t, Dovecot)
	require.NoError(t, os.Symlink(outside, filepath.Join(target.path, ".Out")))
	mailboxOf(t, target, "In")
	require.NoError(t, os.Remove(filepath.Join(target.path, ".In", "cur")))
	require.NoError(t, os.Symlink(filepath.Join(outside, "cur"), filepath.Join(target.path, ".In", "cur")))
	require.NoError(t, os.Symlink(filepath.Join(outside, "cur", "1.secret.h:2,"), filepath.Join(target.path, "cur", "2.link.h:2,")))
	require.NoError(t, syscall.Mkfifo(filepath.Join(target.path, "cur", "3.fifo.h:2,"), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(target.path, "cur", "4.dir.h:2,"), 0o700))

	l, err := target.List(ctx)
	require.NoError(t, err)
	require.Len(t, l.Mailboxes, 1)
	require.Len(t, l.Warnings, 1)
	require.Contains(t, l.Warnings[0], ".Out")
	for _, wire := range []string{".Out", ".In"} {
		_, err = target.OpenReader(ctx, mailhaul.Mailbox{Wire: wire})
		require.Error(t, err)
		_, err = target.OpenWriter(ctx, mailhaul.Mailbox{Wire: wire})
		require.Error(t, err)
	}
	require.Empty(t, readAll(t, target, mailboxOf(t, target, "INBOX")).messages)
	// A list that is a link is not read, and not written through.
	writeFile(t, "3 V1 N1\n", outside, "list")
	require.NoError(t, os.Remove(filepath.Join(target.path, "dovecot-uidlist")))
	require.NoError(t, os.Symlink(filepath.Join(outside, "list"), filepath.Join(target.path, "dovecot-uidlist")))
	_, err = target.OpenReader(ctx, mailboxOf(t, target, "INBOX"))
	require.Error(t, err)
	text, err := os.ReadFile(filepath.Join(outside, "list"))
	require.NoError(t, err)
	require.Equal(t, "3 V1 N1\n", string(text))
}
