package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
)

var testLimits = Limits{Line: 64 << 10, Nesting: 64, Response: 1 << 20, Body: 1 << 20}

// keepBody is a BodyFunc that keeps the octets.
func keepBody(_ *Response, _ int64, r io.Reader) (any, error) {
	b, err := io.ReadAll(r)
	return string(b), err
}

// frame returns the texts of all responses in the stream, and the error at its
// end.
func frame(r io.Reader) (texts []string, err error) {
	f := NewFramer(r, testLimits, keepBody)
	for {
		resp, err := f.Next()
		if err != nil {
			return texts, err
		}
		texts = append(texts, string(resp.Text()))
	}
}

func TestFramer(t *testing.T) {
	const stream = "* OK hello {5}\r\n" + // text may look like a literal
		"+ go ahead {3}\r\n" +
		"* LIST () \"/\" {3}\r\nA\r\n\r\n" + // a literal that holds a line end
		"* LIST () \"/\" {3+}\r\nabc (X {2}\r\nyy)\r\n" +
		"* 1 FETCH (UID 7 BODY[] {4}\r\nbody FLAGS ())\r\n" +
		"* 1 FETCH (BODY[] ~{0}\r\n)\r\n" +
		"\r\n" + // an empty line
		"bare line feed\n" +
		"a1 NO no {12}\r\n" +
		"* LIST () \"/\" {x}\r\n" +
		"* LIST () \"/\" {}\r\n"
	want := []string{
		"* OK hello {5}", "+ go ahead {3}",
		"* LIST () \"/\" {3}A\r\n", "* LIST () \"/\" {3+}abc (X {2}yy)",
		"* 1 FETCH (UID 7 BODY[] {4} FLAGS ())", "* 1 FETCH (BODY[] ~{0})",
		"", "bare line feed", "a1 NO no {12}", `* LIST () "/" {x}`, `* LIST () "/" {}`,
	}
	for name, r := range map[string]io.Reader{
		"at once":        strings.NewReader(stream),
		"octet by octet": iotest.OneByteReader(strings.NewReader(stream)),
		"data with EOF":  iotest.DataErrReader(strings.NewReader(stream)),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := frame(r)
			assert.Equal(t, io.EOF, err)
			assert.Equal(t, want, got)
		})
	}
}

func TestFramerCutShort(t *testing.T) {
	const whole = "* 1 FETCH (UID 7 BODY[] {4}\r\nbody FLAGS ())\r\n"
	for n := range len(whole) {
		got, err := frame(strings.NewReader(whole[:n]))
		assert.Empty(t, got)
		if n == 0 {
			assert.Equal(t, io.EOF, err)
		} else {
			assert.Equal(t, io.ErrUnexpectedEOF, err, "%q", whole[:n])
		}
	}
}

func TestFramerLimits(t *testing.T) {
	next := "\r\na1 OK\r\n"
	long := strings.Repeat("x", 70<<10)
	tests := []struct {
		name, stream string
		err          error // of the stream
		costs        error // of the response
	}{
		{"long line", "* LIST () \"/\" " + long + next, nil, ErrLineTooLong},
		{"long line with a literal at its end", "* LIST () \"/\" " + long + " {5}\r\nhello" + next, nil, ErrLineTooLong},
		{"literals add up", "* X " + strings.Repeat(" {1}\r\nx"+long[:100], 700) + next, nil, ErrLineTooLong},
		{"endless line", "* X " + strings.Repeat("x", 2<<20), ErrResponseTooLarge, nil},
		{"large literal", "* X {1048576}\r\n", ErrLiteralTooLarge, nil},
		{"huge literal", "* X {9223372036854775807}\r\n", ErrLiteralTooLarge, nil},
		{"literal of 65 bits", "* X {99999999999999999999}\r\n", ErrLiteralTooLarge, nil},
		{"body of 63 bits", "* 1 FETCH (BODY[] {9223372036854775807}\r\n", ErrLiteralTooLarge, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := NewFramer(strings.NewReader(tt.stream), testLimits, nil)
			resp, err := f.Next()
			require.Equal(t, tt.err, err)
			if err != nil {
				return
			}
			assert.Equal(t, tt.costs, resp.Err)
			resp, err = f.Next()
			require.NoError(t, err)
			assert.Equal(t, "a1 OK", string(resp.Text()))
		})
	}
	t.Run("a body above the limit is passed over", func(t *testing.T) {
		f := NewFramer(strings.NewReader("* 1 FETCH (BODY[] {2000000}\r\n"+strings.Repeat("x", 2000000)+")\r\na1 OK\r\n"), testLimits, nil)
		_, err := f.Next()
		require.NoError(t, err)
		resp, err := f.Next()
		require.NoError(t, err)
		assert.Equal(t, "a1 OK", string(resp.Text()))
	})
}

