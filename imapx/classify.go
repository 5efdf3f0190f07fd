package imapx

// What a server's answer means. This file is the only place that looks at the
// words of a server; everything else goes by the verdict.

import (
	"strconv"
	"strings"
	"time"

	"github.com/mailhaul/mailhaul"
)

// verdict says what to do about an answer. The zero verdict is an answer that
// asks for nothing.
type verdict struct {
	Kind  mailhaul.Kind
	Scope mailhaul.Scope
	Wait  time.Duration // what the server asked for; 0 where it named no time
	Hint  string        // what to do next, in a few words

	// DropFlags is set where it was the flags that were refused: the message
	// may be accepted without its keywords.
	DropFlags bool
}

// byOp stands, in a rule, for the scope that the command itself has.
const byOp mailhaul.Scope = 255

// rule maps answers to a verdict. A rule matches when all that it names match.
type rule struct {
	ops   string   // commands, separated by blanks; empty: any
	conds string   // conditions likewise; empty: NO, BAD and BYE
	codes string   // response codes likewise; empty: any, or none
	texts []string // one of these is in the text, in lower case; empty: any text
	verdict
}

// Commands by what they touch, for the rules.
const (
	logIn    = "login authenticate"
	openBox  = "select examine"
	writes   = "append create store copy move rename subscribe"
	flagging = "append store"
)

const (
	hintSlow  = "wait, then go on with fewer connections or a lower rate"
	hintConns = "use fewer connections (-connections)"
	hintRoom  = "make room or raise the quota, then run again"
	hintRelog = "connect again"
)

