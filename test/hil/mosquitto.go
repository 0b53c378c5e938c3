package hil

import (
	"bufio"
	"net"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"gatewayd/test/rig"
)

// mosquitto is mosquitto_sub on the host: what a user would see.
type mosquitto struct{ lines chan string }

// startMosquitto subscribes; the test is not skipped where it is not installed, since our own subscriber sees the same.
func startMosquitto(t *testing.T, address, topic string) *mosquitto {
	t.Helper()
	path, err := rig.LookPath("mosquitto_sub")
	if err != nil {
		t.Logf("without mosquitto_sub: %v", err)
		return nil
	}
	host, port, _ := net.SplitHostPort(address)
	cmd := exec.Command(path, "-h", host, "-p", port, "-t", topic, "-q", "1", "-V", "mqttv311")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }) // it runs until then
	m := &mosquitto{make(chan string, 10_000)}
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			m.lines <- s.Text()
		}
	}()
	return m
}

// wait returns after the next line that pleases.
func (m *mosquitto) wait(t *testing.T, what string, within time.Duration, pleases func(string) bool) {
	t.Helper()
	if m == nil {
		return
	}
	late := time.After(within)
	last := "nothing"
	for {
		select {
		case last = <-m.lines:
			if pleases(last) {
				return
			}
		case <-late:
			t.Errorf("mosquitto_sub did not show %s within %v; last it printed %s", what, within, last)
			return
		}
	}
}
