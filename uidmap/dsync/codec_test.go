package dsync

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLines(t *testing.T) {
	keys := []string{"a", "b", "c"}
	for _, c := range []struct {
		r    record
		line string
	}{
		{record{"a": "1", "b": "2", "c": "3"}, "N1\t2\t3\n"},
		{record{"b": ""}, "N\x02\t\t\x02\n"},
		{record{"a": "\x02", "b": "\x02x"}, "N\x02\x02\t\x02\x02x\t\x02\n"},
		{record{"a": "\x01\x00\t\r\n", "b": "ü"}, "N\x011\x010\x01t\x01r\x01n\tü\t\x02\n"},
	} {
		require.Equal(t, c.line, string(appendLine(nil, 'N', keys, c.r)))
		got, err := parseValues(strings.TrimSuffix(c.line[1:], "\n"), keys)
		require.NoError(t, err)
		require.Equal(t, c.r, got)
	}
	short, err := parseValues("1", keys)
	require.NoError(t, err)
	require.Equal(t, record{"a": "1"}, short)
	long, err := parseValues("1\t2\t3\t4\t5", keys)
	require.NoError(t, err)
	require.Equal(t, record{"a": "1", "b": "2", "c": "3"}, long)
	for _, bad := range []string{"\x01", "x\x01q"} {
		_, err := parseValues(bad, keys)
		require.ErrorIs(t, err, errBadLine)
	}
}

func FuzzLine(f *testing.F) {
	seeds := []string{"", "1\t2", "\x02\t\x02\x02", "\x01n\x01t", "a\x01", "\t\t\t\t"}
	require.NotEmpty(f, seeds)
	for _, s := range seeds {
		f.Add(s)
	}
	keys := []string{"a", "b", "c"}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "\n") {
			return
		}
		r, err := parseValues(text, keys)
		if err != nil {
			require.ErrorIs(t, err, errBadLine)
			return
		}
		line := appendLine(nil, 'N', keys, r)
		require.Equal(t, 1, bytes.Count(line, []byte{'\n'}))
		again, err := parseValues(string(line[1:len(line)-1]), keys)
		require.NoError(t, err)
		require.Equal(t, r, again)
		if parts, err := splitParts(r["a"]); err == nil {
			require.NotEmpty(t, parts)
		}
	})
}

// undot reads a body as Dovecot's istream-dot does.
func undot(t testing.TB, wire []byte) (body []byte, rest []byte) {
	for at := 0; ; {
		i := bytes.IndexByte(wire[at:], '\n')
		require.GreaterOrEqual(t, i, 0, "no end")
		line := wire[at : at+i+1]
		at += i + 1
		if string(line) == ".\r\n" || string(line) == ".\n" {
			return bytes.TrimSuffix(bytes.TrimSuffix(body, []byte("\n")), []byte("\r")), wire[at:]
		}
		body = append(body, bytes.TrimPrefix(line, []byte("."))...)
	}
}

func FuzzBody(f *testing.F) {
	seeds := []string{"", ".", "..", ".\r\n", "a\n.\nb", "a\r\n.\r\n.", "\r", "x\r", "\n.", "\r\n..\r.\r\n"}
	require.NotEmpty(f, seeds)
	for _, s := range seeds {
		f.Add(s, 3)
	}
	f.Fuzz(func(t *testing.T, text string, piece int) {
		var wire bytes.Buffer
		d := dotWriter{out: &wire, last: '\n'}
		for rest := text; rest != ""; {
			n := min(max(piece, 1), len(rest))
			_, err := io.WriteString(struct{ io.Writer }{&d}, rest[:n])
			require.NoError(t, err)
			rest = rest[n:]
		}
		wire.WriteString("\r\n.\r\nnext")
		body, rest := undot(t, wire.Bytes())
		require.Equal(t, text, string(body))
		require.Equal(t, "next", string(rest))
		require.Equal(t, int64(len(text)), d.octets)
		require.Equal(t, int64(strings.Count(text, "\n")-strings.Count(text, "\r\n")), d.bareLFs)
	})
}
