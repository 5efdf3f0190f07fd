package uidmap

// Formulas against what real servers were seen to say, and against themselves.

import (
	"crypto/md5"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/mailhaul/mailhaul"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFormulas(t *testing.T) {
	m := IMAPMessage{UID: 0xab12, GmailID: 0x149d8bf73becbfe0, GUID: "1700000000.M1P2.host", MessageID: "<1@example.org>"}
	const v = mailhaul.UIDValidity(0x5e2f00c1)
	want := map[string]mailhaul.UIDL{
		"uid+uidvalidity hex":                "0000ab125e2f00c1",
		"uidvalidity.uid":                    "1580138689.43794",
		"uid":                                "43794",
		"uidvalidity-uid":                    "1580138689-43794",
		"uidvalidity+uid hex":                "5e2f00c10000ab12",
		"uid+uidvalidity HEX":                "0000AB125E2F00C1",
		"uidvalidity+uid HEX":                "5E2F00C10000AB12",
		"GmailId":                            "GmailId149d8bf73becbfe0",
		"guid":                               "1700000000.M1P2.host",
		"md5 of guid":                        mailhaul.UIDL(fmt.Sprintf("%x", md5.Sum([]byte(m.GUID)))),
		"Message-ID":                         "<1@example.org>",
		"Message-ID without brackets":        "1@example.org",
		"md5 of Message-ID":                  mailhaul.UIDL(fmt.Sprintf("%x", md5.Sum([]byte("<1@example.org>")))),
		"md5 of Message-ID without brackets": mailhaul.UIDL(fmt.Sprintf("%x", md5.Sum([]byte("1@example.org")))),
	}
	require.Len(t, Formulas(), len(want))
	for _, f := range Formulas() {
		got, ok := f.UIDL(m, v)
		assert.True(t, ok, f)
		assert.Equal(t, want[f.String()], got, f)
		again, ok := FormulaNamed(f.String())
		assert.True(t, ok)
		assert.Equal(t, f, again)
		if uid, validity, ok := f.Parse(got); f.hasUID() {
			assert.True(t, ok, f)
			assert.Equal(t, m.UID, uid, f)
			if f.hasUIDValidity() {
				assert.Equal(t, v, validity, f)
			}
		}
		_, ok = f.UIDL(IMAPMessage{}, 0)
		assert.False(t, ok, "%v of nothing", f)
	}
	_, ok := FormulaNamed("none")
	assert.False(t, ok)
	_, ok = Formula{}.UIDL(m, v)
	assert.False(t, ok)
}

// A Message-ID that cannot be a UIDL is replaced by its MD5.
func TestOpenWaveLongMessageID(t *testing.T) {
	f, ok := FormulaNamed("Message-ID")
	require.True(t, ok)
	id := fmt.Sprintf("<%080d@example.org>", 1)
	u, ok := f.UIDL(IMAPMessage{UID: 1, MessageID: id}, 1)
	assert.True(t, ok)
	assert.Equal(t, mailhaul.UIDL(fmt.Sprintf("%x", md5.Sum([]byte(id)))), u)
	u, _ = f.UIDL(IMAPMessage{UID: 1, MessageID: "<a b@example.org>"}, 1)
	assert.Len(t, u, 32)
}

func TestCourierCounter(t *testing.T) {
	for uidl, want := range map[mailhaul.UIDL]int64{
		"UID17-99": 17, "UID4242": 4242, "17": 17, "UID1-0": 1,
		"": -1, "UID": -1, "UID-1": -1, "UID1-": -1, "UID01-2": -1, "1-2": -1, "UID1-2-3": -1,
		"UIDx-1": -1, "1700000000.M1P2.host": -1, "UID99999999999999999999-1": -1, "+1": -1,
	} {
		n, ok := courierCounter(uidl)
		assert.Equal(t, want >= 0, ok, uidl)
		if want >= 0 {
			assert.EqualValues(t, want, n, uidl)
		}
	}
}

