package main

// What the flags say of identity: how much of what mail programs know the mail
// by is to survive, and by whose leave.

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/uidmap"
)

// identity is what the flags say of it.
type identity struct {
	demand     string // "best", or the level that must be reached
	admin      admin
	exec       []string         // a command that speaks dsync, with its arguments
	uidlFormat string           // how a Cyrus makes UIDLs
	formula    uidmap.Formula   // how a Dovecot makes them, where its HTTP API is used
	xuidl      bool             // UIDLs are written into headers
	fillers    int              // how many UIDs may be burnt in all
	uidlFrom   *mailhaul.Server // where the source's UIDLs are read, for mail that comes over IMAP
	uidlTo     *mailhaul.Server // where the target's UIDLs are proved
	mapExport  string           // a file
}

// level is what the engine is asked for.
func (id identity) level() mailhaul.Level {
	if id.demand == "best" {
		return ""
	}
	return mailhaul.Level(id.demand)
}

// admin is how the target is administered.
type admin struct {
	driver string // one of those below, or "" for not at all
	server mailhaul.Server
}

// The drivers that -identity-admin names by the scheme of its URL.
const (
	driverHTTP  = "doveadm HTTP API"
	driverDsync = "dsync"
	driverCyrus = "Cyrus"
)

// adminSchemes maps the schemes to drivers, to the scheme of an account that is
// reached in the same way, and to the port that is meant without one.
var adminSchemes = map[string]struct {
	driver, like string
	port         int
	secure       string // what to take instead
}{
	"doveadm+http":     {driverHTTP, "imap+plain", 8080, "doveadm+https"},
	"doveadm+https":    {driverHTTP, "imaps", 8443, ""},
	"doveadm":          {driverDsync, "imap+plain", 24245, "doveadms"},
	"doveadms":         {driverDsync, "imaps", 24245, ""},
	"cyrus+imaps":      {driverCyrus, "imaps", 993, ""},
	"cyrus+imap":       {driverCyrus, "imap", 143, ""},
	"cyrus+imap+plain": {driverCyrus, "imap+plain", 143, "cyrus+imaps or cyrus+imap"},
}

// identityFlags are the flags as they were given.
type identityFlags struct {
	demand     string
	admin      side
	exec       string
	uidlFormat string
	xuidl      bool
	fillers    int
	uidlFrom   side
	uidlTo     side
	mapExport  string
}

func (f *identityFlags) register(fs *flag.FlagSet) {
	f.admin.name, f.uidlFrom.name, f.uidlTo.name = "identity-admin", "uidl-from", "uidl-to"
	fs.StringVar(&f.demand, "identity", "best", "")
	fs.StringVar(&f.admin.url, "identity-admin", "", "")
	fs.StringVar(&f.admin.passwordFile, "identity-admin-password-file", "", "")
	fs.StringVar(&f.admin.ca, "identity-admin-ca", "", "")
	fs.Func("identity-admin-pin", "", collect(&f.admin.pins))
	fs.StringVar(&f.exec, "identity-exec", "", "")
	fs.StringVar(&f.uidlFormat, "uidl-format", "", "")
	fs.BoolVar(&f.xuidl, "xuidl", false, "")
	fs.IntVar(&f.fillers, "fillers", 0, "")
	for _, s := range []*side{&f.uidlFrom, &f.uidlTo} {
		fs.StringVar(&s.url, s.name, "", "")
		fs.StringVar(&s.passwordFile, s.name+"-password-file", "", "")
		fs.StringVar(&s.ca, s.name+"-ca", "", "")
		fs.Func(s.name+"-pin", "", collect(&s.pins))
	}
	fs.StringVar(&f.mapExport, "map-export", "", "")
}

