package sync

// Tests of the folder plan on accounts as they are.

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailhaul/mailhaul"
)

var (
	folderSlash = mailhaul.Naming{Delimiter: "/"}
	folderDot   = mailhaul.Naming{Delimiter: "."}
	folderInbox = mailhaul.Naming{Delimiter: ".", Prefix: "INBOX."}
	folderFlat  = mailhaul.Naming{}
)

// folderListing makes a listing of entries such as `Sent Items|\Sent,sub`: the
// levels, joined by "/", then a role and what else is said of the folder.
func folderListing(naming mailhaul.Naming, entries ...string) *mailhaul.Listing {
	l := &mailhaul.Listing{Naming: naming}
	for _, e := range entries {
		name, said, _ := strings.Cut(e, "|")
		m := mailhaul.Mailbox{Path: strings.Split(name, "/")}
		for w := range strings.SplitSeq(said, ",") {
			switch w {
			case "noselect":
				m.NoSelect = true
			case "sub":
				m.Subscribed = true
			case "shared":
				m.Shared = true
			case "":
			default:
				m.Role = mailhaul.Role(w)
			}
		}
		m.Name = naming.Join(m.Path)
		m.Wire = m.Name
		l.Mailboxes = append(l.Mailboxes, m)
	}
	return l
}

// folderPlanText writes a plan the way the tests expect it: "=" leads to a
// folder that exists, ">" to one that is to be created.
func folderPlanText(p *folderPlan) (lines []string) {
	for _, m := range p.Moves {
		arrow := ">"
		if m.Target != nil {
			arrow = "="
		}
		line := folderShow(m.Source.Path) + " " + arrow + " " + folderShow(m.TargetPath)
		if m.Role != "" {
			line += " " + string(m.Role)
		}
		if m.Subscribe {
			line += " sub"
		}
		if m.View {
			line += " view"
		}
		if m.Container {
			line += " container"
		}
		lines = append(lines, line)
	}
	for _, s := range p.Skipped {
		lines = append(lines, folderShow(s.Mailbox.Path)+" - "+s.Reason)
	}
	return lines
}

func folderRenames(pairs ...string) func([]string) []string {
	return func(path []string) []string {
		for i := 0; i < len(pairs); i += 2 {
			if folderShow(path) == pairs[i] {
				return strings.Split(pairs[i+1], "/")
			}
		}
		return path
	}
}

type folderCase struct {
	source, target *mailhaul.Listing
	opts           folderOptions
	want           []string // of folderPlanText
	warn           []string // what each warning contains
	err            string   // what the error contains
}

func runFolderCases(t *testing.T, cases map[string]folderCase) {
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			plan, err := planFolders(c.source, c.target, c.opts)
			if c.err != "" {
				var e *mailhaul.Error
				if !errors.As(err, &e) || e.Kind != mailhaul.Permanent || e.Scope != mailhaul.ScopeAccount {
					t.Fatalf("got error %#v, want a permanent one of the account", err)
				}
				if !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), "-rename") || !strings.Contains(err.Error(), "-exclude") {
					t.Errorf("got error %q, want one with %q and what to do", err, c.err)
				}
				if plan != nil {
					t.Error("with the error comes a plan")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := folderPlanText(plan); !slices.Equal(got, c.want) {
				t.Errorf("got plan\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(c.want, "\n  "))
			}
			if len(plan.Warnings) != len(c.warn) {
				t.Fatalf("got warnings %q, want %d", plan.Warnings, len(c.warn))
			}
			for i, w := range c.warn {
				if !strings.Contains(plan.Warnings[i], w) {
					t.Errorf("got warning %q, want one with %q", plan.Warnings[i], w)
				}
			}
		})
	}
}

