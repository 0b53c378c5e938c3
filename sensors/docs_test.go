package sensors

import (
	"os"
	"strings"
	"testing"
)

// The guide names every driver, filter and quantity that is derived.
func TestGuideIsComplete(t *testing.T) {
	b, err := os.ReadFile("../docs/SENSORS.md")
	if err != nil {
		t.Fatal(err)
	}
	guide := string(b)
	for _, d := range Drivers() {
		if !strings.Contains(guide, "`"+d.Name+"`") {
			t.Errorf("docs/SENSORS.md has no driver %s", d.Name)
		}
		for _, o := range d.Options {
			if !strings.Contains(guide, "`"+o+"`") && !strings.Contains(guide, "`"+o+":") {
				t.Errorf("docs/SENSORS.md has no key %s of %s", o, d.Name)
			}
		}
	}
	for _, f := range FilterNames() {
		if !strings.Contains(guide, "`"+f+":") {
			t.Errorf("docs/SENSORS.md has no filter %s", f)
		}
	}
	for q := range builtins {
		if !strings.Contains(guide, "`"+q+"`") {
			t.Errorf("docs/SENSORS.md has no derived quantity %s", q)
		}
	}
	for e := range expanderKinds {
		if !strings.Contains(strings.ToLower(guide), e) {
			t.Errorf("docs/SENSORS.md has no expander %s", e)
		}
	}
}
