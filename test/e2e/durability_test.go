package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// TestClassesAndSIGKILL: what an acknowledgement means for each class of store.durability, seen in the store after SIGKILL
// and after a clean stop.
func TestClassesAndSIGKILL(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "store:\n  lazy_interval: 1h\n  durability:\n    - {filter: \"lazy/#\", class: lazy}\n    - {filter: \"memory/#\", class: memory}\n")
	g.start()
	subscribe(t, g.port, "-c", "-i", "sleeper", "-q", "2", "-t", "#", "-E")
	send := func(qos string) {
		for i := range 3 {
			for _, class := range []string{"commit", "lazy", "memory"} {
				publish(t, g.port, "-q", qos, "-r", "-t", fmt.Sprintf("%s/%s/%d", class, qos, i), "-m", "x")
			}
		}
	}
	send("1")
	send("2")
	g.p.Kill()
	g.verify()
	kept := g.kept()
	// 3 topics at QoS 1 and 3 at QoS 2, each queued and retained. Of the lazy ones there is what was written with others.
	if kept["message commit"] != 6 || kept["retained commit"] != 6 || kept["message memory"] != 0 || kept["retained memory"] != 0 {
		t.Errorf("after SIGKILL the store has %v", kept)
	}
	t.Logf("after SIGKILL: %v", kept)

	g.start()
	send("1")
	g.stop()
	g.verify()
	kept = g.kept()
	if kept["message commit"] != 9 || kept["message lazy"] < 3 || kept["retained lazy"] < 3 || kept["message memory"] != 0 || kept["retained memory"] != 0 {
		t.Errorf("after a clean stop the store has %v", kept)
	}
	t.Logf("after a clean stop: %v", kept)
}

// kept counts what the stopped gateway's store has, by kind and the first level of the topic.
func (g *gateway) kept() map[string]int {
	g.t.Helper()
	out, code := g.command("store", "dump", "-d", g.data())
	if code != 0 {
		g.t.Fatalf("store dump ended with %d:\n%s", code, out)
	}
	kept := map[string]int{}
	for line := range strings.Lines(out) {
		var l struct{ Kind, Topic string }
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			g.t.Fatalf("%v: %s", err, line)
		}
		if first, _, ok := strings.Cut(l.Topic, "/"); ok {
			kept[l.Kind+" "+first]++
		}
	}
	return kept
}
