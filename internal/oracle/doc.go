// Package oracle says whether two accounts hold the same mail. It is how tests
// prove what a migration claims, so it shares no code with the migration: it
// reads accounts with go-imap's client, and compares what that client saw.
//
//	src, err := oracle.Snapshot(ctx, source)
//	dst, err := oracle.Snapshot(ctx, target)
//	for _, difference := range oracle.Compare(src, dst, oracle.CompareOptions{}) {
//		t.Error(difference)
//	}
//
// [Snapshot] reads every message of every folder of the user's own namespace,
// read-only and without setting \Seen. Of the octets it keeps a hash, so an
// account of any size fits into memory.
//
// go-imap's client loses messages in silence where a server sends the parts of
// a FETCH answer in an order of its own; Snapshot counts what it got and fails
// rather than to report less than there is. A folder whose name cannot be
// decoded kills that client's connection, so accounts with one are out of its
// reach.
package oracle
