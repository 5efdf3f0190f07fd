// Reading: what the server would show of the mailbox.

package maildir

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailhaul/mailhaul"
)

// reader is a mailbox that is open for reading.
type reader struct {
	f      folder
	view   *view // as it was when the mailbox was opened
	closed atomic.Bool

	mu     sync.Mutex // protects what follows
	latest *view
	stamps [3]stamp  // of the list, cur and new, from before latest was read
	looked time.Time // when that was
}

// look returns the mailbox as it is now. It is read again only if it may have
// changed: a listing of a large mailbox asks for it many times.
func (r *reader) look() (*view, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	stamps := [3]stamp{r.f.stampOf(r.f.listName()), r.f.stampOf("cur"), r.f.stampOf("new")}
	settled := true // a change in the same moment would leave the same time
	for _, s := range r.stamps {
		settled = settled && s.time.Before(r.looked.Add(-2*time.Second))
	}
	if r.latest != nil && settled && stamps == r.stamps {
		return r.latest, nil
	}
	v, err := r.f.look()
	if err == nil {
		r.latest, r.stamps, r.looked = v, stamps, now
	}
	return v, err
}

// statusOf describes a mailbox. No mod-sequences are known: Dovecot keeps them
// in its index.
func (v *view) status() mailhaul.Status {
	s := mailhaul.Status{Messages: uint32(len(v.messages)), UIDNext: v.list.next, UIDValidity: v.list.validity, AnyKeyword: true}
	for _, l := range infoLetters {
		s.Flags = append(s.Flags, l.flag)
	}
	return s
}

// Status implements [mailhaul.Reader].
func (r *reader) Status() mailhaul.Status { return r.view.status() }

// Close implements [mailhaul.Reader].
func (r *reader) Close() error { r.closed.Store(true); return nil }

func (r *reader) check(ctx context.Context) error {
	if r.closed.Load() || r.f.closed.Load() {
		return r.f.fail("read", mailhaul.Permanent, mailhaul.ScopeConnection, mailhaul.ErrClosed)
	}
	return ctx.Err()
}

// UIDs implements [mailhaul.Reader].
func (r *reader) UIDs(ctx context.Context) (mailhaul.UIDSet, error) {
	if err := r.check(ctx); err != nil {
		return nil, err
	}
	v, err := r.look()
	if err == nil && (v.list == nil || v.list.validity != r.view.list.validity) {
		err = r.f.fail("read", mailhaul.Conflict, mailhaul.ScopeMailbox, errors.New("its UIDVALIDITY changed"))
	}
	if err != nil {
		return nil, r.f.wrap("read", err)
	}
	var set mailhaul.UIDSet
	for _, m := range v.messages {
		set.Add(m.uid)
	}
	return set, nil
}

// Messages implements [mailhaul.Reader].
func (r *reader) Messages(ctx context.Context, set mailhaul.UIDSet, fields mailhaul.Fields, _ mailhaul.ModSeq) iter.Seq2[mailhaul.Message, error] {
	return func(yield func(mailhaul.Message, error) bool) {
		fail := func(err error) { yield(mailhaul.Message{}, r.f.wrap("read", err)) }
		if err := r.check(ctx); err != nil {
			fail(err)
			return
		}
		v, err := r.look() // flags, and with them names, may be others by now
		var keywords func(stored) []mailhaul.Flag
		if err == nil && fields&mailhaul.FieldFlags != 0 {
			keywords, err = r.f.keywords()
		}
		if err != nil {
			fail(err)
			return
		}
		for _, m := range v.messages {
			if !set.Contains(m.uid) {
				continue
			}
			if err := r.check(ctx); err != nil {
				fail(err)
				return
			}
			msg, err := r.f.describe(m, fields)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				fail(err)
				return
			}
			if keywords != nil {
				msg.Flags = append(systemFlags(lettersOf(m.file)), keywords(m)...)
			}
			if !yield(msg, nil) {
				return
			}
		}
	}
}

// keywords returns what tells the keywords of a message.
func (f folder) keywords() (func(stored) []mailhaul.Flag, error) {
	if f.flavor == Courier {
		all, err := f.courierKeywords()
		return func(m stored) []mailhaul.Flag { return all[m.base] }, err
	}
	k, err := f.dovecotKeywords()
	return func(m stored) []mailhaul.Flag { return k.flags(lettersOf(m.file)) }, err
}

