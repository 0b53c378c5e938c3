package bridge_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatewayd/test/peer"
)

// centre is a broker process that keeps its port and folder when it is started again.
type centre struct {
	t     testing.TB
	addr  string
	dir   string
	begin func() (*peer.Process, error)
	p     *peer.Process
}

func (c *centre) start() {
	c.t.Helper()
	p, err := c.begin()
	if err != nil {
		c.t.Fatal(err)
	}
	c.p = p
	if _, err := p.Ready(30 * time.Second); err != nil {
		c.t.Fatal(err)
	}
}

// end ends the process; TERM lets it save its store.
func (c *centre) end(sig syscall.Signal) {
	_ = c.p.Signal(sig)
	_ = c.p.Wait(20 * time.Second)
}

func freePort(t testing.TB) int {
	t.Helper()
	p, err := peer.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// newMosquitto starts a mosquitto that keeps its sessions when it ends in order; extra goes into its configuration.
func newMosquitto(t testing.TB, extra string) *centre {
	t.Helper()
	if _, err := peer.MosquittoPath(); err != nil {
		t.Skip(err)
	}
	port := freePort(t)
	c := &centre{t: t, addr: fmt.Sprintf("127.0.0.1:%d", port), dir: t.TempDir()}
	extra = "persistence true\npersistence_location " + c.dir + "/\nmax_queued_messages 0\nsys_interval 0\n" + extra
	c.begin = func() (*peer.Process, error) { return peer.StartMosquitto(c.dir, port, extra) }
	c.start()
	return c.watch()
}

// newGatewayd prepares a gatewayd process, gateway or centre, with a listener, no HTTP server and no board, and more of
// configuration. It is not started.
func newGatewayd(t testing.TB, more string) *centre {
	t.Helper()
	bin, err := peer.Gatewayd()
	if err != nil {
		t.Fatal(err)
	}
	c := &centre{t: t, addr: fmt.Sprintf("127.0.0.1:%d", freePort(t)), dir: t.TempDir()}
	config := fmt.Sprintf("gateway: {id: gw-test, data_dir: %q}\nlisteners:\n  - {address: %q, anonymous: true}\nboard: none\n",
		filepath.Join(c.dir, "data"), c.addr)
	if !strings.Contains(more, "http:") {
		config += "http: {address: \"off\"}\n"
	}
	c.begin = func() (*peer.Process, error) { return peer.StartGatewayd(bin, c.dir, c.addr, config+more) }
	return c.watch()
}

// watch ends the process with the test, and shows its log if that failed.
func (c *centre) watch() *centre {
	c.t.Cleanup(func() {
		if c.p == nil {
			return
		}
		if !c.p.Exited() {
			c.p.Kill()
		}
		if c.t.Failed() {
			out := c.p.Output()
			c.t.Logf("the end of the log of %s:\n%s", c.p.Name, out[max(0, len(out)-3000):])
		}
	})
	return c
}

func write(t testing.TB, name, text string) string {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// beginWith starts a gatewayd with exactly that configuration.
func beginWith(t testing.TB, dir, addr, config string) func() (*peer.Process, error) {
	t.Helper()
	bin, err := peer.Gatewayd()
	if err != nil {
		t.Fatal(err)
	}
	return func() (*peer.Process, error) { return peer.StartGatewayd(bin, dir, addr, config) }
}
