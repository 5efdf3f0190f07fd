// The life of a server's processes: started so that they cannot outlive the
// test, and ended so that none is left.

package testserver

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

func canRun() error {
	if os.Geteuid() != 0 {
		return errors.New("servers change their user, so they need root")
	}
	return nil
}

// process is a server that was started.
type process struct {
	pid  int
	done chan struct{} // closed when the program has ended and was waited for
	err  error         // why it ended; valid after done
}

// startProcess runs the command with its output appended to logFile.
func startProcess(c Command, dir, logFile string) (*process, error) {
	// The server gets files of its own: whatever it leaves behind could hold
	// the test's standard output open and block who reads that.
	out, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()

	cmd := exec.Command(c.Path, c.Args...)
	cmd.Dir = dir
	cmd.Env = c.Env
	if cmd.Env == nil {
		cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	}
	cmd.Stdout, cmd.Stderr = out, out // standard input is /dev/null
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if c.Namespace {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWNS | syscall.CLONE_NEWPID
	}

	p := &process{done: make(chan struct{})}
	started := make(chan error)
	go p.run(cmd, started)
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// run starts the program and waits for its end, all on one OS thread: the
// kernel sends Pdeathsig when the thread that forked ends, not the process.
func (p *process) run(cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		started <- err
		return
	}
	p.pid = cmd.Process.Pid
	started <- nil
	p.err = cmd.Wait()
	close(p.done)
}

// kill ends the program and everything in its process group, and returns when
// they are gone.
func (p *process) kill() error {
	// The group's number is still taken as long as one process of it lives, so
	// this cannot hit anybody else, even when the program itself ended before.
	if err := syscall.Kill(-p.pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	<-p.done
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		alive := groupMembers(p.pid)
		if len(alive) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v survived SIGKILL", alive)
		}
	}
}

// groupMembers returns the processes of a group that run still. Zombies are
// left out: they hold nothing, and whose they are decides when they go.
func groupMembers(pgid int) []int {
	if err := syscall.Kill(-pgid, 0); errors.Is(err, syscall.ESRCH) {
		return nil
	}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil
	}
	var pids []int
	for _, name := range stats {
		stat, err := os.ReadFile(name)
		if err != nil {
			continue // it ended in the meantime
		}
		// proc(5): pid (comm) state ppid pgrp ...; comm may hold anything.
		end := bytes.LastIndexByte(stat, ')')
		if end < 0 {
			continue
		}
		fields := bytes.Fields(stat[end+1:])
		if len(fields) < 3 || fields[0][0] == 'Z' || string(fields[2]) != strconv.Itoa(pgid) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}
