// Package imapx reaches IMAP servers. Its [Client] is one account: a
// [mailhaul.Source] and a [mailhaul.Target] over a connection engine of its own.
//
// The engine is made for moving mail: everything that can be pipelined is,
// bodies stream or go through pooled buffers, and messages are appended by the
// fastest way that the server offers and that is safe there. It is made for
// servers that are old, slow, strange or hostile, too: what a server may cost is
// bounded by [Limits], and what it gets wrong costs as little as possible.
//
// # Guarantees
//
//   - The octets of a message that arrive are the octets that leave. No MIME is
//     parsed, and a size is what was measured on the wire, never what the
//     server listed.
//   - Reading changes nothing: mailboxes are opened with EXAMINE, bodies are
//     asked for with BODY.PEEK[].
//   - No body is lost for the form of its response (UID behind the body, several
//     responses for one message, news in between), and none is given out as
//     another's. What the server does not send is not yielded: the caller
//     compares.
//   - A message is [mailhaul.Stored] only by the server's tagged OK. It is
//     [mailhaul.NotStored] only where the server refused it and shows nothing
//     new, or cannot have had all of it. Everything else is
//     [mailhaul.DeliveryUnknown].
//   - Nothing that came from outside (a mailbox name, a flag, a user, a date) can
//     end a command or begin another.
//   - Credentials go nowhere before TLS has proved the server, as
//     [mailhaul.Server] demands it, and show in no error, log or trace.
//   - A response that cannot be parsed costs that response and is logged. What
//     ends a connection is a response that cannot be framed, is beyond all
//     limits, or answers a command that was never given.
//   - Every operation ends: with its context, or ProgressTimeout after the server
//     has stopped moving. The end of a context ends the connection of an
//     operation that is under way, since IMAP has no other way to take a command
//     back.
//   - No goroutine outlives [Client.Close], whatever state a connection is in,
//     and Close waits for no server (half a second for the answer to LOGOUT).
//
// # Use
//
//	client, err := imapx.New(imapx.Config{Server: mailhaul.Server{
//		Host: "imap.example.org", User: "ada",
//		Credentials: func(context.Context) (mailhaul.Secret, error) { return password, nil },
//	}})
//	defer client.Close()
//	listing, err := client.List(ctx)
//	reader, err := client.OpenReader(ctx, listing.Mailboxes[0])
//	defer reader.Close()
//	uids, err := reader.UIDs(ctx)
//	bodies, err := reader.Fetch(ctx, uids, false)
//	for body, err := range bodies { … body.Body.Release() }
//
// A Client is safe for concurrent use. It opens up to Config.Connections
// connections as they are needed; a Reader or a Writer has one to itself until
// it is closed, and List, Create and the like take one for a moment. An idle
// connection that has died is replaced before it is used. Nothing is ever
// retried: that is for the caller, who knows what an attempt costs.
//
// A connection has two goroutines. One reads: it hands responses to the commands
// that want them, bodies to whoever asked for them. The other writes what is in
// a queue, so that a command can be given while the server waits for its answers
// to be taken. Listings make the server wait when their consumer is slow, and so
// do streamed bodies; buffered bodies do not, so ask for no more than there is
// room for.
//
// # Appending
//
// [Writer.Append] says how messages go. What it takes into account:
//
//   - MULTIAPPEND (RFC 3502) stores a batch in one transaction, which costs the
//     server one sync to its disk instead of a hundred. It stores all or
//     nothing, so a refusal is looked into.
//   - With LITERAL+ (RFC 7888) bodies need no leave from the server. But a server
//     that refuses a command as bad syntax may not see that a body follows, and
//     run that as commands: mail that was written for the purpose could delete
//     mailboxes. So bodies are sent unasked only to servers that are known to
//     answer BAD to nothing that is sent here (Dovecot, Cyrus), or that were seen
//     to swallow the body of an APPEND which was made for them to answer BAD.
//     Flags are those five that IMAP defines and keywords that are atoms; a
//     keyword that is new to the mailbox waits for the server, but for Dovecot,
//     which was seen to answer BAD to none; any BAD ends the connection at once,
//     and the Client's later ones ask for each body.
//   - Without either, each message costs a round trip, which is shared by the end
//     of one and the beginning of the next; more connections help then.
//
// # Compression
//
// Where there is distance to the server and it offers COMPRESS=DEFLATE (RFC
// 4978), connections are compressed; [Config].Compress says otherwise. It costs
// no round trip and about 5 ns of processor time for an octet of mail. Limits
// hold for what is decompressed; beyond them a server may make a hundred octets
// of one, and a connection on which it makes more ends with Corrupt.
//
// # Watching
//
// [Client.Watch] hears of changes on a connection of its own: of all mailboxes
// where the server has NOTIFY (RFC 5465), of one where it has IDLE (RFC 2177) or
// neither.
//
// # Errors
//
// Errors are *[mailhaul.Error]. What the words of a server mean is decided in
// one table; a log-in that is refused for there being too many is Throttled,
// never Auth. After an error whose scope is the connection, a Reader or a Writer
// is of no more use: close it and open another.
//
// # What it does not do
//
// It does not parse messages, search them, or keep them in step: package sync
// does that. It does not yet use QRESYNC. It sends no names in
// UTF-8 (RFC 6855): mailboxes have the names of IMAP4rev1, decoded in
// [mailhaul.Mailbox], with the octets of the server kept beside. It does not
// follow referrals.
package imapx
