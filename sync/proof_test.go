// What is proved of identity, and what a proof finds that is not so.

package sync_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/memmail"
	"github.com/mailhaul/mailhaul/internal/pop3server"
	"github.com/mailhaul/mailhaul/pop3x"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

// prove proves what a run has moved.
func (r *rig) prove(opts mailsync.ProveOptions) *mailsync.Proof {
	r.t.Helper()
	opts.Store = r.store
	p, err := mailsync.Prove(context.Background(), r.source, r.target, opts)
	require.NoError(r.t, err)
	return p
}

func TestProveFindsWhatDoesNotHold(t *testing.T) {
	for name, c := range map[string]struct {
		breaks func(r *imposeRig)
		level  mailhaul.Level
		reason string
	}{
		"nothing":        {func(*imposeRig) {}, mailhaul.LevelExact, ""},
		"UIDVALIDITY":    {func(r *imposeRig) { r.target.Box("INBOX").Validity++ }, mailhaul.LevelUID, "UIDVALIDITY"},
		"UIDNEXT":        {func(r *imposeRig) { r.source.Box("INBOX").Next += 3 }, mailhaul.LevelUID, "UIDNEXT"},
		"HIGHESTMODSEQ":  {func(r *imposeRig) { r.source.Box("INBOX").ModSeq += 3 }, mailhaul.LevelUID, "HIGHESTMODSEQ"},
		"a message gone": {func(r *imposeRig) { r.target.Expunge("INBOX", uids(r.target, "INBOX")[5]) }, mailhaul.LevelOrder, "1 messages"},
		"a size":         {func(r *imposeRig) { change(r.target, 7, "x") }, mailhaul.LevelOrder, "octets"},
		"other octets": {func(r *imposeRig) {
			for i := range 30 {
				r.target.Change("INBOX", uids(r.target, "INBOX")[i], func(m *memmail.Stored) { m.Body = []byte(strings.ToUpper(string(m.Body))) })
			}
		}, mailhaul.LevelOrder, "octets"},
		"gone from the source": {func(r *imposeRig) { r.source.Expunge("INBOX", uids(r.source, "INBOX")[5]) }, mailhaul.LevelExact, ""},
		"mail of its own":      {func(r *imposeRig) { r.target.Add("INBOX", mail("own", 1)) }, mailhaul.LevelExact, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := newImposeRig(t, nil)
			r.holes("INBOX", 30)
			r.holes("Work", 3)
			r.run()
			r.source.Box("INBOX").ModSeq, r.target.Box("INBOX").ModSeq = 500, 500
			c.breaks(r)
			if name == "gone from the source" {
				r.target.Box("INBOX").ModSeq++
			}
			var seen []string
			p := r.prove(mailsync.ProveOptions{Progress: func(m mailsync.MailboxIdentity) { seen = append(seen, m.Source) }})
			require.Len(t, p.Mailboxes, 2)
			require.Equal(t, []string{"INBOX", "Work"}, seen)
			m := p.Mailboxes[slices.IndexFunc(p.Mailboxes, func(m mailsync.MailboxIdentity) bool { return m.Source == "INBOX" })]
			require.Equal(t, c.level, m.Level, "%+v", m)
			require.Contains(t, m.Reason, c.reason)
			require.Equal(t, c.level, p.Level())
			require.Equal(t, 30, m.Checked)
		})
	}
}

func change(a *memmail.Account, i int, more string) {
	a.Change("INBOX", uids(a, "INBOX")[i], func(m *memmail.Stored) { m.Body = append(slices.Clone(m.Body), more...) })
}

