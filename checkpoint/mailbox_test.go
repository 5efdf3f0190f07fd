// Tests of what a MailboxLedger remembers.

package checkpoint_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
)

func TestSmoke(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	for range 2 {
		s, err := checkpoint.Open(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx := context.Background()
		l, err := checkpoint.OpenLedger(ctx, s, checkpoint.Pair{})
		if err != nil {
			t.Fatal(err)
		}
		m, err := l.Mailbox(ctx, "INBOX")
		if err != nil {
			t.Fatal(err)
		}
		for r, err := range m.Records(ctx, 0) {
			t.Log(r, err)
		}
		if err := m.Put(ctx, checkpoint.Record{Source: 1, Target: 5, Base: []mailhaul.Flag{"x", `\Seen`}}, checkpoint.Record{Source: 1000, Target: 6}); err != nil {
			t.Fatal(err)
		}
		t.Log(m.Dirty())
		if err := m.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		a, b, err := m.Sets(ctx)
		t.Log(a, b, err)
		if err := s.Check(ctx); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
