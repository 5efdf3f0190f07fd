package dsync

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

// bySubject returns the UIDs of the messages with each subject.
func bySubject(r *rig, wire string) map[string][]mailhaul.UID {
	r.t.Helper()
	w := r.rawIMAP()
	defer w.c.Close()
	w.do("EXAMINE %q", wire)
	out := make(map[string][]mailhaul.UID)
	for _, uid := range r.see(wire).uids() {
		text := string(w.octets(uid))
		_, rest, _ := strings.Cut(text, "Subject: ")
		subject, _, _ := strings.Cut(rest, "\r\n")
		out[subject] = append(out[subject], uid)
	}
	return out
}

// TestDeliveredInTheMiddle: mail of others comes while bodies are sent, and
// takes UIDs that were wanted.
func TestDeliveredInTheMiddle(t *testing.T) {
	for _, store := range stores {
		for _, c := range []struct {
			name string
			at   []int // before which message something is delivered
		}{
			{"at first", []int{0}},
			{"in the middle", []int{60}},
			{"often", []int{0, 30, 60, 61, 110}},
			{"at last", []int{120}},
		} {
			t.Run(store+" "+c.name, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, testserver.DovecotOptions{Store: store})
				box := r.box()
				want := mailhaul.Identity{UIDValidity: 7, UIDNext: 1000}
				for u := mailhaul.UID(1); u <= 120; u++ { // every UID is wanted
					want.Messages = append(want.Messages, messages(u)...)
				}
				ctx := ctxOf(t)
				w, err := r.OpenImposing(ctx, box, want)
				require.NoError(t, err)
				foreign := make(map[string]mailhaul.UID)
				var receipts []mailhaul.Receipt
				for i := range 121 {
					if slices.Contains(c.at, i) {
						name := "foreign-" + u32(mailhaul.UID(i))
						foreign[name] = r.deliver("INBOX", name)
					}
					if i < 120 {
						receipt, err := w.Append(ctx, []mailhaul.Outgoing{outgoing(want.Messages[i])})
						require.NoError(t, err)
						receipts = append(receipts, receipt)
					}
				}
				require.NoError(t, w.Finish(ctx))
				there := bySubject(r, "INBOX")
				require.Len(t, there, 120+len(foreign), "nothing is lost")
				for name, uid := range foreign {
					require.Equal(t, []mailhaul.UID{uid}, there[name], "nothing is renumbered")
				}
				kept := 0
				for i, receipt := range receipts {
					outcomes, err := receipt.Wait(ctx)
					require.NoError(t, err)
					require.NoError(t, outcomes[0].Err)
					require.Equal(t, mailhaul.Stored, outcomes[0].Delivery)
					uid := want.Messages[i].UID
					require.Equal(t, []mailhaul.UID{outcomes[0].UID}, there["message "+u32(uid)], "once, and where it is said to be")
					if outcomes[0].UID == uid {
						kept++
					}
				}
				require.GreaterOrEqual(t, kept, 120-3*len(foreign))
				require.NoError(t, w.Close())
				require.Contains(t, r.see("INBOX").status, "UIDVALIDITY 7")
				require.Contains(t, r.see("INBOX").status, "UIDNEXT 100") // 1000, or more where one got a new UID
				require.NotContains(t, r.logged(), "Panic")
			})
		}
	}
}

// between is a Target that lets something happen after the mailbox was looked
// at and before the exchange begins.
type between struct {
	mailhaul.Target
	f func()
}

func (b *between) OpenReader(ctx context.Context, m mailhaul.Mailbox) (mailhaul.Reader, error) {
	r, err := b.Target.OpenReader(ctx, m)
	if f := b.f; f != nil && err == nil {
		b.f = nil
		f()
	}
	return r, err
}

func (b *between) Unwrap() mailhaul.Target { return b.Target }

// TestDeliveredBeforeTheExchange: mail comes right after the mailbox was looked
// at. The exchange begins anew, and what it finds stays.
func TestDeliveredBeforeTheExchange(t *testing.T) {
	for _, store := range stores {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			for name, first := range map[string]mailhaul.Identity{
				"empty":  {UIDValidity: 55, UIDNext: 4},
				"filled": {UIDValidity: 55, UIDNext: 4, Messages: messages(1, 3)},
			} {
				srv := testserver.Dovecot(t, testserver.DovecotOptions{Store: store, Options: testserver.Options{Users: 1}})
				r := rigOf(t, srv, 1, nil)
				box := r.box()
				r.impose(box, first)
				require.Contains(t, r.see("INBOX").status, "UIDVALIDITY 55")
				require.Contains(t, r.see("INBOX").status, "UIDNEXT 4")

				var foreign mailhaul.UID
				inner := &between{Target: r.imap, f: func() { foreign = r.deliver("INBOX", "foreign") }}
				var err error
				r.Target, err = New(inner, Config{Server: doveadmPort(srv)})
				require.NoError(t, err)
				want := mailhaul.Identity{UIDValidity: 55, UIDNext: 20, Messages: messages(4, 5, 10)}
				outcomes := r.impose(box, want)
				require.Equal(t, mailhaul.UID(4), foreign)
				require.Equal(t, []mailhaul.UID{20, 5, 10}, []mailhaul.UID{outcomes[0].UID, outcomes[1].UID, outcomes[2].UID}, name)
				require.Equal(t, []mailhaul.UID{4}, bySubject(r, "INBOX")["foreign"], name)
			}
		})
	}
}

