// Roles: the names that mail programs and servers give to the folders that have
// one, and which folder gets each.

package sync

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mailhaul/mailhaul"
)

// folderRoleNames holds, for each role that a folder can be told by its name,
// the names that it goes by, the most canonical first. Where several folders
// of an account bear names of one role, the one whose name comes first has it.
// A name that means another role elsewhere (the Brazilian "Lixo Eletrônico" is
// junk, the Portuguese "Lixo" is trash) is listed only where it is exact, and
// one that is the outbox in another program not at all. Sources: the names that
// Outlook and Exchange, Outlook.com, Thunderbird, Apple Mail, Gmail, Roundcube,
// Horde and the large providers create in each language.
var folderRoleNames = map[mailhaul.Role][]string{
	mailhaul.RoleSent: {
		"Sent", "Sent Items", "Sent Messages", "Sent Mail", "Sent-Mail", "SentMail", "Sent Mails", "Sent Email", "Sent Emails", "Sent Objects", // English
		"Gesendet", "Gesendete Elemente", "Gesendete Objekte", "Gesendete Nachrichten", "Gesendete Mails", "Gesendete E-Mails", "Gesendete", // German
		"Envoyés", "Éléments envoyés", "Messages envoyés", "Courrier envoyé", "Courriers envoyés", "Objets envoyés", "Envoyé", "Mails envoyés", "E-mails envoyés", "Envoyes", "Elements envoyes", "Messages envoyes", // French
		"Enviados", "Elementos enviados", "Mensajes enviados", "Correo enviado", "Correos enviados", // Spanish
		"Inviati", "Posta inviata", "Elementi inviati", "Messaggi inviati", "Inviata", "Inviate", // Italian
		"Itens Enviados", "Enviadas", "Mensagens enviadas", "E-mails enviados", "Emails enviados", "Correio enviado", // Portuguese
		"Verzonden", "Verzonden items", "Verzonden berichten", "Verzonden objecten", "Verzonden e-mail", // Dutch
		"Skickat", "Skickade objekt", "Skickade", "Skickade meddelanden", "Skickat e-post", // Swedish
		"Sendt", "Sendt post", "Sendte elementer", "Sendte mails", "Sendte beskeder", "Sendt e-post", "Sendte meldinger", "Sendte e-poster", "Sendte objekter", // Danish, Norwegian
		"Lähetetyt", "Lähetetyt viestit", "Lähetetyt kohteet", // Finnish
		"Wysłane", "Elementy wysłane", "Wysłane elementy", "Wiadomości wysłane", "Wysłane wiadomości", // Polish
		"Odeslané", "Odeslaná pošta", "Odeslané zprávy", "Odeslané položky", // Czech
		"Odoslané", "Odoslaná pošta", "Odoslané správy", "Odoslané položky", // Slovak
		"Elküldött", "Elküldött elemek", "Elküldött üzenetek", "Elküldött levelek", // Hungarian
		"Trimise", "Elemente trimise", "Mesaje trimise", // Romanian
		"Απεσταλμένα", "Σταλθέντα", "Απεσταλμένα στοιχεία", "Απεσταλμένα μηνύματα", // Greek
		"Отправленные", "Отправленные элементы", "Отправленные письма", "Отправленные сообщения", // Russian
		"Надіслані", "Надіслані елементи", "Надіслані листи", "Відправлені", "Відправлені листи", // Ukrainian
		"Gönderilenler", "Gönderilmiş Öğeler", "Gönderilmiş", "Gönderilen", "Gönderilmiş Postalar", "Gönderilen Öğeler", "Gönderilmiş İletiler", // Turkish
		"送信済み", "送信済みアイテム", "送信済みメール", "送信済みトレイ", "送信済みメッセージ", "送信箱", // Japanese
		"已发送", "已发送邮件", "已发送的邮件", "已发送消息", "已发送项目", "已发邮件", // Chinese, simplified
		"寄件備份", "已傳送", "已傳送郵件", "已傳送的郵件", "已寄送", "寄送的郵件", "已寄出", // Chinese, traditional
		"보낸 편지함", "보낸편지함", "보낸 메일함", "보낸메일함", "보낸 메일", "보낸 항목", "보낸 메시지", // Korean
		"נשלח", "פריטים שנשלחו", "דואר שנשלח", "הודעות שנשלחו", // Hebrew
		"المرسلة", "العناصر المرسلة", "البريد المرسل", "الرسائل المرسلة", "بريد مرسل", "مرسل", // Arabic
	},
	mailhaul.RoleDrafts: {
		"Drafts", "Draft", "Draft Messages", "Draft Mail",
		"Entwürfe", "Entwurf", "Entwuerfe",
		"Brouillons", "Brouillon",
		"Borradores", "Borrador",
		"Bozze", "Bozza",
		"Rascunhos", "Rascunho",
		"Concepten", "Concept",
		"Utkast", // Swedish, Norwegian
		"Kladder", "Kladde",
		"Luonnokset",
		"Szkice", "Kopie robocze", "Wersje robocze", "Robocze",
		"Koncepty", "Rozepsané", "Rozepsané zprávy", "Rozpísané", // Czech, Slovak
		"Piszkozatok", "Vázlatok", "Piszkozat",
		"Schițe", "Schiţe", "Ciorne", "Mesaje nefinalizate",
		"Πρόχειρα",
		"Черновики",
		"Чернетки",
		"Taslaklar", "Taslak",
		"下書き", "下書きアイテム", "草稿", // 草稿 is Chinese too
		"草稿箱", "草稿匣", "草稿夾",
		"임시 보관함", "임시보관함", "초안", "작성 중인 메일",
		"טיוטות", "טיוטה",
		"المسودات", "مسودات",
	},
	mailhaul.RoleTrash: {
		"Trash", "Deleted Items", "Deleted Messages", "Deleted", "Deleted Mail", "Deleted Objects", "Bin", "Trash Bin", "Trash Can", "Wastebasket",
		"Papierkorb", "Gelöscht", "Gelöschte Elemente", "Gelöschte Objekte", "Gelöschte Nachrichten", "Gelöschte", "Geloescht", "Mülleimer",
		"Corbeille", "Éléments supprimés", "Messages supprimés", "Supprimés", "Objets supprimés", "Poubelle", "Elements supprimes", "Supprimes",
		"Papelera", "Elementos eliminados", "Papelera de reciclaje", "Mensajes eliminados", "Correo eliminado", "Eliminados", // the last is Portuguese too
		"Cestino", "Posta eliminata", "Elementi eliminati", "Messaggi eliminati", "Eliminati", "Eliminata",
		"Lixeira", "Itens Excluídos", "Itens Eliminados", "Lixo", "Mensagens excluídas", "Mensagens eliminadas", "Excluídos", "Excluídas", "Apagados", "Reciclagem",
		"Prullenbak", "Verwijderde items", "Verwijderde berichten", "Verwijderde objecten", "Verwijderd", "Prullenmand",
		"Papperskorgen", "Papperskorg", "Borttaget", "Borttagna objekt", "Borttagna", "Raderade objekt",
		"Papirkurv", "Slettet post", "Slettede elementer", "Slettede mails", "Slettede beskeder", "Slettet", "Slettede meldinger", "Slettede", "Papirkurven", "Søppelbøtte",
		"Roskakori", "Poistetut", "Poistetut viestit", "Poistetut kohteet",
		"Kosz", "Elementy usunięte", "Usunięte elementy", "Wiadomości usunięte", "Usunięte",
		"Koš", "Odstraněná pošta", "Odstraněné", "Odstraněné zprávy", "Odstraněné položky", "Smazané",
		"Kôš", "Odstránená pošta", "Odstránené", "Odstránené správy", "Odstránené položky",
		"Kuka", "Lomtár", "Törölt elemek", "Törölt", "Törölt üzenetek", "Törölt levelek",
		"Coș de gunoi", "Coşul de gunoi", "Coșul de gunoi", "Coş de gunoi", "Elemente șterse", "Elemente şterse", "Mesaje șterse", "Șterse", "Gunoi",
		"Κάδος απορριμμάτων", "Κάδος", "Διαγραμμένα", "Διαγραμμένα στοιχεία", "Διαγραμμένα μηνύματα", "Απορρίμματα", "Κάδος ανακύκλωσης",
		"Корзина", "Удаленные", "Удалённые", "Удаленные элементы", "Удаленные сообщения",
		"Кошик", "Видалені", "Видалені елементи", "Видалені листи", "Смітник",
		"Çöp Kutusu", "Silinmiş Öğeler", "Çöp", "Silinmiş", "Silinenler", "Silinmiş İletiler",
		"ゴミ箱", "ごみ箱", "削除済みアイテム", "削除済み", "削除済みメール", "削除済みトレイ",
		"已删除", "已删除邮件", "已删除的邮件", "已删除消息", "已删除项目", "废件箱", "废纸篓", "回收站",
		"垃圾桶", "刪除的郵件", "已刪除", "已刪除郵件", "已刪除的郵件", "資源回收筒", "回收筒",
		"휴지통", "지운 편지함", "지운편지함", "지운 메일함", "삭제된 항목",
		"אשפה", "פריטים שנמחקו", "הודעות שנמחקו", "סל מחזור",
		"المهملات", "سلة المهملات", "العناصر المحذوفة", "المحذوفة", "الرسائل المحذوفة",
	},
	mailhaul.RoleJunk: {
		"Junk", "Spam", "Junk Email", "Junk E-mail", "Junk-E-Mail", "Junk Mail", "JunkMail", "Junk Emails", "Bulk Mail", "Bulk", "Spam Mail", "Unsolicited", "Spambox", "Suspected Spam",
		"Spamverdacht", "Unerwünscht", "Unerwünschte Werbung", "Unerwünschte Nachrichten", "Werbung (Spam)",
		"Indésirables", "Courrier indésirable", "Courriers indésirables", "Pourriel", "Pourriels", "Messages indésirables", "Courrier indesirable", "Indesirables",
		"Correo no deseado", "Correo electrónico no deseado", "No deseado", "No deseados", "Correo basura",
		"Posta indesiderata", "Indesiderata", "Messaggi indesiderati",
		"Lixo Eletrônico", "Lixo Eletrónico", "Lixo Electrónico", "E-mail de lixo", "Correio publicitário não solicitado", "Publicidade não solicitada",
		"Ongewenste e-mail", "Ongewenste mail", "Ongewenst", "Ongewenste berichten", "Ongewenste reclame",
		"Skräppost", "Skräp", "Skräp-e-post",
		"Uønsket mail", "Uønsket e-mail", "Uønsket post", "Uønsket", "Uønskede mails", "Uønsket e-post", "Søppelpost", "Søppel-e-post", "Søppel",
		"Roskaposti", "Roskapostit",
		"Wiadomości-śmieci", "Wiadomości śmieci", "Niechciane", "Niechciana poczta", "Śmieci",
		"Nevyžádaná pošta", "Nevyžádané", "Nevyžádané zprávy",
		"Nevyžiadaná pošta", "Nevyžiadané", "Nevyžiadané správy",
		"Levélszemét", "Kéretlen levelek", "Kéretlen", "Szemét",
		"Mesaje nedorite", "E-mail nedorit", "Nedorite", "Nesolicitate",
		"Ανεπιθύμητα", "Ανεπιθύμητη αλληλογραφία", "Ανεπιθύμητη", "Ανεπιθύμητα μηνύματα",
		"Спам", "Нежелательная почта", "Нежелательные", // Спам is Ukrainian too
		"Небажана пошта", "Небажані",
		"İstenmeyen", "Önemsiz E-posta", "Önemsiz", "İstenmeyen Posta", "Gereksiz", "Gereksiz E-posta", "İstenmeyen E-posta",
		"迷惑メール", "迷惑メールフォルダ", "スパム", "スパムメール", "迷惑",
		"垃圾邮件", "广告邮件", "垃圾电子邮件",
		"垃圾郵件", "垃圾信", "廣告郵件", "垃圾信件匣",
		"스팸", "스팸함", "스팸 메일함", "스팸메일함", "스팸메일", "정크 메일", "정크메일", "정크",
		"דואר זבל", "זבל", "ספאם",
		"البريد العشوائي", "البريد غير الهام", "بريد غير هام", "البريد الإلكتروني غير الهام", "بريد مزعج", "البريد المزعج", "الرسائل غير المرغوب فيها", "غير مرغوب فيه",
	},
	mailhaul.RoleArchive: {
		"Archive", "Archives", "Archived", "Archived Mail", "Archive Mail", // Archives is French too
		"Archiv", "Archivierte", // Archiv is Czech too
		"Archivés", "Messages archivés",
		"Archivo", "Archivados", "Archivo de correo",
		"Archivio", "Archiviati", "Archiviata",
		"Arquivo", "Arquivo Morto", "Arquivados", "Arquivadas",
		"Archief", "Gearchiveerd",
		"Arkiv", "Arkiverat", "Arkiveret", // Swedish, Danish, Norwegian
		"Arkisto", "Arkistoidut",
		"Archiwum", "Zarchiwizowane",
		"Archív", // Slovak
		"Archívum",
		"Arhivă", "Arhiva", "Arhivate",
		"Αρχειοθήκη", "Αρχείο", "Αρχειοθετημένα",
		"Архив",
		"Архів",
		"Arşiv",
		"アーカイブ", "保管",
		"存档", "归档", "归档邮件", "已归档",
		"封存", "封存郵件", "歸檔",
		"보관", "보관함", "보관 편지함", "보관편지함", "아카이브",
		"ארכיון",
		"الأرشيف", "أرشيف",
	},
}

