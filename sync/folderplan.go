// The folder plan: which folder of the source goes where on the target. It is
// pure, and depends on no more than the two listings and the options.

package sync

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/mailhaul/mailhaul"
)

// folderOptions is what the caller wants of the plan.
type folderOptions struct {
	// Include and Exclude are patterns (see folderPattern). Without Include all
	// folders are chosen; Exclude wins. An excluded folder leaves its role, and
	// its name on the target, to another; one that is merely not included keeps
	// them, so that an account can be moved in steps.
	Include, Exclude []string

	// Rename returns the path that a folder is to have on the target. A path
	// that it returns unchanged is not renamed: the folder goes where its parent
	// goes, or its role. Nil renames nothing.
	Rename func(path []string) []string

	// Earlier returns where an earlier pass put a folder, or nil. The folder
	// stays there, unless it is renamed now: a folder with the same role that
	// a mail client makes on the target between two passes must not attract all
	// mail for a second time. Nil knows of no earlier pass.
	Earlier func(m mailhaul.Mailbox) []string

	// Shared takes in folders outside the user's personal namespaces.
	Shared bool
}

// folderMove is one folder of the source and its place on the target. No two
// have the same place.
type folderMove struct {
	Source     mailhaul.Mailbox
	TargetPath []string
	Target     *mailhaul.Mailbox // nil: to be created

	// Role is what the folder is for on the target, to be announced when it is
	// created. One folder at most has each.
	Role mailhaul.Role

	Subscribe bool // the source's is subscribed, and the target's is not yet
	View      bool // only what no other folder holds is to be moved
	Container bool // no messages: the name is wanted only where a folder below needs it
}

// folderSkip is a folder of the source that is left out.
type folderSkip struct {
	Mailbox mailhaul.Mailbox
	Reason  string
}

// folderPlan says what becomes of each folder of the source: it is in Moves or
// in Skipped, once. INBOX comes first, then the others by path, views last.
type folderPlan struct {
	Moves    []folderMove
	Skipped  []folderSkip
	Warnings []string
}

// folderNode is a folder of the source while the plan is made.
type folderNode struct {
	box  mailhaul.Mailbox
	path []string // as in box, INBOX in capitals
	skip string   // why it is left out

	role   mailhaul.Role // by attribute, else by name
	byAttr bool
	rank   int // how canonical its name is

	fixed   []string      // where it goes whatever its parent and role: renamed, or known from an earlier pass
	renamed bool          // fixed by Rename
	aside   []string      // its own place, where its path cannot be that
	moved   []string      // where its role takes it
	won     mailhaul.Role // the role that it has on the target
	wrong   []string      // what is wrong with its own name on the target
}

func (n *folderNode) inbox() bool { return len(n.path) == 1 && n.path[0] == "INBOX" }

// view reports whether the folder shows what others hold.
func (n *folderNode) view() bool { return n.role == mailhaul.RoleAll && !n.box.NoSelect }

// folderPlanner makes one plan.
type folderPlanner struct {
	opts   folderOptions
	namer  folderNamer
	nodes  []*folderNode
	byPath map[string]*folderNode
	target map[string]*mailhaul.Mailbox // by path

	seats      map[string]int         // how many folders of the source have a path for their own place, or are to be below it
	owners     map[string]int         // how many paths of the source have it for their own place, listed or not
	held       map[string]*folderNode // places that an earlier pass gave away
	rolePlaces map[string]bool        // places that have a role, or may get one
	warnings   []string
}

// folderKey makes a path comparable.
func folderKey(path []string) string { return strings.Join(path, "\x00") }

// folderShow writes a path for people.
func folderShow(path []string) string { return strings.Join(path, "/") }

// planFolders decides where each folder of the source goes.
//
// A folder's own place is its path, below its parent's place. A folder that
// has a role on the source goes to the target's folder of that role instead,
// if that is no other folder's own place: roles are known by attribute, then
// by name, and one folder at most has each. A folder without the attribute
// stays in its own place where the target has that already. None of this
// depends on what the plan itself creates, so that the next plan is the same.
//
// Two folders with one place, after all, are an error, and nothing is planned.
func planFolders(source, target *mailhaul.Listing, opts folderOptions) (*folderPlan, error) {
	p := &folderPlanner{
		opts:   opts,
		namer:  folderNamer{naming: target.Naming},
		byPath: make(map[string]*folderNode),
		target: make(map[string]*mailhaul.Mailbox),
	}
	p.readTarget(target)
	p.readSource(source)
	p.choose()
	if err := p.rename(); err != nil {
		return nil, err
	}
	p.takeSeats()
	p.avoidViews(true)
	p.giveRoles(target)
	p.avoidViews(false)
	return p.finish()
}

