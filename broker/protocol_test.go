package broker

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestProtocolTable keeps docs/PROTOCOL.md true: every statement there is held
// by a flow or a test that exists, and every flow is there.
func TestProtocolTable(t *testing.T) {
	text, err := os.ReadFile("../docs/PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob("testdata/flows/*.txt")
	flows := map[string]bool{}
	for _, f := range files {
		flows[strings.TrimSuffix(filepath.Base(f), ".txt")] = true
	}
	tests := map[string]bool{}
	for _, pkg := range []string{"mqtt", "topic", "broker"} {
		sources, _ := filepath.Glob("../" + pkg + "/*_test.go")
		for _, source := range sources {
			code, err := os.ReadFile(source)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllSubmatch(code, -1) {
				tests[pkg+":"+string(m[1])] = true
			}
		}
	}
	named, rows := map[string]bool{}, 0
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 {
			continue
		}
		refs := regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[len(cells)-2], -1)
		statement := strings.TrimSpace(cells[1])
		if strings.HasPrefix(statement, "`") {
			refs = [][]string{{"", strings.Trim(statement, "`")}}
		} else if !strings.HasPrefix(statement, "MQTT-") {
			continue
		} else if rows++; len(refs) == 0 {
			t.Errorf("nothing holds %s", statement)
		}
		for _, ref := range refs {
			named[ref[1]] = true
			if !flows[ref[1]] && !tests[ref[1]] {
				t.Errorf("%s is held by %q, which does not exist", statement, ref[1])
			}
		}
	}
	for flow := range flows {
		if !named[flow] {
			t.Errorf("docs/PROTOCOL.md does not name the flow %s", flow)
		}
	}
	if rows < 300 {
		t.Errorf("only %d statements in the table", rows)
	}
}