// listingBy is a listing in which each message has the UIDL that make gives it.
func listingBy(n int, rng *rand.Rand, make func(m IMAPMessage) string) ([]POP3Message, []IMAPMessage) {
	var pop3 []POP3Message
	var imap []IMAPMessage
	uid := mailhaul.UID(rng.IntN(1000))
	for k := range n {
		uid += mailhaul.UID(1 + rng.IntN(5))
		m := IMAPMessage{
			UID: uid, Size: int64(1000 + rng.IntN(20_000)), GmailID: rng.Uint64(), GUID: fmt.Sprintf("%d.M%d", k, rng.Uint32()),
			MessageID: fmt.Sprintf("<%d.%d@example.org>", k, rng.Uint32()),
		}
		imap = append(imap, m)
		pop3 = append(pop3, POP3Message{Number: k + 1, UIDL: mailhaul.UIDL(make(m)), Size: m.Size})
	}
	return pop3, imap
}

func TestRecogniseEveryFormula(t *testing.T) {
	for seed := range uint64(20) {
		for _, f := range Formulas() {
			rng := rand.New(rand.NewPCG(seed, 5))
			pop3, imap := listingBy(100+rng.IntN(200), rng, func(m IMAPMessage) string {
				u, ok := f.UIDL(m, testUIDValidity)
				require.True(t, ok)
				return string(u)
			})
			rng.Shuffle(len(pop3), func(a, b int) { pop3[a], pop3[b] = pop3[b], pop3[a] })
			rng.Shuffle(len(imap), func(a, b int) { imap[a], imap[b] = imap[b], imap[a] })
			r := Recognise(pop3, imap, testUIDValidity)
			require.Equal(t, f, r.Formula)
			require.Empty(t, r.Check)
			require.Equal(t, len(pop3), r.Explained)
			require.Zero(t, r.Foreign+r.Gone)
		}
	}
}

func TestRecogniseRefuses(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	uid := func(m IMAPMessage) string { return fmt.Sprint(m.UID) }
	dovecot := func(m IMAPMessage) string { return fmt.Sprintf("%08x%08x", uint32(m.UID), testUIDValidity) }

	t.Run("nothing", func(t *testing.T) {
		assert.True(t, Recognise(nil, nil, 1).Formula.IsZero())
		pop3, imap := listingBy(20, rng, func(IMAPMessage) string { return "" })
		assert.True(t, Recognise(pop3, imap, 1).Formula.IsZero())
	})
	t.Run("a few numbers", func(t *testing.T) {
		pop3, imap := listingBy(5, rng, uid)
		assert.True(t, Recognise(pop3, imap, testUIDValidity).Formula.IsZero())
	})
	t.Run("numbers and a stranger", func(t *testing.T) {
		pop3, imap := listingBy(100, rng, uid)
		pop3[50].UIDL = "abc"
		assert.True(t, Recognise(pop3, imap, testUIDValidity).Formula.IsZero())
	})
	t.Run("numbers that sizes contradict must be checked", func(t *testing.T) {
		pop3, imap := listingBy(100, rng, uid)
		for n := range pop3[50:] {
			pop3[50+n].Size += 5000
		}
		r := Recognise(pop3, imap, testUIDValidity)
		assert.Equal(t, "uid", r.Formula.String())
		assert.NotEmpty(t, r.Check)
	})
	t.Run("numbers without sizes must be checked", func(t *testing.T) {
		pop3, imap := listingBy(100, rng, uid)
		for n := range pop3 {
			pop3[n].Size = 0
		}
		assert.Len(t, Recognise(pop3, imap, testUIDValidity).Check, maxChecks)
	})
	t.Run("numbers of messages of one size must be checked", func(t *testing.T) {
		pop3, imap := listingBy(100, rng, uid)
		for n := range pop3 {
			pop3[n].Size, imap[n].Size = 99, 99
		}
		assert.Len(t, Recognise(pop3, imap, testUIDValidity).Check, maxChecks)
	})
	t.Run("another UIDVALIDITY", func(t *testing.T) {
		pop3, imap := listingBy(100, rng, dovecot)
		assert.True(t, Recognise(pop3, imap, testUIDValidity+1).Formula.IsZero())
		assert.True(t, Recognise(pop3, imap, 0).Formula.IsZero())
	})
	t.Run("UIDLs of an earlier server are foreign", func(t *testing.T) {
		pop3, imap := listingBy(100, rng, dovecot)
		for n := range pop3[:60] {
			pop3[n].UIDL = mailhaul.UIDL(fmt.Sprintf("UID%d-1", n+1))
		}
		r := Recognise(pop3, imap, testUIDValidity)
		assert.Equal(t, "uid+uidvalidity hex", r.Formula.String())
		assert.Equal(t, []int{40, 0, 60}, []int{r.Explained, r.Gone, r.Foreign})
	})
	t.Run("duplicates are foreign", func(t *testing.T) {
		pop3, imap := listingBy(100, rng, dovecot)
		pop3[3].UIDL = pop3[4].UIDL
		r := Recognise(pop3, imap, testUIDValidity)
		assert.Equal(t, []int{98, 0, 2}, []int{r.Explained, r.Gone, r.Foreign})
	})
	t.Run("two formulas", func(t *testing.T) {
		// Both readings of "n.m" explain a message, and they disagree.
		pop3 := []POP3Message{{Number: 1, UIDL: "0000000100000002"}, {Number: 2, UIDL: "0000000200000001"}}
		imap := []IMAPMessage{{UID: 1}, {UID: 2}}
		for _, v := range []mailhaul.UIDValidity{1, 2} {
			assert.True(t, Recognise(pop3, imap, v).Formula.IsZero())
		}
	})
}

