package cyrus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mailhaul/mailhaul"
)

// maxTries is how often a change is tried on a mailbox that keeps changing.
const maxTries = 20

// OpenImposing implements [mailhaul.Imposer]. It gives the mailbox its
// UIDVALIDITY: a higher one whatever is in it, a lower one only where it never
// had mail, by having Cyrus make it anew with the same ACL, annotations and
// options; otherwise it stays as it is, as Status shows.
func (t *Target) OpenImposing(ctx context.Context, m mailhaul.Mailbox, want mailhaul.Identity) (mailhaul.Writer, error) {
	status, err := t.look(ctx, m)
	if err != nil {
		return nil, err
	}
	sess, err := t.session(ctx)
	if err != nil {
		if errors.Is(err, errNotAdmin) {
			err = t.fault("impose identity on", m, mailhaul.Permanent, mailhaul.ScopeServer, "log in as one of Cyrus's admins", err)
		}
		return nil, t.named("impose identity on", m, err)
	}
	s, err := t.find(ctx, sess, m, &status)
	if err == nil {
		s, err = t.giveValidity(ctx, sess, m, s, want.UIDValidity)
	}
	if err != nil {
		_ = sess.Close()
		return nil, t.named("impose identity on", m, err)
	}
	status.UIDValidity, status.UIDNext, status.HighestModSeq = s.validity, s.lastUID+1, s.modSeq
	return newWriter(t, m, sess, s, status, want), nil
}

// giveValidity gives the mailbox a UIDVALIDITY, if it can have it, and returns
// the state that there is then.
func (t *Target) giveValidity(ctx context.Context, sess Session, m mailhaul.Mailbox, s *state, want mailhaul.UIDValidity) (*state, error) {
	if original, ok := strings.CutPrefix(s.uniqueID, meanwhile); ok {
		if s.lastUID > 0 {
			t.warn(m, original)
		} else if err := t.rename(ctx, sess, s, original); err != nil { // a run before was cut off
			return nil, err
		}
	}
	for range maxTries {
		validity := s.validityFor(want)
		if validity == s.validity {
			return s, nil
		}
		c := s.same()
		c.validity = validity
		c.modSeq++
		var err error
		if validity > s.validity {
			_, err = do(ctx, sess, s.command(c, nil))
		} else {
			err = t.remake(ctx, sess, m, s, c)
		}
		if err != nil && !overtaken(err) {
			return nil, err
		}
		if s, err = reread(ctx, sess, s); err != nil {
			return nil, err
		}
	}
	return nil, errBusy
}

// meanwhile begins the UNIQUEID that a mailbox has for a moment.
const meanwhile = "mailhaul-"

// remake has Cyrus make a mailbox anew, which it does where a mailbox that never
// had mail is to have another UNIQUEID, as one step. But what belongs to the
// user is kept under the UNIQUEID of his INBOX since 3.6: subscriptions and
// filters. So the mailbox gets its own back at once, by being made anew again;
// both commands are sent together, and the second is refused where the first
// was. If the connection dies between them, the next run finds the UNIQUEID by
// the one that there is.
func (t *Target) remake(ctx context.Context, sess Session, m mailhaul.Mailbox, s *state, c change) error {
	there, back := c, c
	there.uniqueID = meanwhile + s.uniqueID
	back.modSeq++
	first, err := sess.Send(ctx, bytes.NewReader(s.command(there, nil)))
	if err != nil {
		return err
	}
	second, err := sess.Send(ctx, bytes.NewReader(s.changed(there).command(back, nil)))
	if err != nil {
		return err
	}
	_, err = first(ctx)
	_, failed := second(ctx)
	if err == nil && overtaken(failed) {
		t.warn(m, s.uniqueID)
	}
	return errors.Join(err, failed)
}

// rename gives a mailbox that never had mail another UNIQUEID.
func (t *Target) rename(ctx context.Context, sess Session, s *state, uniqueID string) error {
	c := s.same()
	c.uniqueID = uniqueID
	c.modSeq++
	_, err := do(ctx, sess, s.command(c, nil))
	if err == nil || overtaken(err) {
		var now *state
		if now, err = reread(ctx, sess, s); err == nil {
			*s = *now
		}
	}
	return err
}

// warn says that mail was delivered in the moment between the two steps.
func (t *Target) warn(m mailhaul.Mailbox, uniqueID string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := fmt.Sprintf("mail was delivered to mailbox %q while it was made anew: its UNIQUEID is %s%s and should be %s", m.Name, meanwhile, uniqueID, uniqueID)
	if m.IsInbox() {
		text += ", under which Cyrus looks for the user's subscriptions and filters"
	}
	if !slices.Contains(t.warnings, text) {
		t.warnings = append(t.warnings, text)
	}
}

// Warnings implements [mailhaul.Warner], for the Target that is decorated too.
func (t *Target) Warnings() []string {
	var all []string
	if w, ok := mailhaul.As[mailhaul.Warner](t.Target); ok {
		all = w.Warnings()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return append(slices.Clone(all), t.warnings...)
}

// errBusy is returned for a mailbox that never keeps still.
var errBusy = fmt.Errorf("the mailbox changed %d times while it was to be changed", maxTries)

// reread asks for the mailbox's state once more.
func reread(ctx context.Context, sess Session, s *state) (*state, error) {
	found, err := get(ctx, sess, []string{s.name})
	switch {
	case err != nil:
		return nil, err
	case len(found) != 1 || found[0].name != s.name:
		return nil, &mailhaul.Error{
			Op: "impose identity on", Kind: mailhaul.Conflict, Scope: mailhaul.ScopeMailbox,
			Err: errors.New("the mailbox is gone"),
		}
	}
	return found[0], nil
}

// restart makes the server forget the messages that it holds ready. The function
// that is returned waits until it has.
func restart(ctx context.Context, sess Session) (func(context.Context) ([][]byte, error), error) {
	return sess.Send(ctx, strings.NewReader("SYNCRESTART"))
}
