package dsync

// What a peer can make an exchange cost.

const (
	// maxLine bounds a line: the longest is the list of mailboxes that were
	// ever deleted, 44 octets each.
	maxLine = 4 << 20

	maxKeys    = 100    // of an item
	maxHeaders = 100    // lines that announce keys
	maxNodes   = 10_000 // of the tree, in which we ask for one mailbox
	maxTree    = 16 << 20

	// maxStderr is how much of the end of a command's standard error is kept,
	// maxReason how much of it goes into an error.
	maxStderr = 4 << 10
	maxReason = 400

	// maxRest is how much is read and thrown away of a peer that is to end.
	maxRest = 1 << 20

	// minRate is how many octets a second a peer must send of what it has
	// begun to say.
	minRate = 16
)
