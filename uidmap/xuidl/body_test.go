package xuidl

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
)

type held struct {
	octets string
	stream bool
	opened int
}

func (h *held) Size() int64 { return int64(len(h.octets)) }
func (h *held) Reader() io.Reader {
	if h.opened++; h.stream && h.opened > 1 {
		return iotest.ErrReader(mailhaul.ErrBodyConsumed)
	}
	return iotest.HalfReader(strings.NewReader(h.octets))
}
func (h *held) Buffered() bool { return !h.stream }
func (h *held) Release()       {}

const field = "X-UIDL: new\r\n"

func TestAlter(t *testing.T) {
	long := strings.Repeat("z", 9000)
	for name, c := range map[string]struct{ in, out string }{
		"plain":                 {"A: b\r\n\r\ntext\r\n", field + "A: b\r\n\r\ntext\r\n"},
		"own":                   {"A: b\r\nX-UIDL: old\r\nC: d\r\n\r\ntext", field + "A: b\r\nC: d\r\n\r\ntext"},
		"own, first":            {"X-UIDL: old\r\nC: d\r\n\r\ntext", field + "C: d\r\n\r\ntext"},
		"own, last":             {"C: d\r\nX-UIDL: old\r\n\r\ntext", field + "C: d\r\n\r\ntext"},
		"folded":                {"A: b\r\nX-Uidl:\r\n old\r\n\tmore\r\nC: d\r\n e\r\n\r\ntext", field + "A: b\r\nC: d\r\n e\r\n\r\ntext"},
		"several":               {"x-uidl: 1\r\nX-UIDL : 2\r\nA: b\r\nX-UIDL: 3\r\n\r\n", field + "A: b\r\n\r\n"},
		"bare line feeds":       {"A: b\nX-UIDL: 1\n 2\nC: d\n\nX-UIDL: text\n", field + "A: b\nC: d\n\nX-UIDL: text\n"},
		"in the text":           {"A: b\r\n\r\nX-UIDL: text\r\n", field + "A: b\r\n\r\nX-UIDL: text\r\n"},
		"in a folded field":     {"A: b\r\n X-UIDL: c\r\n\r\n", field + "A: b\r\n X-UIDL: c\r\n\r\n"},
		"others of like name":   {"X-UIDL-Old: 1\r\nXX-UIDL: 2\r\n\r\n", field + "X-UIDL-Old: 1\r\nXX-UIDL: 2\r\n\r\n"},
		"no header":             {"\r\nX-UIDL: text", field + "\r\nX-UIDL: text"},
		"no end":                {"A: b\r\nX-UIDL: 1", field + "A: b\r\n"},
		"empty":                 {"", field},
		"long lines":            {"A: " + long + "\r\nX-UIDL: " + long + "\r\n " + long + "\r\nC: d\r\n\r\n" + long, field + "A: " + long + "\r\nC: d\r\n\r\n" + long},
		"a continuation first":  {" b\r\nX-UIDL: 1\r\n\r\n", " b\r\nX-UIDL: 1\r\n\r\n"},
		"beyond what is looked": {"A: " + strings.Repeat("z", maxHeader) + "\r\nX-UIDL: 1\r\n\r\n", field + "A: " + strings.Repeat("z", maxHeader) + "\r\nX-UIDL: 1\r\n\r\n"},
		"at the end of it":      {"A: " + strings.Repeat("z", maxHeader-10) + "\r\nX-UIDL: 1\r\n\r\n", field + "A: " + strings.Repeat("z", maxHeader-10) + "\r\nX-UIDL: 1\r\n\r\n"},
	} {
		for _, stream := range []bool{false, true} {
			b, own, can, err := alter(&held{octets: c.in, stream: stream}, field)
			require.NoError(t, err, name)
			require.EqualValues(t, len(c.out), b.Size(), name)
			got, err := io.ReadAll(b.Reader())
			require.NoError(t, err, name)
			require.Equal(t, c.out, string(got), "%s, stream %v", name, stream)
			require.Equal(t, strings.HasPrefix(c.out, field), can, name)
			require.Equal(t, len(c.in)+len(field) > len(c.out) && can, own, name)
			again, err := io.ReadAll(b.Reader())
			if stream {
				require.ErrorIs(t, err, mailhaul.ErrBodyConsumed, name)
			} else {
				require.NoError(t, err, name)
				require.Equal(t, got, again, name)
			}

			// What a reader gives back has neither.
			b, _, _, err = alter(&held{octets: c.out, stream: stream}, "")
			require.NoError(t, err, name)
			got, err = io.ReadAll(b.Reader())
			require.NoError(t, err, name)
			require.EqualValues(t, b.Size(), len(got), name)
			if can && !strings.HasPrefix(name, "beyond") && !strings.HasPrefix(name, "at the end") {
				require.Equal(t, strings.TrimPrefix(c.out, field), string(got), name)
			}
		}
	}
}

func TestAlterReportsWhatCannotBeRead(t *testing.T) {
	broken := errors.New("broken")
	_, _, err := scan(io.MultiReader(strings.NewReader("A: b\r\n"), iotest.ErrReader(broken)))
	require.ErrorIs(t, err, broken)
}

func FuzzAlter(f *testing.F) {
	for _, s := range []string{"", "A: b\r\n\r\n", "X-UIDL: 1\r\n 2\r\nA: b\r\n\r\nx", "X-UIDL:\n\n", "\tx", "x-uidl", "A\nX-UIDL:a"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		b, _, can, err := alter(&held{octets: string(in)}, field)
		if err != nil {
			t.Fatal(err)
		}
		out, err := io.ReadAll(b.Reader())
		if err != nil || int64(len(out)) != b.Size() {
			t.Fatal(len(out), b.Size(), err)
		}
		if !can {
			if !bytes.Equal(in, out) {
				t.Fatalf("%q became %q", in, out)
			}
			return
		}
		s, err := io.ReadAll(must(alter(&held{octets: string(in)}, "")).Reader())
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out, append([]byte(field), s...)) {
			t.Fatalf("%q became %q", in, out)
		}
	})
}

func must(b mailhaul.Body, _, _ bool, err error) mailhaul.Body {
	if err != nil {
		panic(err)
	}
	return b
}
