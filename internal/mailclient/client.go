// A program with its configuration and its memory, and what a run of it does.

package mailclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

// Program is a mail program.
type Program struct {
	Name     string
	Package  string // the Debian package that holds it
	Protocol mailhaul.Protocol

	// configure writes its configuration and says how it is run.
	configure func(s setup) (args []string, err error)
	// idle is the exit status that says there was nothing to fetch.
	idle int
	// harmless are parts of lines that are no complaint about the account.
	harmless []string
}

// setup is what a configuration is made of.
type setup struct {
	t        testing.TB
	dir      string // the program's own, for configuration and memory
	mail     string // where its mail is to lie
	host     string
	port     int
	user     string
	password string
}

// file writes a file that only its owner can read, as most programs demand.
func (s setup) file(name string, lines ...string) (string, error) {
	name = filepath.Join(s.dir, name)
	return name, os.WriteFile(name, []byte(strings.Join(lines, "\n")+"\n"), 0o600)
}

// IMAPPrograms are those that mirror an account.
func IMAPPrograms() []Program { return []Program{Mbsync, OfflineIMAP} }

// POP3Programs are those that fetch a maildrop and leave it on the server.
func POP3Programs() []Program { return []Program{Mpop, Fetchmail, Getmail} }

// Login is the account, which is called the same on every server.
type Login struct{ User, Password string }

// Client is a program that is set up. It is for the goroutine of its test.
type Client struct {
	Program
	t    testing.TB
	s    setup
	tap  *Tap
	path string
	args []string
	has  holding

	saved string  // a folder
	had   holding // then
}

// Effect is what a run did.
type Effect struct {
	Traffic

	Came    int // messages that are new to the program's Maildirs
	Went    int // messages that are gone from them
	Changed int // messages in them whose flags changed
	Folders int // Maildirs that came or went

	// Complaints are the lines that tell of trouble, and the exit status where
	// that does.
	Complaints []string
	Output     string
}

// Noticed lists what a program must not do when the account has moved and
// nothing else has happened; empty is as it should be.
func (e Effect) Noticed() []string {
	var list []string
	for _, c := range []struct {
		n    int
		what string
	}{
		{e.Bodies, "downloaded"}, {e.Appends, "uploaded"}, {e.Deletes, "deleted on the server"}, {e.Stores, "changed on the server"},
		{e.Came, "added locally"}, {e.Went, "removed locally"}, {e.Changed, "changed locally"},
	} {
		if c.n > 0 {
			list = append(list, fmt.Sprintf("%d messages %s", c.n, c.what))
		}
	}
	if e.Folders > 0 {
		list = append(list, fmt.Sprintf("%d folders came or went", e.Folders))
	}
	if e.Logins == 0 {
		list = append(list, "it did not connect")
	}
	for _, c := range e.Complaints {
		list = append(list, "it complained: "+c)
	}
	return list
}

// First says how a first run differs from one that brings so many messages, and
// does nothing else.
func (e Effect) First(messages int) []string {
	e.Folders = 0
	return e.Brought(messages, 0)
}

// Brought says how a run differs from one that brings so many new messages and
// changes of flags, and does nothing else.
func (e Effect) Brought(messages, changes int) []string {
	if e.Bodies != messages || e.Came != messages || e.Changed != changes {
		return []string{fmt.Sprintf("%d messages went over the wire, %d came, %d changed, not %d and %d", e.Bodies, e.Came, e.Changed, messages, changes)}
	}
	e.Bodies, e.Came, e.Changed = 0, 0, 0
	return e.Noticed()
}

// runTimeout is how long a run may take.
const runTimeout = 5 * time.Minute

// New sets a program up for an account. It ends with the test.
func New(t testing.TB, p Program, login Login) *Client {
	t.Helper()
	path := testserver.RequireProgram(t, p.Name, p.Package)
	tap, err := newTap(p.Protocol)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tap.close(); err != nil {
			t.Error(err)
		}
	})
	dir := testserver.Dir(t)
	c := &Client{
		Program: p, t: t, tap: tap, path: path, has: make(holding),
		s: setup{
			t: t, dir: dir, mail: filepath.Join(dir, "mail"), host: "127.0.0.1", port: tap.port(),
			user: login.User, password: login.Password,
		},
	}
	if err := os.Mkdir(c.s.mail, 0o700); err != nil {
		t.Fatal(err)
	}
	if c.args, err = p.configure(c.s); err != nil {
		t.Fatalf("cannot set up %s: %v", p.Name, err)
	}
	return c
}

