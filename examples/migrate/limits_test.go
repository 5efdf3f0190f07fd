package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul/internal/imapserver"
	"github.com/mailhaul/mailhaul/internal/pop3server"
	"github.com/mailhaul/mailhaul/throttle"
)

func TestLimits(t *testing.T) {
	file := filepath.Join(t.TempDir(), "schedule")
	require.NoError(t, os.WriteFile(file, []byte("mon-fri 08:00-18:00 UTC stop\n"), 0o600))
	l, err := rates{rate: "2MB/s", messages: "600/min", daily: "2500MB", schedule: file}.limits()
	require.NoError(t, err)
	assert.Equal(t, throttle.Budget{Read: 2e6, Write: 2e6, Messages: 10, ReadDay: 2500e6, WriteDay: 2500e6}, l.budget)
	require.Len(t, l.schedule, 1)
	assert.True(t, l.schedule[0].Stop)
	assert.True(t, l.any("localhost"))

	l, err = rates{}.limits()
	require.NoError(t, err)
	assert.False(t, l.any("127.0.0.1"), "tests and benchmarks are not slowed down")
	assert.True(t, l.any("mail.example.org"))

	l, err = rates{preset: "none"}.limits()
	require.NoError(t, err)
	assert.False(t, l.any("imap.gmail.com"))
	l, err = rates{preset: "gmail", offPeak: "22:00-06:00 UTC"}.limits()
	require.NoError(t, err)
	assert.Equal(t, 14, l.policy("127.0.0.1").Account.Connections)
	assert.Len(t, l.schedule, 2)

	const secret = "imaps://ada:secret@old.example.org"
	for _, r := range []rates{
		{rate: secret}, {messages: secret}, {daily: secret}, {schedule: secret}, {offPeak: secret}, {preset: secret},
		{schedule: file, offPeak: "22:00-06:00 UTC"},
	} {
		_, err := r.limits()
		require.Error(t, err, r)
		assert.NotContains(t, err.Error(), "secret")
	}
}

// TestMaxRate: the flag slows a run down, and says so to nobody but the clock.
func TestMaxRate(t *testing.T) {
	r := newRig(t, imapserver.Options{}, imapserver.Options{})
	r.fill("INBOX", 30)
	begun := time.Now()
	r.run("-max-messages", "20/s", "-json").want(exitComplete).counts(map[string]int{"copied": 30})
	assert.Greater(t, time.Since(begun), 1300*time.Millisecond)
	begun = time.Now()
	r.run("-json").want(exitComplete).counts(map[string]int{"copied": 0})
	assert.Less(t, time.Since(begun), time.Second)
}

// TestHintIsShown: a run says that it waits, and for what.
func TestHintIsShown(t *testing.T) {
	told := false
	hooks := imapserver.Hooks{Command: func(_ *imapserver.Session, command, _ string) *imapserver.Override {
		if command == "UID FETCH" && !told {
			told = true
			return &imapserver.Override{Reply: "NO Request is throttled. Suggested Backoff Time: 2999 milliseconds"}
		}
		return nil
	}}
	r := newRig(t, imapserver.Options{Hooks: hooks}, imapserver.Options{})
	r.fill("INBOX", 3)
	out := r.run("-preset", "dovecot", "-connections", "1", "-json").want(exitComplete)
	out.counts(map[string]int{"copied": 3})
	require.Contains(t, out.stderr, "waiting 3s")
}

// TestManyFoldersFewConnections: folders that are moved side by side wait for
// each other's connections, and none for ever.
func TestManyFoldersFewConnections(t *testing.T) {
	r := newRig(t, imapserver.Options{}, imapserver.Options{})
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		r.fill("INBOX."+name, 20)
	}
	r.run("-preset", "courier", "-connections", "8", "-json").want(exitComplete).counts(map[string]int{"copied": 160})
}

// TestLimitsOfEitherProtocol: each option holds for a POP3 source as it does for
// an IMAP one. What they mean over hours is tested in package throttle.
func TestLimitsOfEitherProtocol(t *testing.T) {
	schedule := filepath.Join(t.TempDir(), "schedule")
	require.NoError(t, os.WriteFile(schedule, []byte("daily 00:00-24:00 UTC messages=40/s\n"), 0o600))
	later := time.Now().UTC().Add(2 * time.Hour)
	onPeak := later.Format("15:04-") + later.Add(time.Hour).Format("15:04 UTC") // a trickle, until then
	for _, pop := range []bool{false, true} {
		start := func(t *testing.T) *rig {
			r := newRig(t, imapserver.Options{}, imapserver.Options{})
			if pop {
				r.popSource(30, pop3server.Options{})
			} else {
				r.fill("INBOX", 30)
			}
			return r
		}
		for _, tt := range []struct {
			least time.Duration
			args  []string
		}{
			{600 * time.Millisecond, []string{"-max-messages", "40/s"}},
			{400 * time.Millisecond, []string{"-max-rate", "10kB/s"}},
			{600 * time.Millisecond, []string{"-schedule", schedule}},
			{0, []string{"-off-peak", onPeak}},
			{0, []string{"-daily", "1MB"}},
		} {
			t.Run(fmt.Sprintf("pop3=%v %s", pop, tt.args[0]), func(t *testing.T) {
				r := start(t)
				begun := time.Now()
				r.run(append(tt.args, "-json")...).want(exitComplete).counts(map[string]int{"copied": 30})
				assert.GreaterOrEqual(t, time.Since(begun), tt.least)
			})
		}
		t.Run(fmt.Sprintf("pop3=%v a day's budget is used up", pop), func(t *testing.T) {
			r := start(t)
			var once sync.Once
			r.onStderr = func(text string) {
				if strings.Contains(text, "a day allows for") {
					once.Do(func() { r.signals <- os.Interrupt; r.signals <- os.Interrupt })
				}
			}
			out := r.run("-daily", "3kB", "-json")
			assert.NotEqual(t, exitComplete, out.status)
			assert.Contains(t, out.stderr, "a day allows for")
			r.onStderr = nil
			// It is remembered: the next run waits at once.
			once = sync.Once{}
			r.onStderr = func(text string) {
				if strings.Contains(text, "a day allows for") {
					once.Do(func() { r.signals <- os.Interrupt; r.signals <- os.Interrupt })
				}
			}
			assert.NotEqual(t, exitComplete, r.run("-daily", "3kB", "-json").status)
		})
	}
}
