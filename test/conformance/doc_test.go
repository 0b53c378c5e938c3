// Package conformance asks a broker, from outside and with a codec of its own,
// what MQTT 3.1, 3.1.1 and 5.0 demand of a server. Tests that hold for several
// versions run for each of them.
//
// CONFORMANCE_ADDR=host:port asks another broker than the gatewayd built here;
// tests that need an own configuration are skipped then.
package conformance

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gatewayd/test/peer"
)

func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("test.parallel", "24") // they wait more than they work
	code := m.Run()
	if common.p != nil {
		if err := common.p.Stop(); err != nil && code == 0 {
			fmt.Fprintln(os.Stderr, "gatewayd did not stop cleanly:", err)
			code = 1
		}
		if code != 0 {
			l := strings.Split(common.p.Output(), "\n")
			fmt.Fprintln(os.Stderr, strings.Join(l[max(0, len(l)-30):], "\n"))
		}
		os.RemoveAll(common.dir)
	}
	peer.RemoveBuilt()
	os.Exit(code)
}

// common is the broker most tests share.
var common struct {
	once sync.Once
	addr string
	dir  string
	p    *peer.Process
	err  error
}

// broker returns the address of the shared broker.
func broker(t testing.TB) string {
	t.Helper()
	common.once.Do(func() {
		if common.addr = os.Getenv("CONFORMANCE_ADDR"); common.addr != "" {
			return
		}
		if common.dir, common.err = os.MkdirTemp("", "conformance-"); common.err != nil {
			return
		}
		common.addr, common.p, common.err = launch(common.dir, "")
	})
	if common.err != nil {
		t.Fatal(common.err)
	}
	return common.addr
}

// configured starts a broker of its own with more configuration for one test. Text for the listener itself goes in front,
// each line indented by four blanks.
func configured(t testing.TB, more string) string {
	t.Helper()
	addr, _ := configuredProcess(t, more)
	return addr
}

// configuredProcess is configured for tests that look at the process too.
func configuredProcess(t testing.TB, more string) (string, *peer.Process) {
	t.Helper()
	if os.Getenv("CONFORMANCE_ADDR") != "" {
		t.Skip("needs a broker with a configuration of its own")
	}
	addr, p, err := launch(t.TempDir(), more)
	if p != nil {
		t.Cleanup(func() {
			if p.Exited() && p.ExitCode() == 0 {
				return // the test has stopped it
			}
			if p.Exited() {
				t.Errorf("gatewayd has died:\n%s", p.Output())
				return
			}
			p.Kill()
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return addr, p
}

func launch(dir, more string) (string, *peer.Process, error) {
	bin, err := peer.Gatewayd()
	if err != nil {
		return "", nil, err
	}
	port, err := peer.FreePort()
	if err != nil {
		return "", nil, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	config := fmt.Sprintf("http: {address: \"off\"}\nboard: none\ngateway: {id: gw-test, data_dir: %q}\nlisteners:\n  - address: %q\n%s",
		filepath.Join(dir, "data"), addr, more)
	p, err := peer.StartGatewayd(bin, dir, addr, config)
	if err != nil {
		return "", nil, err
	}
	_, err = p.Ready(15 * time.Second)
	return addr, p, err
}
