package uidmap

// This file writes and reads the map from the messages of a source to those of
// a target, as other tools get it.

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"

	"github.com/mailhaul/mailhaul"
)

// MapMailbox is a mailbox of a map: both sides' names, as the protocols have
// them, and the UIDVALIDITYs that the UIDs are true for.
//
// A POP3 source has neither: its UIDs are those that the checkpoint gave its
// messages, and mean nothing to anybody else; what its messages are known by is
// their UIDL.
type MapMailbox struct {
	Source         string
	SourceValidity mailhaul.UIDValidity
	Target         string
	TargetValidity mailhaul.UIDValidity
}

// MapEntry is a message of a map: its UIDs on both sides, and the unique-id
// that it has over POP3 at the source, empty where that is not known.
type MapEntry struct {
	Source, Target mailhaul.UID
	UIDL           mailhaul.UIDL
}

// MapWriter writes a map, message by message. It is for one goroutine.
//
// The text form is stable, so that scripts may rely on it. It is that of
// [UIDLMap], for several mailboxes and with both UIDs: lines that end with LF,
// in UTF-8, of which the first is
//
//	mailhaul map 1
//
// where 1 is the version of the form. Each mailbox has two lines,
//
//	source uidvalidity N mailbox "NAME"
//	target uidvalidity N mailbox "NAME"
//
// with the names quoted as Go strings, and then one for each of its messages
// that is on the target, in ascending order of the source's UIDs:
//
//	SOURCE-UID TARGET-UID
//	SOURCE-UID TARGET-UID UIDL
//
// with one blank between. A UIDL has no blanks in it. Lines that begin with "#"
// are comments, and empty lines are passed over.
type MapWriter struct {
	w    *bufio.Writer
	last mailhaul.UID // of the mailbox's messages
	in   bool         // a mailbox was begun
}

const mapHeader = "mailhaul map 1"

// NewMapWriter returns a MapWriter that writes to w. The caller calls Flush in
// the end.
func NewMapWriter(w io.Writer) *MapWriter {
	m := &MapWriter{w: bufio.NewWriter(w)}
	m.w.WriteString(mapHeader + "\n") // an error is Flush's to tell
	return m
}

// Mailbox begins a mailbox.
func (m *MapWriter) Mailbox(b MapMailbox) error {
	m.in, m.last = true, 0
	_, err := fmt.Fprintf(m.w, "source uidvalidity %d mailbox %q\ntarget uidvalidity %d mailbox %q\n", b.SourceValidity, b.Source, b.TargetValidity, b.Target)
	return err
}

// Message writes a message of the mailbox that was begun last. It returns an
// error, and writes nothing, where a UID is 0, the source's is not above that of
// the message before, or the UIDL is neither empty nor one.
func (m *MapWriter) Message(e MapEntry) error {
	if !m.in || e.Source <= m.last || e.Target == 0 || e.UIDL != "" && !ValidUIDL(e.UIDL) {
		return fmt.Errorf("uidmap: UID %d, behind %d, to %d with the UIDL %.100q cannot be written", e.Source, m.last, e.Target, string(e.UIDL))
	}
	m.last = e.Source
	b := strconv.AppendUint(m.w.AvailableBuffer(), uint64(e.Source), 10)
	b = strconv.AppendUint(append(b, ' '), uint64(e.Target), 10)
	if e.UIDL != "" {
		b = append(append(b, ' '), e.UIDL...)
	}
	_, err := m.w.Write(append(b, '\n'))
	return err
}

// Flush writes what is still in memory. It returns the first error of all
// calls.
func (m *MapWriter) Flush() error { return m.w.Flush() }

// MapLine is a message of a map with its mailbox. A mailbox without messages
// has one line, with an entry that is zero.
type MapLine struct {
	Mailbox MapMailbox
	Message MapEntry
}

// ReadMap yields what a MapWriter has written, in its order, and holds one line
// of it in memory. After an error, which names the line, it ends.
func ReadMap(r io.Reader) iter.Seq2[MapLine, error] {
	return func(yield func(MapLine, error) bool) {
		in := bufio.NewScanner(r)
		in.Buffer(nil, 64<<10)
		p := mapParser{}
		number := 0
		for in.Scan() {
			number++
			line := in.Text()
			if line == "" || line[0] == '#' {
				continue
			}
			out, have, err := p.line(line)
			if err != nil {
				yield(MapLine{}, fmt.Errorf("uidmap: line %d: %w", number, err))
				return
			}
			if have && !yield(out, nil) {
				return
			}
		}
		switch err := in.Err(); {
		case err != nil:
			yield(MapLine{}, fmt.Errorf("uidmap: line %d: %w", number+1, err))
		case !p.begun:
			yield(MapLine{}, errors.New("uidmap: this is no map"))
		case p.half:
			yield(MapLine{}, errors.New("uidmap: the map ends in the middle of a mailbox"))
		case p.bare:
			yield(MapLine{Mailbox: p.box}, nil)
		}
	}
}

// mapParser is how far ReadMap is.
type mapParser struct {
	begun bool
	half  bool // the source of a mailbox is known, and its target is not
	in    bool // both are
	bare  bool // and no message was seen
	box   MapMailbox
	last  mailhaul.UID
}

// line takes a line, and returns what is to be yielded.
func (p *mapParser) line(line string) (out MapLine, have bool, err error) {
	if !p.begun {
		p.begun = line == mapHeader
		if !p.begun {
			return out, false, fmt.Errorf("it is not %q", mapHeader)
		}
		return out, false, nil
	}
	word, rest, _ := strings.Cut(line, " ")
	switch {
	case word == "source" && !p.half:
		out, have = MapLine{Mailbox: p.box}, p.bare
		p.box, p.half, p.in, p.bare, p.last = MapMailbox{}, true, false, false, 0
		p.box.Source, p.box.SourceValidity, err = parseMapMailbox(rest)
		return out, have, err
	case word == "target" && p.half:
		p.half, p.in, p.bare = false, true, true
		p.box.Target, p.box.TargetValidity, err = parseMapMailbox(rest)
		return out, false, err
	}
	target, uidl, more := strings.Cut(rest, " ")
	from, err1 := strconv.ParseUint(word, 10, 32)
	to, err2 := strconv.ParseUint(target, 10, 32)
	e := MapEntry{mailhaul.UID(from), mailhaul.UID(to), mailhaul.UIDL(uidl)}
	if !p.in || err1 != nil || err2 != nil || e.Source <= p.last || e.Target == 0 || more && !ValidUIDL(e.UIDL) {
		return out, false, errors.New("neither a message nor anything else that belongs here")
	}
	p.last, p.bare = e.Source, false
	return MapLine{p.box, e}, true, nil
}

func parseMapMailbox(text string) (string, mailhaul.UIDValidity, error) {
	text, ok := strings.CutPrefix(text, "uidvalidity ")
	number, quoted, found := strings.Cut(text, " mailbox ")
	n, err := strconv.ParseUint(number, 10, 32)
	if !ok || !found || err != nil {
		return "", 0, errors.New("this is no mailbox")
	}
	name, err := strconv.Unquote(quoted)
	return name, mailhaul.UIDValidity(n), err
}
