// Package faultlab is a laboratory in which migrations die: at every durable
// step, at every call of the disk, at every octet of the network, under every
// habit of a server that is known, and under kill -9. After each death the
// migration is resumed, and both accounts are compared with a specification
// that knows nothing of the engine. All of it is tests.
//
//   - crash_test.go: the process dies at each step that changes anything, and
//     again at each step of the restart;
//   - scenarios_test.go, departures_test.go: what is migrated meanwhile;
//   - persona_test.go: servers with habits, through the same deaths;
//   - disk_test.go, image_test.go, full_test.go: the checkpoint's disk fails;
//   - rollback_test.go: an old checkpoint is restored;
//   - cut_test.go, cut_pop3_test.go: the network is cut at each octet;
//   - kill_test.go: the real program, a real server, kill -9;
//   - control_test.go: broken engines, which each laboratory must catch.
//
// The tests count what they tried and fail when it was less than promised.
// Where a product is too large, a sample is drawn; the seed is printed, and
//
//	go test ./internal/faultlab -faultlab.seed N -faultlab.large
//
// draws another, or takes all.
package faultlab
