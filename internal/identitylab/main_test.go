package identitylab

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if name := os.Getenv(moverEnv); name != "" {
		os.Exit(serveMove(name))
	}
	goleak.VerifyTestMain(m)
}

// measuring reports whether there is time for everything.
func measuring() bool { return os.Getenv("MAILHAUL_MEASURE") == "1" }
