// Benchmarks, and the numbers that the documentation quotes.

package checkpoint_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/checkpoint/checkpointtest"
)

// A mailbox kind yields records as a migration would put them.
type kind struct {
	name  string
	limit float64 // octets a message that are allowed
	next  func(r *rand.Rand, last checkpoint.Record) checkpoint.Record
}

var kinds = []kind{
	// Moved in order to an empty mailbox, all read.
	{"fresh", 10, func(_ *rand.Rand, last checkpoint.Record) checkpoint.Record {
		return checkpoint.Record{Source: last.Source + 1, Target: last.Target + 1, Base: flags(`\Seen`)}
	}},
	// As mailboxes are: some holes, a fifth answered, a few keywords.
	{"lived-in", 10, func(r *rand.Rand, last checkpoint.Record) checkpoint.Record {
		rec := checkpoint.Record{Source: last.Source + 1, Target: last.Target + 1, Base: flags(`\Seen`)}
		if r.IntN(4) == 0 {
			rec.Source += mailhaul.UID(r.IntN(10))
		}
		for f, n := range map[mailhaul.Flag]int{`\Answered`: 5, `\Flagged`: 30, "$Forwarded": 20, "NonJunk": 3, "work": 50} {
			if r.IntN(n) == 0 {
				rec.Base = append(rec.Base, f)
			}
		}
		return rec
	}},
	// Adopted from a target where everything is in another order.
	{"shuffled", 40, func(r *rand.Rand, last checkpoint.Record) checkpoint.Record {
		rec := checkpoint.Record{Source: last.Source + 1 + mailhaul.UID(r.IntN(3))}
		rec.Target = rec.Source * 2654435761 // odd, so that no two are the same
		for i := range 60 {
			if r.IntN(2) == 0 {
				rec.Base = append(rec.Base, mailhaul.Flag(fmt.Sprint("keyword", i)))
			}
		}
		return rec
	}},
	// Of every few thousand messages one is left.
	{"sparse", 40, func(r *rand.Rand, last checkpoint.Record) checkpoint.Record {
		return checkpoint.Record{Source: last.Source + 129 + mailhaul.UID(r.IntN(10000)), Target: last.Target + 1}
	}},
	// First the one, then the other.
	{"sparse, then dense", 40, func(r *rand.Rand, last checkpoint.Record) checkpoint.Record {
		rec := checkpoint.Record{Source: last.Source + 1, Target: last.Target + 1}
		if rec.Target < 5000 {
			rec.Source += 129 + mailhaul.UID(r.IntN(10000))
		}
		return rec
	}},
}

// move puts n records of the kind into a mailbox, with a commit a batch as the
// engine makes them: an intent is begun, and the last one ended.
func move(t testing.TB, m *checkpoint.MailboxLedger, k kind, n, batch int) {
	r := rand.New(rand.NewPCG(1, 1))
	var last checkpoint.Record
	var intent uint64
	records := make([]checkpoint.Record, 0, batch)
	for n > 0 {
		records = records[:0]
		var sources mailhaul.UIDSet
		for range min(batch, n) {
			last = k.next(r, last)
			records = append(records, last)
			sources.Add(last.Source)
			n--
		}
		if err := m.Put(ctx, records...); err != nil {
			t.Fatal(err)
		}
		m.End(intent)
		intent = m.Begin(checkpoint.Intent{Validity: 1, Watermark: last.Target, Sources: sources})
		s := m.State()
		s.Explained = last.Target
		m.SetState(s)
		if err := m.Commit(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

// TestBytesPerMessage measures the file with 100,000 messages in it, pages that
// are free included.
func TestBytesPerMessage(t *testing.T) {
	n := 100_000
	if testing.Short() || raceEnabled {
		n = 10_000
	}
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state.db")
			b := openBolt(t, path)
			m := openMailbox(t, b, "INBOX")
			move(t, m, k, n, 1000)
			checkpointtest.Check(t, b)
			values := 0
			for kv, err := range b.Scan(ctx, nil, nil) {
				require.NoError(t, err)
				values += len(kv.Key) + len(kv.Value)
			}
			sources, _, err := m.Sets(ctx)
			require.NoError(t, err)
			require.Equal(t, n, sources.Len())
			require.NoError(t, b.Close())
			info, err := os.Stat(path)
			require.NoError(t, err)
			used, file := usedPages(t, path), info.Size()
			t.Logf("%d messages: %.2f octets each in keys and values, %.2f in used pages, %.2f in the file",
				n, float64(values)/float64(n), float64(used)/float64(n), float64(file)/float64(n))
			assert.LessOrEqual(t, float64(used)/float64(n), k.limit)
		})
	}
}

// usedPages returns the octets of the pages that are not free.
func usedPages(t testing.TB, path string) int64 {
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, PreLoadFreelist: true})
	require.NoError(t, err)
	defer db.Close()
	var size int64
	require.NoError(t, db.View(func(tx *bolt.Tx) error {
		size = tx.Size() - int64(db.Stats().FreePageN*db.Info().PageSize)
		return nil
	}))
	return size
}

