package broker

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
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
	for _, dir := range []string{"mqtt", "topic", "auth", "broker", "bridge", "test/bridge", "test/conformance", "test/e2e", "test/service"} {
		pkg := filepath.Base(dir)
		sources, _ := filepath.Glob("../" + dir + "/*_test.go")
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
	settings := settingsOf(t, "mqtt", "auth", "listeners", `listeners\[\].tls`)
	named, rows := map[string]bool{}, 0
	section := ""
	for line := range strings.Lines(string(text)) {
		if title, ok := strings.CutPrefix(line, "## "); ok {
			section = strings.TrimSpace(title)
		}
		cells := strings.Split(line, "|")
		if len(cells) < 4 || strings.HasPrefix(cells[1], "---") {
			continue
		}
		refs := regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[len(cells)-2], -1)
		statement := strings.TrimSpace(cells[1])
		if strings.HasPrefix(statement, "`") {
			refs = [][]string{{"", strings.Trim(statement, "`")}}
		} else if strings.HasPrefix(statement, "MQTT-") {
			rows++
		} else if section == "Settings" && statement != "setting" {
			if !settings[statement] {
				t.Errorf("there is no setting %s", statement)
			}
			delete(settings, statement)
		} else if section != "Hostile input" || statement == "what comes" {
			continue
		}
		if len(refs) == 0 {
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
	for setting := range settings {
		t.Errorf("no test is named that holds the setting %s", setting)
	}
	if rows < 300 {
		t.Errorf("only %d statements in the table", rows)
	}
}

// TestProtocolTableIsWhole counts: each numbered statement of the two
// specifications is in a table, or among those for clients only.
func TestProtocolTableIsWhole(t *testing.T) {
	text, err := os.ReadFile("../docs/PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	number := regexp.MustCompile(`MQTT-[0-9.]+-[0-9]+`)
	for _, spec := range []struct {
		version           string
		servers, all, gap int // 5.0 has no MQTT-2.2.1-1
	}{{"5.0", 229, 251, 1}, {"3.1.1", 128, 141, 0}} {
		found, servers, highest := map[string]bool{}, 0, map[string]int{}
		section := ""
		for line := range strings.Lines(string(text)) {
			if title, ok := strings.CutPrefix(line, "## "); ok {
				section = strings.TrimSpace(title)
			}
			var here []string
			switch {
			case section == "MQTT "+spec.version && strings.HasPrefix(line, "| MQTT-"):
				here = []string{number.FindString(line)}
				servers++
			case section == "For clients only" && strings.HasPrefix(line, "| "+spec.version+" |"):
				here = number.FindAllString(line, -1)
			}
			for _, n := range here {
				if found[n] {
					t.Errorf("%s: %s stands there twice", spec.version, n)
				}
				found[n] = true
				cut := strings.LastIndexByte(n, '-')
				last, err := strconv.Atoi(n[cut+1:])
				if err != nil {
					t.Fatal(err)
				}
				highest[n[:cut]] = max(highest[n[:cut]], last)
			}
		}
		whole := 0
		for _, last := range highest {
			whole += last
		}
		if servers != spec.servers || len(found) != spec.all || whole-len(found) != spec.gap {
			t.Errorf("%s: %d statements for servers and %d in all, %d numbers left out; want %d, %d and %d",
				spec.version, servers, len(found), whole-len(found), spec.servers, spec.all, spec.gap)
		}
	}
}

// settingsOf are the keys in sections of the configuration's reference.
func settingsOf(t *testing.T, sections ...string) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("../docs/CONFIGURATION.md")
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	for _, section := range sections {
		m := regexp.MustCompile(`(?ms)^##+ ` + section + `$(.*?)^##`).FindSubmatch(text)
		if m == nil {
			t.Fatalf("docs/CONFIGURATION.md has no section %s", section)
		}
		for _, key := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\|").FindAllSubmatch(m[1], -1) {
			keys[string(key[1])] = true
		}
	}
	return keys
}
