// Writing a report: as text, as JSON, and as a page.

package sync

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// reportListed is how many entries of a list the text and the page show. JSON
// has them all.
const reportListed = 500

// WriteJSON writes the report as one JSON object, indented. Names are as the
// servers sent them.
func (r *Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

//go:embed report.html
var reportPage string

var reportTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"plain": plainText, "count": grouped, "size": octets, "octets": func(n int64) string { return grouped(int(n)) }, "time": stamp,
}).Parse(reportPage))

// WriteHTML writes the report as one page that needs nothing else: no script,
// no font, no picture, nothing from any server. Whatever the servers' names and
// sentences hold is shown as text.
func (r *Report) WriteHTML(w io.Writer) error {
	rows := make([]folderRow, len(r.Folders))
	for i := range r.Folders {
		rows[i] = folderRow{&r.Folders[i]}
	}
	var b strings.Builder // so that nothing is half written
	err := reportTemplate.Execute(&b, struct {
		*Report
		Rows     []folderRow
		Sum      folderRow
		Sentence string
		Details  []reportList
		Duration string
	}{r, rows, folderRow{&r.Total}, r.sentence(), r.lists(), r.Ended.Sub(r.Started).Round(time.Second).String()})
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, b.String())
	return err
}

// WriteText writes the report as plain text, about 100 columns wide.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Report of a mail move\n\n  from      %s\n  to        %s\n  began     %s\n  ended     %s\n  verdict   %s\n\n%s\n",
		plainText(r.From), plainText(r.To), stamp(r.Started), stamp(r.Ended), r.Verdict, r.sentence())
	if r.Stopped != "" {
		fmt.Fprintf(&b, "It was stopped: %s\n", plainText(r.Stopped))
	}
	b.WriteString("\nFolders\n")
	for i := range r.Folders {
		f := &r.Folders[i]
		fmt.Fprintf(&b, "\n  %s -> %s: %s\n", plainText(f.Source), plainText(f.Target), f.state())
		if r.Verified {
			fmt.Fprintf(&b, "    source    %12s messages %16s  %s\n", grouped(f.SourceSide.Messages), octets(f.SourceSide.Bytes), f.SourceSide.Hash)
			fmt.Fprintf(&b, "    target    %12s messages %16s  %s\n", grouped(f.TargetSide.Messages), octets(f.TargetSide.Bytes), f.TargetSide.Hash)
		} else {
			fmt.Fprintf(&b, "    source    %12s messages, not read\n", grouped(f.Messages))
		}
		fmt.Fprintf(&b, "    identity  %s\n", plainText(strings.TrimRight(f.Identity+" "+f.IdentityReason, " ")))
		for _, x := range f.remarks() {
			fmt.Fprintf(&b, "    %s\n", x)
		}
	}
	fmt.Fprintf(&b, "\n  %s folders, %s messages on the source, %s copied (%s)\n",
		grouped(len(r.Folders)), grouped(r.Total.Messages), grouped(r.Total.Copied), octets(r.Total.Bytes))
	for _, l := range r.lists() {
		fmt.Fprintf(&b, "\n%s (%s)\n", l.Title, grouped(l.All))
		for _, e := range l.Entries {
			if e.Where != "" {
				fmt.Fprintf(&b, "  %s: %s\n", e.Where, e.What)
			} else {
				fmt.Fprintf(&b, "  %s\n", e.What)
			}
		}
		if l.More > 0 {
			fmt.Fprintf(&b, "  … and %s more; the JSON report has them all\n", grouped(l.More))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// sentence says what the verdict means.
func (r *Report) sentence() string {
	n := grouped(r.Total.SourceSide.Messages)
	switch r.Verdict {
	case VerdictComplete:
		s := "All " + n + " messages of the source are accounted for: both accounts were read in full and compared octet by octet, and the last pass found nothing to do."
		if r.Total.Altered+r.Total.RemovedByUser > 0 {
			s += fmt.Sprintf(" %s of them the target's server keeps in a form of its own, and %s the user has removed or filed elsewhere on the target.",
				grouped(r.Total.Altered), grouped(r.Total.RemovedByUser))
		}
		return s
	case VerdictIncomplete:
		return fmt.Sprintf("Not all of the source is on the target: %s could not be moved, %s differ for no known reason, %s folders wait for a decision. Another pass tries again.",
			grouped(len(r.NotMoved)), grouped(len(r.Unexplained)), grouped(len(r.Held)))
	case VerdictMoving:
		return "Nothing is missing, but the source was still changing when the last pass was made. Run it again when nobody uses it any more."
	case VerdictUnverified:
		return "All that the source held is recorded as moved. The accounts have not been read to prove it."
	}
	return "The move did not come to its end. What was moved is recorded, and another run goes on from there."
}

// state says in a few words how a folder stands.
func (f *ReportFolder) state() string {
	switch {
	case f.NotMoved+f.Unexplained > 0:
		return "incomplete"
	case f.SourceSide.Hash == "":
		return "not compared"
	case f.Same():
		return "identical"
	case f.Altered > 0:
		return "complete, some altered by the server"
	case f.RemovedByUser+f.MovedLater > 0:
		return "complete, in use"
	}
	return "complete, with further mail"
}

// remarks are the counts of a folder that are worth a word.
func (f *ReportFolder) remarks() []string {
	var out []string
	for _, c := range []struct {
		n    int
		text string
	}{
		{f.NotMoved, "could not be moved"},
		{f.Unexplained, "differ for no known reason"},
		{f.Altered, "altered by the target's server"},
		{f.RemovedByUser, "removed or filed elsewhere by the target's user"},
		{f.MovedLater, "arrived during the comparison and moved afterwards"},
		{f.Kept, "kept on the target although gone from the source"},
		{f.Deleted, "removed or flagged on the target since they are gone from the source"},
		{f.Own, "of the target's own"},
		{f.FlagsDropped, "keywords that the target cannot keep"},
	} {
		if c.n > 0 {
			out = append(out, grouped(c.n)+" "+c.text)
		}
	}
	return out
}

// folderRow is a folder on the page.
type folderRow struct{ *ReportFolder }

func (f folderRow) State() string   { return f.state() }
func (f folderRow) Remarks() string { return strings.Join(f.remarks(), "; ") }

// reportList is a list of the text and of the page.
type reportList struct {
	Title   string
	Entries []reportEntry
	All     int
	More    int
}

type reportEntry struct{ Where, What string }

// lists returns those lists that are not empty.
func (r *Report) lists() []reportList {
	var out []reportList
	list := func(title string, n int, entry func(i int) reportEntry) {
		if n == 0 {
			return
		}
		l := reportList{Title: title, All: n, More: max(0, n-reportListed)}
		for i := range n - l.More {
			e := entry(i)
			l.Entries = append(l.Entries, reportEntry{plainText(e.Where), plainText(e.What)})
		}
		out = append(out, l)
	}
	list("Could not be moved", len(r.NotMoved), func(i int) reportEntry {
		f := r.NotMoved[i]
		switch {
		case f.UIDL != "":
			return reportEntry{f.Mailbox + ", UIDL " + string(f.UIDL), f.Reason}
		case f.UID != 0:
			return reportEntry{fmt.Sprintf("%s, UID %d", f.Mailbox, f.UID), f.Reason}
		}
		return reportEntry{f.Mailbox + ", the whole folder", f.Reason}
	})
	list("Differences that nothing explains", len(r.Unexplained), func(i int) reportEntry {
		d := r.Unexplained[i]
		return reportEntry{fmt.Sprintf("%s, UID %d on the %s, %s", d.Mailbox, d.UID, d.Side, octets(d.Size)), d.Reason}
	})
	list("Folders that wait for a decision", len(r.Held), func(i int) reportEntry {
		return reportEntry{r.Held[i].Mailbox, r.Held[i].String()}
	})
	list("Altered by the target's server", len(r.Altered), func(i int) reportEntry {
		a := r.Altered[i]
		return reportEntry{fmt.Sprintf("%s, UID %d (%d on the target)", a.Mailbox, a.UID, a.TargetUID), a.Reason}
	})
	list("Warnings", len(r.Warnings), func(i int) reportEntry { return reportEntry{"", r.Warnings[i]} })
	return out
}

// plainText makes text of a server fit for being shown: what is no printable
// character, or would turn the direction of what follows, becomes U+FFFD.
func plainText(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == '\t', c == '\n', c == '\r':
			return ' '
		case c == utf8.RuneError, unicode.IsControl(c), c >= 0x202a && c <= 0x202e, c >= 0x2066 && c <= 0x2069,
			c == 0x200e, c == 0x200f, c == 0x2028, c == 0x2029, c == 0x061c:
			return utf8.RuneError
		}
		return c
	}, s)
}

// grouped writes a number with a comma before each three digits.
func grouped(n int) string {
	digits := strconv.Itoa(n)
	if len(digits) < 5 {
		return digits
	}
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// octets writes a size as it is, to the octet: a report is compared.
func octets(n int64) string { return grouped(int(n)) + " octets" }

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}
