package mailclient

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTrafficIsCounted: literals are passed over, whatever they hold, and
// nothing is changed on the way.
func TestTrafficIsCounted(t *testing.T) {
	for _, tt := range []struct {
		text     string
		literals bool
		look     func(*Traffic, []byte)
		want     Traffic
	}{
		{"a1 APPEND x {18+}\r\nb APPEND y {3}\r\nz\r\nA2 uid store 1:4,9 +flags.silent (\\Deleted)\r\n", true, imapCommand, Traffic{Appends: 1, Deletes: 5}},
		{"a store 3,5 FLAGS (\\Seen)\r\na NOOP\r\n\r\na UID\r\nx UID EXPUNGE 1\r\n", true, imapCommand, Traffic{Stores: 2}},
		{"* 1 FETCH (UID 5 BODY[] {23}\r\n* 2 FETCH (BODY[] {1}\r\n)\r\n* 2 FETCH (BODY[] \"a\")\r\n* 3 FETCH (BODY[HEADER.FIELDS (X)] {0}\r\n)\r\n", true, imapAnswer, Traffic{Bodies: 2, Headers: 1}},
		{"* 1 FETCH (BODY[] {9}\r\nshort", true, imapAnswer, Traffic{Bodies: 1}},
		{"USER x\r\nTOP 1 0\r\ntop 1 99999999\r\nRETR 3\r\nDELE 3\r\nQUIT\r\n", false, popCommand, Traffic{Bodies: 2, Headers: 1, Deletes: 1}},
	} {
		var got Traffic
		var out strings.Builder
		pass(&out, strings.NewReader(tt.text), tt.literals, func(line []byte) { tt.look(&got, line) })
		require.Equal(t, tt.text, out.String())
		require.Equal(t, tt.want, got, tt.text)
	}
	long := strings.Repeat("x", 3*maxLine) + "\r\n"
	var out strings.Builder
	pass(&out, strings.NewReader(long), true, func([]byte) {})
	require.Equal(t, long, out.String())
	pass(brokenPipe{}, strings.NewReader(long), true, func([]byte) {})
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
