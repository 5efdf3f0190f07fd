package main

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul/internal/imapserver"
)

func TestFollow(t *testing.T) {
	r := newRig(t, imapserver.Options{}, imapserver.Options{})
	r.fill("INBOX", 5)
	r.fill("INBOX.Work", 5)
	late := 0
	var once, again sync.Once
	r.onStderr = func(text string) {
		if strings.Contains(text, "tells of changes") {
			once.Do(func() {
				r.source.User("ada").Mailbox("INBOX").Add(imapserver.Message{Body: []byte(letter("late", 1))})
				late++
			})
		}
		if strings.Contains(text, ": 1 message copied") {
			again.Do(func() { r.signals <- os.Interrupt })
		}
	}
	dir := t.TempDir()
	report := filepath.Join(dir, "report.html")
	r.run("-follow", "48h", "-report", report).want(exitStopped).says("stopped on request")
	require.Equal(t, 1, late)
	r.same("INBOX", "INBOX")
	page, err := os.ReadFile(report)
	require.NoError(t, err)
	require.Contains(t, string(page), "Verdict: stopped")

	// It ends by itself, with a clean report in the place of the other.
	r.onStderr = nil
	out := r.run("-follow", "1m", "-until-quiet", "300ms", "-report", report, "-json").want(exitComplete)
	out.counts(map[string]int{"messages": 11, "copied": 0, "skipped": 11})
	page, err = os.ReadFile(report)
	require.NoError(t, err)
	require.Contains(t, string(page), "Verdict: not verified")
	require.NotContains(t, string(page), fromPassword)
	for _, kind := range []string{"json", "txt"} {
		name := filepath.Join(dir, "report."+kind)
		r.run("-report", name).want(exitComplete)
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		require.Contains(t, string(text), "not verified")
	}
	left, err := filepath.Glob(filepath.Join(dir, "*part*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestFollowFlags(t *testing.T) {
	r := newRig(t, imapserver.Options{}, imapserver.Options{})
	for _, c := range []struct{ args, says string }{
		{"-follow 0s", "-follow and -until-quiet take a time"},
		{"-follow soon", "-follow does not take that value"},
		{"-until-quiet 1h", "-until-quiet ends -follow"},
		{"-follow 1h -dry-run", "not with -dry-run or -verify"},
		{"-report r.html -verify", "not with -dry-run or -verify"},
		{"-report r.pdf", "ends in .html, .json or .txt"},
		{"-report " + filepath.Join(t.TempDir(), "none", "r.html"), "-report"},
	} {
		r.run(strings.Fields(c.args)...).want(exitUsage).says(c.says)
	}
	r.start("-follow", "1h").want(exitUsage).says("-follow and -report need -from and -to")
	require.Zero(t, r.source.Stats().Connections, "nothing is begun")
}
