package throttle

// A Storage for programs that have no other.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// File is a [Storage] in one file, which it is the only one to write. The file
// is made when there is something to save, and replaced as a whole.
type File struct {
	name string

	mu     sync.Mutex // protects the fields below
	values map[string]json.RawMessage
}

// NewFile returns a File. Nothing is read yet.
func NewFile(name string) *File { return &File{name: name} }

// Load implements [Storage].
func (f *File) Load(_ context.Context, key string) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.read(); err != nil {
		return nil, err
	}
	return f.values[key], nil
}

// read reads the file, once.
func (f *File) read() error {
	if f.values != nil {
		return nil
	}
	data, err := os.ReadFile(f.name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	values := make(map[string]json.RawMessage)
	if len(data) > 0 {
		if err := json.Unmarshal(data, &values); err != nil {
			return fmt.Errorf("%s is damaged (%w); delete it to begin anew", f.name, err)
		}
	}
	f.values = values
	return nil
}

// Save implements [Storage]. The value is JSON.
func (f *File) Save(_ context.Context, key string, value []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.read(); err != nil {
		return err
	}
	f.values[key] = json.RawMessage(value)
	data, err := json.MarshalIndent(f.values, "", " ")
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(f.name), filepath.Base(f.name)+".*")
	if err != nil {
		return err
	}
	_, err = temp.Write(append(data, '\n'))
	if err := errors.Join(err, temp.Close()); err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	return os.Rename(temp.Name(), f.name)
}