func TestFolderPlanHierarchy(t *testing.T) {
	runFolderCases(t, map[string]folderCase{
		"nothing": {source: folderListing(folderSlash), target: folderListing(folderSlash)},
		"INBOX. to /": {
			source: folderListing(folderInbox, "Work/2024", "INBOX", "Work", "A"),
			target: folderListing(folderSlash, "INBOX", "Work"),
			want:   []string{`INBOX = INBOX INBOX`, `A > A`, `Work = Work`, `Work/2024 > Work/2024`},
		},
		"/ to INBOX.": {
			source: folderListing(folderSlash, "INBOX", "INBOX/Lists", "Work", "Work/2024"),
			target: folderListing(folderInbox, "INBOX", "Work"),
			want:   []string{`INBOX = INBOX INBOX`, `INBOX/Lists > Lists`, `Work = Work`, `Work/2024 > Work/2024`},
		},
		"INBOX in any case": {
			source: folderListing(folderSlash, "Inbox", "inBox/A"),
			target: folderListing(folderSlash, "inbox"),
			want:   []string{`Inbox = INBOX INBOX`, `inBox/A > INBOX/A`},
		},
		"INBOX listed twice": {
			source: folderListing(folderSlash, "Inbox", "INBOX"),
			target: folderListing(folderSlash, "INBOX"),
			want:   []string{`Inbox = INBOX INBOX`, `INBOX - the source lists it twice`},
		},
		"two mailboxes that both look like INBOX": {
			source: &mailhaul.Listing{Mailboxes: []mailhaul.Mailbox{{Path: []string{"INBOX"}, Wire: "INBOX"}, {Path: []string{"INBOX"}, Wire: "x"}}},
			target: folderListing(folderSlash),
			err:    `"INBOX" and "INBOX" would both become "INBOX"`,
		},
		"INBOX that is not listed": {
			source: folderListing(folderSlash, "INBOX"),
			target: folderListing(folderSlash),
			want:   []string{`INBOX > INBOX INBOX`},
		},
		"the target's separator in a name": {
			source: folderListing(folderSlash, "INBOX", "v1.2/notes.txt"),
			target: folderListing(folderDot, "INBOX"),
			want:   []string{`INBOX = INBOX INBOX`, `v1.2/notes.txt > v1_2/notes_txt`},
			warn:   []string{`"v1.2/notes.txt" becomes "v1_2/notes_txt" on the target: "." separates levels there`},
		},
		"a flat target": {
			source: folderListing(folderSlash, "INBOX", "A", "A/B", "A/B/C"),
			target: folderListing(folderFlat, "INBOX", "A.B"),
			want:   []string{`INBOX = INBOX INBOX`, `A > A`, `A/B = A.B`, `A/B/C > A.B.C`},
		},
		"a flat source": {
			source: folderListing(folderFlat, "INBOX", "A.B"),
			target: folderListing(folderSlash, "INBOX"),
			want:   []string{`INBOX = INBOX INBOX`, `A.B > A.B`},
		},
		"subscriptions": {
			source: folderListing(folderSlash, "INBOX|sub", "A|sub", "B|sub", "C", "D|sub,noselect"),
			target: folderListing(folderSlash, "INBOX|sub", "A"),
			want:   []string{`INBOX = INBOX INBOX`, `A = A sub`, `B > B sub`, `C > C`, `D > D container`},
		},
		"containers": {
			source: folderListing(folderSlash, "A|noselect", "A/B", "C|noselect", "C/D"),
			target: folderListing(folderSlash, "A|noselect", "C"),
			want:   []string{`A = A container`, `A/B > A/B`, `C = C container`, `C/D > C/D`},
		},
		"a name that holds only folders on the target": {
			source: folderListing(folderSlash, "A", "A/B"),
			target: folderListing(folderSlash, "A|noselect", "A/B"),
			want:   []string{`A > A`, `A/B = A/B`},
		},
		"shared folders": {
			source: folderListing(folderSlash, "INBOX", "user/bob|shared", "Public/News|shared"),
			target: folderListing(folderSlash, "INBOX"),
			want: []string{`INBOX = INBOX INBOX`,
				`Public/News - it is outside the user's personal namespaces`, `user/bob - it is outside the user's personal namespaces`},
		},
		"shared folders wanted": {
			source: folderListing(folderSlash, "INBOX", `user/bob/Sent|shared,\Sent`),
			target: folderListing(folderSlash, "INBOX", `Sent Items|\Sent`),
			opts:   folderOptions{Shared: true},
			want:   []string{`INBOX = INBOX INBOX`, `user/bob/Sent > user/bob/Sent`},
		},
		"order": {
			source: folderListing(folderSlash, "b", `All|\All`, "a/b", "A", "a b", "INBOX", "a"),
			target: folderListing(folderSlash, "INBOX"),
			want:   []string{`INBOX = INBOX INBOX`, `A > A`, `a > a`, `a/b > a/b`, `a b > a b`, `b > b`, `All > All \Archive view`},
			warn:   []string{`"A" and "a" differ only in case`},
		},
	})
}

