// ENVELOPE, simply: values as they stand in the header.

package imapserver

import (
	"net/mail"
	"strings"
)

// appendEnvelope appends the envelope structure (RFC 9051 section 7.5.2).
func appendEnvelope(b, body []byte) []byte {
	nstring := func(value string, there bool) {
		if there {
			b = appendString(b, value)
		} else {
			b = append(b, "NIL"...)
		}
	}
	addresses := func(names ...string) {
		var list []*mail.Address
		for _, n := range names {
			if v, there := fieldValue(body, n); there {
				list, _ = mail.ParseAddressList(v)
				break
			}
		}
		if len(list) == 0 {
			b = append(b, "NIL"...)
			return
		}
		b = append(b, '(')
		for _, a := range list {
			i := strings.LastIndexByte(a.Address, '@')
			b = append(b, '(')
			nstring(a.Name, a.Name != "")
			b = append(b, " NIL "...)
			nstring(a.Address[:i], true)
			b = append(b, ' ')
			nstring(a.Address[i+1:], true)
			b = append(b, ')')
		}
		b = append(b, ')')
	}
	b = append(b, '(')
	nstring(fieldValue(body, "DATE"))
	b = append(b, ' ')
	nstring(fieldValue(body, "SUBJECT"))
	for _, names := range [][]string{{"FROM"}, {"SENDER", "FROM"}, {"REPLY-TO", "FROM"}, {"TO"}, {"CC"}, {"BCC"}} {
		b = append(b, ' ')
		addresses(names...)
	}
	b = append(b, ' ')
	nstring(fieldValue(body, "IN-REPLY-TO"))
	b = append(b, ' ')
	nstring(fieldValue(body, "MESSAGE-ID"))
	return append(b, ')')
}
