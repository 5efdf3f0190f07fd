package main

import (
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/internal/imapserver"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

func TestMovesOnceAndThenFindsNothingToDo(t *testing.T) {
	r := newRig(t, imapserver.Options{}, imapserver.Options{})
	r.fill("INBOX", 30)
	r.fill("INBOX.Work.Größe", 7)
	r.fill("INBOX.Empty", 0)
	first := r.run().want(exitComplete)
	require.Contains(t, first.stdout, "37   messages in 3 folders")
	require.Contains(t, first.stdout, "All of the source is on the target.")
	require.Contains(t, first.stderr, "Größe: 7 copied")
	r.same("INBOX", "INBOX")
	r.same("INBOX.Work.Größe", "Work/Größe")
	r.same("INBOX.Empty", "Empty")

	second := r.run("-json").want(exitComplete)
	second.counts(map[string]int{"messages": 37, "copied": 0, "skipped": 37, "adopted": 0, "bytes": 0})
	require.NotContains(t, second.stderr, "copied")

	// Without its memory it recognises what is there.
	require.NoError(t, os.Remove(r.state))
	r.run("-json").want(exitComplete).counts(map[string]int{"copied": 0, "adopted": 37})
	r.same("INBOX", "INBOX")
}

// reportKeys are the contract.
var reportKeys = []string{
	"adopted", "altered", "bytes", "copied", "failed", "flags_updated", "from", "identity", "mailboxes", "messages",
	"removed_on_target", "round_trips", "seconds", "skipped", "to", "vanished", "warnings",
}

func TestJSONKeys(t *testing.T) {
	r := newRig(t, imapserver.Options{}, imapserver.Options{Refuse: refuseSubject("3")})
	r.fill("INBOX", 5)
	m := r.run("-json").want(exitIncomplete).counts(map[string]int{"mailboxes": 1, "messages": 5, "copied": 4})
	require.Equal(t, reportKeys, slices.Sorted(maps.Keys(m)))
	require.Regexp(t, `^ada at 127\.0\.0\.1:\d+$`, m["from"])
	require.Equal(t, map[string]any{"INBOX": "order"}, m["identity"])
	require.Equal(t, []any{}, m["altered"])
	failed := m["failed"].([]any)
	require.Len(t, failed, 1)
	require.Equal(t, []string{"mailbox", "reason", "uid"}, slices.Sorted(maps.Keys(failed[0].(map[string]any))))
	require.Greater(t, m["round_trips"], 1.0)

	r.target.AddUser("ada", "changed")
	m = r.run("-json").want(exitAuth).json()
	require.Equal(t, slices.Sorted(slices.Values(append([]string{"error"}, reportKeys...))), slices.Sorted(maps.Keys(m)))
	for _, list := range []string{"altered", "failed", "warnings"} {
		require.IsType(t, []any{}, m[list], list)
	}
}

func refuseSubject(n string) func([]byte) error {
	return func(body []byte) error {
		if strings.Contains(string(body), "\r\nSubject: "+n+"\r\n") {
			return errors.New("[CANNOT] this message has a virus")
		}
		return nil
	}
}

func TestWhatIsNotOnTheTargetIsListed(t *testing.T) {
	r := newRig(t, imapserver.Options{}, imapserver.Options{Refuse: func(body []byte) error {
		if strings.Contains(string(body), "word word") {
			return errors.New("[CANNOT] this message has a virus")
		}
		return nil
	}})
	r.fill("INBOX.Poems", 40)
	out := r.run().want(exitIncomplete)
	require.Contains(t, out.stdout, "Not on the target (38):\n")
	require.Contains(t, out.stdout, "  INBOX.Poems, UID 3: ")
	require.Contains(t, out.stdout, "this message has a virus")
	require.Contains(t, out.stdout, "… and 18 more; -json lists all")
	require.Equal(t, listed, strings.Count(out.stdout, "  INBOX.Poems, UID "))
	require.NotContains(t, out.stdout, "All of the source")
	require.Len(t, r.run("-json").want(exitIncomplete).json()["failed"], 38)
}

func TestDryRunWritesNothing(t *testing.T) {
	var mu sync.Mutex
	var commands []string
	r := newRig(t, imapserver.Options{}, imapserver.Options{Quota: 1 << 30, Hooks: imapserver.Hooks{
		Command: func(_ *imapserver.Session, command, _ string) *imapserver.Override {
			mu.Lock()
			defer mu.Unlock()
			commands = append(commands, command)
			return nil
		},
	}})
	r.fill("INBOX", 12)
	r.fill("INBOX.Work", 3)
	out := r.run("-dry-run").want(exitComplete)
	require.Regexp(t, `(?m)^  INBOX +INBOX +12 +12 +\d`, out.stdout)
	require.Regexp(t, `(?m)^  INBOX\.Work +Work +new +3 +3 +\d`, out.stdout)
	require.Regexp(t, `(?m)^  2 folders +15 +15 +\d`, out.stdout)
	require.Contains(t, out.stdout, "leaves room for 1.1 GB")
	require.NoFileExists(t, r.state)
	for _, c := range []string{"APPEND", "CREATE", "SUBSCRIBE", "STORE", "UID STORE"} {
		require.NotContains(t, commands, c)
	}
	require.Len(t, r.target.User("ada").Mailboxes(), 1)

	m := r.run("-dry-run", "-json").want(exitComplete).counts(map[string]int{"messages": 15, "move": 15})
	require.Equal(t, []string{"bytes", "delete", "from", "held", "mailboxes", "messages", "move", "room", "to", "warnings"}, slices.Sorted(maps.Keys(m)))
	require.Len(t, m["mailboxes"], 2)

	// With a checkpoint: it is read, and left as it is.
	r.run().want(exitComplete)
	before, err := os.ReadFile(r.state)
	require.NoError(t, err)
	r.fill("INBOX", 1)
	r.run("-dry-run", "-json").want(exitComplete).counts(map[string]int{"messages": 16, "move": 1})
	after, err := os.ReadFile(r.state)
	require.NoError(t, err)
	require.True(t, slices.Equal(before, after), "the checkpoint has changed")
	require.Equal(t, 12, r.target.User("ada").Mailbox("INBOX").Len())
}

func TestWrongPassword(t *testing.T) {
	r := newRig(t, imapserver.Options{}, imapserver.Options{})
	r.fill("INBOX", 1)
	r.source.AddUser("ada", "another")
	out := r.run().want(exitAuth).says("log in", `"ada"`, r.address(r.from), "password")
	require.Contains(t, out.stdout, "this run moved nothing")
	require.Less(t, r.source.Stats().Commands["LOGIN"]+r.source.Stats().Commands["AUTHENTICATE"], int64(3), "a wrong password is not tried again")
}

// TestServerThatTellsTheSecret: a server's answer is no way for a password to
// get out.
func TestServerThatTellsTheSecret(t *testing.T) {
	echo := imapserver.Hooks{Command: func(_ *imapserver.Session, command, _ string) *imapserver.Override {
		if command == "LOGIN" || command == "AUTHENTICATE" {
			return &imapserver.Override{Reply: "NO [AUTHENTICATIONFAILED] ada may not log in with " + fromPassword}
		}
		return nil
	}}
	r := newRig(t, imapserver.Options{Caps: imapserver.Without("SASL-IR"), AuthMechs: []string{}, Hooks: echo}, imapserver.Options{})
	r.run("-v").want(exitAuth).says("log in", `"ada"`)
	r.run("-v", "-json").want(exitAuth)
}

func (r *rig) address(url string) string { return url[strings.LastIndexByte(url, '@')+1:] }

func TestStoppedByServerOrNetwork(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	refused := closed.Addr().String()
	require.NoError(t, closed.Close())

	t.Run("unknown host", func(t *testing.T) {
		r := newRig(t, imapserver.Options{}, imapserver.Options{})
		r.to = "imaps://ada:" + toPassword + "@nowhere.invalid"
		r.run().want(exitStopped).says("nowhere.invalid")
	})
	t.Run("connection refused", func(t *testing.T) {
		r := newRig(t, imapserver.Options{}, imapserver.Options{})
		r.from = "imap+plain://ada:" + fromPassword + "@" + refused
		out := r.run("-json").want(exitStopped).says(refused, "refused")
		require.Contains(t, out.stderr, "waiting", "a pause is announced")
		require.Contains(t, out.json()["error"], "refused")
		m := r.run("-dry-run", "-json").want(exitStopped).json()
		require.Contains(t, m["error"], "refused")
	})
	t.Run("nonsense", func(t *testing.T) {
		r := newRig(t, imapserver.Options{}, imapserver.Options{})
		talker, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				c, err := talker.Accept()
				if err != nil {
					return
				}
				_, _ = io.WriteString(c, "220 mail.example.org ESMTP\r\n")
				_ = c.Close()
			}
		}()
		r.from = "imap+plain://ada:" + fromPassword + "@" + talker.Addr().String()
		r.run().want(exitStopped).says(talker.Addr().String())
		require.NoError(t, talker.Close())
		<-done
	})
	t.Run("full target", func(t *testing.T) {
		r := newRig(t, imapserver.Options{}, imapserver.Options{Quota: 2000})
		r.fill("INBOX", 100)
		out := r.run("-json").want(exitStopped).says(r.address(r.to), "INBOX", "quota")
		m := out.json()
		require.NotEmpty(t, m["error"])
		require.EqualValues(t, r.target.User("ada").Mailbox("INBOX").Len(), m["copied"], "what was done is reported")
	})
	t.Run("no TLS there", func(t *testing.T) {
		r := newRig(t, imapserver.Options{}, imapserver.Options{})
		r.from = strings.Replace(r.from, "imap+plain", "imap", 1)
		r.run().want(exitStopped).says(r.address(r.from), "STARTTLS")
	})
}

