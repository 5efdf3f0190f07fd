package main

// The command line.

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/uidmap/maildir"
)

// options is the command line, checked.
type options struct {
	from, to         mailhaul.Server
	maildir          *maildir.Config // instead of an account to write to
	include, exclude []string
	renames          *renames
	state            string
	connections      int
	limits           limits
	deletes          deletes
	identity         identity
	popSeen          bool
	popExpire0       bool
	popDelete        bool
	dryRun           bool
	verify           bool
	follow           time.Duration // 0: one pass
	untilQuiet       time.Duration
	report           string
	json             bool
	verbose          bool

	demo bool // no account was named
}

// parse reads the command line and the files that it names. An error says what
// is wrong in one sentence, and never holds the value of a flag that may hold a
// password; flag.ErrHelp asks for help.
func parse(args []string, env func(string) string) (*options, error) {
	opt := &options{renames: &renames{}}
	from, to := side{name: "from"}, side{name: "to"}
	var plaintext bool
	var renameArgs []string

	fs := flag.NewFlagSet("migrate", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	for _, s := range []*side{&from, &to} {
		fs.StringVar(&s.url, s.name, "", "")
		fs.StringVar(&s.passwordFile, s.name+"-password-file", "", "")
		fs.StringVar(&s.ca, s.name+"-ca", "", "")
		fs.Func(s.name+"-pin", "", collect(&s.pins))
		fs.StringVar(&s.tlsMin, s.name+"-tls-min", "", "")
	}
	fs.BoolVar(&plaintext, "allow-plaintext", false, "")
	fs.Func("include", "", collect(&opt.include))
	fs.Func("exclude", "", collect(&opt.exclude))
	fs.Func("rename", "", collect(&renameArgs))
	fs.StringVar(&opt.state, "state", "mailhaul.db", "")
	fs.IntVar(&opt.connections, "connections", 4, "")
	var rates rates
	fs.StringVar(&rates.rate, "max-rate", "", "")
	fs.StringVar(&rates.messages, "max-messages", "", "")
	fs.StringVar(&rates.daily, "daily", "", "")
	fs.StringVar(&rates.schedule, "schedule", "", "")
	fs.StringVar(&rates.offPeak, "off-peak", "", "")
	fs.StringVar(&rates.preset, "preset", "", "")
	fs.StringVar(&opt.deletes.policy, "deletes", "keep", "")
	fs.Func("confirm-deletes", "", collect(&opt.deletes.confirm))
	fs.Func("refuse-deletes", "", collect(&opt.deletes.refused))
	fs.BoolVar(&opt.popSeen, "pop3-seen", false, "")
	fs.BoolVar(&opt.popExpire0, "pop3-allow-expire-0", false, "")
	fs.BoolVar(&opt.popDelete, "pop3-delete", false, "")
	var ident identityFlags
	ident.register(fs)
	fs.BoolVar(&opt.dryRun, "dry-run", false, "")
	fs.BoolVar(&opt.verify, "verify", false, "")
	fs.DurationVar(&opt.follow, "follow", 0, "")
	fs.DurationVar(&opt.untilQuiet, "until-quiet", 0, "")
	fs.StringVar(&opt.report, "report", "", "")
	fs.BoolVar(&opt.json, "json", false, "")
	fs.BoolVar(&opt.verbose, "v", false, "")
	if err := fs.Parse(args); err != nil {
		return nil, withoutValue(err)
	}

	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	switch {
	case fs.NArg() > 0:
		return nil, errors.New("there is an argument that belongs to no flag; the accounts are named with -from and -to")
	case given["from"] && !given["to"]:
		return nil, errors.New("-to is missing: where is the mail to go?")
	case given["to"] && !given["from"]:
		return nil, errors.New("-from is missing: where is the mail to come from?")
	case opt.connections < 1 || opt.connections > 100:
		return nil, errors.New("-connections is a number from 1 to 100")
	case opt.popDelete && (opt.dryRun || opt.verify || !given["from"]):
		return nil, errors.New("-pop3-delete removes from the source what was moved; it goes with -from and -to, and not with -dry-run or -verify")
	case opt.dryRun && opt.verify:
		return nil, errors.New("-dry-run and -verify are two different things; choose one")
	case given["follow"] && opt.follow <= 0 || given["until-quiet"] && opt.untilQuiet <= 0:
		return nil, errors.New("-follow and -until-quiet take a time such as 48h or 90m")
	case opt.untilQuiet > 0 && opt.follow == 0:
		return nil, errors.New("-until-quiet ends -follow, which is missing: for how long at most?")
	case (opt.follow > 0 || given["report"]) && (opt.dryRun || opt.verify):
		return nil, errors.New("-follow and -report go with moving mail, not with -dry-run or -verify")
	case given["report"] && reportFormats[strings.ToLower(filepath.Ext(opt.report))] == nil:
		return nil, errReportName
	case (opt.follow > 0 || given["report"]) && !given["from"]:
		return nil, errors.New("-follow and -report need -from and -to: which accounts are they about?")
	case opt.verify && !given["from"]:
		return nil, errors.New("-verify needs -from and -to: which accounts are to be compared?")
	case opt.state == "":
		return nil, errors.New("-state is empty; it names a file")
	case slices.Contains(opt.include, "") || slices.Contains(opt.exclude, ""):
		return nil, errors.New("a pattern of -include or -exclude is empty")
	}
	for _, arg := range renameArgs {
		if err := opt.renames.add(arg); err != nil {
			return nil, err
		}
	}
	if err := opt.deletes.check(); err != nil {
		return nil, err
	}
	var err error
	if opt.limits, err = rates.limits(); err != nil {
		return nil, err
	}
	files := strings.HasPrefix(strings.ToLower(to.url), "maildir:")
	if opt.identity, err = ident.check(env, plaintext, files, given); err != nil {
		return nil, err
	}
	switch {
	case ident.mapExport != "" && (opt.dryRun || opt.verify):
		return nil, errors.New("-map-export writes what a run has done; leave out -dry-run and -verify")
	case opt.verify && (ident.fillers != 0 || ident.xuidl || given["identity-admin"] || given["identity-exec"] || given["uidl-to"] || given["uidl-from"] || given["identity"]):
		return nil, errors.New("-verify compares mail, octet by octet; leave out what is said of identity")
	case !given["from"] && (opt.identity.demand != "best" || ident.fillers != 0 || ident.xuidl || given["identity-admin"] || given["identity-exec"] || given["uidl-to"] || given["uidl-from"] || given["map-export"]):
		return nil, errors.New("what is said of identity needs -from and -to: whose is to be kept?")
	}
	if !given["from"] {
		opt.demo = true
		return opt, nil
	}
	if opt.from, err = from.server(env, plaintext); err != nil {
		return nil, err
	}
	if opt.popDelete && opt.from.Protocol != mailhaul.POP3 {
		return nil, errors.New("-pop3-delete is for mail that comes over POP3; give a pop3s:// URL to -from, or leave it out")
	}
	if opt.identity.uidlFrom != nil && opt.from.Protocol != mailhaul.IMAP {
		return nil, errors.New("-uidl-from reads the UIDLs of mail that comes over IMAP; over POP3 they come with the mail")
	}
	if ident.xuidl && opt.from.Protocol != mailhaul.POP3 && opt.identity.uidlFrom == nil {
		return nil, errors.New("-xuidl carries the UIDLs of the source, which IMAP does not tell; name its POP3 server with -uidl-from")
	}
	if files {
		if to.passwordFile != "" || to.ca != "" || len(to.pins) > 0 || to.tlsMin != "" {
			return nil, errors.New("-to is a Maildir, where nobody logs in; leave out -to-password-file, -to-ca, -to-pin and -to-tls-min")
		}
		c, err := maildir.ParseURL(to.url)
		if err != nil {
			return nil, fmt.Errorf("-to: %w", err)
		}
		opt.maildir, opt.to = &c, mailhaul.Server{Protocol: maildir.Protocol, Host: "localhost", User: c.Path}
		return opt, nil
	}
	if opt.to, err = to.server(env, plaintext); err != nil {
		return nil, err
	}
	if opt.from.Account() == opt.to.Account() {
		return nil, fmt.Errorf("-from and -to are the same account, %v", opt.from.Account())
	}
	if a, b := opt.from.Account(), opt.to.Account(); a.Protocol == mailhaul.POP3 && opt.from.Port == 0 && opt.to.Port == 0 && a.Host == b.Host && a.User == b.User {
		return nil, fmt.Errorf("-from and -to are the same account over two protocols, %q at %s", a.User, a.Host)
	}
	return opt, nil
}

// collect lets a flag be given many times.
func collect(list *[]string) func(string) error {
	return func(value string) error {
		*list = append(*list, value)
		return nil
	}
}

// withoutValue takes the value out of an error of package flag: it may be a URL
// in a wrong place.
func withoutValue(err error) error {
	text := err.Error()
	if strings.HasPrefix(text, "invalid ") {
		if i := strings.LastIndex(text, `" for `); i >= 0 {
			name, _, _ := strings.Cut(strings.TrimPrefix(text[i+len(`" for `):], "flag "), ":")
			return fmt.Errorf("%s does not take that value", name)
		}
		return errors.New("a flag has a value that it does not take")
	}
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: "); ok {
		return fmt.Errorf("there is no flag %s", name)
	}
	return err
}

