package main

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

func hexOf(b []byte) string { return hex.EncodeToString(b) }

// makeNewer gives a checkpoint a format from the future, with the checksum that
// package checkpoint puts behind each value.
func makeNewer(t *testing.T, path string) {
	store, err := checkpoint.Open(path, nil)
	require.NoError(t, err)
	key, body := []byte("f"), []byte("mailhaul checkpoint\n\x63")
	sum := crc32.Checksum(append(append([]byte{}, key...), body...), crc32.MakeTable(crc32.Castagnoli))
	require.NoError(t, store.Commit(context.Background(), []checkpoint.Op{{Key: key, Value: binary.LittleEndian.AppendUint32(body, sum)}}))
	require.NoError(t, store.Close())
}

func TestUsage(t *testing.T) {
	const from, to = "imaps://ada:" + fromPassword + "@old.example.org", "imaps://ada:" + toPassword + "@new.example.org"
	both := []string{"-from", from, "-to", to}
	r := &rig{t: t}
	for _, tt := range []struct {
		args []string
		says string
	}{
		{[]string{"-from", from}, "-to is missing"},
		{[]string{"-to", to}, "-from is missing"},
		{[]string{"-from", "", "-to", ""}, "-from is empty"},
		{[]string{"-from", from, "-to", ""}, "-to is empty"},
		{[]string{from, to}, "belongs to no flag"},
		{append(both, to), "belongs to no flag"},
		{[]string{"-form", from}, "there is no flag -form"},
		{[]string{"-password=" + fromPassword}, "there is no flag -password"},
		{[]string{"-from"}, "needs an argument"},
		{[]string{"-connections", from}, "-connections does not take that value"},
		{[]string{"-json=" + from}, "-json does not take that value"},
		{append(both, "-connections", "0"), "from 1 to 100"},
		{append(both, "-connections", "-4"), "from 1 to 100"},
		{append(both, "-state", ""), "-state is empty"},
		{append(both, "-include", ""), "is empty"},
		{append(both, "-rename", from), "OLD=NEW"},
		{append(both, "-rename", "a="), "OLD=NEW"},
		{append(both, "-rename", "a//b=c"), "OLD=NEW"},
		{append(both, "-rename", "a=b", "-rename", "a=c"), "two new names"},
		{append(both, "-deletes", "all"), "keep, flag and remove"},
		{append(both, "-confirm-deletes", ""), "take a folder"},
		{append(both, "-confirm-deletes", "a", "-refuse-deletes", "a"), "both"},
		{append(both, "-from-pin", from), "64 hexadecimal digits"},
		{append(both, "-to-tls-min", from), "-to-tls-min is one of 1.0, 1.1, 1.2 and 1.3"},
		{append(both, "-uidl-form", from), "there is no flag -uidl-form"},
		{[]string{"-from", "pop3s://ada:" + fromPassword + "@new.example.org", "-to", "imaps://ada:" + toPassword + "@new.example.org"}, "the same account over two protocols"},
		{[]string{"-from", "pop3+plain://ada:" + fromPassword + "@192.0.2.1", "-to", to}, "use pop3s or pop3"},
		{[]string{"-from", from, "-to", "pop3s://ada:" + toPassword + "@new.example.org"}, "POP3 only reads"},
		{[]string{"-from", from, "-to", from}, "the same account"},
		{[]string{"-from", "http://ada:" + fromPassword + "@old.example.org", "-to", to}, "-from: server URL: "},
		{[]string{"-from", "imaps://ada:" + fromPassword + "/x@old.example.org", "-to", to}, "%2F"},
		{[]string{"-from", "imaps://ada:" + fromPassword, "-to", to}, "-from: "},
		{[]string{"-from", "imap+plain://ada:" + fromPassword + "@old.example.org", "-to", to}, "-allow-plaintext"},
		{[]string{"-from", "imap+plain://ada:" + fromPassword + "@192.0.2.1", "-to", to}, "-allow-plaintext"},
		{[]string{"-from", "imap+plain://ada:" + fromPassword + "@localhost", "-from-pin", strings.Repeat("ab", 32), "-to", to}, "without TLS"},
	} {
		out := r.start(tt.args...).want(exitUsage).says(tt.says)
		require.Empty(t, out.stdout)
		require.Equal(t, 1, strings.Count(out.stderr, "\n"), "one sentence: %s", out.stderr)
	}

	out := r.start("-h").want(exitComplete)
	require.Empty(t, out.stderr)
	for _, part := range []string{"Usage:", "imaps://", "Exit status:", "Examples:", "-from-tls-min"} {
		require.Contains(t, out.stdout, part)
	}
}