func TestUnusableCheckpoint(t *testing.T) {
	r := newRig(t, imapserver.Options{}, imapserver.Options{})
	r.fill("INBOX", 2)
	dir := t.TempDir()
	good := r.state

	r.state = filepath.Join(dir, "missing", "state.db")
	out := r.run("-json").want(exitStopped).says(r.state, "directory does not exist", "create it")
	require.Equal(t, 0.0, out.json()["copied"])
	r.state = dir
	r.run().want(exitStopped).says(dir, "directory")
	r.state = filepath.Join(dir, "letter.txt")
	require.NoError(t, os.WriteFile(r.state, []byte(strings.Repeat("Dear Ada, ", 2000)), 0o600))
	r.run().want(exitStopped).says(r.state, "not a checkpoint")

	r.state = good
	held, err := checkpoint.Open(r.state, nil)
	require.NoError(t, err)
	r.run().want(exitStopped).says(r.state, "in use")
	require.NoError(t, held.Close())

	r.run().want(exitComplete)
	makeNewer(t, r.state)
	r.run().want(exitStopped).says(r.state, "newer", "-state")
	r.state = filepath.Join(dir, "fresh.db")
	r.run("-json").want(exitComplete).counts(map[string]int{"adopted": 2, "copied": 0})
}

func TestChoosingAndRenaming(t *testing.T) {
	r := newRig(t, imapserver.Options{}, imapserver.Options{})
	r.fill("INBOX", 1)
	r.fill("INBOX.Work", 2)
	r.fill("INBOX.Work.2019", 3)
	r.fill("INBOX.Work.2020", 4)
	r.fill("INBOX.Play", 5)
	out := r.run("-include", "Work", "-include", "INBOX", "-exclude", "Work/2020", "-rename", "Work=Archive/Old work", "-rename", "Nope=X").want(exitComplete)
	require.Contains(t, out.stdout, "All that was chosen of the source is on the target.")
	require.Contains(t, out.stdout, `-rename: the source has no folder "Nope"`)
	r.same("INBOX", "INBOX")
	r.same("INBOX.Work", "Archive/Old work")
	r.same("INBOX.Work.2019", "Archive/Old work/2019")
	for _, name := range []string{"Work", "Play", "Archive/Old work/2020"} {
		require.Nil(t, r.target.User("ada").Mailbox(name), name)
	}
	require.Contains(t, r.run("-include", "Wrok").stdout, "Wrok")
	r.run("-rename", "Work=Play").want(exitUsage).says("Work", "Play", "-rename")
}

