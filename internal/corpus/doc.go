// Package corpus makes mail for tests, benchmarks and demonstrations: folders,
// flags, dates and messages as real accounts have them, and messages as only
// strange accounts have them.
//
//	boxes := corpus.Default(5000)               // ten folders, about 70 MB
//	err := corpus.Load(ctx, account.Server, boxes) // into any IMAP account
//
// The same [Spec] gives the same octets on every machine, for ever: each
// message follows from the seed, its folder and its place in it. Messages are
// made when they are asked for, so a corpus of a million needs no memory.
//
// Among a folder's messages are byte-identical twins, some with the same date
// and flags and some without; near-twins, which share a Message-ID but not
// their text; and messages without a Message-ID. [Odd] has those that break
// software, [Large] one of any size.
package corpus
