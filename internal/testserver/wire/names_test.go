package wire

import (
	"slices"
	"testing"
	"unicode/utf8"
)

func TestNames(t *testing.T) {
	for name, want := range map[string]string{
		"":                   "",
		"INBOX":              "INBOX",
		"Büro & Kunden":      "B&APw-ro &- Kunden",
		"~peter/mail/台北/日本語": "~peter/mail/&U,BTFw-/&ZeVnLIqe-", // RFC 3501 section 5.1.3
		"😀":                  "&2D3eAA-",
	} {
		if got := EncodeName(name); got != want {
			t.Errorf("EncodeName(%q) = %q, want %q", name, got, want)
		}
		if got, err := DecodeName(want); err != nil || got != name {
			t.Errorf("DecodeName(%q) = %q, %v, want %q", want, got, err, name)
		}
	}
	for _, wrong := range []string{"&AP", "&AP-", "&!-"} {
		if got, err := DecodeName(wrong); err == nil {
			t.Errorf("DecodeName(%q) = %q, want an error", wrong, got)
		}
	}
}

func TestStrings(t *testing.T) {
	words, rest := Strings(`"a \"b\"" NIL {3}`+"\r\nx y atom) more", 4)
	if want := []string{`a "b"`, "", "x y", "atom"}; !slices.Equal(words, want) || rest != ") more" {
		t.Errorf("Strings = %q, %q, want %q", words, rest, want)
	}
}

func FuzzNames(f *testing.F) {
	for _, seed := range []string{"INBOX", "Büro & Kunden", "&-", "日本語", "😀&", "a&AGE-"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		// Whatever arrives is either decoded or refused.
		if decoded, err := DecodeName(name); err == nil {
			_, _ = Strings(decoded, 3)
		}
		if !utf8.ValidString(name) {
			return
		}
		wire := EncodeName(name)
		for i := range len(wire) {
			if wire[i] < 0x20 || wire[i] > 0x7e {
				t.Fatalf("EncodeName(%q) = %q", name, wire)
			}
		}
		if got, err := DecodeName(wire); err != nil || got != name {
			t.Fatalf("DecodeName(EncodeName(%q)) = %q, %v", name, got, err)
		}
	})
}