// describe reads what is asked for of a message, but for its flags.
func (f folder) describe(m stored, fields mailhaul.Fields) (mailhaul.Message, error) {
	msg := mailhaul.Message{UID: m.uid}
	if size, ok := f.sizeInName(m); ok && fields&mailhaul.FieldSize != 0 {
		msg.Size = size
		fields &^= mailhaul.FieldSize
	}
	if fields&(mailhaul.FieldSize|mailhaul.FieldDate|mailhaul.FieldHeader|mailhaul.FieldWholeHeader) == 0 {
		return msg, nil
	}
	in, err := f.openMessage(&m)
	if err != nil {
		return msg, err
	}
	defer in.Close()
	if fields&mailhaul.FieldDate != 0 {
		info, err := in.Stat()
		if err != nil {
			return msg, err
		}
		msg.InternalDate = info.ModTime()
	}
	if fields&(mailhaul.FieldHeader|mailhaul.FieldWholeHeader) != 0 {
		if msg.Header, err = headerFields(in, fields&mailhaul.FieldWholeHeader != 0); err != nil {
			return msg, err
		}
		if _, err := in.Seek(0, io.SeekStart); err != nil {
			return msg, err
		}
	}
	if fields&mailhaul.FieldSize != 0 {
		msg.Size, err = f.flavor.shownSize(in)
	}
	return msg, err
}

// sizeInName returns the size that Dovecot keeps in the file's name.
func (f folder) sizeInName(m stored) (int64, bool) {
	if f.flavor != Dovecot {
		return 0, false
	}
	for part := range strings.SplitSeq(m.base, ",") {
		if text, ok := strings.CutPrefix(part, "W="); ok {
			n, err := strconv.ParseInt(text, 10, 64)
			return n, err == nil && n >= 0
		}
	}
	return 0, false
}

// openMessage opens a message's file, under its new name where its flags have
// changed.
func (f folder) openMessage(m *stored) (*os.File, error) {
	in, err := f.disk.open(f.file(m.file))
	for range 3 {
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
		files, serr := f.scan()
		if serr != nil {
			return nil, serr
		}
		if files[m.base] == "" {
			break
		}
		m.file = files[m.base]
		in, err = f.disk.open(f.file(m.file))
	}
	return in, err
}

// maxHeader bounds what is read of a message to find its header fields.
const maxHeader = 1 << 20

// headerFields returns the fields that FieldHeader stands for, or all.
func headerFields(file io.Reader, all bool) ([]byte, error) {
	in := bufio.NewReader(io.LimitReader(file, maxHeader))
	var out []byte
	keep := false
	for {
		line, err := in.ReadBytes('\n')
		text := bytes.TrimRight(line, "\r\n")
		if len(text) == 0 {
			if err != nil && err != io.EOF {
				return nil, err
			}
			return append(out, '\r', '\n'), nil
		}
		if text[0] != ' ' && text[0] != '\t' {
			name, _, _ := bytes.Cut(text, []byte(":"))
			keep = slices.ContainsFunc([]string{"Message-ID", "Date", "Subject", "From"}, func(f string) bool {
				return strings.EqualFold(f, string(bytes.TrimSpace(name)))
			})
		}
		if keep || all {
			out = append(append(out, text...), '\r', '\n')
		}
		if err == io.EOF {
			return append(out, '\r', '\n'), nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// Fetch implements [mailhaul.Reader]. No body takes memory: each is read from
// its file, which stays open until Release.
func (r *reader) Fetch(ctx context.Context, set mailhaul.UIDSet, _ bool) (iter.Seq2[mailhaul.Fetched, error], error) {
	if err := r.check(ctx); err != nil {
		return nil, err
	}
	messages := r.view.messages
	return func(yield func(mailhaul.Fetched, error) bool) {
		for _, m := range messages {
			if !set.Contains(m.uid) {
				continue
			}
			err := r.check(ctx)
			var b *body
			if err == nil {
				b, err = r.f.body(m)
			}
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				yield(mailhaul.Fetched{}, r.f.wrap("read", err))
				return
			}
			if !yield(mailhaul.Fetched{UID: m.uid, Body: b}, nil) {
				return
			}
		}
	}, nil
}

// smallBody is up to what size a body is held in memory, rather than a file
// open for it: processes have a limit on open files.
const smallBody = 64 << 10

// body opens a message.
func (f folder) body(m stored) (*body, error) {
	in, err := f.openMessage(&m)
	if err != nil {
		return nil, err
	}
	info, err := in.Stat()
	if err != nil {
		in.Close()
		return nil, err
	}
	b := &body{flavor: f.flavor}
	if info.Size() <= smallBody {
		defer in.Close()
		b.text, err = io.ReadAll(f.flavor.shown(in))
		b.size = int64(len(b.text))
		return b, err
	}
	b.file = in
	b.fileSize = info.Size()
	if b.size, err = f.flavor.shownSize(in); err != nil {
		in.Close()
		return nil, err
	}
	return b, nil
}

// body is a message, as the server would show it.
type body struct {
	flavor   Flavor
	size     int64
	text     []byte
	file     *os.File // nil where text holds it
	fileSize int64
}

func (b *body) Size() int64    { return b.size }
func (b *body) Buffered() bool { return true }

func (b *body) Reader() io.Reader {
	if b.file == nil {
		return bytes.NewReader(b.text)
	}
	return b.flavor.shown(io.NewSectionReader(b.file, 0, b.fileSize))
}

func (b *body) Release() {
	if b.file != nil {
		b.file.Close()
	}
	b.text = nil
}
