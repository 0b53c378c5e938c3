package auth

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const exampleACL = `# for clients without a name
topic read public/#
topic $SYS/broker/uptime

user alice
topic readwrite house/#
topic deny house/alarm/#
topic read a topic with spaces
topic write inbox/+

user bob smith
topic house/lamp

pattern readwrite device/%c/#
pattern write mail/%u/out
pattern deny device/%c/secret
`

func readRules(t *testing.T, text string) *Rules {
	t.Helper()
	r, err := ReadRules(writeFile(t, "acl", text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRights(t *testing.T) {
	r := readRules(t, exampleACL)
	for _, tc := range []struct {
		client, user, name string
		write, read        bool
	}{
		{"c1", "", "public/x", false, true},
		{"c1", "", "$SYS/broker/uptime", false, true}, // the broker's own, whatever the file says
		{"c1", "", "$SYS/broker/version", false, false},
		{"c1", "alice", "public/x", false, false}, // rules on top are for anonymous clients
		{"c1", "alice", "house/lamp", true, true},
		{"c1", "alice", "house/alarm/state", false, false},
		{"c1", "alice", "house/alarm", false, false},
		{"c1", "alice", "a topic with spaces", false, true},
		{"c1", "alice", "inbox/bob", true, false},
		{"c1", "alice", "inbox/bob/x", false, false},
		{"c1", "bob smith", "house/lamp", true, true},
		{"c1", "bob smith", "house/door", false, false},
		{"c1", "carol", "house/lamp", false, false},
		{"c1", "carol", "device/c1/t", true, true},
		{"c1", "carol", "device/c1", true, true},
		{"c1", "carol", "device/c2/t", false, false},
		{"c1", "carol", "device/c1/secret", false, false},
		{"c1", "carol", "mail/carol/out", true, false},
		{"c1", "", "mail//out", false, false}, // %u needs a user name
		{"+", "carol", "device/c2/t", false, false},
		{"#", "carol", "device/#", false, false},
		{"c1", "+", "mail/alice/out", false, false},
		{"a/b", "carol", "device/a/b/t", true, true},
		{"a/b", "carol", "device/a/t", false, false},
		{"c1", "alice", "$share/g/house/lamp", false, false},
	} {
		if got := r.MayPublish(tc.client, tc.user, tc.name); got != tc.write {
			t.Errorf("%s/%s may publish %q: %v", tc.client, tc.user, tc.name, got)
		}
		if got := r.MayReceive(tc.client, tc.user, tc.name); got != tc.read {
			t.Errorf("%s/%s may receive %q: %v", tc.client, tc.user, tc.name, got)
		}
	}
	for _, tc := range []struct {
		client, user, filter string
		want                 bool
	}{
		{"c1", "alice", "#", true},
		{"c1", "alice", "house/+", true},
		{"c1", "alice", "house/alarm/#", false},
		{"c1", "alice", "house/alarm/x", false},
		{"c1", "alice", "inbox/bob", false}, // write only
		{"c1", "bob smith", "+/lamp", true},
		{"c1", "bob smith", "+/door", false},
		{"c1", "carol", "device/#", true},
		{"c1", "carol", "device/c2/#", false},
		{"c1", "carol", "mail/#", false},
		{"$SYS", "carol", "$SYS/#", false},
		{"c1", "", "$SYS/#", true},
		{"c1", "alice", "$SYS/#", false},
	} {
		if got := r.MaySubscribe(tc.client, tc.user, tc.filter); got != tc.want {
			t.Errorf("%s/%s may subscribe %q: %v", tc.client, tc.user, tc.filter, got)
		}
	}
	if !(*Rules)(nil).MayPublish("c", "", "x") || (*Rules)(nil).MayPublish("c", "", "$SYS/x") || !(*Rules)(nil).MayReceive("c", "", "$SYS/x") {
		t.Error("without a file all is allowed but writing $SYS")
	}
}

// TestPatternNamedSYS: a client that calls itself $SYS gains nothing.
func TestPatternNamedSYS(t *testing.T) {
	r := readRules(t, "pattern readwrite %c/#\n")
	if r.MayReceive("$SYS", "", "$SYS/broker/uptime") || r.MaySubscribe("$SYS", "", "$SYS/#") {
		t.Error("a client id reaches the $ topics through a pattern")
	}
	if !r.MayReceive("c", "", "c/x") || !r.MaySubscribe("c", "", "c/#") {
		t.Error("the pattern does not work")
	}
}

func TestRulesErrors(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"topic\n", "acl:1: rule without a topic"},
		{"# x\nuser\n", "acl:2: user without a name"},
		{"topic rw a/b\n", `acl:1: access "rw"`},
		{"topic a/#/b\n", "acl:1: \"a/#/b\": '#'"},
		{"\n\nallow a/b\n", `acl:3: "allow", want user, topic, pattern`},
		{"pattern read %c#\n", "acl:1:"},
	} {
		if _, err := ReadRules(writeFile(t, "acl", tc.text)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: error %v, want %q", tc.text, err, tc.want)
		}
	}
	r := readRules(t, "pattern read dev_%c/x\npattern read all/#\n")
	if w := r.Warnings(); len(w) != 3 || !strings.Contains(w[0], "acl:1") || !strings.Contains(w[2], "acl:2") {
		t.Errorf("warnings %q", w)
	}
}

func TestRightsDoNotAllocate(t *testing.T) {
	r := readRules(t, exampleACL)
	if n := testing.AllocsPerRun(100, func() {
		r.MayPublish("c1", "alice", "house/lamp")
		r.MayReceive("c1", "carol", "device/c1/t")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRights(b *testing.B) {
	var text strings.Builder
	text.WriteString("user alice\n")
	for i := range 1000 {
		fmt.Fprintf(&text, "topic readwrite house/room%d/+\n", i)
	}
	file := filepath.Join(b.TempDir(), "acl")
	os.WriteFile(file, []byte(text.String()), 0o600)
	r, err := ReadRules(file)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		r.MayPublish("c1", "alice", "house/room17/lamp")
	}
}