// A sample is bounded, and the same seed chooses the same.
func TestProveSamples(t *testing.T) {
	r := newImposeRig(t, nil)
	r.holes("INBOX", 200)
	r.run()
	read := func(opts mailsync.ProveOptions) (of []mailhaul.UID) {
		r.source.Hooks.Fetch = func(_ string, uid mailhaul.UID) (bool, error) {
			of = append(of, uid)
			return false, nil
		}
		defer func() { r.source.Hooks.Fetch = nil }()
		p := r.prove(opts)
		require.Equal(t, len(of), p.Mailboxes[0].Sampled)
		require.Equal(t, 200, p.Mailboxes[0].Checked)
		return of
	}
	first := read(mailsync.ProveOptions{Seed: 1})
	require.Len(t, first, 50)
	require.Equal(t, first, read(mailsync.ProveOptions{Seed: 1}))
	require.NotEqual(t, first, read(mailsync.ProveOptions{Seed: 2}))
	require.Len(t, read(mailsync.ProveOptions{Samples: 7}), 7)
	require.Empty(t, read(mailsync.ProveOptions{Samples: -1}))
	require.Less(t, len(read(mailsync.ProveOptions{SampleBytes: 2000})), 20)
	_, err := mailsync.Prove(context.Background(), r.source, r.target, mailsync.ProveOptions{})
	require.Error(t, err)
}

// Sizes that a server only guesses are no evidence against it.
func TestProofDoesNotTrustSizes(t *testing.T) {
	r := newImposeRig(t, nil)
	r.holes("INBOX", 100)
	r.run()
	target := guessing{r.target}
	p, err := mailsync.Prove(context.Background(), r.source, target, mailsync.ProveOptions{Store: r.store, Samples: 5})
	require.NoError(t, err)
	require.Equal(t, mailhaul.LevelExact, p.Mailboxes[0].Level, "%+v", p.Mailboxes[0])
	require.Equal(t, 5, p.Mailboxes[0].Sampled)
}

// popUIDL returns such a UIDL as servers give.
func popUIDL(i int) string {
	return [...]string{fmt.Sprintf("GmailId16a0%04x", i), fmt.Sprintf(`x"y~!'%d`, i), fmt.Sprintf("000%05x5a1b2c3d", i), fmt.Sprintf("%d.1234567", i), fmt.Sprintf("+UID%d-99", i)}[i%5]
}

// shown returns what the target shows over POP3.
func shown(t testing.TB, a *memmail.Account) (uidls []string) {
	m, err := a.POP3().OpenReader(context.Background(), mailhaul.Mailbox{Path: []string{"INBOX"}, Name: "INBOX", Wire: "INBOX"})
	require.NoError(t, err)
	defer m.Close()
	all, err := m.UIDs(context.Background())
	require.NoError(t, err)
	for msg, err := range m.Messages(context.Background(), all, 0, 0) {
		require.NoError(t, err)
		uidls = append(uidls, string(msg.UIDL))
	}
	return uidls
}

func TestUIDLsAreImposedAndProved(t *testing.T) {
	for name, set := range kinds {
		t.Run(name, func(t *testing.T) {
			r := newPopRig(t, pop3server.Options{})
			r.imposer = r.target.Imposer()
			if set != nil {
				set(r.imposer)
			}
			r.cfg.Identity = mailhaul.LevelExact
			mailsync.SetSession(&r.cfg, 20)
			var want []string
			add := func(i int) {
				r.drop.Add(popUIDL(i), popMessage(i))
				want = append(want, popUIDL(i))
			}
			for i := range 45 {
				add(i)
			}
			res := r.mustRun()
			require.Equal(t, want, shown(t, r.target))
			m := detail(t, res, "INBOX")
			require.Equal(t, mailhaul.LevelUID, m.Level, "nobody has looked at the UIDLs")
			require.Equal(t, mailsync.NotProved, m.UIDLs)
			require.Equal(t, mailsync.NotApplicable, m.UIDValidity)
			require.Contains(t, m.Reason, "not proved")
			validity := r.target.Box("INBOX").Validity

			r.cfg.UIDLTarget = r.target.POP3()
			add(45)
			add(46)
			r.target.Add("INBOX", "Message-ID: <own@target>\r\n\r\nthe target's own\r\n") // has a UIDL of its own
			add(47)
			res = r.mustRun()
			require.Equal(t, 3, res.Copied)
			m = detail(t, res, "INBOX")
			require.Equal(t, mailhaul.LevelExact, m.Level, "%+v", m)
			require.Equal(t, mailsync.Holds, m.UIDLs)
			require.Equal(t, 48, m.SameUIDL)
			require.Equal(t, 48, m.WithUIDL)
			require.Equal(t, validity, r.target.Box("INBOX").Validity, "UIDs that the engine made up are nobody's")
			require.Equal(t, want, shown(t, r.target)[:48])

			res = r.mustRun()
			require.Zero(t, res.Copied)
			require.Equal(t, mailhaul.LevelExact, detail(t, res, "INBOX").Level, "%+v", detail(t, res, "INBOX"))
		})
	}
}

