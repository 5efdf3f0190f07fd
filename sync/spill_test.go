package sync

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
)

func TestSpillGivesBackWhatItTook(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Setenv("TMP", dir) // Windows
	rng := rand.New(rand.NewPCG(1, 2))
	s, err := newSpill(createTemp, 7)
	require.NoError(t, err)
	want := make([][]string, 7)
	for i := range 20_000 {
		part := rng.IntN(6) // one stays empty
		record := fmt.Sprint(i, strings.Repeat("x", rng.IntN(60)))
		switch rng.IntN(500) {
		case 0:
			record = ""
		case 1:
			record = strings.Repeat("y", 3*spillBlock) // larger than a block
		}
		require.NoError(t, s.add(part, []byte(record)))
		want[part] = append(want[part], record)
	}
	require.NoError(t, s.flush())
	for range 2 {
		for part := range want {
			var got []string
			for record, err := range s.records(part) {
				require.NoError(t, err)
				got = append(got, string(record))
			}
			require.Equal(t, want[part], got)
		}
	}
	if runtime.GOOS != "windows" {
		require.Empty(t, entries(t, dir), "the file keeps its name")
	}
	require.NoError(t, s.Close())
	require.Empty(t, entries(t, dir))
}

func entries(t *testing.T, dir string) []os.DirEntry {
	t.Helper()
	list, err := os.ReadDir(dir)
	require.NoError(t, err)
	return list
}

// A file that is cut, or written to by others, is an error and no other mail.
func TestSpillNoticesDamage(t *testing.T) {
	for name, damage := range map[string]func(*os.File) error{
		"cut":     func(f *os.File) error { return f.Truncate(10) },
		"changed": func(f *os.File) error { _, err := f.WriteAt([]byte{0xff, 0xff, 0xff, 0xff}, 0); return err },
	} {
		t.Run(name, func(t *testing.T) {
			s, err := newSpill(createTemp, 1)
			require.NoError(t, err)
			defer s.Close()
			for range 3 {
				require.NoError(t, s.add(0, []byte("a record")))
			}
			require.NoError(t, s.flush())
			require.NoError(t, damage(s.file.(*tempFile).File))
			var last error
			for _, last = range s.records(0) {
			}
			require.Error(t, last)
		})
	}
}

func TestRecordsOnDiskComeBack(t *testing.T) {
	sets := make(flagSets)
	for _, m := range []listed{
		{},
		{flags: []mailhaul.Flag{mailhaul.FlagSeen}},
		{flags: []mailhaul.Flag{"$Work", mailhaul.FlagAnswered, mailhaul.FlagSeen}},
	} {
		for _, date := range []time.Time{{}, time.Unix(0, 0), time.Unix(-5, 0), time.Unix(1<<40, 0)} {
			for _, size := range []int64{0, -1, 1 << 40} {
				m.UID, m.HasID, m.Size, m.Date = 1<<32-1, size == 0, size, date
				m.Key[0], m.Key[15] = 1, 255
				got, err := parseListed(appendListed(nil, m), sets)
				require.NoError(t, err)
				require.Equal(t, m, got)
				whole := appendListed(nil, listed{Candidate: m.Candidate})
				for n := range whole {
					_, err := parseListed(whole[:n], sets)
					require.ErrorIs(t, err, errSpill)
				}
			}
		}
		p := foundPair{flags: m.flags}
		p.Source, p.Target, p.Basis = 1, 1<<32-1, 4
		got, err := parsePair(appendPair(nil, p), sets)
		require.NoError(t, err)
		require.Equal(t, p, got)
		_, err = parsePair(appendPair(nil, p)[:8], sets)
		require.ErrorIs(t, err, errSpill)
	}
}

// Whatever flags a server sends, few of them are held.
func TestFlagSetsAreBounded(t *testing.T) {
	sets := make(flagSets)
	for i := range 3 * maxFlagSets {
		flags := []mailhaul.Flag{mailhaul.Flag(fmt.Sprint("k", i))}
		require.Equal(t, flags, sets.shared(flags))
		require.Equal(t, flags, sets.parse(appendFlags(nil, flags)))
		require.LessOrEqual(t, len(sets), maxFlagSets)
	}
}

func TestBoundaries(t *testing.T) {
	set := mailhaul.UIDSet{{First: 3, Last: 5}, {First: 9, Last: 9}, {First: 20, Last: 22}}
	require.Equal(t, []mailhaul.UID{3, 9, 22}, boundaries(set, 3))
	require.Equal(t, []mailhaul.UID{3}, boundaries(set, 1))
	require.Len(t, boundaries(set, 7), 7)
}

func TestTempFileError(t *testing.T) {
	_, err := newSpill(func() (spillFile, error) { return nil, errors.New("no room") }, 1)
	require.ErrorContains(t, err, "no room")
}
