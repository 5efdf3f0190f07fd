package imapx

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/imapserver"
)

// listClient is a Client of a server that answers by the function, and OK to
// what it does not care about.
func listClient(t *testing.T, capabilities string, answer func(s *script, tag, rest string) bool) *Client {
	t.Helper()
	return hostileClient(t, capabilities, func(s *script) {
		s.simple(func(tag, rest string) bool { return answer(s, tag, rest) })
	})
}

// describe returns one line for a mailbox.
func describe(m mailhaul.Mailbox) string {
	line := strings.Join(m.Path, "|")
	if m.Role != "" {
		line += " " + string(m.Role)
	}
	if m.NoSelect {
		line += " noselect"
	}
	if m.Shared {
		line += " shared"
	}
	if m.Subscribed {
		line += " subscribed"
	}
	if m.Status != nil {
		line += fmt.Sprintf(" %d/%d/%d", m.Status.Messages, m.Status.UIDNext, m.Status.UIDValidity)
	}
	return line
}

func describeAll(l *mailhaul.Listing) []string {
	var all []string
	for _, m := range l.Mailboxes {
		all = append(all, describe(m))
	}
	return all
}

func TestListExtended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		commands := 0
		cl := listClient(t, "LIST-EXTENDED LIST-STATUS SPECIAL-USE NAMESPACE CONDSTORE", func(s *script, tag, rest string) bool {
			commands++
			switch {
			case rest == "NAMESPACE":
				s.send(tag, `* NAMESPACE (("" "/")) (("Other Users/" "/")) (("Public/" "/"))`, "TAG OK done")
			case rest == `LIST "" "*" RETURN (SUBSCRIBED CHILDREN SPECIAL-USE STATUS (MESSAGES UIDNEXT UIDVALIDITY HIGHESTMODSEQ))`:
				s.send(tag, `* LIST (\Subscribed) "/" "Inbox"`, `* STATUS "INBOX" (MESSAGES 3 UIDNEXT 4 UIDVALIDITY 5)`,
					`* LIST (\Sent \HasNoChildren) "/" Sent`, `* STATUS Sent (MESSAGES 0 UIDVALIDITY 6)`,
					`* LIST (\NonExistent) "/" "a"`, `* LIST () "/" {5}`, "a/b c", `* STATUS "a/b c" (UIDVALIDITY 1)`,
					`* LIST () "/" INBOX`, `* LIST (\Noselect) "/" "Public"`, `* LIST () "/" "Public/x"`, `* LIST () "/" "Publicity"`,
					`* LIST (\Trash \Subscribed) "/" "Entw&APw-rfe"`, `* LIST () "/" "A&B"`, `* LIST () "/" "caf`+"\xe9"+`"`, `* LIST () "/" "..`+"\x07"+`"`,
					`* LIST () "/" ""`, `* LIST () "/" "`+strings.Repeat("x", 1001)+`"`, `* LIST () "/" {3}`, "a\x00b", `* LIST (`, "TAG OK done")
			default:
				return false
			}
			return true
		})
		l, err := cl.List(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []string{
			"INBOX INBOX subscribed 3/4/5", `Sent \Sent 0/0/6`, "a noselect", "a|b c",
			"Public noselect shared", "Public|x shared", "Publicity", `Entwürfe \Trash subscribed`, "A&B", "caf\xe9", "..\x07",
		}, describeAll(l))
		assert.Equal(t, "Inbox", l.Mailboxes[0].Wire)
		assert.Equal(t, "Entw&APw-rfe", l.Mailboxes[7].Wire)
		assert.Equal(t, "caf\xe9", l.Mailboxes[9].Wire)
		assert.Len(t, l.Warnings, 2)
		assert.Equal(t, mailhaul.Naming{Delimiter: "/"}, l.Naming)
		assert.Equal(t, 2, commands)
	})
}