// A POP3 server that cannot be asked does not stop a move.
func TestUIDLsThatCannotBeRead(t *testing.T) {
	r := newPopRig(t, pop3server.Options{})
	r.imposer = r.target.Imposer()
	for i := range 5 {
		r.drop.Add(popUIDL(i), popMessage(i))
	}
	refused := memmail.New("carl")
	refused.Hooks.Open = func(string, bool) error {
		return &mailhaul.Error{Op: "log in", Kind: mailhaul.Auth, Scope: mailhaul.ScopeAccount, Err: errors.New("no")}
	}
	r.cfg.UIDLTarget = refused.POP3()
	res := r.mustRun()
	require.Equal(t, 5, res.Copied)
	require.Len(t, res.Warnings, 1)
	require.Contains(t, res.Warnings[0], "UIDLs could not be proved")
	require.Equal(t, mailsync.NotProved, detail(t, res, "INBOX").UIDLs)
	require.Equal(t, mailhaul.LevelUID, detail(t, res, "INBOX").Level)

	r.cfg.UIDLTarget = r.target.POP3()
	require.Equal(t, mailhaul.LevelExact, detail(t, r.mustRun(), "INBOX").Level, "it is tried again")
}

func TestProveFindsUIDLsThatDiffer(t *testing.T) {
	for name, c := range map[string]struct {
		breaks func(m []memmail.Stored)
		same   int
	}{
		"nothing":   {func([]memmail.Stored) {}, 20},
		"one":       {func(m []memmail.Stored) { m[3].UIDL = "other" }, 19},
		"the order": {func(m []memmail.Stored) { m[3].Order, m[9].Order = m[9].Order, m[3].Order }, 20},
		"none":      {func(m []memmail.Stored) { noUIDLs(m) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := newPopRig(t, pop3server.Options{})
			r.imposer = r.target.Imposer()
			for i := range 20 {
				r.drop.Add(popUIDL(i), popMessage(i))
			}
			r.mustRun()
			c.breaks(r.target.Box("INBOX").Messages)
			source, err := pop3x.New(r.pop)
			require.NoError(t, err)
			defer source.Close()
			p, err := mailsync.Prove(context.Background(), source, r.target, mailsync.ProveOptions{Store: r.store, UIDLTarget: r.target.POP3()})
			require.NoError(t, err)
			m := p.Mailboxes[0]
			require.Equal(t, c.same, m.SameUIDL)
			require.Equal(t, 20, m.WithUIDL)
			if name == "nothing" {
				require.Equal(t, mailhaul.LevelExact, m.Level, "%+v", m)
				require.Equal(t, mailsync.Holds, m.UIDLs)
			} else {
				require.Equal(t, mailhaul.LevelUID, m.Level)
				require.Equal(t, mailsync.DoesNotHold, m.UIDLs)
				require.Contains(t, m.Reason, "UIDL")
			}
		})
	}
}

func noUIDLs(m []memmail.Stored) {
	for i := range m {
		m[i].UIDL = ""
	}
}

// A server without UIDLs has none to be kept.
func TestSourceWithoutUIDLs(t *testing.T) {
	r := newPopRig(t, pop3server.Options{})
	r.imposer = r.target.Imposer()
	r.cfg.UIDLTarget = r.target.POP3()
	for i := range 5 {
		r.drop.Add("two words "+fmt.Sprint(i), popMessage(i))
	}
	res := r.mustRun()
	require.Equal(t, 5, res.Copied)
	for _, m := range r.target.Snapshot("INBOX") {
		require.Empty(t, m.UIDL)
	}
	require.NotEqual(t, mailhaul.LevelExact, detail(t, res, "INBOX").Level)
}