func TestOptions(t *testing.T) {
	opt, err := parse([]string{
		"-from", "imap+plain://ada:x@192.0.2.1", "-to", "imaps://root:y@new.example.org?authzid=ada", "-allow-plaintext",
		"-to-tls-min", "1.0", "-to-pin", strings.Repeat("0F", 32), "-include", "a", "-include", "b",
	}, func(string) string { return "" })
	require.NoError(t, err)
	require.True(t, opt.from.AllowPlaintext)
	require.False(t, opt.to.AllowPlaintext)
	require.Equal(t, uint16(0x0301), opt.to.TLS.MinVersion)
	require.Len(t, opt.to.TLS.Pins, 1)
	require.Equal(t, "ada", opt.to.Account().User)
	require.Equal(t, []string{"a", "b"}, opt.include)
	require.Equal(t, 4, opt.connections)
	require.Equal(t, "mailhaul.db", opt.state)
	require.NotContains(t, fmt.Sprintf("%+v", opt.from), "Credentials:x")

	opt, err = parse([]string{"-from", "imaps://a@h?auth=external", "-to", "imap+plain://b:x@[::1]"}, func(string) string { return "" })
	require.NoError(t, err)
	require.Nil(t, opt.from.Credentials)
}

func TestPins(t *testing.T) {
	var pin [32]byte
	for i := range pin {
		pin[i] = byte(i*37 + 251)
	}
	digits := hexOf(pin[:])
	var colons []string
	for i := 0; i < len(digits); i += 2 {
		colons = append(colons, strings.ToUpper(digits[i:i+2]))
	}
	for _, text := range []string{
		digits, strings.ToUpper(digits), strings.Join(colons, ":"), "sha256:" + digits, "SHA256:" + digits,
		base64.StdEncoding.EncodeToString(pin[:]), base64.RawStdEncoding.EncodeToString(pin[:]), base64.URLEncoding.EncodeToString(pin[:]),
		"sha256:" + base64.StdEncoding.EncodeToString(pin[:]), "sha256//" + base64.StdEncoding.EncodeToString(pin[:]), " " + digits + "\n",
	} {
		got, err := parsePin(text)
		require.NoError(t, err, text)
		require.Equal(t, pin, got, text)
	}
	for _, text := range []string{"", "sha256:", digits[1:], digits + "00", "md5:" + digits, base64.StdEncoding.EncodeToString(pin[:31])} {
		_, err := parsePin(text)
		require.ErrorIs(t, err, errPin, text)
	}
}

func TestPasswordFileIsReadAtEachLogIn(t *testing.T) {
	name := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(name, []byte("one\n"), 0o600))
	credentials, err := fromFile(name)
	require.NoError(t, err)
	for _, token := range []string{"one", "two"} {
		require.NoError(t, os.WriteFile(name, []byte(token+"\n"), 0o600))
		secret, err := credentials(t.Context())
		require.NoError(t, err)
		require.Equal(t, token, secret.Reveal())
	}
	require.NoError(t, os.Remove(name))
	_, err = credentials(t.Context())
	require.ErrorContains(t, err, "the password file cannot be read")

	// A pipe gives its text once, and every log-in has it.
	reader, writer, err := os.Pipe()
	require.NoError(t, err)
	defer reader.Close()
	fmt.Fprintln(writer, "piped")
	require.NoError(t, writer.Close())
	name = fmt.Sprintf("/dev/fd/%d", reader.Fd())
	if _, err := os.Stat(name); err != nil {
		t.Skip("no /dev/fd here")
	}
	credentials, err = fromFile(name)
	require.NoError(t, err)
	for range 2 {
		secret, err := credentials(t.Context())
		require.NoError(t, err)
		require.Equal(t, "piped", secret.Reveal())
	}
}