// rules are tried in order; the first that matches decides. Codes that say
// all come before texts, since texts may quote a mailbox name that somebody
// chose; throttles come before anything about credentials, since a throttled
// log-in must not pass for a wrong password.
//
// Where shared experience with servers disagrees, the more careful action is
// taken:
//
//   - CORRUPTION is retried by some tools. It skips the mailbox here and is
//     reported, since reading on may take damage for the truth.
//   - AUTHENTICATIONFAILED is tried twice by some tools. It ends the account at
//     once here: each try is one more towards a lock-out.
//   - "Server Unavailable. 15" of Office 365 means a throttle or a full
//     mailbox. Where a message was being stored it stops the account, since a
//     wait for a full mailbox would never end and a stop costs one more run;
//     anywhere else it can only be a throttle.
//   - NOPERM ends the account by RFC 5530's wording where it answers a log-in.
//     Elsewhere it is about a mailbox, which is skipped and reported.
//   - LIMIT is a throttle unless the text says that a message or its flags are
//     what is limited.
//   - A BYE in place of a greeting or of the answer to a log-in, and a
//     connection that just ends there (Courier's and mox's way), are throttles:
//     to wait is right whatever the cause.
var rules = []rule{
	// An OK that is no unmixed success.
	{conds: "OK", codes: "THROTTLED", verdict: verdict{Kind: mailhaul.Throttled, Scope: mailhaul.ScopeAccount, Hint: hintSlow}},
	{conds: "OK", codes: "MESSAGELIMIT", verdict: verdict{Kind: mailhaul.Permanent, Scope: mailhaul.ScopeMailbox,
		Hint: "the answer is only a part; ask for fewer messages at a time"}}, // RFC 9738
	{conds: "OK", verdict: verdict{}},

	// Codes that need no text.
	{codes: "TRYCREATE NONEXISTENT", verdict: verdict{Kind: mailhaul.Conflict, Scope: mailhaul.ScopeMailbox, Hint: "the mailbox is gone; list again"}},
	{codes: "ALREADYEXISTS", verdict: verdict{Kind: mailhaul.Conflict, Scope: mailhaul.ScopeMailbox, Hint: "the mailbox is there already; list again"}},
	{codes: "EXPUNGEISSUED", verdict: verdict{Kind: mailhaul.Conflict, Scope: mailhaul.ScopeMailbox, Hint: "messages are gone; list again"}},
	{codes: "MESSAGELIMIT", verdict: verdict{Kind: mailhaul.Permanent, Scope: mailhaul.ScopeMailbox, Hint: "ask for fewer messages at a time"}},
	{codes: "TOOBIG", verdict: verdict{Kind: mailhaul.Permanent, Scope: mailhaul.ScopeMessage, Hint: "the message is larger than the server accepts"}},
	{codes: "CORRUPTION", verdict: verdict{Kind: mailhaul.Permanent, Scope: mailhaul.ScopeMailbox, Hint: "have the mailbox repaired on the server"}},

	// Throttles. classify reads the time to wait.
	{codes: "THROTTLED", verdict: verdict{Kind: mailhaul.Throttled, Scope: mailhaul.ScopeAccount, Hint: hintSlow}},
	{texts: []string{"suggested backoff time", "request is throttled"}, verdict: verdict{Kind: mailhaul.Throttled, Scope: mailhaul.ScopeAccount, Hint: hintSlow}},
	// Gmail's OVERQUOTA is about bandwidth; codes alone do not tell.
	{texts: []string{"exceeded command or bandwidth limits", "lockdown in sector"}, verdict: verdict{Kind: mailhaul.Throttled, Scope: mailhaul.ScopeAccount,
		Hint: "the daily limit is used up; it is lifted within 24 hours"}},
	{texts: []string{"simultaneous connections", "concurrent connections", "maximum number of connections", "maximum connections",
		"too many connections", "too many open connections", "connection limit", "mail_max_userip_connections"},
		verdict: verdict{Kind: mailhaul.Throttled, Scope: mailhaul.ScopeAccount, Hint: hintConns}},
	// Fastmail: a throttle by its code, but more of the same copies will not do.
	{texts: []string{"too many identical"}, verdict: verdict{Kind: mailhaul.Permanent, Scope: mailhaul.ScopeMessage, Hint: "the server has enough copies of this message"}},

	// What the message brings with it.
	{ops: flagging, texts: []string{"invalid system flag", "invalid flag", "unrecognized flag", "invalid keyword", "illegal keyword", "keyword name", "keyword length", "keyword too long", "keyword is too long",
		"flag name", "user flags", "too many flags", "too many keywords"},
		verdict: verdict{Kind: mailhaul.Permanent, Scope: mailhaul.ScopeMessage, Hint: "the server refuses a flag", DropFlags: true}},
	{ops: "append", texts: []string{"message too large", "message is too large", "maximum size of appendable", "maximum message size", "message size exceed", "message exceeds",
		"mail size is larger than the maximum"},
		verdict: verdict{Kind: mailhaul.Permanent, Scope: mailhaul.ScopeMessage, Hint: "the message is larger than the server accepts"}},
	{ops: "append", texts: []string{"virus", "malware"}, verdict: verdict{Kind: mailhaul.Permanent, Scope: mailhaul.ScopeMessage, Hint: "the server takes the message for malicious"}},
	{ops: "append", texts: []string{"nul character", "bare newline", "invalid header", "header limit reached", "unable to parse message", "invalid character in literal"},
		verdict: verdict{Kind: mailhaul.Permanent, Scope: mailhaul.ScopeMessage, Hint: "the server refuses the message's content"}},
	// Office 365 has one answer for a long line, the size, the quota and a
	// header that it cannot decode.
	{ops: "append", conds: "NO BAD", texts: []string{"command argument error. 11"},
		verdict: verdict{Kind: mailhaul.Permanent, Scope: mailhaul.ScopeMessage, Hint: "look for a line above 10,000 octets, the message's size and the quota"}},

	// Room.
	{ops: writes, codes: "OVERQUOTA", verdict: verdict{Kind: mailhaul.OverQuota, Scope: mailhaul.ScopeAccount, Hint: hintRoom}},
	{codes: "OVERQUOTA", verdict: verdict{Kind: mailhaul.Throttled, Scope: mailhaul.ScopeAccount, Hint: hintSlow}}, // reading takes no room
	{ops: writes, texts: []string{"mailbox is full", "mailbox full", "blocks limit exceeded", "inode limit exceeded", "quota limit", "storage limit",
		"quota exceeded", "over quota", "overquota", "exceeded quota", "exceed quota", "exceeds quota", "exceeded the quota", "out of quota"},
		verdict: verdict{Kind: mailhaul.OverQuota, Scope: mailhaul.ScopeAccount, Hint: hintRoom}},
	{ops: writes, texts: []string{"no space left", "disk full", "disk is full", "out of disk space"},
		verdict: verdict{Kind: mailhaul.OverQuota, Scope: mailhaul.ScopeServer, Hint: "the server's disk is full; run again when there is room"}},
	{ops: "append", texts: []string{"server unavailable. 15"}, verdict: verdict{Kind: mailhaul.OverQuota, Scope: mailhaul.ScopeAccount,
		Hint: "the mailbox is full or the server is throttling: see to the quota, or run again later"}},

	// More throttles.
	{texts: []string{"server unavailable. 15", "rate limit", "ratelimit", "rate exceeded", "too many requests", "too many commands", "too many login", "too many failed", "too many invalid",
		"too many attempts", "temporary unavailable", "temporarily unavailable", "try again later", "server busy", "server is busy", "too busy", "overloaded"},
		verdict: verdict{Kind: mailhaul.Throttled, Scope: mailhaul.ScopeAccount, Hint: hintSlow}},
	{codes: "LIMIT", verdict: verdict{Kind: mailhaul.Throttled, Scope: mailhaul.ScopeAccount, Hint: hintSlow}},

	// The session, not the command, is at its end.
	{texts: []string{"accesstokenexpired"}, verdict: verdict{Kind: mailhaul.Transient, Scope: mailhaul.ScopeConnection, Hint: "connect again with a new token"}},
	{texts: []string{"session invalidated", "session expired", "user is authenticated but not connected", "command received in invalid state", "connection closed. 14", "system error (failure)"},
		verdict: verdict{Kind: mailhaul.Transient, Scope: mailhaul.ScopeConnection, Hint: hintRelog}},

	// What passes by itself.
	{codes: "UNAVAILABLE SERVERBUG", verdict: verdict{Kind: mailhaul.Transient, Scope: byOp, Hint: "try again later"}},
	{codes: "INUSE", verdict: verdict{Kind: mailhaul.Transient, Scope: byOp, Hint: "another client holds it; try again shortly"}},
	{conds: "NO", texts: []string{"temporary authentication failure", "temporary failure", "temporary error", "internal error", "internal server error", "server error"},
		verdict: verdict{Kind: mailhaul.Transient, Scope: byOp, Hint: "try again later"}},

	// Who may.
	{codes: "AUTHENTICATIONFAILED", verdict: verdict{Kind: mailhaul.Auth, Scope: mailhaul.ScopeAccount, Hint: "check the user and the password or token"}},
	{codes: "AUTHORIZATIONFAILED", verdict: verdict{Kind: mailhaul.Auth, Scope: mailhaul.ScopeAccount, Hint: "the user may not act for that account"}},
	{codes: "EXPIRED", verdict: verdict{Kind: mailhaul.Auth, Scope: mailhaul.ScopeAccount, Hint: "the password has expired; set a new one"}},
	{codes: "PRIVACYREQUIRED", verdict: verdict{Kind: mailhaul.Auth, Scope: mailhaul.ScopeAccount, Hint: "the server wants TLS"}},
	{codes: "WEBALERT", verdict: verdict{Kind: mailhaul.Auth, Scope: mailhaul.ScopeAccount, Hint: "log in with a browser once, or use an app password"}},
	{texts: []string{"web login required", "via your web browser", "application-specific password"},
		verdict: verdict{Kind: mailhaul.Auth, Scope: mailhaul.ScopeAccount, Hint: "log in with a browser once, or use an app password"}},
	{ops: logIn, codes: "REFERRAL", verdict: verdict{Kind: mailhaul.Permanent, Scope: mailhaul.ScopeAccount,
		Hint: "the account is on another server; referrals are not followed"}}, // RFC 2221
	{ops: logIn, codes: "CONTACTADMIN NOPERM", verdict: verdict{Kind: mailhaul.Auth, Scope: mailhaul.ScopeAccount, Hint: "ask the server's administrator"}},
	{codes: "CONTACTADMIN", verdict: verdict{Kind: mailhaul.Permanent, Scope: mailhaul.ScopeAccount, Hint: "ask the server's administrator"}},
	{ops: "list lsub namespace", codes: "NOPERM", verdict: verdict{Kind: mailhaul.Permanent, Scope: mailhaul.ScopeAccount, Hint: "the user lacks the right"}},
	{codes: "NOPERM", verdict: verdict{Kind: mailhaul.Permanent, Scope: mailhaul.ScopeMailbox, Hint: "the user lacks the right"}},

	// Mailboxes, in the words of servers without RFC 5530.
	{ops: openBox + " append status", conds: "NO", texts: []string{"doesn't exist", "does not exist", "no such mailbox", "unknown mailbox", "mailbox not found"},
		verdict: verdict{Kind: mailhaul.Conflict, Scope: mailhaul.ScopeMailbox, Hint: "the mailbox is gone; list again"}},
	{ops: "create", texts: []string{"already exists"}, verdict: verdict{Kind: mailhaul.Conflict, Scope: mailhaul.ScopeMailbox, Hint: "the mailbox is there already; list again"}},

	// Nothing is known of the rest but the command that it answers.
	{ops: "greeting", conds: "BYE EOF", verdict: verdict{Kind: mailhaul.Throttled, Scope: mailhaul.ScopeServer, Hint: hintConns}},
	{ops: logIn, conds: "BYE EOF", verdict: verdict{Kind: mailhaul.Throttled, Scope: mailhaul.ScopeAccount, Hint: hintConns}},
	{conds: "BYE EOF", verdict: verdict{Kind: mailhaul.Transient, Scope: mailhaul.ScopeConnection, Hint: hintRelog}},
	{ops: "greeting", verdict: verdict{Kind: mailhaul.Corrupt, Scope: mailhaul.ScopeServer, Hint: "check the host and the port"}},
	{ops: logIn, conds: "BAD", texts: []string{"authenticat", "password", "credential", "login failed"},
		verdict: verdict{Kind: mailhaul.Auth, Scope: mailhaul.ScopeAccount, Hint: "check the user and the password or token"}},
	{conds: "BAD", texts: []string{"word too long", "line too long", "command too long"},
		verdict: verdict{Kind: mailhaul.Corrupt, Scope: mailhaul.ScopeConnection, Hint: "the server takes only shorter commands"}},
	{conds: "BAD", verdict: verdict{Kind: mailhaul.Corrupt, Scope: mailhaul.ScopeConnection, Hint: "the server does not understand a command; please report it"}},
	{ops: logIn, verdict: verdict{Kind: mailhaul.Auth, Scope: mailhaul.ScopeAccount, Hint: "check the user and the password or token"}},
	{ops: openBox, verdict: verdict{Kind: mailhaul.Permanent, Scope: mailhaul.ScopeMailbox, Hint: "the mailbox cannot be opened"}},
	{ops: "append", verdict: verdict{Kind: mailhaul.Permanent, Scope: mailhaul.ScopeMessage, Hint: "the server refuses the message"}},
	{ops: "fetch", verdict: verdict{Kind: mailhaul.Permanent, Scope: mailhaul.ScopeMessage, Hint: "the server cannot hand out the message"}},
	{verdict: verdict{Kind: mailhaul.Permanent, Scope: byOp}},
}