// check reads them. files says that the target is a Maildir, which is asked for
// its identity itself. given are the flags that were used.
func (f *identityFlags) check(env func(string) string, allowPlaintext, files bool, given map[string]bool) (id identity, err error) {
	id = identity{demand: f.demand, xuidl: f.xuidl, fillers: f.fillers, mapExport: f.mapExport}
	mover := given["identity-admin"] || given["identity-exec"] || files
	switch {
	case !slices.Contains([]string{"order", "uid", "exact", "best"}, f.demand):
		return id, errors.New("-identity is one of order, uid, exact and best")
	case given["identity-admin"] && given["identity-exec"]:
		return id, errors.New("-identity-admin and -identity-exec are two ways to the same server; choose one")
	case files && (given["identity-admin"] || given["identity-exec"]):
		return id, errors.New("-to is a Maildir, whose identity is written into its files; leave out -identity-admin and -identity-exec")
	case files && (f.fillers != 0 || f.uidlFormat != "" || f.xuidl):
		return id, errors.New("-to is a Maildir, whose identity is written into its files; leave out -fillers, -uidl-format and -xuidl")
	case f.demand == "order" && (given["identity-admin"] || given["identity-exec"] || f.fillers != 0 || f.uidlFormat != "" || f.xuidl):
		return id, errors.New("-identity order keeps the order alone; leave out -identity-admin, -identity-exec, -fillers, -uidl-format and -xuidl, or demand more")
	case f.demand == "exact" && !mover && !f.xuidl:
		return id, errors.New("-identity exact needs someone who may give the target UIDVALIDITYs; name them with -identity-admin or -identity-exec")
	case f.demand == "uid" && !mover && f.fillers == 0:
		return id, errors.New("-identity uid needs leave to burn UIDs, -fillers, or an administrator, -identity-admin or -identity-exec")
	case f.fillers < 0:
		return id, errors.New("-fillers is how many UIDs may be burnt in all")
	case f.fillers > 0 && given["identity-exec"]:
		return id, errors.New("-fillers does nothing with -identity-exec, which needs none")
	case f.fillers > 0 && f.demand == "best" && !given["identity-admin"]:
		return id, errors.New("-fillers does nothing without -identity-admin unless it is asked for: give -identity uid, too")
	case !given["identity-admin"] && (given["identity-admin-password-file"] || given["identity-admin-ca"] || given["identity-admin-pin"]):
		return id, errors.New("-identity-admin is missing: whose are the password and the certificate?")
	case !given["uidl-to"] && (given["uidl-to-password-file"] || given["uidl-to-ca"] || given["uidl-to-pin"]):
		return id, errors.New("-uidl-to is missing: whose are the password and the certificate?")
	case !given["uidl-from"] && (given["uidl-from-password-file"] || given["uidl-from-ca"] || given["uidl-from-pin"]):
		return id, errors.New("-uidl-from is missing: whose are the password and the certificate?")
	case given["map-export"] && f.mapExport == "":
		return id, errors.New("-map-export is empty; it names a file")
	}
	if given["identity-exec"] {
		if id.exec, err = command(f.exec); err != nil {
			return id, err
		}
	}
	if given["identity-admin"] {
		if id.admin, err = f.admin.admin(env, allowPlaintext); err != nil {
			return id, err
		}
	}
	switch {
	case f.fillers > 0 && given["identity-admin"] && id.admin.driver != driverHTTP:
		return id, fmt.Errorf("-fillers does nothing with this -identity-admin (%s), which needs none", id.admin.driver)
	}
	switch {
	case f.xuidl && (id.admin.driver == driverDsync || id.exec != nil):
		return id, errors.New("-xuidl does nothing where dsync writes, which carries UIDLs itself")
	case f.xuidl && id.admin.driver == driverCyrus:
		return id, errors.New("-xuidl does nothing at a Cyrus, which makes UIDLs by a format and in no other way")
	}
	if err := id.setFormat(f.uidlFormat); err != nil {
		return id, err
	}
	if given["uidl-from"] {
		if id.uidlFrom, err = f.uidlFrom.pop3(env, allowPlaintext, "the source's UIDLs are read"); err != nil {
			return id, err
		}
	}
	if given["uidl-to"] {
		if id.uidlTo, err = f.uidlTo.pop3(env, allowPlaintext, "the target's UIDLs are read"); err != nil {
			return id, err
		}
	}
	return id, nil
}

