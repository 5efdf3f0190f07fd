package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/testserver"
	"github.com/mailhaul/mailhaul/pop3x"
)

// TestUIDLFrom: mail that comes over IMAP keeps the UIDLs that the source shows
// over POP3, and their order, whatever they are made of.
func TestUIDLFrom(t *testing.T) {
	for _, kind := range []testserver.UIDLs{testserver.UIDLsDovecot, testserver.UIDLsCyrus, testserver.UIDLsOdd} {
		t.Run(string(kind), func(t *testing.T) {
			r := &identityRig{source: testserver.Dovecot(t, testserver.DovecotOptions{Extra: kind.Format()}), dir: t.TempDir()}
			r.rig = rig{t: t, signals: make(chan os.Signal), env: map[string]string{"MAILHAUL_UIDL_FROM_PASSWORD": "pw1"}}
			planted := testserver.Sparse{Messages: 120, MaxSize: 3_000, UIDLs: kind}.Plant()
			inbox := 0
			for _, box := range planted {
				if box.Name() != "INBOX" {
					continue
				}
				inbox = len(box.Known)
				if kind == testserver.UIDLsOdd { // and an order of its own
					for i := range box.Known {
						box.Known[i].Order = 1 + (i*7)%inbox
						if inbox%7 == 0 {
							box.Known[i].Order = inbox - i
						}
					}
				}
			}
			require.Greater(t, inbox, 10)
			r.source.Plant(r.source.Users[0], planted)
			target := testserver.Dovecot(t, testserver.DovecotOptions{Store: "mdbox"})
			flags := append(r.flags(target),
				"-identity-admin", "doveadm://"+target.Addr(testserver.Doveadm), "-identity-admin-password-file", r.file(testserver.DoveadmPassword),
				"-uidl-from", "pop3s://u1@"+r.source.Addr(testserver.POP3S), "-uidl-from-ca", r.source.RootsFile(),
				"-uidl-to", "pop3s://u1@"+target.Addr(testserver.POP3S), "-uidl-to-password-file", r.file("pw1"), "-uidl-to-ca", target.RootsFile(),
				"-identity", "exact")
			m := r.start(flags...).want(exitComplete).counts(map[string]int{"messages": 120, "copied": 120})
			for box, level := range m["identity"].(map[string]any) {
				require.Equal(t, "exact", level, "%s: %v", box, m["identity_detail"])
			}
			want, got := uidlsOf(t, r.source), uidlsOf(t, target)
			require.Len(t, want, inbox)
			require.Equal(t, want, got)
			if kind == testserver.UIDLsOdd {
				i := slices.IndexFunc(planted, func(p testserver.Planted) bool { return p.Name() == "INBOX" })
				require.NotEqual(t, planted[i].Known[1].UIDL, want[1], "POP3 has an order of its own")
			}
			r.start(flags...).want(exitComplete).counts(map[string]int{"copied": 0, "skipped": 120})
		})
	}
}

// uidlsOf returns what a server lists over POP3, in its order.
func uidlsOf(t *testing.T, s *testserver.Server) (list []mailhaul.UIDL) {
	t.Helper()
	source, err := pop3x.New(pop3x.Config{Server: s.Account(1).POP3})
	require.NoError(t, err)
	defer source.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := source.OpenReader(ctx, mailhaul.Mailbox{Path: []string{"INBOX"}, Name: "INBOX", Wire: "INBOX"})
	require.NoError(t, err)
	defer r.Close()
	all, err := r.UIDs(ctx)
	require.NoError(t, err)
	for m, err := range r.Messages(ctx, all, mailhaul.FieldSize, 0) {
		require.NoError(t, err)
		list = append(list, m.UIDL)
	}
	return list
}

// TestUIDLFromWithAWrongPassword: nothing is moved without what was asked for.
func TestUIDLFromWithAWrongPassword(t *testing.T) {
	source, target := testserver.Dovecot(t, testserver.DovecotOptions{}), testserver.Dovecot(t, testserver.DovecotOptions{})
	r := &identityRig{source: source, dir: t.TempDir()}
	r.rig = rig{t: t, signals: make(chan os.Signal), env: map[string]string{}}
	r.start("-state", filepath.Join(r.dir, "state.db"),
		"-from", "imaps://u1@"+source.Addr(testserver.IMAPS), "-from-password-file", r.file("pw1"), "-from-ca", source.RootsFile(),
		"-to", "imaps://u1@"+target.Addr(testserver.IMAPS), "-to-password-file", r.file("pw1"), "-to-ca", target.RootsFile(),
		"-uidl-from", "pop3s://u1@"+source.Addr(testserver.POP3S), "-uidl-from-ca", source.RootsFile(), "-uidl-from-password-file", r.file("wrong"),
	).want(exitAuth).says("log in")
}