func TestWhereThePasswordComesFrom(t *testing.T) {
	r := newRig(t, imapserver.Options{}, imapserver.Options{})
	r.fill("INBOX", 3)
	file := func(text string) string {
		name := filepath.Join(t.TempDir(), "password")
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		return name
	}
	from, to := r.from, r.to
	bare := func(url string) string {
		return strings.NewReplacer(":"+fromPassword, "", ":"+toPassword, "").Replace(url)
	}

	r.from, r.to = bare(from), bare(to)
	r.run().want(exitUsage).says("-from-password-file", "MAILHAUL_FROM_PASSWORD")
	r.env["MAILHAUL_FROM_PASSWORD"], r.env["MAILHAUL_TO_PASSWORD"] = fromPassword, toPassword
	r.run().want(exitComplete)
	r.env["MAILHAUL_FROM_PASSWORD"] = "wrong"
	r.run().want(exitAuth)
	r.from = from // the URL wins over the environment
	r.run().want(exitComplete)
	r.env = map[string]string{}
	r.from = strings.Replace(from, fromPassword, "wrong", 1) // and the file over the URL
	r.run("-from-password-file", file(fromPassword+"\n"), "-to-password-file", file(toPassword+"\r\n")).want(exitComplete)
	r.run("-from-password-file", file("wrong"), "-to-password-file", file(toPassword)).want(exitAuth)
	for _, bad := range []string{"", "\n", fromPassword + "\n" + toPassword + "\n", strings.Repeat("x", 100_000)} {
		r.run("-from-password-file", file(bad)).want(exitUsage).says("-from-password-file: the password file")
	}
	// Somebody gives the password itself.
	r.run("-from-password-file", fromPassword).want(exitUsage).says("cannot be read")
}

