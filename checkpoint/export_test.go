// What tests of the package need of its insides.

package checkpoint

import "os"

// Seal returns the value that a key has with that body.
func Seal(key, body []byte) []byte {
	value, _ := seal(key, body)
	return value
}

// Shape returns how wide the chunks are, as a power of two, and whether they
// were wider.
func (m *MailboxLedger) Shape() (bits uint, narrowed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.shape.bits, m.shape.narrowed
}

// SetOpenFile replaces os.OpenFile, and returns a function that undoes it.
func SetOpenFile(f func(string, int, os.FileMode) (*os.File, error)) func() {
	openFile = f
	return func() { openFile = os.OpenFile }
}

// Hold keeps others from writing until the function that it returns is called.
func (b *Bolt) Hold() func() {
	b.writing <- struct{}{}
	return func() { <-b.writing }
}

// Queued returns how many Commits wait for their turn.
func (b *Bolt) Queued() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queue)
}

// Fail lets the file fail as if the system had returned err.
func (b *Bolt) Fail(err error) error { return b.translate("write", err) }
