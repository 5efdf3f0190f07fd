package dsync

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

// cut is a connection that breaks after so many octets were written.
type cut struct {
	net.Conn
	left *atomic.Int64
}

func (c cut) Write(p []byte) (int, error) {
	if n := c.left.Add(-int64(len(p))); n < 0 {
		if keep := int64(len(p)) + n; keep > 0 {
			_, _ = c.Conn.Write(p[:keep])
		}
		_ = c.Conn.(*net.TCPConn).SetLinger(-1)
		_ = c.Conn.Close()
		return 0, errors.New("the line is cut")
	}
	return c.Conn.Write(p)
}

// TestCutAnywhere: the connection breaks after k octets, for all sorts of k.
// What is there is there whole and once; a second exchange with the rest makes
// it complete.
func TestCutAnywhere(t *testing.T) {
	var uids []mailhaul.UID
	for u := mailhaul.UID(1); u <= 300; u++ {
		uids = append(uids, u+u/7*5)
	}
	for _, store := range stores {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			srv := testserver.Dovecot(t, testserver.DovecotOptions{Store: store, Options: testserver.Options{Users: 1}})
			var left atomic.Int64
			dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
				c, err := new(net.Dialer).DialContext(ctx, network, addr)
				return cut{c, &left}, err
			}
			r := rigOf(t, srv, 1, func(c *Config) { c.Server.Dial = dial })
			partly := 0
			for i, k := range []int64{10, 1500, 3000, 10_000, 41_000, 60_000, 81_111, 100_000, 125_000} {
				box := r.box("Box" + u32(mailhaul.UID(i)))
				want := mailhaul.Identity{UIDValidity: 1000 + mailhaul.UIDValidity(i), UIDNext: 2000, UIDLs: store != "sdbox", Messages: withUIDLs(messages(uids...))}
				left.Store(k)
				attempt(t, r, box, want)
				left.Store(1 << 40)

				there := settled(r, box.Wire)
				if n := len(there); n > 0 && n < len(uids) {
					partly++
				}
				rest := want
				rest.Messages = slices.DeleteFunc(slices.Clone(want.Messages), func(m mailhaul.Message) bool { return slices.Contains(there, m.UID) })
				require.Len(t, rest.Messages, len(uids)-len(there), "what is there is under its own UID")
				can, err := r.Imposable(ctxOf(t), box, rest)
				require.NoError(t, err)
				require.Equal(t, mailhaul.LevelExact, can.Level, can.Reason)
				requireStored(t, rest.Messages, r.impose(box, rest))
				requireSeen(t, r, box.Wire, want.Messages)
				require.Contains(t, r.see(box.Wire).status, "UIDVALIDITY "+u32(want.UIDValidity))
				found := bySubject(r, box.Wire)
				for _, uid := range uids {
					require.Lenf(t, found["message "+u32(uid)], 1, "UID %d, cut after %d", uid, k)
				}
			}
			require.GreaterOrEqual(t, partly, 3, "cuts that leave a part")
		})
	}
}

// settled returns the UIDs in a mailbox, once a server that may still be writing
// has ended.
func settled(r *rig, wire string) []mailhaul.UID {
	for {
		before := r.see(wire).uids()
		time.Sleep(50 * time.Millisecond)
		if after := r.see(wire).uids(); slices.Equal(before, after) {
			return after
		}
	}
}

// attempt imposes until something breaks, and checks that what is said of each
// message is no lie.
func attempt(t *testing.T, r *rig, box mailhaul.Mailbox, want mailhaul.Identity) {
	ctx := ctxOf(t)
	w, err := r.OpenImposing(ctx, box, want)
	if err != nil {
		require.Equal(t, mailhaul.Transient, mailhaul.KindOf(err), err)
		return
	}
	var receipts []mailhaul.Receipt
	for batch := range slices.Chunk(want.Messages, 10) {
		var outs []mailhaul.Outgoing
		var released atomic.Int64
		for _, m := range batch {
			out := outgoing(m)
			out.Body.(*body).released = &released
			outs = append(outs, out)
		}
		receipt, err := w.Append(ctx, outs)
		require.Equal(t, int64(len(outs)), released.Load(), "bodies are given up")
		receipts = append(receipts, receipt)
		if err != nil {
			require.Equal(t, mailhaul.Transient, mailhaul.KindOf(err), err)
			break
		}
	}
	_ = w.Finish(ctx)
	there := r.see(box.Wire).uids()
	for i, receipt := range receipts {
		outcomes, _ := receipt.Wait(ctx)
		for j, o := range outcomes {
			uid := want.Messages[i*10+j].UID
			switch o.Delivery {
			case mailhaul.Stored:
				require.Contains(t, there, uid)
			case mailhaul.NotStored:
				require.Error(t, o.Err)
				require.NotContains(t, r.see(box.Wire).uids(), uid)
			default:
				require.Error(t, o.Err)
			}
		}
	}
	require.NoError(t, w.Close())
}

