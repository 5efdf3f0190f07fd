package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/corpus"
	"github.com/mailhaul/mailhaul/internal/mailclient"
	"github.com/mailhaul/mailhaul/internal/oracle"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

// identityRig is an account with holes in its UIDs, whose passwords are in
// files.
type identityRig struct {
	rig
	source *testserver.Server
	dir    string
	before *oracle.Account
}

func newIdentityRig(t *testing.T) *identityRig {
	r := &identityRig{source: testserver.Dovecot(t, testserver.DovecotOptions{}), dir: t.TempDir()}
	r.rig = rig{t: t, signals: make(chan os.Signal), env: map[string]string{}}
	r.source.Plant(r.source.Users[0], testserver.Sparse{Messages: 60, MaxSize: 3_000}.Plant())
	r.before = r.snapshot(r.source)
	return r
}

func (r *identityRig) snapshot(s *testserver.Server) *oracle.Account {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	a, err := oracle.Snapshot(ctx, s.Account(1).Server)
	require.NoError(r.t, err)
	return a
}

// file writes a password down.
func (r *identityRig) file(password string) string {
	name := filepath.Join(r.dir, "password-"+password)
	require.NoError(r.t, os.WriteFile(name, []byte(password+"\n"), 0o600))
	return name
}

// flags are those that name both accounts.
func (r *identityRig) flags(to *testserver.Server) []string {
	return []string{
		"-json", "-state", filepath.Join(r.t.TempDir(), "state.db"),
		"-from", "imaps://u1@" + r.source.Addr(testserver.IMAPS), "-from-password-file", r.file("pw1"), "-from-ca", r.source.RootsFile(),
		"-to", "imaps://u1@" + to.Addr(testserver.IMAPS), "-to-password-file", r.file("pw1"), "-to-ca", to.RootsFile(),
	}
}

