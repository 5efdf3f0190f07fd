package doveadm

// The HTTP API of doveadm: one command a request, and what its answers mean.

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/transport"
)

const (
	dialTimeout = 30 * time.Second

	// maxAnswer bounds an answer: the state of one mailbox, or of those whose
	// names a wildcard in its name matches.
	maxAnswer = 1 << 20
)

// api is the server's HTTP API. It is safe for concurrent use.
type api struct {
	server  mailhaul.Server
	url     string
	key     mailhaul.Secret
	user    string
	timeout time.Duration
	http    *http.Client
	spares  spares
}

func newAPI(cfg *Config) *api {
	a := &api{server: cfg.Server, key: cfg.Key, user: cfg.User, timeout: cfg.Timeout}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		if conn := a.spares.take(); conn != nil {
			return conn, nil
		}
		return transport.Dial(ctx, a.server, dialTimeout)
	}
	a.url = "https://" + a.server.Addr() + "/doveadm/v1"
	if a.server.Security == mailhaul.Plaintext {
		a.url = "http://" + a.server.Addr() + "/doveadm/v1"
	}
	a.http = &http.Client{
		Transport: &http.Transport{
			DialContext: dial, DialTLSContext: dial,
			// An API process of Dovecot serves one connection.
			MaxIdleConnsPerHost: 8, IdleConnTimeout: time.Minute,
			DisableCompression: true, MaxResponseHeaderBytes: 64 << 10,
		},
		// The key goes to nobody else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return a
}

// close ends the idle connections.
func (a *api) close() {
	a.spares.close()
	a.http.CloseIdleConnections()
}

// fault is the error for something that happened while doing op.
func (a *api) fault(op, mailbox string, kind mailhaul.Kind, scope mailhaul.Scope, err error) *mailhaul.Error {
	return &mailhaul.Error{Op: op, Server: a.server.Addr(), Account: a.user, Mailbox: mailbox, Kind: kind, Scope: scope, Err: err}
}

// call gives one command and returns its result.
func (a *api) call(ctx context.Context, op, mailbox, command string, params map[string]any) (json.RawMessage, error) {
	if !utf8.ValidString(mailbox) {
		return nil, a.fault(op, mailbox, mailhaul.Permanent, mailhaul.ScopeMailbox,
			errors.New("its name cannot be decoded, and so not be written in JSON"))
	}
	const tag = "c"
	params["user"] = a.user
	text, err := json.Marshal([]any{[]any{command, params, tag}})
	if err != nil {
		return nil, a.fault(op, mailbox, mailhaul.Permanent, mailhaul.ScopeMailbox, err)
	}
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url, bytes.NewReader(text))
	if err != nil {
		return nil, a.fault(op, mailbox, mailhaul.Permanent, mailhaul.ScopeServer, err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "X-Dovecot-API "+base64.StdEncoding.EncodeToString([]byte(a.key.Reveal())))
	resp, err := a.http.Do(req)
	if err != nil {
		return nil, a.lost(op, mailbox, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, a.lost(op, mailbox, err)
	case resp.StatusCode != http.StatusOK:
		return nil, a.refused(op, mailbox, resp.StatusCode)
	case len(answer) > maxAnswer:
		return nil, a.fault(op, mailbox, mailhaul.Corrupt, mailhaul.ScopeServer, fmt.Errorf("the answer has more than %d octets", maxAnswer))
	}
	return a.result(op, mailbox, tag, answer)
}

// said is an error in whose text the server may have had a say: it is cut
// short, and never holds the key.
type said struct {
	key mailhaul.Secret
	err error
}

// maxSaid is how much of such a text is kept.
const maxSaid = 300

// Error implements error.
func (s *said) Error() string {
	text := s.err.Error()
	key := s.key.Reveal()
	for _, secret := range []string{base64.StdEncoding.EncodeToString([]byte(key)), key} {
		text = strings.ReplaceAll(text, secret, "[key]")
	}
	if len(text) > maxSaid {
		text = strings.ToValidUTF8(text[:maxSaid], "") + "…"
	}
	return text
}

// Unwrap returns what is behind it.
func (s *said) Unwrap() error { return s.err }

// lost is the error for a request that has no answer.
func (a *api) lost(op, mailbox string, err error) error {
	if e, ok := errors.AsType[*mailhaul.Error](err); ok { // of the dialling
		named := *e
		named.Op, named.Account, named.Mailbox = op, a.user, mailbox
		return &named
	}
	e := a.fault(op, mailbox, mailhaul.Transient, mailhaul.ScopeConnection, &said{a.key, err})
	if errors.Is(err, context.DeadlineExceeded) {
		e.Hint = "the doveadm API did not answer in time"
	}
	return e
}

// refused is the error for an HTTP status that is not 200.
func (a *api) refused(op, mailbox string, status int) error {
	e := a.fault(op, mailbox, mailhaul.Permanent, mailhaul.ScopeServer,
		fmt.Errorf("the doveadm API answered %d %s", status, http.StatusText(status)))
	e.Code = strconv.Itoa(status)
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		e.Kind, e.Hint = mailhaul.Auth, "check the key against doveadm_api_key"
	case status == http.StatusNotFound:
		e.Hint = "this port serves no doveadm API; check the inet_listener of service doveadm"
	case status == http.StatusTooManyRequests:
		e.Kind = mailhaul.Throttled
	case status >= 500:
		e.Kind = mailhaul.Transient
	}
	return e
}

