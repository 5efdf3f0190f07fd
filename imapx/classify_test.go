package imapx

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/mailhaul/mailhaul"
)

// split cuts an answer, as a server sends it without its tag, into the
// arguments of classify.
func split(line string) (cond, code, arg, text string) {
	cond, text, _ = strings.Cut(line, " ")
	if inner, ok := strings.CutPrefix(text, "["); ok {
		inner, rest, _ := strings.Cut(inner, "]")
		code, arg, _ = strings.Cut(inner, " ")
		text = strings.TrimPrefix(rest, " ")
	}
	return cond, code, arg, text
}

// classifiedCase is an answer and what it means.
type classifiedCase struct {
	op, line string
	kind     mailhaul.Kind
	scope    mailhaul.Scope
}

// classified returns answers as servers send them.
func classified() []classifiedCase {
	const (
		transient = mailhaul.Transient
		throttled = mailhaul.Throttled
		auth      = mailhaul.Auth
		permanent = mailhaul.Permanent
		conflict  = mailhaul.Conflict
		corrupt   = mailhaul.Corrupt
		quota     = mailhaul.OverQuota

		connection = mailhaul.ScopeConnection
		message    = mailhaul.ScopeMessage
		mailbox    = mailhaul.ScopeMailbox
		account    = mailhaul.ScopeAccount
		server     = mailhaul.ScopeServer
	)
	return []classifiedCase{
		// Successes.
		{"append", "OK [APPENDUID 1 2] APPEND completed", 0, 0},
		{"select", "OK [READ-WRITE] Too many connections, selected", 0, 0},
		{"noop", "OK", 0, 0},
		{"fetch", "OK Success [THROTTLED]", throttled, account},
		{"fetch", "OK [THROTTLED] Success", throttled, account},
		{"select", "OK [READ-ONLY] INBOX selected. (Success) [THROTTLED]", throttled, account},
		{"select", "OK folder [THROTTLED] selected", 0, 0},
		{"fetch", "OK [MESSAGELIMIT 1000 23221] FETCH completed with 1000 partial results", permanent, mailbox},

		// Throttles, with a time.
		{"append", "NO Request is throttled. Suggested Backoff Time: 299961 milliseconds", throttled, account},
		{"fetch", "BAD Request is throttled. Suggested Backoff Time: 89117 milliseconds", throttled, account},
		{"login", "BAD Request is throttled. Suggested Backoff Time: 89117 milliseconds", throttled, account},
		{"login", "NO Request is throttled. Suggested Backoff Time: 299961 milliseconds", throttled, account},
		{"select", "BYE Request is throttled. Suggested Backoff Time: 1 milliseconds", throttled, account},
		{"select", "BAD Request is throttled.", throttled, account},

		// Throttles.
		{"fetch", "NO [THROTTLED] Account exceeded command or bandwidth limits.", throttled, account},
		{"fetch", "NO Failure [THROTTLED]", throttled, account},
		{"fetch", "NO [OVERQUOTA] Account exceeded command or bandwidth limits. (Failure)", throttled, account},
		{"append", "NO [OVERQUOTA] Account exceeded command or bandwidth limits. (Failure)", throttled, account},
		{"login", "NO [OVERQUOTA] Account exceeded command or bandwidth limits. (Failure)", throttled, account},
		{"append", "NO [ALERT] [OVERQUOTA] Account exceeded command or bandwidth limits.", throttled, account},
		{"fetch", "NO [OVERQUOTA] something else", throttled, account},
		{"login", "NO Lockdown in Sector 4", throttled, account},
		{"fetch", "BYE Lockdown in Sector 4", throttled, account},
		{"capability", "NO [LIMIT] CAPABILITY Rate limit hit.", throttled, account},
		{"login", "NO [LIMIT] LOGIN Rate limit hit.", throttled, account},
		{"login", "NO [AUTHENTICATIONFAILED] LOGIN Rate limit hit.", throttled, account},
		{"login", "BYE IMAP4rev1 Server logging out", throttled, account},
		{"fetch", "BYE IMAP4rev1 Server logging out", transient, connection},
		{"select", "NO Temporary unavailable", throttled, account},
		{"login", "NO Temporary unavailable", throttled, account},
		{"login", "NO [LIMIT] anything", throttled, account},
		{"fetch", "NO [LIMIT] anything", throttled, account},
		{"greeting", "BYE [ALERT] Server busy", throttled, server},

		// Too many connections.
		{"login", "NO [ALERT] Too many simultaneous connections. (Failure)", throttled, account},
		{"authenticate", "NO [ALERT] Too many simultaneous connections. (Failure)", throttled, account},
		{"login", "NO [UNAVAILABLE] Maximum number of connections from user+IP exceeded (mail_max_userip_connections=10)", throttled, account},
		{"login", "NO [LIMIT] Maximum number of connections from user+IP exceeded (mail_max_userip_connections=10)", throttled, account},
		{"greeting", "BYE rejected: too many connections. Connection limit is 100", throttled, server},
		{"login", "NO rejected: too many connections. Connection limit is 100", throttled, account},
		{"login", "NO Too many open connections", throttled, account},
		{"authenticate", "NO [AUTHENTICATIONFAILED] Too many open connections", throttled, account},
		{"greeting", "EOF", throttled, server},
		{"greeting", "NO go away", corrupt, server},
		{"greeting", "BAD authentication what?", corrupt, server},
		{"login", "EOF", throttled, account},
		{"authenticate", "EOF", throttled, account},
		{"fetch", "EOF", transient, connection},

		// The session has died.
		{"fetch", "BYE Connection closed. 14", transient, connection},
		{"select", "BAD User is authenticated but not connected.", transient, connection},
		{"list", "NO User is authenticated but not connected.", transient, connection},
		{"append", "BAD Command received in Invalid state", transient, connection},
		{"fetch", "BYE Session invalidated - AccessTokenExpired", transient, connection},
		{"append", "BYE Session expired, please login again", transient, connection},
		{"fetch", "NO System Error (Failure)", transient, connection},
		{"login", "NO System Error (Failure)", transient, connection},
		{"noop", "BYE Autologout; idle for too long", transient, connection},

		// Room.
		{"append", "NO [OVERQUOTA] Quota exceeded (mailbox for user is full)", quota, account},
		{"append", "NO [OVERQUOTA]", quota, account},
		{"create", "NO [OVERQUOTA] Too many mailboxes", quota, account},
		{"append", "NO Mailbox is full / Blocks limit exceeded / Inode limit exceeded", quota, account},
		{"append", "NO Blocks limit exceeded", quota, account},
		{"append", "NO Inode limit exceeded", quota, account},
		{"append", "NO Quota limit will be exceeded", quota, account},
		{"append", "NO APPEND The 1500 MB storage limit has been exceeded", quota, account},
		{"append", "NO Over quota", quota, account},
		{"append", "NO write: No space left on device", quota, server},
		{"append", "NO Server Unavailable. 15", quota, account},
		{"select", "NO Server Unavailable. 15", throttled, account},
		{"login", "NO Server Unavailable. 15", throttled, account},

		// Size.
		{"append", "NO [TOOBIG] Message too large. https://support.google.com/mail/answer/6584#limit", permanent, message},
		{"append", "NO [TOOBIG] Message size exceeding limit", permanent, message},
		{"append", "NO [LIMIT] Mail size is larger than the maximum size allowed by server configuration", permanent, message}, // Dovecot, quota_max_mail_size
		{"append", "NO Maximum size of appendable message has been exceeded", permanent, message},
		{"append", "BAD maximum message size exceeded", permanent, message},

		// Content.
		{"append", "NO Message contains NUL characters", permanent, message},
		{"append", "NO Message contains bare newlines", permanent, message},
		{"append", "NO Message contains invalid header", permanent, message},
		{"append", "NO header limit reached", permanent, message},
		{"append", "BAD Invalid Arguments: Unable to parse message", permanent, message},
		{"append", "BAD Command Argument Error. 11", permanent, message},
		{"append", "NO Message refused because it contains a virus", permanent, message},
		{"append", "BYE Invalid character in literal", permanent, message},
		{"append", "NO [LIMIT] Too many identical emails", permanent, message},
		{"append", "NO Wrong in some way of its own", permanent, message},
		{"append", "NO", permanent, message},
		{"append", "NO [CANNOT] Never", permanent, message},

		// Flags.
		{"append", `BAD Invalid system flag \FORWARDED`, permanent, message},
		{"append", `BAD Unrecognized flag`, permanent, message},
		{"append", `NO [CANNOT] Keyword length too long (0.001 + 0.000 secs).`, permanent, message},
		{"append", "NO APPEND Invalid flag list", permanent, message},
		{"store", `BAD Invalid system flag \FORWARDED`, permanent, message},
		{"append", "NO [LIMIT] Keyword name too long", permanent, message},
		{"append", "NO [LIMIT] Too many user flags in mailbox", permanent, message},

		// What passes.
		{"select", "NO [UNAVAILABLE] later", transient, mailbox},
		{"login", "NO [UNAVAILABLE] Temporary authentication failure.", transient, account},
		{"login", "NO Temporary authentication failure. [host:2026-01-01]", transient, account},
		{"append", "NO [SERVERBUG] Internal error occurred. Refer to server log for more information.", transient, message},
		{"fetch", "NO [SERVERBUG] Internal error occurred", transient, message},
		{"select", "NO [INUSE] Mailbox is locked", transient, mailbox},
		{"login", "NO [INUSE] in use", transient, account},
		{"fetch", "NO [UNAVAILABLE] UID FETCH Server error while fetching messages", transient, message},
		{"list", "NO [SERVERBUG] oops", transient, account},

		// Damage.
		{"select", "NO [CORRUPTION] index", permanent, mailbox},
		{"fetch", "NO [CORRUPTION] index", permanent, mailbox},

		// Who may.
		{"login", "NO [AUTHENTICATIONFAILED] Authentication failed.", auth, account},
		{"authenticate", "NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)", auth, account},
		{"login", "NO [AUTHORIZATIONFAILED] no", auth, account},
		{"login", "NO [EXPIRED] Password expired", auth, account},
		{"login", "NO [REFERRAL imap://ada@elsewhere.example/] try there", permanent, account},
		{"login", "NO [PRIVACYREQUIRED] TLS first", auth, account},
		{"login", "NO [CONTACTADMIN] disabled", auth, account},
		{"login", "NO [NOPERM] no", auth, account},
		{"login", "NO [ALERT] Web login required: https://support.google.com/mail/accounts/answer/78754 (Failure)", auth, account},
		{"login", "NO [WEBALERT https://accounts.google.com/] Web login required.", auth, account},
		{"login", "NO [ALERT] Application-specific password required: (Failure)", auth, account},
		{"login", "NO LOGIN failed.", auth, account},
		{"authenticate", "NO AUTHENTICATE failed.", auth, account},
		{"login", "NO Invalid password, please try again", auth, account},
		{"login", "BAD Authentication failed", auth, account},
		{"login", "BAD Error in IMAP command", corrupt, connection},
		{"login", "NO", auth, account},
		{"select", "NO [NOPERM] Permission denied", permanent, mailbox},
		{"append", "NO [NOPERM] Permission denied", permanent, mailbox},
		{"list", "NO [NOPERM] Permission denied", permanent, account},
		{"select", "NO [CONTACTADMIN] ask", permanent, account},

		// Mailboxes.
		{"append", "NO [TRYCREATE] Mailbox doesn't exist: Rate limit hit", conflict, mailbox},
		{"select", "NO [NONEXISTENT] Unknown Mailbox: Over quota (Failure)", conflict, mailbox},
		{"select", "NO Mailbox does not exist", conflict, mailbox},
		{"create", "NO [ALREADYEXISTS] Mailbox already exists", conflict, mailbox},
		{"create", "NO Mailbox already exists", conflict, mailbox},
		{"fetch", "NO [EXPUNGEISSUED] gone", conflict, mailbox},
		{"select", "NO Cannot open", permanent, mailbox},
		{"examine", "NO Cannot open", permanent, mailbox},
		{"create", "NO Invalid mailbox name", permanent, mailbox},
		{"status", "NO no", permanent, mailbox},

		// The rest.
		{"fetch", "NO Some messages could not be FETCHed (Failure)", permanent, message},
		{"search", "NO no", permanent, mailbox},
		{"list", "NO no", permanent, account},
		{"starttls", "NO no", permanent, server},
		{"starttls", "BAD no", corrupt, connection},
		{"append", "BAD [CLIENTBUG] Additional arguments found after last expected argument", corrupt, connection},
		{"list", "BAD Parse Error", corrupt, connection},
		{"fetch", "BAD Word too long", corrupt, connection},
		{"search", "BAD Command Argument Error. 11", corrupt, connection},
		{"append", "BAD", corrupt, connection},
		{"search", "NO [MESSAGELIMIT 1000] too many", permanent, mailbox},
		{"append", "NO [CLIENTBUG] no", permanent, message},
		{"fetch", `OK [INPROGRESS ("a1" 454 1000)] Still working on it`, 0, 0}, // RFC 9585: no answer at all
		{"copy", "NO [MESSAGELIMIT 1000 23221] partial", permanent, mailbox},
	}
}

