// Package identitylab moves accounts to every destination that lets itself be
// told identities, in every way that it can be told, and lets the mail programs
// of package mailclient judge.
//
// An account with holes in its UIDs is mirrored by IMAP programs and fetched by
// POP3 programs, then it is moved, then the programs are led to the new server
// as a change in the DNS would lead them: nothing may be downloaded, uploaded,
// deleted or complained about; and one new message and one change of a flag
// there must arrive as exactly that. What cannot be kept must be refused before
// anything is written.
//
// An ordinary run takes a small account through each cell of the table once.
// MAILHAUL_MEASURE=1 lets all programs judge all cells, moves the account of
// 5,000 messages, and measures speed against the plain copy.
package identitylab
