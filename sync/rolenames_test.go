package sync

// Tests of roles: the tables of names, and who gets a role.

import (
	"testing"

	"github.com/mailhaul/mailhaul"
)

// No name may mean two roles, or stand in a table twice.
func TestFolderRoleNamesAreUnique(t *testing.T) {
	seen := map[string]mailhaul.Role{}
	for _, role := range folderRoles {
		if len(folderRoleNames[role]) < 50 {
			t.Errorf("%s has %d names only", role, len(folderRoleNames[role]))
		}
		for _, name := range folderRoleNames[role] {
			if other, dup := seen[folderFold(name)]; dup {
				t.Errorf("%q is %s and %s", name, other, role)
			}
			seen[folderFold(name)] = role
		}
	}
	if len(folderRoleNames) != len(folderRoles) {
		t.Error("a role has names but is given to no folder")
	}
}

func TestFolderRoleByName(t *testing.T) {
	for path, want := range map[string]mailhaul.Role{
		"Sent": mailhaul.RoleSent, "sent items": mailhaul.RoleSent, "SENT-MAIL": mailhaul.RoleSent,
		"INBOX/Gesendete Objekte":  mailhaul.RoleSent,
		"[Gmail]/Messages envoyés": mailhaul.RoleSent, "[Google Mail]/Bin": mailhaul.RoleTrash,
		"ΑΠΕΣΤΑΛΜΈΝΑ": mailhaul.RoleSent, "Отправленные": mailhaul.RoleSent, "送信済み": mailhaul.RoleSent,
		"Entwürfe": mailhaul.RoleDrafts, "Bozze": mailhaul.RoleDrafts, "草稿箱": mailhaul.RoleDrafts, "טיוטות": mailhaul.RoleDrafts,
		"Corbeille": mailhaul.RoleTrash, "Itens Excluídos": mailhaul.RoleTrash, "휴지통": mailhaul.RoleTrash,
		"Spam": mailhaul.RoleJunk, "Junk-E-Mail": mailhaul.RoleJunk, "Courrier indésirable": mailhaul.RoleJunk, "Lixo Eletrônico": mailhaul.RoleJunk,
		"Archives": mailhaul.RoleArchive, "ARŞİV": mailhaul.RoleArchive, "Arşiv": mailhaul.RoleArchive,
		"[Gmail]/All Mail": mailhaul.RoleAll, "[Gmail]/Suivis": mailhaul.RoleFlagged,
		"All Mail": mailhaul.RoleNone, "Starred": mailhaul.RoleNone,
		"Work/Sent": mailhaul.RoleNone, "INBOX/a/Sent": mailhaul.RoleNone, "Sent/2024": mailhaul.RoleNone,
		"INBOX": mailhaul.RoleNone, "Outbox": mailhaul.RoleNone, "Sentimental": mailhaul.RoleNone, "": mailhaul.RoleNone,
	} {
		named, _ := folderRoleByName(folderListing(folderSlash, path).Mailboxes[0].Path)
		if named.role != want {
			t.Errorf("%q has the role %q, want %q", path, named.role, want)
		}
	}
	if _, ok := folderRoleByName(nil); ok {
		t.Error("the empty path has a role")
	}
}