// readTarget indexes the target's folders that a path can name.
func (p *folderPlanner) readTarget(target *mailhaul.Listing) {
	for _, m := range target.Mailboxes {
		if len(m.Path) == 0 {
			continue
		}
		// Only Gmail has such views there. A plan never makes one, unlike the
		// container, which it may copy from a source that was Gmail.
		if folderGmail(m.Path) && (m.Role == mailhaul.RoleAll || m.Role == mailhaul.RoleFlagged) {
			p.namer.gmail = true
		}
		path := folderInboxed(m.Path)
		if !slices.Equal(p.namer.canonical(path), path) {
			continue
		}
		if key := folderKey(path); p.target[key] == nil {
			box := m
			box.Path = path
			p.target[key] = &box
		}
	}
}

// readSource makes the nodes, in the order of the plan, and gives them the
// roles that they claim.
func (p *folderPlanner) readSource(source *mailhaul.Listing) {
	for _, m := range source.Mailboxes {
		n := &folderNode{box: m, path: folderInboxed(m.Path), rank: folderNameRank}
		p.nodes = append(p.nodes, n)
		named, ok := folderRoleByName(n.path)
		switch {
		case n.inbox():
			n.role, n.byAttr = mailhaul.RoleInbox, true
		case m.Role != mailhaul.RoleNone && m.Role != mailhaul.RoleInbox:
			n.role, n.byAttr = m.Role, true
			if ok && named.role == m.Role {
				n.rank = named.rank
			}
		case ok:
			n.role, n.rank = named.role, named.rank
		}
	}
	slices.SortStableFunc(p.nodes, func(a, b *folderNode) int {
		return cmp.Or(
			folderLess(b.inbox(), a.inbox()),
			folderLess(a.view(), b.view()),
			slices.Compare(a.path, b.path),
			strings.Compare(a.box.Wire, b.box.Wire),
		)
	})
}

// choose decides which folders are left out.
func (p *folderPlanner) choose() {
	var include, exclude []*folderPattern
	for _, text := range p.opts.Include {
		include = append(include, folderCompile(text))
	}
	for _, text := range p.opts.Exclude {
		exclude = append(exclude, folderCompile(text))
	}
	for _, n := range p.nodes {
		switch first := p.byPath[folderKey(n.path)]; {
		case len(n.path) == 0:
			n.skip = "it has no name"
			continue
		case first == nil:
			p.byPath[folderKey(n.path)] = n
		case first.box.Wire == n.box.Wire || n.inbox() && strings.EqualFold(first.box.Wire, n.box.Wire):
			n.skip = "the source lists it twice"
			continue
		}
		if n.box.Shared && !p.opts.Shared {
			n.skip = folderSkipShared
			continue
		}
		// Every pattern is asked, so that one that finds nothing is noticed.
		in, out := len(include) == 0, false
		for _, pattern := range include {
			in = pattern.matches(n.path, n.role) || in
		}
		for _, pattern := range exclude {
			out = pattern.matches(n.path, n.role) || out
		}
		switch {
		case out:
			n.skip = folderSkipExcluded
		case n.role == mailhaul.RoleFlagged && !n.box.NoSelect:
			n.skip = "it shows flagged messages of other mailboxes"
		case !in:
			n.skip = folderSkipNotIncluded
		}
	}
	for _, pattern := range include {
		if !pattern.used {
			p.warn("no mailbox matches the include pattern %q", pattern.text)
		}
	}
	for _, pattern := range exclude {
		if !pattern.used {
			p.warn("no mailbox matches the exclude pattern %q", pattern.text)
		}
	}
}

const (
	folderSkipShared      = "it is outside the user's personal namespaces"
	folderSkipExcluded    = "it is excluded"
	folderSkipNotIncluded = "it is not included"
)

// takesPart reports whether a folder counts when places and roles are given
// away: those that are moved, now or in another step.
func (n *folderNode) takesPart() bool { return n.skip == "" || n.skip == folderSkipNotIncluded }

// rename asks the hook and the earlier pass.
func (p *folderPlanner) rename() error {
	var bad []error
	early := make(map[*folderNode]bool)
	for _, n := range p.nodes {
		if !n.takesPart() {
			continue
		}
		if p.opts.Earlier != nil {
			if path := p.opts.Earlier(n.box); len(path) > 0 {
				n.fixed = p.namer.canonical(folderInboxed(path))
				early[n] = true
			}
		}
		if p.opts.Rename == nil {
			continue
		}
		path := p.opts.Rename(slices.Clone(n.path))
		switch {
		case slices.Equal(path, n.path):
		case len(path) > 0:
			n.renamed = true
			delete(early, n)
			n.fixed, n.wrong = p.legal(path)
		case n.skip == "":
			bad = append(bad, fmt.Errorf("%q is renamed to nothing", folderShow(n.path)))
		}
	}
	p.held = make(map[string]*folderNode)
	for n := range early {
		p.held[folderKey(n.fixed)] = n
	}
	if len(bad) > 0 {
		return folderError(bad, "let -rename name a path, or leave the mailbox out with -exclude")
	}
	return nil
}

