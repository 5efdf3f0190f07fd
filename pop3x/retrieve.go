package pop3x

// How messages are fetched: by TOP, which leaves them unread, where it returns
// what RETR does.

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/mailhaul/mailhaul"
)

// way returns what to ask for messages with. RETR marks mail as seen on some
// servers, Dovecot for one, even where the session breaks off. TOP with as many
// lines as there can be returns the same octets without that, on servers that
// are of good will: so it is compared with RETR on a few messages, once. Those
// are the oldest, which are the likeliest to have been read.
func (s *session) way(ctx context.Context) (lines int64, err error) {
	f := &s.src.facts
	switch {
	case s.cfg.RetrieveAlways, f.get(topDiffers):
		return retrieve, nil
	case f.get(topEqual):
		return allLines, nil
	case s.caps != nil && !s.caps.has("TOP"):
		s.noTop("the server has no TOP")
		return retrieve, nil
	}
	sample := s.sample()
	var items []*item
	for _, n := range sample {
		items = append(items,
			&item{number: n, lines: retrieve, listed: s.list[n-1].size},
			&item{number: n, lines: allLines, listed: s.list[n-1].size})
	}
	bodies := make([]*body, len(items))
	defer func() {
		for _, b := range bodies {
			if b != nil {
				b.Release()
			}
		}
	}()
	if err := s.all(ctx, items, func(i int, b *body, _ error) error {
		bodies[i] = b
		return nil
	}); err != nil {
		return 0, err
	}
	exact := true
	for i := 0; i < len(bodies); i += 2 {
		a, b := bodies[i], bodies[i+1]
		if a == nil { // not even RETR works: no evidence
			continue
		}
		if b == nil || !equal(a, b) {
			s.noTop("TOP does not return the same octets as RETR")
			return retrieve, nil
		}
		exact = exact && a.size == items[i].listed
	}
	if exact {
		f.set(sizesExact)
	}
	f.set(topEqual)
	return allLines, nil
}

func (s *session) noTop(why string) {
	s.src.facts.set(topDiffers)
	s.src.warn(fmt.Sprintf("%s, so messages are fetched by RETR, which may mark them as read on the source", why))
}

// sample chooses messages to compare TOP and RETR on: a few of the oldest that
// have a body worth the name and are not large.
func (s *session) sample() []int {
	most := 1
	if len(s.list) >= 20 {
		most = 3
	}
	old := make([]int, 0, 30)
	for n := 1; n <= min(len(s.list), cap(old)); n++ {
		old = append(old, n)
	}
	cost := func(n int) int64 { // far from the ideal size
		size := s.list[n-1].size
		if size < 3000 {
			return 3000 - size
		}
		return size - 3000
	}
	slices.SortStableFunc(old, func(a, b int) int { return int(min(max(cost(a)-cost(b), -1), 1)) })
	return old[:min(most, len(old))]
}

func equal(a, b *body) bool {
	if a.size != b.size {
		return false
	}
	if a.file == nil && b.file == nil {
		return bytes.Equal(a.head, b.head)
	}
	return sumOf(a) == sumOf(b)
}

func sumOf(b *body) (sum [sha256.Size]byte) {
	h := sha256.New()
	_, _ = io.Copy(h, b.Reader())
	h.Sum(sum[:0])
	return sum
}

// whole returns the item for a whole message. Where sizes are told exactly and
// TOP returns another number of octets, RETR has the last word.
func (s *session) whole(number int, lines int64, got func(*body, error)) *item {
	listed := s.list[number-1].size
	i := &item{number: number, lines: lines, listed: listed, got: got}
	if lines == retrieve {
		return i
	}
	i.got = func(b *body, err error) {
		switch {
		case err != nil && messageOnly(err), err == nil && b.size != listed && s.src.facts.get(sizesExact):
			s.fetch(&item{number: number, lines: retrieve, listed: listed, got: func(again *body, err error) {
				if err == nil && (b == nil || !equal(again, b)) {
					s.noTop("TOP does not return the same octets as RETR")
				}
				if b != nil {
					b.Release()
				}
				got(again, err)
			}})
		default:
			got(b, err)
		}
	}
	return i
}

