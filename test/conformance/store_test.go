package conformance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatewayd/test/peer"
)

// card is a file system of its own with a gateway's data on it.
type card struct {
	t    *testing.T
	dir  string
	text string
	addr string
	p    *peer.Process
}

// newCard makes an ext4 file system of so many MB, and starts a gateway on it.
func newCard(t *testing.T, size int, more string) *card {
	t.Helper()
	if os.Getenv("CONFORMANCE_ADDR") != "" {
		t.Skip("needs a broker on a disk of its own")
	}
	if os.Getuid() != 0 {
		t.Skip("needs root for a loop device")
	}
	base := t.TempDir()
	c := &card{t: t, dir: filepath.Join(base, "mnt"), text: more}
	img := filepath.Join(base, "img")
	if err := os.WriteFile(img, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(img, int64(size)<<20); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(c.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"mkfs.ext4", "-q", "-F", "-m", "0", img}, {"mount", "-o", "loop", img, c.dir}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Skipf("no file system of its own here: %v: %v: %s", args, err, out)
		}
	}
	t.Cleanup(func() { _ = exec.Command("umount", "-l", c.dir).Run() })
	t.Cleanup(func() {
		if c.p != nil && !c.p.Exited() {
			c.p.Kill()
		}
	})
	c.start()
	return c
}

func (c *card) start() {
	c.t.Helper()
	var err error
	if c.addr, c.p, err = launch(c.dir, c.text); err != nil {
		c.t.Fatal(err)
	}
}

// publisher notes what was acknowledged of messages with numbers.
type publisher struct {
	*client
	n       int
	acked   map[int]bool
	refused map[byte]int
}

// one publishes the next message and reports the code of its acknowledgement. QoS 2 is completed.
func (p *publisher) one(qos byte) byte {
	p.t.Helper()
	p.n++
	id := p.send(msg{topic: "q", payload: fmt.Sprintf("%08d%s", p.n, strings.Repeat("x", 5000)), qos: qos})
	ack, err := p.recv(patience)
	if err != nil || ack.id != id || ack.typ != tPuback+qos-1 {
		p.t.Fatalf("message %d: %v, %v", p.n, ack, err)
	}
	if ack.code >= 0x80 {
		p.refused[ack.code]++
		return ack.code
	}
	if qos == 2 {
		p.reply(tPubrel, id)
		if comp := p.want(tPubcomp); comp.id != id || comp.code != 0 {
			p.t.Fatalf("message %d: %v", p.n, comp)
		}
	}
	p.acked[p.n] = true
	return 0
}

// until publishes until a message is answered with the code.
func (p *publisher) until(what string, ok func(code byte) bool) {
	p.t.Helper()
	for deadline := time.Now().Add(2 * patience); ; {
		code := p.one(1 + byte(p.n%2))
		if ok(code) {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s: not in time; %d acknowledged, refused %v", what, len(p.acked), p.refused)
		}
		if code != 0 {
			time.Sleep(10 * time.Millisecond)
		}
	}
}

func (c *card) publisher() *publisher {
	return &publisher{client: connect(c.t, c.addr, options{v: 5, id: "publisher"}), acked: map[int]bool{}, refused: map[byte]int{}}
}

// subscriber makes a session that waits for the messages.
func (c *card) subscriber() {
	a := connect(c.t, c.addr, persistent(5, "subscriber"))
	a.subscribe(sub{"q", 2})
	a.bye()
}

// nothingLost kills the gateway, starts it on what is on the disk, and demands that everything acknowledged is delivered, once and in order,
// and nothing that was refused.
func (c *card) nothingLost(p *publisher) {
	c.t.Helper()
	c.p.Kill()
	c.start()
	a := connect(c.t, c.addr, persistent(5, "subscriber"))
	if !a.ack.present {
		c.t.Fatal("the session is gone")
	}
	last, got := 0, 0
	for got < len(p.acked) {
		m := a.get()
		var n int
		if _, err := fmt.Sscanf(m.payload[:8], "%d", &n); err != nil {
			c.t.Fatal(err)
		}
		if !p.acked[n] {
			c.t.Errorf("message %d was refused and is delivered", n)
			continue
		}
		if n <= last {
			c.t.Errorf("message %d after %d", n, last)
		}
		last = n
		got++
	}
	a.still()
	a.bye()
	c.t.Logf("%d messages acknowledged and delivered; refused: %v", len(p.acked), p.refused)
}

