package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// What Mosquitto's parser reads, is read: it takes the first word of a truth
// value or number, the rest of the line of a text, and a comment where only
// words are expected.
func TestMosquittoLines(t *testing.T) {
	c, notes := convert(t, "2.0", conf("\ufeff# begins with a mark of order\r\n"+
		"  listener 1884 127.0.0.1 # on this machine\r\n"+
		"\tallow_anonymous\ttrue # everybody\r\n"+
		" # an indented comment\r\n"+
		"\r\n"+
		"max_queued_messages   70 # seventy\r\n"+
		"sys_interval 30s\r\n"+
		"log_type error # only\r\n"+
		"connection c # the centre\r\n"+
		"address h k:1884 # two of them\r\n"+
		"remote_username user name  \r\n"+
		"remote_password p\tq # r\r\n"+
		"restart_timeout 7 # constant\r\n"+
		"start_type once # or lazy\r\n"+
		"listener 0 /run/m.sock # between\r\n"+
		"topic a/# out 1 # the connection goes on\r\n"))
	l := c.Listeners[0]
	if l.Address != "127.0.0.1:1884" || !l.Anonymous || c.MQTT.MaxQueuedMessages != 70 || c.MQTT.SysInterval.D() != 30*time.Second || c.Log.Level != "error" {
		t.Errorf("%+v %+v %+v", l, c.MQTT, c.Log)
	}
	if c.Listeners[1].Address != "unix:/run/m.sock" {
		t.Errorf("second listener %s", c.Listeners[1].Address)
	}
	b := c.Bridges[0]
	if b.Name != "c" || !slices.Equal(b.Addresses, []string{"h:1883", "k:1884"}) || b.Username != "user name" || b.Password.Reveal() != "p\tq # r" ||
		b.RestartTimeout.Base.D() != 7*time.Second || b.RestartTimeout.Cap.D() != 7*time.Second || b.StartType != "once" || len(b.Topics) != 1 || b.Topics[0].Filter != "a/#" {
		t.Errorf("%+v", b)
	}
	if !slices.ContainsFunc(notes, func(n Note) bool { return n.Option == "sys_interval" && strings.Contains(n.Text, "is read as 30") }) {
		t.Errorf("nothing about 30s in %v", notes)
	}
}

// The same text is another number to 2.1, or none.
func TestMosquittoNumbers(t *testing.T) {
	for _, tc := range []struct {
		version, text string
		want          int
		ok            bool
	}{
		{"2.0", "12", 12, true}, {"2.0", "-3", -3, true}, {"2.0", "+3", 3, true}, {"2.0", "010", 10, true}, {"2.0", "5x", 5, true},
		{"2.0", "x", 0, false}, {"2.0", "", 0, false}, {"2.0", "-", 0, false}, {"2.0", "99999999999999999999", 1<<31 - 1, true},
		{"2.1", "12", 12, true}, {"2.1", "0x10", 16, true}, {"2.1", "010", 8, true}, {"2.1", "5x", 0, false},
	} {
		m := &mosquitto{version: tc.version}
		if got, ok := m.integer(tc.text); ok != tc.ok || ok && got != tc.want {
			t.Errorf("%s: %q is %d, %v; want %d, %v", tc.version, tc.text, got, ok, tc.want, tc.ok)
		}
	}
}

