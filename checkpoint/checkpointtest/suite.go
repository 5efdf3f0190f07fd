// The conformance suite of checkpoint.Store.

package checkpointtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
)

// TestStore runs the conformance suite. open returns an empty Store each time.
// reopen is given a Store that open or reopen returned and that is closed, and
// opens what it was made of again; a nil reopen says that such a Store cannot
// last, and leaves the tests of that out. The suite closes what it is given.
func TestStore(t *testing.T, open func(t *testing.T) checkpoint.Store, reopen func(t *testing.T, closed checkpoint.Store) checkpoint.Store) {
	tests := []struct {
		name string
		run  func(suite, *testing.T)
	}{
		{"GetCommit", suite.getCommit},
		{"Octets", suite.octets},
		{"EmptyValue", suite.emptyValue},
		{"LargeValue", suite.largeValue},
		{"InvalidOp", suite.invalidOp},
		{"OrderOfOps", suite.orderOfOps},
		{"ScanOrder", suite.scanOrder},
		{"ScanBounds", suite.scanBounds},
		{"ScanSnapshot", suite.scanSnapshot},
		{"ScanSnapshotConcurrent", suite.scanSnapshotConcurrent},
		{"ScanStops", suite.scanStops},
		{"Ownership", suite.ownership},
		{"Atomicity", suite.atomicity},
		{"ConcurrentCommits", suite.concurrentCommits},
		{"Cancelled", suite.cancelled},
		{"CancelledConcurrently", suite.cancelledConcurrently},
		{"Durability", suite.durability},
		{"Close", suite.closing},
		{"CloseConcurrently", suite.closeConcurrently},
		{"Model", suite.model},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.run(suite{open, reopen}, t) })
	}
}

type suite struct {
	opener func(*testing.T) checkpoint.Store
	reopen func(*testing.T, checkpoint.Store) checkpoint.Store
}

// open opens a Store that is checked and closed at the end of the test.
func (s suite) open(t *testing.T) checkpoint.Store {
	t.Helper()
	store := s.opener(t)
	t.Cleanup(func() { finish(t, store) })
	return store
}

// finish checks what lies below the Store, whose keys are no checkpoint's, and
// closes it.
func finish(t *testing.T, store checkpoint.Store) {
	if c, ok := store.(interface{ Check(context.Context) error }); ok {
		if err := c.Check(context.Background()); err != nil && !errors.Is(err, mailhaul.ErrClosed) {
			t.Errorf("check: %v", err)
		}
	}
	if err := store.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

var ctx = context.Background()

func put(key, value string) checkpoint.Op {
	return checkpoint.Op{Key: []byte(key), Value: append([]byte{}, value...)}
}

func remove(key string) checkpoint.Op { return checkpoint.Op{Key: []byte(key)} }

func commit(t testing.TB, s checkpoint.Store, ops ...checkpoint.Op) {
	t.Helper()
	if err := s.Commit(ctx, ops); err != nil {
		t.Fatalf("commit: %v", err)
	}
}

// want demands a value, or no key where value is "-".
func want(t *testing.T, s checkpoint.Store, key, value string) {
	t.Helper()
	got, err := s.Get(ctx, []byte(key))
	switch {
	case value == "-" && !errors.Is(err, checkpoint.ErrNotFound):
		t.Errorf("get %q: %q, %v; want ErrNotFound", key, got, err)
	case value != "-" && err != nil:
		t.Errorf("get %q: %v", key, err)
	case value != "-" && (string(got) != value || got == nil):
		t.Errorf("get %q: %q, want %q", key, got, value)
	}
}

// list returns what a Scan yields as key=value, with spaces between.
func list(t testing.TB, s checkpoint.Store, prefix, from string) string {
	t.Helper()
	var b strings.Builder
	for kv, err := range s.Scan(ctx, []byte(prefix), []byte(from)) {
		if err != nil {
			t.Fatalf("scan: %v", err)
		}
		fmt.Fprintf(&b, "%s=%s ", kv.Key, kv.Value)
	}
	return strings.TrimSuffix(b.String(), " ")
}

func (s suite) getCommit(t *testing.T) {
	store := s.open(t)
	want(t, store, "a", "-")
	commit(t, store, put("a", "1"), put("b", "2"))
	want(t, store, "a", "1")
	want(t, store, "b", "2")
	want(t, store, "ab", "-")
	commit(t, store, put("a", "3"), remove("b"), remove("never there"))
	want(t, store, "a", "3")
	want(t, store, "b", "-")
	commit(t, store)
	want(t, store, "a", "3")
}

// octets: keys and values may be anything.
func (s suite) octets(t *testing.T) {
	store := s.open(t)
	keys := []string{"\x00", "\x00\x00", "\xff", "\xff\xff\xff", "a\x00b", "\x80", strings.Repeat("k", 512), "ü", " "}
	for _, k := range keys {
		commit(t, store, put(k, k+"\x00\xff"))
	}
	for _, k := range keys {
		want(t, store, k, k+"\x00\xff")
	}
	var got []string
	for kv, err := range store.Scan(ctx, nil, nil) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(kv.Key))
	}
	slices.Sort(keys)
	if !slices.Equal(got, keys) {
		t.Errorf("scan: %q, want %q", got, keys)
	}
}

