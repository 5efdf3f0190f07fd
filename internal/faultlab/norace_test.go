//go:build !race

package faultlab

const raceEnabled = false
