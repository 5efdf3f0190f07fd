// How far a run is, for its Progress events.

package sync

import (
	stdsync "sync"
	"time"
)

// meter adds up what the mailboxes of an account report.
type meter struct {
	mu                      stdsync.Mutex // protects what follows
	messages, totalMessages int
	bytes, totalBytes       int64
}

// expect says that more messages have been found to be moved.
func (m *meter) expect(messages int, bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.totalMessages += messages
	m.totalBytes += bytes
}

// moved says that messages have been moved, and completes p.
func (m *meter) moved(messages int, bytes int64, since time.Duration, p *Progress) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.messages += messages
	m.bytes += bytes
	p.AccountMessages, p.AccountTotalMessages = m.messages, m.totalMessages
	p.AccountBytes, p.AccountTotalBytes = m.bytes, m.totalBytes
	if s := since.Seconds(); s > 0 && m.bytes > 0 {
		p.Rate = float64(m.bytes) / s
		p.Left = time.Duration(float64(max(0, m.totalBytes-m.bytes)) / p.Rate * float64(time.Second))
	}
}