func TestClassify(t *testing.T) {
	message := mailhaul.ScopeMessage
	tests := classified()
	for _, tt := range tests {
		t.Run(tt.op+" "+tt.line, func(t *testing.T) {
			cond, code, arg, text := split(tt.line)
			v := classify(tt.op, cond, code, arg, text)
			assert.Equal(t, tt.kind, v.Kind, "%v", v.Kind)
			assert.Equal(t, tt.scope, v.Scope)
			if v.Kind != 0 && v.Scope != message && v.Hint == "" && text != "no" && text != "Invalid mailbox name" {
				t.Error("no hint")
			}
			// The case of codes and commands is the server's and the
			// caller's affair.
			assert.Equal(t, v, classify(strings.ToUpper(tt.op), strings.ToLower(cond), strings.ToLower(code), arg, strings.ToUpper(text)))
			// A parser that leaves the code in the text loses nothing.
			if code != "" {
				_, raw, _ := strings.Cut(tt.line, " ")
				assert.Equal(t, v, classify(tt.op, cond, "", "", raw))
			}
			assert.Equal(t, strings.Contains(strings.ToLower(text), "flag") || strings.Contains(text, "Keyword"), v.DropFlags)
		})
	}
	assert.GreaterOrEqual(t, len(tests), 130)
}

