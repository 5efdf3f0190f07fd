package main

// The proof by reading: both accounts are read and compared.

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/mailhaul/mailhaul/checkpoint"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

// verify reads both sides and writes nothing. Any signal stops it.
func verify(ctx context.Context, sys system, opt *options, store checkpoint.Store) (*mailsync.Verification, error) {
	from, to, closeAccounts, err := newAccounts(sys, opt, store, func(w mailsync.Waiting) { fmt.Fprintln(sys.stderr, clean(waitingText(w))) })
	if err != nil {
		return nil, err
	}
	defer closeAccounts()
	say := func(text string) { fmt.Fprintln(sys.stderr, text) }
	ctx, stop := obey(ctx, sys.signals, say, nil)
	defer stop()
	return mailsync.Verify(ctx, from, to, mailsync.VerifyOptions{
		Include: opt.include,
		Exclude: opt.exclude,
		Rename:  opt.renames.path,
		Store:   store,
		Progress: func(m mailsync.MailboxVerification) {
			say(fmt.Sprintf("%s: %s read", clean(m.Source), number(m.SourceSide.Messages, "message")))
		},
	})
}

// reportVerification prints what was found, and returns the exit status.
func reportVerification(sys system, opt *options, found *mailsync.Verification, err error) int {
	if found == nil {
		found = &mailsync.Verification{From: opt.from.Account().String(), To: opt.to.Account().String()}
	}
	found.Differences = append([]string{}, found.Differences...) // [] in JSON, not null
	found.Mailboxes = append([]mailsync.MailboxVerification{}, found.Mailboxes...)
	var werr error
	switch {
	case opt.json:
		werr = writeJSON(sys.stdout, struct {
			*mailsync.Verification
			Error string `json:"error,omitempty"`
		}{found, explain(err)})
	case err == nil:
		_, werr = io.WriteString(sys.stdout, verificationText(found))
	}
	if err != nil {
		return complain(sys, err)
	}
	status := exitComplete
	if !found.Complete() {
		status = exitIncomplete
	}
	return unwritten(sys, status, werr)
}

// verificationText is what people read.
func verificationText(v *mailsync.Verification) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n  -> %s\n\n", clean(v.From), clean(v.To))
	for _, m := range v.Mailboxes {
		fmt.Fprintf(&b, "  %-30s %7d messages %12d octets  %.16s\n", clean(m.Source), m.SourceSide.Messages, m.SourceSide.Bytes, m.SourceSide.Hash)
	}
	b.WriteString("\n")
	for _, d := range v.Differences {
		fmt.Fprintf(&b, "%s\n", clean(d))
	}
	switch {
	case v.Same():
		fmt.Fprintf(&b, "Both sides hold the same %s, octet by octet.\n", number(v.Messages, "message"))
	case v.Complete():
		fmt.Fprintf(&b, "All %s of the source are on the target, octet by octet.\n", number(v.Messages, "message"))
	default:
		fmt.Fprintf(&b, "Of %s of the source, %d are not on the target, %d there are too many.\n", number(v.Messages, "message"), v.Missing, v.Twice)
	}
	return b.String()
}