func TestFolderPlanNames(t *testing.T) {
	long := strings.Repeat("ü", 200)
	runFolderCases(t, map[string]folderCase{
		"control characters": {
			source: folderListing(folderSlash, "a\tb\x7f\u0085\u2028c"),
			target: folderListing(folderSlash),
			want:   []string{"a\tb\x7f\u0085\u2028c > a_b___c"},
			warn:   []string{"control characters"},
		},
		"undecodable": {
			source: folderListing(folderSlash, "Entw\xfcrfe/x\x90"),
			target: folderListing(folderSlash),
			want:   []string{"Entw\xfcrfe/x\x90 > Entwürfe/x_"},
			warn:   []string{"cannot be decoded; it has control characters"},
		},
		"what is wrong is said once": {
			source: folderListing(folderSlash, "a.b", "a.b/c", "d.e|noselect", "d.e/f", "d.e/f/g"),
			target: folderListing(folderDot),
			want:   []string{"a.b > a_b", "a.b/c > a_b/c", "d.e > d_e container", "d.e/f > d_e/f", "d.e/f/g > d_e/f/g"},
			warn:   []string{`"a.b" becomes "a_b"`, `"d.e/f" becomes "d_e/f"`},
		},
		"empty levels": {
			source: folderListing(folderSlash, "a//b", "c/ "),
			target: folderListing(folderSlash),
			want:   []string{"a//b > a/_/b", "c/  > c/_"},
			warn:   []string{"a level is empty", "a level is empty"},
		},
		"directories": {
			source: folderListing(folderSlash, "../a", "."),
			target: folderListing(folderSlash),
			want:   []string{". > _", "../a > __/a"},
			warn:   []string{"it means a directory", "it means a directory"},
		},
		"blanks stay": {
			source: folderListing(folderSlash, " a ", "*%\"\\^&"),
			target: folderListing(folderSlash),
			want:   []string{" a  >  a ", "*%\"\\^& > *%\"\\^&"},
		},
		"but not at Gmail": {
			source: folderListing(folderSlash, " a /b\"^ "),
			target: folderListing(folderSlash, `[Gmail]/All Mail|\All`),
			want:   []string{" a /b\"^  > a/b__"},
			warn:   []string{"Gmail does not keep these characters; Gmail does not keep blanks"},
		},
		"long": {
			source: folderListing(folderSlash, long),
			target: folderListing(folderSlash),
			want:   []string{long + " > " + strings.Repeat("ü", 91) + folderMark(long)},
			warn:   []string{"longer than 255 octets"},
		},
		"no name": {
			source: &mailhaul.Listing{Mailboxes: []mailhaul.Mailbox{{Wire: "x"}}},
			target: folderListing(folderSlash),
			want:   []string{" - it has no name"},
		},

		"two names become one": {
			source: folderListing(folderSlash, "a.b", "a_b"),
			target: folderListing(folderDot),
			err:    `"a.b" and "a_b" would both become "a_b"`,
		},
		"INBOX/x and x where all is below INBOX": {
			source: folderListing(folderSlash, "INBOX", "INBOX/x", "x"),
			target: folderListing(folderInbox, "INBOX"),
			err:    `"INBOX/x" and "x" would both become "x"`,
		},
		"levels joined": {
			source: folderListing(folderSlash, "a.b", "a", "a/b"),
			target: folderListing(folderFlat),
			err:    `"a/b" and "a.b" would both become "a.b"`,
		},
		"many": {
			source: folderListing(folderSlash, "a.1", "a_1", "a.2", "a_2", "a.3", "a_3", "a.4", "a_4", "a.5", "a_5", "a.6", "a_6", "a.7", "a_7"),
			target: folderListing(folderDot),
			err:    `and 2 more`,
		},
		"one of them is excluded": {
			source: folderListing(folderSlash, "a.b", "a_b"),
			target: folderListing(folderDot),
			opts:   folderOptions{Exclude: []string{"a_b"}},
			want:   []string{"a.b > a_b", "a_b - it is excluded"},
			warn:   []string{`"a.b" becomes "a_b"`},
		},
		"one of them is renamed": {
			source: folderListing(folderSlash, "a.b", "a_b"),
			target: folderListing(folderDot),
			opts:   folderOptions{Rename: folderRenames("a_b", "c")},
			want:   []string{"a.b > a_b", "a_b > c"},
			warn:   []string{`"a.b" becomes "a_b"`},
		},
		"one of them holds no messages": {
			source: folderListing(folderSlash, "a.b|noselect", "a.b/c", "a_b"),
			target: folderListing(folderDot),
			want:   []string{"a.b/c > a_b/c", "a_b > a_b", "a.b - it holds no messages, and another mailbox has its name"},
			warn:   []string{`"a.b/c" becomes "a_b/c"`},
		},
		"case": {
			source: folderListing(folderSlash, "Büro", "BÜRO"),
			target: folderListing(folderSlash, "BÜRO"),
			want:   []string{"BÜRO = BÜRO", "Büro > Büro"},
			warn:   []string{"differ only in case"},
		},
	})
}

