package uidmap

// Tests of KeyOf: what must not change a key, what must, and that what a key
// is stays as it is.

import (
	"bytes"
	"encoding/hex"
	"testing"
)

const plainHeader = "Message-ID: <1@example.org>\r\n" +
	"Date: Tue, 1 Jul 2025 10:00:00 +0200\r\n" +
	"Subject: Lunch on Tuesday?\r\n" +
	"From: Ann <ann@example.org>\r\n\r\n"

func key(t *testing.T, header string) Key {
	t.Helper()
	k, _ := KeyOf([]byte(header))
	return k
}

func TestKeyIsTheSame(t *testing.T) {
	for name, headers := range map[string][2]string{
		"order": {plainHeader, "From: Ann <ann@example.org>\r\nSubject: Lunch on Tuesday?\r\n" +
			"Date: Tue, 1 Jul 2025 10:00:00 +0200\r\nMessage-ID: <1@example.org>\r\n\r\n"},
		"case of names": {plainHeader, "MESSAGE-id: <1@example.org>\r\nDATE: Tue, 1 Jul 2025 10:00:00 +0200\r\n" +
			"subject: Lunch on Tuesday?\r\nfroM: Ann <ann@example.org>\r\n\r\n"},
		"other fields": {plainHeader, "Received: by x;\r\n\tdate: never\r\nX-Subject: no\r\n" + plainHeader},
		"no empty line at the end, no last line end": {plainHeader, plainHeader[:len(plainHeader)-4]},
		"bare LF":                 {plainHeader, string(bytes.ReplaceAll([]byte(plainHeader), []byte("\r"), nil))},
		"bare CR":                 {plainHeader, string(bytes.ReplaceAll([]byte(plainHeader), []byte("\n"), nil))},
		"CR CR LF":                {plainHeader, string(bytes.ReplaceAll([]byte(plainHeader), []byte("\r"), []byte("\r\r")))},
		"text behind the header":  {plainHeader, plainHeader + "Subject: not this\r\n"},
		"second of a field":       {plainHeader, plainHeader[:len(plainHeader)-2] + "Subject: not this\r\n\r\n"},
		"folding":                 {"Subject: one two three\r\n", "Subject:\r\n one\r\n\ttwo   three  \r\n"},
		"folding without a blank": {"Subject: =?utf-8?q?a?= =?utf-8?q?b?=\r\n", "Subject: =?utf-8?q?a?==?utf-8?q?b?=\r\n"},
		"blank before the colon":  {"Subject: a\r\n", "Subject \t: a\r\n"},
		"8-bit to ?":              {"Subject: Gr\xfc\xdfe\r\n", "Subject: Gr??e\r\n"},
		"UTF-8 to one ?":          {"Subject: Grüße\r\n", "Subject: Gr?e\r\n"},
		"UTF-8 to two ?":          {"Subject: für\r\n", "Subject: f??r\r\n"},
		"NUL to ?":                {"Subject: a\x00b\r\n", "Subject: a?b\r\n"},
		"NUL to 0x80":             {"Subject: a\x00b\r\n", "Subject: a\x80b\r\n"},
		"empty field left out":    {"Message-ID: <1@x>\r\nSubject: \r\n\r\n", "Message-ID: <1@x>\r\n\r\n"},
		"mbox line and garbage":   {plainHeader, "From ann Tue Jul 1 10:00:00 2025\r\ngarbage\r\n: no name\r\n" + plainHeader},
		"nothing at all":          {"", "\r\n"},
		"no header":               {"", "just text, at 10:30\r\nand more\r\n"},
		"Message-ID of nothing":   {"", "Message-ID: <>\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			a, idA := KeyOf([]byte(headers[0]))
			b, idB := KeyOf([]byte(headers[1]))
			if a != b || idA != idB {
				t.Errorf("%q and %q have other keys, or only one has an ID", headers[0], headers[1])
			}
		})
	}
}