func FuzzFormulaParse(f *testing.F) {
	seeds := []string{"0000ab125e2f00c1", "1580138689.43794", "43794", "1-1", "5E2F00C10000AB12", "UID17-99", "GmailId1f", "", "0", "00.1", "4294967296.1"}
	for _, s := range seeds {
		f.Add(s)
	}
	require.NotEmpty(f, seeds)
	f.Fuzz(func(t *testing.T, s string) {
		for _, formula := range Formulas() {
			uid, v, ok := formula.Parse(mailhaul.UIDL(s))
			if !ok {
				continue
			}
			again, ok := formula.UIDL(IMAPMessage{UID: uid}, v)
			if !ok || string(again) != s {
				t.Fatalf("%v: %q is %d of %d, which is %q", formula, s, uid, v, again)
			}
		}
		if n, ok := courierCounter(mailhaul.UIDL(s)); ok && n > 1<<53 {
			t.Fatal(n)
		}
	})
}

func FuzzRecognise(f *testing.F) {
	f.Add("1.1 1.2 1.3", uint32(1), uint8(3))
	f.Add("0000000100000001 0000000200000001", uint32(1), uint8(2))
	f.Fuzz(func(t *testing.T, uidls string, v uint32, n uint8) {
		var pop3 []POP3Message
		for k, u := range splitFields(uidls) {
			pop3 = append(pop3, POP3Message{Number: k + 1, UIDL: mailhaul.UIDL(u), Size: int64(k)})
		}
		var imap []IMAPMessage
		for k := range n {
			imap = append(imap, IMAPMessage{UID: mailhaul.UID(k) + 1, Size: int64(k), MessageID: fmt.Sprint(k)})
		}
		r := Recognise(pop3, imap, mailhaul.UIDValidity(v))
		if r.Explained+r.Gone+r.Foreign != len(pop3) || len(r.pairs) != r.Explained {
			t.Fatalf("%+v of %d", r, len(pop3))
		}
		for _, p := range r.pairs {
			if u, ok := r.Formula.UIDL(imap[p.i], mailhaul.UIDValidity(v)); !ok || u != pop3[p.p].UIDL {
				t.Fatalf("%v: %v", r.Formula, p)
			}
		}
	})
}

func splitFields(s string) []string {
	var out []string
	start := 0
	for i := 0; i <= len(s); i++ {
		if i == len(s) || s[i] == ' ' {
			out = append(out, s[start:i])
			start = i + 1
		}
	}
	return out
}
