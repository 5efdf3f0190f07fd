// Package checkpoint keeps what a migration has done, so that it can be
// repeated at any time.
package checkpoint
