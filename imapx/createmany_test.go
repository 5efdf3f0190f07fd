package imapx

import (
	"bytes"
	"context"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/imapserver"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

// Many mailboxes cost one round trip; what cannot be made so is left to Create.
func TestCreateMany(t *testing.T) {
	for _, setup := range testserver.Setups() {
		t.Run(setup.Name, func(t *testing.T) {
			cl, err := New(Config{Server: setup.Start(t).Server})
			require.NoError(t, err)
			defer cl.Close()
			ctx := context.Background()
			listing, err := cl.List(ctx)
			require.NoError(t, err)
			if listing.Naming.Delimiter == "" {
				t.Skip("the server is flat")
			}
			_, err = cl.Create(ctx, []string{"There"}, mailhaul.RoleNone)
			require.NoError(t, err)

			wanted := []mailhaul.NewMailbox{
				{Path: []string{"INBOX"}},
				{Path: []string{"Büro & Kunden"}, Subscribe: true},
				{Path: []string{"There"}},
				{Path: []string{"Archive", "2019"}},
				{Path: []string{"bad" + listing.Naming.Delimiter + "name"}},
				{Path: []string{"bad\r\nname"}},
			}
			for _, level := range strings.Split("abcdefghijklmnopqrstuvwxyz", "") {
				wanted = append(wanted,
					mailhaul.NewMailbox{Path: []string{"Deep", level}}, mailhaul.NewMailbox{Path: []string{"Deep", level, "er"}, Subscribe: true})
			}
			before := cl.Traffic().RoundTrips
			made, err := cl.CreateMany(ctx, wanted)
			require.NoError(t, err)
			require.Len(t, made, len(wanted))
			require.LessOrEqual(t, cl.Traffic().RoundTrips-before, int64(2+len(wanted)/createAhead))

			listing, err = cl.List(ctx)
			require.NoError(t, err)
			for i, w := range wanted {
				switch {
				case i == 0, i == 4, i == 5:
					require.Empty(t, made[i].Wire, "%q", w.Path)
					continue
				case i == 2:
					continue // refused by most, and a matter for Create
				}
				require.NotEmpty(t, made[i].Wire, "%q", w.Path)
				found := listing.Find(w.Path)
				require.NotNil(t, found, "%q", w.Path)
				require.Equal(t, found.Wire, made[i].Wire)
				require.Equal(t, w.Subscribe, found.Subscribed, "%q", w.Path)
				require.Equal(t, w.Subscribe, made[i].Subscribed)
			}
		})
	}
}

// countedWrites counts the Writes with a word in them.
type countedWrites struct {
	net.Conn
	word string
	n    *atomic.Int64
}

func (w countedWrites) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(w.word)) {
		w.n.Add(1)
	}
	return w.Conn.Write(p)
}

// All commands go out together, so that no server is fast enough to be waited
// for more often.
func TestCreateManyIsOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int64
		tg := newTarget(t, imapserver.Options{}, func(c *Config) {
			c.Trace = func(TraceLine) { time.Sleep(time.Millisecond) } // between two commands
			dial := c.Server.Dial
			c.Server.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := dial(ctx, network, addr)
				return countedWrites{conn, "CREATE", &n}, err
			}
		})
		var wanted []mailhaul.NewMailbox
		for i := range createAhead {
			wanted = append(wanted, mailhaul.NewMailbox{Path: []string{strconv.Itoa(i)}, Subscribe: true})
		}
		_, err := tg.CreateMany(t.Context(), wanted)
		require.NoError(t, err)
		require.EqualValues(t, 1, n.Load())
		require.Len(t, tg.user.Mailboxes(), 1+createAhead)
	})
}