func accepted(code byte) bool  { return code == 0 }
func isRefused(code byte) bool { return code != 0 }

// TestStoreFull: when the store has what it may take, publishers are told 0x97, or closed where the version has no code; nothing is
// acknowledged that is not kept, before and after a kill.
func TestStoreFull(t *testing.T) {
	t.Parallel()
	c := newCard(t, 256, "store: {max_bytes: 2MB}\n")
	c.subscriber()
	p := c.publisher()
	p.until("full", func(code byte) bool { return p.refused[0x97] > 20 })
	if len(p.refused) != 1 {
		t.Errorf("refused with %v, want 0x97 only", p.refused)
	}
	old := connect(t, c.addr, options{v: 4})
	old.send(msg{topic: "q", payload: strings.Repeat("x", 5000), qos: 1})
	if a, err := old.recv(patience); err == nil {
		t.Errorf("a 3.1.1 publisher got %v, want its connection closed", a)
	}
	other := connect(t, c.addr, options{v: 4}) // what nobody has to keep goes on
	other.publish(msg{topic: "elsewhere", payload: "m", qos: 2})
	c.nothingLost(p)
	// The queue is empty now, so there is room.
	p.client = connect(t, c.addr, options{v: 5})
	p.until("room again", accepted)
}

// TestDiskFull: others fill the disk to its last block while messages come, and leave again.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	c := newCard(t, 256, "")
	c.subscriber()
	p := c.publisher()
	for range 200 {
		p.until("in the beginning", accepted)
	}
	ballast := filepath.Join(c.dir, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 1<<20); ; {
		if _, err := f.Write(block); err != nil {
			break
		}
		p.one(1)
	}
	p.until("full", func(byte) bool { return p.refused[0x97] > 20 })
	if len(p.refused) != 1 {
		t.Errorf("refused with %v, want 0x97 only", p.refused)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	f.Close()
	p.until("room again", accepted)
	for range 20 {
		p.until("afterwards", accepted)
	}
	c.nothingLost(p)
}

// TestDiskFails: the file system stops taking writes, as with a worn-out card. No publisher hears that something is kept any more, and
// what was kept is there when the disk is back.
func TestDiskFails(t *testing.T) {
	t.Parallel()
	c := newCard(t, 256, "")
	c.subscriber()
	p := c.publisher()
	for range 200 {
		p.until("in the beginning", accepted)
	}
	if out, err := exec.Command("mount", "-o", "remount,abort", c.dir).CombinedOutput(); err != nil {
		t.Skipf("the disk does not fail on demand: %v: %s", err, out)
	}
	p.until("a refusal", isRefused)
	was := len(p.acked)
	for range 50 {
		p.one(1)
	}
	if len(p.acked) != was {
		t.Errorf("%d acknowledgements by a store whose disk has failed", len(p.acked)-was)
	}
	old := connect(t, c.addr, options{v: 4})
	old.send(msg{topic: "q", payload: "m", qos: 1})
	if a, err := old.recv(patience); err == nil {
		t.Errorf("a 3.1.1 publisher got %v, want its connection closed", a)
	}
	other := connect(t, c.addr, options{v: 4}) // what nobody has to keep goes on
	other.publish(msg{topic: "elsewhere", payload: "m", qos: 1})
	c.p.Kill()
	img := filepath.Join(filepath.Dir(c.dir), "img")
	if out, err := exec.Command("umount", c.dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	_ = exec.Command("e2fsck", "-fy", img).Run() // as at boot; its exit code says that it repaired
	if out, err := exec.Command("mount", "-o", "loop", img, c.dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c.start()
	c.nothingLost(p)
}
