package topic

import (
	"strings"
	"testing"
)

// TestRemapManual is the table of mosquitto.conf(5), "topic".
func TestRemapManual(t *testing.T) {
	for _, tc := range []struct {
		pattern, local, remote string
		fullLocal, fullRemote  string // empty: invalid
	}{
		{"pattern", "L/", "R/", "L/pattern", "R/pattern"},
		{"pattern", "L/", "", "L/pattern", "pattern"},
		{"pattern", "", "R/", "pattern", "R/pattern"},
		{"pattern", "", "", "pattern", "pattern"},
		{"", "local", "remote", "local", "remote"},
		{"", "local", "", "", ""},
		{"", "", "remote", "", ""},
		{"", "", "", "", ""},
	} {
		r := Remap{tc.pattern, tc.local, tc.remote}
		err := r.Validate()
		if tc.fullLocal == "" {
			if err == nil {
				t.Errorf("%+v is invalid", r)
			}
			continue
		}
		if err != nil {
			t.Errorf("%+v: %v", r, err)
		}
		if got, ok := r.Out(tc.fullLocal); !ok || got != tc.fullRemote {
			t.Errorf("%+v: Out(%q) = %q, %v", r, tc.fullLocal, got, ok)
		}
		if got, ok := r.In(tc.fullRemote); !ok || got != tc.fullLocal {
			t.Errorf("%+v: In(%q) = %q, %v", r, tc.fullRemote, got, ok)
		}
	}
}

func TestRemap(t *testing.T) {
	for _, tc := range []struct {
		r             Remap
		local, remote string // remote empty: not this rule's
	}{
		{Remap{"room1/#", "sensor/", "myhouse/"}, "sensor/room1/temperature", "myhouse/room1/temperature"},
		{Remap{"room1/#", "sensor/", "myhouse/"}, "sensor/room1", "myhouse/room1"},
		{Remap{"room1/#", "sensor/", "myhouse/"}, "sensor/room2/temperature", ""},
		{Remap{"room1/#", "sensor/", "myhouse/"}, "room1/temperature", ""},
		{Remap{"#", "", "site/gw1/"}, "a/b", "site/gw1/a/b"},
		{Remap{"#", "", "site/gw1/"}, "$SYS/broker/uptime", ""}, // [MQTT-4.7.2-1]
		{Remap{"#", "$SYS/", "gw1/sys/"}, "$SYS/broker/uptime", "gw1/sys/broker/uptime"},
		{Remap{"#", "sensor/", "myhouse/"}, "sensor", "myhouse"}, // '#' includes the parent
		{Remap{"#", "sensor/", ""}, "sensor", ""},                // which has no name there
		{Remap{"#", "sensor/", ""}, "sensor/$x/y", ""},           // would hide from "#" there
		{Remap{"+/state", "a/", "b/"}, "a/x/state", "b/x/state"},
		{Remap{"+/state", "a/", "b/"}, "a/x/y/state", ""},
		{Remap{"/#", "a", "b"}, "a/x", "b/x"},
		{Remap{"/#", "a", "b"}, "a", "b"},
		{Remap{"#", "", ""}, "a/b", "a/b"},
	} {
		if err := tc.r.Validate(); err != nil {
			t.Errorf("%+v: %v", tc.r, err)
		}
		got, ok := tc.r.Out(tc.local)
		if got != tc.remote || ok != (tc.remote != "") {
			t.Errorf("%+v: Out(%q) = %q, %v, want %q", tc.r, tc.local, got, ok, tc.remote)
		}
		if tc.remote == "" {
			continue
		}
		if got, ok := tc.r.In(tc.remote); !ok || got != tc.local {
			t.Errorf("%+v: In(%q) = %q, %v, want %q", tc.r, tc.remote, got, ok, tc.local)
		}
	}
}

func TestRemapInvalid(t *testing.T) {
	for _, r := range []Remap{
		{"#", "sensor", ""}, // "sensor#"
		{"+", "", "R"},      // "R+"
		{"a/#", "L/+/", ""}, // wildcard in a prefix
		{"a/#", "", "R/#/"}, //
		{"a/#/b", "", ""},   //
		{"a", "L\x00/", ""}, //
	} {
		if r.Validate() == nil {
			t.Errorf("%+v must be refused", r)
		}
	}
	long := Remap{"#", "", strings.Repeat("r", 60_000) + "/"}
	if got, ok := long.Out(strings.Repeat("a", 10_000)); ok {
		t.Errorf("a name of %d bytes cannot be sent [MQTT-4.7.3-3]", len(got))
	}
}

func FuzzRemap(f *testing.F) {
	f.Add("#", "L/", "R/", "L/a")
	f.Add("", "l", "r", "l")
	f.Add("/#", "a", "b", "a")
	f.Fuzz(func(t *testing.T, pattern, local, remote, name string) {
		r := Remap{pattern, local, remote}
		if r.Validate() != nil || ValidName(name) != nil {
			return
		}
		out, ok := r.Out(name)
		if ok != (naiveMatch(r.LocalFilter(), name) && ok) {
			t.Fatalf("%+v renames %q, which it does not select", r, name)
		}
		if !ok {
			return
		}
		if !naiveMatch(r.RemoteFilter(), out) {
			t.Fatalf("%+v: Out(%q) = %q is not in %q", r, name, out, r.RemoteFilter())
		}
		if back, ok := r.In(out); !ok || back != name {
			t.Fatalf("%+v: %q went out as %q and came back as %q, %v", r, name, out, back, ok)
		}
	})
}
