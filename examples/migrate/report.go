package main

// What came of it: text for people, JSON for programs, a sentence for each
// error.

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/mailhaul/mailhaul"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

// listed is how many entries of a list the text report shows; -json shows all.
const listed = 20

// report prints what a pass did, and its error if it has one. It returns the
// exit status.
func report(sys system, opt *options, res *mailsync.Result, err error) int {
	res.Warnings = append(res.Warnings, keywordWarnings(res)...)
	if err == nil {
		res.Warnings = append(res.Warnings, opt.renames.warnings()...)
	}
	var werr error
	if opt.json {
		werr = writeJSON(sys.stdout, struct {
			*mailsync.Result
			PerMailbox     *struct{} `json:"per_mailbox,omitempty"` // not a part of the report, as yet
			IdentityDetail *struct{} `json:"identity_detail,omitempty"`
			Error          string    `json:"error,omitempty"`
		}{Result: res, Error: explain(err)})
	} else {
		_, werr = io.WriteString(sys.stdout, text(opt, res, err))
	}
	status := exitComplete
	if !res.Complete() {
		status = exitIncomplete
	}
	if err != nil {
		status = complain(sys, err)
	}
	return unwritten(sys, status, werr)
}

// reportPlan prints what a pass would do.
func reportPlan(sys system, opt *options, plan *mailsync.Plan, err error) int {
	if plan == nil {
		plan = &mailsync.Plan{From: opt.from.Account().String(), To: opt.to.Account().String(), Room: -1}
	}
	plan.Mailboxes = append([]mailsync.PlannedMailbox{}, plan.Mailboxes...) // [] in JSON, not null
	plan.Warnings = append([]string{}, plan.Warnings...)
	plan.Held = append([]mailsync.Held{}, plan.Held...)
	if err == nil {
		plan.Warnings = append(plan.Warnings, opt.renames.warnings()...)
	}
	var werr error
	switch {
	case opt.json:
		werr = writeJSON(sys.stdout, struct {
			*mailsync.Plan
			Error string `json:"error,omitempty"`
		}{plan, explain(err)})
	case err == nil:
		_, werr = io.WriteString(sys.stdout, planText(plan))
	}
	if err != nil {
		return complain(sys, err)
	}
	return unwritten(sys, exitComplete, werr)
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// unwritten sees to it that nobody takes a lost report for a clean end.
func unwritten(sys system, status int, err error) int {
	if err == nil {
		return status
	}
	fmt.Fprintf(sys.stderr, "migrate: the report could not be written: %s\n", clean(err.Error()))
	return max(status, exitStopped)
}

// noResult is the report of a run that did nothing.
func noResult(opt *options) *mailsync.Result {
	return &mailsync.Result{
		From:     opt.from.Account().String(),
		To:       opt.to.Account().String(),
		Identity: map[string]string{},
		Altered:  []mailsync.Alteration{},
		Failed:   []mailsync.Failure{},
		Warnings: []string{},
	}
}

// keywordWarnings says how many keywords were left behind.
func keywordWarnings(res *mailsync.Result) []string {
	var out []string
	for _, m := range res.PerMailbox {
		if m.FlagsDropped > 0 {
			out = append(out, fmt.Sprintf("%s: the target cannot keep %s there, which were left out",
				m.Source, number(m.FlagsDropped, "keyword")))
		}
	}
	return out
}

// complain says in one sentence what went wrong, and returns the exit status.
func complain(sys system, err error) int {
	fmt.Fprintf(sys.stderr, "migrate: %s\n", explain(err))
	switch {
	case mailhaul.KindOf(err) == mailhaul.Auth:
		return exitAuth
	case errors.Is(err, mailsync.ErrFolders), errors.Is(err, mailsync.ErrIdentity): // other flags are the cure
		return exitUsage
	}
	return exitStopped
}

// misused says what is wrong with the command line.
func misused(sys system, err error) int {
	fmt.Fprintf(sys.stderr, "migrate: %s (migrate -h explains the flags)\n", clean(err.Error()))
	return exitUsage
}

// explain makes one sentence of an error: what happened, and what to do. It is
// empty where there is none.
func explain(err error) string {
	const resume = "what was moved is recorded, and a further run resumes here"
	switch {
	case err == nil:
		return ""
	case errors.Is(err, mailsync.ErrDrained):
		return "stopped on request: " + resume
	case errors.Is(err, context.Canceled):
		return "stopped at once, on request: " + resume
	}
	sentence := clean(err.Error())
	if errors.Is(err, mailsync.ErrIdentity) {
		return sentence
	}
	if e, ok := errors.AsType[*mailhaul.Error](err); ok && e.Hint != "" {
		return sentence
	}
	return sentence + "; " + resume
}

// text is the report for people.
func text(opt *options, res *mailsync.Result, err error) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n  -> %s\n\n", clean(res.From), clean(res.To))
	if res.Mailboxes == 0 && err != nil {
		b.WriteString("  this run moved nothing\n")
		return b.String()
	}
	row := func(name, value, remark string) {
		b.WriteString(strings.TrimRight(fmt.Sprintf("  %-18s %12s   %s", name, value, remark), " ") + "\n")
	}
	some := func(name string, n int, remark string) {
		if n > 0 {
			row(name, count(n), remark)
		}
	}
	row("in the source", count(res.Messages), "messages in "+number(res.Mailboxes, "folder"))
	row("copied", count(res.Copied), size(res.Bytes))
	some("adopted", res.Adopted, "found on the target already")
	some("skipped", res.Skipped, "moved by an earlier run")
	some("vanished", res.Vanished, "gone from the source meanwhile")
	some("removed on target", res.RemovedOnTarget, "by its user; not brought back")
	some("flags updated", res.FlagsUpdated, "changed since the last run")
	some("deleted", res.Deleted, "copies of what is gone from the source")
	some("deleted at source", res.RemovedFromSource, "moved, so removed there (-pop3-delete)")
	some("altered", len(res.Altered), "changed by the target's server")
	row("failed", count(len(res.Failed)), "")
	row("time", elapsed(res.Seconds), rate(res)+count(int(res.RoundTrips))+" round trips")
	levels(&b, res.Identity)

	if len(res.Held) > 0 {
		b.WriteString("\nFolders that were held stay as they are until they are named with -confirm-deletes or -refuse-deletes.\n")
	}
	list(&b, "Not on the target", res.Failed, func(f mailsync.Failure) string {
		switch {
		case f.UIDL != "":
			return fmt.Sprintf("%s, UIDL %s: %s", f.Mailbox, f.UIDL, f.Reason)
		case f.UID != 0:
			return fmt.Sprintf("%s, UID %d: %s", f.Mailbox, f.UID, f.Reason)
		}
		return fmt.Sprintf("%s, the folder: %s", f.Mailbox, f.Reason)
	})
	list(&b, "Not the same octets on the target", res.Altered, func(a mailsync.Alteration) string {
		return fmt.Sprintf("%s, UID %d (UID %d on the target): %s", a.Mailbox, a.UID, a.TargetUID, a.Reason)
	})
	list(&b, "Warnings", res.Warnings, func(w string) string { return w })

	all := "All of the source"
	if len(opt.include)+len(opt.exclude) > 0 {
		all = "All that was chosen of the source"
	}
	switch {
	case err != nil:
		b.WriteString("\nStopped before the end.\n")
	case res.Complete():
		fmt.Fprintf(&b, "\n%s is on the target.\n", all)
	default:
		fmt.Fprintf(&b, "\nThe rest of the source is on the target. Another run tries again what is not.\n")
	}
	return b.String()
}