func (s suite) emptyValue(t *testing.T) {
	store := s.open(t)
	commit(t, store, put("a", ""), put("b", "x"))
	want(t, store, "a", "")
	for kv, err := range store.Scan(ctx, nil, nil) {
		if err != nil || kv.Value == nil {
			t.Errorf("scan: %q is %v, %v", kv.Key, kv.Value, err)
		}
	}
	commit(t, store, put("b", ""))
	want(t, store, "b", "")
	commit(t, store, remove("a"))
	want(t, store, "a", "-")
}

func (s suite) largeValue(t *testing.T) {
	store := s.open(t)
	large := make([]byte, 1<<20)
	for i := range large {
		large[i] = byte(i * 7 >> 3)
	}
	commit(t, store, put("small", "1"), checkpoint.Op{Key: []byte("large"), Value: large}, put("z", "2"))
	want(t, store, "large", string(large))
	n := 0
	for kv, err := range store.Scan(ctx, nil, nil) {
		if err != nil {
			t.Fatal(err)
		}
		n += len(kv.Value)
	}
	if n != len(large)+2 {
		t.Errorf("scan: %d octets of values, want %d", n, len(large)+2)
	}
	commit(t, store, remove("large"))
	want(t, store, "large", "-")
	want(t, store, "z", "2")
}

