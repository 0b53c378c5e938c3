package e2e

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gatewayd/test/peer"
)

// TestBuiltInDefault is `make run` on a laptop: within 3 s mosquitto_sub prints temperatures, and Ctrl-C ends it cleanly.
func TestBuiltInDefault(t *testing.T) {
	bin, err := peer.Gatewayd()
	if err != nil {
		t.Fatal(err)
	}
	sub, err := exec.LookPath("mosquitto_sub")
	if err != nil {
		t.Skip("mosquitto_sub is not installed (apt-get install mosquitto-clients)")
	}
	enterOwnNetwork(t) // the default's ports are fixed

	cmd := exec.Command(bin, "run")
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "STATE_DIRECTORY=")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		if t.Failed() {
			t.Logf("gatewayd said:\n%s", lastLines(out.String(), 40))
		}
	}()
	eventually(t, 3*time.Second, "listening on 1883", func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:1883")
		if err != nil {
			return false
		}
		c.Close()
		return true
	})
	lines, err := exec.Command(sub, "-t", "room1/#", "-v", "-C", "3", "-W", "3").Output()
	if err != nil {
		t.Fatalf("mosquitto_sub: %v, after %s, with %q", err, time.Since(begun), lines)
	}
	if !regexp.MustCompile(`(?m)^room1/temperature -?\d+(\.\d+)?$`).Match(lines) {
		t.Errorf("no temperature among what mosquitto_sub printed:\n%s", lines)
	}
	if took := time.Since(begun); took > 3*time.Second {
		t.Errorf("the first temperature came after %s", took)
	}

	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("after Ctrl-C: %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("still running 5 s after Ctrl-C")
	}
}

// enterOwnNetwork moves the test's thread into a network namespace of its own, whose loopback has every port free.
// Without the right to do so the test runs beside everything else, and is skipped when a port of the default is taken.
func enterOwnNetwork(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		for _, port := range []int{1883, 8083, 8080} {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				t.Skipf("no network namespace (%v), and port %d is taken", err, port)
			}
			l.Close()
		}
		return
	}
	// The thread keeps its namespace, so it is never given back: the goroutine ends locked.
	if err := loopbackUp(); err != nil {
		t.Fatalf("loopback up: %v", err)
	}
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
}