// rate says how fast the copying went, where there was enough of it to say.
func rate(res *mailsync.Result) string {
	if res.Bytes == 0 || res.Seconds <= 0 {
		return ""
	}
	return size(int64(float64(res.Bytes)/res.Seconds)) + "/s, "
}

// levels says, level by level, what mail clients will find unchanged.
func levels(b *strings.Builder, of map[string]string) {
	byLevel := map[string][]string{}
	for mailbox, level := range of {
		byLevel[level] = append(byLevel[level], mailbox)
	}
	names := make([]string, 0, len(byLevel))
	for level := range byLevel {
		names = append(names, level)
	}
	slices.SortFunc(names, func(x, y string) int {
		return cmp.Or(cmp.Compare(len(byLevel[y]), len(byLevel[x])), cmp.Compare(x, y))
	})
	for i, level := range names {
		meaning := map[string]string{
			"exact": "mail programs find all as it was",
			"uid":   "UIDs are those of the source",
			"order": "UIDs rise in the order of the source",
			"none":  "UIDs are not in the order of the source",
		}[level]
		in := number(len(byLevel[level]), "folder")
		if boxes := byLevel[level]; i > 0 && len(boxes) <= 3 {
			slices.Sort(boxes)
			in = strings.Join(boxes, ", ")
		}
		name := ""
		if i == 0 {
			name = "identity"
		}
		fmt.Fprintf(b, "  %-18s %12s   %s\n", name, clean(level), clean(strings.TrimPrefix(meaning+" in "+in, " in ")))
	}
}

