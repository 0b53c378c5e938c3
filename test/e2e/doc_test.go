// Package e2e proves the main job with real peers: gatewayd as users run it,
// Debian's mosquitto as the central broker, mosquitto_pub and mosquitto_sub as
// nodes of the LAN. Every broker has its own folder and ephemeral ports, so
// the tests run side by side.
//
// GATEWAYD_BIN names a binary to test instead of one built here.
// GATEWAYD_SOAK=1 runs the long variants.
package e2e

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"gatewayd/test/peer"
)

func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("test.parallel", "8") // they wait more than they work
	if _, err := peer.Gatewayd(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	peer.RemoveBuilt()
	os.Exit(code)
}

// soak reports whether the long variants were asked for.
func soak() bool { return os.Getenv("GATEWAYD_SOAK") != "" }
