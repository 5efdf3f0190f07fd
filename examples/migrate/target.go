package main

// Where mail goes: an account over IMAP, with what gives it identities around
// it, or the files of a server on this machine.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/imapx"
	"github.com/mailhaul/mailhaul/pop3x"
	"github.com/mailhaul/mailhaul/uidmap/cyrus"
	"github.com/mailhaul/mailhaul/uidmap/doveadm"
	"github.com/mailhaul/mailhaul/uidmap/dsync"
	"github.com/mailhaul/mailhaul/uidmap/filler"
	"github.com/mailhaul/mailhaul/uidmap/maildir"
	"github.com/mailhaul/mailhaul/uidmap/xuidl"
)

// newTarget makes the side that mail goes to. Only a Maildir is opened.
func newTarget(opt *options, writing imapx.Throttle, logger *slog.Logger) (mailhaul.Target, error) {
	if opt.maildir != nil {
		return openMaildir(opt)
	}
	account, err := imapx.New(imapx.Config{Server: opt.to, Connections: opt.connections, Throttle: writing, Logger: logger})
	if err != nil || opt.verify {
		return account, err
	}
	target, err := withIdentity(opt, account, logger)
	if err != nil {
		return nil, errors.Join(err, account.Close())
	}
	return target, nil
}

// toWhere says where mail goes.
func (opt *options) toWhere() string {
	if opt.maildir != nil {
		return opt.maildir.Path
	}
	return opt.to.Addr()
}

// openMaildir opens the files. A dry run, which changes nothing, makes none.
func openMaildir(opt *options) (mailhaul.Target, error) {
	if _, err := os.Stat(filepath.Join(opt.maildir.Path, "cur")); (opt.dryRun || opt.verify) && err != nil {
		return nil, fmt.Errorf("there is no Maildir at %s yet, and this run makes none", opt.maildir.Path)
	}
	return maildir.Open(context.Background(), *opt.maildir)
}

// withIdentity decorates the account with what the flags allow to be used.
func withIdentity(opt *options, account *imapx.Client, logger *slog.Logger) (mailhaul.Target, error) {
	id := opt.identity
	var target mailhaul.Target = account
	var err error
	if id.fillers > 0 {
		if target, err = filler.New(filler.Config{Target: target, Max: id.fillers, Logger: logger}); err != nil {
			return nil, err
		}
	}
	if id.xuidl {
		if target, err = xuidl.New(target); err != nil {
			return nil, err
		}
	}
	switch {
	case id.exec != nil:
		return dsync.New(target, dsync.Config{Command: id.exec, Logger: logger})
	case id.admin.driver == driverDsync:
		return dsync.New(target, dsync.Config{Server: id.admin.server, Logger: logger})
	case id.admin.driver == driverHTTP:
		key, err := id.admin.server.Credentials(context.Background())
		if err != nil {
			return nil, fmt.Errorf("-identity-admin: %w", err)
		}
		return doveadm.New(doveadm.Config{Target: target, Server: id.admin.server, Key: key, UIDLs: id.formula, Logger: logger})
	case id.admin.driver == driverCyrus:
		return newCyrus(id, target, logger)
	}
	return target, nil
}

// administered is a Target with the account of an administrator.
type administered struct {
	*cyrus.Target
	admin *imapx.Client
}

// Close closes both.
func (a administered) Close() error { return errors.Join(a.Target.Close(), a.admin.Close()) }

func newCyrus(id identity, target mailhaul.Target, logger *slog.Logger) (mailhaul.Target, error) {
	admin, err := imapx.New(imapx.Config{Server: id.admin.server, Logger: logger.With("as", "admin")})
	if err != nil {
		return nil, err
	}
	t, err := cyrus.New(target, cyrus.Config{
		UIDLFormat: id.uidlFormat,
		Admin:      func(ctx context.Context) (cyrus.Session, error) { return admin.OpenRaw(ctx) },
	})
	if err != nil {
		return nil, errors.Join(err, admin.Close())
	}
	return administered{t, admin}, nil
}

// newUIDLTarget makes the target's account as its POP3 server shows it; nil
// where the flags name none.
func newUIDLTarget(opt *options, logger *slog.Logger) (mailhaul.Source, error) {
	if opt.identity.uidlTo == nil {
		return nil, nil
	}
	// Nobody is kept out of the maildrop for longer than it is read.
	return pop3x.New(pop3x.Config{Server: *opt.identity.uidlTo, IdleTime: time.Millisecond, Logger: logger})
}