// Each code of the registries, and each string that servers are known to send,
// is in the table.
func TestClassifiedIsComplete(t *testing.T) {
	rfc5530 := "UNAVAILABLE AUTHENTICATIONFAILED AUTHORIZATIONFAILED EXPIRED PRIVACYREQUIRED CONTACTADMIN NOPERM INUSE EXPUNGEISSUED " +
		"CORRUPTION SERVERBUG CLIENTBUG CANNOT LIMIT OVERQUOTA ALREADYEXISTS NONEXISTENT"
	assert.Len(t, strings.Fields(rfc5530), 17)
	others := "INPROGRESS MESSAGELIMIT " + // RFC 9585, RFC 9738
		"TRYCREATE TOOBIG REFERRAL ALERT THROTTLED WEBALERT" // RFC 9051, 4469, 2221, and Gmail's own
	has := make(map[string]int)
	for _, tt := range classified() {
		_, code, _, text := split(tt.line)
		for _, c := range responseCodes(code, text) {
			has[c]++
		}
	}
	for code := range strings.FieldsSeq(rfc5530 + " " + others) {
		assert.Positive(t, has[code], code)
	}

	strs := []string{
		// Throttles.
		"NO Request is throttled. Suggested Backoff Time: 299961 milliseconds", "BAD Request is throttled. Suggested Backoff Time: 89117 milliseconds",
		"OK Success [THROTTLED]", "NO [THROTTLED]", "[OVERQUOTA] Account exceeded command or bandwidth limits.", "Lockdown in Sector 4",
		"NO [LIMIT] CAPABILITY Rate limit hit.", "BYE IMAP4rev1 Server logging out", "NO Temporary unavailable",
		// Connections.
		"NO [ALERT] Too many simultaneous connections. (Failure)",
		"NO [UNAVAILABLE] Maximum number of connections from user+IP exceeded (mail_max_userip_connections=10)",
		"NO [LIMIT] Maximum number of connections from user+IP exceeded (mail_max_userip_connections=10)",
		"rejected: too many connections. Connection limit is 100", "EOF",
		// The session has died.
		"BYE Connection closed. 14", "BAD User is authenticated but not connected.", "BAD Command received in Invalid state",
		"BYE Session invalidated - AccessTokenExpired", "BYE Session expired, please login again", "System Error (Failure)",
		// Room.
		"NO [OVERQUOTA] ", "Mailbox is full / Blocks limit exceeded / Inode limit exceeded", "Quota limit will be exceeded",
		"NO APPEND The 1500 MB storage limit has been exceeded", "NO Server Unavailable. 15",
		// Size.
		"[TOOBIG] Message too large. https://support.google.com/mail/answer/6584#limit", "NO [TOOBIG] Message size exceeding limit",
		"NO Maximum size of appendable message has been exceeded", "BAD maximum message size exceeded",
		// Content.
		"Message contains NUL characters", "bare newlines", "invalid header", "NO header limit reached", "BAD Invalid Arguments: Unable to parse message",
		"BAD Command Argument Error. 11", "NO Message refused because it contains a virus", "BYE Invalid character in literal",
		"[LIMIT] Too many identical emails", "[CLIENTBUG] Additional arguments found after last expected argument", "Word too long",
		// Flags.
		`BAD Invalid system flag \FORWARDED`, "NO APPEND Invalid flag list",
		// What passes.
		"[UNAVAILABLE] ", "[SERVERBUG] Internal error occurred", "[INUSE]", "[CORRUPTION]", "NO [UNAVAILABLE] UID FETCH Server error while fetching messages",
		// Who may.
		"[AUTHENTICATIONFAILED]", "[AUTHORIZATIONFAILED]", "[EXPIRED]", "[PRIVACYREQUIRED]", "[CONTACTADMIN]", "[NOPERM]", "Web login required",
		// The rest.
		"Some messages could not be FETCHed", "Mailbox already exists", "BAD Parse Error",
	}
	assert.Len(t, strs, 57)
	for _, s := range strs {
		found := 0
		for _, tt := range classified() {
			if strings.Contains(tt.line, s) {
				found++
			}
		}
		assert.Positive(t, found, s)
	}
}

