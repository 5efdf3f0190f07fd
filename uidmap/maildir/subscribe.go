// Subscriptions.

package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/mailhaul/mailhaul"
)

// subscriptionsV2 begins Dovecot's file since 2.3: levels are separated by TAB.
// Without it they are separated by dots.
const subscriptionsV2 = "V\t2\n\n"

const maxSubscriptions = 64 << 20

func (t *Target) subscriptionsFile() string {
	if t.flavor == Courier {
		return "courierimapsubscribed"
	}
	return "subscriptions"
}

// subscriptionName returns the name of a mailbox in the file of subscriptions,
// with dots between the levels.
func (t *Target) subscriptionName(dir string) string {
	switch {
	case dir == ".":
		return "INBOX"
	case t.flavor == Courier:
		return "INBOX" + dir
	}
	return dir[1:]
}

// subscriptions returns the names that are subscribed to.
func (t *Target) subscriptions() ([]string, error) {
	text, err := t.disk.read(t.subscriptionsFile(), maxSubscriptions)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	names, _ := parseSubscriptions(string(text))
	return names, nil
}

func parseSubscriptions(text string) (names []string, v2 bool) {
	rest, v2 := strings.CutPrefix(text, subscriptionsV2)
	for line := range strings.Lines(rest) {
		line = strings.TrimSuffix(line, "\n")
		if v2 {
			line = strings.ReplaceAll(line, "\t", ".")
		}
		if line != "" {
			names = append(names, line)
		}
	}
	return names, v2
}

// Subscribe implements [mailhaul.Target].
func (t *Target) Subscribe(ctx context.Context, m mailhaul.Mailbox) error {
	f, err := t.folder(ctx, "subscribe to", m)
	if err != nil {
		return err
	}
	return f.wrap("subscribe to", f.subscribe(ctx))
}

func (f folder) subscribe(ctx context.Context) error {
	inbox := folder{f.Target, ".", f.name}
	name := f.subscriptionsFile()
	unlock, err := inbox.dotlock(ctx, name+".lock", name)
	if err != nil {
		return err
	}
	return errors.Join(f.subscribeLocked(inbox, name), unlock())
}

func (f folder) subscribeLocked(inbox folder, name string) error {
	old, err := f.disk.read(name, maxSubscriptions)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return err
	}
	text := string(old)
	if missing && f.flavor == Dovecot {
		text = subscriptionsV2
	}
	names, v2 := parseSubscriptions(text)
	line := f.subscriptionName(f.dir)
	if slices.Contains(names, line) {
		return nil
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	if v2 {
		line = strings.ReplaceAll(line, ".", "\t")
	}
	return f.disk.replace(name, inbox.tempName(), fmt.Appendf(nil, "%s%s\n", text, line))
}
