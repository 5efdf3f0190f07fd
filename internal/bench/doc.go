// Package bench is what benchmarks of the whole are made of: servers in a
// process of their own, mail to load them with, a network of a chosen length in
// front of them, the raw ceilings to compare with, and the counting of what a
// run costs.
//
// The servers are kept out of the process that is measured, so that its
// allocations, its heap and its processor time are those of mailhaul and of
// nothing else. That process is the same program, started again:
//
//	func TestMain(m *testing.M) {
//		if bench.IsLab() {
//			os.Exit(bench.ServeLab())
//		}
//		...
//	}
//
//	lab, err := bench.StartLab()
//	server, err := lab.Server(bench.ServerSpec{Kind: "dovecot"})
//	user, err := lab.User(server)
//	size, err := lab.Load(user, bench.Mail{Kind: bench.Account, Messages: 1000})
//	addr, err := lab.Network(user, 20*time.Millisecond)
//
// [LocalLab] has the same servers in the process itself, for a program that
// measures others.
package bench
