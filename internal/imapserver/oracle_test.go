// The server seen by a client that others wrote: go-imap's imapclient is the
// oracle.

package imapserver_test

import (
	"bytes"
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/imapserver"
)

// oracle returns a client that is logged in as alice.
func oracle(t *testing.T, conn net.Conn) *imapclient.Client {
	t.Helper()
	c := imapclient.New(conn, nil)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.Login("alice", "secret").Wait())
	return c
}

func dial(t *testing.T, s *imapserver.Server) net.Conn {
	t.Helper()
	c, err := s.Dial(context.Background(), "tcp", "test:143")
	require.NoError(t, err)
	return c
}

func appendAs(t *testing.T, c *imapclient.Client, mailbox string, m imapserver.Message) *imap.AppendData {
	t.Helper()
	opts := &imap.AppendOptions{Time: m.Date}
	for _, f := range m.Flags {
		opts.Flags = append(opts.Flags, imap.Flag(f))
	}
	cmd := c.Append(mailbox, int64(len(m.Body)), opts)
	_, err := cmd.Write(m.Body)
	require.NoError(t, err)
	require.NoError(t, cmd.Close())
	data, err := cmd.Wait()
	require.NoError(t, err)
	return data
}

// oddBodies are messages that other servers alter or refuse.
var oddBodies = map[string][]byte{
	"empty":                {},
	"nul":                  []byte("Subject: a\x00b\r\n\r\n\x00\x00\r\n"),
	"bare LF":              []byte("Subject: x\n\nline\nline\n"),
	"bare CR":              []byte("Subject: x\r\r\rline\r"),
	"no header":            []byte("\r\njust text"),
	"no line ending":       []byte("x"),
	"From line":            []byte("From someone Mon Jan 1\r\nSubject: x\r\n\r\nFrom here\r\n"),
	"8 bit":                []byte("Subject: gr\xfc\xdfe\r\n\r\n\xff\xfe\x80"),
	"long line":            bytes.Repeat([]byte("x"), 1<<20),
	"looks like a command": []byte("a LOGOUT\r\nb DELETE INBOX\r\n)"),
	"ends in {5}":          []byte("text {5}\r\n{5+}\r\n"),
	"every octet":          allOctets(),
}

