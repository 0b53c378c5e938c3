// Package bridge_test asks the bridge for what docs/BRIDGE.md promises, with
// the peers it meets in the field: Debian's mosquitto, another gatewayd, an
// HAProxy in front of two centres, networks that lose, delay and swallow, and
// a scripted centre for the faults that real ones show rarely. The issue
// numbers of other bridges that describe a fault have a test named after them;
// docs/BRIDGE.md has the table, which a test here holds against the code.
//
// The default form of every test is short. GATEWAYD_BRIDGE=long runs the long
// one and prints the figures docs/BRIDGE.md shows; `make test-bridge` does so.
package bridge_test

import (
	"flag"
	"os"
	"testing"

	"gatewayd/test/peer"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv("GATEWAYD_BRIDGE_INSIDE") == "" {
		_ = flag.Set("test.parallel", "8") // they wait more than they work
	}
	code := m.Run()
	peer.RemoveBuilt()
	os.Exit(code)
}

// long reports whether the long variants were asked for.
func long() bool { return os.Getenv("GATEWAYD_BRIDGE") == "long" }

// pick chooses between the default and the long form of a figure.
func pick[T any](short, longer T) T {
	if long() {
		return longer
	}
	return short
}
