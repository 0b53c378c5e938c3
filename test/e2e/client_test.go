package e2e

import (
	"os/exec"
	"strconv"
	"syscall"
	"testing"
)

func itoa(n int) string { return strconv.Itoa(n) }

func hup(t *testing.T, g *gateway) {
	t.Helper()
	if err := g.p.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
}

// TestOwnClients uses gatewayd pub and sub where one would use mosquitto's, against mosquitto.
func TestOwnClients(t *testing.T) {
	t.Parallel()
	c := newCentre(t, "")
	g := newGateway(t, "")
	theirs := subscribe(t, c.port, "-q", "2", "-t", "own/#")
	ours := watchCommand(t, exec.Command(g.bin, "sub", "-h", "127.0.0.1", "-p", itoa(c.port), "-v", "-q", "2", "-t", "own/#", "-t", "own/ready"), "")
	eventually(t, g.limit, "gatewayd sub is subscribed", func() bool {
		publish(t, c.port, "-q", "1", "-t", "own/ready", "-m", "?")
		return len(ours.sofar()) > 0
	})
	for qos := range 3 {
		if out, code := g.command("pub", "-h", "127.0.0.1", "-p", itoa(c.port), "-q", itoa(qos), "-t", "own/x", "-m", "at "+itoa(qos)); code != 0 {
			t.Fatalf("pub ended with %d: %s", code, out)
		}
		theirs.skipTo("own/x at " + itoa(qos))
		ours.skipTo("own/x at " + itoa(qos))
	}
	out, code := g.command("sub", "-h", "127.0.0.1", "-p", itoa(c.port), "-t", "own/never", "-W", "1")
	if code == 0 {
		t.Errorf("sub -W ended well without a message: %s", out)
	}
}