// iCloud announces LIST-STATUS without LIST-EXTENDED, others announce both and
// refuse it all the same.
func TestListFallsBack(t *testing.T) {
	for _, caps := range []string{"LIST-STATUS", "LIST-EXTENDED LIST-STATUS SPECIAL-USE", ""} {
		t.Run(caps, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				extended := 0
				cl := listClient(t, caps, func(s *script, tag, rest string) bool {
					switch {
					case strings.Contains(rest, "RETURN"):
						extended++
						s.send(tag, `* LIST () "." "half an answer"`, "TAG BAD Parse Error (command syntax error)")
					case rest == `LIST "" "*"`:
						s.send(tag, `* LIST (\HasChildren) "." INBOX`, `* LIST (\Sent) "." INBOX.Gesendet`, `* LIST (\Noselect) "." INBOX.a`, `* LIST () "." INBOX.a.b`, "TAG OK done")
					case rest == `LSUB "" "*"`:
						s.send(tag, `* LSUB () "." INBOX`, `* LSUB (\Noselect) "." INBOX.a`, `* LSUB () "." INBOX.a.b`, "TAG OK done")
					case rest == `STATUS "INBOX" (MESSAGES UIDNEXT UIDVALIDITY)`:
						s.send(tag, `* STATUS INBOX (MESSAGES 1 UIDNEXT 2 UIDVALIDITY 3)`, "TAG OK done")
					case strings.HasPrefix(rest, "STATUS"):
						s.send(tag, "TAG NO cannot")
					default:
						return false
					}
					return true
				})
				for range 2 {
					l, err := cl.List(t.Context())
					require.NoError(t, err)
					assert.Equal(t, []string{"INBOX INBOX subscribed 1/2/3", `Gesendet \Sent`, "a noselect", "a|b subscribed"}, describeAll(l))
					assert.Equal(t, mailhaul.Naming{Prefix: "INBOX.", Delimiter: "."}, l.Naming)
				}
				if strings.Contains(caps, "EXTENDED") {
					assert.Equal(t, 1, extended, "it was tried again")
				} else {
					assert.Zero(t, extended)
				}
				assert.EqualValues(t, 1, cl.Traffic().Connections)
			})
		})
	}
}

func TestListTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := listClient(t, "", func(s *script, tag, rest string) bool {
			if strings.HasPrefix(rest, "LIST") {
				for i := range 101 {
					s.send("", fmt.Sprintf(`* LIST () "/" %d`, i))
				}
			}
			return false
		})
		cl.cfg.Limits.MaxMailboxes = 100
		_, err := cl.List(t.Context())
		e := checkError(t, err)
		assert.Equal(t, mailhaul.ScopeAccount, e.Scope)
		assert.Contains(t, err.Error(), "100 mailboxes")
	})
}

func TestListRefused(t *testing.T) {
	for answer, kind := range map[string]mailhaul.Kind{
		"NO [NOPERM] not you": mailhaul.Permanent, "NO [LIMIT] LIST Rate limit hit.": mailhaul.Throttled, "BAD Request is throttled. Suggested Backoff Time: 5 milliseconds": mailhaul.Throttled,
	} {
		for _, caps := range []string{"", "LIST-EXTENDED LIST-STATUS"} {
			synctest.Test(t, func(t *testing.T) {
				cl := listClient(t, caps, func(s *script, tag, rest string) bool {
					if strings.HasPrefix(rest, "LIST") {
						s.send(tag, "TAG "+answer)
						return true
					}
					return false
				})
				_, err := cl.List(t.Context())
				assert.Equal(t, kind, checkError(t, err).Kind, "%s %s", caps, answer)
			})
		}
	}
}

func TestGuessedNamespaces(t *testing.T) {
	list := func(delim string, names ...string) []listEvent {
		var l []listEvent
		for _, n := range names {
			e := listEvent{}
			e.Name, e.Delimiter = n, delim
			l = append(l, e)
		}
		return l
	}
	tests := []struct {
		list []listEvent
		want mailhaul.Naming
	}{
		{nil, mailhaul.Naming{}},
		{list("", "INBOX", "a"), mailhaul.Naming{}},
		{list("/", "INBOX", "a/b"), mailhaul.Naming{Delimiter: "/"}},
		{list(".", "INBOX", "INBOX.a", "INBOX.b.c"), mailhaul.Naming{Prefix: "INBOX.", Delimiter: "."}},
		{list(".", "INBOX", "Inbox.a"), mailhaul.Naming{Prefix: "Inbox.", Delimiter: "."}},
		{list(".", "INBOX", "INBOX.a", "b"), mailhaul.Naming{Delimiter: "."}},
		{list("/", "INBOX"), mailhaul.Naming{Delimiter: "/"}},
	}
	for _, tt := range tests {
		assert.Equal(t, tt.want, guessNamespaces(tt.list).naming)
	}
}