// TestUIDValidityOfMail: a mailbox that gets mail in the moment in which its
// UIDVALIDITY is to change keeps it.
func TestUIDValidityOfMail(t *testing.T) {
	r := newRig(t, testserver.DovecotOptions{})
	box := r.box()
	before := r.see("INBOX").status
	validity, _, _ := strings.Cut(before[strings.Index(before, "UIDVALIDITY"):], " HIGH")
	inner := &between{Target: r.imap, f: func() { r.deliver("INBOX", "a"); r.deliver("INBOX", "b") }}
	var err error
	r.Target, err = New(inner, Config{Server: doveadmPort(r.srv)})
	require.NoError(t, err)
	want := mailhaul.Identity{UIDValidity: 4_000_000_000, UIDNext: 20, Messages: messages(9, 10)}
	outcomes := r.impose(box, want)
	require.Equal(t, mailhaul.UID(9), outcomes[0].UID)
	require.Contains(t, r.see("INBOX").status, validity)
	there := bySubject(r, "INBOX")
	require.Equal(t, []mailhaul.UID{1}, there["a"])
	require.Equal(t, []mailhaul.UID{2}, there["b"])
}

// TestNothingElseIsTouched: other mailboxes, with mail, subscriptions and
// UIDVALIDITYs of their own, and the mailbox's own subscription.
func TestNothingElseIsTouched(t *testing.T) {
	for _, store := range stores {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, testserver.DovecotOptions{Store: store})
			w := r.rawIMAP()
			for _, name := range []string{"A", "B", "B/C", "Work", "Work/Old"} {
				w.do("CREATE %s", name)
			}
			w.do("SUBSCRIBE B")
			w.do("SUBSCRIBE Work")
			for _, name := range []string{"INBOX", "A", "B", "B/C", "Work/Old"} {
				r.deliver(name, "mine "+name)
				r.deliver(name, "mine too "+name)
			}
			state := func() (out []string) {
				w := r.rawIMAP()
				defer w.c.Close()
				for _, name := range []string{"INBOX", "A", "B", "B/C", "Work/Old"} {
					s := r.see(name)
					out = append(out, name, s.status)
					out = append(out, s.messages...)
				}
				list := w.do(`LIST "" *`)
				lsub := w.do(`LSUB "" *`)
				slices.Sort(lsub[:len(lsub)-1])
				for i := range list {
					list[i] = strings.NewReplacer(` \Marked`, "", ` \UnMarked`, "").Replace(list[i])
				}
				slices.Sort(list[:len(list)-1])
				return append(append(out, list[:len(list)-1]...), lsub[:len(lsub)-1]...)
			}
			before := state()
			box := r.box("Work")
			want := mailhaul.Identity{UIDValidity: 42, UIDNext: 100, Messages: messages(1, 50, 99)}
			requireStored(t, want.Messages, r.impose(box, want))
			later := mailhaul.Identity{UIDValidity: 42, UIDNext: 200, Messages: messages(100, 150)}
			requireStored(t, later.Messages, r.impose(box, later))
			require.Equal(t, before, state())
		})
	}
}

// TestManyExchanges: one Writer, one exchange after the other, with mail of
// others and messages left out in between.
func TestManyExchanges(t *testing.T) {
	for _, store := range stores {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, testserver.DovecotOptions{Store: store})
			r.portion = 7
			box := r.box()
			want := mailhaul.Identity{UIDValidity: 7, UIDNext: 500, UIDLs: store != "sdbox"}
			for u := mailhaul.UID(1); u <= 40; u++ {
				want.Messages = append(want.Messages, messages(u*3)...)
			}
			withUIDLs(want.Messages)
			all := r.impose(box, want)
			requireStored(t, want.Messages, all)
			requireSeen(t, r, "INBOX", want.Messages)
			if want.UIDLs {
				require.Equal(t, string(want.Messages[39].UIDL), r.uidls()[0])
				require.Equal(t, string(want.Messages[0].UIDL), r.uidls()[39])
			}

			other := r.box("Other")
			left := []mailhaul.UID{3, 21, 24, 60, 117, 120}
			kept := slices.DeleteFunc(slices.Clone(want.Messages), func(m mailhaul.Message) bool { return slices.Contains(left, m.UID) })
			requireStored(t, kept, r.impose(other, want, left...))
			requireSeen(t, r, other.Wire, kept)
			require.Contains(t, r.see(other.Wire).status, "UIDNEXT 500")
		})
	}
}
