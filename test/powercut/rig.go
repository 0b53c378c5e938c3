package powercut

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatewayd/test/powercut/disk"
	"gatewayd/test/rig"
	"gatewayd/test/rig/plan"
)

// longestLoad is when the power goes at the latest, however slow this machine is.
const longestLoad = 8 * time.Second

// Options say what is put to the test.
type Options struct {
	Files  rig.Files   // what lies in the guest: the broker and its configuration
	Steps  []plan.Step // what a boot runs: "verify", then "run" for ever
	Seed   uint64
	DiskMB int64
	Centre string    // address of a broker that never loses power, to which a bridge leads; empty: none
	Log    io.Writer // one line a cut
}

// Report is what many cuts came to.
type Report struct {
	Cuts, Clean  int // boots whose verification found nothing
	Acknowledged uint64
	Resent       int // unfinished at a cut
	Missing      []string
	Twice        []string // QoS 2
	Disorder     []string
	Damaged      []string
	Repeated     int // QoS 1, allowed
	Refused      uint64
	Repaired     int // file systems that the kernel did not mount before e2fsck
	Disk         disk.Stats
	InFlight     int // blocks not flushed at the cuts
}

// String is the report's one line.
func (r Report) String() string {
	return fmt.Sprintf("%d cuts, verify clean %d: acknowledged %d, missing %d, QoS 2 twice %d, out of order %d, damaged %d, QoS 1 repeated %d, refused %d, file system repaired %d, "+
		"unfinished at a cut %d; disk: %d writes, %d flushes, %d unflushed blocks at the cuts (kept %d, lost %d, torn %d)",
		r.Cuts, r.Clean, r.Acknowledged, len(r.Missing), len(r.Twice), len(r.Disorder), len(r.Damaged), r.Repeated, r.Refused, r.Repaired,
		r.Resent, r.Disk.Writes, r.Disk.Flushes, r.InFlight, r.Disk.Kept, r.Disk.Lost, r.Disk.Torn)
}

// Good says whether the gateway kept every promise.
func (r Report) Good() bool {
	return r.findings() == 0 && r.Clean == r.Cuts
}

func (r Report) findings() int {
	return len(r.Missing) + len(r.Twice) + len(r.Disorder) + len(r.Damaged)
}

// bench is the board, its disk and its clients.
type bench struct {
	t       testing.TB
	o       Options
	rng     *rand.Rand
	kernel  string
	initrd  string
	cache   *disk.Cache
	server  *disk.Server
	socket  string
	medium  string // the disk's file
	dir     string
	parked  string // file with the state of a board that is about to mount its disk
	port    int
	address string

	publishers  []*publisher
	archive     *subscriber // offline while the load runs
	live        *subscriber // online
	centre      *subscriber // at the other end of the bridge; nil without one
	subscribers []*subscriber
	churn       int               // sessions made since the last check
	verified    map[int]uint64    // publisher: everything up to this number has been compared
	keep        map[string]uint64 // retained topic: the number that must be there at least
	report      Report
}

// Run cuts the power the given number of times.
func Run(t testing.TB, cuts int, o Options) Report {
	t.Helper()
	rig.Need(t, "qemu-system-aarch64", "mkfs.ext4")
	b := &bench{t: t, o: o, rng: rand.New(rand.NewPCG(o.Seed, 1)), verified: map[int]uint64{}, keep: map[string]uint64{}}
	b.kernel = rig.Kernel(t, "arm64")
	b.initrd = rig.Initramfs(t, "arm64", b.kernel, plan.Plan{Address: "10.0.2.15", Disk: "/dev/vda", Format: "ext4", Steps: o.Steps, Park: true}, o.Files)
	b.makeDisk()
	b.port = rig.FreePort(t)
	b.address = fmt.Sprintf("127.0.0.1:%d", b.port)
	b.clients()
	if err := b.park(); err != nil {
		t.Fatal(err)
	}
	for i := range cuts {
		begin := time.Now()
		err := b.cycle(i == 0, true)
		if errors.Is(err, errLost) { // nothing after this could be compared
			b.report.Missing = append(b.report.Missing, err.Error())
			return b.report
		}
		if err != nil {
			t.Fatalf("cut %d (seed %d): %v\nso far: %v", i, o.Seed, err, b.report)
		}
		fmt.Fprintf(o.Log, "cut %d in %.1f s: %v\n", i+1, time.Since(begin).Seconds(), b.report)
		if !b.report.Good() {
			fmt.Fprintf(o.Log, "findings so far: %s\n", b.report.Findings())
		}
	}
	err := b.cycle(false, false)
	if errors.Is(err, errLost) {
		b.report.Missing = append(b.report.Missing, err.Error())
		return b.report
	}
	if err != nil {
		t.Fatalf("last boot (seed %d): %v\nso far: %v", o.Seed, err, b.report)
	}
	b.report.Disk = b.cache.Stats()
	for _, p := range b.publishers {
		b.report.Refused += p.refused
	}
	return b.report
}

