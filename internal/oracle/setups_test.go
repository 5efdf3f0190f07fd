// The loaders and the oracle agree on every server that suites run on.

package oracle_test

import (
	"bytes"
	"crypto/tls"
	"testing"

	"github.com/stretchr/testify/require"

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

func TestInProcessWithTLS(t *testing.T) {
	certificate, err := testserver.NewCertificate(testserver.CertificateOptions{})
	require.NoError(t, err)
	pair, err := certificate.TLS()
	require.NoError(t, err)
	account := testserver.InProcess(t, imapserver.Options{TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}}}).Account(1)
	account.Server.TLS.Roots = certificate.Roots
	require.Equal(t, 0, snapshot(t, account.Server).Count())
}