// classify says what the answer to a command means. op names the command in
// lower case ("login", "select", "append", …; "greeting" before any), cond is
// OK, NO, BAD or BYE, or EOF for a connection that ended without a word; code,
// codeArg and text are the rest of the answer.
func classify(op, cond, code, codeArg, text string) verdict {
	op, cond = strings.ToLower(op), strings.ToUpper(cond)
	lower := strings.ToLower(text)
	codes := responseCodes(code, text)
	if cond == "OK" && len(codes) == 0 && !strings.HasSuffix(strings.TrimRight(lower, " ."), "[throttled]") {
		return verdict{} // almost every answer
	}
	if strings.HasSuffix(strings.TrimRight(lower, " ."), "[throttled]") { // Gmail puts the code last
		codes = append(codes, "THROTTLED")
	}
	for _, r := range rules {
		if !r.matches(op, cond, codes, lower) {
			continue
		}
		v := r.verdict
		switch {
		case v.Kind == mailhaul.Throttled:
			v.Wait = backoff(lower + " " + codeArg)
			if op == "greeting" {
				v.Scope = mailhaul.ScopeServer // whose account it will be is not known yet
			}
		case v.Scope == byOp:
			v.Scope = scopeOf(op)
		}
		return v
	}
	return verdict{Kind: mailhaul.Permanent, Scope: scopeOf(op)}
}