// folderViewNames are what Gmail calls its views. They count only within
// Gmail's own container, since a user may have a folder of such a name.
var folderViewNames = map[mailhaul.Role][]string{
	mailhaul.RoleAll: {
		"All Mail", "Alle Nachrichten", "Tous les messages", "Todos", "Todo el correo", "Tutti i messaggi", "Todos os e-mails",
		"Todo o correio", "Alle e-mail", "Alle berichten", "All e-post", "Alle mails", "Alle e-poster", "All post", "Kaikki viestit",
		"Wszystkie", "Všechny zprávy", "Všetky správy", "Összes levél", "Toate mesajele", "Όλα τα μηνύματα", "Вся почта",
		"Уся пошта", "Вся пошта", "Tüm Postalar", "すべてのメール", "所有邮件", "全部郵件", "所有郵件", "전체보관함", "כל הדואר", "كل البريد",
	},
	mailhaul.RoleFlagged: {
		"Starred", "Markiert", "Suivis", "Messages suivis", "Destacados", "Speciali", "Com estrela", "Met ster", "Stjärnmärkt",
		"Stjernemarkerede", "Stjernemerket", "Tähdellä merkityt", "Oznaczone gwiazdką", "S hvězdičkou", "S hviezdičkou",
		"Csillagozott", "Cu stea", "Με αστέρι", "Помеченные", "Із зірочкою", "Yıldızlı", "スター付き", "已加星标", "已加星號",
		"별표편지함", "מסומן בכוכב", "مميزة بنجمة",
	},
}

