package service

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatewayd/test/peer"
	"gatewayd/test/rig"
)

const limit = time.Minute

func TestMain(m *testing.M) {
	code := m.Run()
	peer.RemoveBuilt()
	os.Exit(code)
}

// datagrams is a socket that keeps what it is told.
type datagrams struct {
	path  string
	words chan string
}

// listen opens a datagram socket at path.
func listen(t *testing.T, path string) *datagrams {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	d := &datagrams{path, make(chan string, 10_000)}
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			d.words <- string(buf[:n])
		}
	}()
	return d
}

// want waits for a datagram that has all of these in it.
func (d *datagrams) want(t *testing.T, parts ...string) string {
	t.Helper()
	late := time.After(limit)
	var before []string
next:
	for {
		select {
		case w := <-d.words:
			before = append(before, w)
			for _, p := range parts {
				if !strings.Contains(w, p) {
					continue next
				}
			}
			return w
		case <-late:
			t.Fatalf("%q never came to %s; there came %q", parts, d.path, before)
		}
	}
}

// service is a gatewayd that a service manager starts.
type service struct {
	t    *testing.T
	cmd  *exec.Cmd
	addr string
	log  string
}

// start runs gatewayd with more configuration, environment and open files. wrap runs before it; its last argument is "--".
func start(t *testing.T, more string, env []string, files []*os.File, wrap ...string) *service {
	t.Helper()
	bin, err := peer.Gatewayd()
	if err != nil {
		t.Fatal(err)
	}
	port, err := peer.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := &service{t: t, addr: fmt.Sprintf("127.0.0.1:%d", port), log: filepath.Join(dir, "log")}
	if !strings.Contains(more, "listeners:") {
		more += fmt.Sprintf("listeners: [{address: %q}]\n", s.addr)
	}
	text := fmt.Sprintf("gateway: {id: gw-service, data_dir: %q}\nboard: none\nhttp: {address: \"off\"}\n%s", filepath.Join(dir, "data"), more)
	file := filepath.Join(dir, "gatewayd.yaml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	argv := append(append([]string{}, wrap...), bin, "run", "-c", file)
	s.cmd = exec.Command(argv[0], argv[1:]...)
	s.cmd.Env = append(os.Environ(), env...)
	s.cmd.ExtraFiles = files
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := os.Create(s.log)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	s.cmd.Stdout, s.cmd.Stderr = out, out
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		if t.Failed() {
			b, _ := os.ReadFile(s.log)
			t.Logf("its log:\n%s", b)
		}
	})
	return s
}

// talks demands that an MQTT client can connect.
func (s *service) talks(addr string) {
	s.t.Helper()
	var err error
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var c *rig.Client
		if c, _, err = rig.Connect(addr, "hello", 4, true); err == nil {
			c.Goodbye()
			return
		}
	}
	s.t.Fatalf("nobody answers at %s: %v", addr, err)
}

// TestNotify stands in for systemd with Type=notify and WatchdogSec: ready comes when clients are let in, the watchdog is fed
// as often as it must be, HUP and TERM are told.
func TestNotify(t *testing.T) {
	t.Parallel()
	d := listen(t, filepath.Join(t.TempDir(), "notify"))
	s := start(t, "", []string{"NOTIFY_SOCKET=" + d.path, "WATCHDOG_USEC=900000"}, nil)
	d.want(t, "READY=1")
	c, _, err := rig.Connect(s.addr, "early", 4, true)
	if err != nil {
		t.Errorf("it says it is ready and refuses: %v", err)
	} else {
		c.Goodbye()
	}
	for range 5 {
		d.want(t, "WATCHDOG=1")
	}
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	d.want(t, "RELOADING=1", "MONOTONIC_USEC=")
	d.want(t, "READY=1")
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	d.want(t, "STOPPING=1")
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// TestPassedSockets gives it sockets that are open already, and finds each by its address.
func TestPassedSockets(t *testing.T) {
	t.Parallel()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	path := filepath.Join(t.TempDir(), "mqtt.sock")
	local, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	var files []*os.File
	for _, l := range []interface{ File() (*os.File, error) }{tcp.(*net.TCPListener), other.(*net.TCPListener), local.(*net.UnixListener)} {
		f, err := l.File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files = append(files, f)
	}
	// Clients that came while it was not there are served when it is.
	early, err := net.Dial("tcp", other.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer early.Close()
	if _, err := early.Write([]byte{0x10, 15, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 3, 'w', 'a', 'y'}); err != nil {
		t.Fatal(err)
	}
	s := start(t, fmt.Sprintf("listeners: [{address: %q}, {address: %q}, {address: %q}]\n", tcp.Addr(), other.Addr(), "unix:"+path),
		[]string{"LISTEN_FDS=3", "LISTEN_FDNAMES=gatewayd.socket:gatewayd.socket:gatewayd-local.socket"}, files, "sh", "-c", `LISTEN_PID=$$ exec "$@"`, "--")
	s.talks(tcp.Addr().String())
	s.talks(other.Addr().String())
	answer := make([]byte, 4)
	_ = early.SetReadDeadline(time.Now().Add(limit))
	if _, err := early.Read(answer); err != nil || answer[0] != 0x20 || answer[3] != 0 {
		t.Errorf("the client that came early got % x, %v", answer, err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Errorf("the Unix socket: %v", err)
	} else {
		c.Close()
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// ownRun is a wrapper that gives the process a /run of its own, the folder dir, where the system's sockets are looked for.
func ownRun(t *testing.T, dir string) []string {
	t.Helper()
	script := fmt.Sprintf(`mount --bind %s /run && { [ ! -e /dev/log ] || mount --bind %s /dev/log; } && exec "$@"`, dir, filepath.Join(dir, "log"))
	wrap := []string{"unshare", "--mount", "--propagation", "private", "sh", "-c", script, "--"}
	if out, err := exec.Command(wrap[0], append(wrap[1:], "true")...).CombinedOutput(); err != nil {
		t.Skipf("no folder can be mounted here (needs root): %v: %s", err, out)
	}
	return wrap
}

// TestSyslogAndJournal logs to both at once.
func TestSyslogAndJournal(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "run") // not t.TempDir: a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.MkdirAll(filepath.Join(dir, "systemd/journal"), 0o755); err != nil {
		t.Fatal(err)
	}
	journal := listen(t, filepath.Join(dir, "systemd/journal/socket"))
	syslog := listen(t, filepath.Join(dir, "log"))
	s := start(t, "log: {to: [syslog, journal], facility: local3}\n", nil, nil, ownRun(t, dir)...)
	s.talks(s.addr)
	// <158> is local3 (19·8) and info (6).
	line := syslog.want(t, "ready gateway=gw-service")
	if !strings.HasPrefix(line, "<158>") || !strings.Contains(line, "gatewayd[") {
		t.Errorf("syslog got %q", line)
	}
	entry := journal.want(t, "MESSAGE=", "ready")
	if !strings.Contains(entry, "PRIORITY=6\n") {
		t.Errorf("the journal got %q", entry)
	}
	c, _, err := rig.Connect(s.addr, "seen", 4, true)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	syslog.want(t, "client=seen")
	if entry := journal.want(t, "client connected", "seen"); !strings.Contains(entry, "GATEWAYD_CLIENT=seen") {
		t.Errorf("the journal has no field for the client: %q", entry)
	}
	if b, err := os.ReadFile(s.log); err != nil || len(b) > 0 {
		t.Errorf("it wrote to standard error although that is not asked for: %q, %v", b, err)
	}
}
