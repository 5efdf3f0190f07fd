// Tests of the harness itself, on Dovecot.

package testserver_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/mailhaul/mailhaul/internal/testserver"
)

// talk sends lines to the service and returns the last line that came back
// for each.
func talk(t *testing.T, conn net.Conn, tags []string, lines ...string) []string {
	t.Helper()
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	r := bufio.NewReader(conn)
	_, err := r.ReadString('\n')
	require.NoError(t, err)
	var answers []string
	for i, l := range lines {
		_, err := fmt.Fprintf(conn, "%s\r\n", l)
		require.NoError(t, err)
		for {
			answer, err := r.ReadString('\n')
			require.NoError(t, err)
			if strings.HasPrefix(answer, tags[i]) {
				answers = append(answers, strings.TrimSpace(answer))
				break
			}
		}
	}
	return answers
}

func TestDovecotServesAllProtocols(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	srv := testserver.Dovecot(t, testserver.DovecotOptions{MasterUser: "master", MasterPassword: "mpw"})
	t.Logf("started in %v", time.Since(begin))

	config := &tls.Config{RootCAs: srv.Roots(), ServerName: "localhost"}
	for _, host := range []string{srv.Host, srv.Host6} {
		if host == "" {
			continue
		}
		conn, err := tls.Dial("tcp", net.JoinHostPort(host, fmt.Sprint(srv.Port(testserver.IMAPS))), config)
		require.NoError(t, err)
		answers := talk(t, conn, []string{"a", "b"}, "a LOGIN u1 pw1", "b SELECT INBOX")
		require.Contains(t, answers[0], "a OK")
		require.Contains(t, answers[1], "b OK")
		conn.Close()
	}

	conn, err := net.Dial("tcp", srv.Addr(testserver.IMAP))
	require.NoError(t, err)
	answers := talk(t, conn, []string{"a", "b"}, "a LOGIN u1 wrong", "b LOGIN u2*master mpw")
	require.Contains(t, answers[0], "a NO [AUTHENTICATIONFAILED]")
	require.Contains(t, answers[1], "b OK")
	conn.Close()

	conn, err = tls.Dial("tcp", srv.Addr(testserver.POP3S), config)
	require.NoError(t, err)
	answers = talk(t, conn, []string{"+OK", "+OK"}, "USER u1", "PASS pw1")
	require.Contains(t, answers[1], "Logged in")
	conn.Close()

	srv.AddUser("new", "secret")
	srv.AddUser("u1", "changed")
	conn, err = net.Dial("tcp", srv.Addr(testserver.IMAP))
	require.NoError(t, err)
	answers = talk(t, conn, []string{"a", "b", "c"}, "a LOGIN new wrong", "b LOGIN u1 pw1", "c LOGIN new secret")
	require.Contains(t, answers[0], "a NO")
	require.Contains(t, answers[1], "b NO")
	require.Contains(t, answers[2], "c OK")
	conn.Close()
	out, err := srv.Doveadm("auth", "test", "u1", "changed")
	require.NoError(t, err, out)
	require.Equal(t, "new", srv.Users[len(srv.Users)-2].Name)
}