// folderRoles are the roles that one folder of an account can have, in the
// order in which they are given away.
var folderRoles = [...]mailhaul.Role{
	mailhaul.RoleSent, mailhaul.RoleDrafts, mailhaul.RoleTrash, mailhaul.RoleJunk, mailhaul.RoleArchive,
}

// folderNamed is what a name says: a role, and how canonical the name is, from
// 0.
type folderNamed struct {
	role mailhaul.Role
	rank int
}

// folderNameRank is the rank of a name that no table has.
const folderNameRank = 1 << 20

// folderByName finds the role of a folded name. folderViewByName does for
// names within Gmail's container.
var (
	folderByName     = folderNameIndex(folderRoleNames)
	folderViewByName = folderNameIndex(folderViewNames)
)

func folderNameIndex(tables map[mailhaul.Role][]string) map[string]folderNamed {
	index := make(map[string]folderNamed)
	for role, names := range tables {
		for rank, name := range names {
			index[folderFold(name)] = folderNamed{role, rank}
		}
	}
	return index
}

// folderFold makes names equal that differ only in case. Both steps are needed:
// some letters have two lower-case forms (the Greek sigma), others none of their
// own above (the dotless i).
func folderFold(name string) string { return strings.ToLower(strings.ToUpper(name)) }

// folderGmail reports whether a path begins with the container that Gmail keeps
// its own folders in, and goes on.
func folderGmail(path []string) bool {
	return len(path) > 1 && (strings.EqualFold(path[0], "[Gmail]") || strings.EqualFold(path[0], "[Google Mail]"))
}

