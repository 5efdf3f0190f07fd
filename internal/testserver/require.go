// What happens where a server, or another program, is not on this machine.

package testserver

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Required reports whether a server that is missing fails a test instead of
// skipping it: MAILHAUL_REQUIRE_SERVERS=1.
func Required() bool { return os.Getenv("MAILHAUL_REQUIRE_SERVERS") == "1" }

// unavailable skips the test, or fails it where servers are required.
func unavailable(t testing.TB, format string, args ...any) {
	t.Helper()
	if Required() {
		t.Fatalf(format+" (and MAILHAUL_REQUIRE_SERVERS=1)", args...)
	}
	t.Skipf(format, args...)
}

// require makes sure that a server of the kind can run here.
func require(t testing.TB, kind Kind) {
	t.Helper()
	if err := canRun(); err != nil {
		unavailable(t, "%s not available: %v", kind.Name(), err)
	}
	if err := kind.Find(); err != nil {
		unavailable(t, "needs Debian package %s: %v", strings.Join(kind.Packages(), ", "), err)
	}
}

// RequireProgram returns where a program is, and skips the test where it is
// not on this machine, or fails it where servers are required.
func RequireProgram(t testing.TB, name, debianPackage string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		unavailable(t, "needs Debian package %s: %v", debianPackage, err)
	}
	return path
}
