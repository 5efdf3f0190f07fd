package pop3x_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/pop3server"
	"github.com/mailhaul/mailhaul/pop3x"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a server with one user, and what connects to it.
type rig struct {
	t      testing.TB
	server *pop3server.Server
	drop   *pop3server.Maildrop
	cfg    pop3x.Config

	mu    sync.Mutex
	trace []string
}

const password = "pässword-17"

func newRig(t testing.TB, opts pop3server.Options) *rig {
	r := &rig{t: t, server: pop3server.New(opts)}
	t.Cleanup(func() { require.NoError(t, r.server.Close()) })
	r.drop = r.server.AddUser("ann", password)
	r.cfg = pop3x.Config{
		Server: mailhaul.Server{
			Protocol: mailhaul.POP3, Host: "127.0.0.1", Security: mailhaul.Plaintext, User: "ann", Dial: r.server.Dial,
			Credentials: func(context.Context) (mailhaul.Secret, error) { return mailhaul.NewSecret(password), nil },
		},
		ProgressTimeout: 5 * time.Second,
		Trace: func(l pop3x.TraceLine) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.trace = append(r.trace, fmt.Sprint(l.Sent, " ", l.Text))
		},
	}
	return r
}

// source returns a Source that is closed when the test ends.
func (r *rig) source() *pop3x.Source {
	r.t.Helper()
	s, err := pop3x.New(r.cfg)
	require.NoError(r.t, err)
	r.t.Cleanup(func() { require.NoError(r.t, s.Close()) })
	return s
}

var inbox = mailhaul.Mailbox{Path: []string{"INBOX"}, Name: "INBOX", Wire: "INBOX"}

// reader opens the maildrop of a new Source.
func (r *rig) reader() (*pop3x.Source, mailhaul.Reader, error) {
	r.t.Helper()
	s := r.source()
	reader, err := s.OpenReader(context.Background(), inbox)
	if err == nil {
		r.t.Cleanup(func() { require.NoError(r.t, reader.Close()) })
	}
	return s, reader, err
}

func (r *rig) mustReader() (*pop3x.Source, mailhaul.Reader) {
	r.t.Helper()
	s, reader, err := r.reader()
	require.NoError(r.t, err)
	return s, reader
}

// refused opens the maildrop, which must fail, and checks that no secret shows.
func (r *rig) refused() *mailhaul.Error {
	r.t.Helper()
	_, _, err := r.reader()
	require.Error(r.t, err)
	e, ok := errors.AsType[*mailhaul.Error](err)
	require.True(r.t, ok, "%v is no *mailhaul.Error", err)
	require.NotContains(r.t, e.Error(), password)
	return e
}

// message makes a proper message of about so many octets.
func message(i, size int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "Received: from a by b; Mon, 2 Jan 2023 15:04:%02d +0100\r\nMessage-ID: <%d@test>\r\nSubject: no %d\r\n\r\n", i%60, i, i)
	for n := 0; b.Len() < size; n++ {
		fmt.Fprintf(&b, "line %d of message %d %s\r\n", n, i, strings.Repeat("-", 40))
	}
	return b.Bytes()
}

// list returns the messages that the Reader lists.
func list(t testing.TB, r mailhaul.Reader, f mailhaul.Fields) []mailhaul.Message {
	t.Helper()
	set, err := r.UIDs(context.Background())
	require.NoError(t, err)
	var out []mailhaul.Message
	for m, err := range r.Messages(context.Background(), set, f, 0) {
		require.NoError(t, err)
		out = append(out, m)
	}
	return out
}

// fetchAll fetches the set and returns the octets by UID, and the error at the
// end.
func fetchAll(r mailhaul.Reader, set mailhaul.UIDSet) (map[mailhaul.UID]string, error) {
	seq, err := r.Fetch(context.Background(), set, false)
	if err != nil {
		return nil, err
	}
	out := make(map[mailhaul.UID]string)
	for f, err := range seq {
		if err != nil {
			return out, err
		}
		octets, err := io.ReadAll(f.Body.Reader())
		if err != nil {
			return out, err
		}
		if int64(len(octets)) != f.Body.Size() {
			return out, fmt.Errorf("size %d, %d octets", f.Body.Size(), len(octets))
		}
		out[f.UID] = string(octets)
		f.Body.Release()
	}
	return out, nil
}

func all(r mailhaul.Reader) mailhaul.UIDSet {
	return mailhaul.UIDSet{{First: 1, Last: mailhaul.UID(r.Status().Messages)}}
}

// holds checks that the Reader delivers what the maildrop has.
func (r *rig) holds(reader mailhaul.Reader) {
	r.t.Helper()
	got, err := fetchAll(reader, all(reader))
	require.NoError(r.t, err)
	want := r.drop.Messages()
	require.Len(r.t, got, len(want))
	for i, m := range want {
		octets := string(m.Body)
		if octets != "" && !strings.HasSuffix(octets, "\r\n") {
			octets += "\r\n"
		}
		require.Equal(r.t, octets, got[mailhaul.UID(i+1)])
	}
}