// folderRoleByName returns what the name of the folder at path says of its
// role. Only names at the top, right below INBOX and in Gmail's container
// count: "Projects/Drafts" is somebody's own.
func folderRoleByName(path []string) (named folderNamed, ok bool) {
	gmail := folderGmail(path)
	if len(path) != 1 && !(len(path) == 2 && (gmail || path[0] == "INBOX")) {
		return folderNamed{}, false
	}
	name := folderFold(path[len(path)-1])
	if gmail {
		if named, ok = folderViewByName[name]; ok {
			return named, true
		}
	}
	named, ok = folderByName[name]
	return named, ok
}

// giveRoles decides which folder of the source has each role, and whether it
// goes to the folder that has it on the target.
func (p *folderPlanner) giveRoles(target *mailhaul.Listing) {
	p.giveAll(target)
	p.noteRolePlaces(target)
	type winner struct {
		node *folderNode
		role mailhaul.Role
	}
	var winners []winner
	for _, role := range folderRoles {
		if n := p.folderWinner(role); n != nil {
			winners = append(winners, winner{n, role})
		} else {
			p.keepRole(target, role)
		}
	}
	// A parent comes before what follows it.
	slices.SortStableFunc(winners, func(a, b winner) int { return cmp.Compare(len(a.node.path), len(b.node.path)) })
	for _, w := range winners {
		attr, named := p.foldersOfRole(target, w.role)
		p.giveRole(w.node, w.role, attr, named)
	}
}