func (r rule) matches(op, cond string, codes []string, lower string) bool {
	conds := r.conds
	if conds == "" {
		conds = "NO BAD BYE"
	}
	if !word(conds, cond) || r.ops != "" && !word(r.ops, op) {
		return false
	}
	if r.codes != "" && !anyWord(r.codes, codes) {
		return false
	}
	for _, t := range r.texts {
		if strings.Contains(lower, t) {
			return true
		}
	}
	return len(r.texts) == 0
}

// word reports whether w is one of the words of list.
func word(list, w string) bool {
	for s := range strings.FieldsSeq(list) {
		if s == w {
			return true
		}
	}
	return false
}

func anyWord(list string, words []string) bool {
	for _, w := range words {
		if word(list, w) {
			return true
		}
	}
	return false
}

// responseCodes returns the answer's code and those that the text begins with:
// some servers send two, as in "[ALERT] [OVERQUOTA] …".
func responseCodes(code, text string) []string {
	var codes []string
	if code != "" {
		codes = append(codes, strings.ToUpper(code))
	}
	for range 4 {
		inner, ok := strings.CutPrefix(strings.TrimLeft(text, " "), "[")
		if !ok {
			break
		}
		if inner, text, ok = strings.Cut(inner, "]"); !ok {
			break
		}
		name, _, _ := strings.Cut(inner, " ")
		codes = append(codes, strings.ToUpper(name))
	}
	return codes
}