// TestServerKilled: every process of the server dies in the middle.
func TestServerKilled(t *testing.T) {
	for _, store := range stores {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, testserver.DovecotOptions{Store: store})
			box := r.box()
			want := mailhaul.Identity{UIDValidity: 77, UIDNext: 2000}
			for u := mailhaul.UID(1); u <= 300; u++ {
				want.Messages = append(want.Messages, messages(u)...)
			}
			ctx := ctxOf(t)
			w, err := r.OpenImposing(ctx, box, want)
			require.NoError(t, err)
			for i, m := range want.Messages {
				if i == 200 {
					r.srv.Restart()
				}
				if _, err = w.Append(ctx, []mailhaul.Outgoing{outgoing(m)}); err != nil {
					break
				}
			}
			if err == nil {
				err = w.Finish(ctx)
			}
			require.Equal(t, mailhaul.Transient, mailhaul.KindOf(err), err)
			require.NoError(t, w.Close())

			there := r.see("INBOX").uids()
			rest := want
			rest.Messages = slices.DeleteFunc(slices.Clone(want.Messages), func(m mailhaul.Message) bool { return slices.Contains(there, m.UID) })
			requireStored(t, rest.Messages, r.impose(box, rest))
			requireSeen(t, r, "INBOX", want.Messages)
		})
	}
}

// TestBodyThatBreaks: the source's connection dies in the middle of a message.
// It is not there, and those before it are.
func TestBodyThatBreaks(t *testing.T) {
	for _, store := range stores {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, testserver.DovecotOptions{Store: store})
			box := r.box()
			want := mailhaul.Identity{UIDValidity: 77, UIDNext: 2000, Messages: messages(4, 5, 6, 7, 8)}
			ctx := ctxOf(t)
			w, err := r.OpenImposing(ctx, box, want)
			require.NoError(t, err)
			ours := &mailhaul.Error{Op: "fetch", Kind: mailhaul.Throttled, Err: errors.New("the source is slow")}
			broken := outgoing(want.Messages[3])
			broken.Body = &body{data: textOf(7), read: io.MultiReader(&io.LimitedReader{R: zeros{}, N: 300_000}, failing{ours})}
			receipt, err := w.Append(ctx, []mailhaul.Outgoing{outgoing(want.Messages[0]), outgoing(want.Messages[1]), outgoing(want.Messages[2]), broken, outgoing(want.Messages[4])})
			require.ErrorIs(t, err, ours)
			require.Equal(t, mailhaul.Throttled, mailhaul.KindOf(err))
			outcomes, err := receipt.Wait(ctx)
			require.Error(t, err)
			require.Equal(t, mailhaul.NotStored, outcomes[3].Delivery)
			require.Equal(t, mailhaul.NotStored, outcomes[4].Delivery)
			require.NoError(t, w.Close())
			require.Equal(t, mailhaul.Outcome{Delivery: mailhaul.Stored, UID: 5}, outcomes[1], "in the exchange before")
			require.Equal(t, mailhaul.DeliveryUnknown, outcomes[2].Delivery)
			require.Equal(t, []mailhaul.UID{4, 5, 6}, settled(r, "INBOX"))
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestWhatIsThereIsRecognised: messages that the server wrote down after the
// mailbox was looked at are not stored again, and their user's flags stay.
func TestWhatIsThereIsRecognised(t *testing.T) {
	for _, store := range stores {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, testserver.DovecotOptions{Store: store})
			box := r.box()
			want := mailhaul.Identity{UIDValidity: 77, UIDNext: 100, Messages: messages(3, 5, 8, 13, 21)}
			first := want
			first.UIDNext, first.Messages = 0, want.Messages[:3]
			requireStored(t, first.Messages, r.impose(box, first))
			w := r.rawIMAP()
			w.do("SELECT INBOX")
			w.do(`UID STORE 5 FLAGS (\Flagged Mine)`)
			w.do("UNSELECT")
			require.Equal(t, mailhaul.UID(9), r.deliver("INBOX", "foreign"))
			before := r.see("INBOX")

			requireStored(t, want.Messages, r.impose(box, want)) // all, once more
			after := r.see("INBOX")
			require.Equal(t, []mailhaul.UID{3, 5, 8, 9, 13, 21}, after.uids())
			require.Equal(t, before.messages, after.messages[:4])
			require.Contains(t, after.status, "UIDNEXT 100")
			require.NotContains(t, r.logged(), "Error")
		})
	}
}