// list prints a section of the report, unless it is empty.
func list[T any](b *strings.Builder, title string, entries []T, line func(T) string) {
	if len(entries) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s (%s):\n", title, count(len(entries)))
	for _, e := range entries[:min(len(entries), listed)] {
		fmt.Fprintf(b, "  %s\n", clean(line(e)))
	}
	if more := len(entries) - listed; more > 0 {
		fmt.Fprintf(b, "  … and %s more; -json lists all\n", count(more))
	}
}

// planText is the dry run for people.
func planText(p *mailsync.Plan) string {
	rows := [][]string{{"folder", "on the target", "", "messages", "to move", "size"}}
	var adopt int
	for _, m := range p.Mailboxes {
		create := ""
		if m.Create {
			create = "new"
		}
		rows = append(rows, []string{clean(m.Source), clean(m.Target), create, count(m.Messages), count(m.Move), size(m.Bytes)})
		adopt += m.Adopt
	}
	rows = append(rows, []string{number(len(p.Mailboxes), "folder"), "", "", count(p.Messages), count(p.Move), size(p.Bytes)})

	var b strings.Builder
	fmt.Fprintf(&b, "%s\n  -> %s\n\n", clean(p.From), clean(p.To))
	table(&b, rows, 3)
	b.WriteString("\n")
	if adopt > 0 {
		fmt.Fprintf(&b, "Of these messages %s on the target already.\n", count(adopt)+map[bool]string{true: " is", false: " are"}[adopt == 1])
	}
	if p.Delete > 0 {
		fmt.Fprintf(&b, "Copies of messages that are gone from the source, to be flagged or removed: %s.\n", count(p.Delete))
		for _, m := range p.Mailboxes {
			if m.Delete > 0 {
				fmt.Fprintf(&b, "  %s in %s\n", count(m.Delete), clean(m.Target))
			}
		}
	}
	if p.Room >= 0 {
		fmt.Fprintf(&b, "The target's quota leaves room for %s.\n", size(p.Room))
	} else {
		b.WriteString("The target names no quota.\n")
	}
	b.WriteString("This was a dry run: nothing was changed.\n")
	list(&b, "Warnings", p.Warnings, func(w string) string { return w })
	return b.String()
}

// table aligns rows: so many columns to the left, the others to the right. The
// first row is the head, the last the sum.
func table(b *strings.Builder, rows [][]string, left int) {
	wide := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			wide[i] = max(wide[i], columns(cell))
		}
	}
	for n, row := range rows {
		if n == 1 || n == len(rows)-1 && n > 1 {
			b.WriteString("  ")
			for i, w := range wide {
				b.WriteString(strings.Repeat("-", w))
				if i < len(wide)-1 {
					b.WriteString("--")
				}
			}
			b.WriteString("\n")
		}
		line := " "
		for i, cell := range row {
			pad := strings.Repeat(" ", wide[i]-columns(cell))
			if i < left {
				line += " " + cell + pad + " "
			} else {
				line += " " + pad + cell + " "
			}
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
}
