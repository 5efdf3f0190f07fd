package sync

// Tests of folder patterns.

import (
	"strings"
	"testing"
	"time"

	"github.com/mailhaul/mailhaul"
)

func TestFolderPattern(t *testing.T) {
	for pattern, c := range map[string]struct{ yes, no []string }{
		"Work":          {yes: []string{"Work", "Work/2024", "Work/2024/May"}, no: []string{"work", "Work2", "My/Work", "INBOX/Work"}},
		"Work/*":        {yes: []string{"Work/2024", "Work/2024/May"}, no: []string{"Work"}},
		"Work/**":       {yes: []string{"Work/2024", "Work/2024/May"}, no: []string{"Work", "Workshop/x"}},
		"Work/*/May":    {yes: []string{"Work/2024/May", "Work/2024/May/x"}, no: []string{"Work/May", "Work/2024/a/May"}},
		"Work/**/May":   {yes: []string{"Work/2024/May", "Work/May", "Work/2024/a/May"}, no: []string{"Work", "Work/2024/DisMay"}},
		"**/Old":        {yes: []string{"Old", "a/Old", "a/b/Old", "INBOX/Old"}, no: []string{"VeryOld", "a/VeryOld"}},
		"**Old":         {yes: []string{"Old", "a/VeryOld"}, no: []string{"Older/b"}},
		"*":             {yes: []string{"INBOX", "a", "a/b", ""}, no: []string{"INBOX/x"}},
		"**":            {yes: []string{"INBOX", "INBOX/x", "a", "a/b/c", ""}},
		"?":             {yes: []string{"a", "ü", "a/bc"}, no: []string{"ab", "", "INBOX"}},
		"20??":          {yes: []string{"2024"}, no: []string{"204", "20/4"}},
		"INBOX":         {yes: []string{"INBOX"}, no: []string{"INBOX/x"}},
		"inbox":         {yes: []string{"INBOX"}, no: []string{"INBOX/x", "inbox2"}},
		"Inbox/x":       {yes: []string{"INBOX/x", "INBOX/x/y"}, no: []string{"INBOX", "INBOX/X"}},
		"inbox/**":      {yes: []string{"INBOX/x", "INBOX/x/y"}, no: []string{"INBOX"}},
		"[Gmail]/Spam":  {yes: []string{"[Gmail]/Spam"}, no: []string{"G/Spam"}},
		`100\*`:         {yes: []string{"100*"}, no: []string{"1000", `100\*`}},
		`a\b`:           {yes: []string{`a\b`}, no: []string{"ab"}},
		`\?\\`:          {yes: []string{`?\`}, no: []string{`a\`}},
		`\`:             {yes: []string{`\`}},
		"":              {yes: []string{""}, no: []string{"a", "INBOX"}},
		"a/":            {no: []string{"a", "a/b"}},
		"*.d":           {yes: []string{"x.d", ".d", "x.d/y"}, no: []string{"x/y.d", "x.de"}},
		"*a*a*a*":       {yes: []string{"banana"}, no: []string{"bana"}},
		"Grüße?":        {yes: []string{"Grüße!"}, no: []string{"Grüße"}},
		"Entw\xfcrfe":   {yes: []string{"Entw\xfcrfe"}},
		`\inboxes`:      {yes: []string{`\inboxes`}, no: []string{"INBOX"}},
		"Work/2024/May": {yes: []string{"Work/2024/May"}, no: []string{"Work/2024", "Work"}},
	} {
		p := folderCompile(pattern)
		for _, name := range c.no {
			if p.matches(strings.Split(name, "/"), "") {
				t.Errorf("%q takes in %q", pattern, name)
			}
		}
		if p.used {
			t.Errorf("%q counts as used", pattern)
		}
		for _, name := range c.yes {
			if !p.matches(strings.Split(name, "/"), "") {
				t.Errorf("%q does not take in %q", pattern, name)
			}
		}
		if !p.used && len(c.yes) > 0 {
			t.Errorf("%q does not count as used", pattern)
		}
	}
}

func TestFolderPatternRole(t *testing.T) {
	p := folderCompile(`\junk`)
	if !p.matches([]string{"Unfug"}, mailhaul.RoleJunk) || p.matches([]string{`\junk`}, mailhaul.RoleSent) {
		t.Error("a role does not choose the folders that have it")
	}
}

// A pattern that takes other matchers an age.
func TestFolderPatternIsLinear(t *testing.T) {
	p := folderCompile(strings.Repeat("**/*a", 200) + "b")
	start := time.Now()
	if p.matches(strings.Split(strings.Repeat("a/", 2000), "/"), "") {
		t.Error("matches what it should not")
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("took %v", d)
	}
}
