package cyrus

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

// ofContents is what has to change with the contents.
var ofContents = regexp.MustCompile(`"/shared/vendor/cmu/cyrus-imapd/(synccrcs|size|lastupdate)" "[^"]*"`)

// What else there is of a mailbox stays: who may do what, annotations of all
// kinds, what it is for, subscriptions, quotas and the folders below, even where
// the mailbox has to be made anew for its UIDVALIDITY.
func TestMailboxIsKept(t *testing.T) {
	t.Parallel()
	for _, validity := range []mailhaul.UIDValidity{42, 4000000000} {
		r := newRig(t, nil, Config{})
		ctx := ctxOf(t)
		_, err := r.client.Create(ctx, []string{"Sent"}, mailhaul.RoleSent)
		require.NoError(t, err)
		r.box("Sent", "Below")
		user := r.raw(r.srv.Users[0])
		admin := r.raw(testserver.CyrusAdmin)
		for _, m := range []string{"INBOX", "Sent"} {
			r.say(user, `SETACL `+m+` u2 lrs`)
			r.say(user, `SETACL `+m+` anyone p`)
			r.say(user, `SETMETADATA `+m+` (/private/comment {9+}`+"\r\nm\xc3\xbc \"\\ x\n"+` /shared/comment "for \"all\"")`)
			r.say(user, `SUBSCRIBE `+m)
		}
		for _, m := range []string{"user/u1", "user/u1/Sent"} {
			r.say(admin, "SETACL "+m+" cyrus lrswa")
			r.say(admin, `SETMETADATA `+m+` (/shared/vendor/cmu/cyrus-imapd/expire "30")`)
			r.say(admin, `SETMETADATA `+m+` (/shared/vendor/cmu/cyrus-imapd/sharedseen "true")`)
		}
		r.say(admin, `SETQUOTA user/u1 (STORAGE 12345)`)
		require.NoError(t, user.Close()) // so that nothing is selected

		see := func() []string {
			c := r.raw(r.srv.Users[0])
			defer c.Close()
			var all []string
			for _, m := range []string{"INBOX", "Sent"} {
				all = append(all, r.say(c, "GETACL "+m), r.say(c, "GETMETADATA (DEPTH infinity) "+m+" (/private /shared)"), r.say(c, "GETQUOTAROOT "+m))
			}
			all = append(all, r.say(c, `LIST (SUBSCRIBED) "" * RETURN (SPECIAL-USE)`), r.say(c, `LIST "" * RETURN (SPECIAL-USE CHILDREN)`))
			for i := range all {
				all[i] = ofContents.ReplaceAllString(all[i], "")
			}
			return all
		}
		before := see()
		require.Contains(t, before[1], `/expire" "30"`)
		require.Contains(t, before[1], `/sharedseen" "true"`)
		require.Contains(t, before[4], `\Sent`)
		require.Contains(t, before[3], "u2 lrs")
		for _, path := range [][]string{{"INBOX"}, {"Sent"}} {
			m := r.box(path...)
			r.write(m, mailhaul.Identity{UIDValidity: validity}, 10, outgoing(5, "kw"))
			require.Equal(t, validity, r.list(m).status.UIDValidity)
		}
		after := see()
		for i := range before {
			require.Equal(t, before[i], after[i])
		}
		c := r.raw(r.srv.Users[1])
		defer c.Close()
		r.say(c, `EXAMINE "Other Users/u1/Sent"`)
	}
}
