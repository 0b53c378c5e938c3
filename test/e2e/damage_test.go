package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestDamagedStoreIsTold: a gateway whose store is damaged starts, and says so in the log, in the health answer and on its
// own topic; the tools refuse the damaged store and leave it as it is.
func TestDamagedStoreIsTold(t *testing.T) {
	t.Parallel()
	http := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	g := newGateway(t, "http: {address: \""+http+"\"}\n")
	g.start()
	publish(t, g.port, "-q", "1", "-r", "-t", "keep/this", "-m", "safe")
	g.stop()
	manifest := filepath.Join(g.data(), "store", "MANIFEST")
	if err := os.WriteFile(manifest, []byte("nonsense and more of it"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tool := range []string{"verify", "dump", "stats", "compact", "backup"} {
		args := []string{"store", tool, "-d", g.data()}
		if tool == "backup" {
			args = append(args, filepath.Join(g.dir, "copy"))
		}
		if out, code := g.command(args...); code == 0 {
			t.Errorf("store %s of a damaged store: %s", tool, out)
		}
		if aside, _ := filepath.Glob(filepath.Join(g.data(), "store.damaged-*")); len(aside) != 0 {
			t.Fatalf("store %s set it aside: %v", tool, aside)
		}
	}
	g.start()
	told := subscribe(t, g.port, "-t", "gateway/gw-test/store").next(20 * time.Second)
	aside, _ := filepath.Glob(filepath.Join(g.data(), "store.damaged-*"))
	if len(aside) != 1 {
		t.Fatalf("set aside: %v", aside)
	}
	if !strings.Contains(told, `"ok":false`) || !strings.Contains(told, aside[0]) {
		t.Errorf("on its topic: %s", told)
	}
	if out, code := g.command("health", "--http", http); code == 0 || !strings.Contains(out, aside[0]) {
		t.Errorf("health ended with %d: %s", code, out)
	}
	if log := g.p.Output(); !strings.Contains(log, "set aside") || !strings.Contains(log, aside[0]) {
		t.Errorf("the log does not tell of it: %s", lastLines(log, 20))
	}
	if line := subscribe(t, g.port, "-t", "keep/#").next(20 * time.Second); line != "keep/this safe" {
		t.Errorf("salvaged: %q", line)
	}
	g.stop()
	g.verify()
}
