package imapx

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/testserver"
	"github.com/mailhaul/mailhaul/internal/testserver/wire"
)

// The quirk that Dovecot's keywords need no waiting for rests on this: it never
// answers BAD to a keyword that Flag.Keyword lets through, whose body it would
// run as commands then. The body is a command that would show.
func TestDovecotAnswersBADToNoKeyword(t *testing.T) {
	for _, store := range []string{"maildir", "sdbox"} {
		t.Run(store, func(t *testing.T) {
			account := testserver.Dovecot(t, testserver.DovecotOptions{Store: store}).Account(1)
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			c, err := wire.Open(ctx, account.Server)
			require.NoError(t, err)
			defer c.Close()
			_, err = c.Command("CREATE victim")
			require.NoError(t, err)

			keywords := []string{strings.Repeat("k", 50), strings.Repeat("k", 51), strings.Repeat("k", 2000), "NIL", "nil", "FLAGS", "{3", "~", "[", "a.b", "+", "-1"}
			for b := byte(1); b < 0x7f; b++ {
				keywords = append(keywords, string(rune(b)), "x"+string(rune(b)), string(rune(b))+"x", "x"+string(rune(b))+"x")
			}
			for i := range 300 { // more than any mailbox has room for
				keywords = append(keywords, fmt.Sprintf("many%d", i))
			}
			sent := 0
			for _, k := range keywords {
				if !mailhaul.Flag(k).Keyword() {
					continue
				}
				sent++
				body := "zz DELETE victim\r\n"
				_, err := c.Command(fmt.Sprintf("APPEND INBOX (%s) {%d+}\r\n%s", k, len(body), body))
				if err != nil {
					require.Contains(t, err.Error(), "NO", "keyword %q", k)
				}
			}
			require.Greater(t, sent, 600)
			_, err = c.Command("STATUS victim (MESSAGES)")
			require.NoError(t, err, "a body was run as a command")
		})
	}
}
