// What tests of the package need of its insides.

package sync

import "io"

// TempFile is where candidates go that are not held in memory.
type TempFile interface {
	io.WriterAt
	io.ReaderAt
	io.Closer
}

// HoldAtMost makes a run hold so many candidates of each side in memory.
func HoldAtMost(cfg *Config, n int) { cfg.maxCandidates = n }

// OnTempFile makes a run use what wrap returns in the place of each temporary
// file.
func OnTempFile(cfg *Config, wrap func(TempFile) TempFile) {
	cfg.createTemp = func() (spillFile, error) {
		f, err := createTemp()
		if err != nil {
			return nil, err
		}
		return wrap(f), nil
	}
}

// SetSession sets how many messages one Writer of an Imposer is told of.
func SetSession(cfg *Config, n int) { cfg.maxSession = n }
