package imapx

import (
	"strings"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/imapx/internal/wire"
	"github.com/mailhaul/mailhaul/internal/mutf7"
)

// namespaceCommand returns a command that asks how the server builds names
// (RFC 2342).
func (c *conn) namespaceCommand() *command {
	cmd := c.command(opNamespace, "NAMESPACE")
	cmd.wants = func(event any) bool {
		ns, ok := event.(*wire.Namespace)
		if ok {
			c.namespace = newNamespaces(ns)
		}
		return ok
	}
	return cmd
}

// namespaces is how a server builds names: what NAMESPACE said, or what its
// list lets guess.
type namespaces struct {
	naming mailhaul.Naming
	// Prefixes, decoded, of what is the user's own and of what is not. An
	// empty prefix among the personal ones makes everything his that is not
	// named in others.
	personal, others []string
}

// newNamespaces returns nil where the server names no personal namespace.
func newNamespaces(ns *wire.Namespace) *namespaces {
	if len(ns.Personal) == 0 {
		return nil
	}
	decode := func(e wire.NamespaceEntry) string {
		name, _ := mutf7.Decode(e.Prefix)
		return name
	}
	n := &namespaces{naming: mailhaul.Naming{Prefix: decode(ns.Personal[0]), Delimiter: ns.Personal[0].Delimiter}}
	for _, e := range ns.Personal {
		n.personal = append(n.personal, decode(e))
	}
	for _, e := range append(ns.Others, ns.Shared...) {
		n.others = append(n.others, decode(e))
	}
	return n
}

// shared reports whether the name lies outside the user's own namespaces. The
// longest prefix that fits decides.
func (n *namespaces) shared(name string) bool {
	if strings.EqualFold(name, "INBOX") {
		return false
	}
	longest, shared := -1, false
	look := func(prefixes []string, is bool) {
		for _, p := range prefixes {
			if len(p) > longest && n.under(name, p) {
				longest, shared = len(p), is
			}
		}
	}
	look(n.others, true)
	look(n.personal, false)
	return shared || longest < 0 && len(n.others) > 0 && !n.under(name, n.naming.Prefix)
}

// under reports whether the name begins with the prefix, or is the prefix
// without its delimiter: the folder that holds the others.
func (n *namespaces) under(name, prefix string) bool {
	if inbox := "INBOX" + n.naming.Delimiter; strings.EqualFold(prefix, inbox) {
		return len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix)
	}
	return strings.HasPrefix(name, prefix) || n.naming.Delimiter != "" && name+n.naming.Delimiter == prefix
}

// guessNamespaces makes the best of a server without NAMESPACE: everything is
// the user's, separated as the list shows; where all lies below INBOX, that is
// the prefix.
func guessNamespaces(list []listEvent) *namespaces {
	var n mailhaul.Naming
	for _, l := range list {
		if l.Delimiter != "" {
			n.Delimiter = l.Delimiter
			break
		}
	}
	if n.Delimiter == "" {
		return &namespaces{personal: []string{""}}
	}
	below, beside := 0, 0
	for _, l := range list {
		switch prefix := "INBOX" + n.Delimiter; {
		case strings.EqualFold(l.Name, "INBOX"):
		case len(l.Name) > len(prefix) && strings.EqualFold(l.Name[:len(prefix)], prefix):
			if below == 0 {
				n.Prefix = l.Name[:len(prefix)]
			}
			below++
		default:
			beside++
		}
	}
	if beside > 0 {
		n.Prefix = ""
	}
	return &namespaces{naming: n, personal: []string{n.Prefix}}
}