// A line that is cut at any point of the read buffer, its literal's
// announcement included, is followed all the same.
func TestFramerLongLineAtBufferEdge(t *testing.T) {
	limits := testLimits
	limits.Line = readBuffer
	for n := readBuffer - 20; n < readBuffer+20; n++ {
		stream := "* X " + strings.Repeat("x", n) + " {5}\r\nhello)\r\na1 OK\r\n"
		f := NewFramer(strings.NewReader(stream), limits, nil)
		_, err := f.Next()
		require.NoError(t, err, n)
		resp, err := f.Next()
		require.NoError(t, err, n)
		require.Equal(t, "a1 OK", string(resp.Text()), n)
	}
}

// parseOne frames and parses one FETCH response.
func parseOne(t *testing.T, text string) (Fetch, error) {
	t.Helper()
	f := NewFramer(strings.NewReader(text), testLimits, keepBody)
	resp, err := f.Next()
	require.NoError(t, err)
	s := resp.Scan(testLimits)
	head := s.Head()
	require.Equal(t, Numbered, head.Kind)
	require.True(t, head.Is("FETCH"))
	var fetch Fetch
	err = NewParser(testLimits).Fetch(&s, head.Num, &fetch)
	return fetch, err
}

func TestFetchItems(t *testing.T) {
	date := time.Date(1996, 7, 17, 2, 44, 25, 0, time.FixedZone("", -7*3600))
	tests := []struct {
		text string
		want Fetch
		date time.Time
	}{
		{text: `UID 5 FLAGS (\Seen $Kw) RFC822.SIZE 12`, want: Fetch{Items: ItemUID | ItemFlags | ItemSize, UID: 5, Flags: []mailhaul.Flag{`\Seen`, "$Kw"}, Size: 12}},
		{text: `FLAGS () UID 5`, want: Fetch{Items: ItemUID | ItemFlags, UID: 5}},
		{text: `flags (a) uid 5`, want: Fetch{Items: ItemUID | ItemFlags, UID: 5, Flags: []mailhaul.Flag{"a"}}},
		{text: `INTERNALDATE "17-Jul-1996 02:44:25 -0700"`, want: Fetch{Items: ItemDate}, date: date},
		{text: `INTERNALDATE " 7-Jul-1996 02:44:25 +0000"`, want: Fetch{Items: ItemDate}, date: time.Date(1996, 7, 7, 2, 44, 25, 0, time.UTC)},
		{text: `INTERNALDATE "7-jul-1996 02:44:25 +0000"`, want: Fetch{Items: ItemDate}, date: time.Date(1996, 7, 7, 2, 44, 25, 0, time.UTC)},
		{text: `INTERNALDATE NIL UID 5`, want: Fetch{Items: ItemDate | ItemUID, UID: 5}},
		{text: `INTERNALDATE "00-Jan-0000 00:00:00 +0000" UID 5`, want: Fetch{Items: ItemDate | ItemUID, UID: 5}},
		{text: `INTERNALDATE "31-Feb-2000 00:00:00 +0000"`, want: Fetch{Items: ItemDate}},
		{text: `INTERNALDATE ""`, want: Fetch{Items: ItemDate}},
		{text: `INTERNALDATE "` + strings.Repeat("9", 2000) + `"`, want: Fetch{Items: ItemDate}},
		{text: `MODSEQ (917162500)`, want: Fetch{Items: ItemModSeq, ModSeq: 917162500}},
		{text: `MODSEQ 7 UID 5`, want: Fetch{Items: ItemModSeq | ItemUID, ModSeq: 7, UID: 5}},
		{text: "BODY[] {5}\r\nhello UID 5", want: Fetch{Items: ItemBody | ItemUID, UID: 5, Body: "hello"}},
		{text: "BODY[]<0> {5}\r\nhello UID 5", want: Fetch{Items: ItemBody | ItemUID, UID: 5, Body: "hello"}},
		{text: "body[] ~{5}\r\nhello", want: Fetch{Items: ItemBody, Body: "hello"}},
		{text: `BODY[] "quo\"ted" UID 5`, want: Fetch{Items: ItemBody | ItemUID, UID: 5, BodyText: []byte(`quo"ted`)}},
		{text: `BODY[] ""`, want: Fetch{Items: ItemBody, BodyText: []byte{}}},
		{text: `BODY[] NIL UID 5`, want: Fetch{Items: ItemUID, UID: 5}},
		{text: "BODY[HEADER.FIELDS (MESSAGE-ID \"DATE\")] {3}\r\nabc UID 5", want: Fetch{Items: ItemHeader | ItemUID, UID: 5, Header: []byte("abc")}},
		{text: `BODY[HEADER] "h" UID 5`, want: Fetch{Items: ItemHeader | ItemUID, UID: 5, Header: []byte("h")}},
		{text: `BODY[HEADER.FIELDS (X)] NIL UID 5`, want: Fetch{Items: ItemHeader | ItemUID, UID: 5}},
		{text: `BODY[HEADER.FIELDS (X)]<0> "h" UID 5`, want: Fetch{Items: ItemHeader | ItemUID, UID: 5, Header: []byte("h")}},
		// What is not known, or not right, is passed over.
		{text: `X-GM-LABELS ("\\Inbox" foo) X-GM-MSGID 12 EMAILID (M1) SAVEDATE NIL PREVIEW "x" UID 5`, want: Fetch{Items: ItemUID, UID: 5}},
		{text: `ENVELOPE NIL BODYSTRUCTURE (("text" "plain" NIL) "mixed") UID 5`, want: Fetch{Items: ItemUID, UID: 5}},
		{text: "RFC822 {3}\r\nabc UID 5", want: Fetch{Items: ItemUID, UID: 5}},
		{text: "BINARY[1] ~{3}\r\nabc UID 5", want: Fetch{Items: ItemUID, UID: 5}},
		{text: `RFC822.SIZE -1 UID 5`, want: Fetch{Items: ItemUID, UID: 5}},
		{text: `UID 4294967296`, want: Fetch{}},
		{text: `UID 0`, want: Fetch{}},
		{text: `FLAGS NIL UID 5`, want: Fetch{Items: ItemUID, UID: 5}},
		{text: `FLAGS (\Seen a]b "quoted" ` + "\xe4\x80" + `) UID 5`, want: Fetch{Items: ItemUID | ItemFlags, UID: 5, Flags: []mailhaul.Flag{`\Seen`, "a]b", "quoted", "\xe4\x80"}}},
		{text: `FLAGS (\Seen (nested)) UID 5`, want: Fetch{Items: ItemUID | ItemFlags, UID: 5, Flags: []mailhaul.Flag{`\Seen`}}},
		{text: ` UID  5  `, want: Fetch{Items: ItemUID, UID: 5}},
		{text: `"stray" UID 5`, want: Fetch{Items: ItemUID, UID: 5}},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%.60s", tt.text), func(t *testing.T) {
			got, err := parseOne(t, "* 9 FETCH ("+tt.text+")\r\n")
			require.NoError(t, err)
			assert.True(t, got.Date.Equal(tt.date), got.Date)
			if !tt.date.IsZero() {
				_, want := tt.date.Zone()
				_, offset := got.Date.Zone()
				assert.Equal(t, want, offset)
			}
			got.Date = time.Time{}
			tt.want.Seq = 9
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestFetchErrorsKeepWhatWasRead(t *testing.T) {
	for _, text := range []string{
		`(UID 5 ENVELOPE ` + strings.Repeat("(", 100) + `)`,
		`(UID 5 BODY[HEADER.FIELDS (X) "abc"`,
		`(UID 5 X "unclosed)`,
		`(UID 5 X (()`,
	} {
		got, err := parseOne(t, "* 9 FETCH "+text+"\r\n")
		assert.Error(t, err, text)
		assert.EqualValues(t, 5, got.UID, text)
	}
	_, err := parseOne(t, "* 9 FETCH NIL\r\n")
	assert.ErrorIs(t, err, ErrSyntax)
	got, err := parseOne(t, "* 9 FETCH (UID 5\r\n") // the end of the line ends it
	assert.NoError(t, err)
	assert.EqualValues(t, 5, got.UID)
}

func scan(text string) *Scanner {
	s := ScanText(text, testLimits)
	return &s
}

func TestList(t *testing.T) {
	tests := []struct {
		text string
		want List
	}{
		{`(\HasNoChildren \Sent) "/" INBOX`, List{[]string{`\hasnochildren`, `\sent`}, "/", "INBOX"}},
		{`() "." "a b"`, List{nil, ".", "a b"}},
		{`() NIL "a"`, List{nil, "", "a"}},
		{`() "" "a"`, List{nil, "", "a"}},
		{`() "\\" "a\\b\"c"`, List{nil, `\`, `a\b"c`}},
		{`() "/" A&B`, List{nil, "/", "A&B"}},
		{"() \"/\" \"caf\xe9\"", List{nil, "/", "caf\xe9"}},
		{`() "/" odd\name(x`, List{nil, "/", `odd\name(x`}},
		{`() "/" two words`, List{nil, "/", "two words"}},
		{`() "/" atom (CHILDINFO ("SUBSCRIBED"))`, List{nil, "/", "atom"}},
		{`() "/" "a" ("OLDNAME" ("b"))`, List{nil, "/", "a"}},
		{`() "/" ""`, List{nil, "/", ""}},
		{`(\A (\B) "\\C") / "a"`, List{[]string{`\a`, `\c`}, "/", "a"}},
		{`"/" "a"`, List{nil, "/", "a"}},
	}
	for _, tt := range tests {
		got, err := scan(tt.text).List()
		assert.NoError(t, err, tt.text)
		assert.Equal(t, tt.want, got, tt.text)
	}
	for _, bad := range []string{``, `()`, `() "/"`, `(`, `() "/" "unclosed`, `() (`} {
		_, err := scan(bad).List()
		assert.Error(t, err, bad)
	}
}

func TestMailboxStatus(t *testing.T) {
	got, err := scan(`"a b" (MESSAGES 3 UIDNEXT 4 UIDVALIDITY 5 HIGHESTMODSEQ 6 X-UNKNOWN (1 2) SIZE NIL MAILBOXID (F2212ea87-6097) APPENDLIMIT 7)`).MailboxStatus()
	assert.NoError(t, err)
	assert.Equal(t, MailboxStatus{"a b", 3, true, 4, 5, 6, 7, "F2212ea87-6097"}, got)
	got, err = scan(`odd name (MESSAGES 4294967296 UIDNEXT -1)`).MailboxStatus()
	assert.NoError(t, err)
	assert.Equal(t, MailboxStatus{Name: "odd name"}, got)
	_, err = scan(`a`).MailboxStatus()
	assert.Error(t, err)
}

func TestNamespace(t *testing.T) {
	got, err := scan(`(("INBOX." ".")) (("user." "." "X" ("y"))) ((NIL NIL)("#a/" "/"))`).Namespace()
	assert.NoError(t, err)
	assert.Equal(t, Namespace{
		Personal: []NamespaceEntry{{"INBOX.", "."}},
		Others:   []NamespaceEntry{{"user.", "."}},
		Shared:   []NamespaceEntry{{"", ""}, {"#a/", "/"}},
	}, got)
	got, err = scan(`(("" "/"))`).Namespace() // a short one
	assert.NoError(t, err)
	assert.Equal(t, Namespace{Personal: []NamespaceEntry{{"", "/"}}}, got)
	got, err = scan(`NIL NIL NIL`).Namespace()
	assert.NoError(t, err)
	assert.Equal(t, Namespace{}, got)
}

func TestID(t *testing.T) {
	got, err := scan(`("name" "Dovecot" "Version" NIL "os" {3}x)`).ID()
	assert.NoError(t, err)
	assert.Equal(t, "Dovecot", got["name"])
	got, err = scan(`NIL`).ID()
	assert.NoError(t, err)
	assert.Empty(t, got)
}

func TestQuota(t *testing.T) {
	roots, err := scan(`INBOX "" "user root"`).QuotaRoots()
	assert.NoError(t, err)
	assert.Equal(t, []string{"", "user root"}, roots)
	root, res, err := scan(`"" (STORAGE 10 512 message 1 -1 X 1 2)`).Quota()
	assert.NoError(t, err)
	assert.Equal(t, "", root)
	assert.Equal(t, []QuotaResource{{"STORAGE", 10, 512}, {"X", 1, 2}}, res)
}

func TestStatusLine(t *testing.T) {
	tests := []struct {
		text string
		want Status
	}{
		{"OK done", Status{OK, "", "", "done"}},
		{"ok [uidnext 5] x", Status{OK, "UIDNEXT", "5", "x"}},
		{"NO", Status{NO, "", "", ""}},
		{"NO [TRYCREATE]", Status{NO, "TRYCREATE", "", ""}},
		{`OK [PERMANENTFLAGS (\Seen a]b \*)] x`, Status{OK, "PERMANENTFLAGS", `(\Seen a]b \*)`, "x"}},
		{"OK [CODE without end", Status{OK, "", "", "[CODE without end"}},
		{"OK [X (] y", Status{OK, "X", "(", "y"}},
		{`OK [X "]"] y`, Status{OK, "X", `"]"`, "y"}},
		{"BAD caf\xe9", Status{BAD, "", "", "caf\xe9"}},
		{"OK [] y", Status{OK, "", "", "y"}},
	}
	for _, tt := range tests {
		assert.Equal(t, tt.want, scan(tt.text).Status(), tt.text)
	}
}

func TestHead(t *testing.T) {
	tests := []struct {
		text string
		kind Kind
	}{
		{"+ go", Continuation}, {"+", Continuation},
		{"a1 OK x", Tagged}, {"a1 XYZZY", Malformed}, {"a1", Malformed},
		{"* OK x", StatusLine}, {"* BYE", StatusLine},
		{"* 3 EXISTS", Numbered}, {"*  3 EXISTS", Numbered}, {"* 4294967296 EXISTS", Untagged},
		{"* FLAGS ()", Untagged}, {"*", Malformed}, {"", Malformed}, {"(", Malformed},
	}
	for _, tt := range tests {
		assert.Equal(t, tt.kind, scan(tt.text).Head().Kind, tt.text)
	}
}

func TestSearch(t *testing.T) {
	tests := []struct {
		line, want string
		malformed  bool
	}{
		{"* SEARCH", "", false},
		{"* SEARCH 1 2 3 7", "1:3,7", false},
		{"* search 7 3 2 1", "1:3,7", false},
		{"* SEARCH 1 5 (MODSEQ 917)", "1,5", false},
		{"* SEARCH 0 1 4294967296 x 4294967295", "1,4294967295", true},
		{`* ESEARCH (TAG "a ALL 9") UID ALL 1:3,7 COUNT 4`, "1:3,7", false},
		{`* ESEARCH (TAG "a") UID MIN 2 MAX 9 ALL 5:2`, "2:5", false},
		{`* ESEARCH (TAG "a\"b)") UID`, "", false},
		{`* ESEARCH UID ALL`, "", false},
		{`* ESEARCH ALL 1:4294967295`, "1:4294967295", false},
		{`* ESEARCH ALL 1,2,`, "1:2", false},
		{`* ESEARCH ALL 1:`, "", true},
	}
	for _, tt := range tests {
		f := NewFramer(strings.NewReader(tt.line+"\r\n"), testLimits, nil)
		resp, err := f.Next()
		require.NoError(t, err)
		require.NotNil(t, resp.Search, tt.line)
		assert.Equal(t, tt.want, resp.Search.UIDs.String(), tt.line)
		assert.Equal(t, tt.malformed, resp.Search.Malformed, tt.line)
	}
}

// A SEARCH response is longer than any other line may be, and its numbers may
// be cut anywhere.
func TestSearchIsStreamed(t *testing.T) {
	limits := testLimits
	limits.Response = 64 << 20
	for _, order := range []string{"ascending", "descending", "shuffled"} {
		t.Run(order, func(t *testing.T) {
			var want mailhaul.UIDSet
			var numbers []int
			for i := range 200_000 {
				want.Add(mailhaul.UID(3*i + 1))
				numbers = append(numbers, 3*i+1)
			}
			switch order {
			case "descending":
				for i := range len(numbers) / 2 {
					numbers[i], numbers[len(numbers)-1-i] = numbers[len(numbers)-1-i], numbers[i]
				}
			case "shuffled":
				rand.Shuffle(len(numbers), func(i, j int) { numbers[i], numbers[j] = numbers[j], numbers[i] })
			}
			line := []byte("* SEARCH")
			for _, n := range numbers {
				line = fmt.Appendf(line, " %d", n)
			}
			f := NewFramer(bytes.NewReader(append(line, "\r\n"...)), limits, nil)
			start := time.Now()
			resp, err := f.Next()
			require.NoError(t, err)
			assert.Equal(t, want, resp.Search.UIDs)
			assert.Less(t, time.Since(start), 5*time.Second)
		})
	}
}

func TestAppendUID(t *testing.T) {
	tests := []struct {
		arg  string
		n    int
		want []mailhaul.UID
	}{
		{"9 5", 1, []mailhaul.UID{5}},
		{"9 5:7", 3, []mailhaul.UID{5, 6, 7}},
		{"9 5,7:8", 3, []mailhaul.UID{5, 7, 8}},
		{"9 5:6", 3, nil}, {"9 5:8", 3, nil}, {"9 7:5", 3, nil}, {"9 5,5", 2, nil}, {"9 6,5", 2, nil},
		{"9 1:4294967295", 3, nil}, {"9 0", 1, nil}, {"0 5", 1, nil}, {"9", 1, nil}, {"", 1, nil},
		{"9 4294967295", 1, []mailhaul.UID{4294967295}}, {"9 4294967296", 1, nil}, {"9 5,", 1, nil}, {"9 *", 1, nil}, {"9 5 6", 2, nil},
	}
	for _, tt := range tests {
		got, ok := ParseAppendUID(tt.arg, tt.n)
		assert.Equal(t, tt.want != nil, ok, tt.arg)
		if ok {
			assert.Equal(t, tt.want, got.UIDs, tt.arg)
			assert.EqualValues(t, 9, got.UIDValidity)
		}
	}
}

func TestEncoder(t *testing.T) {
	enc := func(f func(e *Encoder)) string {
		var e Encoder
		f(&e)
		require.NoError(t, e.Err())
		return string(bytes.Join(e.Parts(), []byte("|")))
	}
	assert.Equal(t, `"a\"b\\c"`, enc(func(e *Encoder) { e.String(`a"b\c`) }))
	assert.Equal(t, `""`, enc(func(e *Encoder) { e.String("") }))
	assert.Equal(t, "x {3}\r\n|a\x7fb y", enc(func(e *Encoder) { e.Raw("x ").String("a\x7fb").Raw(" y") }))
	assert.Equal(t, "{2}\r\n|é", enc(func(e *Encoder) { e.String("é") }))
	assert.Equal(t, "{1001}\r\n|"+strings.Repeat("a", 1001), enc(func(e *Encoder) { e.String(strings.Repeat("a", 1001)) }))
	assert.Equal(t, "1:3,7", enc(func(e *Encoder) { e.Set(mailhaul.UIDSetOf(1, 2, 3, 7)) }))
	assert.Equal(t, `(\Seen a b)`, enc(func(e *Encoder) { e.Flags([]mailhaul.Flag{`\Seen`, "a", "b"}) }))
	day := time.Date(2001, 2, 3, 4, 5, 6, 0, time.FixedZone("", -5400))
	assert.Equal(t, ` " 3-Feb-2001 04:05:06 -0130"`, enc(func(e *Encoder) { e.SPDate(day) }))
	assert.Equal(t, ` " 3-Feb-2001 05:35:06 +0000"`, enc(func(e *Encoder) { e.SPDate(day.In(time.FixedZone("LMT", 3601))) }))
	assert.Equal(t, "", enc(func(e *Encoder) { e.SPDate(time.Date(12345, 1, 1, 0, 0, 0, 0, time.UTC)) }))
	assert.Equal(t, ` " 1-Jan-0800 00:00:00 +0000"`, enc(func(e *Encoder) { e.SPDate(time.Date(800, 1, 1, 0, 0, 0, 0, time.UTC)) }))

	for name, f := range map[string]func(e *Encoder){
		"CR": func(e *Encoder) { e.String("a\rb") }, "LF": func(e *Encoder) { e.String("a\nb") }, "NUL": func(e *Encoder) { e.String("a\x00b") },
		"secret": func(e *Encoder) { e.Secret("hunter\r\n2") }, "empty set": func(e *Encoder) { e.Set(nil) },
		"\\Recent": func(e *Encoder) { e.Flags([]mailhaul.Flag{`\Recent`}) }, "flag": func(e *Encoder) { e.Flags([]mailhaul.Flag{"a) {3}"}) },
	} {
		var e Encoder
		f(&e)
		assert.Error(t, e.Err(), name)
		assert.NotContains(t, e.Err().Error(), "hunter")
		assert.False(t, bytes.ContainsAny(e.Bytes(), "\r\n\x00"), name)
	}
}

func TestSplitSet(t *testing.T) {
	var set mailhaul.UIDSet
	for i := range 5000 {
		set.Add(mailhaul.UID(2*i + 1))
	}
	set.AddRange(mailhaul.UIDRange{First: 20_000, Last: 1<<32 - 1})
	pieces := SplitSet(set, 1000, 1<<31)
	var all mailhaul.UIDSet
	for _, p := range pieces {
		assert.LessOrEqual(t, len(p.String()), 1000)
		assert.LessOrEqual(t, p.Len(), 1<<31)
		for _, r := range p {
			all.AddRange(r)
		}
	}
	assert.Equal(t, set, all)
	assert.Empty(t, SplitSet(nil, 100, 100))
}

// Fuzzing.

var fuzzSeeds = []string{
	"* OK hi\r\n", "* 1 FETCH (UID 5 BODY[] {3}\r\nabc FLAGS (\\Seen))\r\n", "* SEARCH 1 2 3\r\n", "* ESEARCH (TAG \"x\") UID ALL 1:5\r\n",
	"* LIST (\\Sent) \"/\" {3}\r\nabc\r\n", "* STATUS x (MESSAGES 1)\r\n", "* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n", "* ID (\"name\" NIL)\r\n",
	"* QUOTA \"\" (STORAGE 1 2)\r\n", "* QUOTAROOT x \"\"\r\n", "a1 NO [TRYCREATE] x\r\n", "+ Zm9v\r\n", "* FLAGS (\\Seen a)\r\n",
	"* 1 FETCH (BODY[HEADER.FIELDS (\"DATE\")]<0> \"x\" MODSEQ (5) INTERNALDATE \"17-Jul-1996 02:44:25 -0700\")\r\n",
	"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n", "* 1 FETCH (X {1}\r\n(Y ((()))))\r\n", "* BYE\r\n", "\r\n",
}

// FuzzResponse frames and parses anything. Nothing may panic, hang or read
// beyond the limits, and how the octets are cut on the way must not matter.
func FuzzResponse(f *testing.F) {
	for _, s := range fuzzSeeds {
		f.Add([]byte(s))
	}
	f.Add([]byte(strings.Join(fuzzSeeds, "")))
	if len(fuzzSeeds) == 0 {
		f.Fatal("no seeds")
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		whole, wholeErr := parseAll(bytes.NewReader(stream))
		bits, bitsErr := parseAll(iotest.OneByteReader(bytes.NewReader(stream)))
		if len(stream) < readBuffer { // beyond, the buffer's edge decides what is "too long" by a few octets
			assert.Equal(t, whole, bits)
			assert.Equal(t, wholeErr, bitsErr)
		}
	})
}

// parseAll returns what each response of the stream was taken for.
func parseAll(r io.Reader) (parsed []string, err error) {
	limits := Limits{Line: 4096, Nesting: 16, Response: 1 << 16, Body: 1 << 16}
	framer := NewFramer(r, limits, keepBody)
	parser := NewParser(limits)
	for {
		resp, err := framer.Next()
		if err != nil {
			return parsed, err
		}
		if resp.Search != nil {
			parsed = append(parsed, fmt.Sprint("search ", resp.Search.UIDs, resp.Search.Malformed))
			continue
		}
		if resp.Err != nil {
			parsed = append(parsed, resp.Err.Error())
			continue
		}
		parsed = append(parsed, fmt.Sprint(parseAny(parser, resp, limits)...))
	}
}

func parseAny(parser *Parser, resp *Response, limits Limits) []any {
	all := []any{string(resp.Text())}
	s := resp.Scan(limits)
	head := s.Head()
	all = append(all, head.Kind, string(head.Tag), head.Num, string(head.Word))
	_, uid := parser.PeekUID(resp)
	all = append(all, uid)
	again := func() *Scanner { s := s; return &s }
	switch head.Kind {
	case Tagged, StatusLine:
		all = append(all, again().Status())
	case Continuation:
		all = append(all, string(again().ContinuationText()))
	case Numbered:
		var f Fetch
		err := parser.Fetch(again(), head.Num, &f)
		all = append(all, f, err)
	case Untagged: // whatever it calls itself
		l, err := again().List()
		all = append(all, l, err)
		m, err := again().MailboxStatus()
		all = append(all, m, err)
		n, err := again().Namespace()
		all = append(all, n, err)
		id, err := again().ID()
		all = append(all, id, err, again().Words())
		_, q, err := again().Quota()
		all = append(all, q, err)
		roots, err := again().QuotaRoots()
		flags, ok := parser.Flags(again())
		all = append(all, roots, err, flags, ok)
	}
	return all
}

// FuzzEncoder encodes anything, and a framer takes it apart again: however a
// string looks, it is one string to whoever reads it.
func FuzzEncoder(f *testing.F) {
	for _, s := range []string{"a", "a\"b", "a\\", "{3}", "{3+}", "é", "a) b", "\x7f", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var e Encoder
		e.Raw(`* LIST () "/" `).String(text).CRLF()
		if strings.ContainsAny(text, "\x00\r\n") {
			assert.True(t, errors.Is(e.Err(), ErrUnsafe))
			return
		}
		require.NoError(t, e.Err())
		framer := NewFramer(bytes.NewReader(e.Bytes()), Limits{}, nil)
		resp, err := framer.Next()
		require.NoError(t, err)
		s := resp.Scan(Limits{})
		require.True(t, s.Head().Is("LIST"))
		l, err := s.List()
		require.NoError(t, err)
		assert.Equal(t, text, l.Name)
		_, err = framer.Next()
		assert.Equal(t, io.EOF, err)
	})
}

// FuzzCode parses response codes: APPENDUID never gives anything but as many
// UIDs as there are messages, in ascending order.
func FuzzCode(f *testing.F) {
	for _, s := range []string{"[APPENDUID 1 2:5] x", "[APPENDUID 1 5,6,7] x", "[PERMANENTFLAGS (a]b \\*)] x", "[X", "[CAPABILITY A B] x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		st := scan("OK " + text).Status()
		a, ok := ParseAppendUID(st.Arg, 4)
		if !ok {
			return
		}
		require.Len(t, a.UIDs, 4)
		for i, u := range a.UIDs {
			assert.NotZero(t, u)
			assert.True(t, i == 0 || u > a.UIDs[i-1])
		}
	})
}
