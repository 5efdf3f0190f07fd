// The file of a checkpoint as a power failure leaves it: some pages of a
// commit are written, the last of them torn.

package faultlab

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

// Of bbolt's format: the size of a page, and the flag in its header that says
// that it names other pages.
const (
	pageSize   = 4096
	branchPage = 1
)

// photographer is a Store that keeps an image of the file after each commit.
type photographer struct {
	checkpoint.Store
	path string

	mu     sync.Mutex // protects images, and makes Commits one at a time
	images [][]byte
}

func (p *photographer) Commit(ctx context.Context, ops []checkpoint.Op) error {
	p.mu.Lock() // no other may write while the picture is taken
	defer p.mu.Unlock()
	if err := p.Store.Commit(ctx, ops); err != nil {
		return err
	}
	image, err := os.ReadFile(p.path)
	p.images = append(p.images, image)
	return err
}

// TestFileCutAfterEachPage records a migration on a real file. Between each
// two images it plays the writing of the pages, in bbolt's order (data, then
// one of the two meta pages), cuts after each, and tears the last. What is
// opened then is the checkpoint of before or after the commit. Where the disk
// wrote the meta page first, although it was told not to, it may be an error, or
// a state that each mailbox was in after an earlier commit of its own, which
// costs time and nothing else.
//
// A disk that leaves out a branch page can make bbolt run in a circle. That is
// not tried.
func TestFileCutAfterEachPage(t *testing.T) {
	rnd := random(t, 4)
	dir := t.TempDir()
	images := record(t, filepath.Join(dir, "recorded.db"))
	var honest, lying atomic.Int64
	place := filepath.Join(dir, "cut.db")
	earlier := map[string]bool{} // states that a mailbox was in
	known := func(content string) bool {
		for box, octets := range mailboxes(content) {
			if !earlier[box+octets] {
				return false
			}
		}
		return true
	}
	for i := 1; i < len(images); i++ {
		old, now := images[i-1], images[i]
		want := [2]string{content(t, place, old), content(t, place, now)}
		for _, c := range want {
			for box, octets := range mailboxes(c) {
				earlier[box+octets] = true
			}
		}
		var data, meta []int
		for _, page := range changed(old, now) {
			if page < 2 {
				meta = append(meta, page)
			} else {
				data = append(data, page)
			}
		}
		if raceEnabled && i%10 != 0 {
			continue
		}
		// The file grows before anything is written.
		base := make([]byte, max(len(old), len(now)))
		copy(base, old)
		judge := func(image []byte, what string, lied bool) {
			t.Helper()
			got, err := open(place, image, lied)
			switch {
			case lied:
				lying.Add(1)
				if err != nil && !clear(err) {
					t.Errorf("commit %d, %s: not a clear error: %v", i, what, err)
				}
			default:
				honest.Add(1)
				if err != nil {
					t.Errorf("commit %d, %s: %v", i, what, err)
				}
			}
			if err == nil && got != want[0] && got != want[1] && !(lied && known(got)) {
				t.Errorf("commit %d, %s: a wrong map", i, what)
			}
		}
		// In order, the last page torn.
		image := bytes.Clone(base)
		for k, page := range append(append([]int{}, data...), meta...) {
			cut := 1 + rnd.IntN(pageSize-1)
			torn := bytes.Clone(image)
			write(torn, now, page, cut)
			judge(torn, fmt.Sprintf("%d pages, and %d octets of page %d", k, cut, page), false)
			if page < 2 { // tear where the fields are
				torn = bytes.Clone(image)
				cut = 16 + rnd.IntN(64)
				write(torn, now, page, cut)
				judge(torn, fmt.Sprintf("all data, and %d octets of meta page %d", cut, page), false)
			}
			write(image, now, page, pageSize)
			judge(image, fmt.Sprintf("%d pages", k+1), false)
		}
		// In any order, as long as nothing was synced.
		for range 3 {
			image := bytes.Clone(base)
			for _, page := range data {
				write(image, now, page, rnd.IntN(2)*rnd.IntN(pageSize+1))
			}
			judge(image, "some data pages", false)
		}
		// A disk that does not do what it said: the meta page is there, and
		// some of the data is not.
		for _, missing := range data {
			if binary.NativeEndian.Uint16(base[missing*pageSize+8:])&branchPage != 0 {
				continue
			}
			image := bytes.Clone(now)
			copy(image[missing*pageSize:(missing+1)*pageSize], base[missing*pageSize:])
			judge(image, fmt.Sprintf("all but page %d", missing), true)
			torn := bytes.Clone(image)
			write(torn, now, missing, 512*(1+rnd.IntN(7)))
			judge(torn, fmt.Sprintf("all but a part of page %d", missing), true)
		}
		if t.Failed() {
			return
		}
	}
	reached(t, "files cut", &honest, share(1000))
	reached(t, "files of a disk that lies", &lying, share(300))
}

// record migrates an account, several times, and returns the images of the file.
func record(t *testing.T, path string) [][]byte {
	w := newWorld(plain)
	w.cfg.BatchMessages = 3
	usual(w)
	store, err := checkpoint.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := &photographer{Store: store, path: path}
	start, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p.images = append(p.images, start)
	for i := range 5 {
		if l := w.live(t, nil, func(c *mailsync.Config) { c.Store = p }); l.err != nil {
			t.Fatal(l.err)
		}
		fill(w.source, "INBOX", 100*i+100, 100*i+150)
		w.cfg.BatchMessages = 10
		fill(w.source, "Many", 300*i, 300*i+300)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	return p.images
}

// changed lists the pages that differ.
func changed(a, b []byte) []int {
	var pages []int
	for at := 0; at < len(b); at += pageSize {
		end := min(at+pageSize, len(b))
		if at >= len(a) || !bytes.Equal(a[at:min(end, len(a))], b[at:end]) {
			pages = append(pages, at/pageSize)
		}
	}
	return pages
}

// write copies the first octets of a page.
func write(image, from []byte, page, octets int) {
	at := page * pageSize
	copy(image[at:], from[at:min(at+octets, len(from))])
}

// open returns all that a file holds. The pages are looked at, too, unless the
// disk lied: bbolt's own check takes for granted that they are a tree.
func open(path string, image []byte, lied bool) (string, error) {
	if err := os.WriteFile(path, image, 0o600); err != nil {
		return "", err
	}
	store, err := checkpoint.Open(path, nil)
	if err != nil {
		return "", err
	}
	defer store.Close()
	var checked checkpoint.Store = store
	if lied {
		checked = struct{ checkpoint.Store }{store}
	}
	if err := checkpoint.Check(context.Background(), checked); err != nil {
		return "", err
	}
	var all bytes.Buffer
	for kv, err := range store.Scan(context.Background(), nil, nil) {
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&all, "%x=%x\n", kv.Key, kv.Value)
	}
	return all.String(), nil
}

// mailboxes splits a content by the prefix that the keys of a mailbox share.
func mailboxes(content string) map[string]string {
	parts := map[string]string{}
	for line := range strings.Lines(content) {
		box := line[:min(len(line), 2*(1+8+4))]
		if key, _, _ := strings.Cut(line, "="); len(key) < len(box) {
			box = key
		}
		parts[box] += line
	}
	return parts
}

// content is open for files that are whole.
func content(t *testing.T, path string, image []byte) string {
	t.Helper()
	s, err := open(path, image, false)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// clear reports whether an operator can do something with an error.
func clear(err error) bool {
	e, ok := errors.AsType[*mailhaul.Error](err)
	return ok && e.Hint != "" && (e.Kind == mailhaul.Corrupt || e.Kind == mailhaul.Permanent)
}
