//go:build race

// The race detector makes tests that count octets slow, and finds nothing there.

package checkpoint_test

const raceEnabled = true
