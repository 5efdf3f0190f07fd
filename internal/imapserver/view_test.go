// A client that believes what it is told must never be wrong: random changes by
// others, checked against the client's own bookkeeping.

package imapserver_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/imapserver"
)

// belief is what a client knows: the UID of each number, 0 where it never asked.
type belief struct {
	x    *raw
	uids []int
}

// told takes in untagged responses.
func (b *belief) told(t *testing.T, lines []string) {
	t.Helper()
	for _, line := range lines {
		num, rest, _ := strings.Cut(line, " ")
		n, err := strconv.Atoi(num)
		if err != nil {
			continue
		}
		switch {
		case rest == "EXISTS":
			require.GreaterOrEqual(t, n, len(b.uids), "EXISTS must not shrink")
			for len(b.uids) < n {
				b.uids = append(b.uids, 0)
			}
		case rest == "EXPUNGE":
			require.True(t, 1 <= n && n <= len(b.uids), "EXPUNGE %d of %d", n, len(b.uids))
			b.uids = slices.Delete(b.uids, n-1, n)
		case strings.HasPrefix(rest, "FETCH "):
			require.True(t, 1 <= n && n <= len(b.uids), "FETCH %d of %d", n, len(b.uids))
			var uid int
			if i := strings.Index(rest, "UID "); i >= 0 {
				_, err := fmt.Sscanf(rest[i:], "UID %d", &uid)
				require.NoError(t, err)
				if b.uids[n-1] != 0 {
					require.Equal(t, b.uids[n-1], uid, "number %d", n)
				}
				b.uids[n-1] = uid
			}
		}
	}
}

func TestBeliefsHold(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			s, u := start(t, imapserver.Options{})
			in := u.Mailbox("INBOX")
			fill(in, rng.IntN(20))
			var clients []*belief
			for range 3 {
				b := &belief{x: login(t, s)}
				b.told(t, b.x.ok("SELECT INBOX"))
				b.x.ok("ENABLE CONDSTORE")
				clients = append(clients, b)
			}
			pick := func() mailhaul.UID { return mailhaul.UID(1 + rng.IntN(int(in.Status().UIDNext))) }
			for range 200 {
				b := clients[rng.IntN(len(clients))]
				var command string
				switch rng.IntN(10) {
				case 0:
					in.Add(imapserver.Message{Body: []byte("x")})
					continue
				case 1:
					in.Expunge(pick(), pick())
					continue
				case 2:
					in.SetFlags(pick(), []mailhaul.Flag{`\Seen`, mailhaul.Flag("k" + strconv.Itoa(rng.IntN(5)))})
					continue
				case 3:
					command = "NOOP"
				case 4:
					command = "FETCH 1:* UID"
				case 5:
					command = fmt.Sprintf("UID FETCH %d:* FLAGS", pick())
				case 6:
					command = fmt.Sprintf("UID STORE %d +FLAGS (\\Deleted)", pick())
				case 7:
					command = "EXPUNGE"
				case 8:
					command = "APPEND INBOX {1+}\r\nx"
				case 9:
					if len(b.uids) == 0 {
						continue
					}
					n := 1 + rng.IntN(len(b.uids))
					command = fmt.Sprintf("STORE %d:%d -FLAGS (\\Deleted)", n, len(b.uids))
				}
				b.told(t, b.x.ok(command))
			}
			for _, b := range clients {
				b.told(t, b.x.ok("NOOP"))
				b.told(t, b.x.ok("FETCH 1:* UID"))
				var want []int
				for _, m := range in.Messages() {
					want = append(want, int(m.UID))
				}
				require.Equal(t, want, b.uids)
			}
		})
	}
}
