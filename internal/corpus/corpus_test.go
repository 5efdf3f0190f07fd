package corpus_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/mail"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/corpus"
)

func TestDefaultLooksLikeRealMail(t *testing.T) {
	boxes := corpus.Default(5000)
	require.Len(t, boxes, 10)
	require.Equal(t, 5000, corpus.Total(boxes))

	var octets int64
	var sizes []int
	sums := make(map[[32]byte]int)
	ids := make(map[string]map[[32]byte]bool)
	zones := make(map[int]bool)
	keywords := make(map[mailhaul.Flag]bool)
	years := make(map[int]bool)
	var anonymous, seen, twinsAlike, twinsApart int
	for _, box := range boxes {
		local := make(map[[32]byte]corpus.Message)
		for _, m := range box.All() {
			body := m.Body()
			sum := sha256.Sum256(body)
			octets += int64(len(body))
			sizes = append(sizes, len(body))
			sums[sum]++
			if twin, ok := local[sum]; ok {
				if twin.Date.Equal(m.Date) && slices.Equal(twin.Flags, m.Flags) {
					twinsAlike++
				} else {
					twinsApart++
				}
			}
			local[sum] = m
			parsed, err := mail.ReadMessage(bytes.NewReader(body))
			require.NoError(t, err)
			_, err = parsed.Header.Date()
			require.NoError(t, err)
			for _, field := range []string{"From", "To"} {
				_, err = parsed.Header.AddressList(field)
				require.NoError(t, err)
			}
			if id := parsed.Header.Get("Message-Id"); id == "" {
				anonymous++
			} else {
				if ids[id] == nil {
					ids[id] = make(map[[32]byte]bool)
				}
				ids[id][sum] = true
			}
			kept, dropped := mailhaul.NormalizeFlags(m.Flags)
			require.Zero(t, dropped)
			require.Len(t, kept, len(m.Flags))
			for _, f := range m.Flags {
				if f.Keyword() {
					keywords[f] = true
				}
			}
			if mailhaul.HasFlag(m.Flags, mailhaul.FlagSeen) {
				seen++
			}
			_, offset := m.Date.Zone()
			zones[offset] = true
			years[m.Date.Year()] = true
			require.False(t, bytes.Contains(bytes.ReplaceAll(body, []byte("\r\n"), nil), []byte("\n")), "bare LF")
		}
	}
	twins := 0
	for _, n := range sums {
		twins += n - 1
	}
	near := 0
	for _, s := range ids {
		near += len(s) - 1
	}
	slices.Sort(sizes)
	t.Logf("%d octets, mean %d, median %d, largest %d; %d twins (%d alike), %d near-twins, %d anonymous, %d seen, keywords %v",
		octets, octets/5000, sizes[2500], sizes[4999], twins, twinsAlike, near, anonymous, seen, slices.Collect(maps.Keys(keywords)))
	require.InDelta(t, 70e6, octets, 12e6)
	require.InDelta(t, 4500, sizes[2500], 1500)
	require.Greater(t, sizes[4999], 1<<20)
	require.Greater(t, twinsAlike, 20)
	require.Greater(t, twinsApart, 20)
	require.Greater(t, near, 50)
	require.Greater(t, anonymous, 50)
	require.InDelta(t, 4500, seen, 400)
	require.Greater(t, len(zones), 5)
	require.GreaterOrEqual(t, len(years), 15)
	require.GreaterOrEqual(t, len(keywords), 5)
}

// TestNeverChanges pins the octets: a corpus is the same on every machine and
// in every version, so that numbers measured with it can be compared.
func TestNeverChanges(t *testing.T) {
	digest := func(boxes []corpus.Mailbox) string {
		h := sha256.New()
		for _, box := range boxes {
			for i, m := range box.All() {
				fmt.Fprintf(h, "%s %d %v %v\n", box.Name(), i, m.Flags, m.Date.Format("2006-01-02 15:04:05 -0700"))
				h.Write(m.Body())
			}
		}
		return fmt.Sprintf("%x", h.Sum(nil))[:16]
	}
	first := digest(corpus.Default(500))
	require.Equal(t, first, digest(corpus.Default(500)))
	require.Equal(t, "936a764af6f379bb", first)
	require.NotEqual(t, first, digest(corpus.Generate(corpus.Spec{Messages: 500, Seed: 1})))
}

func TestMessagesNeedNoNeighbours(t *testing.T) {
	box := corpus.Default(1000)[0]
	want := make([][]byte, box.Len)
	for i, m := range box.All() {
		want[i] = m.Body()
	}
	for _, i := range rand.Perm(box.Len) {
		require.True(t, bytes.Equal(want[i], box.At(i).Body()), i)
	}
}

func TestSmallCorpora(t *testing.T) {
	for n := range 30 {
		require.Equal(t, n, corpus.Total(corpus.Default(n)))
	}
	boxes := corpus.Generate(corpus.Spec{Messages: 7, Folders: []corpus.Folder{{Path: []string{"INBOX"}, Weight: 1}}})
	require.Equal(t, 7, boxes[0].Len)
}

func TestOdd(t *testing.T) {
	odd := corpus.Odd()
	names := make(map[string]bool)
	for _, m := range odd {
		require.NotEmpty(t, m.Name)
		require.False(t, names[m.Name], m.Name)
		names[m.Name] = true
		require.True(t, bytes.Equal(m.Body(), m.Body()))
	}
	require.Greater(t, len(odd), 20)
	require.Empty(t, odd[0].Body())
	for _, size := range []int{5000, 1 << 20} {
		body := corpus.Large(size).Body()
		require.Len(t, body, size)
		require.True(t, strings.HasSuffix(string(body), "\r\n"))
	}
	require.Equal(t, 3, corpus.Of([]string{"Odd"}, odd[:3]...).Len)
}

func BenchmarkDefault(b *testing.B) {
	b.ReportAllocs()
	boxes := corpus.Default(500)
	for b.Loop() {
		var octets int64
		for _, box := range boxes {
			for _, m := range box.All() {
				octets += int64(len(m.Body()))
			}
		}
		b.SetBytes(octets)
	}
}
