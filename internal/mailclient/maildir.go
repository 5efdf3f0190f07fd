// What a program has in its Maildirs, and how that changed.

package mailclient

import (
	"io/fs"
	"path/filepath"
	"strings"
)

// holding is what a program holds: the flags of each message. A folder is a
// message without a name.
type holding map[message]string

// message is a file by its folder and by what of its name never changes.
type message struct{ folder, name string }

// hold reads the Maildirs at and below root.
func hold(root string) (holding, error) {
	h := make(holding)
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		dir := filepath.Dir(name)
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if d.Name() == "cur" {
				h[message{dir, ""}] = ""
			}
			return nil
		}
		switch filepath.Base(dir) {
		case "cur", "new":
		default:
			return nil
		}
		base, flags, _ := strings.Cut(d.Name(), ":2,")
		// Programs keep UIDs and hashes behind a comma.
		base, _, _ = strings.Cut(base, ",")
		h[message{filepath.Dir(dir), base}] = flags
		return nil
	})
	return h, err
}

// since says how many messages came, went, and changed their flags, and how
// many folders came or went.
func (h holding) since(old holding) (came, went, changed, folders int) {
	for m, flags := range h {
		was, ok := old[m]
		switch {
		case !ok && m.name == "":
			folders++
		case !ok:
			came++
		case was != flags:
			changed++
		}
	}
	for m := range old {
		_, ok := h[m]
		switch {
		case ok:
		case m.name == "":
			folders++
		default:
			went++
		}
	}
	return came, went, changed, folders
}
