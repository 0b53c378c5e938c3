package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestLargeMessage sends a message of 20 MB (200 MB with GATEWAYD_SOAK=1) to a client that is away, through a restart.
func TestLargeMessage(t *testing.T) {
	sub, err := exec.LookPath("mosquitto_sub")
	if err != nil {
		t.Skip("mosquitto_sub is not installed (apt-get install mosquitto-clients)")
	}
	size := 20_000_000
	if soak() {
		size = 200_000_000
	}
	blob := make([]byte, size)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range blob {
		blob[i] = byte(rnd.Uint32())
	}
	g := newGateway(t, "mqtt: {max_packet_size: 256MB}\nstore: {max_bytes: 2GB}\n")
	g.start()
	file := filepath.Join(g.dir, "blob")
	if err := os.WriteFile(file, blob, 0o600); err != nil {
		t.Fatal(err)
	}
	subscribe(t, g.port, "-c", "-i", "sleeper", "-q", "1", "-t", "large", "-E")
	pub := exec.CommandContext(t.Context(), "mosquitto_pub", "-h", "127.0.0.1", "-p", fmt.Sprint(g.port), "-q", "1", "-t", "large", "-f", file)
	if out, err := pub.CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_pub: %v: %s", err, out)
	}
	m, err := g.p.Memory()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("a message of %d bytes is queued: %d bytes of anonymous memory", size, m.Anon)
	g.stop()
	g.verify()
	g.start()
	got, err := exec.Command(sub, "-h", "127.0.0.1", "-p", fmt.Sprint(g.port), "-V", "mqttv311", "-c", "-i", "sleeper", "-q", "1", "-t", "large", "-C", "1", "-N", "-W", "300").Output()
	if err != nil || !bytes.Equal(got, blob) {
		t.Fatalf("%d of %d bytes came, or others (%v)", len(got), size, err)
	}
	g.stop()
	g.verify()
}