func TestDovecotOptions(t *testing.T) {
	t.Parallel()
	for _, store := range []string{"maildir", "sdbox", "mdbox"} {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			srv := testserver.Dovecot(t, testserver.DovecotOptions{
				Store: store, Separator: ".", Prefix: "INBOX.", SpecialUse: true,
				QuotaBytes: 1000, MaxUserIPConnections: 1, Protocols: []string{"imap"},
			})
			conn, err := net.Dial("tcp", srv.Addr(testserver.IMAP))
			require.NoError(t, err)
			defer conn.Close()
			answers := talk(t, conn, []string{"a", "* NAMESPACE", "c", `* LIST (\`, "e", "* QUOTA "},
				"a LOGIN u1 pw1", "b NAMESPACE", "c CREATE INBOX.A.B", `d LIST "" (INBOX.Sent) RETURN (SPECIAL-USE)`,
				"e APPEND INBOX {2000+}\r\n"+strings.Repeat("x", 2000), "f GETQUOTAROOT INBOX")
			require.Contains(t, answers[0], "SPECIAL-USE")
			require.Contains(t, answers[1], `(("INBOX." "."))`)
			require.Contains(t, answers[2], "c OK")
			require.Contains(t, answers[3], `\Sent`)
			require.Contains(t, answers[4], "e NO [OVERQUOTA]")

			second, err := net.Dial("tcp", srv.Addr(testserver.IMAP))
			require.NoError(t, err)
			defer second.Close()
			answers = talk(t, second, []string{"a", "b"}, "a LOGIN u2 pw2", "b LOGOUT")
			require.Contains(t, answers[0], "a OK")
			third, err := net.Dial("tcp", srv.Addr(testserver.IMAP))
			require.NoError(t, err)
			defer third.Close()
			answers = talk(t, third, []string{"a"}, "a LOGIN u1 pw1")
			require.Contains(t, answers[0], "mail_max_userip_connections")
		})
	}
}

// TestNothingLeftBehind is the promise of Stop: no process, no port, no file,
// no goroutine, while a client is connected all the time.
func TestNothingLeftBehind(t *testing.T) {
	before := goleak.IgnoreCurrent()
	srv := testserver.Dovecot(t, testserver.DovecotOptions{})
	conn, err := net.Dial("tcp", srv.Addr(testserver.IMAP))
	require.NoError(t, err)
	defer conn.Close()
	talk(t, conn, []string{"a", "b"}, "a LOGIN u1 pw1", "b SELECT INBOX")

	root := srv.Root
	require.NotEmpty(t, processesOf(t, root))
	srv.Stop()
	require.Empty(t, processesOf(t, root))
	require.False(t, srv.Alive())
	for _, service := range []testserver.Service{testserver.IMAP, testserver.IMAPS, testserver.POP3, testserver.POP3S, testserver.Doveadm, testserver.DoveadmHTTP} {
		l, err := net.Listen("tcp", srv.Addr(service))
		require.NoError(t, err, service)
		l.Close()
	}
	_, err = os.Stat(root)
	require.ErrorIs(t, err, fs.ErrNotExist)
	goleak.VerifyNone(t, before)
}

// processesOf returns the processes that have a file below root open or on
// their command line.
func processesOf(t *testing.T, root string) []string {
	t.Helper()
	procs, err := filepath.Glob("/proc/[0-9]*")
	require.NoError(t, err)
	var found []string
	for _, p := range procs {
		args, _ := os.ReadFile(filepath.Join(p, "cmdline"))
		mine := strings.Contains(string(args), root)
		fds, _ := filepath.Glob(filepath.Join(p, "fd", "*"))
		for _, fd := range fds {
			target, _ := os.Readlink(fd)
			mine = mine || strings.HasPrefix(target, root)
		}
		if mine {
			found = append(found, p+" "+string(args))
		}
	}
	return found
}

func TestKillAndRestartKeepData(t *testing.T) {
	t.Parallel()
	srv := testserver.Dovecot(t, testserver.DovecotOptions{Store: "sdbox"})
	addr := srv.Addr(testserver.IMAP)
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	talk(t, conn, []string{"a", "b"}, "a LOGIN u1 pw1", "b APPEND INBOX {5+}\r\nabcde")

	srv.Kill()
	_, err = conn.Read(make([]byte, 1<<10))
	require.Error(t, err)
	_, err = net.Dial("tcp", addr)
	require.True(t, errors.Is(err, syscall.ECONNREFUSED), err)

	for range 3 {
		srv.Restart()
		conn, err = net.Dial("tcp", addr)
		require.NoError(t, err)
		answers := talk(t, conn, []string{"a", "* STATUS"}, "a LOGIN u1 pw1", "b STATUS INBOX (MESSAGES)")
		require.Contains(t, answers[1], "MESSAGES 1")
		conn.Close()
	}
}

// TestManyAtOnce starts servers side by side, in this process and in another
// run of this test binary.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	if os.Getenv("TESTSERVER_CHILD") == "" {
		testserver.Dovecot(t, testserver.DovecotOptions{}) // skips where there is none
		exe, err := os.Executable()
		require.NoError(t, err)
		child := exec.Command(exe, "-test.run=^TestManyAtOnce$", "-test.v")
		child.Env = append(os.Environ(), "TESTSERVER_CHILD=many")
		var out strings.Builder
		child.Stdout, child.Stderr = &out, &out
		require.NoError(t, child.Start())
		defer func() { require.NoError(t, child.Wait(), out.String()) }()
	}
	t.Run("group", func(t *testing.T) {
		for i := range 6 {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				srv := testserver.Dovecot(t, testserver.DovecotOptions{})
				conn, err := net.Dial("tcp", srv.Addr(testserver.IMAP))
				require.NoError(t, err)
				defer conn.Close()
				// Only this server knows this user.
				u := srv.AddUser("only", srv.Root)
				answers := talk(t, conn, []string{"a"}, fmt.Sprintf("a LOGIN %s %s", u.Name, u.Password))
				require.Contains(t, answers[0], "a OK")
			})
		}
	})
}

// TestServerDiesWithTheTest kills a test binary that runs a server.
func TestServerDiesWithTheTest(t *testing.T) {
	if os.Getenv("TESTSERVER_CHILD") == "die" {
		srv := testserver.Dovecot(t, testserver.DovecotOptions{})
		conn, err := net.Dial("tcp", srv.Addr(testserver.IMAP))
		require.NoError(t, err)
		talk(t, conn, []string{"a"}, "a LOGIN u1 pw1")
		fmt.Printf("root=%s\n", srv.Root)
		select {}
	}
	t.Parallel()
	testserver.Dovecot(t, testserver.DovecotOptions{})
	exe, err := os.Executable()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	child := exec.CommandContext(ctx, exe, "-test.run=^TestServerDiesWithTheTest$")
	child.Env = append(os.Environ(), "TESTSERVER_CHILD=die")
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	root, ok := strings.CutPrefix(strings.TrimSpace(line), "root=")
	require.True(t, ok, line)
	defer os.RemoveAll(root)
	require.NotEmpty(t, processesOf(t, root))

	require.NoError(t, child.Process.Kill())
	_ = child.Wait()
	require.Eventually(t, func() bool { return len(processesOf(t, root)) == 0 }, 10*time.Second, 20*time.Millisecond,
		"%v", processesOf(t, root))
}

func TestCacheDir(t *testing.T) {
	t.Setenv("MAILHAUL_SERVER_CACHE", t.TempDir())
	dir, err := testserver.CacheDir()
	require.NoError(t, err)
	require.Equal(t, os.Getenv("MAILHAUL_SERVER_CACHE"), dir)
	_, err = testserver.Unpacked("cyrus")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "cyrus", "usr"), 0o755))
	unpacked, err := testserver.Unpacked("cyrus")
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, "cyrus"), unpacked)
}
