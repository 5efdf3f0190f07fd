// How messages are put into batches: pure, no I/O.

package sync

import (
	"iter"

	"github.com/mailhaul/mailhaul"
)

// batchLimits bounds a batch.
type batchLimits struct {
	messages int
	bytes    int64
	stream   int64           // a message above it is a batch of its own, and streamed
	alone    mailhaul.UIDSet // messages that go by themselves: one of them broke a larger batch
}

// batch is a run of messages, in the order of the source, that is fetched,
// journalled and appended as one.
type batch struct {
	msgs   []mailhaul.Message
	bytes  int64 // by the listed sizes
	stream bool  // one message that is not to be held in memory
}

func (b *batch) set() mailhaul.UIDSet {
	var s mailhaul.UIDSet
	for _, m := range b.msgs {
		s.Add(m.UID)
	}
	return s
}

// batches cuts messages into batches within the limits, in order. A message
// that is larger than a batch may be has one of its own.
func batches(msgs []mailhaul.Message, l batchLimits) iter.Seq[*batch] {
	return func(yield func(*batch) bool) {
		var b *batch
		flush := func() bool {
			full := b
			b = nil
			return full == nil || yield(full)
		}
		for i := range msgs {
			size := max(msgs[i].Size, 0)
			alone := size > l.stream || l.alone.Contains(msgs[i].UID)
			if b != nil && (alone || len(b.msgs) >= l.messages || b.bytes+size > l.bytes) {
				if !flush() {
					return
				}
			}
			if b == nil {
				b = &batch{stream: size > l.stream}
			}
			b.msgs = append(b.msgs, msgs[i])
			b.bytes += size
			if alone && !flush() {
				return
			}
		}
		flush()
	}
}