// keepRole lets a folder that was renamed, and is out of the contest, have its
// role where nobody else has it.
func (p *folderPlanner) keepRole(target *mailhaul.Listing, role mailhaul.Role) {
	if attr, _ := p.foldersOfRole(target, role); len(attr) > 0 {
		return
	}
	for _, n := range p.nodes {
		if n.takesPart() && n.renamed && n.byAttr && n.role == role && !n.box.NoSelect && !n.box.Shared {
			n.won = role
			return
		}
	}
}

// noteRolePlaces notes the places that have a role, or are to have one. What is
// below them may come with the children of the folders that go there.
func (p *folderPlanner) noteRolePlaces(target *mailhaul.Listing) {
	p.rolePlaces = make(map[string]bool)
	for _, role := range folderRoles {
		attr, named := p.foldersOfRole(target, role)
		for _, path := range slices.Concat(attr, named) {
			p.rolePlaces[folderKey(path)] = true
		}
	}
	for _, n := range p.nodes {
		if n.claims() && n.role != mailhaul.RoleNone {
			p.rolePlaces[folderKey(p.seat(n))] = true
		}
	}
}

// free reports whether a place is no folder's own, and not below a place with a
// role.
func (p *folderPlanner) free(path []string) bool {
	for i := 1; i < len(path); i++ {
		// Some servers give roles to whatever is created with such a name.
		if _, named := folderRoleByName(path[:i]); named || p.rolePlaces[folderKey(path[:i])] {
			return false
		}
	}
	return p.seats[folderKey(path)] == 0
}

// giveAll takes the view of all mail to that of a target that is Gmail, where
// what is stored in it is mail that is in no folder. Elsewhere nothing can be
// stored in such a view; what only the view holds is archived mail, as Gmail
// understands that, and folderWinner lets it have the archive.
func (p *folderPlanner) giveAll(target *mailhaul.Listing) {
	if !p.namer.gmail {
		return
	}
	attr, _ := p.foldersOfRole(target, mailhaul.RoleAll)
	for _, n := range p.nodes {
		if !n.view() || !n.claims() || n.fixed != nil {
			continue
		}
		for _, path := range attr {
			if folderGmail(path) && (p.seats[folderKey(path)] == 0 || slices.Equal(p.seat(n), path)) {
				n.moved, n.wrong = path, nil
				return
			}
		}
	}
}

// claims reports whether the folder may get a role.
func (n *folderNode) claims() bool {
	return n.takesPart() && !n.renamed && !n.box.NoSelect && !n.box.Shared && !n.inbox()
}

