package soak

import (
	"bufio"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatewayd/test/peer"
)

const configuration = `
gateway: {id: gw-soak, data_dir: %q}
listeners: [{address: %q}]
http: {address: %q}
board: sim
log: {level: warn}
sensors:
  - {name: room1, driver: bme280, bus: i2c-1, address: 0x76, every: 100ms}
lines:
  - {name: lamp, line: GPIO27, direction: out, topic: hall/lamp, command_topic: hall/lamp/set}
`

const bridged = `
bridges:
  - name: centre
    addresses: [%q]
    restart_timeout: {base: 100ms, cap: 1s}
    topics: [{filter: "up/#", direction: out, qos: 2}]
`

// gateway is gatewayd on a disk of its own.
type gateway struct {
	t              *testing.T
	bin, file      string
	addr, web, dir string
	mount          string // of the small disk; "" when nothing can be mounted here
	centre         *peer.Process
	p              *peer.Process
}

func newGateway(t *testing.T) *gateway {
	bin, err := peer.Gatewayd()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(peer.RemoveBuilt)
	g := &gateway{t: t, bin: bin, dir: t.TempDir(), addr: address(t), web: address(t)}
	data := filepath.Join(g.dir, "data")
	if g.mount = smallDisk(t); g.mount != "" {
		data = filepath.Join(g.mount, "data")
	}
	text := fmt.Sprintf(configuration, data, g.addr, g.web)
	if _, err := peer.MosquittoPath(); err != nil {
		t.Logf("without a bridge: %v", err)
	} else {
		_, port, _ := strings.Cut(address(t), ":")
		n, _ := strconv.Atoi(port) // our own number
		if g.centre, err = peer.StartMosquitto(t.TempDir(), n, "max_queued_messages 0"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(g.centre.Kill)
		text += fmt.Sprintf(bridged, g.centre.Addr)
	}
	g.file = filepath.Join(g.dir, "gatewayd.yaml")
	if err := os.WriteFile(g.file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if g.p != nil && !g.p.Exited() {
			g.p.Kill()
		}
		if g.p != nil && t.Failed() {
			lines := strings.Split(strings.TrimSpace(g.p.Output()), "\n")
			t.Logf("the end of gatewayd's log:\n%s", strings.Join(lines[max(0, len(lines)-30):], "\n"))
		}
	})
	return g
}

func address(t *testing.T) string {
	port, err := peer.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", port)
}

// smallDisk mounts a file system of 1 GB; without the right to do so the
// episodes of a full disk are left out.
func smallDisk(t *testing.T) string {
	base := t.TempDir()
	img, dir := filepath.Join(base, "img"), filepath.Join(base, "mnt")
	if err := os.WriteFile(img, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(img, 1<<30); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"mkfs.ext4", "-q", "-F", "-m", "0", img}, {"mount", "-o", "loop", img, dir}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Logf("the disk is never full: %v: %v %s", args, err, out)
			return ""
		}
	}
	t.Cleanup(func() { _ = exec.Command("umount", "-l", dir).Run() })
	return dir
}

func (g *gateway) start() {
	g.t.Helper()
	p, err := peer.Start("gatewayd", g.addr, filepath.Join(g.dir, "log"), g.bin, "run", "-c", g.file)
	if err == nil {
		g.p = p
		_, err = p.Ready(time.Minute)
	}
	if err != nil {
		g.t.Fatal(err)
	}
}

// verify demands that the store of the stopped gateway is in order.
func (g *gateway) verify() {
	g.t.Helper()
	out, err := exec.Command(g.bin, "store", "verify", "-c", g.file).CombinedOutput()
	if err != nil {
		g.t.Fatalf("store verify: %v\n%s", err, out)
	}
}

// fill leaves so many bytes of the disk free; the file it returns holds the rest.
func (g *gateway) fill(free int64) *os.File {
	g.t.Helper()
	f, err := os.Create(filepath.Join(g.mount, "others"))
	if err != nil {
		g.t.Fatal(err)
	}
	var st syscall.Statfs_t
	if err := syscall.Statfs(g.mount, &st); err != nil {
		g.t.Fatal(err)
	}
	if n := int64(st.Bavail)*st.Bsize - free; n > 0 {
		if err := syscall.Fallocate(int(f.Fd()), 0, 0, n); err != nil {
			g.t.Logf("fallocate: %v", err) // what is taken is taken
		}
	}
	return f
}

// healthy is what /healthz says.
func (g *gateway) healthy() bool {
	r, err := http.Get("http://" + g.web + "/healthz")
	if err != nil {
		return false
	}
	r.Body.Close()
	return r.StatusCode == http.StatusOK
}

// usage is what the gateway owns.
type usage struct {
	anon, disk    int64 // bytes
	fds, routines int
	queued        int
}

func (u usage) String() string {
	return fmt.Sprintf("memory %.1f MB, disk %.1f MB, %d descriptors, %d goroutines, %d messages queued", float64(u.anon)/1e6, float64(u.disk)/1e6, u.fds, u.routines, u.queued)
}

// measure looks what the gateway owns.
func (g *gateway) measure() usage {
	g.t.Helper()
	m, err := g.p.Memory()
	if err != nil {
		g.t.Fatal(err)
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", g.p.PID()))
	if err != nil {
		g.t.Fatal(err)
	}
	u := usage{anon: m.Anon, fds: len(fds), disk: g.disk()}
	metrics := g.metrics("go_goroutines", "gatewayd_store_queued_messages")
	u.routines, u.queued = int(metrics["go_goroutines"]), int(metrics["gatewayd_store_queued_messages"])
	return u
}

func (g *gateway) disk() (n int64) {
	data := filepath.Join(g.dir, "data")
	if g.mount != "" {
		data = filepath.Join(g.mount, "data")
	}
	_ = filepath.WalkDir(data, func(_ string, d fs.DirEntry, err error) error { // files may vanish meanwhile
		if err != nil || d.IsDir() {
			return nil
		}
		if i, err := d.Info(); err == nil {
			n += i.Sys().(*syscall.Stat_t).Blocks * 512
		}
		return nil
	})
	return n
}

func (g *gateway) metrics(names ...string) map[string]float64 {
	g.t.Helper()
	r, err := http.Get("http://" + g.web + "/metrics")
	if err != nil {
		g.t.Fatal(err)
	}
	defer r.Body.Close()
	got := map[string]float64{}
	for s := bufio.NewScanner(r.Body); s.Scan(); {
		for _, n := range names {
			if rest, ok := strings.CutPrefix(s.Text(), n+" "); ok {
				got[n], _ = strconv.ParseFloat(rest, 64) // 0 when it is no number
			}
		}
	}
	for _, n := range names {
		if _, ok := got[n]; !ok {
			g.t.Fatalf("no metric %s", n)
		}
	}
	return got
}
