package mailhaul

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAddr(t *testing.T) {
	for _, tt := range []struct {
		srv  Server
		want string
	}{
		{Server{Host: "h"}, "h:993"},
		{Server{Host: "h", Security: StartTLS}, "h:143"},
		{Server{Host: "h", Security: Plaintext}, "h:143"},
		{Server{Host: "h", Protocol: POP3}, "h:995"},
		{Server{Host: "h", Protocol: POP3, Security: StartTLS}, "h:110"},
		{Server{Host: "h", Protocol: POP3, Security: Plaintext}, "h:110"},
		{Server{Host: "h", Port: 1}, "h:1"},
		{Server{Host: "2001:db8::1"}, "[2001:db8::1]:993"},
		{Server{Host: "fe80::1%eth0", Port: 143}, "[fe80::1%eth0]:143"},
	} {
		assert.Equal(t, tt.want, tt.srv.Addr())
	}
}

func TestAccount(t *testing.T) {
	a := Server{Host: "2001:db8::1", User: "ada"}.Account()
	assert.Equal(t, Account{Protocol: IMAP, Host: "2001:db8::1", Port: 993, User: "ada"}, a)
	assert.Equal(t, "ada at [2001:db8::1]:993", a.String())

	// A master user reaches the same account as its owner.
	master := Server{Host: "2001:db8::1", User: "root", AuthzID: "ada", Credentials: func(context.Context) (Secret, error) { return NewSecret("x"), nil }}
	assert.Equal(t, a, master.Account())
	assert.NotEqual(t, a, Server{Host: "2001:db8::1", User: "ada", Security: StartTLS}.Account())
}

func TestErrorText(t *testing.T) {
	for want, e := range map[string]*Error{
		"append": {Op: "append"},
		`append mailbox "Sent" UID 7 as "ada" at h:993: refused (the server asks to wait 1m0s); try later`: {Op: "append", Mailbox: "Sent", UID: 7,
			Account: "ada", Server: "h:993", Err: errors.New("refused"), Wait: time.Minute, Hint: "try later"},
		`fetch mailbox "a\r\nb" UIDL "x y": unexpected EOF`: {Op: "fetch", Mailbox: "a\r\nb", UIDL: "x y", Err: io.ErrUnexpectedEOF},
	} {
		assert.Equal(t, want, e.Error())
	}
}

func TestErrorTree(t *testing.T) {
	inner := &Error{Op: "append", Kind: OverQuota, Err: fmt.Errorf("x: %w", ErrUnsupported)}
	err := fmt.Errorf("outer: %w", inner)
	assert.ErrorIs(t, err, ErrUnsupported)
	assert.Equal(t, OverQuota, KindOf(err))
	assert.Equal(t, OverQuota, KindOf(errors.Join(io.EOF, err)))
	assert.Equal(t, KindUnknown, KindOf(io.EOF))
	assert.Equal(t, KindUnknown, KindOf(nil))
	var e *Error
	require.ErrorAs(t, err, &e)
	assert.Same(t, inner, e)
}

func TestKindNames(t *testing.T) {
	seen := map[string]bool{}
	for k := KindUnknown; k <= OverQuota; k++ {
		assert.NotContains(t, k.String(), "Kind(")
		assert.False(t, seen[k.String()], k.String())
		seen[k.String()] = true
	}
	assert.Equal(t, "Kind(200)", Kind(200).String())
}

// Endpoints for As; the interfaces are nil, since As calls none of their
// methods but Unwrap.
type (
	plainSource  struct{ Source }
	meteredInner struct{ Source }
	quotaTarget  struct{ Target }
	overSource   struct {
		Source
		inner Source
	}
	overTarget struct {
		Target
		inner Target
	}
)

func (meteredInner) Traffic() Traffic                         { return Traffic{Commands: 7} }
func (quotaTarget) Quota(context.Context) (Quota, error)      { return Quota{Bytes: 5}, nil }
func (o overSource) Unwrap() Source                           { return o.inner }
func (o overTarget) Unwrap() Target                           { return o.inner }
func (overTarget) AppendLimit(context.Context) (int64, error) { return 9, nil }

func TestAs(t *testing.T) {
	m, ok := As[Meter](overSource{inner: overSource{inner: meteredInner{}}})
	require.True(t, ok)
	assert.Equal(t, int64(7), m.Traffic().Commands)

	target := overTarget{inner: overTarget{inner: quotaTarget{}}}
	q, ok := As[QuotaTeller](target)
	require.True(t, ok)
	got, err := q.Quota(t.Context())
	require.NoError(t, err)
	assert.Equal(t, int64(5), got.Bytes)
	_, ok = As[AppendLimiter](target)
	assert.True(t, ok, "the decorator's own")

	for _, endpoint := range []any{nil, plainSource{}, overSource{}, overTarget{}, 5} {
		_, ok = As[Meter](endpoint)
		assert.False(t, ok, "%T", endpoint)
	}
}
