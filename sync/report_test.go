// The report: what it says of a move in all its states, and how it is written.

package sync_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"image"
	_ "image/png"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/memmail"
	"github.com/mailhaul/mailhaul/internal/testserver"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

// inUse is a move whose target was in use all the time, and whose target's
// server has habits.
func inUse(t *testing.T) (*rig, *mailsync.Syncer) {
	r := newRig(t)
	r.fill("INBOX", 40)
	r.fill("Work", 10)
	r.source.Add("Work", "Message-ID: <nul@x>\r\nSubject: odd\r\n\r\na\x00b\r\n")
	r.source.Add("Work", "Message-ID: <bad@x>\r\nSubject: refused\r\n\r\nno\r\n")
	r.source.Add("Work", mail("twin", 1))
	r.source.Add("Work", mail("twin", 1))
	r.fill("Same", 5)
	r.target.Hooks.Store = func(body []byte) []byte { return bytes.ReplaceAll(body, []byte{0}, []byte{0x80}) }
	return r, r.syncer()
}

func TestReportOfAMoveInUse(t *testing.T) {
	r, s := inUse(t)
	first, err := s.Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, 59, first.Copied)

	// The target's user deletes, files and gets mail; the source's deletes.
	work := r.target.Snapshot("INBOX")
	r.target.Expunge("INBOX", work[0].UID, work[1].UID)
	r.target.Add("Work", string(work[1].Body)) // filed elsewhere
	r.target.Add("INBOX", mail("own", 1))
	r.source.Expunge("INBOX", 30)
	twin := r.source.Snapshot("Work")
	r.source.Expunge("Work", twin[len(twin)-1].UID)

	// While everything is read, mail arrives, and the user deletes one more.
	arrived := false
	rep, err := s.CutOver(t.Context(), mailsync.CutOverOptions{Earlier: first, Verified: func(m mailsync.MailboxVerification) {
		if m.Source == "INBOX" && !arrived {
			arrived = true
			r.source.Add("Work", mail("arrived", 1))
			r.target.Expunge("Work", r.target.Snapshot("Work")[0].UID)
		}
	}})
	require.NoError(t, err)
	require.Equal(t, mailsync.VerdictComplete, rep.Verdict, "%+v", rep)
	require.True(t, rep.Complete() && rep.InStep && rep.Verified)
	folders := map[string]mailsync.ReportFolder{}
	for _, f := range rep.Folders {
		folders[f.Source] = f
	}
	in, w := folders["INBOX"], folders["Work"]
	assert.Equal(t, []int{2, 1, 1}, []int{in.RemovedByUser, in.Kept, in.Own}, "%+v", in)
	assert.Equal(t, []int{1, 1, 1, 1, 1}, []int{w.Altered, w.RemovedByUser, w.MovedLater, w.Kept, w.Own}, "%+v", w)
	assert.True(t, new(folders["Same"]).Same())
	require.Len(t, rep.Altered, 1)
	require.Empty(t, rep.Unexplained)
	require.Equal(t, 60, rep.Total.Copied)
}

