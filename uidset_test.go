package mailhaul

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// model is a UIDSet as a plain map.
type model map[UID]bool

func (m model) set() UIDSet {
	var s UIDSet
	for u := range m {
		s.Add(u)
	}
	return s
}

// checkSet asserts the form that a UIDSet always has.
func checkSet(t *testing.T, s UIDSet) {
	t.Helper()
	for i, r := range s {
		require.NotZero(t, r.First, "%v", s)
		require.LessOrEqual(t, r.First, r.Last, "%v", s)
		if i > 0 {
			require.Greater(t, uint64(r.First), uint64(s[i-1].Last)+1, "%v overlaps or touches", s)
		}
	}
}

// checkEqual asserts that the set holds what the model holds.
func checkEqual(t *testing.T, m model, s UIDSet) {
	t.Helper()
	checkSet(t, s)
	require.Equal(t, len(m), s.Len(), "%v", s)
	var last UID
	for u := range s.All() {
		require.True(t, m[u], "%d in %v", u, s)
		require.Greater(t, u, last)
		last = u
	}
}

// The top of the range is where arithmetic goes wrong, so the universe of
// half of the runs lies there.
func universe(r *rand.Rand) (base UID, size int) {
	size = 1 + r.IntN(60)
	if r.IntN(2) == 0 {
		return UID(math.MaxUint32 - uint32(size) + 1), size
	}
	return 1, size
}

func TestUIDSetAgainstModel(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 1))
		base, size := universe(r)
		pick := func() UID { return base + UID(r.IntN(size)) }
		random := func() (model, UIDSet) {
			m, s := model{}, UIDSet(nil)
			for range r.IntN(25) {
				first := pick()
				last := first
				if r.IntN(3) == 0 {
					last = base + UID(r.IntN(size)) // below first at times: an empty range
				}
				s.AddRange(UIDRange{first, last})
				for u := uint64(first); u <= uint64(last); u++ {
					m[UID(u)] = true
				}
				checkEqual(t, m, s)
			}
			return m, s
		}
		a, sa := random()
		b, sb := random()
		copyA, copyB := slices.Clone(sa), slices.Clone(sb)

		minus, both, either := model{}, model{}, model{}
		for u := range a {
			either[u] = true
			if b[u] {
				both[u] = true
			} else {
				minus[u] = true
			}
		}
		for u := range b {
			either[u] = true
		}
		checkEqual(t, minus, sa.Minus(sb))
		checkEqual(t, both, sa.Intersect(sb))
		checkEqual(t, either, sa.Union(sb))
		checkEqual(t, either, sb.Union(sa))
		require.Equal(t, sa, a.set(), "the same set has one form, in whatever order it is built")
		for range 20 {
			u := pick()
			require.Equal(t, a[u], sa.Contains(u))
		}
		require.Equal(t, copyA, sa, "operations change neither operand")
		require.Equal(t, copyB, sb)

		n := 1 + r.IntN(10)
		rest := slices.Collect(sa.All())
		for chunk := range sa.Chunks(n) {
			checkSet(t, chunk)
			take := min(n, len(rest))
			require.Equal(t, rest[:take], slices.Collect(chunk.All()))
			rest = rest[take:]
		}
		require.Empty(t, rest)

		if len(sa) > 0 {
			again, err := ParseUIDSet(sa.String())
			require.NoError(t, err)
			require.Equal(t, sa, again)
		}
	}
}

