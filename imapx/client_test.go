package imapx

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/imapserver"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

// memBody is a body that a test holds in memory.
type heldBody struct {
	data     []byte
	stream   bool
	released int
}

func (b *heldBody) Size() int64       { return int64(len(b.data)) }
func (b *heldBody) Reader() io.Reader { return bytes.NewReader(b.data) }
func (b *heldBody) Buffered() bool    { return !b.stream }
func (b *heldBody) Release()          { b.released++ }

func out(text string, flags ...mailhaul.Flag) mailhaul.Outgoing {
	return mailhaul.Outgoing{
		Flags: flags, Body: &heldBody{data: []byte(text)},
		InternalDate: time.Date(2001, 2, 3, 4, 5, 6, 0, time.FixedZone("", 5400)),
	}
}

func mail(i int) string {
	return fmt.Sprintf("Message-ID: <%d@example>\r\nSubject: message %d\r\n\r\n%s\r\n", i, i, strings.Repeat("x", i%3000))
}

// eachServer runs a test on the in-process server and on Dovecot.
func eachServer(t *testing.T, test func(t *testing.T, srv mailhaul.Server)) {
	t.Run("imapserver", func(t *testing.T) {
		a := testserver.InProcess(t, imapserver.Options{}).Account(1).Server
		test(t, a)
	})
	t.Run("dovecot", func(t *testing.T) {
		a := testserver.Dovecot(t, testserver.DovecotOptions{}).Account(1).Server
		test(t, a)
	})
}

func openClient(t *testing.T, cfg Config) *Client {
	t.Helper()
	cl, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, cl.Close()) })
	return cl
}

func TestClientEndToEnd(t *testing.T) {
	eachServer(t, func(t *testing.T, srv mailhaul.Server) {
		ctx := t.Context()
		cl := openClient(t, Config{Server: srv})
		box, err := cl.Create(ctx, []string{"Entwürfe", "a&b"}, mailhaul.RoleNone)
		require.NoError(t, err)
		require.NoError(t, cl.Subscribe(ctx, box))

		w, err := cl.OpenWriter(ctx, box)
		require.NoError(t, err)
		var batch []mailhaul.Outgoing
		for i := range 250 {
			batch = append(batch, out(mail(i), mailhaul.FlagSeen, "$Forwarded", `\Recent`))
		}
		var receipts []mailhaul.Receipt
		for i := 0; i < len(batch); i += 50 {
			r, err := w.Append(ctx, batch[i:i+50])
			require.NoError(t, err)
			receipts = append(receipts, r)
		}
		require.NoError(t, w.Finish(ctx))
		var uids []mailhaul.UID
		for _, r := range receipts {
			outcomes, err := r.Wait(ctx)
			require.NoError(t, err)
			for _, o := range outcomes {
				require.Equal(t, mailhaul.Stored, o.Delivery)
				uids = append(uids, o.UID)
			}
		}
		require.Len(t, uids, 250)
		require.IsIncreasing(t, uids)
		require.NoError(t, w.Store(ctx, []mailhaul.FlagChange{{UID: uids[0], Add: []mailhaul.Flag{mailhaul.FlagFlagged}, Remove: []mailhaul.Flag{mailhaul.FlagSeen}}}))
		require.NoError(t, w.Close())
		for _, o := range batch {
			require.Equal(t, 1, o.Body.(*heldBody).released)
		}

		listing, err := cl.List(ctx)
		require.NoError(t, err)
		m := listing.Find([]string{"Entwürfe", "a&b"})
		require.NotNil(t, m)
		require.Equal(t, box.Wire, m.Wire)
		require.True(t, m.Subscribed)
		require.NotNil(t, m.Status)
		require.EqualValues(t, 250, m.Status.Messages)

		r, err := cl.OpenReader(ctx, *m)
		require.NoError(t, err)
		set, err := r.UIDs(ctx)
		require.NoError(t, err)
		require.Equal(t, mailhaul.UIDSetOf(uids...), set)
		n := 0
		for msg, err := range r.Messages(ctx, set, mailhaul.FieldFlags|mailhaul.FieldSize|mailhaul.FieldDate|mailhaul.FieldHeader, 0) {
			require.NoError(t, err)
			require.Equal(t, uids[n], msg.UID)
			require.EqualValues(t, len(mail(n)), msg.Size)
			require.True(t, msg.InternalDate.Equal(batch[0].InternalDate), msg.InternalDate)
			require.Contains(t, string(msg.Header), fmt.Sprintf("<%d@example>", n))
			require.True(t, mailhaul.HasFlag(msg.Flags, "$Forwarded"))
			require.Equal(t, n != 0, mailhaul.HasFlag(msg.Flags, mailhaul.FlagSeen))
			n++
		}
		require.Equal(t, 250, n)
		for _, stream := range []bool{false, true} {
			seq, err := r.Fetch(ctx, set, stream)
			require.NoError(t, err)
			seq2, err := r.Fetch(ctx, mailhaul.UIDSetOf(uids[7]), stream)
			require.NoError(t, err)
			n = 0
			for f, err := range seq {
				require.NoError(t, err)
				require.Equal(t, uids[n], f.UID)
				_ = stream
				got, err := io.ReadAll(f.Body.Reader())
				require.NoError(t, err)
				require.Equal(t, mail(n), string(got))
				f.Body.Release()
				n++
			}
			require.Equal(t, 250, n)
			for f, err := range seq2 {
				require.NoError(t, err)
				require.Equal(t, uids[7], f.UID)
				f.Body.Release()
				n++
			}
			require.Equal(t, 251, n)
		}
		require.NoError(t, r.Close())
		t.Logf("%+v", cl.Traffic())
	})
}
