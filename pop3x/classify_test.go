package pop3x

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
)

// classified are answers as servers send them, and what they mean.
var classified = []struct {
	op, line string // EOF: a connection that ends without a word
	kind     mailhaul.Kind
	scope    mailhaul.Scope
}{
	// RFC 2449 section 8.
	{opLogin, "-ERR [IN-USE] Couldn't open mailbox: locked", mailhaul.Throttled, mailhaul.ScopeAccount},
	{opLogin, "-ERR [IN-USE] Do you have another POP session running?", mailhaul.Throttled, mailhaul.ScopeAccount},
	{opLogin, "-ERR [LOGIN-DELAY]", mailhaul.Throttled, mailhaul.ScopeAccount},
	{opLogin, "-ERR [LOGIN-DELAY] minimum time between mail checks violation", mailhaul.Throttled, mailhaul.ScopeAccount},
	{opLogin, "-ERR [LOGIN-DELAY/MINUTES] wait", mailhaul.Throttled, mailhaul.ScopeAccount},
	{opList, "-ERR [IN-USE] locked", mailhaul.Throttled, mailhaul.ScopeAccount},

	// RFC 3206.
	{opLogin, "-ERR [SYS/TEMP] Temporary authentication failure.", mailhaul.Transient, mailhaul.ScopeAccount},
	{opFetch, "-ERR [SYS/TEMP] Internal error occurred.", mailhaul.Transient, mailhaul.ScopeMessage},
	{opList, "-ERR [SYS/TEMP] Internal error occurred.", mailhaul.Transient, mailhaul.ScopeAccount},
	{opLogin, "-ERR [SYS/TEMP/DISK] asleep", mailhaul.Transient, mailhaul.ScopeAccount},
	{opLogin, "-ERR [SYS/PERM] the mailbox is damaged", mailhaul.Permanent, mailhaul.ScopeAccount},
	{opFetch, "-ERR [SYS/PERM] the message is damaged", mailhaul.Permanent, mailhaul.ScopeMessage},
	{opLogin, "-ERR [SYS/PERM] Your account is not enabled for POP access", mailhaul.Auth, mailhaul.ScopeAccount},
	{opLogin, "-ERR [AUTH] Username and password not accepted.", mailhaul.Auth, mailhaul.ScopeAccount},
	{opLogin, "-ERR [AUTH] Authentication failed.", mailhaul.Auth, mailhaul.ScopeAccount},
	{opLogin, "-ERR [AUTH] Application-specific password required", mailhaul.Auth, mailhaul.ScopeAccount},
	{opLogin, "-ERR [AUTH] Web login required: https://support.google.com/mail/answer/78754", mailhaul.Auth, mailhaul.ScopeAccount},

	// Throttles. None of them passes for a wrong password.
	{opLogin, "-ERR [AUTH] Too many login failures", mailhaul.Throttled, mailhaul.ScopeAccount},
	{opLogin, "-ERR [SYS/TEMP] too many connections from your host", mailhaul.Throttled, mailhaul.ScopeAccount},
	{opLogin, "-ERR Maximum number of connections from user+IP exceeded (mail_max_userip_connections=10)", mailhaul.Throttled, mailhaul.ScopeAccount},
	{opLogin, "-ERR Too many simultaneous connections. (Failure)", mailhaul.Throttled, mailhaul.ScopeAccount},
	{opGreeting, "-ERR rejected: too many connections. Connection limit is 100", mailhaul.Throttled, mailhaul.ScopeAccount},
	{opLogin, "-ERR LOGIN Rate limit hit.", mailhaul.Throttled, mailhaul.ScopeAccount},
	{opLogin, "-ERR Temporary unavailable", mailhaul.Throttled, mailhaul.ScopeAccount},
	{opFetch, "-ERR Account exceeded command or bandwidth limits.", mailhaul.Throttled, mailhaul.ScopeAccount},
	{opFetch, "-ERR [SYS/PERM] Account exceeded command or bandwidth limits.", mailhaul.Throttled, mailhaul.ScopeAccount},
	{opLogin, "-ERR Lockdown in Sector 4", mailhaul.Throttled, mailhaul.ScopeAccount},
	{opGreeting, "-ERR busy", mailhaul.Throttled, mailhaul.ScopeServer},

	// Locks, in the words of servers without codes.
	{opLogin, "-ERR Unable to lock maildrop: Mailbox is locked by POP server", mailhaul.Throttled, mailhaul.ScopeAccount},
	{opLogin, "-ERR /var/spool/mail/.x.pop lock busy!  Is another session active?", mailhaul.Throttled, mailhaul.ScopeAccount},

	// The end of the connection: Courier's, and mox's, way to say that there are
	// too many.
	{opGreeting, "EOF", mailhaul.Throttled, mailhaul.ScopeServer},
	{opLogin, "EOF", mailhaul.Throttled, mailhaul.ScopeAccount},
	{opFetch, "EOF", mailhaul.Transient, mailhaul.ScopeConnection},
	{opList, "EOF", mailhaul.Transient, mailhaul.ScopeConnection},

	// The rest.
	{opLogin, "-ERR Login failed.", mailhaul.Auth, mailhaul.ScopeAccount},
	{opLogin, "-ERR Logon failure: unknown user name or bad password.", mailhaul.Auth, mailhaul.ScopeAccount},
	{opLogin, "-ERR fatal error", mailhaul.Transient, mailhaul.ScopeAccount},
	{opFetch, "-ERR Message does not exist", mailhaul.Permanent, mailhaul.ScopeMessage},
	{opFetch, "-ERR [UTF8] say UTF8 first", mailhaul.Permanent, mailhaul.ScopeMessage}, // RFC 6856
	{opTLS, "-ERR unknown command", mailhaul.Permanent, mailhaul.ScopeServer},
}

func TestClassify(t *testing.T) {
	for _, tt := range classified {
		t.Run(tt.op+" "+tt.line, func(t *testing.T) {
			cond, st := "EOF", status{}
			if tt.line != "EOF" {
				cond = "-ERR"
				var ok bool
				st, ok = parseStatus(tt.line)
				require.True(t, ok)
			}
			v := classify(tt.op, cond, st.code, st.text)
			assert.Equal(t, tt.kind, v.Kind, "%v", v.Kind)
			assert.Equal(t, tt.scope, v.Scope)
			if tt.scope != mailhaul.ScopeMessage && v.Hint == "" {
				t.Error("no hint")
			}
			lower, ok := parseStatus(strings.ToLower(tt.line))
			assert.Equal(t, tt.line != "EOF", ok)
			assert.Equal(t, v, classify(tt.op, cond, lower.code, lower.text), "case is the server's affair")
		})
	}
	assert.GreaterOrEqual(t, len(classified), 40)
}

// Each code of the registry, and each string that servers are known to send over
// POP3, is in the table.
func TestClassifiedIsComplete(t *testing.T) {
	for _, known := range []string{
		"[IN-USE]", "[LOGIN-DELAY]", // RFC 2449
		"[SYS/TEMP]", "[SYS/PERM]", "[AUTH]", // RFC 3206
		"[UTF8]", // RFC 6856
		"Account exceeded command or bandwidth limits", "Lockdown in Sector 4", "Web login required",
		"Too many simultaneous connections", "Maximum number of connections from user+IP exceeded", "too many connections. Connection limit is",
		"Rate limit hit", "Temporary unavailable", "Internal error occurred", "EOF",
	} {
		found := 0
		for _, tt := range classified {
			if strings.Contains(tt.line, known) {
				found++
			}
		}
		assert.Positive(t, found, known)
	}
}