func TestShared(t *testing.T) {
	ns := &namespaces{naming: mailhaul.Naming{Prefix: "INBOX.", Delimiter: "."}, personal: []string{"INBOX."}, others: []string{"user.", "shared."}}
	for name, shared := range map[string]bool{
		"INBOX": false, "inbox": false, "INBOX.a": false, "Inbox.a": false, "user.bob": true, "shared.x": true, "user": true, "elsewhere": true, "username": true,
	} {
		assert.Equal(t, shared, ns.shared(name), name)
	}
	ns = &namespaces{naming: mailhaul.Naming{Delimiter: "/"}, personal: []string{""}, others: []string{"#shared/"}}
	for name, shared := range map[string]bool{"INBOX": false, "a": false, "#shared/a": true, "#shared": true, "#sharedness": false} {
		assert.Equal(t, shared, ns.shared(name), name)
	}
	ns = &namespaces{naming: mailhaul.Naming{Delimiter: "/"}, personal: []string{""}}
	assert.False(t, ns.shared("user/x"))
}

func TestCreate(t *testing.T) {
	eachServer(t, func(t *testing.T, srv mailhaul.Server) {
		ctx := t.Context()
		cl := openClient(t, Config{Server: srv})
		path := []string{"a", "b", "c ü"}
		for range 2 { // the second time it is there
			m, err := cl.Create(ctx, path, mailhaul.RoleNone)
			require.NoError(t, err)
			assert.Equal(t, path, m.Path)
		}
		_, err := cl.Create(ctx, []string{"Gesendet"}, mailhaul.RoleSent)
		require.NoError(t, err)
		_, err = cl.Create(ctx, []string{"INBOX"}, mailhaul.RoleInbox)
		require.NoError(t, err)
		l, err := cl.List(ctx)
		require.NoError(t, err)
		require.NotNil(t, l.Find(path))
		require.NotNil(t, l.Find([]string{"Gesendet"}))
		for _, bad := range [][]string{nil, {""}, {"a", ""}, {"a/b"}, {"x\r\nA DELETE INBOX"}, {"x\x00"}, {"caf\xe9"}} {
			_, err := cl.Create(ctx, bad, mailhaul.RoleNone)
			e, ok := errors.AsType[*mailhaul.Error](err)
			require.True(t, ok, "%q", bad)
			assert.Equal(t, mailhaul.Permanent, e.Kind, "%q", bad)
			assert.Equal(t, mailhaul.ScopeMailbox, e.Scope, "%q", bad)
		}
		assert.EqualValues(t, 1, cl.Traffic().Connections)
	})
}

func TestCreateWithPrefix(t *testing.T) {
	for _, namespace := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			opts := imapserver.Options{Prefix: "INBOX.", Delimiter: "."}
			if !namespace {
				opts.Caps = imapserver.Without("NAMESPACE", "LIST-EXTENDED")
			}
			tg := newTarget(t, opts)
			if !namespace {
				tg.user.Create("INBOX.there")
			}
			m, err := tg.Create(t.Context(), []string{"x", "y"}, mailhaul.RoleNone)
			require.NoError(t, err)
			assert.Equal(t, "INBOX.x.y", m.Wire)
			l, err := tg.List(t.Context())
			require.NoError(t, err)
			require.NotNil(t, l.Find([]string{"x", "y"}))
			assert.Equal(t, "INBOX.", l.Naming.Prefix)
		})
	}
}

