package mailhaul

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseServerURL(t *testing.T) {
	tests := []struct {
		url      string
		want     Server
		password string
	}{
		{"imaps://ada:secret@mail.example.org", Server{Protocol: IMAP, Host: "mail.example.org", User: "ada"}, "secret"},
		{"IMAPS://ada@mail.example.org/", Server{Protocol: IMAP, Host: "mail.example.org", User: "ada"}, ""},
		{"imaps://ada:@mail.example.org", Server{Protocol: IMAP, Host: "mail.example.org", User: "ada"}, ""},
		{"imap://ada:secret@h:1143", Server{Protocol: IMAP, Host: "h", Port: 1143, Security: StartTLS, User: "ada"}, "secret"},
		{"imap+plain://ada:secret@127.0.0.1:1", Server{Protocol: IMAP, Host: "127.0.0.1", Port: 1, Security: Plaintext, User: "ada"}, "secret"},
		{"pop3s://ada:secret@h", Server{Protocol: POP3, Host: "h", User: "ada"}, "secret"},
		{"pop3://ada:secret@h", Server{Protocol: POP3, Host: "h", Security: StartTLS, User: "ada"}, "secret"},
		{"pop3+plain://ada:secret@localhost", Server{Protocol: POP3, Host: "localhost", Security: Plaintext, User: "ada"}, "secret"},
		{"imaps://ada%40example.org:secret@h", Server{Protocol: IMAP, Host: "h", User: "ada@example.org"}, "secret"},
		{"imaps://ada@example.org:secret@h", Server{Protocol: IMAP, Host: "h", User: "ada@example.org"}, "secret"},
		{"imaps://ada@example.org@h", Server{Protocol: IMAP, Host: "h", User: "ada@example.org"}, ""},
		{"imaps://ada:p@ss:w%2Frd%3f%23%25@h", Server{Protocol: IMAP, Host: "h", User: "ada"}, "p@ss:w/rd?#%"},
		{"imaps://a%3Ab:c+d&e=f!g*h@h", Server{Protocol: IMAP, Host: "h", User: "a:b"}, "c+d&e=f!g*h"},
		{"imaps://ada:p%20ss%C3%A9é@h", Server{Protocol: IMAP, Host: "h", User: "ada"}, "p sséé"},
		{"imaps://ada:secret@[2001:db8::1]:993", Server{Protocol: IMAP, Host: "2001:db8::1", Port: 993, User: "ada"}, "secret"},
		{"imaps://ada:secret@[::1]", Server{Protocol: IMAP, Host: "::1", User: "ada"}, "secret"},
		{"imaps://ada:secret@[fe80::1%25eth0]", Server{Protocol: IMAP, Host: "fe80::1%eth0", User: "ada"}, "secret"},
		{"imaps://master:secret@h?authzid=ada@example.org", Server{Protocol: IMAP, Host: "h", User: "master", AuthzID: "ada@example.org"}, "secret"},
		{"imaps://master:secret@h/?auth=plain&authzid=a%26b+c", Server{Protocol: IMAP, Host: "h", User: "master", AuthzID: "a&b+c", Mechanism: "PLAIN"}, "secret"},
		{"imaps://ada@h?auth=external", Server{Protocol: IMAP, Host: "h", User: "ada", Mechanism: "EXTERNAL"}, ""},
		{"imaps://h?auth=external", Server{Protocol: IMAP, Host: "h", Mechanism: "EXTERNAL"}, ""},
		{"imaps://ada@h?", Server{Protocol: IMAP, Host: "h", User: "ada"}, ""},
		{`imaps://dom\ada\shared:secret@h`, Server{Protocol: IMAP, Host: "h", User: `dom\ada\shared`}, "secret"},
	}
	for _, tt := range tests {
		t.Run(tt.url, func(t *testing.T) {
			got, err := ParseServerURL(tt.url)
			require.NoError(t, err)
			password := ""
			if got.Credentials != nil {
				s, err := got.Credentials(t.Context())
				require.NoError(t, err)
				password = s.Reveal()
			}
			assert.Equal(t, tt.password, password)
			got.Credentials = nil
			assert.Equal(t, tt.want, got)
		})
	}
	for value, want := range map[string]string{"plain": "PLAIN", "login": "LOGIN", "xoauth2": "XOAUTH2", "oauthbearer": "OAUTHBEARER",
		"scram": "SCRAM-SHA-256", "SCRAM-SHA-256": "SCRAM-SHA-256", "cram-md5": "CRAM-MD5", "CRAM-MD5": "CRAM-MD5", "External": "EXTERNAL"} {
		got, err := ParseServerURL("imaps://ada@h?auth=" + value)
		require.NoError(t, err)
		assert.Equal(t, want, got.Mechanism)
	}
}

