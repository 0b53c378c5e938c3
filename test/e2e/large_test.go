package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestLargeMessage sends messages of 64 MB (200 MB with GATEWAYD_SOAK=1) at QoS 1 and 2 to a client that is away, through a
// restart, and bounds the memory that the gateway takes for them: it is that of a few parts, whatever their size.
func TestLargeMessage(t *testing.T) {
	sub, err := exec.LookPath("mosquitto_sub")
	if err != nil {
		t.Skip("mosquitto_sub is not installed (apt-get install mosquitto-clients)")
	}
	size := 64_000_000
	if soak() {
		size = 200_000_000
	}
	blob := make([]byte, size)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := 0; i < len(blob); i += 8 {
		v := rnd.Uint64()
		for j := range 8 {
			blob[i+j] = byte(v >> (8 * j))
		}
	}
	file := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(file, blob, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, qos := range []string{"1", "2"} {
		t.Run("qos "+qos, func(t *testing.T) {
			g := newGateway(t, "mqtt: {max_packet_size: 256MB}\nstore: {max_bytes: 2GB}\n")
			g.start()
			subscribe(t, g.port, "-c", "-i", "sleeper", "-q", qos, "-t", "large", "-E")
			most := g.mostMemory()
			pub := exec.CommandContext(t.Context(), "mosquitto_pub", "-h", "127.0.0.1", "-p", fmt.Sprint(g.port), "-q", qos, "-t", "large", "-f", file)
			if out, err := pub.CombinedOutput(); err != nil {
				t.Fatalf("mosquitto_pub: %v: %s", err, out)
			}
			g.within("a message of %d bytes arrives", size, most())
			g.stop()
			g.verify()
			g.start()
			most = g.mostMemory()
			got, err := exec.Command(sub, "-h", "127.0.0.1", "-p", fmt.Sprint(g.port), "-V", "mqttv311", "-c", "-i", "sleeper", "-q", qos, "-t", "large", "-C", "1", "-N", "-W", "300").Output()
			if err != nil || !bytes.Equal(got, blob) {
				t.Fatalf("%d of %d bytes came, or others (%v)", len(got), size, err)
			}
			g.within("a message of %d bytes is sent", size, most())
			g.stop()
			g.verify()
		})
	}
}

// largeBound is the anonymous memory that a gateway on a small board may have while large messages go through it.
const largeBound = 64 << 20

// mostMemory watches the process's anonymous memory until the returned function is called, which gives the most there was.
func (g *gateway) mostMemory() func() int64 {
	var most int64
	end, ended := make(chan struct{}), make(chan struct{})
	p := g.p
	go func() {
		defer close(ended)
		for {
			if m, err := p.Memory(); err == nil {
				most = max(most, m.Anon)
			}
			select {
			case <-end:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	return func() int64 {
		close(end)
		<-ended
		return most
	}
}

func (g *gateway) within(what string, size int, most int64) {
	g.t.Helper()
	what = fmt.Sprintf(what, size)
	g.t.Logf("while %s: at most %.1f MB of anonymous memory", what, float64(most)/1e6)
	if most > largeBound {
		g.t.Errorf("while %s the gateway has %d bytes of anonymous memory, more than %d", what, most, largeBound)
	}
}
