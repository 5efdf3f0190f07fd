package pop3x

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul/internal/pop3server"
)

// undot reads a multi-line answer with a buffer of the given size, and returns
// what is behind it too.
func undot(wire []byte, buffer int, slow bool) (octets, rest []byte, err error) {
	var r io.Reader = bytes.NewReader(wire)
	if slow {
		r = iotest.OneByteReader(r)
	}
	in := bufio.NewReaderSize(r, buffer)
	d := newDotReader(in)
	for {
		piece, err := d.next()
		if err != nil {
			return octets, nil, err
		}
		if piece == nil {
			rest, err = io.ReadAll(in)
			return octets, rest, err
		}
		octets = append(octets, piece...)
	}
}

// byRule is the same, by the letter of RFC 1939: slow and plain.
func byRule(wire []byte) (octets, rest []byte, ok bool) {
	all := append([]byte("\r\n"), wire...)
	end := bytes.Index(all, []byte("\r\n.\r\n"))
	if end < 0 {
		return nil, nil, false
	}
	octets = bytes.ReplaceAll(all[:end+2], []byte("\r\n."), []byte("\r\n"))
	return octets[2:], all[end+5:], true
}

func TestDotReader(t *testing.T) {
	long := strings.Repeat("x", 100)
	for _, tt := range []struct{ wire, octets string }{
		{".\r\n", ""},
		{"a\r\n.\r\n", "a\r\n"},
		{"..\r\n.\r\n", ".\r\n"},
		{"a\n.\nb\r\n.\r\n", "a\n.\nb\r\n"},
		{"a\n.\r\nb\r\n.\r\n", "a\n.\r\nb\r\n"},
		{"a\n..b\r\n.\r\n", "a\n..b\r\n"},
		{"a\r\n.\nb\r\n.\r\n", "a\r\n\nb\r\n"}, // a server that does not stuff
		{"a\r.\r\n.\r\n", "a\r.\r\n"},
		{"\r\n\r\n.\r\n", "\r\n\r\n"},
		{"\x00.\r\n.\r\n", "\x00.\r\n"},
		{long + "\r\n.." + long + "\r\n.\r\n", long + "\r\n." + long + "\r\n"},
	} {
		for _, buffer := range []int{16, 17, 4096} {
			for _, slow := range []bool{false, true} {
				octets, rest, err := undot([]byte(tt.wire+"+OK next\r\n"), buffer, slow)
				require.NoError(t, err, "%q", tt.wire)
				require.Equal(t, tt.octets, string(octets))
				require.Equal(t, "+OK next\r\n", string(rest))
			}
		}
	}
	_, _, err := undot([]byte("a\r\n.\n"), 16, false)
	require.ErrorIs(t, err, io.EOF)
}

func FuzzDotReader(f *testing.F) {
	for _, seed := range []string{"", ".\r\n", "a\r\n.\r\nrest", "..a\r\n\r\n.\r\n", "a\n.\r\n\r.\r\n", strings.Repeat("y", 40) + "\r\n.\r\n"} {
		f.Add([]byte(seed), uint8(16))
	}
	f.Fuzz(func(t *testing.T, wire []byte, size uint8) {
		want, wantRest, ok := byRule(wire)
		octets, rest, err := undot(wire, 16+int(size), size%2 == 1)
		if !ok {
			if !errors.Is(err, io.EOF) {
				t.Fatalf("an answer without an end was read: %q %v", octets, err)
			}
		} else if err != nil || !bytes.Equal(octets, want) || !bytes.Equal(rest, wantRest) {
			t.Fatalf("%q: got %q and %q (%v), want %q and %q", wire, octets, rest, err, want, wantRest)
		}
		// What a server stuffs comes out as it was.
		whole := wire
		if len(whole) > 0 && !bytes.HasSuffix(whole, []byte("\r\n")) {
			whole = append(bytes.Clone(whole), "\r\n"...)
		}
		octets, rest, err = undot(append(pop3server.Stuff(wire, false), ".\r\n"...), 16+int(size), false)
		if err != nil || len(rest) > 0 || !bytes.Equal(octets, whole) {
			t.Fatalf("%q came out as %q (%v)", whole, octets, err)
		}
	})
}
