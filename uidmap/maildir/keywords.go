// Keywords: Dovecot's are letters in file names, with a list of what they mean;
// Courier's are files.

package maildir

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/mailhaul/mailhaul"
)

// maxKeywords is how many keywords of a mailbox Dovecot has letters for. It
// keeps those beyond in its index only, where nobody else can.
const maxKeywords = 26

const maxKeywordFile = 4 << 20

// dovecotKeywords are the keywords of a mailbox by their letters.
type dovecotKeywords [maxKeywords]mailhaul.Flag

func parseDovecotKeywords(text []byte) (k dovecotKeywords) {
	for line := range bytes.Lines(text) {
		number, name, ok := strings.Cut(strings.TrimRight(string(line), "\r\n"), " ")
		n, err := strconv.ParseUint(number, 10, 16)
		if flag := mailhaul.Flag(name); ok && err == nil && n < maxKeywords && flag.Keyword() {
			k[n] = flag
		}
	}
	return k
}

// add returns the letter of a keyword; false where there is none left. It
// reports whether the keyword is new.
func (k *dovecotKeywords) add(flag mailhaul.Flag) (letter byte, ok, isNew bool) {
	free := -1
	for i, have := range k {
		if have.Equal(flag) {
			return 'a' + byte(i), true, false
		}
		if have == "" && free < 0 {
			free = i
		}
	}
	if free < 0 {
		return 0, false, false
	}
	k[free] = flag
	return 'a' + byte(free), true, true
}

func (k *dovecotKeywords) flags(letters string) []mailhaul.Flag {
	var flags []mailhaul.Flag
	for i, flag := range k {
		if flag != "" && strings.IndexByte(letters, 'a'+byte(i)) >= 0 {
			flags = append(flags, flag)
		}
	}
	return flags
}

func (f folder) dovecotKeywords() (dovecotKeywords, error) {
	text, err := f.disk.read(f.file("dovecot-keywords"), maxKeywordFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return dovecotKeywords{}, err
	}
	return parseDovecotKeywords(text), nil
}

// letters returns the letters of the messages' keywords, and of each message
// how many it has to do without. New keywords go into the mailbox's list, under
// the lock of that list.
func (f folder) letters(ctx context.Context, messages [][]mailhaul.Flag) (letters [][]byte, dropped []int, err error) {
	letters, dropped = make([][]byte, len(messages)), make([]int, len(messages))
	assign := func(k *dovecotKeywords) (isNew bool) {
		for i, flags := range messages {
			letters[i], dropped[i] = nil, 0
			for _, flag := range flags {
				letter, ok, fresh := k.add(flag)
				isNew = isNew || fresh
				if ok {
					letters[i] = append(letters[i], letter)
				} else {
					dropped[i]++
				}
			}
		}
		return isNew
	}
	k, err := f.dovecotKeywords()
	if err != nil || !assign(&k) {
		return letters, dropped, err
	}
	// The lock is the file that becomes the new one, as Dovecot has it.
	name, lock := f.file("dovecot-keywords"), f.file("dovecot-keywords.lock")
	unlock, err := f.dotlock(ctx, lock, name)
	if err != nil {
		return nil, nil, err
	}
	old, err := f.disk.read(name, maxKeywordFile)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err == nil {
		k = parseDovecotKeywords(old)
		had := k
		if assign(&k) {
			// What is beyond the letters is Dovecot's, and stays.
			text := bytes.TrimRight(old, "\n")
			if len(text) > 0 {
				text = append(text, '\n')
			}
			for i, flag := range k {
				if flag != had[i] {
					text = fmt.Appendf(text, "%d %s\n", i, flag)
				}
			}
			err = f.disk.replace(name, f.tempName(), text)
		}
	}
	return letters, dropped, errors.Join(err, unlock())
}

// courierKeywordsDir holds a file of keywords for each message that changed of
// late, and ":list" for all others.
const courierKeywordsDir = "courierimapkeywords"

// courierKeywords reads the keywords of the mailbox's messages, by file name.
func (f folder) courierKeywords() (map[string][]mailhaul.Flag, error) {
	keywords := make(map[string][]mailhaul.Flag)
	text, err := f.disk.read(f.file(courierKeywordsDir+"/:list"), maxKeywordFile*16)
	if err == nil {
		parseKeywordList(text, keywords)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	// A file without a number is the newest, and else the one with the highest.
	newest := make(map[string]uint64)
	for e, err := range f.disk.entries(f.file(courierKeywordsDir)) {
		if errors.Is(err, fs.ErrNotExist) {
			return keywords, nil
		}
		if err != nil {
			return nil, err
		}
		base, number := e.Name(), uint64(1)<<63
		if base[0] == ':' {
			continue
		}
		if rest, ok := strings.CutPrefix(base, "."); ok {
			n, name, _ := strings.Cut(rest, ".")
			if number, err = strconv.ParseUint(n, 10, 62); err != nil || name == "" {
				continue
			}
			base = name
		}
		if n, seen := newest[base]; seen && n > number {
			continue
		}
		text, err := f.disk.read(f.file(courierKeywordsDir+"/"+e.Name()), maxKeywordFile)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a server tidied up
		}
		if err != nil {
			return nil, err
		}
		newest[base] = number
		keywords[base] = parseKeywordLines(text)
	}
	return keywords, nil
}

func parseKeywordLines(text []byte) []mailhaul.Flag {
	var flags []mailhaul.Flag
	for line := range bytes.Lines(text) {
		if flag := mailhaul.Flag(strings.TrimRight(string(line), "\r\n")); flag.Keyword() {
			flags = append(flags, flag)
		}
	}
	return flags
}

// parseKeywordList reads ":list": the keywords, an empty line, and a line for
// each message with the numbers of those that it has.
func parseKeywordList(text []byte, into map[string][]mailhaul.Flag) {
	in := bufio.NewScanner(bytes.NewReader(text))
	in.Buffer(nil, 64<<10)
	var names []mailhaul.Flag
	for in.Scan() && in.Text() != "" {
		names = append(names, mailhaul.Flag(in.Text()))
	}
	for in.Scan() {
		base, numbers, ok := cutLast(in.Text(), ':')
		if !ok {
			continue
		}
		var flags []mailhaul.Flag
		for number := range strings.FieldsSeq(numbers) {
			if n, err := strconv.Atoi(number); err == nil && n >= 0 && n < len(names) && names[n].Keyword() {
				flags = append(flags, names[n])
			}
		}
		into[base] = flags
	}
}

// setCourierKeywords gives a message its keywords.
func (f folder) setCourierKeywords(base string, flags []mailhaul.Flag) error {
	if err := f.disk.mkdir(f.file(courierKeywordsDir)); err != nil {
		return err
	}
	var text []byte
	for _, flag := range flags {
		text = append(append(text, flag...), '\n')
	}
	temp := f.tempName()
	if err := f.disk.write(temp, text); err != nil {
		return err
	}
	return f.disk.rename(temp, f.file(courierKeywordsDir+"/"+base))
}
