package pop3x

// What a server's answer means. This file is the only place that looks at the
// words of a server; everything else goes by the verdict.

import (
	"slices"
	"strings"
	"time"

	"github.com/mailhaul/mailhaul"
)

// verdict says what to do about an answer.
type verdict struct {
	Kind  mailhaul.Kind
	Scope mailhaul.Scope
	Wait  time.Duration // what the server asked for; 0 where it named no time
	Hint  string
}

// byOp stands, in a rule, for the scope that the command itself has.
const byOp mailhaul.Scope = 255

// rule maps answers to a verdict. A rule matches when all that it names match.
type rule struct {
	ops   []string // empty: any
	eof   bool     // a connection that ended without a word, not an answer
	codes []string // response codes; empty: any, or none
	texts []string // one of these is in the text, in lower case; empty: any text
	verdict
}

const (
	hintLock  = "another program has the mailbox open; it is tried again"
	hintDelay = "the server limits how often one may log in"
	hintConns = "the server may limit connections"
	hintSlow  = "wait, then go on"
	hintLater = "try again later"
	hintUser  = "check the user and the password or token"
)

// rules are tried in order; the first that matches decides. Codes (RFC 2449
// section 8, RFC 3206) come before texts, throttles and locks before anything
// about credentials, since a log-in that comes too early must not pass for a
// wrong password.
//
// A lock is Throttled and not Transient: the user's own program holds it, often
// for minutes, and each try is a log-in that counts.
var rules = []rule{
	{codes: []string{"IN-USE"}, verdict: verdict{Kind: mailhaul.Throttled, Scope: mailhaul.ScopeAccount, Hint: hintLock}},
	{codes: []string{"LOGIN-DELAY"}, verdict: verdict{Kind: mailhaul.Throttled, Scope: mailhaul.ScopeAccount, Hint: hintDelay}},
	// Gmail's code is AUTH, or SYS/PERM, for what only a browser can lift.
	{texts: []string{"web login required", "via your web browser", "application-specific password"},
		verdict: verdict{Kind: mailhaul.Auth, Scope: mailhaul.ScopeAccount, Hint: "log in with a browser once, or use an app password"}},
	{texts: []string{"not enabled for pop", "pop access is disabled", "pop3 access is disabled", "pop access disabled"},
		verdict: verdict{Kind: mailhaul.Auth, Scope: mailhaul.ScopeAccount, Hint: "allow POP3 in the account's settings"}},
	{texts: []string{"exceeded command or bandwidth limits", "lockdown in sector"}, verdict: verdict{Kind: mailhaul.Throttled, Scope: mailhaul.ScopeAccount,
		Hint: "the daily limit is used up; it is lifted within 24 hours"}},
	// These words count for more than AUTH or SYS/TEMP: a log-in that is
	// throttled must not pass for a wrong password, and to wait longer than a
	// passing fault would ask for does no harm.
	{texts: []string{"too many", "rate limit", "ratelimit", "maximum number of connections", "connection limit", "login frequency", "too frequent", "too often", "minimum time between",
		"try again later", "temporarily unavailable", "temporary unavailable", "server busy", "server is busy", "overloaded"},
		verdict: verdict{Kind: mailhaul.Throttled, Scope: mailhaul.ScopeAccount, Hint: hintSlow}},
	{codes: []string{"AUTH"}, verdict: verdict{Kind: mailhaul.Auth, Scope: mailhaul.ScopeAccount, Hint: hintUser}},
	{codes: []string{"SYS/TEMP"}, verdict: verdict{Kind: mailhaul.Transient, Scope: byOp, Hint: hintLater}},
	{codes: []string{"SYS/PERM"}, verdict: verdict{Kind: mailhaul.Permanent, Scope: byOp, Hint: "ask the server's administrator"}},

	// The same in words, for servers without codes.
	{ops: []string{opLogin, opList}, texts: []string{"mailbox in use", "maildrop in use", "already in use", "is in use", "lock busy", "unable to lock", "can't lock", "cannot lock", "could not lock",
		"couldn't get exclusive lock", "mailbox is locked", "maildrop is locked", "mailbox locked", "maildrop locked", "another pop session", "another session", "is another"},
		verdict: verdict{Kind: mailhaul.Throttled, Scope: mailhaul.ScopeAccount, Hint: hintLock}},
	{texts: []string{"temporary authentication failure", "temporary failure", "temporary error", "temporary problem", "internal error", "internal server error", "server error", "fatal error"},
		verdict: verdict{Kind: mailhaul.Transient, Scope: byOp, Hint: hintLater}},

	// A connection that ends before the log-in is Courier's way to say that
	// there are too many.
	{ops: []string{opGreeting}, eof: true, verdict: verdict{Kind: mailhaul.Throttled, Scope: mailhaul.ScopeServer, Hint: hintConns}},
	{ops: []string{opLogin}, eof: true, verdict: verdict{Kind: mailhaul.Throttled, Scope: mailhaul.ScopeAccount, Hint: hintConns}},
	{eof: true, verdict: verdict{Kind: mailhaul.Transient, Scope: mailhaul.ScopeConnection, Hint: "connect again"}},

	{ops: []string{opGreeting}, verdict: verdict{Kind: mailhaul.Throttled, Scope: mailhaul.ScopeServer, Hint: "the server does not serve now"}},
	{ops: []string{opTLS}, verdict: verdict{Kind: mailhaul.Permanent, Scope: mailhaul.ScopeServer, Hint: "use implicit TLS (pop3s, port 995)"}},
	{ops: []string{opLogin}, verdict: verdict{Kind: mailhaul.Auth, Scope: mailhaul.ScopeAccount, Hint: hintUser}},
	{ops: []string{opFetch}, verdict: verdict{Kind: mailhaul.Permanent, Scope: mailhaul.ScopeMessage, Hint: "the server cannot hand out the message"}},
	{verdict: verdict{Kind: mailhaul.Permanent, Scope: byOp}},
}

// classify says what the answer to a command means. cond is -ERR, or EOF for a
// connection that ended without a word.
func classify(op, cond, code, text string) verdict {
	lower := strings.ToLower(text)
	for _, r := range rules {
		if !r.matches(op, cond, code, lower) {
			continue
		}
		v := r.verdict
		if v.Scope == byOp {
			v.Scope = scopeOf(op)
		}
		return v
	}
	return verdict{Kind: mailhaul.Permanent, Scope: scopeOf(op)}
}

func (r rule) matches(op, cond, code, lower string) bool {
	switch {
	case r.eof != (cond == "EOF"):
		return false
	case len(r.ops) > 0 && !slices.Contains(r.ops, op):
		return false
	case len(r.codes) > 0 && !slices.ContainsFunc(r.codes, func(c string) bool {
		return code == c || strings.HasPrefix(code, c+"/") // of codes that are more exact, the part that is known counts
	}):
		return false
	}
	return len(r.texts) == 0 || slices.ContainsFunc(r.texts, func(t string) bool { return strings.Contains(lower, t) })
}

func scopeOf(op string) mailhaul.Scope {
	switch op {
	case opGreeting, opTLS, opCapa:
		return mailhaul.ScopeServer
	case opFetch:
		return mailhaul.ScopeMessage
	}
	return mailhaul.ScopeAccount
}
