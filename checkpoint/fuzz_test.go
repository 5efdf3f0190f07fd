// Fuzz targets: whatever a value holds, its decoder returns, and what it
// returns can be encoded and decoded again.

package checkpoint

import (
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/mailhaul/mailhaul"
)

var fuzzKeywords = []mailhaul.Flag{"$Forwarded", "$Junk", "NonJunk", "work", "Work", "a", "b", "c", "d"}

const chunkSize = 1 << narrowBits

// chunkSeeds are chunks of all kinds.
func chunkSeeds() map[uint32][]Record {
	var dense, flagged, wild []Record
	r := rand.New(rand.NewPCG(1, 1))
	for i := range mailhaul.UID(chunkSize) {
		dense = append(dense, Record{Source: 1280 + i, Target: 77 + i})
		flagged = append(flagged, Record{Source: 1408 + i, Target: 205 + i, Base: fuzzKeywords[i%3 : i%5+3], Altered: i == 9})
		if i%3 > 0 {
			wild = append(wild, Record{Source: math.MaxUint32 - chunkSize + 1 + i, Target: mailhaul.UID(r.Uint32()), State: RecordState(i) % recordStates, Base: fuzzKeywords[:i%7], Adopted: i%5 == 1})
		}
	}
	return map[uint32][]Record{
		0:                            {{Source: 1, Target: math.MaxUint32, State: Removed}, {Source: 127}},
		10:                           dense,
		11:                           flagged,
		math.MaxUint32 >> narrowBits: wild,
		12:                           {{Source: 1536, Base: []mailhaul.Flag{"a keyword that is not in the dictionary and too long to get there, as it has more than 64 octets"}}},
	}
}

func FuzzChunk(f *testing.F) {
	seeds := chunkSeeds()
	if len(seeds) == 0 {
		f.Fatal("no seeds")
	}
	for index, records := range seeds {
		f.Add(index, uint(narrowBits), true, encodeChunk(index, narrowBits, true, records, newDictionary(fuzzKeywords)))
		f.Add(index, uint(narrowBits), false, encodeChunk(index, narrowBits, false, records, newDictionary(fuzzKeywords)))
	}
	f.Add(uint32(1), uint(wideBits), true, encodeChunk(1, wideBits, true, []Record{{Source: 1 << wideBits}, {Source: 2<<wideBits - 1}}, newDictionary(nil)))
	f.Fuzz(func(t *testing.T, index uint32, bits uint, origins bool, body []byte) {
		bits = narrowBits + bits%(wideBits-narrowBits+1)
		index %= math.MaxUint32>>bits + 1
		dict := newDictionary(fuzzKeywords)
		records, err := decodeChunk(index, bits, origins, body, dict)
		if err != nil {
			return
		}
		for i, r := range records {
			if r.Source == 0 || chunkOf(r.Source, bits) != index || i > 0 && records[i-1].Source >= r.Source || r.State >= recordStates {
				t.Fatalf("record %d is %v", i, r)
			}
		}
		again, err := decodeChunk(index, bits, origins, encodeChunk(index, bits, origins, records, dict), dict)
		if err != nil || !reflect.DeepEqual(records, again) {
			t.Fatalf("%v, then %v, %v", records, again, err)
		}
	})
}

func headSeeds() []head {
	return []head{
		{shape: shape{bits: narrowBits}}, // of format 1
		{shape: freshShape, state: MailboxState{Departed: true, TargetID: "F2212ea87-6097-4256-9d51-71338625"}},
		{
			wire: "INBOX",
			state: MailboxState{
				Target: "INBOX.\xff", SourceValidity: 1, TargetValidity: math.MaxUint32, Explained: 99, Complete: true, Imposed: mailhaul.LevelExact, Proved: mailhaul.LevelUID,
				SourceStatus: mailhaul.Status{Messages: 7, UIDNext: 8, UIDValidity: 9, HighestModSeq: math.MaxUint64},
			},
			keywords:   fuzzKeywords,
			lastIntent: 9,
			intents: []Intent{
				{ID: 3, Validity: 4, Watermark: 5, Stored: true, At: time.Unix(-1, 5).UTC(), Sources: mailhaul.UIDSet{{First: 1, Last: 1}, {First: 3, Last: math.MaxUint32}}},
				{ID: 9, At: time.Time{}.UTC()},
			},
			chunks: totals{3, math.MaxUint32},
			shape:  shape{wideBits, true, 5, true},
		},
	}
}

func FuzzHead(f *testing.F) {
	seeds := headSeeds()
	if len(seeds) == 0 {
		f.Fatal("no seeds")
	}
	for _, h := range seeds {
		f.Add(h.encode())
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		h, err := decodeHead(body)
		if err != nil {
			return
		}
		again, err := decodeHead(h.encode())
		if err != nil || !reflect.DeepEqual(h, again) {
			t.Fatalf("%v, then %v, %v", h, again, err)
		}
	})
}

// TestSeedsRoundTrip: encode, then decode, is the identity.
func TestSeedsRoundTrip(t *testing.T) {
	for index, records := range chunkSeeds() {
		for i := range records {
			records[i].Base = sortFlags(append([]mailhaul.Flag(nil), records[i].Base...))
		}
		dict := newDictionary(nil)
		body := encodeChunk(index, narrowBits, true, records, dict)
		got, err := decodeChunk(index, narrowBits, true, body, newDictionary(dict.keywords()))
		if err != nil || !reflect.DeepEqual(got, records) {
			t.Errorf("chunk %d: %v, %v, want %v", index, got, err, records)
		}
		for n := range body { // cut short anywhere
			got, err := decodeChunk(index, narrowBits, true, body[:n], newDictionary(dict.keywords()))
			if err == nil && len(got) >= len(records) {
				t.Errorf("chunk %d of %d octets: %v", index, n, got)
			}
		}
	}
	for i, h := range headSeeds() {
		body := h.encode()
		got, err := decodeHead(body)
		if err != nil || !reflect.DeepEqual(got, h) {
			t.Errorf("head %d: %v, %v", i, got, err)
		}
		for n := range body {
			if _, err := decodeHead(body[:n]); err == nil {
				t.Errorf("head %d of %d octets is none", i, n)
			}
		}
	}
}
