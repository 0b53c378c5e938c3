package topic

import (
	"math/rand/v2"
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	for _, tc := range []struct {
		filter, name string
		want         bool
	}{
		{"sport/tennis/player1/#", "sport/tennis/player1", true}, // 4.7.1.2
		{"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
		{"sport/tennis/player1/#", "sport/tennis/player10", false},
		{"sport/#", "sport", true},
		{"#", "a/b/c", true},
		{"sport/tennis/+", "sport/tennis/player1", true}, // 4.7.1.3
		{"sport/tennis/+", "sport/tennis/player1/ranking", false},
		{"sport/+", "sport", false},
		{"sport/+", "sport/", true},
		{"+/+", "/finance", true},
		{"/+", "/finance", true},
		{"+", "/finance", false},
		{"#", "$SYS/uptime", false}, // [MQTT-4.7.2-1]
		{"+/monitor/Clients", "$SYS/monitor/Clients", false},
		{"$SYS/#", "$SYS/uptime", true},
		{"$SYS/monitor/+", "$SYS/monitor/Clients", true},
		{"a/#", "a/$x", true},           // the rule is for the first level only
		{"a/+", "a/$x", true},           //
		{"ACCOUNTS", "Accounts", false}, // 4.7.3: case sensitive
		{"a", "/a", false},              // 4.7.3
		{"+/b/#", "a/b", true},
		{"+/#", "a", true},
		{"a//b", "a//b", true},
		{"a/+/b", "a//b", true},
	} {
		if got := Match(tc.filter, tc.name); got != tc.want {
			t.Errorf("Match(%q, %q) = %v, want %v", tc.filter, tc.name, got, tc.want)
		}
		if got := naiveMatch(tc.filter, tc.name); got != tc.want {
			t.Errorf("naiveMatch(%q, %q) = %v, want %v", tc.filter, tc.name, got, tc.want)
		}
	}
}

// naiveMatch is the specification read aloud: the referee of the fuzzers.
func naiveMatch(filter, name string) bool {
	f, n := strings.Split(filter, "/"), strings.Split(name, "/")
	if strings.HasPrefix(name, "$") && (f[0] == "+" || f[0] == "#") {
		return false
	}
	return naiveLevels(f, n)
}

func naiveLevels(f, n []string) bool {
	switch {
	case len(f) == 1 && f[0] == "#":
		return true
	case len(f) == 0 || len(n) == 0:
		return len(f) == len(n)
	case f[0] == "+" || f[0] == n[0]:
		return naiveLevels(f[1:], n[1:])
	}
	return false
}

// randomTopic makes short topics of few letters, so that they meet often.
func randomTopic(r *rand.Rand, wild bool) string {
	words := []string{"", "a", "b", "c", "a!", "ab", "a0", "$x", "$SYS", "é"}
	levels := make([]string, 1+r.IntN(4))
	for i := range levels {
		levels[i] = words[r.IntN(len(words))]
		if wild && r.IntN(3) == 0 {
			levels[i] = "+"
		}
	}
	if wild && r.IntN(3) == 0 {
		levels[len(levels)-1] = "#"
	}
	s := strings.Join(levels, "/")
	if s == "" {
		return "/"
	}
	return s
}

func TestMatchAgainstNaive(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	hits := 0
	for range 200_000 {
		f, n := randomTopic(r, true), randomTopic(r, false)
		want := naiveMatch(f, n)
		if got := Match(f, n); got != want {
			t.Fatalf("Match(%q, %q) = %v, want %v", f, n, got, want)
		}
		if want {
			hits++
		}
	}
	if hits < 5000 {
		t.Errorf("only %d of the random pairs match: the test proves little", hits)
	}
}

// TestCoversAndOverlap compares both with what the filters select among every
// name of up to four levels over a small alphabet that includes a word no
// filter uses.
func TestCoversAndOverlap(t *testing.T) {
	words := []string{"", "a", "b", "$x", "other"}
	var names []string
	for _, base := range words {
		if base != "" {
			names = append(names, base)
		}
	}
	at := words
	for range 3 {
		var deeper []string
		for _, n := range at {
			for _, w := range words {
				deeper = append(deeper, n+"/"+w)
			}
		}
		names, at = append(names, deeper...), deeper
	}
	filters := []string{"#", "+", "a", "a/#", "a/+", "+/a", "+/+", "+/#", "+/+/#", "a/b", "a/b/#", "$x", "$x/#", "$x/+", "/", "/+", "a/+/b", "a/#", "+/b/#"}
	for _, outer := range filters {
		for _, inner := range filters {
			covers, overlap := true, false
			for _, n := range names {
				o, i := naiveMatch(outer, n), naiveMatch(inner, n)
				covers = covers && (o || !i)
				overlap = overlap || o && i
			}
			if got := Covers(outer, inner); got != covers {
				t.Errorf("Covers(%q, %q) = %v, want %v", outer, inner, got, covers)
			}
			if got := Overlap(outer, inner); got != overlap {
				t.Errorf("Overlap(%q, %q) = %v, want %v", outer, inner, got, overlap)
			}
		}
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("a/+/#", "a/b")
	f.Add("$x/#", "$x")
	f.Fuzz(func(t *testing.T, filter, name string) {
		if ValidFilter(filter) != nil || ValidName(name) != nil {
			return
		}
		if got, want := Match(filter, name), naiveMatch(filter, name); got != want {
			t.Fatalf("Match(%q, %q) = %v, want %v", filter, name, got, want)
		}
		var tree Tree[int]
		tree.Add(filter, 1)
		if got := len(tree.AppendMatches(nil, name)) == 1; got != naiveMatch(filter, name) {
			t.Fatalf("the tree says %v for %q and %q", got, filter, name)
		}
		var names Names[int]
		names.Set(name, 1)
		found := false
		names.Walk(filter, func(string, int) bool { found = true; return true })
		if found != naiveMatch(filter, name) {
			t.Fatalf("the names say %v for %q and %q", found, filter, name)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	for b.Loop() {
		Match("house/+/temperature/#", "house/room1/temperature/now")
	}
}