func TestCertificates(t *testing.T) {
	config, cert, ca := certificate(t, testserver.CertificateOptions{})
	_, other, otherCA := certificate(t, testserver.CertificateOptions{})
	r := newRig(t, imapserver.Options{TLSConfig: config}, imapserver.Options{TLSConfig: config, StartTLS: true, LoginDisabled: true})
	r.fill("INBOX", 3)
	addr, err := r.source.ListenTLS()
	require.NoError(t, err)
	r.from = "imaps://ada:" + fromPassword + "@" + addr
	r.to = strings.Replace(r.to, "imap+plain", "imap", 1)

	r.run().want(exitStopped).says("certificate", "-ca")
	r.run("-from-ca", ca, "-to-ca", otherCA).want(exitStopped).says("certificate", r.address(r.to))
	r.run("-from-ca", ca, "-to-ca", ca).want(exitComplete)
	pin, wrong := hexOf(cert.Pin[:]), hexOf(other.Pin[:])
	r.run("-from-pin", "sha256:"+pin, "-to-pin", wrong).want(exitStopped).says("public key", r.address(r.to))
	r.run("-from-pin", "sha256:"+pin, "-to-pin", wrong, "-to-pin", pin).want(exitComplete)
	r.run("-from-ca", filepath.Join(t.TempDir(), "none.pem")).want(exitUsage).says("-from-ca")
	r.run("-from-ca", r.state).want(exitUsage).says("no certificate")
	r.same("INBOX", "INBOX")
}

func TestOldServers(t *testing.T) {
	config, cert, ca := certificate(t, testserver.CertificateOptions{NotBefore: time.Now().AddDate(-2, 0, 0), NotAfter: time.Now().AddDate(-1, 0, 0)})
	config.MinVersion, config.MaxVersion = tls.VersionTLS10, tls.VersionTLS10
	r := newRig(t, imapserver.Options{TLSConfig: config}, imapserver.Options{})
	r.fill("INBOX", 3)
	addr, err := r.source.ListenTLS()
	require.NoError(t, err)
	r.from = "imaps://ada:" + fromPassword + "@" + addr
	r.run("-from-ca", ca).want(exitStopped).says(addr, "TLS")
	r.run("-from-ca", ca, "-from-tls-min", "1.1").want(exitStopped).says(addr, "TLS 1.1 or later")
	r.run("-from-ca", ca, "-to-tls-min", "1.0").want(exitUsage)
	r.run("-from-ca", ca, "-from-tls-min", "1.0").want(exitStopped).says(addr, "the certificate expired on")
	r.run("-from-pin", hexOf(cert.Pin[:]), "-from-tls-min", "1.0").want(exitComplete)
	r.same("INBOX", "INBOX")
}

