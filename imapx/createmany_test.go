package imapx

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
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
			// A server that is faster than we send has answered all at times, and
			// the next command counts again; one by one they would be a hundred.
			require.LessOrEqual(t, cl.Traffic().RoundTrips-before, int64(2+len(wanted)/4))

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