// result takes an answer apart: [["doveadmResponse",RESULT,TAG]], or
// [["error",{"type":"exitCode","exitCode":68},TAG]], both with status 200.
func (a *api) result(op, mailbox, tag string, answer []byte) (json.RawMessage, error) {
	senseless := func(err error) error {
		return a.fault(op, mailbox, mailhaul.Corrupt, mailhaul.ScopeServer, fmt.Errorf("the answer is none of the doveadm API: %w", &said{a.key, err}))
	}
	var all [][]json.RawMessage
	if err := json.Unmarshal(answer, &all); err != nil {
		return nil, senseless(err)
	}
	if len(all) != 1 || len(all[0]) != 3 {
		return nil, senseless(errors.New("it has another form"))
	}
	var kind, echoed string
	if err := errors.Join(json.Unmarshal(all[0][0], &kind), json.Unmarshal(all[0][2], &echoed)); err != nil {
		return nil, senseless(err)
	}
	switch {
	case echoed != tag:
		return nil, senseless(errors.New("it belongs to another command"))
	case kind == "doveadmResponse":
		return all[0][1], nil
	case kind != "error":
		return nil, senseless(fmt.Errorf("it is a %.32q", kind))
	}
	var failure struct {
		Type     string `json:"type"`
		ExitCode int    `json:"exitCode"`
	}
	if err := json.Unmarshal(all[0][1], &failure); err != nil {
		return nil, senseless(err)
	}
	return nil, a.failed(op, mailbox, failure.Type, failure.ExitCode)
}

// exitCodes say what the exit codes of doveadm mean (sysexits.h, with meanings
// of its own).
var exitCodes = map[int]struct {
	kind  mailhaul.Kind
	scope mailhaul.Scope
	text  string
	hint  string
}{
	64: {mailhaul.Permanent, mailhaul.ScopeServer, "it does not know the command's parameters", "Dovecot 2.2.25 or later is needed"},
	65: {mailhaul.Permanent, mailhaul.ScopeMailbox, "that is not possible", ""},
	67: {mailhaul.Permanent, mailhaul.ScopeAccount, "there is no such user", "check the user's name as the server knows it (Config.User)"},
	68: {mailhaul.Conflict, mailhaul.ScopeMailbox, "there is no such mailbox", "list again"},
	69: {mailhaul.Transient, mailhaul.ScopeServer, "it is not available", "try again later"},
	73: {mailhaul.Permanent, mailhaul.ScopeMailbox, "it cannot be created", ""},
	75: {mailhaul.Transient, mailhaul.ScopeMailbox, "a temporary failure; the server's log says more", "try again later"},
	77: {mailhaul.Permanent, mailhaul.ScopeAccount, "no permission", "check the user's access"},
	78: {mailhaul.Permanent, mailhaul.ScopeServer, "the server's configuration is wrong", "the server's log says more"},
}

