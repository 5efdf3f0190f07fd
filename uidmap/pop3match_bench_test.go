package uidmap

// What matching costs besides what is asked for.

import "testing"

func benchmarkUIDLMatcher(b *testing.B, cfg uidlWorldConfig, all bool) {
	w := newUIDLWorld(cfg, 1)
	headersP, headersI := map[int][]byte{}, map[int][]byte{}
	for n := range w.pop3 {
		headersP[n+1] = w.header(w.byNum[n+1], false)
	}
	for _, i := range w.imap {
		headersI[int(i.UID)] = w.header(w.byUID[i.UID], true)
	}
	b.ReportAllocs()
	var res UIDLResult
	for b.Loop() {
		m, err := NewUIDLMatcher(w.pop3, w.imap, UIDLConfig{UIDValidity: testUIDValidity, Thorough: all})
		if err != nil {
			b.Fatal(err)
		}
		for !m.Done() {
			for _, r := range m.Need() {
				switch r.Evidence {
				case POP3Header:
					m.Header(r, headersP[r.Number])
				case IMAPHeader:
					m.Header(r, headersI[int(r.UID)])
				default:
					w.answer(m, r)
				}
			}
		}
		res = m.Result()
	}
	b.ReportMetric(float64(b.N)*float64(len(w.pop3))/b.Elapsed().Seconds(), "msgs/s")
	b.ReportMetric(100*float64(res.Asked[POP3Header])/float64(len(w.pop3)), "%TOP")
	if s := w.score(b, res); s.wrong > 0 || s.right != s.unambiguous {
		b.Fatalf("%+v", s)
	}
}

func BenchmarkUIDLMatcher(b *testing.B) {
	base := uidlWorldConfig{n: 10_000, twins: 5, equalSizes: 10, missing: 20, headerDiffs: true}
	for name, change := range map[string]func(*uidlWorldConfig){
		"formula":  func(c *uidlWorldConfig) { c.uidl = uidlFormats["Dovecot"] },
		"counter":  func(c *uidlWorldConfig) { c.uidl = uidlFormats["Courier"] },
		"in order": func(*uidlWorldConfig) {},
		"shuffled": func(c *uidlWorldConfig) { c.order = "shuffled" },
		"100k":     func(c *uidlWorldConfig) { c.n = 100_000 },
	} {
		b.Run(name, func(b *testing.B) {
			cfg := base
			change(&cfg)
			benchmarkUIDLMatcher(b, cfg, false)
		})
	}
	b.Run("thorough", func(b *testing.B) { benchmarkUIDLMatcher(b, base, true) })
}