func TestRenames(t *testing.T) {
	var r renames
	for _, arg := range []string{"Work=Firma", "Work/Old=Archive/2019", "inbox=From home", "a=b=c"} {
		require.NoError(t, r.add(arg))
	}
	for path, want := range map[string]string{
		"Work": "Firma", "Work/New": "Firma/New", "Work/Old": "Archive/2019", "Work/Old/May": "Archive/2019/May",
		"Workshop": "Workshop", "INBOX": "From home", "INBOX/Sub": "INBOX/Sub", "a": "b=c", "Other": "Other",
	} {
		require.Equal(t, want, strings.Join(r.path(strings.Split(path, "/")), "/"), path)
	}
	require.Empty(t, r.warnings())
	require.NoError(t, r.add("Nope=X"))
	require.Equal(t, []string{`-rename: the source has no folder "Nope"`}, r.warnings())
}

func TestUnits(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1234: "-1,234", -123: "-123"} {
		require.Equal(t, want, count(n))
	}
	for n, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 kB", 99_949: "99.9 kB", 99_950: "100 kB", 999_400: "999 kB", 999_500: "1.0 MB", 2_500_000_000: "2.5 GB", 5e15: "5 PB",
	} {
		require.Equal(t, want, size(n))
	}
	for d, want := range map[time.Duration]string{
		time.Millisecond: "1s", 59 * time.Second: "59s", 252 * time.Second: "4m12s", 3*time.Hour + 5*time.Minute: "3h05m", 52 * time.Hour: "2d04h",
	} {
		require.Equal(t, want, span(d))
	}
	require.Equal(t, "1 folder", number(1, "folder"))
	require.Equal(t, "31 ms", elapsed(0.0312))
	require.Equal(t, "7.3 s", elapsed(7.31))
	require.Equal(t, "1m05s", elapsed(65))
	require.Equal(t, "a b \ufffd[31m \ufffd", clean("a\nb\t\x1b[31m \xff\n"))
}

func TestErrorsAreOneSentence(t *testing.T) {
	hinted := &mailhaul.Error{Op: "append to", Server: "h:993", Mailbox: "Wo\x1b[2Jrk", Kind: mailhaul.OverQuota, Hint: "make room", Err: errors.New("full\nindeed")}
	require.NotContains(t, explain(hinted), "\n")
	require.NotContains(t, explain(hinted), "\x1b")
	require.True(t, strings.HasSuffix(explain(hinted), "; make room"))
	require.Contains(t, explain(errors.New("odd")), "odd; what was moved is recorded")
	require.Contains(t, explain(mailsync.ErrDrained), "resumes")
	require.Empty(t, explain(nil))
}

// TestReportOfEverything: the text for people, to the letter.
func TestReportOfEverything(t *testing.T) {
	res := &mailsync.Result{
		From: "ada at old:993", To: "ada at new:993", Mailboxes: 3, Messages: 12345, Copied: 12000, Adopted: 200, Skipped: 100, Vanished: 2,
		RemovedOnTarget: 3, FlagsUpdated: 7, Bytes: 123_456_789, Seconds: 754, RoundTrips: 4321,
		Identity: map[string]string{"INBOX": "order", "Work": "order", "Old": "none"},
		Altered:  []mailsync.Alteration{{Mailbox: "INBOX", UID: 4, TargetUID: 9, Reason: "NULs were replaced"}},
		Failed:   []mailsync.Failure{{Mailbox: "INBOX", UID: 7, Reason: "too large"}, {Mailbox: "Old", Reason: "cannot\nbe opened"}},
		Warnings: []string{"it may not fit"},
	}
	require.Equal(t, `ada at old:993
  -> ada at new:993

  in the source            12,345   messages in 3 folders
  copied                   12,000   123 MB
  adopted                     200   found on the target already
  skipped                     100   moved by an earlier run
  vanished                      2   gone from the source meanwhile
  removed on target             3   by its user; not brought back
  flags updated                 7   changed since the last run
  altered                       1   changed by the target's server
  failed                        2
  time                     12m34s   164 kB/s, 4,321 round trips
  identity                  order   UIDs rise in the order of the source in 2 folders
                             none   UIDs are not in the order of the source in Old

Not on the target (2):
  INBOX, UID 7: too large
  Old, the folder: cannot be opened

Not the same octets on the target (1):
  INBOX, UID 4 (UID 9 on the target): NULs were replaced

Warnings (1):
  it may not fit

The rest of the source is on the target. Another run tries again what is not.
`, text(&options{}, res, nil))
}

