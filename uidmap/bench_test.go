package uidmap

// What it costs to match a mailbox of a million messages: run it with
// -benchtime 1x.

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/mailhaul/mailhaul"
)

// bigMailbox returns n messages with twins, near twins and messages without a
// Message-ID, in the share of real mail.
func bigMailbox(n int) []Candidate {
	rng := rand.New(rand.NewPCG(1, 2))
	out := make([]Candidate, n)
	for i := range out {
		c := Candidate{
			UID:   mailhaul.UID(i + 1),
			HasID: rng.IntN(100) > 0,
			Size:  int64(1000 + rng.IntN(100_000)),
			Date:  time.Unix(1_700_000_000+int64(i), 0),
		}
		binary.LittleEndian.PutUint64(c.Key[:], rng.Uint64())
		switch rng.IntN(100) {
		case 0: // a twin of the message before
			c = out[max(i-1, 0)]
		case 1: // a near twin
			c.Key, c.HasID = out[max(i-1, 0)].Key, out[max(i-1, 0)].HasID
		}
		c.UID = mailhaul.UID(i + 1)
		out[i] = c
	}
	return out
}

func benchmarkMatch(b *testing.B, n int) {
	source := bigMailbox(n)
	target := bigMailbox(n)
	rand.New(rand.NewPCG(3, 4)).Shuffle(n, func(i, j int) { target[i].UID, target[j].UID = target[j].UID, target[i].UID })
	b.ReportAllocs()
	var m *Matching
	for b.Loop() {
		m = Match(source, target)
	}
	b.ReportMetric(float64(b.N)*float64(n)/b.Elapsed().Seconds(), "msgs/s")
	if s, _ := m.Undecided(); len(m.Pairs())+s.Len() != n {
		b.Fatalf("%d pairs and %d undecided of %d", len(m.Pairs()), s.Len(), n)
	}
}

func BenchmarkMatch10k(b *testing.B) { benchmarkMatch(b, 10_000) }
func BenchmarkMatch1M(b *testing.B)  { benchmarkMatch(b, 1_000_000) }
