package topic

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// filterSet is the naive counterpart of Tree.
type filterSet map[string]map[int]bool

func (s filterSet) matches(name string) []int {
	var found []int
	for filter, values := range s {
		if naiveMatch(filter, name) {
			for v := range values {
				found = append(found, v)
			}
		}
	}
	slices.Sort(found)
	return found
}

func TestTreeAgainstNaive(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var tree Tree[int]
	naive := filterSet{}
	n := 0
	for i := range 60_000 {
		f, v := randomTopic(r, true), r.IntN(60)
		gen := tree.Gen()
		var changed bool
		if r.IntN(5) < 2+i/20_000 { // grows first, then shrinks
			changed = naive[f][v]
			if got := tree.Remove(f, v); got != changed {
				t.Fatalf("Remove(%q, %d) = %v", f, v, got)
			}
			if delete(naive[f], v); changed {
				n--
			}
		} else {
			changed = !naive[f][v]
			if got := tree.Add(f, v); got != changed {
				t.Fatalf("Add(%q, %d) = %v", f, v, got)
			}
			if naive[f] == nil {
				naive[f] = map[int]bool{}
			}
			if naive[f][v] = true; changed {
				n++
			}
		}
		if changed == (tree.Gen() == gen) {
			t.Fatal("the generation must move with every change and only then")
		}
		if tree.Len() != n {
			t.Fatalf("Len %d, want %d", tree.Len(), n)
		}
		if i%150 == 0 {
			name := randomTopic(r, false)
			got := tree.AppendMatches(nil, name)
			slices.Sort(got)
			if want := naive.matches(name); !slices.Equal(got, want) {
				t.Fatalf("%q: got %v, want %v", name, got, want)
			}
		}
	}
	walked := 0
	tree.Walk(func(filter string, v int) bool {
		if !naive[filter][v] {
			t.Fatalf("the walk made up %q, %d", filter, v)
		}
		walked++
		return true
	})
	if walked != n {
		t.Errorf("walked %d of %d", walked, n)
	}
	for f, values := range naive {
		if got := len(tree.Values(f)); got != len(values) {
			t.Fatalf("Values(%q) has %d, want %d", f, got, len(values))
		}
		for v := range values {
			tree.Remove(f, v)
		}
	}
	if !tree.root.empty() {
		t.Error("an emptied tree keeps nodes")
	}
}

// TestTreeManyUnderOneFilter has thousands of clients come and go under one
// filter and under one parent, in constant time each.
func TestTreeManyUnderOneFilter(t *testing.T) {
	const n = 20_000
	var tree Tree[int]
	for i := range n {
		tree.Add("all/#", i)
		tree.Add(fmt.Sprintf("one/%d/+", i), i)
	}
	if got := len(tree.AppendMatches(nil, "all/x")); got != n {
		t.Fatalf("%d matches", got)
	}
	if got := tree.AppendMatches(nil, "one/17/x"); !slices.Equal(got, []int{17}) {
		t.Fatalf("got %v", got)
	}
	for i := range n {
		if !tree.Remove("all/#", i) || tree.Remove("all/#", i) || !tree.Remove(fmt.Sprintf("one/%d/+", i), i) {
			t.Fatal("a value is gone or stays")
		}
		if left := len(tree.Values("all/#")); left != n-i-1 {
			t.Fatalf("%d left after %d", left, i)
		}
	}
	if tree.Len() != 0 || !tree.root.empty() {
		t.Error("not empty at the end")
	}
}

// TestTreeKeepsNoBuffer changes the bytes a filter was cut from.
func TestTreeKeepsNoBuffer(t *testing.T) {
	b := []byte("house/room1/+")
	var tree Tree[int]
	tree.Add(unsafeString(b), 1)
	copy(b, "XXXXXXXXXXXXX")
	if got := tree.AppendMatches(nil, "house/room1/temperature"); len(got) != 1 {
		t.Error("the tree kept the caller's buffer")
	}
}

// TestTreeDeepAndWild: thousands of levels and every mix of '+' and a letter.
func TestTreeDeepAndWild(t *testing.T) {
	var tree Tree[int]
	deep := strings.TrimSuffix(strings.Repeat("a/", 30_000), "/")
	tree.Add(deep, 1)
	tree.Add(strings.TrimSuffix(strings.Repeat("+/", 30_000), "/"), 2)
	tree.Add("a/#", 3)
	if got := tree.AppendMatches(nil, deep); len(got) != 3 {
		t.Errorf("%d matches of 3", len(got))
	}
	const levels = 12
	for bits := range 1 << levels {
		var f strings.Builder
		for l := range levels {
			if bits>>l&1 == 0 {
				f.WriteString("a/")
			} else {
				f.WriteString("+/")
			}
		}
		f.WriteString("end")
		tree.Add(f.String(), bits)
	}
	if got := len(tree.AppendMatches(nil, strings.Repeat("a/", levels)+"end")); got != 1<<levels+1 {
		t.Errorf("%d matches of %d", got, 1<<levels+1)
	}
	if got := len(tree.AppendMatches(nil, strings.Repeat("a/", levels)+"other")); got != 1 {
		t.Errorf("%d matches of 1", got)
	}
}

func TestAppendMatchesDoesNotAllocate(t *testing.T) {
	tree, names := manyFilters(10_000)
	dst := make([]int, 0, 16)
	i := 0
	if n := testing.AllocsPerRun(1000, func() {
		i++
		if dst = tree.AppendMatches(dst[:0], names[i%len(names)]); len(dst) != 1 {
			t.Fatalf("%d matches", len(dst))
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// manyFilters is the load of the broker's benchmark: each name has one filter.
func manyFilters(n int) (*Tree[int], []string) {
	var tree Tree[int]
	names := make([]string, n)
	for i := range n {
		tree.Add(fmt.Sprintf("bench/dev%d/+", i), i)
		names[i] = fmt.Sprintf("bench/dev%d/temperature", i)
	}
	rand.Shuffle(n, func(i, j int) { names[i], names[j] = names[j], names[i] })
	return &tree, names
}

func BenchmarkTree(b *testing.B) {
	b.Run("10000 plus filters, one match", func(b *testing.B) {
		tree, names := manyFilters(10_000)
		dst := make([]int, 0, 16)
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			if i++; i == len(names) {
				i = 0
			}
			dst = tree.AppendMatches(dst[:0], names[i])
		}
	})
	b.Run("10000 leading plus, one match", func(b *testing.B) {
		var tree Tree[int]
		for i := range 10_000 {
			tree.Add(fmt.Sprintf("+/dev%d/t", i), i)
			tree.Add(fmt.Sprintf("house/room%d/t", i), i)
		}
		dst := make([]int, 0, 16)
		for b.Loop() {
			dst = tree.AppendMatches(dst[:0], "house/dev77/t")
		}
	})
	b.Run("bomb of 4096 half-wild filters, none matches", func(b *testing.B) {
		var tree Tree[int]
		for bits := range 1 << 12 {
			f := ""
			for l := range 12 {
				f += []string{"a/", "+/"}[bits>>l&1]
			}
			tree.Add(f+"end", bits)
		}
		name := strings.Repeat("a/", 12) + "x"
		for b.Loop() {
			tree.AppendMatches(nil, name)
		}
	})
	b.Run("add and remove", func(b *testing.B) {
		tree, _ := manyFilters(10_000)
		for b.Loop() {
			tree.Add("bench/new/client/+", 1)
			tree.Remove("bench/new/client/+", 1)
		}
	})
}