func (s suite) invalidOp(t *testing.T) {
	store := s.open(t)
	err := store.Commit(ctx, []checkpoint.Op{put("a", "1"), put("", "2")})
	if !errors.Is(err, checkpoint.ErrInvalidOp) {
		t.Errorf("an empty key: %v, want ErrInvalidOp", err)
	}
	want(t, store, "a", "-")
	// It is the caller's fault alone.
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			ops := []checkpoint.Op{put(fmt.Sprint("key", i), "v")}
			if i%2 == 0 {
				ops = append(ops, remove(""))
			}
			if err := store.Commit(ctx, ops); errors.Is(err, checkpoint.ErrInvalidOp) != (i%2 == 0) {
				t.Errorf("commit %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	for i := range 20 {
		want(t, store, fmt.Sprint("key", i), []string{"-", "v"}[i%2])
	}
}

func (s suite) orderOfOps(t *testing.T) {
	store := s.open(t)
	commit(t, store, put("a", "1"), remove("a"), put("b", "1"), put("b", "2"), remove("c"), put("c", "3"))
	want(t, store, "a", "-")
	want(t, store, "b", "2")
	want(t, store, "c", "3")
}

func (s suite) scanOrder(t *testing.T) {
	store := s.open(t)
	var keys []string
	for i := range 1000 {
		keys = append(keys, fmt.Sprintf("k%04d", i))
	}
	shuffled := slices.Clone(keys)
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	for chunk := range slices.Chunk(shuffled, 70) {
		var ops []checkpoint.Op
		for _, k := range chunk {
			ops = append(ops, put(k, "value of "+k))
		}
		commit(t, store, ops...)
	}
	i := 0
	for kv, err := range store.Scan(ctx, []byte("k"), nil) {
		if err != nil {
			t.Fatal(err)
		}
		if i >= len(keys) || string(kv.Key) != keys[i] || string(kv.Value) != "value of "+keys[i] {
			t.Fatalf("entry %d is %q=%q", i, kv.Key, kv.Value)
		}
		i++
	}
	if i != len(keys) {
		t.Errorf("%d entries, want %d", i, len(keys))
	}
}

func (s suite) scanBounds(t *testing.T) {
	store := s.open(t)
	commit(t, store, put("a", "1"), put("b", "2"), put("b\x00", "3"), put("ba", "4"), put("bb", "5"), put("b\xff", "6"), put("c", "7"))
	for _, tt := range []struct{ prefix, from, want string }{
		{"", "", "a=1 b=2 b\x00=3 ba=4 bb=5 b\xff=6 c=7"},
		{"", "bb", "bb=5 b\xff=6 c=7"},
		{"", "d", ""},
		{"b", "", "b=2 b\x00=3 ba=4 bb=5 b\xff=6"},
		{"b", "a", "b=2 b\x00=3 ba=4 bb=5 b\xff=6"},
		{"b", "ba", "ba=4 bb=5 b\xff=6"},
		{"b", "baa", "bb=5 b\xff=6"},
		{"b", "c", ""},
		{"b\xff", "", "b\xff=6"},
		{"bx", "", ""},
		{"\xff", "", ""},
	} {
		if got := list(t, store, tt.prefix, tt.from); got != tt.want {
			t.Errorf("scan %q from %q: %q, want %q", tt.prefix, tt.from, got, tt.want)
		}
	}
}

// scanSnapshot: a Scan does not see the commits made from within its loop, and
// does not hold them up.
func (s suite) scanSnapshot(t *testing.T) {
	store := s.open(t)
	const n = 600
	var ops []checkpoint.Op
	for i := range n {
		ops = append(ops, put(fmt.Sprintf("k%04d", 2*i), "old"))
	}
	commit(t, store, ops...)
	i := 0
	for kv, err := range store.Scan(ctx, []byte("k"), nil) {
		if err != nil {
			t.Fatal(err)
		}
		if key := fmt.Sprintf("k%04d", 2*i); string(kv.Key) != key || string(kv.Value) != "old" {
			t.Fatalf("entry %d is %q=%.20q, want %q=old", i, kv.Key, kv.Value, key)
		}
		if i%20 == 0 {
			// Change one behind and ones ahead, and make the store grow.
			commit(t, store,
				put(fmt.Sprintf("k%04d", 2*i), "new"), put(fmt.Sprintf("k%04d", 2*i+2), "new"),
				remove(fmt.Sprintf("k%04d", 2*i+4)), put(fmt.Sprintf("k%04d", 2*i+5), "inserted"),
				put(fmt.Sprintf("k%04d", 2*n-2), strings.Repeat("large", 50_000)),
				remove(fmt.Sprintf("k%04d", 2*n-4)))
			want(t, store, fmt.Sprintf("k%04d", 2*i+5), "inserted")
		}
		i++
	}
	if i != n {
		t.Errorf("%d entries, want %d", i, n)
	}
	if got := list(t, store, "k0000", ""); got != "k0000=new" {
		t.Errorf("a new scan sees %q", got)
	}
}

// scanSnapshotConcurrent: commits keep the sum of all values, so that a Scan
// that sees two states at once finds another sum.
func (s suite) scanSnapshotConcurrent(t *testing.T) {
	store := s.open(t)
	const keys, sum = 300, 300 * 100
	values := make([]int, keys)
	ops := make([]checkpoint.Op, keys)
	key := func(i int) string { return fmt.Sprintf("k%04d", i) }
	for i := range values {
		values[i] = 100
		ops[i] = put(key(i), "100")
	}
	commit(t, store, ops...)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() {
		r := rand.New(rand.NewPCG(2, 2))
		for ctx.Err() == nil {
			i, j, n := r.IntN(keys), r.IntN(keys), r.IntN(50)
			if i == j || values[i] < n {
				continue
			}
			values[i], values[j] = values[i]-n, values[j]+n
			op := put(key(i), fmt.Sprint(values[i]))
			if values[i] == 0 {
				op = remove(key(i))
			}
			if err := store.Commit(context.Background(), []checkpoint.Op{op, put(key(j), fmt.Sprint(values[j]))}); err != nil {
				t.Errorf("commit: %v", err)
				return
			}
		}
	})
	for range 60 {
		got := 0
		for kv, err := range store.Scan(context.Background(), []byte("k"), nil) {
			if err != nil {
				t.Fatal(err)
			}
			var n int
			fmt.Sscan(string(kv.Value), &n)
			got += n
		}
		if got != sum {
			t.Errorf("a scan sees a sum of %d, want %d", got, sum)
		}
	}
	cancel()
	wg.Wait()
}