// failed is the error for a command that failed.
func (a *api) failed(op, mailbox, kind string, code int) error {
	if kind != "exitCode" {
		e := a.fault(op, mailbox, mailhaul.Permanent, mailhaul.ScopeServer, fmt.Errorf("the doveadm API answered %.64q: %w", kind, mailhaul.ErrUnsupported))
		e.Hint = "Dovecot 2.2.25 or later is needed"
		return e
	}
	c, ok := exitCodes[code]
	if !ok {
		c.kind, c.scope, c.text = mailhaul.Permanent, mailhaul.ScopeMailbox, "an error that is not known; the server's log says more"
	}
	e := a.fault(op, mailbox, c.kind, c.scope, fmt.Errorf("the doveadm API answered exit code %d: %s", code, c.text))
	e.Code, e.Hint = strconv.Itoa(code), c.hint
	return e
}

// status asks for the state of a mailbox; found is false where there is none.
func (a *api) status(ctx context.Context, mailbox string) (st mailhaul.Status, found bool, err error) {
	const op = "ask for the state of"
	result, err := a.call(ctx, op, mailbox, "mailboxStatus", map[string]any{
		// One item a field: a worker of Dovecot 2.4 dies of a list in a string.
		"field": []string{"messages", "uidnext", "uidvalidity", "highestmodseq"}, "mailboxMask": []string{mailbox},
	})
	if e, ok := errors.AsType[*mailhaul.Error](err); ok && e.Code == "68" {
		return st, false, nil
	}
	if err != nil {
		return st, false, err
	}
	var rows []struct {
		Mailbox       string `json:"mailbox"`
		Messages      uint32 `json:"messages,string"`
		UIDNext       uint32 `json:"uidnext,string"`
		UIDValidity   uint32 `json:"uidvalidity,string"`
		HighestModSeq uint64 `json:"highestmodseq,string"`
	}
	if err := json.Unmarshal(result, &rows); err != nil {
		return st, false, a.fault(op, mailbox, mailhaul.Corrupt, mailhaul.ScopeServer, fmt.Errorf("the answer is none of the doveadm API: %w", &said{a.key, err}))
	}
	for _, r := range rows { // a mailbox's own name may be a pattern
		if r.Mailbox != mailbox {
			continue
		}
		return mailhaul.Status{Messages: r.Messages, UIDNext: mailhaul.UID(r.UIDNext),
			UIDValidity: mailhaul.UIDValidity(r.UIDValidity), HighestModSeq: mailhaul.ModSeq(r.HighestModSeq)}, true, nil
	}
	return st, false, nil
}

// set sets what is not 0. UIDNEXT and HIGHESTMODSEQ only ever rise: lower ones
// are ignored.
func (a *api) set(ctx context.Context, mailbox string, v mailhaul.UIDValidity, next mailhaul.UID, modSeq mailhaul.ModSeq) error {
	params := map[string]any{"mailbox": mailbox}
	if v != 0 {
		params["uidValidity"] = strconv.FormatUint(uint64(v), 10)
	}
	if next != 0 {
		params["minNextUid"] = strconv.FormatUint(uint64(next), 10)
	}
	if modSeq != 0 {
		params["minHighestModseq"] = strconv.FormatUint(uint64(modSeq), 10)
	}
	_, err := a.call(ctx, "set the identity of", mailbox, "mailboxUpdate", params)
	return err
}
