// The destinations, and the ways in which they are told identities.

package identitylab

import (
	"context"
	"errors"
	"fmt"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/imapx"
	"github.com/mailhaul/mailhaul/internal/testserver"
	"github.com/mailhaul/mailhaul/uidmap"
	"github.com/mailhaul/mailhaul/uidmap/cyrus"
	"github.com/mailhaul/mailhaul/uidmap/doveadm"
	"github.com/mailhaul/mailhaul/uidmap/dsync"
	"github.com/mailhaul/mailhaul/uidmap/filler"
	"github.com/mailhaul/mailhaul/uidmap/maildir"
	"github.com/mailhaul/mailhaul/uidmap/xuidl"
)

// The drivers, and what is none.
const (
	plainCopy = "plain copy"
	byDsync   = "dsync"
	byCommand = "dsync command"
	byHTTP    = "doveadm HTTP"
	byCyrus   = "cyrus"
	byXUIDL   = "doveadm HTTP and X-UIDL"
	onlyXUIDL = "X-UIDL"
	byFiles   = "files"
	byFillers = "fillers"
)

// target opens the account that mail goes to, and what decorates it.
func (m move) target(ctx context.Context) (mailhaul.Target, error) {
	if m.Driver == byFiles {
		return maildir.Open(ctx, maildir.Config{
			Path: m.Path, Flavor: maildir.Flavor(m.Format), Owner: &maildir.Owner{UID: testserver.MailUser, GID: testserver.MailUser},
		})
	}
	inner, err := imapx.New(imapx.Config{Server: m.To.server(mailhaul.IMAP)})
	if err != nil {
		return nil, err
	}
	t, err := m.decorate(inner)
	if err != nil {
		return nil, errors.Join(err, inner.Close())
	}
	return t, nil
}

func (m move) decorate(inner *imapx.Client) (mailhaul.Target, error) {
	switch m.Driver {
	case plainCopy:
		return inner, nil
	case byDsync:
		return dsync.New(inner, dsync.Config{Server: mailhaul.Server{
			Host: m.Admin.Host, Port: m.Admin.Port, Security: mailhaul.Plaintext,
			Credentials: testserver.Password(m.Admin.Password),
		}})
	case byCommand:
		return dsync.New(inner, dsync.Config{Command: m.Command, Store: m.Format})
	case byCyrus:
		admin, err := imapx.New(imapx.Config{Server: m.Admin.server(mailhaul.IMAP)})
		if err != nil {
			return nil, err
		}
		t, err := cyrus.New(inner, cyrus.Config{
			UIDLFormat: m.Format,
			Admin:      func(ctx context.Context) (cyrus.Session, error) { return admin.OpenRaw(ctx) },
		})
		return closing{t, admin}, err
	case byHTTP, byXUIDL:
		formula := uidmap.Formula{}
		if m.Format != "" {
			var ok bool
			if formula, ok = uidmap.FormulaNamed(m.Format); !ok {
				return nil, fmt.Errorf("there is no formula %q", m.Format)
			}
		}
		var to mailhaul.Target = inner
		if m.Fillers > 0 {
			f, err := filler.New(filler.Config{Target: inner, Max: m.Fillers})
			if err != nil {
				return nil, err
			}
			to = f
		}
		if m.XUIDL {
			x, err := xuidl.New(to)
			if err != nil {
				return nil, err
			}
			to = x
		}
		return doveadm.New(doveadm.Config{
			Target: to, Key: mailhaul.NewSecret(m.Admin.Password), UIDLs: formula,
			Server: mailhaul.Server{Host: m.Admin.Host, Port: m.Admin.Port, Security: mailhaul.Plaintext},
		})
	case onlyXUIDL:
		return xuidl.New(inner)
	case byFillers:
		return filler.New(filler.Config{Target: inner, Max: m.Fillers})
	}
	return nil, fmt.Errorf("there is no driver %q", m.Driver)
}

// closing is a Target that closes another account too.
type closing struct {
	mailhaul.Target
	admin *imapx.Client
}

func (c closing) Unwrap() mailhaul.Target { return c.Target }

func (c closing) Close() error { return errors.Join(c.Target.Close(), c.admin.Close()) }

