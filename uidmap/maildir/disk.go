// Every access to the disk: below one directory, whatever symbolic links say.

package maildir

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"time"
)

// disk is the tree's directory. Names are relative to it, with slashes; a
// symbolic link that leads out of it is an error (os.Root).
type disk struct {
	root     *os.Root
	fileMode fs.FileMode
	dirMode  fs.FileMode
	owner    *Owner // whose new files are; nil: the process's own

	// before is called before each operation that changes the disk, and keeps
	// it from happening by an error. Tests die here.
	before func(op, name string) error
}

func (d *disk) may(op, name string) error {
	if d.before == nil {
		return nil
	}
	return d.before(op, name)
}

// create makes a file that does not exist, with the tree's owner and mode.
func (d *disk) create(name string) (*os.File, error) {
	if err := d.may("create", name); err != nil {
		return nil, err
	}
	f, err := d.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, d.fileMode)
	if err != nil {
		return nil, err
	}
	if d.owner != nil {
		err = f.Chown(d.owner.UID, d.owner.GID)
	}
	if err == nil {
		err = f.Chmod(d.fileMode) // the umask took some of it
	}
	if err != nil {
		f.Close()
		return nil, errors.Join(err, d.root.Remove(name))
	}
	return f, nil
}

// write makes a file that holds the octets, and has them on the disk when it
// returns.
func (d *disk) write(name string, octets []byte) error {
	f, err := d.create(name)
	if err != nil {
		return err
	}
	err = d.may("write", name)
	if err == nil {
		_, err = f.Write(octets)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// replace puts the octets into the named file by way of another, so that it
// holds either what it held or all of them.
func (d *disk) replace(name, by string, octets []byte) error {
	if err := d.write(by, octets); err != nil {
		return err
	}
	if err := d.rename(by, name); err != nil {
		return err
	}
	return d.syncDir(path.Dir(name))
}

// rename replaces what is there. For messages there is place.
func (d *disk) rename(from, to string) error {
	if err := d.may("rename", to); err != nil {
		return err
	}
	return d.root.Rename(from, to)
}

// place gives a file a second name that nothing has yet.
func (d *disk) place(from, to string) error {
	if err := d.may("link", to); err != nil {
		return err
	}
	err := d.root.Link(from, to)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	// A file system without links: nobody else chooses names like ours.
	if _, there := d.root.Lstat(to); !errors.Is(there, fs.ErrNotExist) {
		return &fs.PathError{Op: "rename", Path: to, Err: fs.ErrExist}
	}
	return d.root.Rename(from, to)
}

// remove removes a file; one that is gone is no error.
func (d *disk) remove(name string) error {
	if err := d.may("remove", name); err != nil {
		return err
	}
	if err := d.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// mkdir makes a directory; one that is there is no error.
func (d *disk) mkdir(name string) error {
	if err := d.may("mkdir", name); err != nil {
		return err
	}
	if err := d.root.Mkdir(name, d.dirMode); err != nil {
		if info, serr := d.root.Stat(name); errors.Is(err, fs.ErrExist) && serr == nil && info.IsDir() {
			return nil
		}
		return err
	}
	if d.owner != nil {
		if err := d.root.Lchown(name, d.owner.UID, d.owner.GID); err != nil {
			return err
		}
	}
	return d.root.Chmod(name, d.dirMode)
}

// touch sets the time of a file or directory.
func (d *disk) touch(name string, t time.Time) error {
	if err := d.may("touch", name); err != nil {
		return err
	}
	return d.root.Chtimes(name, t, t)
}

// syncDir makes the names of a directory durable.
func (d *disk) syncDir(name string) error {
	if err := d.may("sync", name); err != nil {
		return err
	}
	f, err := d.root.Open(name)
	if err != nil {
		return err
	}
	// Not every file system can do it for directories (EINVAL): it then keeps
	// their order by itself, or not at all.
	if err := f.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !isInvalid(err) {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

// open opens a regular file for reading. Anything else is refused: a FIFO would
// hold the reader up for ever.
func (d *disk) open(name string) (*os.File, error) {
	info, err := d.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("not a regular file")}
	}
	return d.root.OpenFile(name, os.O_RDONLY|openFlags, 0)
}

// read reads a file of at most limit octets.
func (d *disk) read(name string, limit int64) ([]byte, error) {
	f, err := d.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	octets, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(octets)) > limit {
		err = &fs.PathError{Op: "read", Path: name, Err: errTooLarge}
	}
	return octets, err
}

var errTooLarge = errors.New("it is larger than any that a server writes")

// exists reports whether there is anything of that name.
func (d *disk) exists(name string) bool {
	_, err := d.root.Lstat(name)
	return err == nil
}

// entries yields what is in a directory, a thousand names at a time.
func (d *disk) entries(name string) func(yield func(fs.DirEntry, error) bool) {
	return func(yield func(fs.DirEntry, error) bool) {
		f, err := d.root.Open(name)
		if err != nil {
			yield(nil, err)
			return
		}
		defer f.Close()
		for {
			list, err := f.ReadDir(1000)
			for _, e := range list {
				if !yield(e, nil) {
					return
				}
			}
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(nil, err)
				return
			}
		}
	}
}
