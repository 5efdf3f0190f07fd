// Package memmail is an account in memory that implements mailhaul.Source and
// mailhaul.Target without a protocol, for tests of the engine: fast, and with
// a hook wherever a server can do something unexpected.
package memmail