func (s suite) scanStops(t *testing.T) {
	store := s.open(t)
	commit(t, store, put("a", "1"), put("b", "2"), put("c", "3"))
	scan := store.Scan(ctx, nil, nil)
	for range 2 { // a sequence can be ranged over again
		for kv, err := range scan {
			if err != nil || string(kv.Key) != "a" {
				t.Errorf("%q, %v", kv.Key, err)
			}
			break
		}
	}
	cancelled, cancel := context.WithCancel(ctx)
	defer cancel()
	n := 0
	var last error
	for _, err := range store.Scan(cancelled, nil, nil) {
		n++
		last = err
		cancel()
	}
	if n != 2 || !errors.Is(last, context.Canceled) {
		t.Errorf("after a cancel: %d steps, the last with %v", n, last)
	}
}

// ownership: neither side may see what the other does to its slices.
func (s suite) ownership(t *testing.T) {
	store := s.open(t)
	key, value := []byte("key"), []byte("value")
	if err := store.Commit(ctx, []checkpoint.Op{{Key: key, Value: value}}); err != nil {
		t.Fatal(err)
	}
	key[0], value[0] = 'X', 'X'
	want(t, store, "key", "value")
	got, err := store.Get(ctx, []byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	got[0] = 'Y'
	want(t, store, "key", "value")
	prefix := []byte("k")
	scan := store.Scan(ctx, prefix, nil)
	prefix[0] = 'z'
	_ = scan // what it scans by now is its own affair; it must not crash
	for range scan {
	}
}

// atomicity: whoever reads sees all of a commit or none of it.
func (s suite) atomicity(t *testing.T) {
	store := s.open(t)
	commit(t, store, put("a", "0"), put("b", "0"))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 1; ctx.Err() == nil; i++ {
			v := fmt.Sprint(i)
			if err := store.Commit(context.Background(), []checkpoint.Op{put("a", v), put("b", v)}); err != nil {
				t.Errorf("commit: %v", err)
				return
			}
		}
	})
	for range 200 {
		var values []string
		for kv, err := range store.Scan(context.Background(), nil, nil) {
			if err != nil {
				t.Fatal(err)
			}
			values = append(values, string(kv.Value))
		}
		if len(values) != 2 || values[0] != values[1] {
			t.Fatalf("half a commit: %q", values)
		}
	}
	cancel()
	wg.Wait()
}