func TestClassifyWait(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"Request is throttled. Suggested Backoff Time: 299961 milliseconds":               299961 * time.Millisecond,
		"Request is throttled. Suggested Backoff Time: 89117 milliseconds":                89117 * time.Millisecond,
		"Request is throttled. Suggested Backoff Time: 7 seconds":                         7 * time.Second,
		"Request is throttled. Suggested Backoff Time:0 milliseconds":                     0,
		"Request is throttled. Suggested Backoff Time: soon":                              0,
		"Request is throttled. Suggested Backoff Time":                                    0,
		"Request is throttled. Suggested Backoff Time: 18446744073709551616 milliseconds": 24 * time.Hour,
		"Request is throttled. Suggested Backoff Time: 18446744073709551 seconds":         24 * time.Hour,
		"Request is throttled. Suggested Backoff Time: -5 milliseconds":                   0,
		"Request is throttled.": 0,
	} {
		for _, cond := range []string{"NO", "BAD", "BYE"} {
			v := classify("fetch", cond, "", "", text)
			assert.Equal(t, mailhaul.Throttled, v.Kind, text)
			assert.Equal(t, want, v.Wait, text)
		}
	}
}

// No answer to a log-in that speaks of limits is ever called a wrong password.
func TestThrottledLoginIsNotAuth(t *testing.T) {
	for _, r := range rules {
		if r.Kind != mailhaul.Throttled || r.conds == "OK" || r.ops != "" {
			continue
		}
		for _, text := range r.texts {
			for _, code := range []string{"", "AUTHENTICATIONFAILED", "ALERT", "UNAVAILABLE"} {
				v := classify("login", "NO", code, "", strings.ToUpper(text))
				assert.Equal(t, mailhaul.Throttled, v.Kind, "%s %s", code, text)
			}
		}
	}
}