func allOctets() []byte {
	b := make([]byte, 256)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

func TestOracleGivesBackTheOctets(t *testing.T) {
	s, u := start(t, imapserver.Options{})
	addr, err := s.Listen()
	require.NoError(t, err)
	tcp, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	for kind, conn := range map[string]net.Conn{"memory": dial(t, s), "tcp": tcp} {
		t.Run(kind, func(t *testing.T) {
			c := oracle(t, conn)
			require.NoError(t, c.Create(kind, nil).Wait())
			want := make(map[imap.UID][]byte)
			date := time.Date(1999, 12, 31, 23, 59, 58, 0, time.FixedZone("", -(3*3600+30*60)))
			for name, body := range oddBodies {
				data := appendAs(t, c, kind, imapserver.Message{Body: body, Date: date, Flags: []mailhaul.Flag{`\Seen`, "$Forwarded"}})
				require.NotZero(t, data.UID, name)
				want[data.UID] = body
			}
			box, err := c.Select(kind, nil).Wait()
			require.NoError(t, err)
			assert.EqualValues(t, len(oddBodies), box.NumMessages)
			assert.EqualValues(t, len(oddBodies)+1, box.UIDNext)

			whole := &imap.FetchItemBodySection{Peek: true}
			messages, err := c.Fetch(imap.UIDSet{{Start: 1, Stop: 0}}, &imap.FetchOptions{
				UID: true, Flags: true, InternalDate: true, RFC822Size: true,
				BodySection: []*imap.FetchItemBodySection{whole},
			}).Collect()
			require.NoError(t, err)
			require.Len(t, messages, len(oddBodies))
			for _, m := range messages {
				assert.True(t, bytes.Equal(want[m.UID], m.FindBodySection(whole)), "UID %d", m.UID)
				assert.EqualValues(t, len(want[m.UID]), m.RFC822Size)
				assert.True(t, date.Equal(m.InternalDate))
				_, zone := m.InternalDate.Zone()
				assert.Equal(t, -(3*3600 + 30*60), zone)
				flags := slices.DeleteFunc(m.Flags, func(f imap.Flag) bool { return f == `\Recent` })
				assert.ElementsMatch(t, []imap.Flag{`\Seen`, "$Forwarded"}, flags)
			}
			for _, m := range u.Mailbox(kind).Messages() {
				assert.True(t, bytes.Equal(want[imap.UID(m.UID)], m.Body))
			}
		})
	}
}

func TestOracleFoldersAndStatus(t *testing.T) {
	s, u := start(t, imapserver.Options{})
	u.Create("Gesendet", `\Sent`)
	u.Subscribe("Gesendet")
	u.Mailbox("Gesendet").Add(imapserver.Message{Body: []byte("x")})
	c := oracle(t, dial(t, s))
	for _, name := range []string{"Entwürfe & mehr/日本語", "a b", `quo"te\slash`, "tab\there"} {
		require.NoError(t, c.Create(name, nil).Wait())
		assert.NotNil(t, u.Mailbox(name), name)
	}
	require.Error(t, c.Create("a b", nil).Wait())
	require.NoError(t, c.Create("Kram", &imap.CreateOptions{SpecialUse: []imap.MailboxAttr{imap.MailboxAttrJunk}}).Wait())
	assert.Equal(t, []string{`\Junk`}, u.Mailbox("Kram").Attrs())

	all, err := c.List("", "*", &imap.ListOptions{
		ReturnSpecialUse: true, ReturnSubscribed: true, ReturnChildren: true,
		ReturnStatus: &imap.StatusOptions{NumMessages: true, UIDNext: true, UIDValidity: true},
	}).Collect()
	require.NoError(t, err)
	attrs := make(map[string][]imap.MailboxAttr)
	for _, l := range all {
		attrs[l.Mailbox] = l.Attrs
		assert.Equal(t, '/', l.Delim)
		assert.Equal(t, !slices.Contains(l.Attrs, imap.MailboxAttrNonExistent), l.Status != nil, l.Mailbox)
	}
	assert.ElementsMatch(t, []imap.MailboxAttr{`\Sent`, `\Subscribed`, `\HasNoChildren`}, attrs["Gesendet"])
	assert.ElementsMatch(t, []imap.MailboxAttr{`\NonExistent`, `\HasChildren`}, attrs["Entwürfe & mehr"])
	assert.Contains(t, attrs, "Entwürfe & mehr/日本語")
	assert.Contains(t, attrs, `quo"te\slash`)
	assert.Equal(t, "INBOX", all[0].Mailbox)

	only, err := c.List("", "*", &imap.ListOptions{SelectSubscribed: true}).Collect()
	require.NoError(t, err)
	require.Len(t, only, 1)
	assert.Equal(t, "Gesendet", only[0].Mailbox)

	st, err := c.Status("Gesendet", &imap.StatusOptions{NumMessages: true, UIDNext: true, NumUnseen: true, Size: true, HighestModSeq: true}).Wait()
	require.NoError(t, err)
	assert.EqualValues(t, 1, *st.NumMessages)
	assert.EqualValues(t, 2, st.UIDNext)
	assert.EqualValues(t, 1, *st.NumUnseen)
	assert.EqualValues(t, 1, *st.Size)
	assert.NotZero(t, st.HighestModSeq)

	require.NoError(t, c.Rename("a b", "c d", nil).Wait())
	assert.Nil(t, u.Mailbox("a b"))
	require.NoError(t, c.Subscribe("c d").Wait())
	assert.True(t, u.Subscribed("c d"))
	require.NoError(t, c.Unsubscribe("c d").Wait())
	assert.False(t, u.Subscribed("c d"))
	require.NoError(t, c.Delete("c d").Wait())
	assert.Nil(t, u.Mailbox("c d"))
	require.Error(t, c.Delete("INBOX").Wait())

	ns, err := c.Namespace().Wait()
	require.NoError(t, err)
	assert.Equal(t, []imap.NamespaceDescriptor{{Prefix: "", Delim: '/'}}, ns.Personal)
}

func TestOracleFlagsSearchExpunge(t *testing.T) {
	s, u := start(t, imapserver.Options{})
	in := u.Mailbox("INBOX")
	for i := range 10 {
		in.Add(imapserver.Message{
			Body: []byte("Subject: number " + strings.Repeat("i", i) + "\r\n\r\nbody\r\n"),
			Date: time.Date(2020, 1, 1+i, 12, 0, 0, 0, time.UTC),
		})
	}
	c := oracle(t, dial(t, s))
	_, err := c.Select("INBOX", nil).Wait()
	require.NoError(t, err)
	require.NoError(t, c.Store(imap.UIDSetNum(2, 3, 5), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{`\Deleted`, "kw"}}, nil).Close())
	require.NoError(t, c.Store(imap.UIDSetNum(3), &imap.StoreFlags{Op: imap.StoreFlagsDel, Silent: true, Flags: []imap.Flag{`\deleted`}}, nil).Close())
	got, err := c.Store(imap.SeqSetNum(10), &imap.StoreFlags{Op: imap.StoreFlagsSet, Flags: []imap.Flag{`\Flagged`}}, nil).Collect()
	require.NoError(t, err)
	require.Len(t, got, 1)
	assert.Contains(t, got[0].Flags, imap.FlagFlagged)

	search := func(want []imap.UID, criteria *imap.SearchCriteria) {
		t.Helper()
		data, err := c.UIDSearch(criteria, nil).Wait()
		require.NoError(t, err)
		assert.Equal(t, want, data.AllUIDs())
	}
	search([]imap.UID{2, 5}, &imap.SearchCriteria{Flag: []imap.Flag{imap.FlagDeleted}})
	search([]imap.UID{2, 3, 5}, &imap.SearchCriteria{Flag: []imap.Flag{"KW"}})
	search([]imap.UID{9, 10}, &imap.SearchCriteria{Since: time.Date(2020, 1, 9, 0, 0, 0, 0, time.UTC)})
	search([]imap.UID{1, 2}, &imap.SearchCriteria{Before: time.Date(2020, 1, 3, 0, 0, 0, 0, time.UTC)})
	search([]imap.UID{10}, &imap.SearchCriteria{Header: []imap.SearchCriteriaHeaderField{{Key: "subject", Value: "IIIIIIIII"}}})
	search([]imap.UID{4, 6}, &imap.SearchCriteria{UID: []imap.UIDSet{imap.UIDSetNum(4, 5, 6)}, NotFlag: []imap.Flag{imap.FlagDeleted}})
	search([]imap.UID{1, 10}, &imap.SearchCriteria{Or: [][2]imap.SearchCriteria{{{SeqNum: []imap.SeqSet{imap.SeqSetNum(1)}}, {Flag: []imap.Flag{imap.FlagFlagged}}}}})

	data, err := c.UIDSearch(&imap.SearchCriteria{}, &imap.SearchOptions{ReturnAll: true, ReturnCount: true, ReturnMin: true, ReturnMax: true}).Wait()
	require.NoError(t, err)
	assert.Equal(t, "1:10", data.All.String())
	assert.EqualValues(t, 10, data.Count)
	assert.EqualValues(t, 1, data.Min)
	assert.EqualValues(t, 10, data.Max)

	copied, err := c.Copy(imap.UIDSetNum(4, 10), "INBOX").Wait()
	require.NoError(t, err)
	assert.Equal(t, "11:12", copied.DestUIDs.String())

	gone, err := c.UIDExpunge(imap.UIDSetNum(1, 2)).Collect()
	require.NoError(t, err)
	assert.Equal(t, []uint32{2}, gone)
	gone, err = c.Expunge().Collect()
	require.NoError(t, err)
	assert.Equal(t, []uint32{4}, gone)
	assert.Equal(t, 10, in.Len())
	require.NoError(t, c.UnselectAndExpunge().Wait())
	require.NoError(t, c.Logout().Wait())
}

