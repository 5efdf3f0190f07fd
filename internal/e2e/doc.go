// Package e2e tests the main job from end to end: real corpora between real
// and in-process servers, through imapx and the engine, judged by an oracle
// that shares no code with them.
package e2e