// PointAt gives the name that the program knows the server by another address,
// which must take the log-in in the clear.
func (c *Client) PointAt(addr string) { c.tap.pointAt(addr) }

// Mail is the folder that holds the program's Maildirs.
func (c *Client) Mail() string { return c.s.mail }

// Run lets the program do what it does every few minutes.
func (c *Client) Run() Effect {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), runTimeout)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, c.path, c.args...)
	cmd.Dir = c.s.dir
	cmd.Env = []string{"HOME=" + c.s.dir, "FETCHMAILHOME=" + c.s.dir, "PATH=/usr/bin:/bin:/usr/sbin:/sbin", "LANG=C.UTF-8", "PYTHONWARNINGS=ignore"}
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second
	err := asNobody(cmd, c.s.dir)
	if err == nil {
		err = cmd.Run()
	}
	if ctx.Err() != nil {
		c.t.Fatalf("%s did not end within %v:\n%s", c.Name, runTimeout, out.String())
	}
	exit := (*exec.ExitError)(nil)
	if err != nil && !errors.As(err, &exit) {
		c.t.Fatalf("cannot run %s: %v", c.Name, err)
	}

	e := Effect{Traffic: c.tap.take(), Output: out.String()}
	for line := range strings.Lines(e.Output) {
		if line = strings.TrimSpace(line); c.complains(line) {
			e.Complaints = append(e.Complaints, line)
		}
	}
	if status := cmd.ProcessState.ExitCode(); status != 0 && status != c.idle {
		e.Complaints = append(e.Complaints, fmt.Sprintf("exit status %d", status))
	}
	has, err := hold(c.s.mail)
	if err != nil {
		c.t.Fatal(err)
	}
	e.Came, e.Went, e.Changed, e.Folders = has.since(c.has)
	c.has = has
	return e
}

// Save keeps the program's configuration, memory and mail as they are now.
// Restore brings back what was saved last: the program then knows nothing of
// what it did since.
func (c *Client) Save() {
	c.t.Helper()
	c.saved, c.had = testserver.Dir(c.t), maps.Clone(c.has)
	if err := copyTree(c.saved, c.s.dir); err != nil {
		c.t.Fatal(err)
	}
}

// Restore undoes all runs since Save.
func (c *Client) Restore() {
	c.t.Helper()
	entries, err := os.ReadDir(c.s.dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(c.s.dir, e.Name())))
	}
	if err = errors.Join(err, copyTree(c.s.dir, c.saved)); err != nil {
		c.t.Fatal(err)
	}
	c.has = maps.Clone(c.had)
}

// copyTree copies what is below a folder, with its modes: programs refuse
// configurations that others can read. Its folders look as if nobody had been
// there for an hour: mbsync waits a second where somebody has.
func copyTree(to, from string) error {
	err := filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == from {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		there := filepath.Join(to, name[len(from):])
		if d.IsDir() {
			return os.Mkdir(there, info.Mode().Perm())
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(there, text, info.Mode().Perm()); err != nil {
			return err
		}
		return os.Chtimes(there, info.ModTime(), info.ModTime())
	})
	if err != nil {
		return err
	}
	long := time.Now().Add(-time.Hour)
	return filepath.WalkDir(to, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return os.Chtimes(name, long, long)
	})
}

// complains reports whether a line tells of trouble.
func (c *Client) complains(line string) bool {
	if slices.ContainsFunc(c.harmless, func(part string) bool { return strings.Contains(line, part) }) {
		return false
	}
	line = strings.ToLower(line)
	return slices.ContainsFunc([]string{
		"error", "warn", "fail", "validity", "changed", "conflict", "cannot", "can't", "could not", "unable", "refus", "skipp", "missing", "unexpected", "lost", "traceback", "exception", "duplicate",
	}, func(part string) bool { return strings.Contains(line, part) })
}