func TestReportOfWhatIsMissing(t *testing.T) {
	t.Run("refused", func(t *testing.T) {
		r, s := inUse(t)
		r.target.Hooks.Append = func(mailbox string, batch []mailhaul.Outgoing) *memmail.Answer {
			a := &memmail.Answer{}
			for _, m := range batch {
				b := new(bytes.Buffer)
				_, _ = b.ReadFrom(m.Body.Reader())
				refused := strings.Contains(b.String(), "refused")
				a.Store = append(a.Store, !refused)
				o := mailhaul.Outcome{Delivery: mailhaul.Stored}
				if refused {
					o = mailhaul.Outcome{Delivery: mailhaul.NotStored, Err: &mailhaul.Error{
						Op: "append to", Kind: mailhaul.Permanent, Scope: mailhaul.ScopeMessage, Err: errors.New("no such mail here")}}
				}
				a.Outcomes = append(a.Outcomes, o)
			}
			return a
		}
		rep, err := s.CutOver(t.Context(), mailsync.CutOverOptions{})
		require.NoError(t, err)
		require.Equal(t, mailsync.VerdictIncomplete, rep.Verdict)
		require.Len(t, rep.NotMoved, 1)
		require.Equal(t, 1, rep.Total.NotMoved)
		require.Empty(t, rep.Unexplained)
	})
	t.Run("lost in silence", func(t *testing.T) {
		r, s := inUse(t)
		_, err := s.Run(t.Context())
		require.NoError(t, err)
		// Octets that change after they were moved, and copies that double.
		r.target.Change("Same", 2, func(m *memmail.Stored) { m.Body = []byte("Subject: rot\r\n\r\nrot\r\n") })
		rep, err := s.CutOver(t.Context(), mailsync.CutOverOptions{})
		require.NoError(t, err)
		require.Equal(t, mailsync.VerdictIncomplete, rep.Verdict)
		require.Len(t, rep.Unexplained, 1)
		require.Equal(t, "Same", rep.Unexplained[0].Mailbox)
		require.Contains(t, rep.Unexplained[0].Reason, "other octets")
	})
	t.Run("still changing", func(t *testing.T) {
		r, s := inUse(t)
		n := 0
		rep, err := s.CutOver(t.Context(), mailsync.CutOverOptions{Passes: 3, Passed: func(mailsync.Pass) { n++; r.source.Add("INBOX", mail("more", n)) }})
		require.ErrorIs(t, err, mailsync.ErrChanged)
		require.Equal(t, mailsync.VerdictMoving, rep.Verdict)
		require.Empty(t, rep.Stopped)
	})
	t.Run("not read", func(t *testing.T) {
		_, s := inUse(t)
		rep, err := s.CutOver(t.Context(), mailsync.CutOverOptions{SkipVerify: true})
		require.NoError(t, err)
		require.Equal(t, mailsync.VerdictUnverified, rep.Verdict)
	})
	t.Run("stopped", func(t *testing.T) {
		r, s := inUse(t)
		r.source.Hooks.List = func() error {
			return &mailhaul.Error{Op: "log in", Kind: mailhaul.Auth, Scope: mailhaul.ScopeAccount, Err: errors.New("no")}
		}
		rep, err := s.CutOver(t.Context(), mailsync.CutOverOptions{})
		require.Equal(t, mailhaul.Auth, mailhaul.KindOf(err))
		require.Equal(t, mailsync.VerdictStopped, rep.Verdict)
		require.NotEmpty(t, rep.Stopped)
		require.NoError(t, rep.WriteHTML(new(bytes.Buffer)))
	})
	t.Run("drained while it reads", func(t *testing.T) {
		_, s := inUse(t)
		rep, err := s.CutOver(t.Context(), mailsync.CutOverOptions{Verified: func(mailsync.MailboxVerification) { s.Drain() }})
		require.ErrorIs(t, err, mailsync.ErrDrained)
		require.Equal(t, mailsync.VerdictStopped, rep.Verdict)
	})
	t.Run("a number of passes that makes no sense", func(t *testing.T) {
		_, s := inUse(t)
		rep, err := s.CutOver(t.Context(), mailsync.CutOverOptions{Passes: -1})
		require.Error(t, err)
		require.NotNil(t, rep)
	})
}

// hostileNames are what servers may call folders, and say.
var hostileNames = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `'-alert(1)-'`, "a\x00b\x1b[31mred\r\nHeader: x", "\u202egnp.exe", "{{.From}}",
	`</title></style></table><h1>owned`, "\xff\xfe not UTF-8", "javascript:alert(1)", `&lt;b&gt;`, strings.Repeat("long ", 200), "<!-- ", "]]>",
}