func TestKeyDiffers(t *testing.T) {
	headers := []string{
		"",
		plainHeader,
		"Message-ID: <a@x>\r\n",
		"Message-ID: <A@x>\r\n",
		"Message-ID: <b@x>\r\n",
		"Subject: <a@x>\r\n",
		"From: <a@x>\r\n",
		"Date: <a@x>\r\n",
		"Subject: a\r\nFrom: b\r\n",
		"Subject: ab\r\n",
		"Subject: a\x00b\r\n",
		"Subject: b\r\nFrom: a\r\n",
		"Subject: ?\r\n",
		"Subject: ??a\r\n",
	}
	seen := map[Key]string{}
	for _, h := range headers {
		k := key(t, h)
		if other, dup := seen[k]; dup {
			t.Errorf("%q and %q have one key", h, other)
		}
		seen[k] = h
	}
}

func TestKeyHasID(t *testing.T) {
	for header, want := range map[string]bool{
		plainHeader:                        true,
		"message-id:\r\n <1@x>\r\n":        true,
		"Message-ID: not in brackets\r\n":  true,
		"":                                 false,
		"Message-ID:\r\n":                  false,
		"Message-ID: \r\n \r\n":            false,
		"Message-ID: <>\r\n":               false,
		"Message-ID: \xff\xff\r\n":         false,
		"X-Message-ID: <1@x>\r\n":          false,
		"Subject: x\r\n\r\nMessage-ID: 1@": false,
		"Message ID: <1@x>\r\n":            false,
	} {
		if _, got := KeyOf([]byte(header)); got != want {
			t.Errorf("%q has an ID: %v, want %v", header, got, want)
		}
	}
}

// Keys are on the disk of users.
func TestKeyNeverChanges(t *testing.T) {
	for header, want := range map[string]string{
		plainHeader: "30bdfd6b3191946a654ec77f05c8289f",
		"":          "df3f619804a92fdb4057192dc43dd748",
	} {
		if k := key(t, header); hex.EncodeToString(k[:]) != want {
			t.Errorf("%q now has the key %x, it was %s", header, k, want)
		}
	}
}

func FuzzKeyOf(f *testing.F) {
	seeds := []string{plainHeader, "", "\r\n", "Subject: a\r\n b\r\n", "Subject: a\x00\xff?b", "Message-ID: <1@x>\rDate: x\n\nFrom: y", "a:\r\r\n \r\n:"}
	if len(seeds) == 0 {
		f.Fatal("no seeds")
	}
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, header []byte) {
		in := bytes.Clone(header)
		k, id := KeyOf(header)
		if !bytes.Equal(in, header) {
			t.Fatal("the argument was changed")
		}

		// A field in front that is not looked at changes nothing, unless the
		// header starts with what would continue it.
		if len(header) > 0 && header[0] != ' ' && header[0] != '\t' && header[0] != '\r' && header[0] != '\n' {
			if k2, id2 := KeyOf(append([]byte("X-Added: 1\r\n"), header...)); k2 != k || id2 != id {
				t.Fatalf("a field in front makes another key of %q", header)
			}
		}
		// What Dovecot makes of NUL and of 8-bit octets changes nothing either;
		// octets in names are not values, so only when there are none there.
		dumb := bytes.Map(func(r rune) rune {
			if r == 0 || r > 0x7e {
				return '?'
			}
			return r
		}, header)
		if k2, _ := KeyOf(dumb); k2 != k && !bytes.ContainsAny(header, "\n\r") && bytes.HasPrefix(header, []byte("Subject:")) {
			t.Fatalf("%q and %q differ", header, dumb)
		}
		// Without a Message-ID the other fields still make the key.
		if !id && k != emptyKey && !bytes.ContainsRune(header, ':') {
			t.Fatalf("%q has a key without a field", header)
		}
	})
}

func BenchmarkKeyOf(b *testing.B) {
	h := []byte(plainHeader)
	b.SetBytes(int64(len(h)))
	b.ReportAllocs()
	for b.Loop() {
		KeyOf(h)
	}
}