func TestFolderPlanRoles(t *testing.T) {
	runFolderCases(t, map[string]folderCase{
		"by attribute, both in languages of their own": {
			source: folderListing(folderSlash, `Verstuurd|\Sent`, `Weg|\Trash`),
			target: folderListing(folderSlash, `Postlagda|\Sent`, `Ruslpóstur|\Trash`),
			want:   []string{`Verstuurd = Postlagda \Sent`, `Weg = Ruslpóstur \Trash`},
		},
		"name to attribute": {
			source: folderListing(folderInbox, "Gesendete Elemente", "Papierkorb", "Entwürfe", "Junk-E-Mail", "Archiv"),
			target: folderListing(folderSlash, `Sent|\Sent`, `Trash|\Trash`, `Drafts|\Drafts`, `Junk|\Junk`, `Archive|\Archive`),
			want: []string{`Archiv = Archive \Archive`, `Entwürfe = Drafts \Drafts`, `Gesendete Elemente = Sent \Sent`,
				`Junk-E-Mail = Junk \Junk`, `Papierkorb = Trash \Trash`},
		},
		"attribute to name": {
			source: folderListing(folderSlash, `Sent|\Sent`, `Trash|\Trash`),
			target: folderListing(folderSlash, "Sent Items", "Deleted Items"),
			want:   []string{`Sent = Sent Items \Sent`, `Trash = Deleted Items \Trash`},
		},
		"name to name": {
			source: folderListing(folderSlash, "Éléments envoyés"),
			target: folderListing(folderDot, "INBOX/Gesendet"),
			want:   []string{`Éléments envoyés = INBOX/Gesendet \Sent`},
		},
		"an attribute of the target beats a name": {
			source: folderListing(folderSlash, `Gesendet|\Sent`),
			target: folderListing(folderSlash, "Sent", `Postausgang|\Sent`),
			want:   []string{`Gesendet = Postausgang \Sent`},
		},
		"even the folder's own": {
			source: folderListing(folderSlash, `Sent Items|\Sent`),
			target: folderListing(folderSlash, "Sent Items", `Sent|\Sent`),
			want:   []string{`Sent Items = Sent \Sent`},
		},
		"a name does not beat the folder's own": {
			source: folderListing(folderSlash, `Gesendet|\Sent`, "Papierkorb"),
			target: folderListing(folderSlash, "Sent", "Gesendet", `Trash|\Trash`, "Papierkorb"),
			want:   []string{`Gesendet = Gesendet \Sent`, `Papierkorb = Papierkorb`},
		},
		"nothing on the target": {
			source: folderListing(folderSlash, `Sent Items|\Sent`, "Entwürfe"),
			target: folderListing(folderSlash),
			want:   []string{`Entwürfe > Entwürfe \Drafts`, `Sent Items > Sent Items \Sent`},
		},
		"children follow": {
			source: folderListing(folderSlash, `Sent Items|\Sent`, "Sent Items/2024", "Sent Items/2024/May", "Sent Items/2024.x"),
			target: folderListing(folderDot, `Sent|\Sent`),
			want: []string{`Sent Items = Sent \Sent`, `Sent Items/2024 > Sent/2024`, `Sent Items/2024/May > Sent/2024/May`,
				`Sent Items/2024.x > Sent/2024_x`},
			warn: []string{`"Sent Items/2024.x" becomes "Sent/2024_x"`},
		},
		"children follow on a flat target": {
			source: folderListing(folderSlash, `Sent Items|\Sent`, "Sent Items/2024"),
			target: folderListing(folderFlat, `Sent|\Sent`),
			want:   []string{`Sent Items = Sent \Sent`, `Sent Items/2024 > Sent.2024`},
		},

		"Sent beside Sent Items: the attribute has the role": {
			source: folderListing(folderSlash, "Sent", `Sent Items|\Sent`),
			target: folderListing(folderSlash, `Gesendet|\Sent`),
			want:   []string{`Sent > Sent`, `Sent Items = Gesendet \Sent`},
		},
		"Sent beside Sent Items: the plain name has the role": {
			source: folderListing(folderSlash, "Sent Items", "Sent"),
			target: folderListing(folderSlash, `Gesendet|\Sent`),
			want:   []string{`Sent = Gesendet \Sent`, `Sent Items > Sent Items`},
		},
		"Sent beside Sent Items, Sent on the target": {
			source: folderListing(folderSlash, "Sent Items", "Sent"),
			target: folderListing(folderSlash, `Sent|\Sent`),
			want:   []string{`Sent = Sent \Sent`, `Sent Items > Sent Items`},
		},
		"Sent beside Sent Items, Sent Items on the target": {
			source: folderListing(folderSlash, "Sent Items", "Sent"),
			target: folderListing(folderSlash, `Sent Items|\Sent`),
			want:   []string{`Sent > Sent`, `Sent Items = Sent Items`},
		},
		"Sent beside Sent Items, the attribute's place is taken": {
			source: folderListing(folderSlash, "Sent", `Sent Items|\Sent`),
			target: folderListing(folderSlash, `Sent|\Sent`),
			want:   []string{`Sent = Sent`, `Sent Items > Sent Items`},
			warn:   []string{`"Sent Items" has the role \Sent, but keeps its name`},
		},
		"Sent beside Sent Items, the other is renamed": {
			source: folderListing(folderSlash, "Sent", `Sent Items|\Sent`),
			target: folderListing(folderSlash, `Sent|\Sent`),
			opts:   folderOptions{Rename: folderRenames("Sent", "Sent (old)")},
			want:   []string{`Sent > Sent (old)`, `Sent Items = Sent \Sent`},
		},
		"a target that has the attribute twice": {
			source: folderListing(folderSlash, `Gesendet|\Sent`),
			target: folderListing(folderSlash, `Sent Messages|\Sent`, `Sent|\Sent`),
			want:   []string{`Gesendet = Sent \Sent`},
		},
		"both have it twice": {
			source: folderListing(folderSlash, `Sent Messages|\Sent`, `Sent|\Sent`),
			target: folderListing(folderSlash, `Sent Messages|\Sent`, `Sent|\Sent`),
			want:   []string{`Sent = Sent \Sent`, `Sent Messages = Sent Messages`},
		},
		"the place below a folder is taken too": {
			source: folderListing(folderSlash, `Gesendet|\Sent`, "Sent/2024"),
			target: folderListing(folderSlash, `Sent|\Sent`),
			want:   []string{`Gesendet > Gesendet`, `Sent/2024 > Sent/2024`},
			warn:   []string{`keeps its name`},
		},
		"a place that is there for another's sake": {
			source: folderListing(folderSlash, `Entwürfe|\Drafts`, "Entw\xfcrfe/x"),
			target: folderListing(folderSlash, "Drafts", `Entwürfe|\Drafts`, "Entwürfe/x"),
			want:   []string{"Entwürfe = Drafts \\Drafts", "Entw\xfcrfe/x = Entwürfe/x"},
			warn:   []string{`cannot be decoded`},
		},
		"a role with folders only": {
			source: folderListing(folderSlash, `Archive|\Archive,noselect`, "Archive/2024"),
			target: folderListing(folderSlash, `Archiv|\Archive`),
			want:   []string{`Archive > Archive container`, `Archive/2024 > Archive/2024`},
		},
		"INBOX has its own role only": {
			source: folderListing(folderSlash, `INBOX|\Archive`),
			target: folderListing(folderSlash, `INBOX|\Sent`, `Archive|\Archive`),
			want:   []string{`INBOX = INBOX INBOX`},
		},
		"other people's folders have no role": {
			source: folderListing(folderSlash, "Sent"),
			target: folderListing(folderSlash, `user/bob/Sent Items|\Sent,shared`),
			want:   []string{`Sent > Sent \Sent`},
		},
	})
}

