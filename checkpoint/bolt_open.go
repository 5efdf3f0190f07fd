// Opening a file: what it must be, and how a new one is made.

package checkpoint

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/mailhaul/mailhaul"
)

// defaultLockTimeout is explained at Options.LockTimeout.
const defaultLockTimeout = time.Second

// allocSize is by how much a file of more than that grows at a time: for
// 100,000 messages or so. bbolt's own 16 MiB are for databases.
const allocSize = 1 << 20

// openFile is os.OpenFile, but for tests of disks that are hard to come by.
var openFile = os.OpenFile

// Open opens the checkpoint in a file, or makes one there that only its owner
// can read. A file that is something else is an error, and left as it is.
//
// The file is locked, so that there is one process, and one Bolt in it, at a
// time. Errors are *mailhaul.Error, with a sentence that names the file; see
// ErrInUse, ErrNewerFormat, ErrNotCheckpoint and ErrDamaged.
func Open(path string, opts *Options) (*Bolt, error) {
	op := "open checkpoint " + path
	if path == "" {
		return nil, fault("open checkpoint", mailhaul.Permanent, errors.New("its name is empty"), "name a file")
	}
	timeout := defaultLockTimeout
	if opts != nil {
		timeout = cmp.Or(opts.LockTimeout, defaultLockTimeout)
	}
	if timeout < 0 {
		timeout = 1 // to bbolt, 0 means for ever
	}

	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := create(path); err != nil {
			return nil, describe(op, err)
		}
	case err != nil:
		return nil, describe(op, err)
	case info.IsDir():
		return nil, fault(op, mailhaul.Permanent, errors.New("it is a directory"), "name a file in it")
	case !info.Mode().IsRegular():
		return nil, fault(op, mailhaul.Permanent, errors.New("it is not a regular file"), hintOther)
	}
	if err := inspect(op, path); err != nil {
		return nil, err
	}

	b := &Bolt{
		path:    path,
		writing: make(chan struct{}, 1),
		closed:  make(chan struct{}),
		scans:   make(map[*scan]struct{}),
	}
	err = guard(func() (err error) {
		b.db, err = bolt.Open(path, 0o600, &bolt.Options{
			Timeout:      timeout,
			FreelistType: bolt.FreelistMapType,
			// The list of free pages is synced: that is a sixth write beside
			// five, and no further sync (BenchmarkFreelist; in time the
			// difference drowned in the noise of the disk). Without it bbolt
			// looks for free pages in a goroutine, whose panic over a damaged
			// page nobody could catch.
			NoFreelistSync: false,
			OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
				f, err := openFile(name, flag, mode)
				b.file = f
				return f, err
			},
		})
		return err
	})
	if err != nil {
		var page *pageError
		if b.file != nil && errors.As(err, &page) { // else bbolt has closed it
			abandon(b.file)
		}
		return nil, describe(op, err)
	}
	b.db.AllocSize = allocSize
	if err := b.adopt(op); err != nil {
		_ = b.Close()
		return nil, err
	}
	return b, nil
}

// adopt proves that the database is a checkpoint that this package can read. An
// empty database becomes one.
func (b *Bolt) adopt(op string) error {
	var ours, others bool
	err := guard(func() error {
		return b.db.View(func(tx *bolt.Tx) error {
			ours = tx.Bucket(bucketName) != nil
			k, _ := tx.Cursor().First()
			others = k != nil
			return nil
		})
	})
	if err == nil && !ours {
		if others {
			return fault(op, mailhaul.Permanent, fmt.Errorf("it is %w but another program's database", ErrNotCheckpoint), hintOther)
		}
		err = guard(func() error { return b.db.Update(makeBucket) })
	}
	if err != nil {
		return b.translate("open", err)
	}
	_, err = readFormat(context.Background(), b)
	return err
}

func makeBucket(tx *bolt.Tx) error {
	_, err := tx.CreateBucketIfNotExists(bucketName)
	return err
}

// create puts an empty checkpoint at path. It is made under another name, so
// that nobody ever sees half of one, whoever dies when. A file that another
// process put there meanwhile stays.
func create(path string) error {
	dir, name := filepath.Split(path)
	temp, err := os.CreateTemp(cmp.Or(dir, "."), "."+name+".*") // with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	if err := temp.Close(); err != nil {
		return err
	}
	err = guard(func() error {
		db, err := bolt.Open(temp.Name(), 0o600, &bolt.Options{Timeout: defaultLockTimeout, OpenFile: openFile})
		if err != nil {
			return err
		}
		return errors.Join(db.Update(makeBucket), db.Close())
	})
	if err != nil {
		return err
	}
	if err := os.Link(temp.Name(), path); err != nil {
		// It is there by now, or behind a symbolic link, or the file system
		// has no links: bbolt opens or makes it in place.
		return touch(path)
	}
	syncDir(cmp.Or(dir, "."))
	return nil
}

// touch makes an empty file, unless there is one.
func touch(path string) error {
	f, err := openFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// syncDir makes a new name durable where the system can do that. Where it
// cannot, a power failure may take the new checkpoint away, which costs the
// next run some time and nothing else.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
}