// BenchmarkLedger moves 10,000 messages an iteration, 100 a batch. The baseline
// is bbolt alone, with a key a message.
func BenchmarkLedger(b *testing.B) {
	const n, batch = 10_000, 100
	for _, k := range kinds[:3] {
		b.Run(k.name, func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				path := filepath.Join(b.TempDir(), fmt.Sprint(i))
				s := openBolt(b, path)
				m := openMailbox(b, s, "INBOX")
				move(b, m, k, n, batch)
			}
			b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "msgs/s")
		})
	}
	b.Run("lived-in, no disk", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			move(b, openMailbox(b, checkpoint.NewMemory(), "INBOX"), kinds[1], n, batch)
		}
		b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "msgs/s")
	})
	b.Run("baseline", func(b *testing.B) {
		i := 0
		for b.Loop() {
			i++
			db, err := bolt.Open(filepath.Join(b.TempDir(), fmt.Sprint(i)), 0o600, nil)
			require.NoError(b, err)
			for first := 0; first < n; first += batch {
				require.NoError(b, db.Update(func(tx *bolt.Tx) error {
					bucket, err := tx.CreateBucketIfNotExists([]byte("b"))
					for u := first; u < first+batch && err == nil; u++ {
						err = bucket.Put(fmt.Appendf(nil, "%08d", u), fmt.Appendf(nil, "%08d \\Seen", u))
					}
					return err
				}))
			}
			require.NoError(b, db.Close())
		}
		b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "msgs/s")
	})
}

// BenchmarkRead reads all records of a mailbox of 100,000, 1,000 at random, and
// the sets.
func BenchmarkRead(b *testing.B) {
	const n = 100_000
	s := openBolt(b, filepath.Join(b.TempDir(), "state.db"))
	m := openMailbox(b, s, "INBOX")
	move(b, m, kinds[1], n, 10_000)
	b.Run("Records", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			got := 0
			for _, err := range m.Records(ctx, 0) {
				if err != nil {
					b.Fatal(err)
				}
				got++
			}
			require.Equal(b, n, got)
		}
		b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "msgs/s")
	})
	b.Run("Sets", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			sources, _, err := m.Sets(ctx)
			if err != nil || sources.Len() != n {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "msgs/s")
	})
	b.Run("Get", func(b *testing.B) {
		b.ReportAllocs()
		r := rand.New(rand.NewPCG(1, 1))
		for b.Loop() {
			if _, _, err := m.Get(ctx, mailhaul.UID(1+r.IntN(n))); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Open", func(b *testing.B) {
		for b.Loop() {
			openMailbox(b, s, "INBOX")
		}
	})
}

// BenchmarkGroupCommit has callers commit side by side; a transaction is synced
// once for its pages and once for its root. The baseline is bbolt's Batch.
func BenchmarkGroupCommit(b *testing.B) {
	value := make([]byte, 400)
	run := func(b *testing.B, callers int, commit func(key []byte) error) {
		var wg sync.WaitGroup
		left := make(chan int)
		for range callers {
			wg.Go(func() {
				for i := range left {
					if err := commit(fmt.Appendf(nil, "%d", i%1000)); err != nil {
						b.Error(err)
					}
				}
			})
		}
		for i := 0; b.Loop(); i++ {
			left <- i
		}
		close(left)
		wg.Wait()
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
	}
	for _, callers := range []int{1, 4, 16, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			s := openBolt(b, filepath.Join(b.TempDir(), "state.db"))
			run(b, callers, func(key []byte) error {
				return s.Commit(ctx, []checkpoint.Op{{Key: key, Value: value}})
			})
			stats := s.Stats()
			b.ReportMetric(float64(stats.Transactions)/float64(stats.Commits), "transactions/commit")
		})
	}
	b.Run("baseline", func(b *testing.B) {
		db, err := bolt.Open(filepath.Join(b.TempDir(), "state.db"), 0o600, nil)
		require.NoError(b, err)
		defer db.Close()
		run(b, 16, func(key []byte) error {
			return db.Batch(func(tx *bolt.Tx) error {
				bucket, err := tx.CreateBucketIfNotExists([]byte("b"))
				if err != nil {
					return err
				}
				return bucket.Put(key, value)
			})
		})
	})
}

// BenchmarkFreelist compares commits with the list of free pages synced, as the
// Store has it, and not, in a file of 50,000 keys. Where the disk is shared, the
// times say less than the count of writes does.
func BenchmarkFreelist(b *testing.B) {
	for _, noSync := range []bool{false, true} {
		b.Run(fmt.Sprintf("NoFreelistSync=%t", noSync), func(b *testing.B) {
			db, err := bolt.Open(filepath.Join(b.TempDir(), "state.db"), 0o600, &bolt.Options{NoFreelistSync: noSync, FreelistType: bolt.FreelistMapType})
			require.NoError(b, err)
			defer db.Close()
			name, value := []byte("b"), make([]byte, 300)
			require.NoError(b, db.Update(func(tx *bolt.Tx) error {
				bucket, err := tx.CreateBucket(name)
				for i := 0; i < 50_000 && err == nil; i++ {
					err = bucket.Put(fmt.Appendf(nil, "%08d", i), value)
				}
				return err
			}))
			r := rand.New(rand.NewPCG(1, 1))
			stats := db.Stats()
			before := stats.TxStats.GetWrite()
			defer func() {
				stats := db.Stats()
				b.ReportMetric(float64(stats.TxStats.GetWrite()-before)/float64(b.N), "writes/op")
			}()
			for b.Loop() {
				require.NoError(b, db.Update(func(tx *bolt.Tx) error {
					return tx.Bucket(name).Put(fmt.Appendf(nil, "%08d", r.IntN(50_000)), value)
				}))
			}
		})
	}
}