func TestParseServerURLErrors(t *testing.T) {
	const pw = "Zq7Xw9" // in every URL, in no error
	for url, says := range map[string]string{
		"":                                  "imaps://user",
		"Zq7Xw9":                            "imaps://user",
		"ada:Zq7Xw9@h":                      "imaps://user",
		"http://ada:Zq7Xw9@h":               "one of imaps",
		"Zq7Xw9://h":                        "one of imaps",
		"imaps://ada:Zq7Xw9/x@h":            "%2F",
		"imaps://ada:x/Zq7Xw9@h":            "%2F",
		"imaps://ada:1/Zq7Xw9@h":            "%2F",
		"imaps://ada:Zq7Xw9?x@h":            "%3F",
		"imaps://ada:1?Zq7Xw9@h":            "%3F",
		"imaps://ada@b.c:1?Zq7Xw9@h":        "%3F",
		"imaps://ada@b.c:Zq7Xw9?x@h":        "no port",
		"imaps://ada:x#Zq7Xw9@h":            "%23",
		"imaps://ada:Zq7Xw9#@h":             "%23",
		"imaps://ada:Zq7Xw9%@h":             "%25",
		"imaps://ada:%Zq7Xw9@h":             "%25",
		"imaps://ada:Zq7Xw9%4@h":            "%25",
		"imaps://ada:Zq7Xw9%+1@h":           "%25",
		"imaps://Zq7Xw9%zz@h":               "%25",
		"imaps://ada:Zq7Xw9@":               "no host",
		"imaps://ada:Zq7Xw9@:993":           "no host",
		"imaps://ada:Zq7Xw9":                "no port",
		"imaps://Zq7Xw9":                    "no user",
		"imaps://:Zq7Xw9@h":                 "no user",
		"imaps://ada:Zq7Xw9@h:0":            "no port",
		"imaps://ada:Zq7Xw9@h:":             "no port",
		"imaps://ada:Zq7Xw9@h:65536":        "no port",
		"imaps://ada:Zq7Xw9@h:+993":         "no port",
		"imaps://ada:Zq7Xw9@h:993x":         "no port",
		"imaps://ada:Zq7Xw9@::1":            "brackets",
		"imaps://ada:Zq7Xw9@[::1":           "not closed",
		"imaps://ada:Zq7Xw9@[::1]993":       "only a port",
		"imaps://ada:Zq7Xw9@[127.0.0.1]":    "no IPv6 address",
		"imaps://ada:Zq7Xw9@[h]":            "no IPv6 address",
		"imaps://ada:x@Zq7Xw9!":             "percent-encoding",
		"imaps://ada:Zq7Xw9@h%2f":           "percent-encoding",
		"imaps://ada:Zq7Xw9 @h":             "%20",
		"imaps://ada:Zq7Xw9\n@h":            "percent-encoding",
		"imaps://ada:Zq7Xw9@h\r\n":          "percent-encoding",
		"imaps://ada%0d%0a:Zq7Xw9@h":        "control",
		"imaps://ada:Zq7Xw9%0a@h":           "line break",
		"imaps://ada:Zq7Xw9%00@h":           "NUL",
		"imaps://ada:Zq7Xw9@h/INBOX":        "nothing follows",
		"imaps://ada:Zq7Xw9@h?tls=no":       "?authzid=",
		"imaps://ada:Zq7Xw9@h?Zq7Xw9":       "?authzid=",
		"imaps://ada:Zq7Xw9@h?auth":         "no value",
		"imaps://ada:Zq7Xw9@h?authzid=":     "no value",
		"imaps://ada:Zq7Xw9@h?auth=Zq7Xw9":  "one of plain",
		"imaps://ada:Zq7Xw9@h?auth=%":       "%25",
		"imaps://ada:Zq7Xw9@h?authzid=%0a":  "control",
		"imaps://ada:Zq7Xw9@h?auth=plain&":  "?authzid=",
		"imaps://a@h?auth=plain&auth=login": "twice",
	} {
		t.Run(url, func(t *testing.T) {
			got, err := ParseServerURL(url)
			require.Error(t, err)
			assert.Equal(t, Server{}, got)
			assert.Contains(t, err.Error(), says)
			for _, part := range []string{pw, pw[:3], pw[3:]} {
				assert.NotContains(t, err.Error(), part)
			}
			assert.NotContains(t, err.Error(), "\n")
		})
	}
}

// encode writes all but letters and digits in percent-encoding.
func encode(text string) string {
	var b strings.Builder
	for i := range len(text) {
		c := text[i]
		if 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// Wherever a password is misspelt into a URL, no error shows a part of it; and
// written properly it arrives as it is.
func FuzzParseServerURL(f *testing.F) {
	for _, seed := range []string{"", "/", "#", "?", "@", "%", ":", "%4", "?auth=plain", "[::1]", "://", "@h/", "\r\n", "é", "/../@"} {
		f.Add("imaps", "ada", seed, "h")
	}
	f.Fuzz(func(t *testing.T, scheme, user, middle, host string) {
		const left, right = "Zq7Xw", "kJ8Vy"
		password := left + middle + right
		for _, url := range []string{
			scheme + "://" + user + ":" + password + "@" + host,
			"imaps://" + user + ":" + password + "@" + host,
			"pop3://" + password + "@" + host,
			"imap://ada:secret@" + host + "?" + password,
			password,
		} {
			_, err := ParseServerURL(url)
			if err != nil && (strings.Contains(err.Error(), left) || strings.Contains(err.Error(), right)) {
				t.Fatalf("%q: %v", url, err)
			}
		}

		if user == "" || hasControl(user) || strings.ContainsAny(password, "\r\n\x00") {
			return
		}
		srv, err := ParseServerURL("imaps://" + encode(user) + ":" + encode(password) + "@h?authzid=" + encode(user))
		if err != nil {
			t.Fatal(err)
		}
		secret, err := srv.Credentials(t.Context())
		if err != nil || secret.Reveal() != password || srv.User != user || srv.AuthzID != user || srv.Host != "h" {
			t.Fatalf("%q %q came back as %q %q", user, password, srv.User, secret.Reveal())
		}
	})
}