func TestOracleSections(t *testing.T) {
	s, u := start(t, imapserver.Options{})
	body := "Subject: one\r\n two\r\nX-A: 1\r\nx-a: 2\r\nFrom: A B <a@b.example>\r\n\r\ntext\r\n"
	u.Mailbox("INBOX").Add(imapserver.Message{Body: []byte(body)})
	c := oracle(t, dial(t, s))
	_, err := c.Select("INBOX", nil).Wait()
	require.NoError(t, err)
	header, rest := body[:strings.Index(body, "text")], "text\r\n"
	sections := map[string]*imap.FetchItemBodySection{
		header:                     {Peek: true, Specifier: imap.PartSpecifierHeader},
		rest:                       {Peek: true, Specifier: imap.PartSpecifierText},
		"X-A: 1\r\nx-a: 2\r\n\r\n": {Peek: true, Specifier: imap.PartSpecifierHeader, HeaderFields: []string{"X-A", "Missing"}},
		header[:len("Subject: one\r\n two\r\n")] + "From: A B <a@b.example>\r\n\r\n": {Peek: true, Specifier: imap.PartSpecifierHeader, HeaderFieldsNot: []string{"x-a"}},
		body[9:14]: {Peek: true, Partial: &imap.SectionPartial{Offset: 9, Size: 5}},
	}
	for want, section := range sections {
		got, err := c.Fetch(imap.SeqSetNum(1), &imap.FetchOptions{Envelope: true, BodySection: []*imap.FetchItemBodySection{section}}).Collect()
		require.NoError(t, err)
		require.Len(t, got, 1)
		assert.Equal(t, want, string(got[0].FindBodySection(section)))
		assert.Equal(t, "one two", got[0].Envelope.Subject)
		assert.Equal(t, "a@b.example", got[0].Envelope.From[0].Addr())
	}
	assert.Empty(t, u.Mailbox("INBOX").Messages()[0].Flags, "PEEK sets no flag")
	_, err = c.Fetch(imap.SeqSetNum(1), &imap.FetchOptions{BodySection: []*imap.FetchItemBodySection{{}}}).Collect()
	require.NoError(t, err)
	assert.Equal(t, []mailhaul.Flag{`\Seen`}, u.Mailbox("INBOX").Messages()[0].Flags)
}
