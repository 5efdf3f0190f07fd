// Package checkpointtest tests implementations of checkpoint.Store, and tests
// what uses one by letting the Store fail.
//
//   - [TestStore] is the conformance suite: run it on a Store of your own.
//   - [Check] belongs at the end of each test that has a checkpoint.
//   - [Faulty] fails at the calls that you choose, before or after they took
//     effect, or plays a process that died.
//   - [History] remembers every commit, so that a test can go back to each.
package checkpointtest
