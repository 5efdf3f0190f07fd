//go:build !linux

// Where servers do not run, nothing is ever started.

package testserver

import "errors"

var errNotLinux = errors.New("servers run on Linux only")

func canRun() error { return errNotLinux }

type process struct {
	done chan struct{}
	err  error
}

func startProcess(Command, string, string) (*process, error) { return nil, errNotLinux }

func (p *process) kill() error { return errNotLinux }
