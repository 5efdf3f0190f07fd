package dsync

import (
	"errors"

	"github.com/mailhaul/mailhaul"
)

const op = "impose identity on"

// fault is an error about a mailbox, or about none.
func (t *Target) fault(box string, kind mailhaul.Kind, scope mailhaul.Scope, err error) *mailhaul.Error {
	e := &mailhaul.Error{Op: op, Server: t.where, Account: t.cfg.User, Mailbox: box, Kind: kind, Scope: scope, Err: err}
	if box == "" {
		e.Op = "reach dsync"
	}
	return e
}

// named fills in where an error happened that another layer made.
func (t *Target) named(box string, err error) error {
	e, ok := errors.AsType[*mailhaul.Error](err)
	if !ok || e.Mailbox != "" && e.Account != "" {
		return err
	}
	at := *e
	if at.Mailbox == "" {
		at.Mailbox = box
	}
	if at.Account == "" {
		at.Account = t.cfg.User
	}
	return &at
}
