package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul/internal/corpus"
	"github.com/mailhaul/mailhaul/internal/oracle"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

// TestBetweenDovecots moves an account between two real servers as a user
// would, and lets an independent client compare them.
func TestBetweenDovecots(t *testing.T) {
	source := testserver.Dovecot(t, testserver.DovecotOptions{Separator: ".", Prefix: "INBOX.", SpecialUse: true})
	target := testserver.Dovecot(t, testserver.DovecotOptions{Store: "sdbox", SpecialUse: true})
	from, to := source.Account(1), target.Account(1)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	boxes := corpus.Generate(corpus.Spec{Seed: 7, Messages: 300, MaxSize: 100_000})
	require.NoError(t, corpus.Load(ctx, from.Server, boxes))

	dir := t.TempDir()
	file := func(name, text string) string {
		name = filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		return name
	}
	r := &rig{t: t, state: filepath.Join(dir, "state.db"), signals: make(chan os.Signal)}
	r.from = fmt.Sprintf("imaps://%s@%s", from.User, from.Server.Addr())
	r.to = fmt.Sprintf("imap://%s@%s", to.User, target.Addr(testserver.IMAP))
	flags := []string{
		"-json",
		"-from-password-file", file("from", from.Password+"\n"), "-to-password-file", file("to", to.Password+"\n"),
		"-from-ca", source.RootsFile(), "-to-pin", fmt.Sprintf("sha256:%x", target.Certificate().Pin),
	}
	r.run(append(flags, "-dry-run")...).want(exitComplete).counts(map[string]int{"messages": 300, "move": 300})
	r.run(flags...).want(exitComplete).counts(map[string]int{"messages": 300, "copied": 300})

	before, err := oracle.Snapshot(ctx, from.Server)
	require.NoError(t, err)
	after, err := oracle.Snapshot(ctx, to.Server)
	require.NoError(t, err)
	for _, difference := range oracle.Compare(before, after, oracle.CompareOptions{ExtraFolders: true}) {
		t.Error(difference)
	}

	r.run(flags...).want(exitComplete).counts(map[string]int{"copied": 0, "skipped": 300})
	require.NoError(t, os.Remove(r.state))
	r.run(flags...).want(exitComplete).counts(map[string]int{"copied": 0, "adopted": 300})
	r.run(append(flags, "-from-password-file", file("wrong", "wrong"))...).want(exitAuth).says("log in", from.User)
}