// destination is a server, and a way to tell it identities.
type destination struct {
	name  string
	start func(h *house) (*testserver.Server, move)

	// keeps reports whether UIDLs of the kind can be kept there.
	keeps func(testserver.UIDLs) bool
	// once is set where they can be kept by one run into an empty mailbox only.
	once bool
	// parents are how many folders there are more of than before.
	parents int
	// ordinary is the kind that an ordinary run takes.
	ordinary testserver.UIDLs
	// demand is the level that is demanded. Default: exact.
	demand mailhaul.Level
	// below is set where names are those below INBOX that Courier has.
	below bool
}

func all(testserver.UIDLs) bool { return true }

// dovecotBy is a Dovecot with a store, driven in a way.
func dovecotBy(store, driver string, ordinary testserver.UIDLs) destination {
	keeps := all
	if driver == byHTTP {
		keeps = func(k testserver.UIDLs) bool { return !k.Stored() }
	}
	return destination{
		name: "Dovecot " + store + " by " + driver, keeps: keeps, once: store == "sdbox" && driver == byDsync, ordinary: ordinary,
		start: func(h *house) (*testserver.Server, move) {
			extra := h.kind.Format()
			if driver == byXUIDL {
				extra = []string{"pop3_reuse_xuidl = yes"}
			}
			s := testserver.Dovecot(h.t, testserver.DovecotOptions{Store: store, Extra: extra})
			m := h.to(s, driver)
			switch driver {
			case byDsync:
				m.Admin = end{Host: s.Host, Port: s.Port(testserver.Doveadm), Password: testserver.DoveadmPassword}
			case byCommand:
				m.Command = []string{"/usr/bin/doveadm", "-c", s.Root + "/dovecot.conf", "dsync-server", "-u", "{user}"}
				m.Format = store
			case byFiles:
				m.Path, m.Format = s.Maildir(s.Users[0]), string(maildir.Dovecot)
			case byHTTP, byXUIDL:
				m.XUIDL = driver == byXUIDL
				m.Admin = end{Host: s.Host, Port: s.Port(testserver.DoveadmHTTP), Password: testserver.DoveadmAPIKey}
				if h.kind == testserver.UIDLsCyrus && driver == byHTTP {
					m.Format = "uidvalidity.uid"
				}
			}
			return s, m
		},
	}
}

// cyrusBy is a Cyrus that makes UIDLs by a format.
func cyrusBy(format string, kind testserver.UIDLs) destination {
	return destination{
		name: "Cyrus with uidl_format " + format, ordinary: kind, parents: 2,
		keeps: func(k testserver.UIDLs) bool { return k == kind },
		start: func(h *house) (*testserver.Server, move) {
			s := testserver.CyrusWith(h.t, testserver.CyrusOptions{Settings: map[string]string{"uidl_format": format}})
			m := h.to(s, byCyrus)
			m.Format = format
			m.Admin.User, m.Admin.Password = testserver.CyrusAdmin.Name, testserver.CyrusAdmin.Password
			return s, m
		},
	}
}

// destinations are those that reach exact.
func destinations() []destination {
	all := []destination{
		dovecotBy("maildir", byDsync, testserver.UIDLsOdd),
		dovecotBy("sdbox", byDsync, testserver.UIDLsGmail),
		dovecotBy("mdbox", byDsync, testserver.UIDLsOdd),
		dovecotBy("maildir", byCommand, testserver.UIDLsGmail),
		dovecotBy("maildir", byHTTP, testserver.UIDLsDovecot),
		dovecotBy("sdbox", byHTTP, testserver.UIDLsCyrus),
		dovecotBy("mdbox", byHTTP, testserver.UIDLsDovecot),
		cyrusBy("cyrus", testserver.UIDLsCyrus),
		cyrusBy("dovecot", testserver.UIDLsDovecot),
		dovecotBy("maildir", byFiles, testserver.UIDLsOdd),
		courier(),
	}
	for i := range all {
		if all[i].demand == "" {
			all[i].demand = mailhaul.LevelExact
		}
	}
	return all
}

// courier is a Courier, whose files are written.
func courier() destination {
	return destination{
		name: "Courier by files", ordinary: testserver.UIDLsGmail, below: true,
		demand: mailhaul.LevelUID,                                                 // its POP3 lists messages by their names
		keeps:  func(k testserver.UIDLs) bool { return k != testserver.UIDLsOdd }, // quotes and plus signs are escaped
		start: func(h *house) (*testserver.Server, move) {
			s := testserver.Courier(h.t, testserver.Options{})
			m := h.to(s, byFiles)
			m.Path, m.Format = s.Maildir(s.Users[0]), string(maildir.Courier)
			return s, m
		},
	}
}