// makeDisk makes a file system on a file, and serves the file as a disk.
func (b *bench) makeDisk() {
	dir, err := os.MkdirTemp("", "cut") // not t.TempDir: a socket's path is short
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { os.RemoveAll(dir) })
	size := b.o.DiskMB << 20
	name := filepath.Join(dir, "disk.img")
	b.medium = name
	f, err := os.Create(name)
	if err == nil {
		err = f.Truncate(size)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { f.Close() })
	mkfs, _ := rig.LookPath("mkfs.ext4")
	if out, err := exec.Command(mkfs, "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", name).CombinedOutput(); err != nil {
		b.t.Fatalf("mkfs.ext4: %v\n%s", err, out)
	}
	b.cache = disk.NewCache(f, size)
	b.server = disk.NewServer(b.cache)
	b.dir, b.socket = dir, filepath.Join(dir, "nbd")
	l, err := net.Listen("unix", b.socket)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { l.Close() })
	go b.server.Serve(l)
}

// repair does what a distribution does at boot. It is needed when the block
// that was torn is ext4's own commit record: its checksum covers 4 KiB, and the
// kernel then refuses the journal although nothing in it was promised.
func (b *bench) repair() error {
	if err := b.cache.Flush(); err != nil {
		return err
	}
	e2fsck, err := rig.LookPath("e2fsck")
	if err != nil {
		return err
	}
	out, err := exec.Command(e2fsck, "-y", b.medium).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() >= 4 || err != nil && exit == nil {
		return fmt.Errorf("e2fsck: %w\n%s", err, out)
	}
	b.report.Repaired++
	fmt.Fprintf(b.o.Log, "e2fsck:\n%s", out)
	return nil
}

func (b *bench) clients() {
	add := func(qos, version byte, window int, retain bool, topics ...string) {
		b.publishers = append(b.publishers, &publisher{number: len(b.publishers), qos: qos, version: version, window: window, retain: retain,
			topics: topics, inflight: map[uint16]*sent{}, acked: map[string]uint64{}})
	}
	add(1, 4, 20, false, "both/0")
	add(2, 5, 20, false, "both/1")
	add(1, 5, 10, false, "both/2", "live/2", "both/2b")
	add(2, 4, 10, false, "both/3", "live/3", "both/3b")
	add(1, 5, 3, true, "keep/4/a", "keep/4/b", "keep/4/c")
	add(2, 4, 3, true, "keep/5/a", "keep/5/b")
	add(2, 5, 5, false, "live/6")
	if b.o.Centre != "" {
		add(2, 5, 5, false, "down/7")
		add(1, 5, 5, false, "down/8")
		for _, p := range b.publishers[7:] {
			p.centre = true
		}
	}
	subscriber := func(name string, version byte, filters ...string) *subscriber {
		s := &subscriber{name: name, version: version, filters: filters, held: map[uint16]bool{}, got: map[key]int{}, last: map[string]uint64{}}
		b.subscribers = append(b.subscribers, s)
		return s
	}
	b.archive = subscriber("archive", 5, "both/#", "keep/#", "down/#")
	b.live = subscriber("live", 4, "both/#", "live/#")
	if b.o.Centre != "" {
		b.centre = subscriber("centre", 5, "both/#")
	}
}

// boot switches the board on and waits until the broker answers.
func (b *bench) boot() (*rig.Machine, int, error) {
	b.server.PowerOn()
	b.server.SetFlushDelay(0)
	m := rig.Start(b.t, "qemu-system-aarch64", b.board("-incoming", "exec:cat "+b.parked)...)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute) // on a busy machine too
	defer cancel()
	if err := b.wake(ctx, m); err != nil {
		return m, 0, err
	}
	code, err := m.ExitCode(ctx, "verify")
	if err != nil {
		return m, 0, err
	}
	err = m.Dial(ctx, func() error {
		client, _, err := rig.Connect(b.address, "hello", 4, true)
		if err == nil {
			client.Goodbye()
		}
		return err
	})
	return m, code, err
}