// TestIdentityIsKept: the flags reach the driver that they name, and the report
// says what holds.
func TestIdentityIsKept(t *testing.T) {
	r := newIdentityRig(t)
	dovecot := func(store string, extra ...string) *testserver.Server {
		return testserver.Dovecot(t, testserver.DovecotOptions{Store: store, Extra: extra})
	}
	for _, tt := range []struct {
		name  string
		start func() *testserver.Server
		flags func(s *testserver.Server) []string
	}{
		{"dsync", func() *testserver.Server { return dovecot("mdbox") }, func(s *testserver.Server) []string {
			return []string{"-identity-admin", "doveadm://" + s.Addr(testserver.Doveadm), "-identity-admin-password-file", r.file(testserver.DoveadmPassword)}
		}},
		{"command", func() *testserver.Server { return dovecot("maildir") }, func(s *testserver.Server) []string {
			args, err := json.Marshal([]string{"doveadm", "-c", filepath.Join(s.Root, "dovecot.conf"), "dsync-server", "-u", "{user}"})
			require.NoError(t, err)
			return []string{"-identity-exec", string(args)}
		}},
		{"HTTP API", func() *testserver.Server { return dovecot("sdbox", "pop3_uidl_format = %v.%u") }, func(s *testserver.Server) []string {
			return []string{"-identity-admin", "doveadm+http://" + s.Addr(testserver.DoveadmHTTP), "-identity-admin-password-file", r.file(testserver.DoveadmAPIKey),
				"-fillers", "20", "-uidl-format", "%v.%u"}
		}},
		{"Cyrus", func() *testserver.Server { return testserver.Cyrus(t, testserver.Options{}) }, func(s *testserver.Server) []string {
			return []string{"-identity-admin", fmt.Sprintf("cyrus+imap+plain://%s:%s@%s", testserver.CyrusAdmin.Name, testserver.CyrusAdmin.Password, s.Addr(testserver.IMAP))}
		}},
		{"Maildir of Dovecot", func() *testserver.Server { return dovecot("maildir") }, func(s *testserver.Server) []string {
			return []string{"-to", "maildir://" + s.Maildir(s.Users[0]) + "?server=dovecot", "-to-password-file", "", "-to-ca", ""}
		}},
		{"Maildir of Courier", func() *testserver.Server { return testserver.Courier(t, testserver.Options{}) }, func(s *testserver.Server) []string {
			return []string{"-to", "maildir://" + s.Maildir(s.Users[0]) + "?server=courier", "-to-password-file", "", "-to-ca", ""}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := tt.start()
			r.t = t
			flags := append(r.flags(s), tt.flags(s)...)
			m := r.start(append(flags, "-identity", "exact")...).want(exitComplete).counts(map[string]int{"messages": 60, "copied": 60})
			for box, level := range m["identity"].(map[string]any) {
				require.Equal(t, "exact", level, "%s: %v", box, m["identity_detail"])
			}
			opts := oracle.CompareOptions{SameUIDs: true, ExtraFolders: true, IgnoreRoles: true, IgnoreFlag: func(flag string) bool {
				return s.Kind() == "courier" && !strings.HasPrefix(flag, `\`)
			}}
			for _, d := range oracle.Compare(r.before, r.snapshot(s), opts) {
				if s.Kind() == "courier" && strings.Contains(d, "UIDNEXT") {
					continue // it tells none
				}
				t.Error(d)
			}
			r.start(flags...).want(exitComplete).counts(map[string]int{"copied": 0, "skipped": 60})
		})
	}
}

// TestIdentityIsRefused: what the target cannot be told is said before anything
// is written, in one sentence, and so is a password that is wrong.
func TestIdentityIsRefused(t *testing.T) {
	r := newIdentityRig(t)
	s := testserver.Dovecot(t, testserver.DovecotOptions{})
	empty := r.snapshot(s)
	flags := r.flags(s)
	r.start(append(flags, "-identity-admin", "doveadm://:"+adminPassword+"@"+s.Addr(testserver.Doveadm), "-identity", "exact")...).want(exitAuth)
	r.start(append(flags, "-identity-admin", "doveadm+http://:"+adminPassword+"@"+s.Addr(testserver.DoveadmHTTP), "-identity", "exact")...).want(exitAuth)
	out := r.start(append(flags, "-identity-exec", `["/nonexistent/ssh"]`, "-identity", "exact")...)
	require.NotEqual(t, exitComplete, out.status)
	require.Equal(t, empty, r.snapshot(s))

	// Mail that is there keeps its UIDVALIDITY.
	api := []string{"-identity-admin", "doveadm+http://:" + testserver.DoveadmAPIKey + "@" + s.Addr(testserver.DoveadmHTTP)}
	require.NoError(t, corpus.Load(t.Context(), s.Account(1).Server, corpus.Generate(corpus.Spec{Messages: 3, MaxSize: 3_000})[:1]))
	before := r.snapshot(s)
	out = r.start(append(append(flags, api...), "-identity", "exact")...).want(exitUsage).says("cannot be told that much identity", "INBOX", "nothing was written")
	require.NotContains(t, out.stderr, "resumes here")
	require.Equal(t, before, r.snapshot(s))

	// Without a demand it does what it can, and says what that is.
	m := r.start(append(flags, api...)...).want(exitComplete).json()
	require.NotEqual(t, "exact", m["identity"].(map[string]any)["INBOX"])
	require.Equal(t, "exact", m["identity"].(map[string]any)["Sent"])
}

// TestFillers: UIDs alone need nobody's leave but the caller's.
func TestFillers(t *testing.T) {
	r := newIdentityRig(t)
	s := testserver.Dovecot(t, testserver.DovecotOptions{})
	file := filepath.Join(r.dir, "map.txt")
	m := r.start(append(r.flags(s), "-identity", "uid", "-fillers", "1000", "-map-export", file)...).want(exitComplete).counts(map[string]int{"copied": 60})
	for box, level := range m["identity"].(map[string]any) {
		require.Equal(t, "uid", level, box)
	}
	after := r.snapshot(s)
	for _, box := range r.before.Mailboxes {
		there := after.Find(box.Path...)
		require.Len(t, there.Messages, len(box.Messages))
		for i, m := range box.Messages {
			require.Equal(t, m.UID, there.Messages[i].UID)
		}
	}
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(text), `source uidvalidity 1234567 mailbox "INBOX"`+"\n")
	require.Contains(t, string(text), "\n24 24\n")
}

// TestUIDLsOfAPOP3Account: they are carried by dsync, and by X-UIDL, and proved
// over POP3.
func TestUIDLsOfAPOP3Account(t *testing.T) {
	r := newIdentityRig(t)
	r.source.AddUser("u2", "pw1")
	r.source.Plant(r.source.Users[len(r.source.Users)-1], testserver.Sparse{Messages: 60, MaxSize: 3_000, UIDLs: testserver.UIDLsOdd}.Plant())
	for _, tt := range []struct {
		name  string
		extra []string
		flags func(s *testserver.Server) []string
	}{
		{"dsync", nil, func(s *testserver.Server) []string {
			return []string{"-identity-admin", "doveadm://" + s.Addr(testserver.Doveadm), "-identity-admin-password-file", r.file(testserver.DoveadmPassword)}
		}},
		{"X-UIDL", []string{"pop3_reuse_xuidl = yes"}, func(*testserver.Server) []string { return []string{"-xuidl"} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r.t = t
			s := testserver.Dovecot(t, testserver.DovecotOptions{Extra: tt.extra})
			flags := append(r.flags(s), "-from", "pop3s://u2@"+r.source.Addr(testserver.POP3S), "-identity", "exact",
				"-uidl-to", "pop3s://u1@"+s.Addr(testserver.POP3S), "-uidl-to-password-file", r.file("pw1"), "-uidl-to-ca", s.RootsFile())
			m := r.start(append(flags, tt.flags(s)...)...).want(exitComplete).counts(map[string]int{"copied": 24})
			require.Equal(t, map[string]any{"INBOX": "exact"}, m["identity"])
			r.start(append(flags, tt.flags(s)...)...).want(exitComplete).counts(map[string]int{"copied": 0, "skipped": 24})
		})
	}
}

// TestNoProgramNoticesTheMove is the whole of it as a user does it: an account
// over IMAP with UIDLs that follow from nothing, moved by the program, and mail
// programs that are led to the new server.
func TestNoProgramNoticesTheMove(t *testing.T) {
	r := newIdentityRig(t)
	r.source.AddUser("u2", "pw1")
	u := r.source.Users[len(r.source.Users)-1]
	r.source.Plant(u, testserver.Sparse{Messages: 60, MaxSize: 3_000, UIDLs: testserver.UIDLsOdd}.Plant())
	for _, tt := range []struct {
		name  string
		flags func(s *testserver.Server) []string
	}{
		{"dsync", func(s *testserver.Server) []string {
			return []string{"-identity-admin", "doveadm://:" + testserver.DoveadmPassword + "@" + s.Addr(testserver.Doveadm)}
		}},
		{"HTTP API and X-UIDL", func(s *testserver.Server) []string {
			return []string{"-identity-admin", "doveadm+http://:" + testserver.DoveadmAPIKey + "@" + s.Addr(testserver.DoveadmHTTP), "-xuidl"}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r.t = t
			target := testserver.Dovecot(t, testserver.DovecotOptions{Store: "mdbox", Extra: []string{"pop3_reuse_xuidl = yes"}})
			target.AddUser(u.Name, u.Password)
			var programs []*mailclient.Client
			for _, p := range []mailclient.Program{mailclient.Mpop, mailclient.Mbsync} { // Dovecot marks as seen what mpop fetches
				c := mailclient.New(t, p, mailclient.Login{User: u.Name, Password: u.Password})
				c.PointAt(r.source.Addr(service(p)))
				require.Empty(t, c.Run().First(map[mailhaul.Protocol]int{mailhaul.IMAP: 60, mailhaul.POP3: 24}[p.Protocol]))
				programs = append(programs, c)
			}
			r.start(append(append(r.flags(target), tt.flags(target)...),
				"-from", "imaps://u2@"+r.source.Addr(testserver.IMAPS), "-to", "imaps://u2@"+target.Addr(testserver.IMAPS),
				"-uidl-from", "pop3s://u2@"+r.source.Addr(testserver.POP3S), "-uidl-from-password-file", r.file("pw1"), "-uidl-from-ca", r.source.RootsFile(),
				"-uidl-to", "pop3s://u2@"+target.Addr(testserver.POP3S), "-uidl-to-password-file", r.file("pw1"), "-uidl-to-ca", target.RootsFile(),
				"-identity", "exact")...).want(exitComplete).counts(map[string]int{"copied": 60})
			for _, c := range programs {
				c.PointAt(target.Addr(service(c.Program)))
				e := c.Run()
				require.Empty(t, e.Noticed(), e.Output)
			}
		})
	}
}

func service(p mailclient.Program) testserver.Service {
	if p.Protocol == mailhaul.POP3 {
		return testserver.POP3
	}
	return testserver.IMAP
}
