package dsync

// A command whose standard input and output lead to Dovecot.

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

const (
	// commandGrace is how long a command may take to end once its input has
	// ended: Dovecot writes down then what it was sent.
	commandGrace = 10 * time.Second

	// stderrGrace is how long the words of a command are waited for that has
	// closed its output.
	stderrGrace = time.Second
)

// command is a pipe to a process of ours. However it is left, Close has waited
// for the process.
type command struct {
	in  *os.File // what we write
	out *os.File // what we read

	process *os.Process
	stderr  tail
	ended   chan struct{} // closed when the process has been waited for
	err     error         // how it ended, after that
}

// startCommand starts the program, without a shell.
func startCommand(argv []string) (*command, error) {
	stdin, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, stdout, err := os.Pipe()
	if err != nil {
		_, _ = stdin.Close(), in.Close()
		return nil, err
	}
	c := &command{in: in, out: out, ended: make(chan struct{})}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, &c.stderr
	cmd.WaitDelay = stderrGrace // a grandchild may hold standard error
	err = cmd.Start()
	_, _ = stdin.Close(), stdout.Close()
	if err != nil {
		_, _ = in.Close(), out.Close()
		return nil, err
	}
	c.process = cmd.Process
	go func() {
		c.err = cmd.Wait()
		close(c.ended)
	}()
	return c, nil
}

func (c *command) Read(p []byte) (int, error)         { return c.out.Read(p) }
func (c *command) Write(p []byte) (int, error)        { return c.in.Write(p) }
func (c *command) SetReadDeadline(t time.Time) error  { return c.out.SetReadDeadline(t) }
func (c *command) SetWriteDeadline(t time.Time) error { return c.in.SetWriteDeadline(t) }
func (c *command) CloseWrite() error                  { return c.in.Close() }

func (c *command) Interrupt() { _, _ = c.in.Close(), c.out.Close() }

func (c *command) Close() error {
	_ = c.in.Close()
	timer := time.NewTimer(commandGrace)
	defer timer.Stop()
	// Whatever it still says is in its way.
	go func() { _, _ = io.Copy(io.Discard, c.out) }()
	select {
	case <-c.ended:
	case <-timer.C:
		_ = c.process.Kill()
		<-c.ended
	}
	_ = c.out.Close()
	return nil
}

// Explain adds the end of what the command wrote to its standard error.
func (c *command) Explain(err error) error {
	if errors.Is(err, errSilent) || errors.Is(err, errSlow) || errors.Is(err, errStuck) {
		return c.withWords(err)
	}
	timer := time.NewTimer(stderrGrace)
	defer timer.Stop()
	select {
	case <-c.ended:
		if c.err != nil {
			err = &sentence{fmt.Sprintf("the command ended (%.100s)", c.err), err}
		} else {
			err = &sentence{"the command ended", err}
		}
	case <-timer.C:
	}
	return c.withWords(err)
}

func (c *command) withWords(err error) error {
	words := c.stderr.String()
	if words == "" {
		return err
	}
	return &sentence{fmt.Sprintf("%v; it wrote %q", err, words), err}
}

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex // protects last
	last []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, p...)
	if over := len(t.last) - maxStderr; over > 0 {
		t.last = bytes.Clone(t.last[over:])
	}
	return len(p), nil
}

// String returns the end of the end, on one line.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := strings.TrimSpace(string(t.last))
	if len(text) > maxReason {
		text = "…" + text[len(text)-maxReason:]
	}
	return text
}
