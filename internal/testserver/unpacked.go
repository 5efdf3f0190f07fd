// What the servers that are unpacked rather than installed have in common.

package testserver

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// unpackedPackages is what a missing server is told to need.
func unpackedPackages(packages ...string) []string {
	return append(packages, "(unpacked by internal/testserver/unpack.sh)")
}

// findUnpacked returns an error where one of the files is not below the cache
// folder of the kind.
func findUnpacked(kind string, files ...string) error {
	dir, err := Unpacked(kind)
	if err != nil {
		return err
	}
	for _, f := range files {
		if _, err := os.Stat(filepath.Join(dir, f)); err != nil {
			return err
		}
	}
	return nil
}

// inNamespace writes a script that runs as the init of mount and PID
// namespaces of its own, so that it may mount what it likes.
func inNamespace(in *Instance, script string) (Command, error) {
	name := filepath.Join(in.Root, "start.sh")
	text := "#!/bin/sh\nset -e\nmount --make-rprivate /\nmount -t proc proc /proc\n" + script
	if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
		return Command{}, err
	}
	return Command{Path: "/bin/sh", Args: []string{name}, Namespace: true}, nil
}

// writeFiles writes files below the root, whose directories it makes.
func writeFiles(in *Instance, files map[string]string) error {
	for name, text := range files {
		name = filepath.Join(in.Root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// hostFile returns a file of the machine with lines added.
func hostFile(name string, lines ...string) (string, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	return strings.TrimRight(string(text), "\n") + "\n" + strings.Join(lines, "\n") + "\n", nil
}

// runTool runs a program of an unpacked server with the given input.
func runTool(input string, env []string, program string, args ...string) (string, error) {
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", filepath.Base(program), err, out)
	}
	return string(out), nil
}

// cryptHash returns the password as /etc/shadow holds it.
func cryptHash(password string) (string, error) {
	out, err := runTool("", nil, "openssl", "passwd", "-6", password)
	return strings.TrimSpace(out), err
}

// makeMaildir makes a Maildir that belongs to the owner.
func makeMaildir(dir string, owner int) error {
	for _, d := range []string{dir, filepath.Join(dir, "cur"), filepath.Join(dir, "new"), filepath.Join(dir, "tmp")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return err
		}
		if err := os.Chown(d, owner, owner); err != nil {
			return err
		}
	}
	return nil
}

// intoMaildir delivers messages, with the line ends of Unix.
func intoMaildir(dir string, owner int, messages [][]byte) error {
	for i, m := range messages {
		name := filepath.Join(dir, "cur", fmt.Sprintf("%010d.M%dP1.localhost:2,", 1_600_000_000+i, i))
		if err := os.WriteFile(name, []byte(strings.ReplaceAll(string(m), "\r\n", "\n")), 0o600); err != nil {
			return err
		}
		if err := os.Chown(name, owner, owner); err != nil {
			return err
		}
	}
	return nil
}

// deliverer is a Kind whose server takes mail as files.
type deliverer interface {
	deliver(in *Instance, u User, messages [][]byte) error
}

// Deliver puts messages into the user's empty mailbox, as files: on servers
// whose IMAP is slow, or that have none.
func (s *Server) Deliver(u User, messages ...[]byte) {
	s.t.Helper()
	d, ok := s.kind.(deliverer)
	err := errors.ErrUnsupported
	if ok {
		err = d.deliver(&s.Instance, u, messages)
	}
	if err != nil {
		s.t.Fatalf("cannot deliver to %s of %s: %v", u.Name, s.Kind(), err)
	}
}

// Cyrus starts a Cyrus.
func Cyrus(t testing.TB, opts Options) *Server { t.Helper(); return Start(t, cyrus{}, opts) }

// Courier starts a Courier.
func Courier(t testing.TB, opts Options) *Server { t.Helper(); return Start(t, courier{}, opts) }

// MailutilsDomain stands behind the "@" in the log-ins of a Mailutils.
const MailutilsDomain = "test"

// Mailutils starts the POP3 server of GNU Mailutils, over Maildirs.
func Mailutils(t testing.TB, opts Options) *Server { t.Helper(); return Start(t, mailutils{}, opts) }

// Popa3d starts a popa3d, which knows no TLS.
func Popa3d(t testing.TB, opts Options) *Server { t.Helper(); return Start(t, popa3d{}, opts) }

// Solid starts a solid-pop3d, which knows no TLS.
func Solid(t testing.TB, opts Options) *Server { t.Helper(); return Start(t, solid{}, opts) }