// hold makes the target answer no APPEND until release is called; reached is
// closed when the first one waits.
func hold() (hooks imapserver.Hooks, reached chan struct{}, release func()) {
	reached, gate := make(chan struct{}), make(chan struct{})
	var once, opened sync.Once
	hooks.Append = func(string, string, *imapserver.Message) error {
		once.Do(func() { close(reached) })
		<-gate
		return nil
	}
	return hooks, reached, func() { opened.Do(func() { close(gate) }) }
}

func TestFirstSignalDrains(t *testing.T) {
	hooks, reached, release := hold()
	defer release()
	r := newRig(t, imapserver.Options{}, imapserver.Options{Hooks: hooks})
	r.fill("INBOX", 100)
	r.fill("INBOX.Later", 50)
	go func() {
		<-reached
		r.signals <- os.Interrupt
	}()
	r.onStderr = func(text string) {
		if strings.Contains(text, "interrupt again to stop at once") {
			release()
		}
	}
	out := r.run("-json", "-connections", "1").want(exitStopped).says("stopped on request", "resumes")
	copied := int(out.json()["copied"].(float64))
	require.Positive(t, copied, "what was under way is finished")
	require.LessOrEqual(t, copied, 100, "nothing new is begun")
	require.Equal(t, copied, r.target.User("ada").Mailbox("INBOX").Len())
	r.run("-json").want(exitComplete).counts(map[string]int{"skipped": copied, "copied": 150 - copied})
	r.same("INBOX", "INBOX")
	r.same("INBOX.Later", "Later")
}

func TestSecondSignalStops(t *testing.T) {
	hooks, reached, release := hold()
	defer release()
	r := newRig(t, imapserver.Options{}, imapserver.Options{Hooks: hooks})
	r.fill("INBOX", 40)
	var at atomic.Int64
	go func() {
		<-reached
		r.signals <- os.Interrupt
		r.signals <- syscall.SIGTERM
		at.Store(time.Now().UnixNano())
	}()
	r.run("-connections", "1").want(exitStopped).says("stopped at once", "resumes")
	require.Less(t, time.Since(time.Unix(0, at.Load())), 5*time.Second)
	release()
	r.run("-json").want(exitComplete)
	r.same("INBOX", "INBOX")
}

func TestSignalStopsDryRun(t *testing.T) {
	reached := make(chan struct{})
	var once sync.Once
	r := newRig(t, imapserver.Options{Hooks: imapserver.Hooks{
		Command: func(_ *imapserver.Session, command, _ string) *imapserver.Override {
			if command == "LIST" {
				once.Do(func() { close(reached) })
				return &imapserver.Override{End: imapserver.Hang}
			}
			return nil
		},
	}}, imapserver.Options{})
	go func() {
		<-reached
		r.signals <- os.Interrupt
	}()
	r.run("-dry-run").want(exitStopped).says("stopped at once")
}

func TestBarsOnATerminal(t *testing.T) {
	r := newRig(t, imapserver.Options{}, imapserver.Options{})
	r.fill("INBOX", 150)
	r.fill("INBOX.Work", 20)
	r.terminal = true
	out := r.run().want(exitComplete)
	require.Contains(t, out.stderr, "INBOX: 150 copied")
	require.NotContains(t, out.stdout, "\x1b")
	r.same("INBOX", "INBOX")
	r.state = filepath.Join(t.TempDir(), "no", "state.db")
	r.run().want(exitStopped)
}

