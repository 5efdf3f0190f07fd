// Package importcheck is a test: it holds the direction of imports that
// docs/architecture.md draws. The root package and throttle import nothing of
// ours, protocols import those, the engine imports neither protocol nor driver,
// and what is for tests stays out of what a user runs.
package importcheck