func (s suite) concurrentCommits(t *testing.T) {
	store := s.open(t)
	const workers, each = 16, 20
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				key := fmt.Sprintf("%02d-%03d", w, i)
				err := store.Commit(ctx, []checkpoint.Op{put(key, "1"), put("last"+fmt.Sprint(w), fmt.Sprint(i))})
				if err != nil {
					t.Errorf("commit: %v", err)
					return
				}
				// What is committed can be read.
				if got, err := store.Get(ctx, []byte(key)); err != nil || string(got) != "1" {
					t.Errorf("get %q: %q, %v", key, got, err)
				}
			}
		})
	}
	wg.Wait()
	n := 0
	for _, err := range store.Scan(ctx, nil, nil) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != workers*each+workers {
		t.Errorf("%d entries, want %d", n, workers*each+workers)
	}
	for w := range workers {
		want(t, store, "last"+fmt.Sprint(w), fmt.Sprint(each-1))
	}
}

func (s suite) cancelled(t *testing.T) {
	store := s.open(t)
	commit(t, store, put("a", "1"))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cancel()
	if err := store.Commit(ctx, []checkpoint.Op{put("a", "2")}); !errors.Is(err, context.Canceled) {
		t.Errorf("commit: %v", err)
	}
	if _, err := store.Get(ctx, []byte("a")); !errors.Is(err, context.Canceled) {
		t.Errorf("get: %v", err)
	}
	n := 0
	for _, err := range store.Scan(ctx, nil, nil) {
		n++
		if !errors.Is(err, context.Canceled) {
			t.Errorf("scan: %v", err)
		}
	}
	if n != 1 {
		t.Errorf("scan: %d steps", n)
	}
	want(t, store, "a", "1")
}

// cancelledConcurrently: nil means that it is there, an error that it is not.
func (s suite) cancelledConcurrently(t *testing.T) {
	store := s.open(t)
	const n = 200
	var wg sync.WaitGroup
	results := make([]error, n)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for i := range n {
		wg.Go(func() {
			ctx, cancelOne := context.WithCancel(ctx)
			if i%3 == 0 {
				go cancelOne()
			}
			defer cancelOne()
			results[i] = store.Commit(ctx, []checkpoint.Op{put(fmt.Sprintf("a%d", i), "1"), put(fmt.Sprintf("b%d", i), "1")})
			if i == n/2 {
				cancel()
			}
		})
	}
	wg.Wait()
	cancel()
	for i, err := range results {
		there := "1"
		if err != nil {
			there = "-"
			if !errors.Is(err, context.Canceled) {
				t.Errorf("commit %d: %v", i, err)
			}
		}
		want(t, store, fmt.Sprintf("a%d", i), there)
		want(t, store, fmt.Sprintf("b%d", i), there)
	}
}

func (s suite) durability(t *testing.T) {
	if s.reopen == nil {
		t.Skip("such a store does not last")
	}
	store := s.opener(t)
	var expected []string
	for i := range 30 {
		commit(t, store, put(fmt.Sprintf("k%02d", i), fmt.Sprint(i)), put("z", strings.Repeat("z", 1000*i)))
		if i%3 == 2 {
			commit(t, store, remove(fmt.Sprintf("k%02d", i-1)))
		}
		if i%7 == 6 {
			if err := store.Close(); err != nil {
				t.Fatal(err)
			}
			store = s.reopen(t, store)
		}
	}
	for i := range 30 {
		if i%3 != 1 {
			expected = append(expected, fmt.Sprintf("k%02d=%d", i, i))
		}
	}
	if got := list(t, store, "k", ""); got != strings.Join(expected, " ") {
		t.Errorf("after reopening: %q", got)
	}
	want(t, store, "z", strings.Repeat("z", 29000))
	finish(t, store)
}

