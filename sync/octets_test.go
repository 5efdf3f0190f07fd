package sync

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What servers alter in silence is found wherever the octets are cut.
func TestInspector(t *testing.T) {
	for text, risky := range map[string]bool{
		"":                                     false,
		"Subject: plain\r\n\r\ntext\r\n":       false,
		"Subject: plain\r\n\r\n\xfcber\r\n":    false, // bodies may be 8-bit
		"Subject: \xfcber\r\n\r\ntext\r\n":     true,
		"A: b\r\nSubject: über\r\n\r\n":        true,
		"Subject: über":                        true,
		"Subject: a\r\n \xff\r\n\r\n":          true, // a folded line
		"\r\n\xfc no header\r\n":               false,
		"Subject: plain\r\n\r\nbare\nfeed\r\n": true,
		"Subject: plain\r\n\r\nbare\rreturn":   true,
		"Subject: plain\r\n\r\n\x00":           true,
		"Subject: plain\r\n\r\nlast\r":         true,
	} {
		for cut := range len(text) + 1 {
			for then := cut; then <= len(text); then++ {
				var i inspector
				for _, part := range []string{text[:cut], text[cut:then], text[then:]} {
					_, _ = i.Write([]byte(part))
				}
				hard, eight := i.end()
				require.Equal(t, risky, hard || eight, "%q cut at %d and %d", text, cut, then)
			}
		}
	}
}
