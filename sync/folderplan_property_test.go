package sync

// What holds of every folder plan, on hierarchies made up at random.

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mailhaul/mailhaul"
)

func folderNamings() (out []mailhaul.Naming) {
	for _, d := range []string{"/", ".", `\`, ""} {
		for _, p := range []string{"", "INBOX."} {
			out = append(out, mailhaul.Naming{Delimiter: d, Prefix: p})
		}
	}
	return out
}

// folderLevels are levels that get into one another's way.
var folderLevels = []string{
	"INBOX", "inbox", "Sent", "Sent Items", "Gesendet", "Sent Messages", "Drafts", "Entwürfe", "Trash", "Papierkorb", "Junk", "Spam",
	"Archive", "Archiv", "All", "All Mail", "Starred", "[Gmail]", "[Google Mail]", "Work", "work", "2024", "a.b", "a_b", "a/b", `a\b`,
	"", " ", ".", "..", " x ", "x\x00y", "Entw\xfcrfe", "日本語", strings.Repeat("long", 70), "virtual", "Important",
}

var folderSomeRoles = []mailhaul.Role{
	"", "", "", "", mailhaul.RoleSent, mailhaul.RoleDrafts, mailhaul.RoleTrash, mailhaul.RoleJunk, mailhaul.RoleArchive,
	mailhaul.RoleAll, mailhaul.RoleFlagged, mailhaul.RoleInbox,
}

func folderRandomListing(rng *rand.Rand, naming mailhaul.Naming, canonical bool) *mailhaul.Listing {
	l := &mailhaul.Listing{Naming: naming}
	levels := folderLevels
	if rng.IntN(2) == 0 {
		levels = folderLevels[:22] // ordinary ones
	}
	seen := map[string]bool{}
	for range rng.IntN(12) {
		var path []string
		if len(l.Mailboxes) > 0 && rng.IntN(3) == 0 {
			path = slices.Clone(l.Mailboxes[rng.IntN(len(l.Mailboxes))].Path)
		}
		for range 1 + rng.IntN(2) {
			level := levels[rng.IntN(len(levels))]
			if canonical && utf8.ValidString(level) { // a server lists what it allows
				level, _ = folderNamer{naming: naming}.level(level)
			}
			path = append(path, level)
		}
		path = folderInboxed(path)
		if canonical {
			if naming.Delimiter == "" {
				path = path[:1]
			}
			path = folderNamer{naming: naming}.canonical(path)
		}
		if seen[folderKey(path)] {
			continue
		}
		seen[folderKey(path)] = true
		l.Mailboxes = append(l.Mailboxes, mailhaul.Mailbox{
			Path: path, Name: naming.Join(path), Wire: fmt.Sprint(len(l.Mailboxes)),
			Role:       folderSomeRoles[rng.IntN(len(folderSomeRoles))],
			NoSelect:   rng.IntN(6) == 0,
			Subscribed: rng.IntN(2) == 0,
			Shared:     rng.IntN(15) == 0,
		})
		if m := &l.Mailboxes[len(l.Mailboxes)-1]; canonical && m.NoSelect {
			m.Role = ""
		}
	}
	return l
}

// folderListingText writes a listing for people.
func folderListingText(l *mailhaul.Listing) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q %q:", l.Naming.Prefix, l.Naming.Delimiter)
	for _, m := range l.Mailboxes {
		fmt.Fprintf(&b, "\n  %.60q %s", m.Path, m.Role)
		if m.NoSelect {
			b.WriteString(" noselect")
		}
		if m.Shared {
			b.WriteString(" shared")
		}
	}
	return b.String()
}

// folderAfter is what the target lists when a plan was carried out: parents are
// made as well, and roles are kept by servers that can be told, or given by
// name by servers that are set up so.
func folderAfter(rng *rand.Rand, target *mailhaul.Listing, plan *folderPlan) *mailhaul.Listing {
	after := &mailhaul.Listing{Naming: target.Naming, Mailboxes: slices.Clone(target.Mailboxes)}
	told, byName, parents := rng.IntN(2) == 0, rng.IntN(2) == 0, rng.IntN(3)
	has := map[string]int{}
	for i, m := range after.Mailboxes {
		has[folderKey(m.Path)] = i + 1
	}
	add := func(path []string, role mailhaul.Role, noselect bool) {
		if i := has[folderKey(path)]; i > 0 {
			if !noselect {
				after.Mailboxes[i-1].NoSelect = false
			}
			return
		}
		m := mailhaul.Mailbox{Path: path, Name: after.Naming.Join(path), NoSelect: noselect}
		if told && role != mailhaul.RoleInbox {
			m.Role = role
		}
		if named, ok := folderRoleByName(path); ok && byName && m.Role == "" && named.role != mailhaul.RoleAll && named.role != mailhaul.RoleFlagged {
			m.Role = named.role
		}
		after.Mailboxes = append(after.Mailboxes, m)
		has[folderKey(path)] = len(after.Mailboxes)
	}
	for _, m := range plan.Moves {
		if m.Container {
			continue
		}
		for i := range m.TargetPath[:len(m.TargetPath)-1] {
			// A server that did without the parent of an older folder goes on to.
			parent := m.TargetPath[:i+1]
			if parents > 0 && !slices.ContainsFunc(target.Mailboxes, func(o mailhaul.Mailbox) bool {
				return len(o.Path) > i && slices.Equal(o.Path[:i+1], parent)
			}) {
				add(parent, "", parents == 2)
			}
		}
		add(m.TargetPath, m.Role, false)
	}
	return after
}

func folderRandomOptions(rng *rand.Rand) folderOptions {
	opts := folderOptions{Shared: rng.IntN(3) == 0}
	pattern := func() string {
		return []string{"*", "**/2024", "Work", "Sent*", `\Junk`, "INBOX", "[Gmail]/**", "?*"}[rng.IntN(8)]
	}
	if rng.IntN(4) == 0 {
		opts.Include = []string{pattern(), pattern()}
	}
	if rng.IntN(4) == 0 {
		opts.Exclude = []string{pattern()}
	}
	if rng.IntN(4) == 0 {
		from, to := folderLevels[rng.IntN(len(folderLevels))], []string{folderLevels[rng.IntN(len(folderLevels))], "new"}
		if rng.IntN(2) == 0 {
			to = to[:1]
		}
		opts.Rename = func(path []string) []string {
			if path[len(path)-1] == from {
				return to
			}
			return path
		}
	}
	return opts
}

func checkFolderPlan(t *testing.T, source, target *mailhaul.Listing, opts folderOptions, plan *folderPlan) {
	t.Helper()
	fail := func(format string, args ...any) {
		t.Helper()
		t.Fatalf("%s\nsource %s\ntarget %s\nplan\n  %s", fmt.Sprintf(format, args...), folderListingText(source), folderListingText(target), strings.Join(folderPlanText(plan), "\n  "))
	}
	// Each folder is in the plan once.
	count := map[string]int{}
	for _, m := range plan.Moves {
		count[m.Source.Wire]++
	}
	for _, s := range plan.Skipped {
		count[s.Mailbox.Wire]++
		if s.Reason == "" {
			fail("%q is left out for no reason", s.Mailbox.Path)
		}
	}
	for _, m := range source.Mailboxes {
		if count[m.Wire] != 1 {
			fail("%q is in the plan %d times", m.Path, count[m.Wire])
		}
	}

	namer := folderNamer{naming: target.Naming}
	places, roles := map[string]bool{}, map[mailhaul.Role]bool{}
	for i, m := range plan.Moves {
		if key := target.Naming.Join(m.TargetPath); places[key] {
			fail("two folders go to %q", m.TargetPath)
		} else {
			places[key] = true
		}
		if m.Role != "" && roles[m.Role] {
			fail("two folders have the role %s", m.Role)
		}
		roles[m.Role] = true
		if !slices.Equal(namer.canonical(m.TargetPath), m.TargetPath) {
			fail("%q is not how the target lists it", m.TargetPath)
		}
		if m.Target != nil && !slices.Equal(m.Target.Path, m.TargetPath) {
			fail("%q is not %q", m.Target.Path, m.TargetPath)
		}
		if m.Target == nil {
			for _, level := range m.TargetPath {
				fresh := !slices.ContainsFunc(target.Mailboxes, func(b mailhaul.Mailbox) bool { return slices.Contains(b.Path, level) })
				if fresh && (level == "" || !utf8.ValidString(level) || strings.ContainsAny(level, "\x00\r\n") || folderOctets(level) > folderLevelLimit ||
					target.Naming.Delimiter != "" && strings.Contains(level, target.Naming.Delimiter)) {
					fail("the level %q cannot be created", level)
				}
			}
		}
		if m.View && i+1 < len(plan.Moves) && !plan.Moves[i+1].View {
			fail("a view is not at the end")
		}
		if folderShow(folderInboxed(m.Source.Path)) == "INBOX" && (i != 0 || opts.Rename == nil && folderShow(m.TargetPath) != "INBOX") {
			fail("INBOX is not INBOX, or not first")
		}
		if !m.Container && m.Target != nil && (m.Target.Role == mailhaul.RoleAll || m.Target.Role == mailhaul.RoleFlagged) &&
			!m.View && !m.Target.IsInbox() && opts.Rename == nil {
			fail("%q goes to a view", m.Source.Path)
		}
	}
}

func tryFolderPlan(t *testing.T, rng *rand.Rand) (planned bool) {
	t.Helper()
	namings := folderNamings()
	source := folderRandomListing(rng, namings[rng.IntN(len(namings))], false)
	target := folderRandomListing(rng, namings[rng.IntN(len(namings))], true)
	opts := folderRandomOptions(rng)
	plan, err := planFolders(source, target, opts)
	if err != nil {
		return false
	}
	checkFolderPlan(t, source, target, opts, plan)

	// The order of the listings does not matter.
	shuffled := func(l *mailhaul.Listing) *mailhaul.Listing {
		s := &mailhaul.Listing{Naming: l.Naming, Mailboxes: slices.Clone(l.Mailboxes)}
		rng.Shuffle(len(s.Mailboxes), func(i, j int) { s.Mailboxes[i], s.Mailboxes[j] = s.Mailboxes[j], s.Mailboxes[i] })
		return s
	}
	other, err := planFolders(shuffled(source), shuffled(target), opts)
	if err != nil || !slices.Equal(folderPlanText(other), folderPlanText(plan)) {
		t.Fatalf("in another order the plan is another (%v)\nsource %s\ntarget %s\nplan\n  %s\nother\n  %s", err, folderListingText(source), folderListingText(target),
			strings.Join(folderPlanText(plan), "\n  "), strings.Join(folderPlanText(other), "\n  "))
	}

	// The next plan leads each folder to where it went.
	after := folderAfter(rng, target, plan)
	again, err := planFolders(source, after, opts)
	if err != nil {
		t.Fatalf("the next plan fails: %v\nsource %s\ntarget %s\nplan\n  %s", err, folderListingText(source), folderListingText(target), strings.Join(folderPlanText(plan), "\n  "))
	}
	for i, m := range plan.Moves {
		if m.Container {
			continue
		}
		j := slices.IndexFunc(again.Moves, func(o folderMove) bool { return o.Source.Wire == m.Source.Wire })
		if j < 0 || !slices.Equal(again.Moves[j].TargetPath, m.TargetPath) || again.Moves[j].Target == nil {
			t.Fatalf("entry %d goes elsewhere in the next plan\nsource %s\ntarget %s\nafter %s\nplan\n  %s\nnext\n  %s", i, folderListingText(source), folderListingText(target), folderListingText(after),
				strings.Join(folderPlanText(plan), "\n  "), strings.Join(folderPlanText(again), "\n  "))
		}
	}
	return true
}

func TestFolderPlanProperties(t *testing.T) {
	planned := 0
	const tries = 4_000
	for seed := range uint64(tries) {
		if tryFolderPlan(t, rand.New(rand.NewPCG(seed, 3))) {
			planned++
		}
	}
	if planned < tries/2 {
		t.Errorf("only %d of %d accounts could be planned", planned, tries)
	}
}

// folderSource draws its numbers from the fuzzer's octets, and goes on without
// repeating itself when they have run out.
type folderSource struct {
	octets []byte
	drawn  uint64
}

func (s *folderSource) Uint64() uint64 {
	s.drawn++
	v := s.drawn * 0x9e3779b97f4a7c15
	if len(s.octets) > 0 {
		v ^= uint64(s.octets[0]) << 56
		s.octets = s.octets[1:]
	}
	return v
}

func FuzzFolderPlan(f *testing.F) {
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 4))
		octets := make([]byte, 200)
		for i := range octets {
			octets[i] = byte(rng.Uint32())
		}
		f.Add(octets)
	}
	f.Fuzz(func(t *testing.T, octets []byte) {
		tryFolderPlan(t, rand.New(&folderSource{octets: octets}))
	})
}

// The matrix of separators and prefixes: an ordinary account goes there and
// back, and is what it was.
func TestFolderPlanThereAndBack(t *testing.T) {
	paths := []string{"INBOX", "Work", "Work/2024", "Work/2024/Q1", "Sent", "Größe", "a b"}
	for _, from := range folderNamings() {
		for _, to := range folderNamings() {
			if from.Delimiter == "" || to.Delimiter == "" {
				continue
			}
			source := folderListing(from, paths...)
			plan, err := planFolders(source, folderListing(to), folderOptions{})
			if err != nil || len(plan.Warnings) > 0 {
				t.Fatalf("%v to %v: %v %q", from, to, err, plan.Warnings)
			}
			there := &mailhaul.Listing{Naming: to}
			for _, m := range plan.Moves {
				name := to.Join(m.TargetPath)
				there.Mailboxes = append(there.Mailboxes, mailhaul.Mailbox{Path: to.Split(name), Name: name, Wire: name})
			}
			back, err := planFolders(there, source, folderOptions{})
			if err != nil || len(back.Moves) != len(paths) {
				t.Fatalf("%v to %v and back: %v", from, to, err)
			}
			for _, m := range back.Moves {
				if m.Target == nil {
					t.Errorf("%v to %v and back: %q is %q", from, to, m.Source.Name, m.TargetPath)
				}
			}
		}
	}
}
