package mailhaul

import (
	"fmt"
	"log/slog"
)

// Secret is a password or a token. However it is printed, logged or encoded,
// it shows as "[secret]"; only Reveal gives it away, so that a search for that
// name finds each place where a credential leaves. The zero value is empty.
//
// The credential is kept behind a function: reflection, by which package fmt
// prints the unexported fields of a struct, sees no more than its address.
type Secret struct{ reveal func() string }

// NewSecret wraps a credential.
func NewSecret(value string) Secret { return Secret{func() string { return value }} }

// Reveal returns the credential itself.
func (s Secret) Reveal() string {
	if s.reveal == nil {
		return ""
	}
	return s.reveal()
}

// Empty reports whether the credential has no characters.
func (s Secret) Empty() bool { return s.Reveal() == "" }

const redacted = "[secret]"

// String implements [fmt.Stringer].
func (Secret) String() string { return redacted }

// GoString implements [fmt.GoStringer].
func (Secret) GoString() string { return redacted }

// Format implements [fmt.Formatter], so that no verb prints the credential.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue implements [slog.LogValuer].
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler, which encoding/json uses too.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