func hostileReport() *mailsync.Report {
	res := &mailsync.Result{From: hostileNames[0] + " at old", To: hostileNames[1] + " at new", Identity: map[string]string{}}
	for i, name := range hostileNames {
		res.PerMailbox = append(res.PerMailbox, mailsync.MailboxResult{Source: name, Target: name, Messages: 12345 * i, Copied: i, Bytes: 1 << 30})
		res.Identity[name] = hostileNames[len(hostileNames)-1-i]
		res.Failed = append(res.Failed, mailsync.Failure{Mailbox: name, UID: mailhaul.UID(i), UIDL: mailhaul.UIDL(name), Reason: name})
		res.Altered = append(res.Altered, mailsync.Alteration{Mailbox: name, UID: 1, TargetUID: 2, Reason: name})
		res.Warnings = append(res.Warnings, name)
	}
	rep := mailsync.NewReport(res, errors.New(hostileNames[2]), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	rep.Ended = rep.Started.Add(26*time.Hour + time.Second)
	return rep
}

func TestReportPageIsSafe(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, hostileReport().WriteHTML(&b))
	page := b.String()
	for _, bad := range []string{"<script", "<img", "onerror=alert", "<h1>owned", "\u202e", "\x1b", "\x00", "<!-- ", "src=", "href=", "url(", "@import", "http://", "https://"} {
		where := strings.Index(page, bad)
		if bad == "onerror=alert" && where >= 0 { // as text only
			require.Contains(t, page, `&lt;img src=x onerror=alert`)
			continue
		}
		if bad == "src=" {
			require.Equal(t, strings.Count(page, "src="), strings.Count(page, "&lt;img src="))
			continue
		}
		require.Negative(t, where, "%q in the page: …%s…", bad, page[max(0, where-40):min(len(page), where+40)])
	}
	require.NotContains(t, page, "ZgotmplZ")
	for _, want := range []string{`<html lang="en">`, "<h1>", "<caption>", `scope="col"`, `scope="row"`, "prefers-color-scheme: dark", "@media print", "default-src 'none'"} {
		require.Contains(t, page, want)
	}
	require.Equal(t, len(hostileNames)+1, strings.Count(page, "<tr><th scope=\"row\">"), "a row for each folder, and the total")

	// The text has no control characters, and a line for each folder.
	b.Reset()
	require.NoError(t, hostileReport().WriteText(&b))
	require.Empty(t, regexp.MustCompile(`[\x00-\x09\x0b-\x1f\x7f]|\x{202e}`).FindString(b.String()))
}

// The keys of the JSON report are documented and stay.
func TestReportKeys(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, hostileReport().WriteJSON(&b))
	var got map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(b.Bytes(), &got))
	keys := slices.Sorted(maps.Keys(got))
	require.Equal(t, []string{"altered", "ended", "folders", "format", "from", "held", "in_step", "not_moved", "started", "stopped", "to", "total",
		"unexplained", "verdict", "verified", "warnings"}, keys)
	var folders []map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(got["folders"], &folders))
	require.Len(t, folders, len(hostileNames))
	keys = append(keys, slices.Sorted(maps.Keys(folders[1]))...)

	doc, err := os.ReadFile("../docs/cutover.md")
	require.NoError(t, err)
	for _, key := range keys {
		require.Contains(t, string(doc), "`"+key+"`", "docs/cutover.md says nothing of a key")
	}
	// An empty list is [], and not null.
	b.Reset()
	require.NoError(t, mailsync.NewReport(&mailsync.Result{}, nil, time.Now()).WriteJSON(&b))
	require.NotContains(t, b.String(), "null")
}

// Long lists are cut where people read them.
func TestReportIsBounded(t *testing.T) {
	res := &mailsync.Result{}
	for i := range 10_000 {
		res.Failed = append(res.Failed, mailsync.Failure{Mailbox: "INBOX", UID: mailhaul.UID(i + 1), Reason: "refused"})
	}
	rep := mailsync.NewReport(res, nil, time.Now())
	var b bytes.Buffer
	require.NoError(t, rep.WriteHTML(&b))
	require.Less(t, b.Len(), 200_000)
	require.True(t, strings.Contains(b.String(), "And 9500 more"))
	b.Reset()
	require.NoError(t, rep.WriteText(&b))
	require.True(t, strings.Contains(b.String(), "9500 more"))
}

