package topic

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

func unsafeString(b []byte) string { return unsafe.String(&b[0], len(b)) }

// check looks at the tree's invariants: order, fill, links, count.
func (s *Names[V]) check(t *testing.T) {
	t.Helper()
	var leaves []*page[V]
	n := 0
	var down func(p *page[V], lo, hi string, root bool)
	down = func(p *page[V], lo, hi string, root bool) {
		if !slices.IsSorted(p.keys) || len(p.keys) >= pageKeys || !root && len(p.keys) == 0 {
			t.Fatalf("a page of %d keys, sorted %v", len(p.keys), slices.IsSorted(p.keys))
		}
		for _, k := range p.keys {
			if k < lo || hi != "" && k >= hi {
				t.Fatalf("%q is not within %q and %q", k, lo, hi)
			}
		}
		if p.leaf() {
			leaves = append(leaves, p)
			n += len(p.keys)
			if len(p.values) != len(p.keys) {
				t.Fatal("keys and values differ")
			}
			return
		}
		if len(p.kids) != len(p.keys)+1 {
			t.Fatalf("%d kids for %d keys", len(p.kids), len(p.keys))
		}
		for i, kid := range p.kids {
			l, h := lo, hi
			if i > 0 {
				l = p.keys[i-1]
			}
			if i < len(p.keys) {
				h = p.keys[i]
			}
			down(kid, l, h, false)
		}
	}
	down(&s.root, "", "", true)
	for i, leaf := range leaves {
		if i+1 < len(leaves) && leaf.next != leaves[i+1] || i+1 == len(leaves) && leaf.next != nil {
			t.Fatal("the leaves are not linked in order")
		}
	}
	if n != s.Len() {
		t.Fatalf("%d names, Len %d", n, s.Len())
	}
}

func TestNamesAgainstMap(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	var names Names[int]
	naive := map[string]int{}
	for i := range 100_000 {
		name := fmt.Sprintf("%s/%d", randomTopic(r, false), r.IntN(30))
		if i%50_000 < 30_000 && r.IntN(4) > 0 {
			want, wantHad := naive[name]
			naive[name] = i
			if old, had := names.Set(name, i); old != want || had != wantHad {
				t.Fatalf("Set(%q) = %v, %v", name, old, had)
			}
		} else {
			want, wantHad := naive[name]
			delete(naive, name)
			if old, had := names.Delete(name); old != want || had != wantHad {
				t.Fatalf("Delete(%q) = %v, %v", name, old, had)
			}
		}
		if i%5000 == 0 {
			names.check(t)
		}
		want, wantHad := naive[name]
		if v, ok := names.Get(name); v != want || ok != wantHad {
			t.Fatalf("Get(%q) = %v, %v", name, v, ok)
		}
	}
	names.check(t)
	got := []string{}
	names.Walk("#", func(name string, v int) bool { got = append(got, name); return true })
	want := slices.DeleteFunc(slices.Sorted(maps.Keys(naive)), hidden)
	if !slices.Equal(got, want) {
		t.Fatalf("walked %d names of %d", len(got), len(want))
	}
	for name := range naive {
		names.Delete(name)
	}
	names.check(t)
	if names.Len() != 0 {
		t.Errorf("%d names left", names.Len())
	}
}

func TestNamesWalkAgainstNaive(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	var names Names[int]
	for range 3000 {
		name := randomTopic(r, false)
		if r.IntN(2) == 0 {
			name = fmt.Sprintf("%s/%d", name, r.IntN(20))
		}
		names.Set(name, 1)
	}
	all := []string{}
	for p := &names.root; p != nil; {
		if !p.leaf() {
			p = p.kids[0]
			continue
		}
		all, p = append(all, p.keys...), p.next
	}
	for range 1000 {
		filter := randomTopic(r, true)
		if r.IntN(2) == 0 {
			filter = strings.TrimSuffix(filter, "/#") + "/+"
		}
		if ValidFilter(filter) != nil {
			continue
		}
		want := []string{}
		for _, name := range all {
			if naiveMatch(filter, name) {
				want = append(want, name)
			}
		}
		got := []string{}
		names.Walk(filter, func(name string, _ int) bool { got = append(got, name); return true })
		if !slices.Equal(got, want) {
			t.Fatalf("%q: got %q, want %q", filter, got, want)
		}
		// The same in slices of a few names and a few looks each.
		got = got[:0]
		after, room := "", 0
		for done, rounds := false, 0; !done; rounds++ {
			room = 3
			after, done = names.WalkSome(filter, after, 7, func(name string, _ int) bool {
				got = append(got, name)
				room--
				return room > 0
			})
			if rounds > 2*len(all)+2 {
				t.Fatalf("%q: the walk does not end", filter)
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%q in slices: got %q, want %q", filter, got, want)
		}
	}
}

// TestNamesWalkSkips: few names selected among many must not cost a look at
// each.
func TestNamesWalkSkips(t *testing.T) {
	var names Names[int]
	for i := range 100 {
		for j := range 1000 {
			names.Set(fmt.Sprintf("house/room%02d/probe%04d", i, j), 1)
		}
		names.Set(fmt.Sprintf("house/room%02d/state", i), 1)
	}
	for _, tc := range []struct {
		filter string
		want   int
	}{{"house/+/state", 100}, {"+/+/probe0500", 100}, {"+/room17/state", 1}, {"+", 0}, {"house/room42/+", 1001}} {
		found := 0
		_, done := names.WalkSome(tc.filter, "", 2500, func(string, int) bool { found++; return true })
		if !done || found != tc.want {
			t.Errorf("%q: found %d of %d, done %v, within 2500 looks at %d names", tc.filter, found, tc.want, done, names.Len())
		}
	}
}

// TestNamesMemory holds the budget of 100,000 retained topics.
func TestNamesMemory(t *testing.T) {
	const n = 100_000
	texts := make([]string, n)
	for i, p := range rand.Perm(n) {
		texts[i] = fmt.Sprintf("retained/site%03d/device%05d/abcd", p%500, p)
	}
	before := heapInUse()
	names := new(Names[*int])
	for _, text := range texts {
		names.Set(text, nil)
	}
	per := float64(heapInUse()-before) / n
	runtime.KeepAlive(names)
	runtime.KeepAlive(texts)
	t.Logf("%.1f bytes a name beside its text", per)
	if per > 60 {
		t.Errorf("%.1f bytes a name, want at most 60", per)
	}
}

func heapInUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func BenchmarkNames(b *testing.B) {
	const n = 100_000
	var names Names[int]
	texts := make([]string, n)
	for i, p := range rand.Perm(n) {
		texts[i] = fmt.Sprintf("retained/device%05d/temperature", p)
		names.Set(texts[i], i)
	}
	b.Run("set one of 100000", func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			if i++; i == n {
				i = 0
			}
			names.Set(texts[i], i)
		}
	})
	b.Run("fill with 100000 in order", func(b *testing.B) {
		sorted := slices.Sorted(slices.Values(texts))
		for b.Loop() {
			var fresh Names[int]
			for i, text := range sorted {
				fresh.Set(text, i)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/name")
	})
	b.Run("walk all of 100000", func(b *testing.B) {
		for b.Loop() {
			names.Walk("#", func(string, int) bool { return true })
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/name")
	})
}
