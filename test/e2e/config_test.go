package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestWrongConfiguration demands one clear line, with file, line and remedy, the contract's exit code, and nothing half-started.
func TestWrongConfiguration(t *testing.T) {
	t.Parallel()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { busy.Close() }) // after the subtests

	for _, tc := range []struct {
		name   string
		config string // %[1]q data folder, %[2]q a free address
		prep   func(t *testing.T, dir string)
		line   int      // in the configuration
		says   []string // each must be in the line
		codes  []int
	}{
		{
			name:   "unknown key",
			config: "gateway: {data_dir: %[1]q}\nlisteners:\n  - address: %[2]q\n    max_conections: 5\n",
			line:   4, says: []string{"max_conections", "max_connections"}, codes: []int{78},
		},
		{
			name:   "bad filter",
			config: "gateway: {data_dir: %[1]q}\nlisteners:\n  - address: %[2]q\nbridges:\n  - name: c\n    addresses: [\"127.0.0.1:1\"]\n    topics:\n      - {filter: \"room1/#/x\", direction: out}\n",
			line:   8, says: []string{"room1/#/x"}, codes: []int{78},
		},
		{
			name:   "port in use",
			config: "gateway: {data_dir: %[1]q}\nlisteners:\n  - address: %[2]q\n  - address: \"" + busy.Addr().String() + "\"\n",
			line:   4, says: []string{busy.Addr().String(), "use"}, codes: []int{1, 78},
		},
		{
			name:   "unreadable data folder",
			config: "listeners:\n  - address: %[2]q\ngateway:\n  data_dir: %[1]q\n",
			prep: func(t *testing.T, dir string) { // a file stands where the folder should be; root may read everything else
				if err := os.WriteFile(dir, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			},
			line: 4, says: []string{"data"}, codes: []int{1, 78},
		},
		{
			name:   "unknown driver",
			config: "gateway: {data_dir: %[1]q}\nlisteners:\n  - address: %[2]q\nboard: sim\nsensors:\n  - name: a\n    driver: bme281\n",
			line:   7, says: []string{"bme281", "bme280"}, codes: []int{78},
		},
		{
			name:   "missing bus",
			config: "gateway: {data_dir: %[1]q}\nlisteners:\n  - address: %[2]q\nboard: sim\nsensors:\n  - name: a\n    driver: bme280\n    bus: i2c-77\n",
			line:   8, says: []string{"i2c-77"}, codes: []int{1, 78},
		},
		{
			name:   "not YAML",
			config: "gateway: {data_dir: %[1]q\nlisteners:\n  - address: %[2]q\n",
			says:   []string{"YAML"}, codes: []int{78},
		},
		{
			name:   "open to the network without authentication",
			config: "gateway: {data_dir: %[1]q}\nlisteners:\n  - address: %[2]q\n  - address: \"0.0.0.0:0\"\n",
			line:   4, says: []string{"anonymous"}, codes: []int{78},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			g := newGateway(t, "")
			g.config = fmt.Sprintf("http: {address: \"off\"}\n"+tc.config, g.data(), g.addr)
			if tc.prep != nil {
				tc.prep(t, g.data())
			}
			g.launch()
			_ = g.p.Wait(10 * time.Second)
			out := strings.TrimSpace(g.p.Output())
			code := g.p.ExitCode()
			ok := false
			for _, c := range tc.codes {
				ok = ok || c == code
			}
			if !ok {
				t.Errorf("exit code %d, want one of %v", code, tc.codes)
			}
			if strings.Count(out, "\n") != 0 || out == "" {
				t.Errorf("want one line, got:\n%s", out)
			}
			where := filepath.Join(g.dir, "gatewayd.yaml")
			if tc.line > 0 {
				where += fmt.Sprintf(":%d", tc.line+1) // the line put in front
			}
			for _, want := range append(tc.says, where) {
				if !strings.Contains(out, want) {
					t.Errorf("%q is not in:\n%s", want, out)
				}
			}
			if c, err := net.Dial("tcp", g.addr); err == nil {
				c.Close()
				t.Error("a listener was left open")
			}
			if tc.codes[0] == 78 {
				if _, err := os.Stat(g.data()); err == nil && tc.prep == nil {
					t.Error("the data folder was made for a configuration that is wrong")
				}
				// check says the same without starting anything.
				if text, code := g.command("check", "-c", filepath.Join(g.dir, "gatewayd.yaml")); code != 78 || !strings.Contains(text, tc.says[0]) {
					t.Errorf("check ended with %d and said:\n%s", code, text)
				}
			}
		})
	}
}