// headers fetches the headers of messages: by TOP, or else whole messages.
func (s *session) headers(ctx context.Context, numbers []int, got func(i int, header []byte)) error {
	lines := int64(0)
	if s.cfg.RetrieveAlways || s.caps != nil && !s.caps.has("TOP") {
		lines = retrieve
	}
	ask := func(which []int, lines int64) (refused []int, err error) {
		items := make([]*item, len(which))
		for k, i := range which {
			n := numbers[i]
			items[k] = &item{number: n, lines: lines, listed: s.list[n-1].size}
		}
		err = s.all(ctx, items, func(k int, b *body, err error) error {
			if err != nil {
				refused = append(refused, which[k])
				return nil
			}
			got(which[k], headerOf(b.head))
			b.Release()
			return nil
		})
		return refused, err
	}
	all := make([]int, len(numbers))
	for i := range all {
		all[i] = i
	}
	refused, err := ask(all, lines)
	if err == nil && len(refused) > 0 && lines != retrieve {
		_, err = ask(refused, retrieve) // what has no header even then is described without
	}
	return err
}

// headerOf returns the header of a message, with the empty line at its end.
func headerOf(octets []byte) []byte {
	end := 0
	for line := range bytes.Lines(octets) {
		end += len(line)
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			break
		}
	}
	return octets[:end]
}

// keyFields returns the lines of the fields that Message.Header is to hold.
func keyFields(header []byte) []byte {
	var out []byte
	keep := false
	for line := range bytes.Lines(header) {
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			break
		}
		if line[0] != ' ' && line[0] != '\t' {
			name, _, _ := bytes.Cut(line, []byte(":"))
			switch strings.ToLower(string(bytes.TrimRight(name, " \t"))) {
			case "message-id", "date", "subject", "from":
				keep = true
			default:
				keep = false
			}
		}
		if keep {
			out = append(out, line...)
		}
	}
	return append(out, '\r', '\n')
}

// changing are the fields that servers and mail programs write into the header
// of a message that is there already, besides X- fields of theirs.
var changing = []string{"content-length", "return-path", "status", "x-imap", "x-imapbase", "x-keywords", "x-message-flag",
	"x-status", "x-uid", "x-uidl", "x-yahoo-newman-property"}

// identify gives each message a name of our own where the server has no
// unique-ids: a digest of its header, by TOP, and its size; or of all of it,
// where there is no TOP. A blank marks it as ours: no UIDL begins with one.
func (s *session) identify(ctx context.Context) error {
	if !s.own {
		for _, e := range s.list {
			if !proper(e.uidl) {
				s.src.warn("the server has unique-ids that RFC 1939 does not allow (longer than 70 octets, or with others than ! to ~)")
				break
			}
		}
		return nil
	}
	s.src.warn("the server has no unique-ids (UIDL): messages are told apart by their headers and sizes")
	for start := 0; start < len(s.list); start += headersAtOnce {
		var numbers []int
		for n := start + 1; n <= min(start+headersAtOnce, len(s.list)); n++ {
			numbers = append(numbers, n)
		}
		err := s.headers(ctx, numbers, func(i int, header []byte) {
			e := &s.list[numbers[i]-1]
			e.uidl = mailhaul.UIDL(fmt.Sprintf(" %s.%d", digest(header), e.size))
		})
		if err != nil {
			return err
		}
	}
	for i := range s.list {
		if e := &s.list[i]; e.uidl == "" { // the server hands out nothing of it
			e.uidl = mailhaul.UIDL(fmt.Sprintf(" unread.%d", e.size))
		}
	}
	return nil
}

func digest(header []byte) string {
	h := sha256.New()
	for name, value := range fields(header) {
		if name = strings.ToLower(name); !slices.Contains(changing, name) {
			fmt.Fprintf(h, "%s:%s\n", name, value)
		}
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:18])
}