// An IMAP source may know UIDLs, too; then they are a part of what is exact.
func TestUIDLsOfAnIMAPSource(t *testing.T) {
	r := newImposeRig(t, nil)
	r.holes("INBOX", 12)
	r.holes("Work", 3)
	for i := range r.source.Box("INBOX").Messages {
		m := &r.source.Box("INBOX").Messages[i]
		m.UIDL, m.Order = mailhaul.UIDL(popUIDL(i)), uint32(12-i)
	}
	r.cfg.UIDLTarget = r.target.POP3()
	cfg := r.cfg
	cfg.Source, cfg.Target, cfg.Store = bothProtocols{r.source}, r.imposer, r.store
	s, err := mailsync.New(cfg)
	require.NoError(t, err)
	res, err := s.Run(context.Background())
	require.NoError(t, err)
	m := detail(t, res, "INBOX")
	require.Equal(t, mailhaul.LevelExact, m.Level, "%+v", m)
	require.Equal(t, 12, m.SameUIDL)
	require.Equal(t, mailsync.NotApplicable, detail(t, res, "Work").UIDLs)
	require.Equal(t, mailhaul.LevelExact, detail(t, res, "Work").Level)
	require.Equal(t, popUIDL(11), shown(t, r.target)[0], "the order of the maildrop is not that of the UIDs")
}

// What arrives while a pass moves what it had listed is moved by the next.
func TestMailThatComesAfterTheListingIsNotForgotten(t *testing.T) {
	r := newRig(t)
	r.fill("INBOX", 5)
	r.run()
	r.fill("INBOX", 2)
	r.source.Hooks.Fetch = func(string, mailhaul.UID) (bool, error) { return false, nil }
	opened := 0
	r.source.Hooks.Open = func(string, bool) error {
		if opened++; opened == 2 { // the comparison has listed it
			r.source.Add("INBOX", mail("late", 1))
		}
		return nil
	}
	require.Equal(t, 2, r.run().Copied)
	require.Equal(t, 1, r.run().Copied)
	r.same("INBOX")
}

// memAccount is the account by a name that leaves its method Account in sight.
type memAccount = memmail.Account

// guessing is a target whose listed sizes are wrong.
type guessing struct{ *memAccount }

func (g guessing) OpenReader(ctx context.Context, m mailhaul.Mailbox) (mailhaul.Reader, error) {
	r, err := g.memAccount.OpenReader(ctx, m)
	return changedReader{r, func(m *mailhaul.Message) { m.Size += 100 }}, err
}

// bothProtocols is a source that knows the UIDLs of its INBOX.
type bothProtocols struct{ *memAccount }

func (b bothProtocols) TellsUIDLs(m mailhaul.Mailbox) bool { return m.IsInbox() }

func (b bothProtocols) OpenReader(ctx context.Context, m mailhaul.Mailbox) (mailhaul.Reader, error) {
	r, err := b.memAccount.OpenReader(ctx, m)
	return changedReader{r, func(msg *mailhaul.Message) {
		for _, s := range b.Snapshot(m.Name) {
			if s.UID == msg.UID {
				msg.UIDL, msg.Order = s.UIDL, s.Order
			}
		}
	}}, err
}

// changedReader changes what a Reader says of messages.
type changedReader struct {
	mailhaul.Reader
	change func(*mailhaul.Message)
}

func (r changedReader) Messages(ctx context.Context, set mailhaul.UIDSet, fields mailhaul.Fields, since mailhaul.ModSeq) iter.Seq2[mailhaul.Message, error] {
	return func(yield func(mailhaul.Message, error) bool) {
		for m, err := range r.Reader.Messages(ctx, set, fields, since) {
			r.change(&m)
			if !yield(m, err) {
				return
			}
		}
	}
}
