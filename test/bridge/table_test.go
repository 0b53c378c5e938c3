package bridge_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestIssueTable holds the table of issues in docs/BRIDGE.md against the code: every test it names is there.
func TestIssueTable(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/BRIDGE.md")
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	for _, pattern := range []string{"*_test.go", "../../bridge/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			code.Write(b)
		}
	}
	_, table, found := strings.Cut(string(doc), "### Issues of other bridges")
	names := regexp.MustCompile("`(Test[A-Za-z0-9]+)`").FindAllStringSubmatch(table, -1)
	if !found || len(names) < 30 {
		t.Fatalf("the table names %d tests", len(names))
	}
	for _, n := range names {
		if !strings.Contains(code.String(), "func "+n[1]+"(") {
			t.Errorf("there is no %s", n[1])
		}
	}
	for _, project := range issuesOfOthers {
		for number := range strings.FieldsSeq(project.numbers) {
			named := regexp.MustCompile("`Test" + project.name + number + "[A-Z][A-Za-z0-9]*`")
			if !named.MatchString(table) {
				t.Errorf("the table has no test named after %s#%s", project.name, number)
			}
		}
	}
}

// issuesOfOthers are the issues of other bridges that describe one: what was lost, stalled, came twice, went round, or did not come
// back. Each has a test named after it.
var issuesOfOthers = []struct{ name, numbers string }{
	{"Mosquitto", "3728 2634 1334 3400 3394 3472 2256 2666 2176 1301 2415 2455 2647 2224 174 172 3110 2795 1850 1593 2202 601 " +
		"3275 2165 2013 2248 3002 3098 1040 2300 3011 1263 2921 3293 2410 1019 2411 2927 938 1699 2038 3568 1358 108 2499 1902"},
	{"NanoMQ", "2432 2423 1980 1741 1733 1826"},
	{"VerneMQ", "2098 654 2406"},
	{"EMQX", "2383 4619"},
	{"ThinEdge", "3083 3185 3707 3157"},
	{"UMH", "152"},
	{"GreengrassLite", "1175"},
	{"GreengrassNucleus", "825"},
	{"MQTTJS", "978"},
	{"LxpBridge", "12"},
	{"Rainmaker", "1"},
	{"HomeAssistant", "3499"},
	{"ChirpStack", "210"},
}
