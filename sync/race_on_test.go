//go:build race

package sync_test

// raceEnabled is set where the race detector slows everything down.
const raceEnabled = true
