// Package interop lets other people's client libraries talk to gatewayd: the
// Eclipse Paho clients for Go (3.1.1 and 5.0) over TCP and WebSocket, and
// MQTT.js where node and npm are installed.
package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gatewayd/test/peer"
)

var (
	tcpAddr string
	wsURL   string
)

func TestMain(m *testing.M) {
	code, err := withGateway(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func withGateway(run func() int) (int, error) {
	defer peer.RemoveBuilt()
	bin, err := peer.Gatewayd()
	if err != nil {
		return 1, err
	}
	dir, err := os.MkdirTemp("", "interop-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	port, err := peer.FreePort()
	if err != nil {
		return 1, err
	}
	ws, err := peer.FreePort()
	if err != nil {
		return 1, err
	}
	tcpAddr, wsURL = fmt.Sprintf("127.0.0.1:%d", port), fmt.Sprintf("ws://127.0.0.1:%d/mqtt", ws)
	p, err := peer.StartGatewayd(bin, dir, tcpAddr, fmt.Sprintf(
		"gateway: {id: gw-test, data_dir: %q}\nhttp: {address: \"off\"}\nboard: none\nlisteners:\n  - address: %q\n  - {address: \"127.0.0.1:%d\", websocket: true}\n",
		filepath.Join(dir, "data"), tcpAddr, ws))
	if err != nil {
		return 1, err
	}
	defer p.Kill()
	if _, err := p.Ready(15 * time.Second); err != nil {
		return 1, err
	}
	code := run()
	if err := p.Stop(); err != nil {
		return 1, fmt.Errorf("gatewayd did not stop cleanly: %w\n%s", err, p.Output())
	}
	return code, nil
}

const patience = 10 * time.Second

func recv[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
	panic("unreachable")
}