// pop3 reads the URL of a POP3 account.
func (s side) pop3(env func(string) string, allowPlaintext bool, what string) (*mailhaul.Server, error) {
	srv, err := s.server(env, allowPlaintext)
	if err == nil && srv.Protocol != mailhaul.POP3 {
		err = fmt.Errorf("-%s takes a POP3 URL: it is where %s", s.name, what)
	}
	return &srv, err
}

// command reads a JSON array of strings. Its errors do not quote it.
func command(text string) ([]string, error) {
	var args []string
	if err := json.Unmarshal([]byte(text), &args); err != nil || len(args) == 0 || args[0] == "" {
		return nil, errors.New(`-identity-exec takes a command as a JSON array, such as ["ssh","mx","doveadm","dsync-server","-u","ada"]; no shell reads it`)
	}
	return args, nil
}

// admin reads the URL of an administrator, which is that of an account with
// another scheme. Where only a password or a key is needed, no user stands
// before it.
func (s side) admin(env func(string) string, allowPlaintext bool) (admin, error) {
	scheme, rest, _ := strings.Cut(s.url, "://")
	how, ok := adminSchemes[strings.ToLower(scheme)]
	if !ok {
		return admin{}, errors.New("-identity-admin begins with one of doveadm+http, doveadm+https, doveadm, doveadms, cyrus+imaps and cyrus+imap, and ://")
	}
	if how.driver != driverCyrus {
		switch {
		case strings.HasPrefix(rest, ":"):
			rest = "doveadm" + rest
		case !strings.Contains(rest, "@"):
			rest = "doveadm@" + rest
		default:
			return admin{}, fmt.Errorf("-identity-admin: %s knows no users; the password stands behind a colon, as in %[1]s://:PASSWORD@host:port", strings.ToLower(scheme))
		}
	}
	s.url, s.plain, s.secure = how.like+"://"+rest, strings.ToLower(scheme), how.secure
	srv, err := s.server(env, allowPlaintext)
	if err != nil {
		return admin{}, err
	}
	if how.driver != driverCyrus && (srv.AuthzID != "" || srv.Mechanism != "") {
		return admin{}, errors.New("-identity-admin: neither authzid nor auth means anything to doveadm")
	}
	if srv.Port == 0 {
		srv.Port = how.port
	}
	return admin{how.driver, srv}, nil
}

// formats are the values of Dovecot's pop3_uidl_format that make a UIDL of UID
// and UIDVALIDITY, and the names that package uidmap has for them.
var formats = map[string]string{
	"":                                   "uid+uidvalidity hex",
	"%08Xu%08Xv":                         "uid+uidvalidity hex",
	"%{uid|hex(8)}%{uidvalidity|hex(8)}": "uid+uidvalidity hex",
	"%08Xv%08Xu":                         "uidvalidity+uid hex",
	"%v.%u":                              "uidvalidity.uid",
	"%v-%u":                              "uidvalidity-uid",
	"%u":                                 "uid",
}

// setFormat reads -uidl-format.
func (id *identity) setFormat(text string) error {
	switch {
	case id.admin.driver == driverHTTP:
		name, ok := formats[text]
		if !ok {
			return errors.New("-uidl-format is the server's pop3_uidl_format, one of %08Xu%08Xv, %08Xv%08Xu, %v.%u, %v-%u and %u; UIDLs that are made in another way cannot be kept through the HTTP API")
		}
		id.formula, _ = uidmap.FormulaNamed(name)
	case id.admin.driver == driverCyrus:
		if !slices.Contains([]string{"", "cyrus", "uidonly", "dovecot", "courier"}, text) {
			return errors.New("-uidl-format is the server's uidl_format, one of cyrus, uidonly, dovecot and courier")
		}
		id.uidlFormat = text
	case text != "":
		return errors.New("-uidl-format does nothing without -identity-admin doveadm+https:// or cyrus+imaps://")
	}
	return nil
}