func TestLog(t *testing.T) {
	r := newRig(t, imapserver.Options{}, imapserver.Options{})
	r.fill("INBOX", 2)
	r.terminal = true
	out := r.run("-v").want(exitComplete)
	require.NotContains(t, out.stderr, "\x1b", "bars and a log do not go together")
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

func TestLostReportIsNoCleanEnd(t *testing.T) {
	r := newRig(t, imapserver.Options{}, imapserver.Options{})
	for _, args := range [][]string{nil, {"-json"}, {"-dry-run"}} {
		var stderr buffer
		status := run(t.Context(), system{
			args: append([]string{"-from", r.from, "-to", r.to, "-state", r.state}, args...),
			env:  func(string) string { return "" }, stdout: broken{}, stderr: &stderr, signals: r.signals,
		})
		require.Equal(t, exitStopped, status)
		require.Contains(t, stderr.String(), "the report could not be written")
	}
}

func TestDemo(t *testing.T) {
	r := &rig{t: t}
	start := time.Now()
	out := r.start().want(exitComplete)
	require.Less(t, time.Since(start), 10*time.Second)
	require.Contains(t, out.stdout, "All of the source is on the target.")
	require.Contains(t, out.stderr, "60 messages copied in")
	require.Contains(t, out.stderr, "0 messages copied: all 60 were known")
	require.Contains(t, out.stderr, "60 of 60 messages\nare the same")
	require.Contains(t, out.stderr, "migrate -from imaps://")

	m := r.start("-json").want(exitComplete).counts(map[string]int{"messages": 60, "copied": 60})
	require.Equal(t, reportKeys, slices.Sorted(maps.Keys(m)))
	plan := r.start("-dry-run").want(exitComplete)
	require.Contains(t, plan.stdout, "This was a dry run")
	require.NoFileExists(t, "mailhaul.db")
}

// TestWithoutDemo: a user's own copy has no demo.go, since that imports what
// only mailhaul can.
func TestWithoutDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the program")
	}
	names, err := filepath.Glob("*.go")
	require.NoError(t, err)
	args := []string{"build", "-o", filepath.Join(t.TempDir(), "migrate")}
	if runtime.GOOS == "windows" {
		args[2] += ".exe"
	}
	for _, name := range names {
		if name != "demo.go" && !strings.HasSuffix(name, "_test.go") {
			text, err := os.ReadFile(name)
			require.NoError(t, err)
			require.NotContains(t, string(text), "mailhaul/internal/", name)
			args = append(args, name)
		}
	}
	text, err := exec.Command("go", args...).CombinedOutput()
	require.NoError(t, err, "%s", text)

	program := exec.Command(args[2])
	stdout, err := program.StdoutPipe()
	require.NoError(t, err)
	var stderr strings.Builder
	program.Stderr = &stderr
	require.NoError(t, program.Start())
	printed, err := io.ReadAll(stdout)
	require.NoError(t, err)
	var exit *exec.ExitError
	require.ErrorAs(t, program.Wait(), &exit)
	require.Equal(t, exitUsage, exit.ExitCode())
	require.Empty(t, printed)
	require.Equal(t, usage, stderr.String())
}

func TestVerify(t *testing.T) {
	r := newRig(t, imapserver.Options{}, imapserver.Options{})
	r.fill("INBOX", 4)
	r.fill("INBOX.Work", 2)
	out := r.run("-verify").want(exitIncomplete)
	require.Contains(t, out.stdout, "6 are not on the target")
	require.NoFileExists(t, r.state, "a verification writes nothing")
	r.run().want(exitComplete)
	out = r.run("-verify").want(exitComplete)
	require.Contains(t, out.stdout, "Both sides hold the same 6 messages")
	m := r.run("-verify", "-json").want(exitComplete).json()
	require.EqualValues(t, 6, m["messages"])
	require.Empty(t, m["differences"])

	inbox := r.target.User("ada").Mailbox("INBOX")
	inbox.Expunge(inbox.Messages()[0].UID)
	out = r.run("-verify").want(exitIncomplete)
	require.Contains(t, out.stdout, "1 are not on the target")
	r.run("-verify", "-dry-run").want(exitUsage)
}