func TestLines(t *testing.T) {
	var out strings.Builder
	now := time.Unix(0, 0)
	l := &lines{w: &out, now: func() time.Time { return now }}
	ev := l.events()
	ev.Started(mailsync.Started{Mailboxes: 2, Messages: 30})
	ev.Mailbox(mailsync.MailboxEvent{Source: "INBOX", Messages: 20})
	for i := range 20 {
		now = now.Add(200 * time.Millisecond)
		ev.Progress(mailsync.Progress{
			Mailbox: "INBOX", Messages: i, TotalMessages: 20, AccountMessages: i, AccountTotalMessages: 20,
			AccountBytes: int64(i) * 1000, AccountTotalBytes: 20_000, Rate: 5000, Left: time.Minute,
		})
	}
	ev.Waiting(mailsync.Waiting{Mailbox: "INBOX", For: 252 * time.Second, Reason: "the server asked for it\x07"})
	ev.Mailbox(mailsync.MailboxEvent{Source: "INBOX", Done: true, Result: mailsync.MailboxResult{Copied: 19, Failed: 1, Bytes: 19_000}})
	ev.Mailbox(mailsync.MailboxEvent{Source: "Work", Messages: 10})
	ev.Mailbox(mailsync.MailboxEvent{Source: "Work", Done: true, Result: mailsync.MailboxResult{Skipped: 10}})
	require.Equal(t, `30 messages in 2 folders; moving what is not on the target yet
4 of 30 messages, 4.0 kB of 20.0 kB or more, 5.0 kB/s, over 1m00s left (INBOX: 4 of 20)
9 of 30 messages, 9.0 kB of 20.0 kB or more, 5.0 kB/s, over 1m00s left (INBOX: 9 of 20)
14 of 30 messages, 14.0 kB of 20.0 kB or more, 5.0 kB/s, over 1m00s left (INBOX: 14 of 20)
19 of 30 messages, 19.0 kB of 20.0 kB or more, 5.0 kB/s, over 1m00s left (INBOX: 19 of 20)
INBOX: waiting 4m12s: the server asked for it�
INBOX: 19 copied, 1 FAILED, 19.0 kB
`, out.String())
	require.Zero(t, l.tally.unopened)
}

func TestBars(t *testing.T) {
	var out buffer
	b := newBars(&out)
	ev := b.events()
	ev.Waiting(mailsync.Waiting{For: time.Minute, Reason: "connect\x1b[2J at h:993: busy"})
	require.Eventually(t, func() bool { return strings.Contains(out.String(), "busy") }, 5*time.Second, time.Millisecond)
	require.NotContains(t, out.String(), "\x1b[2J")
	ev.Started(mailsync.Started{Mailboxes: 2, Messages: 30})
	for i := range 1000 {
		box := []string{"INBOX", "Größe"}[i%2]
		ev.Progress(mailsync.Progress{
			Mailbox: box, Messages: i, TotalMessages: 1000, AccountMessages: i, AccountTotalMessages: 1000, AccountBytes: 1, AccountTotalBytes: 2,
		})
		if i%7 == 0 {
			ev.Waiting(mailsync.Waiting{Mailbox: box, For: time.Hour, Reason: "throttled"})
		}
		if i%100 == 0 {
			b.say("still there")
		}
	}
	require.Eventually(t, func() bool { return strings.Contains(out.String(), "999/1,0") }, 5*time.Second, time.Millisecond)
	ev.Mailbox(mailsync.MailboxEvent{Source: "INBOX", Done: true, Result: mailsync.MailboxResult{Copied: 500}})
	b.close()
	b.say("too late, but no harm")
	require.Contains(t, out.String(), "INBOX: 500 copied\n")
}
