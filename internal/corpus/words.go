// What messages are made of.

package corpus

import "mime"

type person struct{ name, address string }

func (p person) String() string {
	return mime.QEncoding.Encode("utf-8", p.name) + " <" + p.address + ">"
}

var people = []person{
	{"Ada Meyer", "ada@example.com"},
	{"Jürgen Groß", "j.gross@example.de"},
	{"Zoë Núñez", "zoe.nunez@example.org"},
	{"山田 太郎", "yamada@example.jp"},
	{"Kim Okafor", "kim+lists@example.net"},
	{"Лев Иванов", "lev@example.ru"},
	{"accounts", "no-reply@billing.example.com"},
	{"Sam Carter", "sam@example.co.uk"},
	{"Ines Costa", "ines.costa@example.pt"},
	{"Build Bot", "bot@ci.example.dev"},
}

var domains = []string{"example.com", "example.org", "mail.example.net", "example.de", "example.jp", "lists.example.org"}

var agents = []string{"Mozilla Thunderbird", "Microsoft Outlook 16.0", "Apple Mail (2.3445)", "Mutt/2.2.9", "K-9 Mail for Android"}

var attachments = []struct{ mime, extension string }{
	{"application/pdf", "pdf"},
	{"image/jpeg", "jpg"},
	{"image/png", "png"},
	{"application/zip", "zip"},
	{"application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"},
}

var words = []string{
	"the", "and", "for", "with", "that", "this", "from", "have", "will", "please",
	"meeting", "invoice", "project", "report", "version", "customer", "server", "mailbox", "release", "schedule",
	"tomorrow", "Monday", "budget", "contract", "question", "answer", "update", "review", "attached", "regards",
	"we", "you", "is", "of", "to", "in", "on", "at", "by", "as",
	"für", "Grüße", "über", "schön", "naïve", "café", "señor", "naj", "čaj", "œuvre",
	"10:30", "EUR", "1.250,00", "50%", "#4711", "https://example.com/a?b=c", "e.g.", "cf.", "-", "…",
	"deadline", "offer", "draft",
	"library",
}
