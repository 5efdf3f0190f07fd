// Package wire is the octets of IMAP: it cuts a stream into responses, parses
// them, and encodes commands. It does no I/O but on the reader that it is
// given, knows no connection and keeps no state of a session.
//
// Framing is separate from parsing. A [Framer] reads one response (lines and
// the literals between them) under [Limits]; the parsers turn it into values.
// A response that is framed but makes no sense costs that response and nothing
// else: where the next one begins is known all the same.
//
// Parsers are tolerant of what servers are known to send, and of what they
// might: an item that is unknown or malformed is skipped, its neighbours are
// kept. What they return may refer to the memory of the response, which is
// valid until the next one is read; whoever keeps a value copies it.
package wire
