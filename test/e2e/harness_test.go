package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gatewayd/test/peer"
)

func freePort(t testing.TB) int {
	t.Helper()
	p, err := peer.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// gateway is a gatewayd of one test: its folder, its configuration, its process.
type gateway struct {
	t      testing.TB
	runner []string // what runs the binary: nothing, or an emulator
	bin    string
	dir    string
	addr   string
	port   int
	web    string // address of the HTTP server, once withHTTP was called
	config string
	p      *peer.Process
	limit  time.Duration // for start and stop
}

// newGateway prepares a gatewayd with one listener, no HTTP server and no board; more is added to its configuration.
// It is not started.
func newGateway(t testing.TB, more string) *gateway {
	t.Helper()
	bin, err := peer.Gatewayd()
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{t: t, bin: bin, dir: t.TempDir(), port: freePort(t), limit: 15 * time.Second}
	g.addr = fmt.Sprintf("127.0.0.1:%d", g.port)
	g.config = fmt.Sprintf("gateway: {id: gw-test, data_dir: %q}\nlisteners:\n  - address: %q\n", g.data(), g.addr)
	if !strings.Contains(more, "http:") {
		g.config += "http: {address: \"off\"}\n"
	}
	if !strings.Contains(more, "board:") {
		g.config += "board: none\n"
	}
	g.config += more
	t.Cleanup(func() {
		if g.p != nil && !g.p.Exited() {
			g.p.Kill()
		}
		if t.Failed() && g.p != nil {
			t.Logf("the end of gatewayd's log:\n%s", lastLines(g.p.Output(), 40))
		}
	})
	return g
}

func (g *gateway) data() string { return filepath.Join(g.dir, "data") }

// launch starts the process without waiting.
func (g *gateway) launch() {
	g.t.Helper()
	file := filepath.Join(g.dir, "gatewayd.yaml")
	if err := os.WriteFile(file, []byte(g.config), 0o644); err != nil {
		g.t.Fatal(err)
	}
	argv := append(append([]string{}, g.runner...), g.bin, "run", "-c", file)
	p, err := peer.Start("gatewayd", g.addr, filepath.Join(g.dir, "gatewayd.log"), argv...)
	if err != nil {
		g.t.Fatal(err)
	}
	g.p = p
}

func (g *gateway) start() {
	g.t.Helper()
	g.launch()
	if _, err := g.p.Ready(g.limit); err != nil {
		g.t.Fatal(err)
	}
}

// stop ends it with SIGTERM and demands a clean exit.
func (g *gateway) stop() {
	g.t.Helper()
	if err := g.p.Stop(); err != nil {
		g.t.Fatalf("gatewayd did not stop cleanly: %v", err)
	}
}

// command runs another subcommand of the same binary and returns its output and exit code.
func (g *gateway) command(args ...string) (string, int) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	argv := append(append(append([]string{}, g.runner...), g.bin), args...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = g.dir
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		g.t.Fatalf("%v: %v", args, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// verify demands that the stopped gateway's store is in order.
func (g *gateway) verify() {
	g.t.Helper()
	if out, code := g.command("store", "verify", "-d", g.data()); code != 0 {
		g.t.Fatalf("store verify ended with %d:\n%s", code, out)
	}
}

// centre is a mosquitto that keeps its port and folder when it is started again.
type centre struct {
	t     testing.TB
	dir   string
	port  int
	addr  string
	extra string
	p     *peer.Process
}

func newCentre(t testing.TB, extra string) *centre {
	t.Helper()
	if _, err := peer.MosquittoPath(); err != nil {
		t.Skip(err)
	}
	c := &centre{t: t, dir: t.TempDir(), port: freePort(t), extra: extra}
	c.addr = fmt.Sprintf("127.0.0.1:%d", c.port)
	c.start()
	t.Cleanup(func() {
		if !c.p.Exited() {
			c.p.Kill()
		}
		if t.Failed() {
			t.Logf("the end of mosquitto's log:\n%s", lastLines(c.p.Output(), 20))
		}
	})
	return c
}

func (c *centre) start() {
	c.t.Helper()
	p, err := peer.StartMosquitto(c.dir, c.port, c.extra)
	if err != nil {
		c.t.Fatal(err)
	}
	c.p = p
	if _, err := p.Ready(10 * time.Second); err != nil {
		c.t.Fatal(err)
	}
}

// watch is a running mosquitto_sub whose lines can be waited for.
type watch struct {
	t     testing.TB
	name  string
	lines chan string
	mu    sync.Mutex
	all   []string
}

// subscribe starts mosquitto_sub -v on addr and returns once it is subscribed.
func subscribe(t testing.TB, port int, args ...string) *watch {
	t.Helper()
	path, err := exec.LookPath("mosquitto_sub")
	if err != nil {
		t.Skip("mosquitto_sub is not installed (apt-get install mosquitto-clients)")
	}
	// Into a pipe it would keep what it says of itself in a buffer.
	argv := append([]string{"-oL", path, "-h", "127.0.0.1", "-p", fmt.Sprint(port), "-v", "-d", "-V", "mqttv311"}, args...)
	return watchCommand(t, exec.Command("stdbuf", argv...), "received SUBACK")
}

// watchCommand runs a command that prints messages as "topic payload"; with ready set it waits for a line that holds it.
func watchCommand(t testing.TB, cmd *exec.Cmd, ready string) *watch {
	t.Helper()
	r, w := io.Pipe()
	cmd.Stdout = w
	cmd.Stderr = w
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &watch{t: t, name: strings.Join(cmd.Args, " "), lines: make(chan string, 100_000)}
	isReady := make(chan struct{})
	var once sync.Once
	go func() {
		sc := bufio.NewScanner(r)
		sc.Buffer(make([]byte, 1<<20), 1<<20)
		for sc.Scan() {
			line := sc.Text()
			if ready != "" && strings.Contains(line, ready) {
				once.Do(func() { close(isReady) })
			}
			// -d mixes its own lines in; a message is a topic and its payload.
			if strings.HasPrefix(line, "Client ") || strings.HasPrefix(line, "Subscribed (") {
				continue
			}
			s.mu.Lock()
			s.all = append(s.all, line)
			s.mu.Unlock()
			s.lines <- line
		}
		close(s.lines)
	}()
	go func() {
		_ = cmd.Wait()
		w.Close()
	}()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	if ready != "" {
		select {
		case <-isReady:
		case <-time.After(20 * time.Second):
			t.Fatalf("%s was not subscribed after 20 s: %q", s.name, s.sofar())
		}
	}
	return s
}

func (s *watch) sofar() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.all...)
}

// next waits for the next line.
func (s *watch) next(limit time.Duration) string {
	s.t.Helper()
	select {
	case line, ok := <-s.lines:
		if !ok {
			s.t.Fatalf("%s has ended", s.name)
		}
		return line
	case <-time.After(limit):
		s.t.Fatalf("%s printed nothing for %s; before: %q", s.name, limit, s.sofar())
	}
	return ""
}

// want waits for the next line and demands that it is this one.
func (s *watch) want(line string) {
	s.t.Helper()
	if got := s.next(10 * time.Second); got != line {
		s.t.Fatalf("%s printed %q, want %q", s.name, got, line)
	}
}

// quiet demands that nothing comes for a while.
func (s *watch) quiet(d time.Duration) {
	s.t.Helper()
	select {
	case line := <-s.lines:
		s.t.Fatalf("%s printed %q, want nothing", s.name, line)
	case <-time.After(d):
	}
}

// publish runs mosquitto_pub to its end.
func publish(t testing.TB, port int, args ...string) {
	t.Helper()
	path, err := exec.LookPath("mosquitto_pub")
	if err != nil {
		t.Skip("mosquitto_pub is not installed (apt-get install mosquitto-clients)")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, append([]string{"-h", "127.0.0.1", "-p", fmt.Sprint(port)}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_pub %v: %v\n%s", args, err, bytes.TrimSpace(out))
	}
}

// eventually polls until ok, and fails the test when the time is up.
func eventually(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %s still not: %s", limit, what)
		}
	}
}

func lastLines(s string, n int) string {
	l := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(l[max(0, len(l)-n):], "\n")
}
