package gatewayd_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// room says what one package may import of ours and from third parties.
// docs/ARCHITECTURE.md draws the same plan; a new arrow is a decision record.
type room struct {
	floor int
	ours  []string
	third []string // module or package path prefixes
}

var plan = map[string]room{
	"mqtt":          {floor: 0},
	"mqtt/mqtttest": {floor: 1, ours: []string{"mqtt"}},
	"topic":         {floor: 0},
	"faulthook":     {floor: 0},
	"config":        {floor: 0, third: []string{"github.com/goccy/go-yaml"}},
	"auth":          {floor: 1, ours: []string{"topic"}, third: []string{"golang.org/x/crypto", "github.com/xdg-go/scram", "github.com/xdg-go/stringprep"}},
	"store":         {floor: 1, third: []string{"github.com/dgraph-io/badger", "github.com/dgraph-io/ristretto", "github.com/tinylib/msgp"}},
	"board":         {floor: 1, ours: []string{"board/sim"}, third: []string{"periph.io/x/conn", "periph.io/x/host"}},
	"board/sim":     {floor: 1, third: []string{"periph.io/x/conn"}},
	"broker":        {floor: 2, ours: []string{"mqtt", "topic", "store", "faulthook"}, third: []string{"github.com/coder/websocket", "github.com/pires/go-proxyproto"}},
	"sensors":       {floor: 2, third: []string{"periph.io/x/conn", "periph.io/x/devices", "github.com/expr-lang/expr"}},
	"bridge":        {floor: 3, ours: []string{"mqtt", "topic", "broker", "faulthook"}, third: []string{"github.com/coder/websocket", "golang.org/x/net"}},
	"discovery":     {floor: 3, ours: []string{"sensors", "broker", "mqtt"}},
	"sparkplug":     {floor: 3, ours: []string{"sensors", "broker", "mqtt"}, third: []string{"google.golang.org/protobuf"}},
	"web":           {floor: 3, ours: []string{"broker", "sensors", "bridge", "store"}, third: []string{"github.com/danielgtaylor/huma", "github.com/prometheus/client_golang"}},
	"cmd/gatewayd": {floor: 4, ours: []string{"*"}, third: []string{
		"github.com/spf13/cobra", "github.com/coreos/go-systemd", "github.com/fsnotify/fsnotify"}},
}

// everywhere are packages so close to the standard library that any room may use them.
var everywhere = []string{"golang.org/x/sys"}

type listed struct {
	ImportPath string
	Standard   bool
	Imports    []string
}

// TestFloorPlan holds the imports of every package to the plan: they go down, and a third-party module stays in its room.
func TestFloorPlan(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Standard,Imports", "-deps", "./...").Output()
	if err != nil {
		var ee *exec.ExitError
		if errors.As(err, &ee) {
			t.Fatalf("go list: %v\n%s", err, ee.Stderr)
		}
		t.Fatal(err)
	}
	standard := map[string]bool{"C": true, "unsafe": true}
	var pkgs []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if p.Standard {
			standard[p.ImportPath] = true
		} else if strings.HasPrefix(p.ImportPath, "gatewayd/") {
			pkgs = append(pkgs, p)
		}
	}
	if len(pkgs) < 3 {
		t.Fatalf("go list named only %d packages of ours", len(pkgs))
	}
	for _, p := range pkgs {
		name := strings.TrimPrefix(p.ImportPath, "gatewayd/")
		r, ok := plan[name]
		if !ok {
			t.Errorf("package %s has no room in the plan: add it to floorplan_test.go and docs/ARCHITECTURE.md", name)
			continue
		}
		for _, imp := range p.Imports {
			if standard[imp] {
				continue
			}
			if ours, ok := strings.CutPrefix(imp, "gatewayd/"); ok {
				switch {
				case plan[ours].floor > r.floor:
					t.Errorf("%s (floor %d) imports %s (floor %d): imports go down", name, r.floor, ours, plan[ours].floor)
				case !slices.Contains(r.ours, "*") && !slices.Contains(r.ours, ours):
					t.Errorf("%s imports %s, an arrow the plan does not have: declare an interface in %s, or record the decision", name, ours, name)
				}
				continue
			}
			if !hasPrefix(imp, r.third) && !hasPrefix(imp, everywhere) {
				t.Errorf("%s imports %s, a module of another room", name, imp)
			}
		}
	}
}

func hasPrefix(imp string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(imp, p) {
			return true
		}
	}
	return false
}
