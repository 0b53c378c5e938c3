package soak

import (
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"
)

// TestSoak is rounds for as long as SOAK says. The first half of the time the gateway lives on, through a full disk too, and
// is measured; the second half it is killed at random.
func TestSoak(t *testing.T) {
	text := os.Getenv("SOAK")
	if text == "" {
		t.Skip("runs with `make soak` (SOAK=30m): it takes both cores for as long")
	}
	long, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	rnd := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)

	g := newGateway(t)
	g.start()
	begin := time.Now()
	length := min(max(long/40, 6*time.Second), 20*time.Second)
	var seen []usage
	total, kills, full := 0, 0, 0
	half := begin.Add(long / 2)
	n := 0
	for ; time.Now().Before(half) || len(seen) < 2; n++ {
		r := &round{t: t, g: g, number: n, rnd: rnd, during: func() {
			time.Sleep(length / 2)
			if n%3 == 1 && g.mount != "" {
				full++
				g.fullDisk(length / 3)
			}
			time.Sleep(length / 2)
		}}
		total += r.run()
		if t.Failed() {
			return
		}
		u := g.settle()
		seen = append(seen, u)
		t.Logf("round %d after %s, %d acknowledged: %v", n, time.Since(begin).Round(time.Second), total, u)
	}
	flat(t, seen)

	for end := begin.Add(long); time.Now().Before(end) || kills == 0; n++ {
		r := &round{t: t, g: g, number: n, rnd: rnd, during: func() {
			for range 1 + rnd.IntN(3) {
				time.Sleep(time.Duration(rnd.Int64N(int64(length))))
				g.p.Kill()
				g.verify()
				g.start()
				kills++
			}
			time.Sleep(length / 4)
		}}
		total += r.run()
		if t.Failed() {
			return
		}
		t.Logf("round %d after %s, %d kills, %d acknowledged: %v", n, time.Since(begin).Round(time.Second), kills, total, g.settle())
	}
	if err := g.p.Stop(); err != nil {
		t.Errorf("it did not stop cleanly: %v", err)
	}
	g.verify()
	t.Logf("%s: %d rounds, %d messages acknowledged and accounted for, %d episodes of a full disk, %d kills", time.Since(begin).Round(time.Second), n, total, full, kills)
}

// fullDisk has others take the disk until the gateway refuses, for a while, and then give it back.
func (g *gateway) fullDisk(lasts time.Duration) {
	g.t.Helper()
	f := g.fill(20 << 20)
	defer os.Remove(f.Name())
	defer f.Close()
	wait(g.t, "the gateway says that its disk is full", func() bool { return !g.healthy() })
	time.Sleep(lasts)
	if g.p.Exited() {
		g.t.Fatal("the gateway died of a full disk")
	}
	f.Close()
	os.Remove(f.Name())
	wait(g.t, "the gateway is well again", g.healthy)
}

// settle waits until nothing is queued any more and measures.
func (g *gateway) settle() usage {
	g.t.Helper()
	wait(g.t, "the queues are empty", func() bool { return g.measure().queued == 0 })
	time.Sleep(500 * time.Millisecond) // connections close
	return g.measure()
}

func wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %s still not: %s", patience, what)
		}
	}
}

// flat demands that the second half of the rounds owned no more than the first half; the first rounds, in which pools and
// caches fill, count for neither where there are enough others.
func flat(t *testing.T, seen []usage) {
	t.Helper()
	if len(seen) >= 6 {
		seen = seen[len(seen)/5:]
	}
	before, after := seen[:len(seen)/2], seen[len(seen)/2:]
	middle := func(list []usage, of func(usage) int64) int64 {
		var v []int64
		for _, u := range list {
			v = append(v, of(u))
		}
		slices.Sort(v)
		return v[len(v)/2]
	}
	for _, x := range []struct {
		what  string
		of    func(usage) int64
		slack func(int64) int64
	}{
		{"bytes of memory", func(u usage) int64 { return u.anon }, func(v int64) int64 { return v/4 + 16<<20 }},
		{"bytes of disk", func(u usage) int64 { return u.disk }, func(v int64) int64 { return v/2 + 64<<20 }},
		{"descriptors", func(u usage) int64 { return int64(u.fds) }, func(int64) int64 { return 8 }},
		{"goroutines", func(u usage) int64 { return int64(u.routines) }, func(int64) int64 { return 16 }},
	} {
		was, is := middle(before, x.of), middle(after, x.of)
		t.Logf("%s: %d in the first half of the rounds, %d in the second", x.what, was, is)
		if is > was+x.slack(was) {
			t.Errorf("%s grow: %d, then %d", x.what, was, is)
		}
	}
}