// renames are the -rename flags.
type renames struct {
	list []*rename
}

type rename struct {
	old, new []string
	used     atomic.Bool
}

// add reads OLD=NEW.
func (r *renames) add(arg string) error {
	before, after, ok := strings.Cut(arg, "=")
	one := &rename{old: splitPath(before), new: splitPath(after)}
	if !ok || slices.Contains(one.old, "") || slices.Contains(one.new, "") {
		return errors.New(`-rename takes OLD=NEW, two folders with "/" between their levels`)
	}
	for _, other := range r.list {
		if slices.Equal(other.old, one.old) {
			return fmt.Errorf("-rename gives %q two new names", before)
		}
	}
	r.list = append(r.list, one)
	return nil
}

// splitPath returns the levels of a path. INBOX is spelt in any case.
func splitPath(text string) []string {
	path := strings.Split(text, "/")
	if strings.EqualFold(path[0], "INBOX") {
		path[0] = "INBOX"
	}
	return path
}

// path gives a folder its new name. The longest OLD that it is, or lies below,
// decides. INBOX takes nothing along, as RENAME does (RFC 9051 section 6.3.6):
// on many servers everything lies below it.
func (r *renames) path(path []string) []string {
	var best *rename
	for _, one := range r.list {
		n := len(one.old)
		inbox := n == 1 && one.old[0] == "INBOX"
		if n > len(path) || !slices.Equal(one.old, path[:n]) || inbox && len(path) > 1 {
			continue
		}
		one.used.Store(true)
		if best == nil || n > len(best.old) {
			best = one
		}
	}
	if best == nil {
		return path
	}
	return slices.Concat(best.new, path[len(best.old):])
}

// warnings says which renames met no folder.
func (r *renames) warnings() []string {
	var out []string
	for _, one := range r.list {
		if !one.used.Load() {
			out = append(out, fmt.Sprintf("-rename: the source has no folder %q", strings.Join(one.old, "/")))
		}
	}
	return out
}
