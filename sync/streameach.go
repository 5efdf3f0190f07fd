// Reading the bodies of a set one by one, without holding any of them.

package sync

import (
	"context"
	"io"
	"iter"

	"github.com/mailhaul/mailhaul"
)

// seq is the answer to one FETCH.
type seq = iter.Seq2[mailhaul.Fetched, error]

// readAhead is how many single-message FETCHes are under way at once: enough
// to hide the distance to the server.
const readAhead = 16

// streamEach calls f with the octets of each message of the set that is still
// there, in ascending order of UIDs.
func streamEach(ctx context.Context, r mailhaul.Reader, set mailhaul.UIDSet, f func(mailhaul.UID, io.Reader) error) error {
	next, stop := iter.Pull(set.All())
	defer stop()
	var underWay []seq
	for {
		for len(underWay) < readAhead {
			uid, ok := next()
			if !ok {
				break
			}
			seq, err := r.Fetch(ctx, mailhaul.UIDSetOf(uid), true)
			if err != nil {
				return err
			}
			underWay = append(underWay, seq)
		}
		if len(underWay) == 0 {
			return nil
		}
		for got, err := range underWay[0] {
			if err != nil {
				return err
			}
			err = f(got.UID, got.Body.Reader())
			got.Body.Release()
			if err != nil {
				return err
			}
		}
		underWay = underWay[1:]
	}
}