// A browser shows the page, with nothing of what servers wrote come to life,
// and fetches nothing for it.
func TestReportInABrowser(t *testing.T) {
	chromium := testserver.RequireProgram(t, "chromium", "chromium")
	dir := t.TempDir()
	page := filepath.Join(dir, "report.html")
	f, err := os.Create(page)
	require.NoError(t, err)
	require.NoError(t, hostileReport().WriteHTML(f))
	require.NoError(t, f.Close())
	browse := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), chromium, append([]string{
			"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
			"--user-data-dir=" + filepath.Join(dir, "profile"), "--host-resolver-rules=MAP * ~NOTFOUND",
		}, args...)...)
		cmd.Env = []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH")}
		var errs bytes.Buffer
		cmd.Stderr = &errs
		out, err := cmd.Output()
		require.NoError(t, err, "%s", errs.String())
		return string(out)
	}
	dom := browse("--dump-dom", "file://"+page)
	require.NotContains(t, dom, "<script")
	require.NotContains(t, dom, "<img")
	require.Len(t, regexp.MustCompile(`<tbody>(?s:.*?)</tbody>`).FindAllString(dom, -1), 1)
	require.Equal(t, len(hostileNames)+1, strings.Count(dom, `<th scope="row">`))
	require.Equal(t, 1, strings.Count(dom, "<h1>"))
	require.Contains(t, dom, "26h0m1s")

	_, s := inUse(t)
	rep, err := s.CutOver(t.Context(), mailsync.CutOverOptions{})
	require.NoError(t, err)
	f, err = os.Create(page)
	require.NoError(t, err)
	require.NoError(t, rep.WriteHTML(f))
	require.NoError(t, f.Close())
	shot := filepath.Join(dir, "shot.png")
	browse("--screenshot="+shot, "--window-size=1200,1600", "--hide-scrollbars", "file://"+page)
	png, err := os.Open(shot)
	require.NoError(t, err)
	defer png.Close()
	picture, _, err := image.Decode(png)
	require.NoError(t, err)
	colours := map[[3]uint32]int{}
	for y := 0; y < picture.Bounds().Dy(); y += 2 {
		for x := 0; x < picture.Bounds().Dx(); x += 2 {
			r, g, b, _ := picture.At(x, y).RGBA()
			colours[[3]uint32{r >> 12, g >> 12, b >> 12}]++
		}
	}
	require.Greater(t, len(colours), 8, "the picture is not blank")
	if keep := os.Getenv("MAILHAUL_KEEP_REPORT"); keep != "" {
		for _, name := range []string{"report.html", "shot.png"} {
			b, err := os.ReadFile(filepath.Join(dir, name))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(keep, name), b, 0o644))
		}
	}
}

// An operator empties the target while it is being read: that is no user
// tidying up.
func TestReportOfATargetThatIsEmptiedMeanwhile(t *testing.T) {
	r := newRig(t)
	r.fill("INBOX", 5)
	r.fill("Work", 80)
	s := r.syncer()
	lists := 0
	r.target.Hooks.List = func() error {
		// After the pass that finds nothing to do, before anything is read.
		if lists++; lists == 4 {
			for _, m := range r.target.Snapshot("Work") {
				r.target.Expunge("Work", m.UID)
			}
		}
		return nil
	}
	rep, err := s.CutOver(t.Context(), mailsync.CutOverOptions{})
	require.NoError(t, err)
	require.Empty(t, r.target.Snapshot("Work"))
	require.Equal(t, mailsync.VerdictIncomplete, rep.Verdict, "%+v", rep)
	require.Len(t, rep.Held, 1)
	require.Zero(t, rep.Total.RemovedByUser)
	require.Equal(t, 80, rep.Held[0].Gone)
}