// maxBackoff is the longest time that a server is believed to mean; the lock
// of Gmail lasts as long.
const maxBackoff = 24 * time.Hour

// backoff reads Exchange's "Suggested Backoff Time: 299961 milliseconds".
func backoff(lower string) time.Duration {
	_, rest, ok := strings.Cut(lower, "suggested backoff time")
	if !ok {
		return 0
	}
	rest = strings.TrimLeft(rest, ": ")
	end := 0
	for end < len(rest) && '0' <= rest[end] && rest[end] <= '9' {
		end++
	}
	n, err := strconv.ParseUint(rest[:end], 10, 64)
	if end == 0 {
		return 0
	}
	unit := time.Millisecond
	if strings.HasPrefix(strings.TrimLeft(rest[end:], " "), "sec") {
		unit = time.Second
	}
	if err != nil || n > uint64(maxBackoff/unit) {
		return maxBackoff
	}
	return time.Duration(n) * unit
}

// scopeOf returns what a command is about.
func scopeOf(op string) mailhaul.Scope {
	switch op {
	case "append", "fetch", "store", "copy", "move":
		return mailhaul.ScopeMessage
	case "select", "examine", "status", "search", "create", "subscribe", "rename", "delete", "expunge":
		return mailhaul.ScopeMailbox
	case "greeting", "capability", "starttls":
		return mailhaul.ScopeServer
	}
	return mailhaul.ScopeAccount
}
