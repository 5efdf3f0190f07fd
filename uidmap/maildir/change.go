package maildir

// Changing the flags of messages that are in a mailbox.

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/mailhaul/mailhaul"
)

// Store implements [mailhaul.Writer].
func (w *writer) Store(ctx context.Context, changes []mailhaul.FlagChange) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.usable(ctx); err != nil {
		return err
	}
	err := w.commit(ctx)
	if err == nil {
		err = w.f.wrap("change flags in", w.f.store(ctx, changes))
	}
	if err != nil && w.dead == nil {
		w.dead = err
	}
	return err
}

func (f folder) store(ctx context.Context, changes []mailhaul.FlagChange) error {
	v, err := f.look()
	if err != nil {
		return err
	}
	byUID := make(map[mailhaul.UID]stored, len(v.messages))
	for _, m := range v.messages {
		byUID[m.uid] = m
	}
	keywords, err := f.keywords()
	if err != nil {
		return err
	}
	for _, c := range changes {
		m, ok := byUID[c.UID]
		if !ok {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.change(ctx, m, keywords(m), c); err != nil {
			return err
		}
	}
	return f.disk.syncDir(f.file("cur"))
}

// change gives one message other flags. Letters that mean nothing to us stay.
func (f folder) change(ctx context.Context, m stored, had []mailhaul.Flag, c mailhaul.FlagChange) error {
	add, _ := mailhaul.NormalizeFlags(c.Add)
	for range 10 {
		have := lettersOf(m.file)
		letters := []byte(have)
		drop := func(letter byte) {
			letters = slices.DeleteFunc(letters, func(l byte) bool { return l == letter })
		}
		for _, flag := range c.Remove {
			if letter, ok := systemLetter(flag); ok {
				drop(letter)
			}
		}
		for _, flag := range add {
			if letter, ok := systemLetter(flag); ok {
				letters = append(letters, letter)
			}
		}
		var words []mailhaul.Flag
		for _, flag := range add {
			if !flag.System() {
				words = append(words, flag)
			}
		}
		if f.flavor == Courier {
			left := slices.DeleteFunc(slices.Clone(had), func(k mailhaul.Flag) bool { return mailhaul.HasFlag(c.Remove, k) })
			for _, k := range words {
				if !mailhaul.HasFlag(left, k) {
					left = append(left, k)
				}
			}
			if !slices.Equal(left, had) {
				if err := f.setCourierKeywords(m.base, left); err != nil {
					return err
				}
				had = left
			}
		} else {
			k, err := f.dovecotKeywords()
			if err != nil {
				return err
			}
			for i, flag := range k {
				if flag != "" && mailhaul.HasFlag(c.Remove, flag) {
					drop('a' + byte(i))
				}
			}
			more, _, err := f.letters(ctx, [][]mailhaul.Flag{words})
			if err != nil {
				return err
			}
			letters = append(letters, more[0]...)
		}
		to := nameWith(m.base, letters)
		if "cur/"+to == m.file {
			return nil
		}
		err := f.disk.rename(f.file(m.file), f.file("cur/"+to))
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		// Somebody else changed its flags meanwhile, or it is gone.
		files, err := f.scan()
		if err != nil {
			return err
		}
		if m.file = files[m.base]; m.file == "" {
			return nil
		}
	}
	return fmt.Errorf("the flags of UID %d change faster than they can be set", m.uid)
}