func TestUIDSetWholeRange(t *testing.T) {
	all := UIDSet{{1, math.MaxUint32}}
	assert.Equal(t, uint64(math.MaxUint32), uint64(all.Len()))
	assert.True(t, all.Contains(1))
	assert.True(t, all.Contains(math.MaxUint32))
	assert.False(t, all.Contains(0))
	assert.Equal(t, "1:4294967295", all.String())

	var s UIDSet
	s.Add(math.MaxUint32)
	s.Add(math.MaxUint32)
	s.Add(1)
	assert.Equal(t, UIDSet{{1, 1}, {math.MaxUint32, math.MaxUint32}}, s)
	s.AddRange(UIDRange{2, math.MaxUint32 - 1})
	assert.Equal(t, all, s)
	s.AddRange(UIDRange{5, 7})
	assert.Equal(t, all, s)

	assert.Equal(t, UIDSet{{2, math.MaxUint32 - 1}}, all.Minus(UIDSetOf(1, math.MaxUint32)))
	assert.Empty(t, all.Minus(all))
	assert.Equal(t, all, all.Intersect(all))
	assert.Equal(t, all, all.Union(all))
	assert.Equal(t, []UID{math.MaxUint32 - 1, math.MaxUint32}, slices.Collect(UIDSet{{math.MaxUint32 - 1, math.MaxUint32}}.All()))

	var chunks int
	for c := range all.Chunks(math.MaxInt32) {
		chunks++
		checkSet(t, c)
	}
	assert.Equal(t, 3, chunks)
	for c := range all.Chunks(10) { // stops when told to
		assert.Equal(t, UIDSet{{1, 10}}, c)
		break
	}
	for range all.All() {
		break
	}
}

func TestUIDSetEdges(t *testing.T) {
	var s UIDSet
	s.Add(0)
	assert.Empty(t, s, "0 is no UID")
	s.AddRange(UIDRange{5, 4})
	assert.Empty(t, s)
	s.AddRange(UIDRange{0, 3})
	assert.Equal(t, UIDSet{{1, 3}}, s)
	assert.Empty(t, UIDSet(nil).String())
	assert.Zero(t, UIDSet(nil).Len())
	for range (UIDSet(nil)).Chunks(1) {
		t.Error("an empty set has no chunks")
	}
	assert.Panics(t, func() { s.Chunks(0) })
	assert.Equal(t, "1:2,4,6", UIDSetOf(6, 4, 2, 1, 1).String())
}

func TestParseUIDSet(t *testing.T) {
	for text, want := range map[string]UIDSet{
		"1":                     {{1, 1}},
		"4294967295":            {{math.MaxUint32, math.MaxUint32}},
		"1:4294967295":          {{1, math.MaxUint32}},
		"4294967295:1":          {{1, math.MaxUint32}},
		"3,1:2,9:7":             {{1, 3}, {7, 9}},
		"1:4294967295,1,2,5:70": {{1, math.MaxUint32}},
	} {
		got, err := ParseUIDSet(text)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	for _, text := range []string{"", "0", "0:1", "1:0", "*", "1:*", "1,", ",1", "1:", ":1", "1:2:3", "4294967296", "1:4294967296",
		"18446744073709551617", "-1", "+1", " 1", "1 ", "1_0", "0x1", "1\x00", "٣"} {
		_, err := ParseUIDSet(text)
		assert.Error(t, err, "%q", text)
	}
	_, err := ParseUIDSet("1,\r\n" + string(make([]byte, 10_000)))
	require.Error(t, err)
	assert.Less(t, len(err.Error()), 500, "hostile text is cut")
	assert.NotContains(t, err.Error(), "\n")
}

func FuzzParseUIDSet(f *testing.F) {
	for _, seed := range []string{"1", "1:4294967295", "3,1:2,9:7", "4294967295,4294967294", "1:2,", "*"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseUIDSet(text)
		if err != nil {
			return
		}
		checkSet(t, s)
		again, err := ParseUIDSet(s.String())
		if err != nil || !slices.Equal(s, again) {
			t.Fatalf("%q: %v came back as %v, %v", text, s, again, err)
		}
	})
}

func ExampleUIDSet() {
	have := UIDSetOf(1, 2, 3, 7)
	want := UIDSet{{1, 10}}
	for chunk := range want.Minus(have).Chunks(4) {
		fmt.Println(chunk)
	}
	// Output:
	// 4:6,8
	// 9:10
}

// Adding in ascending order, as listings come, costs the same for each.
func BenchmarkUIDSetAdd(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		var s UIDSet
		for u := UID(1); u < 100_000; u += 2 {
			s.Add(u)
		}
		if s.Len() != 50_000 {
			b.Fatal(s.Len())
		}
	}
}