func TestFolderPlanRename(t *testing.T) {
	runFolderCases(t, map[string]folderCase{
		"children follow": {
			source: folderListing(folderSlash, "Old", "Old/x", "Old/x/y"),
			target: folderListing(folderDot, "New/x"),
			opts:   folderOptions{Rename: folderRenames("Old", "New", "Old/x/y", "Deep")},
			want:   []string{"Old > New", "Old/x = New/x", "Old/x/y > Deep"},
		},
		"INBOX's do not": {
			source: folderListing(folderSlash, "INBOX", "INBOX/x"),
			target: folderListing(folderSlash, "INBOX"),
			opts:   folderOptions{Rename: folderRenames("INBOX", "Old/Inbox")},
			want:   []string{"INBOX > Old/Inbox", "INBOX/x > INBOX/x"},
		},
		"to INBOX": {
			source: folderListing(folderSlash, "In"),
			target: folderListing(folderSlash, "INBOX"),
			opts:   folderOptions{Rename: folderRenames("In", "inbox")},
			want:   []string{"In = INBOX"},
		},
		"to INBOX, which comes too": {
			source: folderListing(folderSlash, "In", "INBOX"),
			target: folderListing(folderSlash, "INBOX"),
			opts:   folderOptions{Rename: folderRenames("In", "inbox")},
			err:    `"INBOX" and "In" would both become "INBOX"`,
		},
		"made legal": {
			source: folderListing(folderSlash, "a"),
			target: folderListing(folderDot),
			opts:   folderOptions{Rename: folderRenames("a", "b.c/d")},
			want:   []string{"a > b_c/d"},
			warn:   []string{`"a" becomes "b_c/d"`},
		},
		"to nothing": {
			source: folderListing(folderSlash, "a"),
			target: folderListing(folderSlash),
			opts:   folderOptions{Rename: func([]string) []string { return nil }},
			err:    `"a" is renamed to nothing`,
		},
		"to nothing, but not wanted": {
			source: folderListing(folderSlash, "a", "b"),
			target: folderListing(folderSlash),
			opts:   folderOptions{Rename: func([]string) []string { return nil }, Exclude: []string{"**"}},
			want:   []string{"a - it is excluded", "b - it is excluded"},
		},
		"the hook spoils its argument": {
			source: folderListing(folderSlash, "a/b", "a/c"),
			target: folderListing(folderSlash),
			opts:   folderOptions{Rename: func(p []string) []string { p[0] = "z"; return p }},
			want:   []string{"a/b > z/b", "a/c > z/c"},
		},
		"wins over the role": {
			source: folderListing(folderSlash, `Sent Items|\Sent`, "Sent Items/2024"),
			target: folderListing(folderSlash, `Sent|\Sent`),
			opts:   folderOptions{Rename: folderRenames("Sent Items", "Mine")},
			want:   []string{"Sent Items > Mine", "Sent Items/2024 > Mine/2024"},
		},
		"keeps the role where it is free": {
			source: folderListing(folderSlash, `Sent Items|\Sent`),
			target: folderListing(folderSlash),
			opts:   folderOptions{Rename: folderRenames("Sent Items", "Mine")},
			want:   []string{`Sent Items > Mine \Sent`},
		},
		"leaves the role to another": {
			source: folderListing(folderSlash, `Sent Items|\Sent`, "Gesendet"),
			target: folderListing(folderSlash, `Sent|\Sent`),
			opts:   folderOptions{Rename: folderRenames("Sent Items", "Mine")},
			want:   []string{`Gesendet = Sent \Sent`, `Sent Items > Mine`},
		},
		"an earlier pass": {
			source: folderListing(folderSlash, `Sent Items|\Sent`, "Sent Items/2024", "Gesendet"),
			target: folderListing(folderSlash, `Sent|\Sent`, "Sent Items"),
			opts: folderOptions{Earlier: func(m mailhaul.Mailbox) []string {
				if m.Role == mailhaul.RoleSent {
					return []string{"Sent Items"}
				}
				return nil
			}},
			want: []string{`Gesendet > Gesendet`, `Sent Items = Sent Items`, `Sent Items/2024 > Sent Items/2024`},
		},
		"an earlier pass, and renamed": {
			source: folderListing(folderSlash, "a"),
			target: folderListing(folderSlash, "b", "c"),
			opts: folderOptions{
				Earlier: func(m mailhaul.Mailbox) []string { return []string{"b"} },
				Rename:  folderRenames("a", "c"),
			},
			want: []string{`a = c`},
		},
	})
}

