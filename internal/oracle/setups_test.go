// The loaders and the oracle agree on every server that suites run on.

package oracle_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/corpus"
	"github.com/mailhaul/mailhaul/internal/imapserver"
	"github.com/mailhaul/mailhaul/internal/oracle"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

func TestEverySetup(t *testing.T) {
	t.Parallel()
	boxes := corpus.Default(300)
	direct := testserver.InProcess(t, imapserver.Options{})
	direct.Load(1, boxes)
	want := snapshot(t, direct.Account(1).Server)
	require.Equal(t, 300, want.Count())
	for _, box := range boxes {
		got := want.Find(box.Path...)
		require.NotNil(t, got, box.Name())
		require.Equal(t, box.Role, got.Role)
		require.Equal(t, box.Subscribed, got.Subscribed, box.Name())
		require.Len(t, got.Messages, box.Len)
	}
	for _, setup := range testserver.Setups() {
		t.Run(setup.Name, func(t *testing.T) {
			t.Parallel()
			account := setup.Start(t)
			load(t, account.Server, boxes)
			require.Empty(t, oracle.Compare(want, snapshot(t, account.Server),
				oracle.CompareOptions{IgnoreRoles: true, ExtraFolders: true}))
		})
	}
}

func TestInProcessKeepsOddBytes(t *testing.T) {
	messages := append(corpus.Odd(), corpus.Large(1<<20))
	boxes := []corpus.Mailbox{corpus.Of([]string{"Odd"}, messages...)}
	direct := testserver.InProcess(t, imapserver.Options{})
	direct.Load(1, boxes)
	load(t, direct.Account(2).Server, boxes)
	one, two := snapshot(t, direct.Account(1).Server), snapshot(t, direct.Account(2).Server)
	require.Empty(t, oracle.Compare(one, two, oracle.CompareOptions{SameUIDs: false}))
	for i, m := range direct.User("u2").Mailbox("Odd").Messages() {
		require.True(t, bytes.Equal(messages[i].Body(), m.Body), messages[i].Name)
		require.Equal(t, int64(len(m.Body)), two.Find("Odd").Messages[i].Size)
	}
}

// TestLoadWithoutMultiappend takes the loader's other ways: APPENDs sent
// without waiting, and refusals among them.
func TestLoadWithoutMultiappend(t *testing.T) {
	boxes := corpus.Default(900)
	direct := testserver.InProcess(t, imapserver.Options{})
	direct.Load(1, boxes)
	want := snapshot(t, direct.Account(1).Server)
	for name, caps := range map[string][]string{
		"pipelined":   imapserver.Without("MULTIAPPEND"),
		"waiting":     imapserver.Without("MULTIAPPEND", "LITERAL+"),
		"multiappend": nil,
	} {
		t.Run(name, func(t *testing.T) {
			srv := testserver.InProcess(t, imapserver.Options{Caps: caps}).Account(1).Server
			load(t, srv, boxes)
			require.Empty(t, oracle.Compare(want, snapshot(t, srv), oracle.CompareOptions{}))

			picky := testserver.InProcess(t, imapserver.Options{Caps: caps, Refuse: func(body []byte) error {
				if bytes.Contains(body, []byte("NULs")) || len(body) == 0 {
					return errors.New("not that")
				}
				return nil
			}}).Account(1).Server
			date := time.Unix(1e9, 0)
			odd := corpus.Of([]string{"INBOX"}, corpus.NewMessage([]byte("a"), date), corpus.NewMessage(nil, date),
				corpus.NewMessage([]byte("NULs"), date), corpus.NewMessage([]byte("b"), date, mailhaul.FlagSeen, "key"))
			var refused []int
			loader := corpus.Loader{Refused: func(_ corpus.Mailbox, i int, answer string) {
				require.Contains(t, answer, "not that")
				refused = append(refused, i)
			}}
			require.NoError(t, loader.Load(t.Context(), picky, []corpus.Mailbox{odd}))
			require.Equal(t, []int{1, 2}, refused)
			got := snapshot(t, picky).Find("INBOX").Messages
			require.Len(t, got, 2)
			require.Equal(t, []string{`\seen`, "key"}, got[1].Flags)
			require.ErrorContains(t, corpus.Load(t.Context(), picky, []corpus.Mailbox{odd}), "not that")
		})
	}
}

func TestInProcessWithTLS(t *testing.T) {
	certificate, err := testserver.NewCertificate(testserver.CertificateOptions{})
	require.NoError(t, err)
	pair, err := certificate.TLS()
	require.NoError(t, err)
	account := testserver.InProcess(t, imapserver.Options{TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}}}).Account(1)
	account.Server.TLS.Roots = certificate.Roots
	require.Equal(t, 0, snapshot(t, account.Server).Count())
}