// A message that the source counts and does not list was not moved.
func TestReportOfASourceThatListsTooFew(t *testing.T) {
	r := newRig(t)
	r.fill("INBOX", 20)
	r.source.Hooks.UIDs = func(_ string, truth mailhaul.UIDSet) mailhaul.UIDSet { return truth.Minus(mailhaul.UIDSetOf(7)) }
	for range 2 {
		res := r.run()
		require.Len(t, r.target.Snapshot("INBOX"), 19)
		require.False(t, res.Complete())
		require.Contains(t, res.Failed[0].Reason, "lists 19 of 20")
	}
	rep, err := r.syncer().CutOver(t.Context(), mailsync.CutOverOptions{})
	require.NoError(t, err)
	require.Equal(t, mailsync.VerdictIncomplete, rep.Verdict, "%+v", rep)
	r.source.Hooks.UIDs = nil
	require.True(t, r.run().Complete())
	require.Equal(t, bodies(r.source, "INBOX"), bodies(r.target, "INBOX"))
}

// What a target counts and does not list was not removed by anybody.
func TestReportOfATargetThatListsTooFew(t *testing.T) {
	r := newRig(t)
	r.fill("INBOX", 20)
	r.run()
	r.target.Hooks.UIDs = func(_ string, truth mailhaul.UIDSet) mailhaul.UIDSet { return truth.Minus(mailhaul.UIDSetOf(7)) }
	rep, err := r.syncer().CutOver(t.Context(), mailsync.CutOverOptions{})
	require.NoError(t, err)
	require.Zero(t, rep.Total.RemovedByUser)
	require.Equal(t, mailsync.VerdictIncomplete, rep.Verdict)
	require.Len(t, rep.Unexplained, 1)
	require.Contains(t, rep.Unexplained[0].Reason, "lists 19 of 20")
}

// The source's mailbox is another one by the time that it is read.
func TestReportOfASourceThatIsMadeAnewMeanwhile(t *testing.T) {
	r := newRig(t)
	r.fill("INBOX", 5)
	r.fill("Work", 5)
	s := r.syncer()
	_, err := s.Run(t.Context())
	require.NoError(t, err)
	r.target.Expunge("Work", r.target.Snapshot("Work")[0].UID)
	made := false
	rep, err := s.CutOver(t.Context(), mailsync.CutOverOptions{Verified: func(m mailsync.MailboxVerification) {
		if !made && m.Source == "INBOX" {
			made = true
			r.source.Delete("Work")
			for i := range 5 {
				r.source.Add("Work", mail("other", i))
			}
		}
	}})
	require.NoError(t, err)
	work := rep.Folders[slices.IndexFunc(rep.Folders, func(f mailsync.ReportFolder) bool { return f.Source == "Work" })]
	require.Zero(t, work.RemovedByUser, "%+v", work)
	require.Equal(t, 5, work.MovedLater)
	require.Equal(t, 5, len(bodies(r.target, "Work"))-4)
}

// docs/cutover.md describes each key of the JSON form.
func TestReportKeysAreDescribed(t *testing.T) {
	text, err := os.ReadFile("../docs/cutover.md")
	require.NoError(t, err)
	seen := map[reflect.Type]bool{}
	var look func(reflect.Type)
	look = func(typ reflect.Type) {
		for typ.Kind() == reflect.Slice || typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || typ == reflect.TypeFor[time.Time]() || seen[typ] {
			return
		}
		seen[typ] = true
		for i := range typ.NumField() {
			key, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			if key == "-" || key == "" {
				continue
			}
			assert.Contains(t, string(text), "`"+key+"`", "%v.%s", typ, typ.Field(i).Name)
			look(typ.Field(i).Type)
		}
	}
	look(reflect.TypeFor[mailsync.Report]())
	require.Greater(t, len(seen), 5)
}