// Files of include_dir come in Mosquitto's order, each outside of every listener
// and connection, and the main file goes on where it was.
func TestMosquittoIncludes(t *testing.T) {
	files := conf("listener 1883 127.0.0.1\ninclude_dir /etc/mosquitto/conf.d\nmount_point main/\n")
	for _, n := range []string{"b", "A", "01", "a", "B", "00"} {
		files["/etc/mosquitto/conf.d/"+n+".conf"] = "websockets_origin " + n + "\n"
	}
	files["/etc/mosquitto/conf.d/01.conf"] = "listener 1884 127.0.0.1\nmount_point one/\n"
	files["/etc/mosquitto/conf.d/b.conf"] = "port 1885\nmax_connections 3\n"
	c, _ := convert(t, "2.0", files)
	got := map[string]string{}
	for _, l := range c.Listeners {
		got[l.Address] = l.MountPoint
	}
	if len(got) != 3 || got["127.0.0.1:1883"] != "main/" || got["127.0.0.1:1884"] != "one/" || got[":1885"] != "" {
		t.Errorf("listeners and mount points %v", got)
	}
	if l := c.Listeners[0]; l.Address != ":1885" || l.MaxConnections != 3 || !slices.Equal(l.Origins, []string{"00", "A", "a", "B"}) {
		t.Errorf("the default listener has %+v", l)
	}
	names := []string{"b.conf", "A.conf", "01.conf", "a.conf", "B.conf", "00.conf", "aB.conf", "Aa.conf"}
	slices.SortFunc(names, mosquittoOrder)
	if want := []string{"00.conf", "01.conf", "A.conf", "Aa.conf", "a.conf", "aB.conf", "B.conf", "b.conf"}; !slices.Equal(names, want) {
		t.Errorf("order %v, want %v", names, want)
	}
}

// A listener's option above every listener is named, and opens nothing.
func TestMosquittoEarlyOptions(t *testing.T) {
	c, notes := convert(t, "2.0", conf("max_connections 5\n"))
	if c.Listeners[0].Address != "127.0.0.1:1883" || c.Listeners[0].MaxConnections != 5 || len(notes) == 0 || !notes[0].Lost {
		t.Errorf("%+v %v", c.Listeners, notes)
	}
	c, notes = convert(t, "2.0", conf("require_certificate true\nlistener 8883\n"))
	if len(c.Listeners) != 1 || !slices.ContainsFunc(notes, func(n Note) bool { return n.Option == "require_certificate" && n.Lost && n.Pos.Line == 1 }) {
		t.Errorf("%+v %v", c.Listeners, notes)
	}
	if _, notes = convert(t, "2.0", conf("port 1883\nmax_connections 5\n")); slices.ContainsFunc(notes, func(n Note) bool { return n.Lost }) {
		t.Errorf("%v", notes)
	}
}

// What an older version took for absent options.
func TestMosquittoOlderDefaults(t *testing.T) {
	text := conf("listener 1883\nconnection c\naddress h\ntopic # out\n")
	for version, want := range map[string]struct {
		check bool
		base  time.Duration
		proto string
	}{
		"1.4": {false, 30 * time.Second, "mqttv31"}, "1.5": {true, 30 * time.Second, "mqttv311"}, "1.6": {true, 5 * time.Second, "mqttv311"},
		"2.0": {true, 5 * time.Second, "mqttv311"}, "2.1": {true, 5 * time.Second, "mqttv311"},
	} {
		c, _ := convert(t, version, text)
		b := c.Bridges[0]
		if c.MQTT.CheckRetainSource != want.check || b.RestartTimeout.Base.D() != want.base || b.RestartTimeout.Cap.D() != 30*time.Second || b.Protocol != want.proto {
			t.Errorf("%s: check_retain_source %v, restart %v, %s", version, c.MQTT.CheckRetainSource, b.RestartTimeout, b.Protocol)
		}
	}
}

// What Mosquitto refuses, is refused, at its place.
func TestMosquittoRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"listener 1883\nsocket_domain ipv5\n":      `mosquitto.conf:2: socket_domain: there is no socket domain "ipv5"`,
		"listener 1883\nenable_proxy_protocol 3\n": `mosquitto.conf:2: enable_proxy_protocol: 3 is out of range`,
		"listener 1883\nprotocol mqttsn\n":         `mosquitto.conf:2: protocol: there is no protocol "mqttsn"`,
		"log_type warnings\n":                      `mosquitto.conf:1: log_type: there is no log type "warnings"; did you mean "warning"?`,
		"listener 0\n":                             `mosquitto.conf:1: listener: has port 0 and no path`,
		"connection c\nrestart_timeout #\n":        `mosquitto.conf:2: restart_timeout: has no value`,
	} {
		_, _, err := LoadMosquitto("/etc/mosquitto/mosquitto.conf", "", Options{Environment: env(conf(text), nil)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q gives\n%v\nwant\n%s", text, err, want)
		}
	}
}