// legal makes each level of a path legal.
func (p *folderPlanner) legal(path []string) (legal, wrong []string) {
	for _, level := range path {
		l, w := p.namer.level(level)
		legal, wrong = append(legal, l), append(wrong, w...)
	}
	return legal, wrong
}

// place returns where the folder at a path of the source goes, in levels; with
// own as if it and its parents had no roles.
func (p *folderPlanner) place(path []string, own bool) []string {
	var place []string
	for i := range path {
		place = p.below(place, path[:i+1], own)
	}
	return place
}

// below returns where the folder at a path goes, when its parent goes to place.
// It may write behind the end of place.
func (p *folderPlanner) below(place, path []string, own bool) []string {
	if n := p.byPath[folderKey(path)]; n != nil {
		switch {
		case n.fixed != nil:
			return slices.Clip(n.fixed)
		case n.moved != nil && !own:
			return slices.Clip(n.moved)
		case n.aside != nil:
			return slices.Clip(n.aside)
		}
	}
	if len(path) == 2 && path[0] == "INBOX" {
		// As with RENAME (RFC 9051 section 6.3.6), children do not follow INBOX.
		place = []string{"INBOX"}
	}
	level, _ := p.namer.level(path[len(path)-1])
	return append(place, level)
}

// seat returns a folder's own place as the target names it.
func (p *folderPlanner) seat(n *folderNode) []string {
	path, _ := p.namer.path(p.place(n.path, true))
	return path
}

// takeSeats notes the own places of all folders, and of their parents.
func (p *folderPlanner) takeSeats() {
	p.seats = make(map[string]int)
	p.owners = make(map[string]int)
	counted := make(map[string]bool)
	for _, n := range p.nodes {
		if !n.takesPart() {
			continue
		}
		seat := p.seat(n)
		for i := range seat {
			p.seats[folderKey(seat[:i+1])]++
			if n.fixed != nil && i < len(seat)-1 {
				p.owners[folderKey(seat[:i+1])]++
			}
		}
		var place []string
		for i := range n.path {
			path := n.path[:i+1]
			place = p.below(place, path, true)
			if key := folderKey(path); !counted[key] {
				counted[key] = true
				owned, _ := p.namer.path(place)
				p.owners[folderKey(owned)]++
			}
		}
	}
}

// avoidViews gives another place to folders whose own is a view on the target,
// where nothing can be stored, or has been another folder's since an earlier
// pass (that was renamed on the source since), and, when roles are given, to those whose parent
// or role has taken them to one.
func (p *folderPlanner) avoidViews(own bool) {
	for _, n := range p.nodes {
		if !n.takesPart() || n.box.NoSelect || n.fixed != nil || n.moved != nil || own && n.view() {
			continue
		}
		levels := slices.Clone(p.place(n.path, own))
		view, _ := p.namer.path(levels)
		reason := p.blocked(view)
		if reason == "" {
			continue
		}
		last := levels[len(levels)-1]
		free := view
		for i := 2; p.blocked(free) != "" || p.seats[folderKey(free)] > 0; i++ {
			levels[len(levels)-1] = folderShorten(fmt.Sprintf("%s_%d", last, i), folderLevelLimit)
			free, _ = p.namer.path(levels)
		}
		p.seats[folderKey(free)]++
		n.wrong = append(n.wrong, fmt.Sprintf("%q is %s there", folderShow(view), reason))
		if own {
			n.aside = levels
		} else {
			n.moved = levels
		}
	}
}

// blocked returns what keeps a place from being given to a folder that has none
// yet, nothing where it is free.
func (p *folderPlanner) blocked(path []string) string {
	if p.isView(path) {
		return "a view of other mailboxes"
	}
	if n := p.held[folderKey(path)]; n != nil {
		return fmt.Sprintf("the copy of %q", folderShow(n.path))
	}
	return ""
}

func (p *folderPlanner) isView(path []string) bool {
	t := p.target[folderKey(path)]
	return t != nil && !t.IsInbox() && (t.Role == mailhaul.RoleAll || t.Role == mailhaul.RoleFlagged)
}

