package cyrus

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

func TestInternalNames(t *testing.T) {
	slash := mailhaul.Naming{Delimiter: "/"}
	old := mailhaul.Naming{Delimiter: ".", Prefix: "INBOX."}
	for _, tt := range []struct {
		user   string
		naming mailhaul.Naming
		wire   string
		want   []string
	}{
		{"u1", slash, "INBOX", []string{"user.u1"}},
		{"u1", slash, "Work/v1.2", []string{"user.u1.Work.v1^2"}},
		{"u1", slash, "INBOX/Below", []string{"user.u1.INBOX.Below"}},
		{"u1", slash, "B&APw-ro", []string{"user.u1.B&APw-ro"}},
		{"u1", old, "INBOX", []string{"user.u1"}},
		{"u1", old, "INBOX.Work.a^b", []string{"user.u1.Work.a^b"}},
		{"u1", mailhaul.Naming{Delimiter: "/", Prefix: "INBOX/"}, "INBOX/Work.x", []string{"user.u1.Work^x"}},
		{"ada.l@example.org", slash, "Work", []string{
			"user.ada^l@example^org.Work", "example.org!user.ada^l.Work", "user.ada^l.Work"}},
		{"Ada", slash, "Work", []string{"user.Ada.Work", "user.ada.Work"}},
	} {
		m := mailhaul.Mailbox{Wire: tt.wire, Path: tt.naming.Split(tt.wire)}
		require.Equal(t, tt.want, internalNames(tt.user, tt.naming, m), "%s %s", tt.user, tt.wire)
	}
}

// However the server is set up, the mailbox that the user means is found, with
// the names that its hierarchy allows.
func TestServerSetups(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		settings map[string]string
		user     string
		paths    [][]string
	}{
		"slashes, INBOX. prefix": {map[string]string{"altnamespace": "no"}, "jo.doe", [][]string{
			{"INBOX"}, {"Work"}, {"Work", "v1.2"}, {"Büro & Co"}, {"with space", "it's + @ ~ #"}}},
		"dots, INBOX. prefix": {map[string]string{"altnamespace": "no", "unixhierarchysep": "no"}, "jo", [][]string{
			{"INBOX"}, {"Work"}, {"Work", "a^b"}, {"Büro & Co"}, {"with space"}}},
		"dots beside INBOX": {map[string]string{"unixhierarchysep": "no"}, "jo", [][]string{
			{"INBOX"}, {"Work"}, {"Work", "Below"}, {"INBOX", "Under"}}},
		"slashes beside INBOX": {nil, "jo.doe", [][]string{
			{"INBOX"}, {"a.b", "c.d"}, {"INBOX", "Under"}, {"日本語"}, {"a & b = c"}}},
		"virtual domains": {map[string]string{"virtdomains": "userid", "defaultdomain": "default.example"}, "jo.doe@example.org", [][]string{
			{"INBOX"}, {"Work", "v1.2"}}},
		"default domain": {map[string]string{"virtdomains": "userid", "defaultdomain": "localhost"}, "jo.doe@localhost", [][]string{
			{"INBOX"}, {"Work"}}},
		"as Cyrus comes": {map[string]string{"delete_mode": "delayed", "expunge_mode": "delayed", "conversations": "yes", "reverseacls": "yes"},
			"jo", [][]string{{"INBOX"}, {"Work"}}},
		"folders by name": {map[string]string{"mailbox_legacy_dirs": "yes", "delete_mode": "delayed"}, "jo.doe", [][]string{{"INBOX"}, {"Work"}, {"Work", "Below"}}},
		"conversations":   {map[string]string{"conversations": "yes"}, "jo", [][]string{{"INBOX"}, {"Work"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := testserver.CyrusWith(t, testserver.CyrusOptions{Settings: tt.settings})
			u := srv.AddUser(tt.user, "secret")
			r := newRigOn(t, srv, u, Config{})
			for i, path := range tt.paths {
				m := r.box(path...)
				require.NoError(t, r.client.Subscribe(ctxOf(t), m))
				validity := mailhaul.UIDValidity(1000 + i)
				want := mailhaul.Identity{UIDValidity: validity, UIDNext: 10}
				o := r.write(m, want, 1, outgoing(5, "kw"), outgoing(7))
				require.EqualValues(t, 5, o[0].UID)
				l := r.list(m)
				require.Equal(t, validity, l.status.UIDValidity)
				require.EqualValues(t, 10, l.status.UIDNext)
				require.Len(t, l.msgs, 2)
				r.holds(l, outgoing(5, "kw"), outgoing(7))
				listing, err := r.client.List(ctxOf(t))
				require.NoError(t, err)
				require.True(t, listing.Find(m.Path).Subscribed)
				require.False(t, listing.Find(m.Path).NoSelect)
				// A listing from before the change will do for the question.
				can, err := r.target.Imposable(ctxOf(t), m, mailhaul.Identity{UIDValidity: validity, UIDNext: 20})
				require.NoError(t, err)
				require.Equal(t, mailhaul.LevelExact, can.Level, can.Reason)
			}
		})
	}
}

// Another user's mailbox is never taken for his whose name it could be, even
// where it looks the same.
func TestFindsNoOther(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, Config{})
	other := newRigOn(t, r.srv, r.srv.Users[1], Config{})
	m, hers := r.box("Work"), other.box("Work")
	for _, asked := range []bool{true, false} {
		cfg := Config{Admin: r.target.cfg.Admin, User: "u2"}
		if asked { // both have the same state
			cfg.Login = r.login
			r.write(m, mailhaul.Identity{UIDValidity: 7}, 1)
		}
		other.write(hers, mailhaul.Identity{UIDValidity: 7, UIDNext: 2}, 1)
		if !asked {
			r.write(m, mailhaul.Identity{UIDValidity: 8}, 1)
		}
		wrong, err := New(r.client, cfg)
		require.NoError(t, err)
		_, err = wrong.OpenImposing(ctxOf(t), m, mailhaul.Identity{UIDValidity: 42})
		require.Equal(t, mailhaul.Permanent, mailhaul.KindOf(err), "%v", err)
		require.ErrorContains(t, err, "user.u2.Work")
		_, err = wrong.Imposable(ctxOf(t), m, mailhaul.Identity{UIDValidity: 42})
		require.ErrorContains(t, err, "user.u2.Work")
		require.EqualValues(t, 7, other.list(hers).status.UIDValidity)
	}
}
