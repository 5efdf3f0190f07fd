// A move, in this process or in one of its own, which can be killed.

package identitylab

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/imapx"
	"github.com/mailhaul/mailhaul/internal/testserver"
	"github.com/mailhaul/mailhaul/pop3x"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

// end is an account, as another process can be told of it.
type end struct {
	Host     string
	Port     int
	POP3     int // 0 for none
	User     string
	Password string
	Roots    string // a file
}

func endOf(s *testserver.Server, u testserver.User) end {
	e := end{Host: s.Host, Port: s.Port(testserver.IMAPS), User: u.Name, Password: u.Password, Roots: s.RootsFile()}
	if s.Kind() != "mailutils" {
		e.POP3 = s.Port(testserver.POP3S)
	}
	return e
}

func (e end) server(p mailhaul.Protocol) mailhaul.Server {
	pem, err := os.ReadFile(e.Roots)
	if err != nil {
		panic(err) // of this test's own making
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	srv := mailhaul.Server{
		Protocol: p, Host: e.Host, Port: e.Port, User: e.User,
		Credentials: testserver.Password(e.Password), TLS: mailhaul.TLS{Roots: roots},
	}
	if p == mailhaul.POP3 {
		srv.Port = e.POP3
	}
	return srv
}

// move is all that a run needs to know.
type move struct {
	From, To end
	State    string         // the checkpoint's file
	Level    mailhaul.Level // demanded; "" for the best
	Driver   string
	Admin    end      // of the target: what the driver needs
	UIDLs    told     // of the source's INBOX; nil: they are not known
	Format   string   // how the target makes UIDLs, where a driver has to be told
	Command  []string // that speaks dsync
	XUIDL    bool
	Path     string // of a Maildir, for drivers that write files
	Batch    int    // messages in a batch; 0 for the default
	Fillers  int
	OverPOP3 bool // the source is read over POP3
	Prove    bool // UIDLs, over POP3
}

// run makes a pass in this process.
func (m move) run(ctx context.Context) (res *mailsync.Result, err error) {
	store, err := checkpoint.Open(m.State, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	from, err := m.source()
	if err != nil {
		return nil, err
	}
	defer from.Close()
	to, err := m.target(ctx)
	if err != nil {
		return nil, err
	}
	defer to.Close()
	cfg := mailsync.Config{Source: from, Target: to, Store: store, Identity: m.Level, BatchMessages: m.Batch}
	if m.Prove {
		pop, err := pop3x.New(pop3x.Config{Server: m.To.server(mailhaul.POP3), IdleTime: time.Millisecond})
		if err != nil {
			return nil, err
		}
		defer pop.Close()
		cfg.UIDLTarget = pop
	}
	s, err := mailsync.New(cfg)
	if err != nil {
		return nil, err
	}
	return s.Run(ctx)
}

// source opens the account that mail comes from.
func (m move) source() (mailhaul.Source, error) {
	if m.OverPOP3 {
		return pop3x.New(pop3x.Config{Server: m.From.server(mailhaul.POP3)})
	}
	from, err := imapx.New(imapx.Config{Server: m.From.server(mailhaul.IMAP)})
	if err != nil || m.UIDLs == nil {
		return from, err
	}
	return &teller{Source: from, uidls: m.UIDLs}, nil
}

// must makes a pass that moves everything and ends by itself.
func (m move) must(t testing.TB) *mailsync.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	res, err := m.run(ctx)
	require.NoError(t, err)
	require.Empty(t, res.Failed)
	require.Empty(t, res.Altered)
	return res
}

// moverEnv, set, names the file of a move that this program is to make instead
// of running its tests.
const moverEnv = "MAILHAUL_IDENTITYLAB_MOVE"

func serveMove(name string) int {
	text, err := os.ReadFile(name)
	var m move
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err == nil {
		_, err = m.run(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// killed starts the move in a process of its own and kills that after a while.
// It returns whether the process was still at work.
func (m move) killed(t testing.TB, after time.Duration) bool {
	t.Helper()
	text, err := json.Marshal(m)
	require.NoError(t, err)
	name := filepath.Join(t.TempDir(), "move.json")
	require.NoError(t, os.WriteFile(name, text, 0o600))
	program, err := os.Executable()
	require.NoError(t, err)
	var out bytes.Buffer
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), moverEnv+"="+name)
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start())
	// It is killed when it has begun to write its checkpoint, and some time
	// later: before that a run has done nothing.
	deadline := time.Now().Add(20 * time.Second)
	for {
		if _, err := os.Stat(m.State); err == nil || !errors.Is(err, fs.ErrNotExist) || time.Now().After(deadline) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	time.Sleep(after)
	require.NoError(t, cmd.Process.Kill())
	err = cmd.Wait()
	exit, ok := errors.AsType[*exec.ExitError](err)
	switch {
	case ok && exit.ExitCode() == -1:
		return true
	case err != nil:
		t.Fatalf("it failed before it was killed: %v\n%s", err, strings.TrimSpace(out.String()))
	}
	return false
}