func TestFolderPlanViews(t *testing.T) {
	gmail := []string{"INBOX", "[Gmail]|noselect", `[Gmail]/All Mail|\All`, `[Gmail]/Sent Mail|\Sent`, `[Gmail]/Spam|\Junk`,
		`[Gmail]/Starred|\Flagged`, "[Gmail]/Important", "Work"}
	const flagged = "[Gmail]/Starred - it shows flagged messages of other mailboxes"
	runFolderCases(t, map[string]folderCase{
		"Gmail to Dovecot": {
			source: folderListing(folderSlash, gmail...),
			target: folderListing(folderDot, "INBOX", `Junk|\Junk`),
			want: []string{`INBOX = INBOX INBOX`, `Work > Work`, `[Gmail] > [Gmail] container`, `[Gmail]/Important > [Gmail]/Important`,
				`[Gmail]/Sent Mail > Sent \Sent`, `[Gmail]/Spam = Junk \Junk`, `[Gmail]/All Mail > Archive \Archive view`, flagged},
		},
		"Gmail to Gmail in German": {
			source: folderListing(folderSlash, gmail...),
			target: folderListing(folderSlash, "INBOX", "[Gmail]|noselect", `[Gmail]/Alle Nachrichten|\All`, `[Gmail]/Gesendet|\Sent`,
				`[Gmail]/Markiert|\Flagged`, `[Gmail]/Spam|\Junk`),
			want: []string{`INBOX = INBOX INBOX`, `Work > Work`, `[Gmail] = [Gmail] container`, `[Gmail]/Important > [Gmail]/Important`,
				`[Gmail]/Sent Mail = [Gmail]/Gesendet \Sent`, `[Gmail]/Spam = [Gmail]/Spam \Junk`, `[Gmail]/All Mail = [Gmail]/Alle Nachrichten view`, flagged},
		},
		"Gmail with an Archive and a Sent of the user's own": {
			source: folderListing(folderSlash, append(gmail, "Archive", "Sent")...),
			target: folderListing(folderSlash, "INBOX"),
			want: []string{`INBOX = INBOX INBOX`, `Archive > Archive \Archive`, `Sent > Sent`, `Work > Work`, `[Gmail] > [Gmail] container`,
				`[Gmail]/Important > [Gmail]/Important`, `[Gmail]/Sent Mail > [Gmail]/Sent Mail \Sent`, `[Gmail]/Spam > Junk \Junk`,
				`[Gmail]/All Mail > [Gmail]/All Mail view`, flagged},
		},
		"Gmail after a tool that maps nothing": {
			source: folderListing(folderSlash, gmail...),
			target: folderListing(folderSlash, "INBOX", "Work", "[Gmail]", "[Gmail]/All Mail", "[Gmail]/Important", "[Gmail]/Sent Mail", "[Gmail]/Spam"),
			want: []string{`INBOX = INBOX INBOX`, `Work = Work`, `[Gmail] = [Gmail] container`, `[Gmail]/Important = [Gmail]/Important`,
				`[Gmail]/Sent Mail = [Gmail]/Sent Mail \Sent`, `[Gmail]/Spam = [Gmail]/Spam \Junk`, `[Gmail]/All Mail = [Gmail]/All Mail \Archive view`, flagged},
		},
		"views by name, in Gmail's container only": {
			source: folderListing(folderSlash, "[Google Mail]/Tous les messages", "[Google Mail]/Suivis", "Suivis"),
			target: folderListing(folderSlash, `Archives|\Archive`),
			want: []string{`Suivis > Suivis`, `[Google Mail]/Tous les messages = Archives \Archive view`,
				`[Google Mail]/Suivis - it shows flagged messages of other mailboxes`},
		},
		"virtual folders on both sides": {
			source: folderListing(folderSlash, "INBOX", "virtual|noselect", `virtual/All|\All`, `virtual/Flagged|\Flagged`, "Archive"),
			target: folderListing(folderSlash, "INBOX", "virtual|noselect", `virtual/All|\All`, `virtual/Flagged|\Flagged`),
			want: []string{`INBOX = INBOX INBOX`, `Archive > Archive \Archive`, `virtual = virtual container`,
				`virtual/All > virtual/All_2 view`, `virtual/Flagged - it shows flagged messages of other mailboxes`},
			warn: []string{`"virtual/All" is a view of other mailboxes there`},
		},
		"a user's folder named as a view of the target": {
			source: folderListing(folderSlash, "All", "All/x", "All_2"),
			target: folderListing(folderSlash, `All|\All`),
			want:   []string{`All > All_3`, `All/x > All_3/x`, `All_2 > All_2`},
			warn:   []string{`"All" becomes "All_3"`},
		},
		"two views of all mail": {
			source: folderListing(folderSlash, `A|\All`, `B|\All`),
			target: folderListing(folderSlash, `Archive|\Archive`),
			want:   []string{`A = Archive \Archive view`, `B > B view`},
		},
	})
}
