// Package inprocess puts a corpus into an account of internal/imapserver
// without a protocol in between. It is apart from corpus so that tests of that
// server can use corpus too.
package inprocess

import (
	"cmp"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/corpus"
	"github.com/mailhaul/mailhaul/internal/imapserver"
)

// Load makes the mailboxes in the user's account and stores their messages in
// order. The options are those that the server was made with.
func Load(u *imapserver.User, opts imapserver.Options, boxes []corpus.Mailbox) {
	naming := mailhaul.Naming{Prefix: opts.Prefix, Delimiter: cmp.Or(opts.Delimiter, "/")}
	for _, box := range boxes {
		name := naming.Join(box.Path)
		var attrs []string
		if box.Role != mailhaul.RoleNone && box.Role != mailhaul.RoleInbox {
			attrs = append(attrs, string(box.Role))
		}
		m := u.Create(name, attrs...)
		for _, msg := range box.All() {
			m.Add(imapserver.Message{Flags: msg.Flags, Date: msg.Date, Body: msg.Body()})
		}
		if box.Subscribed {
			u.Subscribe(name)
		}
	}
}
