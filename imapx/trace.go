package imapx

// What is shown of a connection, and what never is.

import (
	"encoding/base64"
	"strings"
)

// trace shows one or more lines to Config.Trace.
func (c *conn) trace(sent bool, text []byte) {
	if c.cfg.Trace == nil {
		return
	}
	line := strings.TrimRight(string(text[:min(len(text), 4096)]), "\r\n")
	c.cfg.Trace(TraceLine{Connection: c.number, Sent: sent, Text: c.redact(line)})
}

// hide makes a credential invisible in traces, logs and errors: as it is, as a
// quoted string, and in base64.
func (c *conn) hide(secret string) {
	if secret == "" {
		return
	}
	quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(secret)
	encoded := base64.StdEncoding.EncodeToString([]byte(secret))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hidden = append(c.hidden, secret, quoted, encoded)
}

const hiddenText = "[hidden]"

// redact removes what was hidden from text.
func (c *conn) redact(text string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.hidden {
		text = strings.ReplaceAll(text, h, hiddenText)
	}
	return text
}

// traceCommand shows the i-th part of a command.
func (c *conn) traceCommand(cmd *command, part []byte, i int) {
	if cmd.hidden {
		part = []byte(hiddenText)
		if i == 0 {
			part = []byte(cmd.tag + " " + strings.ToUpper(cmd.op) + " " + hiddenText)
		}
	}
	c.trace(true, part)
}
