package main

// The rig of the tests: two in-process servers, and the program run on them.

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/internal/imapserver"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The passwords are such that no output holds them by chance.
const (
	fromPassword = "Tr0ub4dor-from"
	toPassword   = "Zebra!9-to"
)

type rig struct {
	t              *testing.T
	source, target *imapserver.Server
	from, to       string // URLs with passwords
	state          string
	env            map[string]string
	signals        chan os.Signal
	terminal       bool
	onStderr       func(text string) // told of each write
}

// newRig starts two servers of different habits.
func newRig(t *testing.T, source, target imapserver.Options) *rig {
	if source.Delimiter == "" {
		source.Delimiter, source.Prefix = ".", "INBOX."
	}
	r := &rig{
		t: t, source: imapserver.New(source), target: imapserver.New(target),
		state: filepath.Join(t.TempDir(), "state.db"), env: map[string]string{}, signals: make(chan os.Signal, 2),
	}
	t.Cleanup(func() {
		require.NoError(t, r.source.Close())
		require.NoError(t, r.target.Close())
		if _, err := os.Stat(r.state); err != nil {
			return
		}
		if store, err := checkpoint.Open(r.state, nil); err == nil {
			require.NoError(t, checkpoint.Check(context.Background(), store))
			require.NoError(t, store.Close())
		}
	})
	r.source.AddUser("ada", fromPassword)
	r.target.AddUser("ada", toPassword)
	from, err := r.source.Listen()
	require.NoError(t, err)
	to, err := r.target.Listen()
	require.NoError(t, err)
	r.from = "imap+plain://ada:" + fromPassword + "@" + from
	r.to = "imap+plain://ada:" + toPassword + "@" + to
	return r
}

// fill puts n messages into a folder of the source.
func (r *rig) fill(name string, n int) *imapserver.Mailbox {
	box := r.source.User("ada").Create(name)
	for i := range n {
		box.Add(imapserver.Message{
			Body:  []byte(letter(name, i)),
			Flags: [][]mailhaul.Flag{nil, {mailhaul.FlagSeen}, {mailhaul.FlagFlagged, "$Work"}}[i%3],
			Date:  time.Date(2016, 5, 4, 3, 2, i, 0, time.UTC),
		})
	}
	return box
}

func letter(folder string, i int) string {
	return fmt.Sprintf("Message-ID: <%d@%x>\r\nDate: Wed, 4 May 2016 03:02:%02d +0000\r\nFrom: bob@example.org\r\nSubject: %d\r\n\r\n%s\r\n",
		i, folder, i%60, i, strings.Repeat("word ", i%40))
}

// outcome is what a run of the program came to.
type outcome struct {
	t              *testing.T
	status         int
	stdout, stderr string
}

// run moves the mail of the rig.
func (r *rig) run(args ...string) outcome {
	r.t.Helper()
	return r.start(append([]string{"-from", r.from, "-to", r.to, "-state", r.state}, args...)...)
}

// start runs the program with these arguments and no others. Whatever happens,
// no password is in what it prints.
func (r *rig) start(args ...string) outcome {
	r.t.Helper()
	var stdout, stderr buffer
	stderr.told = r.onStderr
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	status := run(ctx, system{
		args: args, env: func(name string) string { return r.env[name] },
		stdout: &stdout, stderr: &stderr, terminal: r.terminal, signals: r.signals,
	})
	out := outcome{r.t, status, stdout.String(), stderr.String()}
	require.NoError(r.t, ctx.Err(), "it hung\nstdout:\n%s\nstderr:\n%s", out.stdout, out.stderr)
	for _, password := range []string{fromPassword, toPassword} {
		for _, secret := range []string{
			password,
			base64.StdEncoding.EncodeToString([]byte(password)),
			base64.StdEncoding.EncodeToString([]byte("\x00ada\x00" + password)),
		} {
			require.NotContains(r.t, out.stdout, secret)
			require.NotContains(r.t, out.stderr, secret)
		}
	}
	require.NotContains(r.t, out.stderr, "goroutine ")
	return out
}

// buffer is a bytes.Buffer for several goroutines.
type buffer struct {
	told func(string)
	mu   sync.Mutex // protects b
	b    bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	if b.told != nil {
		b.told(string(p))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

var _ io.Writer = (*buffer)(nil)

// want demands an exit status.
func (o outcome) want(status int) outcome {
	o.t.Helper()
	require.Equal(o.t, status, o.status, "stdout:\n%s\nstderr:\n%s", o.stdout, o.stderr)
	return o
}

// says demands a last line of standard error that is one sentence with all of
// these in it.
func (o outcome) says(parts ...string) outcome {
	o.t.Helper()
	trimmed := strings.TrimSuffix(o.stderr, "\n")
	last := trimmed[strings.LastIndexByte(trimmed, '\n')+1:]
	require.True(o.t, strings.HasPrefix(last, "migrate: "), "stderr:\n%s", o.stderr)
	for _, p := range parts {
		require.Contains(o.t, last, p)
	}
	return o
}

// json returns the report.
func (o outcome) json() map[string]any {
	o.t.Helper()
	var m map[string]any
	dec := json.NewDecoder(strings.NewReader(o.stdout))
	require.NoError(o.t, dec.Decode(&m), "%s", o.stdout)
	_, err := dec.Token()
	require.ErrorIs(o.t, err, io.EOF, "more than one object")
	return m
}

// counts demands numbers of the JSON report.
func (o outcome) counts(want map[string]int) map[string]any {
	o.t.Helper()
	m := o.json()
	for key, n := range want {
		require.EqualValues(o.t, n, m[key], "%s in %s", key, o.stdout)
	}
	return m
}

// same demands that a folder of the source and one of the target hold the same.
func (r *rig) same(source, target string) {
	r.t.Helper()
	there := r.target.User("ada").Mailbox(target)
	require.NotNil(r.t, there, "no folder %s on the target", target)
	a, b := r.source.User("ada").Mailbox(source).Messages(), there.Messages()
	require.Len(r.t, b, len(a), "%s -> %s", source, target)
	for i := range a {
		require.True(r.t, sameMessage(a[i], b[i]), "%s -> %s: message %d differs", source, target, i)
	}
}

// certificate makes a certificate for the loopback addresses, and a file with
// its authority.
func certificate(t *testing.T, opts testserver.CertificateOptions) (config *tls.Config, cert *testserver.Certificate, ca string) {
	cert, err := testserver.NewCertificate(opts)
	require.NoError(t, err)
	pair, err := cert.TLS()
	require.NoError(t, err)
	ca = filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, cert.RootPEM, 0o600))
	return &tls.Config{Certificates: []tls.Certificate{pair}}, cert, ca
}
