package bridge_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// network is two network namespaces of the test's own, one for the gateway and one for the centre, and a line between
// them whose faults the test sets. The line is a veth pair shaped by netem where the kernel has it; elsewhere two TUN
// devices whose packets the test itself carries, delays and loses. Either way whole IP packets are concerned and TCP
// sees what it would see in the field.
type network struct {
	t           testing.TB
	near, far   string // names of the namespaces
	netem       bool
	nearIP      string
	farIP       string
	mu          sync.Mutex
	now         faults
	lost, moved int
}

// faults of a line, each way.
type faults struct {
	loss  float64 // of packets, 0 to 1
	delay time.Duration
}

var hole = faults{loss: 1}

func newNetwork(t testing.TB) *network {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("ip is not installed (apt-get install iproute2)")
	}
	n := &network{t: t, near: fmt.Sprintf("gwd-near-%d", os.Getpid()), far: fmt.Sprintf("gwd-far-%d", os.Getpid()), nearIP: "10.254.7.1", farIP: "10.254.7.2"}
	t.Cleanup(func() {
		for _, ns := range []string{n.near, n.far} {
			_ = exec.Command("ip", "netns", "del", ns).Run()
		}
	})
	for _, ns := range []string{n.near, n.far} {
		if out, err := exec.Command("ip", "netns", "add", ns).CombinedOutput(); err != nil {
			t.Skipf("network namespaces cannot be made here: %s", out)
		}
		n.ip("-n", ns, "link", "set", "lo", "up")
	}
	if n.netem = n.tryNetem(); !n.netem {
		n.tunnel()
	}
	for ns, addr := range map[string]string{n.near: n.nearIP, n.far: n.farIP} {
		n.ip("-n", ns, "addr", "add", addr+"/24", "dev", "line")
		n.ip("-n", ns, "link", "set", "line", "up")
	}
	return n
}

func (n *network) ip(args ...string) {
	n.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		n.t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// tryNetem makes a veth pair with netem at both ends.
func (n *network) tryNetem() bool {
	if exec.Command("ip", "link", "add", "line", "netns", n.near, "type", "veth", "peer", "name", "line", "netns", n.far).Run() != nil {
		return false
	}
	if n.shape(faults{}) != nil {
		n.ip("-n", n.near, "link", "del", "line")
		return false
	}
	return true
}

func (n *network) shape(f faults) error {
	for _, ns := range []string{n.near, n.far} {
		out, err := exec.Command("tc", "-n", ns, "qdisc", "replace", "dev", "line", "root", "netem", "limit", "10000",
			"delay", fmt.Sprintf("%dms", f.delay.Milliseconds()), "loss", fmt.Sprintf("%.2f%%", f.loss*100)).CombinedOutput()
		if err != nil {
			return fmt.Errorf("tc netem: %w: %s", err, out)
		}
	}
	return nil
}

// set changes the line's faults.
func (n *network) set(f faults) {
	n.t.Helper()
	if n.netem {
		if err := n.shape(f); err != nil {
			n.t.Fatal(err)
		}
	}
	n.mu.Lock()
	n.now = f
	n.mu.Unlock()
}

// tunnel makes a TUN device at both ends and carries between them.
func (n *network) tunnel() {
	n.t.Helper()
	var ends [2]*os.File
	for i, ns := range []string{n.near, n.far} {
		err := inside(ns, func() error {
			fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			req, err := unix.NewIfreq("line")
			if err != nil {
				return err
			}
			req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
			if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
				unix.Close(fd)
				return err
			}
			ends[i] = os.NewFile(uintptr(fd), "tun")
			return nil
		})
		if err != nil {
			n.t.Skipf("this kernel has neither netem nor TUN for the test's line: %v", err)
		}
	}
	var carriers sync.WaitGroup
	n.t.Cleanup(func() {
		ends[0].Close()
		ends[1].Close()
		carriers.Wait()
		n.t.Logf("the line carried %d packets and lost %d", n.moved, n.lost)
	})
	for i := range ends {
		type packet struct {
			at time.Time
			b  []byte
		}
		queue := make(chan packet, 10000)
		carriers.Go(func() {
			defer close(queue)
			b := make([]byte, 64<<10)
			for {
				k, err := ends[i].Read(b)
				if err != nil {
					return
				}
				n.mu.Lock()
				f := n.now
				gone := f.loss > 0 && rand.Float64() < f.loss
				if gone {
					n.lost++
				} else {
					n.moved++
				}
				n.mu.Unlock()
				if gone {
					continue
				}
				select {
				case queue <- packet{time.Now().Add(f.delay), append([]byte(nil), b[:k]...)}:
				default: // a router's full queue
				}
			}
		})
		carriers.Go(func() {
			for p := range queue {
				if d := time.Until(p.at); d > 0 {
					time.Sleep(d)
				}
				_, _ = ends[1-i].Write(p.b) // a device that is gone loses as a line does
			}
		})
	}
}

// inside calls f on a thread of a namespace; sockets that f makes stay there. The thread is brought back and lives on:
// the brokers that it may have started would be killed at its death.
func inside(ns string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- func() error {
			home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(home)
			there, err := unix.Open("/run/netns/"+ns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(there)
			if err := unix.Setns(there, unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("network namespace %s: %w", ns, err)
			}
			err = f()
			if back := unix.Setns(home, unix.CLONE_NEWNET); back != nil {
				panic(back) // this thread must not be used for anything else
			}
			return err
		}()
		runtime.UnlockOSThread()
	}()
	return <-done
}

// dialer connects to an address as seen in a namespace.
func dialer(ns, addr string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (conn net.Conn, err error) {
		err = inside(ns, func() (err error) {
			conn, err = new(net.Dialer).DialContext(ctx, "tcp", addr)
			return err
		})
		return conn, err
	}
}
