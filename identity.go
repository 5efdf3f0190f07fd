package mailhaul

// UID is an IMAP unique identifier (RFC 9051 section 2.3.1.1). Zero is not a
// UID; it stands for "none" or "not known".
type UID uint32

// UIDValidity is the value that, together with a mailbox name and a [UID],
// names one message for ever (RFC 9051 section 2.3.1.1). Zero means "not
// known".
type UIDValidity uint32

// ModSeq is a CONDSTORE modification sequence (RFC 7162). Zero means that the
// mailbox keeps none.
type ModSeq uint64

// UIDL is a POP3 unique-id: 1 to 70 octets in the range 0x21 to 0x7E (RFC
// 1939 section 7). The empty string means "none".
type UIDL string
