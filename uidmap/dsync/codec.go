package dsync

// One line of the stream: an item's letter, then its values in the order of
// the keys that the sender has announced for the item.

import (
	"errors"
	"fmt"
	"strings"
)

// The items of the stream, by their letters.
const (
	itemHandshake = 'H'
	itemState     = 'S' // of a mailbox, as both sides had it in common
	itemNode      = 'N' // of the tree of mailboxes
	itemDeletes   = 'D' // what was deleted from the tree
	itemMailbox   = 'B'
	itemAttribute = 'A'
	itemChange    = 'C' // that a message exists, with its flags
	itemRequest   = 'R' // for a message's body
	itemMail      = 'M' // a message with its body
	itemFinish    = 'F'
	itemCache     = 'c'
	itemDone      = 'X' // the peer gives up
)

// endOfList is the line that ends a list of items.
const endOfList = "."

// ours are the keys of each item in the order in which we send their values.
// Dovecot insists on being told of all items, and knows keys by name: what it
// does not know it ignores, and what we leave out it takes for unset.
var ours = []struct {
	item byte
	keys []string
}{
	{itemHandshake, []string{"hostname", "sync_box", "sync_type", "send_mail_requests", "backup_recv", "no_backup_overwrite", "hashed_headers"}},
	{itemState, []string{"mailbox_guid", "last_uidvalidity", "last_common_uid", "last_common_modseq", "last_common_pvt_modseq"}},
	{itemNode, []string{"name", "existence", "mailbox_guid", "uid_validity", "uid_next", "last_renamed_or_created", "subscribed", "last_subscription_change"}},
	{itemDeletes, []string{"hierarchy_sep", "escape_char"}},
	{itemMailbox, []string{"mailbox_guid", "uid_validity", "uid_next", "messages_count", "first_recent_uid", "highest_modseq", "highest_pvt_modseq", "have_guids", "have_save_guids"}},
	{itemAttribute, []string{"type", "key"}},
	{itemChange, []string{"type", "uid", "guid", "final_flags", "keyword_changes"}},
	{itemRequest, []string{"guid", "uid"}},
	{itemMail, []string{"guid", "uid", "pop3_uidl", "pop3_order", "received_date", "stream"}},
	{itemFinish, []string{"error", "mail_error", "require_full_resync"}},
	{itemCache, []string{"name", "decision", "last_used"}},
}

// keysOf returns the keys in which we send an item.
func keysOf(item byte) []string {
	for _, o := range ours {
		if o.item == item {
			return o.keys
		}
	}
	return nil
}

// record is the values of one item by their keys. A key that is missing is
// unset (NULL), which is not the same as an empty value.
type record map[string]string

// null stands for an unset value; a value that begins with it has it twice.
const null = '\x02'

var errBadLine = errors.New("a line of the stream makes no sense")

// appendLine appends an item's line, with its end.
func appendLine(dst []byte, item byte, keys []string, r record) []byte {
	dst = append(dst, item)
	for i, key := range keys {
		if i > 0 {
			dst = append(dst, '\t')
		}
		value, set := r[key]
		if !set {
			dst = append(dst, null)
			continue
		}
		if value != "" && value[0] == null {
			dst = append(dst, null)
		}
		dst = appendEscaped(dst, value)
	}
	return append(dst, '\n')
}

// parseValues reads the values behind an item's letter. Values without a key
// are ignored, and keys without a value are unset.
func parseValues(text string, keys []string) (record, error) {
	r := make(record, len(keys))
	for _, key := range keys {
		value, rest, more := strings.Cut(text, "\t")
		text = rest
		plain, err := unescape(value)
		if err != nil {
			return nil, err
		}
		switch {
		case plain == string(null):
		case plain != "" && plain[0] == null:
			r[key] = plain[1:]
		default:
			r[key] = plain
		}
		if !more {
			break
		}
	}
	return r, nil
}

// parseKeys reads the announcement of an item's keys.
func parseKeys(text string) ([]string, error) {
	keys := strings.Split(text, "\t")
	if len(keys) > maxKeys {
		return nil, fmt.Errorf("%w: %d keys", errBadLine, len(keys))
	}
	for i := range keys {
		var err error
		if keys[i], err = unescape(keys[i]); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// appendEscaped appends a value in which nothing ends a value or a line.
func appendEscaped(dst []byte, value string) []byte {
	for i := range len(value) {
		switch c := value[i]; c {
		case '\x01':
			dst = append(dst, "\x011"...)
		case 0:
			dst = append(dst, "\x010"...)
		case '\t':
			dst = append(dst, "\x01t"...)
		case '\r':
			dst = append(dst, "\x01r"...)
		case '\n':
			dst = append(dst, "\x01n"...)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// unescape undoes appendEscaped.
func unescape(value string) (string, error) {
	if strings.IndexByte(value, '\x01') < 0 {
		return value, nil
	}
	var b strings.Builder
	b.Grow(len(value))
	for i := 0; i < len(value); i++ {
		c := value[i]
		if c == '\x01' {
			i++
			if i == len(value) {
				return "", fmt.Errorf("%w: it ends in the middle of an escape", errBadLine)
			}
			switch value[i] {
			case '1':
				c = '\x01'
			case '0':
				c = 0
			case 't':
				c = '\t'
			case 'r':
				c = '\r'
			case 'n':
				c = '\n'
			default:
				return "", fmt.Errorf("%w: unknown escape %q", errBadLine, value[i])
			}
		}
		b.WriteByte(c)
	}
	return b.String(), nil
}

// splitParts reads the name in a node: its parts, one level each, are escaped,
// joined by TAB, and escaped again as a value.
func splitParts(name string) ([]string, error) {
	parts := strings.Split(name, "\t")
	for i := range parts {
		var err error
		if parts[i], err = unescape(parts[i]); err != nil {
			return nil, err
		}
	}
	return parts, nil
}
