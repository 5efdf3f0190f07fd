package mailhaul_test

// The benchmark of POP3 sources.

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/imapx"
	"github.com/mailhaul/mailhaul/internal/bench"
	"github.com/mailhaul/mailhaul/pop3x"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

// BenchmarkPOP3 moves a maildrop into an empty INBOX. Where BenchmarkRawWriter
// ran before it, x-raw is what part it reaches of that on one connection.
// Beside it mpop, where it is installed, fetches the same maildrop into a
// Maildir, which is less to do.
func BenchmarkPOP3(b *testing.B) {
	b.Run("to=imap", func(b *testing.B) { everywhere(b, benchmarkPOP3) })
	b.Run("to=mpop", func(b *testing.B) { everywhere(b, benchmarkMpop) })
}

func benchmarkPOP3(b *testing.B, s setting) {
	src := s.source(b, bench.Mail{Kind: bench.Folder, Messages: *corpusSize})
	var c cost
	b.SetBytes(src.Octets)
	for b.Loop() {
		b.StopTimer()
		m := s.migration(b, src)
		b.StartTimer()
		meter := bench.Measure()
		res := m.runPOP3(b)
		c.add(meter.Stop(), res.RoundTrips)
		b.StopTimer()
		m.expect(b, res, "copied", res.Copied)
		differences, err := m.lab.CompareOctets(m.src.user, m.to)
		must(b, err)
		if len(differences) > 0 {
			b.Fatal(differences)
		}
		must(b, s.lab.Drop(m.to))
		b.StartTimer()
	}
	rate := c.report(b, src.Messages)
	if ceiling := s.ceiling[s.name()]; ceiling > 0 {
		b.ReportMetric(rate/ceiling, "x-raw")
	}
}

// runPOP3 makes one pass whose source is the maildrop.
func (m *migration) runPOP3(b *testing.B) *mailsync.Result {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 15*time.Minute)
	defer cancel()
	store, err := checkpoint.Open(m.state, nil)
	must(b, err)
	srv := m.server(b, m.src.user.POP3())
	srv.Protocol = mailhaul.POP3
	from, err := pop3x.New(pop3x.Config{Server: srv})
	must(b, err)
	to, err := imapx.New(imapx.Config{Server: m.server(b, m.to), Connections: *connections})
	must(b, err)
	syncer, err := mailsync.New(mailsync.Config{Source: from, Target: to, Store: store, Budget: mailsync.NewBudget(m.budget)})
	must(b, err)
	res, err := syncer.Run(ctx)
	must(b, err)
	must(b, from.Close())
	must(b, to.Close())
	must(b, store.Close())
	return res
}

func benchmarkMpop(b *testing.B, s setting) {
	mpop, err := exec.LookPath("mpop")
	if err != nil {
		b.Skip("mpop is not installed")
	}
	src := s.source(b, bench.Mail{Kind: bench.Folder, Messages: *corpusSize})
	at := s.far(b, src.user.POP3())
	b.SetBytes(src.Octets)
	for b.Loop() {
		b.StopTimer()
		dir := b.TempDir()
		for _, sub := range []string{"cur", "new", "tmp"} {
			must(b, os.MkdirAll(filepath.Join(dir, "INBOX", sub), 0o700))
		}
		rc := filepath.Join(dir, "mpoprc")
		must(b, os.WriteFile(rc, fmt.Appendf(nil, "account a\nhost %s\nport %d\nuser %s\npassword %s\nauth user\ntls off\nkeep on\nreceived_header off\nuidls_file %s\ndelivery maildir %s\n",
			at.Host, at.Port, at.Name, at.Password, filepath.Join(dir, "uidls"), filepath.Join(dir, "INBOX")), 0o600))
		b.StartTimer()
		out, err := exec.CommandContext(b.Context(), mpop, "-C", rc, "-q", "a").CombinedOutput()
		b.StopTimer()
		if err != nil {
			b.Fatalf("mpop: %v: %s", err, out)
		}
		files, err := os.ReadDir(filepath.Join(dir, "INBOX", "new"))
		must(b, err)
		if len(files) != src.Messages {
			b.Fatalf("mpop fetched %d messages, not %d", len(files), src.Messages)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(src.Messages*b.N)/b.Elapsed().Seconds(), "msgs/s")
}
