package mailhaul

import "context"

// Remover is implemented by a Source that can remove messages for good. Nothing
// calls it unless its user asks for mail to be moved in the sense of gone from
// where it was.
type Remover interface {
	// Remove removes the messages from the mailbox, each of which its UIDL and
	// its Size, as it was listed, name together: what is not there under that
	// name, or twice, is left alone. It returns those that the server has
	// confirmed to be gone. With an error they are none, and the server has
	// removed either nothing or, where the error wraps ErrUncertain, nobody knows
	// what: the next listing shows it.
	Remove(ctx context.Context, m Mailbox, messages []Message) (removed []Message, err error)
}
