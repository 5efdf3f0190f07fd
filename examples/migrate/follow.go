package main

// Going on after the first pass, and the report that is kept.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	mailsync "github.com/mailhaul/mailhaul/sync"
)

// follow keeps the account in step for as long as the flags say.
func follow(ctx context.Context, opt *options, syncer *mailsync.Syncer, say func(string)) (*mailsync.Result, error) {
	return syncer.Follow(ctx, mailsync.FollowOptions{
		For:        opt.follow,
		UntilQuiet: opt.untilQuiet,
		Passed: func(p mailsync.Pass) {
			switch {
			case p.Err != nil: // Events.Waiting says what follows from it
			case p.Result.Changed():
				say(fmt.Sprintf("%s: %s copied, %s updated",
					time.Now().Format(time.TimeOnly), number(p.Result.Copied+p.Result.Adopted, "message"), number(p.Result.FlagsUpdated, "flag")))
			case p.Whole:
				say(fmt.Sprintf("%s: nothing to do in %s", time.Now().Format(time.TimeOnly), number(p.Result.Mailboxes, "folder")))
			}
		},
		Watching: func(told int, reason error) {
			if told > 0 {
				say("the source tells of changes in " + number(told, "folder"))
			} else {
				say("the source is asked for changes: " + clean(reason.Error()))
			}
		},
	})
}

// reportFormats are the ways to write a report, by what its file's name ends in.
var reportFormats = map[string]func(*mailsync.Report, io.Writer) error{
	".html": (*mailsync.Report).WriteHTML,
	".json": (*mailsync.Report).WriteJSON,
	".txt":  (*mailsync.Report).WriteText,
}

var errReportName = errors.New("-report takes a name that ends in .html, .json or .txt")

// reportFile is where the report goes.
type reportFile struct {
	name  string
	write func(*mailsync.Report, io.Writer) error
	part  *os.File
}

// newReportFile makes sure, days before there is a report, that it can be
// written. It returns nil where none is wanted.
func newReportFile(name string) (*reportFile, error) {
	if name == "" {
		return nil, nil
	}
	f := &reportFile{name: name, write: reportFormats[strings.ToLower(filepath.Ext(name))]}
	if f.write == nil {
		return nil, errReportName
	}
	part, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".part-*")
	if err != nil {
		return nil, fmt.Errorf("-report: %w", err)
	}
	f.part = part
	return f, nil
}

// finish writes the report, in the place of one of an earlier run.
func (f *reportFile) finish(rep *mailsync.Report) error {
	if f == nil {
		return nil
	}
	err := errors.Join(f.write(rep, f.part), f.part.Chmod(0o644), f.part.Close())
	if err == nil {
		err = os.Rename(f.part.Name(), f.name)
	}
	if err != nil {
		_ = os.Remove(f.part.Name())
	}
	return err
}
