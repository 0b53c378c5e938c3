package bridge

import (
	"strings"
	"testing"

	"gatewayd/topic"
)

func bridgeTo(name string, rules []Rule, addresses ...string) Options {
	return Options{Name: name, Addresses: addresses, Rules: rules}
}

// TestCycles: the loop issues of brokers with bridges, and what looks like one.
func TestCycles(t *testing.T) {
	all := []Rule{{Filter: "#", Direction: Both, QoS: 2}}
	out := func(filter, local, remote string) Rule {
		return Rule{Filter: filter, Direction: Out, LocalPrefix: local, RemotePrefix: remote}
	}
	in := func(filter, local, remote string) Rule {
		return Rule{Filter: filter, Direction: In, LocalPrefix: local, RemotePrefix: remote}
	}
	for _, tc := range []struct {
		name  string
		sites []Site
		want  []string // in the path of the first circle; nil: none
	}{
		{"star of n centres", []Site{{Name: "gw", Bridges: []Options{bridgeTo("a", all, "a:1883"), bridgeTo("b", all, "b:1883"), bridgeTo("c", all, "c:1883")}}}, nil},
		{"one both rule (no-local)", []Site{{Name: "gw", Bridges: []Options{bridgeTo("a", all, "a:1883")}}}, nil},
		{"failover pair", []Site{{Name: "gw", Bridges: []Options{bridgeTo("a", all, "a:1883", "b:1883")}}}, nil},
		{"emqx#4619: two bridges to one hub", []Site{{Name: "gw", Bridges: []Options{bridgeTo("a", all, "hub:1883"), bridgeTo("b", all, "hub:1883")}}}, []string{"gw", "hub:1883", "gw"}},
		{"the same, one address shared with a pair", []Site{{Name: "gw", Bridges: []Options{bridgeTo("a", all, "x:1883", "hub:1883"), bridgeTo("b", all, "HUB")}}}, []string{"a out", "b in"}},
		{"out and in by different bridges", []Site{{Name: "gw", Bridges: []Options{
			bridgeTo("a", []Rule{out("x/#", "", "")}, "hub:1"), bridgeTo("b", []Rule{in("#", "", "")}, "hub:1")}}}, []string{"a out", "b in"}},
		{"the same with filters that do not meet", []Site{{Name: "gw", Bridges: []Options{
			bridgeTo("a", []Rule{out("x/#", "", "")}, "hub:1"), bridgeTo("b", []Rule{in("y/#", "", "")}, "hub:1")}}}, nil},
		{"prefixes that keep it apart", []Site{{Name: "gw", Bridges: []Options{
			bridgeTo("a", []Rule{out("x/#", "", "up/")}, "hub:1"), bridgeTo("b", []Rule{in("#", "down/", "up/")}, "hub:1")}}}, nil},
		{"thin-edge#3707: a prefix grows each time", []Site{{Name: "gw", Bridges: []Options{
			bridgeTo("a", []Rule{out("#", "", "p/")}, "hub:1"), bridgeTo("b", []Rule{in("#", "", "")}, "hub:1")}}}, []string{"p/p/"}},
		{"mosquitto#3011: to itself", []Site{{Name: "gw", Addresses: []string{"127.0.0.1:1883"}, Bridges: []Options{
			bridgeTo("self", []Rule{out("a/#", "", "b/"), out("b/#", "", "")}, "127.0.0.1:1883"), bridgeTo("self2", all, "127.0.0.1")}}}, []string{"self"}},
		{"ring of three gateways", []Site{
			{Name: "g1", Addresses: []string{"g1:1883"}, Bridges: []Options{bridgeTo("to2", all, "g2:1883")}},
			{Name: "g2", Addresses: []string{"g2:1883"}, Bridges: []Options{bridgeTo("to3", all, "g3:1883")}},
			{Name: "g3", Addresses: []string{"g3:1883"}, Bridges: []Options{bridgeTo("to1", all, "g1:1883")}},
		}, []string{"g1", "g2", "g3"}},
		{"chain of three gateways", []Site{
			{Name: "g1", Addresses: []string{"g1:1883"}, Bridges: []Options{bridgeTo("to2", all, "g2:1883")}},
			{Name: "g2", Addresses: []string{"g2:1883"}, Bridges: []Options{bridgeTo("to3", all, "g3:1883")}},
			{Name: "g3", Addresses: []string{"g3:1883"}},
		}, nil},
		{"nanomq#1733: both sides bridge to each other", []Site{
			{Name: "g1", Addresses: []string{"g1:1883"}, Bridges: []Options{bridgeTo("to2", all, "g2:1883")}},
			{Name: "g2", Addresses: []string{"g2:1883"}, Bridges: []Options{bridgeTo("to1", all, "g1:1883")}},
		}, []string{"to2", "to1"}},
		{"an exact topic that a circle renames", []Site{{Name: "gw", Bridges: []Options{
			bridgeTo("a", []Rule{out("x", "", "r/")}, "hub:1"), bridgeTo("b", []Rule{in("x", "back/", "r/")}, "hub:1")}}}, nil},
		{"$SYS is not in #", []Site{{Name: "gw", Bridges: []Options{
			bridgeTo("a", []Rule{out("#", "$SYS/x/", "s/")}, "hub:1"), bridgeTo("b", []Rule{in("#", "", "")}, "hub:1")}}}, nil},
	} {
		got := Cycles(tc.sites)
		if (len(got) > 0) != (tc.want != nil) {
			t.Errorf("%s: %v", tc.name, got)
			continue
		}
		for _, w := range tc.want {
			if !strings.Contains(got[0].String(), w) {
				t.Errorf("%s: %q is not in %s", tc.name, w, got[0])
			}
		}
	}
}

// TestIntersect: a name matches the intersection when it matches both, for
// every pair of filters of up to three levels.
func TestIntersect(t *testing.T) {
	names := combinations([]string{"a", "b", ""})
	var filters []string
	for _, f := range combinations([]string{"a", "b", "+", "", "#"}) {
		if topic.ValidFilter(f) == nil {
			filters = append(filters, f)
		}
	}
	for _, a := range filters {
		for _, b := range filters {
			both, ok := intersect(a, b)
			for _, name := range names {
				want := topic.Match(a, name) && topic.Match(b, name)
				if got := ok && topic.Match(both, name); got != want {
					t.Fatalf("%q matches %q and %q: %v; %q: %v", name, a, b, want, both, got)
				}
			}
		}
	}
}

// combinations are all topics of one to three of the levels.
func combinations(levels []string) (out []string) {
	last := []string{""}
	for i := range 3 {
		var next []string
		for _, l := range last {
			for _, x := range levels {
				if i > 0 {
					x = l + "/" + x
				}
				next = append(next, x)
			}
		}
		for _, x := range next {
			if x != "" {
				out = append(out, x)
			}
		}
		last = next
	}
	return out
}