// Texts are compared in lower case, so a rule that is not can never match; and
// no rule is hidden by its form.
func TestRulesAreWellFormed(t *testing.T) {
	for i, r := range rules {
		for _, text := range r.texts {
			assert.Equal(t, strings.ToLower(text), text)
		}
		assert.Equal(t, strings.ToUpper(r.codes+r.conds), r.codes+r.conds)
		assert.Equal(t, strings.ToLower(r.ops), r.ops)
		if i < len(rules)-1 {
			assert.NotEmpty(t, r.ops+r.conds+r.codes+strings.Join(r.texts, ""), "only the last rule matches all")
		}
	}
}

func FuzzClassify(f *testing.F) {
	f.Add("login", "NO", "LIMIT", "", "[ALERT] [OVERQUOTA x")
	f.Add("fetch", "OK", "", "", "x [THROTTLED] .")
	f.Add("", "", "", "", "[[[]]]")
	f.Fuzz(func(t *testing.T, op, cond, code, arg, text string) {
		v := classify(op, cond, code, arg, text)
		if v.Scope == byOp || v.Wait < 0 || v.Wait > maxBackoff || len(v.Hint) > 200 {
			t.Fatalf("%+v", v)
		}
		if cond == "NO" && v.Kind == mailhaul.KindUnknown {
			t.Fatal("a refusal must have a kind")
		}
	})
}
