package conformance

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gatewayd/test/peer"
)

// itsSocket is the broker's own end of our connection: a duplicate of its descriptor.
func itsSocket(t *testing.T, p *peer.Process, c *client) int {
	t.Helper()
	pid, err := unix.PidfdOpen(p.PID(), 0)
	if err != nil {
		t.Skipf("cannot look at another process's sockets: %v", err)
	}
	defer unix.Close(pid)
	ours := c.conn.LocalAddr().(*net.TCPAddr).Port
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range list {
		var n int
		if _, err := fmt.Sscan(entry.Name(), &n); err != nil {
			continue
		}
		if to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", p.PID(), n)); err != nil || !strings.HasPrefix(to, "socket:") {
			continue
		}
		fd, err := unix.PidfdGetfd(pid, n, 0)
		if err != nil {
			t.Skipf("cannot look at another process's sockets: %v", err)
		}
		if sa, err := unix.Getpeername(fd); err == nil {
			port := 0
			switch in := sa.(type) {
			case *unix.SockaddrInet4:
				port = in.Port
			case *unix.SockaddrInet6:
				port = in.Port
			}
			if port == ours {
				t.Cleanup(func() { unix.Close(fd) })
				return fd
			}
		}
		unix.Close(fd)
	}
	t.Fatal("the broker has no socket with us at its other end")
	return -1
}

// ownProcess is own for tests that look at the process.
func ownProcess(t *testing.T, settings string) (plain, special string, p *peer.Process) {
	t.Helper()
	port, err := peer.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	special = fmt.Sprintf("127.0.0.1:%d", port)
	plain, p = configuredProcess(t, fmt.Sprintf("  - {address: %q, %s}\n", special, settings))
	return plain, special, p
}

// TestNoDelay: set_tcp_nodelay is the socket option of each listener's connections.
func TestNoDelay(t *testing.T) {
	t.Parallel()
	plain, special, p := ownProcess(t, "set_tcp_nodelay: false")
	for addr, want := range map[string]int{plain: 1, special: 0} {
		c := connect(t, addr, options{})
		got, err := unix.GetsockoptInt(itsSocket(t, p, c), unix.IPPROTO_TCP, unix.TCP_NODELAY)
		if err != nil || got != want {
			t.Errorf("TCP_NODELAY is %d (%v), want %d", got, err, want)
		}
	}
}

// TestMaxOutbox: what waits for a subscriber that does not read is bounded by its listener's max_outbox; QoS 0 beyond it is dropped.
func TestMaxOutbox(t *testing.T) {
	t.Parallel()
	plain, special, p := ownProcess(t, "max_outbox: 32kB")
	const n, size = 300, 20_000
	arrive := func(addr string) (got int) {
		topic := unique("t")
		c := connect(t, addr, options{})
		_ = c.conn.(*net.TCPConn).SetReadBuffer(4096)
		if err := unix.SetsockoptInt(itsSocket(t, p, c), unix.SOL_SOCKET, unix.SO_SNDBUF, 4096); err != nil {
			t.Fatal(err)
		}
		c.subscribe(sub{topic, 0})
		b := connect(t, plain, options{})
		m := msg{topic: topic, payload: strings.Repeat("x", size)}
		for range n {
			b.send(m)
		}
		b.still()
		c.write([]byte{tPingreq << 4, 0})
		for {
			switch m, err := c.recv(patience); {
			case err != nil:
				t.Fatal(err)
			case m.typ == tPingresp:
				return got
			default:
				got++
			}
		}
	}
	// 6 MB are sent. 2 MiB may wait by default; 32 kB are two messages, and the sockets' smallest buffers a few more.
	if got := arrive(plain); got < 90 || got > 150 {
		t.Errorf("%d of %d messages by default", got, n)
	}
	if got := arrive(special); got > 20 {
		t.Errorf("%d of %d messages with 32 kB", got, n)
	}
}

// TestUnixSocket: its permissions are those that are asked for; the same protocol is spoken.
func TestUnixSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "mqtt.sock")
	configured(t, fmt.Sprintf("  - {address: \"unix:%s\", socket_mode: \"0640\"}\n", path))
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Fatalf("got %v, %v", info, err)
	}
	conn, err := net.DialTimeout("unix", path, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := raw0(t, conn, 5)
	c.write((&options{v: 5, id: "unix"}).encode())
	if ack := c.want(tConnack); ack.code != 0 {
		t.Errorf("got %v", ack)
	}
	c.still()
}

// TestInterface: a listener that is bound to an interface is reached through that one only.
func TestInterface(t *testing.T) {
	t.Parallel()
	port, err := peer.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	_, p := configuredProcess(t, fmt.Sprintf("  - {address: \":%d\", interface: lo, anonymous: true}\n", port))
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	c := connect(t, addr, options{})
	if dev, err := unix.GetsockoptString(itsSocket(t, p, c), unix.SOL_SOCKET, unix.SO_BINDTODEVICE); err != nil || dev != "lo" {
		t.Errorf("bound to %q, %v", dev, err)
	}
}
