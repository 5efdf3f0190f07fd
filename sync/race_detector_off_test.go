//go:build !race

package sync

// raceDetector is set where the race detector slows everything down.
const raceDetector = false