// folderWinner returns the folder of the source that has the role, or nil: an
// attribute beats a name, a more canonical name another one, and a path nearer
// to the root one further away.
func (p *folderPlanner) folderWinner(role mailhaul.Role) *folderNode {
	var best *folderNode
	for _, n := range p.nodes {
		if !n.claims() || n.role != role {
			continue
		}
		if best == nil || cmp.Or(
			folderLess(n.byAttr, best.byAttr),
			cmp.Compare(best.rank, n.rank),
			cmp.Compare(len(best.path), len(n.path)),
		) > 0 {
			best = n
		}
	}
	if best == nil && role == mailhaul.RoleArchive {
		for _, n := range p.nodes {
			if n.view() && n.claims() && n.moved == nil {
				return n
			}
		}
	}
	return best
}

// foldersOfRole returns the folders of the target that have the role by
// attribute, and those that have it by name, the best first.
func (p *folderPlanner) foldersOfRole(target *mailhaul.Listing, role mailhaul.Role) (attr, named [][]string) {
	rank := make(map[string]int)
	for _, m := range target.Mailboxes {
		path := folderInboxed(m.Path)
		box := p.target[folderKey(path)]
		if box == nil || box.NoSelect || box.Shared || box.IsInbox() || !utf8.ValidString(folderKey(path)) {
			continue // nor can anything be made below a name that cannot be decoded
		}
		by, ok := folderRoleByName(path)
		if ok = ok && by.role == role; !ok {
			by.rank = folderNameRank
		}
		rank[folderKey(path)] = by.rank
		switch {
		case box.Role == role:
			attr = append(attr, path)
		case box.Role == mailhaul.RoleNone && ok:
			named = append(named, path)
		}
	}
	order := func(a, b []string) int {
		return cmp.Or(
			cmp.Compare(rank[folderKey(a)], rank[folderKey(b)]),
			cmp.Compare(len(a), len(b)),
			slices.Compare(a, b),
		)
	}
	slices.SortFunc(attr, order)
	slices.SortFunc(named, order)
	return attr, named
}

// giveRole gives a role to its folder, and decides where that goes: attr and
// named are what has the role on the target.
func (p *folderPlanner) giveRole(n *folderNode, role mailhaul.Role, attr, named [][]string) {
	seat := p.seat(n)
	here, _ := p.namer.path(p.place(n.path, false)) // where its parent goes
	stays := func(path []string) bool { return slices.Equal(path, seat) || slices.Equal(path, here) }

	// A second folder of the role is not to be announced.
	if len(attr) == 0 || slices.ContainsFunc(attr, stays) {
		n.won = role
	}
	// What another folder's place is too may be there for that one's sake.
	alone := p.owners[folderKey(seat)] == 1
	if n.fixed != nil || alone && slices.ContainsFunc(attr, stays) {
		return
	}

	// The folder's own name on the target is better than another that is not
	// certain on either side.
	own := p.target[folderKey(seat)]
	exists := alone && own != nil && !own.NoSelect && !p.isView(seat)
	certain := n.byAttr && !n.view()

	goTo := -1
	all := slices.Concat(attr, named)
	if i := slices.IndexFunc(attr, p.free); i >= 0 && (certain || !exists) {
		goTo = i
	} else if !exists {
		goTo = slices.IndexFunc(all, p.free)
	}
	switch {
	case goTo >= 0:
		n.moved, n.won, n.wrong = all[goTo], role, nil
	case exists:
	case folderGmail(n.path):
		// The container is Gmail's own; elsewhere such a folder is at the top.
		top, _ := p.namer.path(folderRoleNames[role][:1])
		t := p.target[folderKey(top)]
		if p.seats[folderKey(top)] == 0 && (t == nil || t.Role == mailhaul.RoleNone || t.Role == role) {
			n.moved, n.wrong = top, nil
		}
	}
	if len(attr) > 0 && n.moved == nil && certain && n.skip == "" {
		p.warn("mailbox %q has the role %s, but keeps its name: the target's mailbox of that role, %q, is where the source's %q goes; -rename that one, or leave it out with -exclude",
			folderShow(n.path), role, folderShow(attr[0]), folderShow(attr[0]))
	}
}