func TestFolderPlanChoice(t *testing.T) {
	source := folderListing(folderSlash, "INBOX", "INBOX/x", "Work", "Work/2024", "Play", `Spam|\Junk`)
	skip := func(reason string, paths ...string) (lines []string) {
		for _, p := range paths {
			lines = append(lines, p+" - "+reason)
		}
		return lines
	}
	runFolderCases(t, map[string]folderCase{
		"include": {
			source: source, target: folderListing(folderSlash),
			opts: folderOptions{Include: []string{"inbox", "Work"}},
			want: append([]string{"INBOX > INBOX INBOX", "Work > Work", "Work/2024 > Work/2024"}, skip("it is not included", "INBOX/x", "Play", "Spam")...),
		},
		"exclude wins": {
			source: source, target: folderListing(folderSlash),
			opts: folderOptions{Include: []string{"Work", "Play"}, Exclude: []string{"Work/**", `\Junk`}},
			want: []string{"Play > Play", "Work > Work", "INBOX - it is not included", "INBOX/x - it is not included",
				"Spam - it is excluded", "Work/2024 - it is excluded"},
		},
		"nothing is found": {
			source: folderListing(folderSlash, "a"), target: folderListing(folderSlash),
			opts: folderOptions{Include: []string{"a", "b*"}, Exclude: []string{"c"}},
			want: []string{"a > a"},
			warn: []string{`no mailbox matches the include pattern "b*"`, `no mailbox matches the exclude pattern "c"`},
		},
		"a parent that is not included": {
			source: folderListing(folderSlash, "a|noselect", "a/b"), target: folderListing(folderSlash),
			opts: folderOptions{Include: []string{"a/b"}},
			want: []string{"a/b > a/b", "a - it is not included"},
		},
		"in steps: the other Sent keeps its place": {
			source: folderListing(folderSlash, "Sent", `Gesendet|\Sent`, "Gesendet/2024"),
			target: folderListing(folderSlash, `Sent Items|\Sent`),
			opts:   folderOptions{Include: []string{"Sent", "Gesendet/2024"}},
			want:   []string{"Gesendet/2024 > Sent Items/2024", "Sent > Sent", "Gesendet - it is not included"},
		},
		"excluded: its role is another's": {
			source: folderListing(folderSlash, "Sent", `Gesendet|\Sent`),
			target: folderListing(folderSlash, `Sent Items|\Sent`),
			opts:   folderOptions{Exclude: []string{"Gesendet"}},
			want:   []string{`Sent = Sent Items \Sent`, "Gesendet - it is excluded"},
		},
	})
}

// The error names what it is about as an operator reads it.
func TestFolderPlanErrorText(t *testing.T) {
	_, err := planFolders(folderListing(folderSlash, "a.b", "a_b"), folderListing(folderDot), folderOptions{})
	const want = `plan the mailboxes: the mailboxes cannot be mapped: "a.b" and "a_b" would both become "a_b"; give one of them another name with -rename, or leave it out with -exclude`
	if fmt.Sprint(err) != want {
		t.Errorf("got %q, want %q", err, want)
	}
}

// A name that a hostile server makes up takes no age.
func TestFolderPlanDeepNames(t *testing.T) {
	deep := strings.TrimSuffix(strings.Repeat("x/", 1000), "/")
	source := folderListing(folderSlash, deep, deep+"/y", "Sent")
	for _, naming := range folderNamings() {
		start := time.Now()
		plan, err := planFolders(source, folderListing(naming), folderOptions{Exclude: []string{"**/z"}})
		if err != nil || len(plan.Moves) != 3 {
			t.Fatalf("%v: got %v", naming, err)
		}
		if d := time.Since(start); d > 10*time.Second {
			t.Errorf("%v: took %v", naming, d)
		}
	}
}
