package uidmap

// Tests of Digester: what Exact and Content stand for, and that it does not
// matter how the octets arrive.

import (
	"bytes"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
)

func digest(message string) Digest {
	d := NewDigester()
	io.WriteString(d, message)
	return d.Sum()
}

func contentOf(text string) [32]byte { return sha256.Sum256([]byte(text)) }

func TestDigestContent(t *testing.T) {
	const header = "Subject: a\r\nFrom: b\r\n\r\n"
	for name, c := range map[string]struct{ message, text string }{
		"plain":                    {header + "one\r\ntwo\r\n", "one\ntwo"},
		"added fields":             {"X-Added: 1\r\n\tmore\r\n" + header + "one\r\ntwo\r\n", "one\ntwo"},
		"bare LF":                  {"Subject: a\n\none\ntwo\n", "one\ntwo"},
		"bare CR":                  {"Subject: a\r\rone\rtwo\r", "one\ntwo"},
		"mixed ends":               {"Subject: a\n\r\none\rtwo\n", "one\ntwo"},
		"no last line end":         {header + "one\r\ntwo", "one\ntwo"},
		"empty lines at the end":   {header + "one\r\ntwo\r\n\r\n\n\r", "one\ntwo"},
		"empty lines within":       {header + "one\r\n\r\n\ntwo", "one\n\n\ntwo"},
		"empty lines at the front": {header + "\r\none", "\none"},
		"LF CR is two":             {header + "one\n\rtwo", "one\n\ntwo"},
		"NUL":                      {header + "a\x00b\x80", "a\x80b\x80"},
		"blanks stay":              {header + " a \t\r\n \r\n", " a \t\n "},
		"mbox line":                {"From ann Tue Jul  1\n" + header + "one", "one"},
		"blank before the colon":   {"Subject : a\r\n\r\none", "one"},
		"garbage in the header":    {"Subject: a\r\ngarbage\r\n\r\none", "one"},
		"no text":                  {header, ""},
		"header without an end":    {"Subject: a\r\n", ""},
		"header without a line":    {"Subject: a", ""},
		"only a name":              {"Subject:", ""},
		"nothing":                  {"", ""},
		"empty header":             {"\r\none", "one"},
		"empty header, bare LF":    {"\none\n", "one"},
		"empty header, bare CR":    {"\rone\n", "one"},
		"no header":                {"one two\r\nthree\r\n\r\nfour\r\n", "one two\nthree\n\nfour"},
		"no header, one word":      {"one\r\n\r\ntwo", "one\n\ntwo"},
		"no header, 8-bit":         {"\xff\x00:\r\n\r\ntwo", "\xff\x80:\n\ntwo"},
		"no header, a colon":       {": one\r\n\r\ntwo", ": one\n\ntwo"},
		"no header, a blank first": {" one: x\r\n\r\ntwo", " one: x\n\ntwo"},
		"no header, two words":     {"one two: x\r\n\r\ntwo", "one two: x\n\ntwo"},
		"no header, From":          {"From\tx\r\n\r\ntwo", "From\tx\n\ntwo"},
		"no header, Fromm":         {"Fromm x\r\n\r\ntwo", "Fromm x\n\ntwo"},
	} {
		t.Run(name, func(t *testing.T) {
			d := digest(c.message)
			if want := (Digest{contentOf(c.message), contentOf(c.text), int64(len(c.message))}); d != want {
				t.Errorf("%q: text is not taken for %q, or other octets are wrong:\n got %v\nwant %v", c.message, c.text, d, want)
			}
		})
	}
}

func TestDigesterGoesOnAfterSum(t *testing.T) {
	d := NewDigester()
	for _, part := range []string{"Sub", "ject: a\r", "\n\r", "\none\r", "\n", "\r\n", "two"} {
		io.WriteString(d, part)
		first, second := d.Sum(), d.Sum()
		if first != second {
			t.Error("a second Sum differs")
		}
	}
	if d.Sum() != digest("Subject: a\r\n\r\none\r\n\r\ntwo") {
		t.Error("a Sum on the way changed the last one")
	}
	d.Reset()
	if d.Sum() != digest("") {
		t.Error("Reset forgot something")
	}
	io.WriteString(d, "other: x\r\n\r\ntext")
	if d.Sum() != digest("other: x\r\n\r\ntext") {
		t.Error("the second message's Sum is wrong")
	}
}