// A server that makes no parents by itself, that says nothing when a mailbox is
// there already, that has no special uses in truth.
func TestCreateStepByStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		exists := map[string]bool{}
		var log []string
		cl := listClient(t, "CREATE-SPECIAL-USE NAMESPACE", func(s *script, tag, rest string) bool {
			verb, args, _ := strings.Cut(rest, " ")
			name := strings.Trim(strings.TrimPrefix(strings.TrimSuffix(args, ` (USE (\Sent))`), `"" `), `"`)
			switch {
			case verb == "NAMESPACE":
				s.send(tag, `* NAMESPACE (("" "/")) NIL NIL`, "TAG OK done")
			case verb == "LIST":
				if exists[name] {
					s.send(tag, `* LIST () "/" "`+name+`"`)
				}
				s.send(tag, "TAG OK done")
			case verb != "CREATE":
				return false
			case strings.Contains(args, "USE"):
				s.send(tag, "TAG NO [USEATTR] not here")
			case exists[name]:
				s.send(tag, "TAG NO cannot create")
			case strings.Contains(name, "/") && !exists[name[:strings.LastIndex(name, "/")]]:
				s.send(tag, "TAG NO no parent")
			default:
				exists[name] = true
				log = append(log, name)
				s.send(tag, "TAG OK done")
			}
			return true
		})
		for range 2 {
			m, err := cl.Create(t.Context(), []string{"a", "b", "c"}, mailhaul.RoleSent)
			require.NoError(t, err)
			assert.Equal(t, mailhaul.RoleNone, m.Role)
		}
		assert.Equal(t, []string{"a", "a/b", "a/b/c"}, log)
	})
}

func TestQuota(t *testing.T) {
	tests := []struct {
		name    string
		answers []string
		want    mailhaul.Quota
	}{
		{"room", []string{`* QUOTAROOT INBOX ""`, `* QUOTA "" (STORAGE 10 512 MESSAGE 3 10)`}, mailhaul.Quota{Bytes: 502 * 1024, Messages: 7}},
		{"full", []string{`* QUOTAROOT INBOX ""`, `* QUOTA "" (STORAGE 600 512)`}, mailhaul.Quota{Bytes: 0, Messages: -1}},
		{"two roots", []string{`* QUOTAROOT INBOX a b`, `* QUOTA a (STORAGE 0 9)`, `* QUOTA b (STORAGE 0 5 MESSAGE 0 1)`}, mailhaul.Quota{Bytes: 5 * 1024, Messages: 1}},
		{"none", []string{`* QUOTAROOT INBOX`}, mailhaul.Quota{Bytes: -1, Messages: -1}},
		{"beyond measure", []string{`* QUOTA "" (STORAGE 0 9223372036854775807)`}, mailhaul.Quota{Bytes: 1 << 62, Messages: -1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cl := listClient(t, "QUOTA", func(s *script, tag, rest string) bool {
					if rest == "GETQUOTAROOT INBOX" {
						s.send(tag, append(tt.answers, "TAG OK done")...)
						return true
					}
					return false
				})
				got, err := cl.Quota(t.Context())
				require.NoError(t, err)
				assert.Equal(t, tt.want, got)
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		cl := listClient(t, "", func(*script, string, string) bool { return false })
		_, err := cl.Quota(t.Context())
		assert.ErrorIs(t, err, mailhaul.ErrUnsupported)
	})
}

func TestAppendLimit(t *testing.T) {
	for caps, want := range map[string]int64{"": 0, "APPENDLIMIT=123": 123, "APPENDLIMIT": 77, "APPENDLIMIT=x": 0} {
		synctest.Test(t, func(t *testing.T) {
			cl := listClient(t, caps, func(s *script, tag, rest string) bool {
				if rest == `STATUS "INBOX" (APPENDLIMIT)` {
					s.send(tag, "* STATUS INBOX (APPENDLIMIT 77)", "TAG OK done")
					return true
				}
				return false
			})
			got, err := cl.AppendLimit(t.Context())
			require.NoError(t, err)
			assert.Equal(t, want, got, caps)
		})
	}
}