// warn adds a sentence for the report.
func (p *folderPlanner) warn(format string, args ...any) {
	p.warnings = append(p.warnings, fmt.Sprintf(format, args...))
}

// finish turns the nodes into the plan.
func (p *folderPlanner) finish() (*folderPlan, error) {
	plan := &folderPlan{}
	var clashes []error
	taken := make(map[string]*folderNode)
	folded := make(map[string]*folderNode)
	var containers []*folderNode
	for _, n := range p.nodes {
		if n.skip != "" {
			continue
		}
		if n.box.NoSelect {
			containers = append(containers, n)
			continue
		}
		path, _ := p.namer.path(p.place(n.path, false))
		if other := taken[folderKey(path)]; other != nil {
			clashes = append(clashes, fmt.Errorf("%q and %q would both become %q",
				folderShow(other.path), folderShow(n.path), folderShow(path)))
			continue
		}
		taken[folderKey(path)] = n
		if other := folded[folderFold(folderKey(path))]; other != nil {
			p.warn("mailboxes %q and %q differ only in case on the target: some servers, such as Exchange, take them for one",
				folderShow(other.path), folderShow(n.path))
		}
		folded[folderFold(folderKey(path))] = n
	}
	if len(clashes) > 0 {
		return nil, folderError(clashes, "give one of them another name with -rename, or leave it out with -exclude")
	}
	for _, n := range containers {
		path, _ := p.namer.path(p.place(n.path, false))
		if taken[folderKey(path)] != nil {
			n.skip = "it holds no messages, and another mailbox has its name"
			continue
		}
		taken[folderKey(path)] = n
	}
	for _, n := range p.nodes {
		if n.skip != "" {
			plan.Skipped = append(plan.Skipped, folderSkip{Mailbox: n.box, Reason: n.skip})
			continue
		}
		plan.Moves = append(plan.Moves, p.move(n))
	}
	plan.Warnings = p.warnings
	return plan, nil
}

// move is the plan's entry for a folder.
func (p *folderPlanner) move(n *folderNode) folderMove {
	levels := p.place(n.path, false)
	path, wrong := p.namer.path(levels)
	wrong = append(append(p.wrong(n), wrong...), n.wrong...)
	if len(wrong) > 0 && !n.box.NoSelect {
		p.warn("mailbox %q becomes %q on the target: %s", folderShow(n.path), folderShow(path), strings.Join(wrong, "; "))
	}
	m := folderMove{
		Source:     n.box,
		TargetPath: path,
		Role:       n.won,
		View:       n.view(),
		Container:  n.box.NoSelect,
	}
	if n.inbox() && folderKey(path) == "INBOX" {
		m.Role = mailhaul.RoleInbox
	}
	if t := p.target[folderKey(path)]; t != nil && (!t.NoSelect || m.Container) {
		box := *t
		m.Target = &box
	}
	// What does not exist cannot be subscribed everywhere.
	m.Subscribe = n.box.Subscribed && (m.Target == nil && !m.Container || m.Target != nil && !m.Target.Subscribed)
	return m
}

// wrong returns what is wrong with the names of a folder's levels, but for those
// that are reported with a folder above.
func (p *folderPlanner) wrong(n *folderNode) (wrong []string) {
	for i := len(n.path); i > 0; i-- {
		at := p.byPath[folderKey(n.path[:i])]
		if at != nil && (at.moved != nil || at.fixed != nil || at != n && at.skip == "" && !at.box.NoSelect) {
			break
		}
		_, level := p.namer.level(n.path[i-1])
		for _, reason := range level {
			if !slices.Contains(wrong, reason) {
				wrong = append(wrong, reason)
			}
		}
	}
	return wrong
}

// folderError is a plan that cannot be made.
func folderError(causes []error, hint string) error {
	const most = 5
	if n := len(causes) - most; n > 0 {
		causes = append(causes[:most:most], fmt.Errorf("and %d more", n))
	}
	texts := make([]string, len(causes))
	for i, c := range causes {
		texts[i] = c.Error()
	}
	return &mailhaul.Error{
		Op:    "plan the mailboxes",
		Kind:  mailhaul.Permanent,
		Scope: mailhaul.ScopeAccount,
		Hint:  hint,
		Err:   fmt.Errorf("%w: %s", ErrFolders, strings.Join(texts, ", ")),
	}
}

// folderInboxed returns a path in which INBOX, at the front, is in capitals.
func folderInboxed(path []string) []string {
	if len(path) > 0 && path[0] != "INBOX" && strings.EqualFold(path[0], "INBOX") {
		path = slices.Clone(path)
		path[0] = "INBOX"
	}
	return path
}

// folderLess orders false before true.
func folderLess(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