// The files that Debian's package installs are read, and every option that its
// example explains is known.
func TestMosquittoOfDebian(t *testing.T) {
	const installed, example = "/etc/mosquitto/mosquitto.conf", "/usr/share/doc/mosquitto/examples/mosquitto.conf"
	text, err := os.ReadFile(example)
	if err != nil {
		t.Skip("Debian's mosquitto is not installed")
	}
	c, notes, err := LoadMosquitto(example, "2.0", Options{})
	if err != nil || len(c.Listeners) != 1 || c.Listeners[0].Address != "127.0.0.1:1883" || len(notes) > 0 {
		t.Errorf("%s: %v %v", example, err, notes)
	}
	if _, err := os.Stat(installed); err == nil {
		c, notes, err := LoadMosquitto(installed, "2.0", Options{})
		if err != nil || !c.Store.Persistence || slices.ContainsFunc(notes, func(n Note) bool { return n.Lost }) {
			t.Errorf("%s: %v %v", installed, err, notes)
		}
	}
	file := filepath.Join(t.TempDir(), "mosquitto.conf")
	for _, line := range strings.Split(string(text), "\n") {
		name := firstWord(strings.TrimPrefix(line, "#"))
		if !strings.HasPrefix(line, "#") || name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz_0123456789.") != "" {
			continue
		}
		if !strings.Contains(name, "_") && !slices.Contains(mosquittoNames(), name) { // prose
			continue
		}
		if err := os.WriteFile(file, []byte("listener 1883\nconnection c\naddress h\ntopic # out\n"+line[1:]+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, notes, _ := LoadMosquitto(file, "2.0", Options{})
		for _, n := range notes {
			if strings.Contains(n.Text, "unknown option") {
				t.Errorf("%q of the example is %s", line, n)
			}
		}
	}
}

// Where a proxy ends TLS, the user name comes from the certificate it saw.
func TestMosquittoProxyIdentity(t *testing.T) {
	c, _ := convert(t, "2.1", conf("listener 1883\nenable_proxy_protocol 2\nuse_identity_as_username true\nproxy_protocol_v2_require_tls true\n"))
	if l := c.Listeners[0]; !l.ProxyProtocol || l.ProxyIdentity != "cn" || !l.ProxyRequireTLS {
		t.Errorf("%+v", l)
	}
}

// With per_listener_settings a password or ACL file is the listener's own, a
// listener without has none, and nothing is left to be named.
func TestMosquittoFilesOfAListener(t *testing.T) {
	c, notes := convert(t, "2.0", conf("per_listener_settings true\nlistener 1883 127.0.0.1\nallow_anonymous true\nlistener 8883\npassword_file /p\nacl_file /a\n"+
		"listener 8884\npassword_file /q\nlistener 8885\n"))
	for _, n := range notes {
		if n.Lost {
			t.Errorf("line %d is named: %v", n.Pos.Line, n)
		}
	}
	if c.Auth.PasswordFile != "" || c.Auth.ACLFile != "" {
		t.Errorf("files for all: %+v", c.Auth)
	}
	want := []struct {
		users, rights string
		anonymous     bool
	}{{"", "", true}, {"/p", "/a", false}, {"/q", "", false}, {"", "", false}}
	for i, w := range want {
		if l := c.Listeners[i]; c.UsersOf(l) != w.users || c.RightsOf(l) != w.rights || l.Anonymous != w.anonymous {
			t.Errorf("listener %s: users %q, rights %q, anonymous %v", l.Address, l.PasswordFile, l.ACLFile, l.Anonymous)
		}
	}
	// Without it there can be one, for all.
	c, _ = convert(t, "2.0", conf("listener 1883\npassword_file /p\nlistener 8883\n"))
	if c.Auth.PasswordFile != "/p" || c.Listeners[0].PasswordFile != "" {
		t.Errorf("%+v", c.Auth)
	}
}
