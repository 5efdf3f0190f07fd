//go:build !race

// See race_on_test.go.

package checkpoint_test

const raceEnabled = false