func (s suite) closing(t *testing.T) {
	store := s.open(t)
	commit(t, store, put("a", "1"), put("b", "2"))
	n := 0
	var last error
	for _, err := range store.Scan(ctx, nil, nil) { // Close does not wait for the loop that calls it
		if n++; n == 1 {
			if err := store.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		}
		last = err
	}
	if n != 2 || !errors.Is(last, mailhaul.ErrClosed) {
		t.Errorf("scan: %d steps, the last with %v", n, last)
	}
	if err := store.Close(); err != nil {
		t.Errorf("close again: %v", err)
	}
	if _, err := store.Get(ctx, []byte("a")); !errors.Is(err, mailhaul.ErrClosed) {
		t.Errorf("get: %v", err)
	}
	if err := store.Commit(ctx, []checkpoint.Op{put("a", "2")}); !errors.Is(err, mailhaul.ErrClosed) {
		t.Errorf("commit: %v", err)
	}
	for _, err := range store.Scan(ctx, nil, nil) {
		if !errors.Is(err, mailhaul.ErrClosed) {
			t.Errorf("scan: %v", err)
		}
	}
}

// closeConcurrently: a commit that returned nil before or while the store was
// closed is there.
func (s suite) closeConcurrently(t *testing.T) {
	store := s.opener(t)
	const n = 50
	var wg sync.WaitGroup
	results := make([]error, n)
	for i := range n {
		wg.Go(func() {
			results[i] = store.Commit(ctx, []checkpoint.Op{put(fmt.Sprint(i), "1")})
		})
		if i%10 == 5 {
			wg.Go(func() {
				if err := store.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
		}
	}
	wg.Wait()
	if s.reopen != nil {
		store = s.reopen(t, store)
	}
	for i, err := range results {
		if err != nil && !errors.Is(err, mailhaul.ErrClosed) {
			t.Errorf("commit %d: %v", i, err)
		}
		if s.reopen == nil {
			continue
		}
		there := "1"
		if err != nil {
			there = "-"
		}
		want(t, store, fmt.Sprint(i), there)
	}
	finish(t, store)
}

// model compares the Store with a map, over random operations.
func (s suite) model(t *testing.T) {
	store := s.opener(t)
	r := rand.New(rand.NewPCG(3, 3))
	model := make(map[string]string)
	for step := range 300 {
		var ops []checkpoint.Op
		for range r.IntN(20) {
			key := fmt.Sprintf("%c%03d", 'a'+rune(r.IntN(3)), r.IntN(200))
			if r.IntN(3) == 0 {
				ops = append(ops, remove(key))
				delete(model, key)
			} else {
				value := strings.Repeat(string(rune('A'+r.IntN(26))), r.IntN(1200))
				ops = append(ops, put(key, value))
				model[key] = value
			}
		}
		commit(t, store, ops...)
		if s.reopen != nil && r.IntN(40) == 0 {
			if err := store.Close(); err != nil {
				t.Fatal(err)
			}
			store = s.reopen(t, store)
		}
		if step%10 != 0 {
			continue
		}
		prefix := string(rune('a' + r.IntN(3)))
		from := fmt.Sprintf("%s%03d", prefix, r.IntN(200))
		var keys []string
		for k := range model {
			if strings.HasPrefix(k, prefix) && k >= from {
				keys = append(keys, k)
			}
		}
		slices.Sort(keys)
		for kv, err := range store.Scan(ctx, []byte(prefix), []byte(from)) {
			if err != nil {
				t.Fatal(err)
			}
			if len(keys) == 0 || string(kv.Key) != keys[0] || !bytes.Equal(kv.Value, []byte(model[keys[0]])) {
				t.Fatalf("step %d: scan yields %q, want %.1q", step, kv.Key, keys)
			}
			keys = keys[1:]
		}
		if len(keys) > 0 {
			t.Fatalf("step %d: scan does not yield %q", step, keys)
		}
	}
	finish(t, store)
}