// Lines longer than the buffer, runs of NULs and of line ends longer than it.
func TestDigestLongLines(t *testing.T) {
	text := strings.Repeat("x", 1<<20) + "\n" + strings.Repeat("\x80", 10_000) + strings.Repeat("\n", 10_000) + strings.Repeat("y", 4096)
	message := strings.ReplaceAll(strings.ReplaceAll("A: b\n\n"+text+"\n\n", "\n", "\r\n"), "\x80", "\x00")
	want := digest(message)
	if contentOf(text) != want.Content {
		t.Fatal("Content is wrong")
	}
	d := NewDigester()
	if _, err := io.Copy(d, iotest.HalfReader(strings.NewReader(message))); err != nil || d.Sum() != want {
		t.Errorf("in small pieces the Sum differs, or fails: %v", err)
	}
}

func FuzzDigester(f *testing.F) {
	seeds := []string{"", "Subject: a\r\n\r\none\r\n", "one\r\n\r\ntwo", "\r\n\r\n", "a:\r\r\n\n", "From x\n\n\x00\r", "a : b\r\n\r\n\r\r\nz\r\r"}
	if len(seeds) == 0 {
		f.Fatal("no seeds")
	}
	for i, s := range seeds {
		f.Add([]byte(s), uint64(i))
	}
	f.Fuzz(func(t *testing.T, message []byte, seed uint64) {
		whole := NewDigester()
		whole.Write(message)
		want := whole.Sum()
		if want.Exact != sha256.Sum256(message) || want.Size != int64(len(message)) {
			t.Fatal("Exact or Size is wrong")
		}

		// Any split gives the same, and so do single octets.
		rng := rand.New(rand.NewPCG(seed, 1))
		for _, most := range []int{1, 2, 7, len(message) + 1} {
			d := NewDigester()
			for rest := message; len(rest) > 0; {
				n := min(1+rng.IntN(most), len(rest))
				d.Write(rest[:n])
				d.Write(nil)
				rest = rest[n:]
			}
			if d.Sum() != want {
				t.Fatalf("split by up to %d octets, %q differs", most, message)
			}
		}

		// The Content is what a plain reading of its definition gives.
		if got := sha256.Sum256(plainContent(message)); got != want.Content {
			t.Fatalf("Content of %q is not that of %q", message, plainContent(message))
		}

		// Repaired line ends and a repaired NUL give the same Content.
		repaired := bytes.ReplaceAll(oneLineEnd(message), []byte("\n"), []byte("\r\n"))
		repaired = append(bytes.ReplaceAll(repaired, []byte{0}, []byte{0x80}), '\r', '\n')
		if d := digest(string(repaired)); d.Content != want.Content && len(message) > 0 {
			t.Fatalf("%q, repaired to %q, has another Content", message, repaired)
		}
	})
}

func oneLineEnd(b []byte) []byte {
	b = bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))
	return bytes.ReplaceAll(b, []byte("\r"), []byte("\n"))
}

// plainContent is the text of a message as Content digests it, from whole lines
// in memory.
func plainContent(message []byte) []byte {
	text := bytes.ReplaceAll(oneLineEnd(message), []byte{0}, []byte{0x80})
	first, _, _ := bytes.Cut(text, []byte("\n"))
	if _, _, isField := cutField(first); isField || bytes.HasPrefix(first, []byte("From ")) {
		_, text, _ = bytes.Cut(text, []byte("\n\n"))
	} else if len(first) == 0 && len(text) > 0 {
		text = text[1:]
	}
	return bytes.TrimRight(text, "\n")
}

func BenchmarkDigester(b *testing.B) {
	message := []byte(plainHeader + strings.Repeat(strings.Repeat("base64", 12)+"\r\n", 1000))
	want := digest(string(message))
	d := NewDigester()
	b.SetBytes(int64(len(message)))
	b.ReportAllocs()
	for b.Loop() {
		d.Reset()
		d.Write(message)
		if d.Sum() != want {
			b.Fatal("wrong sum")
		}
	}
}