// cycle is one boot: compare with what the last cut left, load, cut.
func (b *bench) cycle(first, cut bool) error {
	begin := time.Now()
	m, verify, err := b.boot()
	if err != nil && strings.Contains(err.Error(), "@guest failed disk: mount") {
		m.Cut()
		if err = b.repair(); err == nil {
			m, verify, err = b.boot()
		}
	}
	defer m.Cut()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, m.Console(30))
	}
	booted := time.Now()
	if !first {
		b.report.Cuts++
		if verify == 0 {
			b.report.Clean++
		} else {
			fmt.Fprintf(b.o.Log, "verify ended with %d:\n%s\n", verify, m.Console(20))
		}
		before := b.report.findings()
		if err := b.compare(); err != nil {
			how := "the board still runs"
			select { // what it printed last is on its way through the serial line
			case <-m.Gone():
				how = "the board has ended"
			case <-time.After(5 * time.Second):
			}
			return fmt.Errorf("%w; %s\n%s", err, how, m.Console(60))
		}
		if b.report.findings() > before {
			fmt.Fprintf(b.o.Log, "the board's console at these findings:\n%s\n", m.Console(40))
		}
	}
	fmt.Fprintf(b.o.Log, "boot %.1f s, comparison %.1f s; ", booted.Sub(begin).Seconds(), time.Since(booted).Seconds())
	if !cut {
		return nil
	}
	if first {
		c, err := b.archive.connect(b.address, true)
		if err != nil {
			return err
		}
		c.Goodbye()
		if b.centre != nil {
			if c, err = b.centre.connect(b.o.Centre, true); err != nil {
				return err
			}
			c.Goodbye()
		}
	}
	if err := b.loadUntilCut(first, m); err != nil {
		return fmt.Errorf("%w\n%s", err, m.Console(30))
	}
	return nil
}

// loadUntilCut lets every client work at once and takes the power away when
// so many messages were acknowledged and then so many writes or flushes came,
// as the seed chooses.
func (b *bench) loadUntilCut(first bool, m *rig.Machine) error {
	delays := []time.Duration{0, 2 * time.Millisecond, 8 * time.Millisecond, 25 * time.Millisecond}
	b.server.SetFlushDelay(delays[b.rng.IntN(len(delays))])
	ctx, dark := context.WithCancel(context.Background())
	defer dark()
	b.server.OnCut(dark)
	defer time.AfterFunc(longestLoad, b.server.Cut).Stop()
	acknowledged := int64(20 + b.rng.IntN(1500))
	requests, flushes := 1+b.rng.IntN(40), b.rng.IntN(3) > 0
	var count atomic.Int64
	progress := func(n int) {
		if now := count.Add(int64(n)); now >= acknowledged && now-int64(n) < acknowledged {
			b.server.CutAfter(requests, flushes)
		}
	}
	live, err := b.live.connect(b.address, first)
	if err != nil {
		return err
	}
	defer live.Close()
	var wg sync.WaitGroup
	failed := make(chan error, len(b.publishers))
	wg.Go(func() {
		for b.live.step(live) == nil {
		}
	})
	for _, p := range b.publishers {
		rng := rand.New(rand.NewPCG(b.rng.Uint64(), uint64(p.number)))
		wg.Go(func() {
			if err := p.load(ctx, b.of(p), rng, progress); err != nil && ctx.Err() == nil {
				failed <- err
			}
		})
	}
	wg.Go(func() { b.makeSessions(ctx) })
	select {
	case err = <-failed:
	case <-ctx.Done():
	case <-m.Gone():
		err = fmt.Errorf("QEMU ended by itself")
	}
	dark()
	b.report.InFlight += b.cache.Dirty()
	m.Cut()
	live.Close()
	wg.Wait()
	if err != nil {
		return err
	}
	return b.cache.Cut(b.rng)
}

// of is where a publisher publishes.
func (b *bench) of(p *publisher) string {
	if p.centre {
		return b.o.Centre
	}
	return b.address
}

// makeSessions makes new persistent sessions while the load runs; each that
// was granted its subscription must be there after the cut.
func (b *bench) makeSessions(ctx context.Context) {
	for ctx.Err() == nil && b.churn < 20 {
		c, _, err := rig.Connect(b.address, fmt.Sprint("churn-", b.churn), 4, false)
		if err != nil {
			return
		}
		stop := context.AfterFunc(ctx, c.Close)
		err = c.Subscribe(fmt.Sprint("churn/", b.churn), 1)
		stop()
		c.Close()
		if err != nil {
			return
		}
		b.churn++
	}
}

// Findings names the last few of each kind.
func (r Report) Findings() string {
	return fmt.Sprintf("missing: %s\ntwice: %s\nout of order: %s\ndamaged: %s", brief(r.Missing), brief(r.Twice), brief(r.Disorder), brief(r.Damaged))
}

func brief(list []string) string { return strings.Join(list[max(0, len(list)-8):], "; ") }
