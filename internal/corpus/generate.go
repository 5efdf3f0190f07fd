// One message out of a folder: which kind it is, its date and its flags.

package corpus

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/mailhaul/mailhaul"
)

// generator makes the messages of one folder. It is a value without state:
// message i follows from the spec and i alone.
type generator struct {
	spec   Spec
	folder Folder
	index  int // of the folder
	n      int
}

// The streams of random numbers that a message draws from, apart from each
// other so that a twin can share one with its model and not the others.
const (
	streamText = iota
	streamNear
	streamDate
	streamFlags
)

func (g generator) rand(i, stream int) *rand.Rand {
	return rand.New(rand.NewPCG(g.spec.Seed^0x6d61696c6861756c, uint64(g.index)<<48|uint64(stream)<<40|uint64(i)))
}

// Of each 50 messages one is the twin of another before it and one a near-twin
// of another; twins of odd number share date and flags too.
const (
	twinEvery = 50
	twinAt    = 17
	twinOf    = twinAt - 9
	nearAt    = 33
	nearOf    = nearAt - 3

	// Of each 40 messages one has no Message-ID. The number is odd, those of
	// models are even: no model is among them.
	anonymousEvery = 40
	anonymousAt    = 29
)

func (g generator) message(i int) Message {
	text, meta, near := i, i, false
	switch i % twinEvery {
	case twinAt:
		text = i - twinAt + twinOf
		if i/twinEvery%2 == 1 {
			meta = text
		}
	case nearAt:
		text, near = i-nearAt+nearOf, true
	}
	date := g.date(meta)
	return Message{
		Flags: g.flags(meta),
		Date:  date,
		body: func() []byte {
			c := composer{
				rand:      g.rand(text, streamText),
				id:        uint64(g.index)<<40 | uint64(text),
				date:      g.date(text),
				list:      len(g.folder.Path) > 1 && g.folder.Path[0] == "Lists",
				draft:     g.folder.Role == mailhaul.RoleDrafts,
				sent:      g.folder.Role == mailhaul.RoleSent,
				anonymous: i%anonymousEvery == anonymousAt && text == i,
			}
			c.size = g.size(c.rand)
			if near {
				c.textRand = g.rand(i, streamNear)
			}
			return c.compose()
		},
	}
}

// size draws from the log-normal distribution that sizes of mail follow, with
// a large attachment now and then.
func (g generator) size(r *rand.Rand) int {
	size := float64(g.spec.MedianSize) * math.Exp(sigma*r.NormFloat64())
	if r.IntN(1500) == 0 {
		size = float64(g.spec.MedianSize) * (300 + 1200*r.Float64())
	}
	return int(min(size, float64(g.spec.MaxSize)))
}

// sigma makes the mean exp(sigma²/2) = 4.2 times the median.
const sigma = 1.7

var (
	firstDate = time.Date(2010, 11, 1, 0, 0, 0, 0, time.UTC)
	lastDate  = time.Date(2025, 10, 31, 0, 0, 0, 0, time.UTC)
)

// zones are the offsets that INTERNALDATEs are written in, in minutes.
var zones = []int{0, 60, 60, 120, 120, -300, -480, 330, 540, -210, 765}

// date returns when message i arrived: over fifteen years, rising but for a
// few that were moved here later.
func (g generator) date(i int) time.Time {
	r := g.rand(i, streamDate)
	span := lastDate.Sub(firstDate)
	at := float64(i) + r.Float64()
	if r.IntN(20) == 0 {
		at = float64(g.n) * r.Float64()
	}
	d := time.Duration(float64(span) * at / float64(max(g.n, 1)))
	minutes := zones[r.IntN(len(zones))]
	return firstDate.Add(d.Truncate(time.Second)).In(time.FixedZone("", minutes*60))
}

// flags draws flags and keywords as often as they occur.
func (g generator) flags(i int) []mailhaul.Flag {
	r := g.rand(i, streamFlags)
	var flags []mailhaul.Flag
	add := func(percent int, f mailhaul.Flag) {
		if r.IntN(100) < percent {
			flags = append(flags, f)
		}
	}
	// The newest of a folder are those that nobody has read yet.
	if seen := 97; i < g.n-g.n/20 {
		add(seen, mailhaul.FlagSeen)
	} else {
		add(seen/2, mailhaul.FlagSeen)
	}
	add(15, mailhaul.FlagAnswered)
	add(4, mailhaul.FlagFlagged)
	add(1, mailhaul.FlagDeleted)
	if g.folder.Role == mailhaul.RoleDrafts {
		flags = append(flags, mailhaul.FlagDraft)
	}
	add(5, "$Forwarded")
	add(3, "$MDNSent")
	add(3, "$Label1")
	add(2, "$Label3")
	add(20, "NonJunk")
	add(2, "Work")
	add(1, "invoice-2024.paid")
	return flags
}
