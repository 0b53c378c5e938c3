package config

import (
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// env is an environment made of maps.
func env(files map[string]string, vars map[string]string) Environment {
	return Environment{
		LookupEnv: func(name string) (string, bool) { v, ok := vars[name]; return v, ok },
		ReadFile: func(path string) ([]byte, error) {
			if text, ok := files[path]; ok {
				return []byte(text), nil
			}
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		},
		ReadDir: func(dir string) ([]string, error) {
			var names []string
			for path := range files {
				if filepath.Dir(path) == dir {
					names = append(names, filepath.Base(path))
				}
			}
			return names, nil
		},
	}
}

func parse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse("gatewayd.yaml", []byte(text), Options{Environment: env(nil, nil)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestBuiltInDefault(t *testing.T) {
	c, err := Load("", Options{Environment: env(nil, nil)})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range c.Listeners {
		got = append(got, l.Address)
		if !l.Anonymous || !Loopback(l.Address) {
			t.Errorf("%s: anonymous %v, want an open listener on loopback", l.Address, l.Anonymous)
		}
	}
	if want := []string{"127.0.0.1:1883", "127.0.0.1:8083"}; !slices.Equal(got, want) {
		t.Errorf("listeners %v, want %v", got, want)
	}
	if c.HTTP.Address != "127.0.0.1:8080" || c.Board.Kind != "auto" || c.Gateway.DataDir != "data" {
		t.Errorf("http %q, board %q, data %q", c.HTTP.Address, c.Board.Kind, c.Gateway.DataDir)
	}
	if len(c.Sensors) != 1 || c.Sensors[0].Topic != "room1/{quantity}" || c.Sensors[0].Driver != "bme280" {
		t.Errorf("sensors %+v", c.Sensors)
	}
	if len(c.Lines) != 2 || c.Lines[1].CommandTopic != "hall/lamp/set" || c.Lines[0].Debounce.D() != 20*time.Millisecond {
		t.Errorf("lines %+v", c.Lines)
	}
}

// The example of the documentation must be understood as it stands there.
func TestContractExample(t *testing.T) {
	c := parse(t, `
gateway:
  id: gw-hall                 # default: board serial, else host name
  data_dir: /var/lib/gatewayd
listeners:
  - address: 127.0.0.1:1883
  - address: ":8883"
    tls: {cert: server.crt, key: server.key, client_ca: ca.crt, require_client_cert: true, identity: cn}
  - {address: "127.0.0.1:8083", websocket: true}
  - {address: ":8084", websocket: true, tls: {cert: server.crt, key: server.key}}
  - {address: "unix:/run/gatewayd/mqtt.sock"}
http: {address: "127.0.0.1:8080"}
auth: {anonymous: false, password_file: passwd, acl_file: acl}
board: auto
sensors:
  - name: room1
    driver: bme280
    bus: i2c-1
    address: 0x76
    every: 10s
    topic: "sensor/room1/{quantity}"
    qos: 1
    retain: true
    format: plain             # plain: the number alone
    filters:
      temperature: [{offset: -0.4}, {median: 5}, {delta: 0.1}, {heartbeat: 5m}]
lines:
  - {name: door, line: GPIO17, direction: in, pull: up, active: low, debounce: 20ms, topic: hall/door}
  - {name: lamp, line: GPIO27, direction: out, topic: hall/lamp, command_topic: hall/lamp/set, initial: "off"}
log: {level: info, format: text, to: [stderr]}   # also file, syslog, journal, topic
bridges:
  - name: centre
    addresses: ["central.example:8883", "backup.example:8883"]
    protocol: auto            # auto | mqttv5 | mqttv311 | mqttv31
    topics:
      - {filter: "room1/#", direction: both, qos: 2, local_prefix: "sensor/", remote_prefix: "myhouse/"}
`)
	if got := c.Sensors[0].Address; got != "0x76" {
		t.Errorf("address %q, want it as written", got)
	}
	f := c.Sensors[0].Filters["temperature"]
	want := []Filter{{"offset", -0.4}, {"median", 5}, {"delta", 0.1}, {"heartbeat", "5m"}}
	if !slices.Equal(f, want) {
		t.Errorf("filters %#v, want %#v", f, want)
	}
	if l := c.Listeners[1]; l.TLS == nil || l.TLS.Identity != "cn" || l.Anonymous {
		t.Errorf("listener 1: %+v", l)
	}
	if tp := c.Bridges[0].Topics[0]; tp.Direction != "both" || tp.QoS != 2 || tp.LocalPrefix != "sensor/" {
		t.Errorf("rule %+v", tp)
	}
	if p := c.Pos("bridges[0].topics[0].filter"); p.Line != 36 || p.Column != 18 {
		t.Errorf("position of the filter %v", p)
	}
}

func TestListenersInheritLimits(t *testing.T) {
	c := parse(t, `
mqtt: {max_topic_alias: 5, max_qos: 1}
listeners:
  - address: 127.0.0.1:1883
  - {address: "127.0.0.1:1884", max_qos: 2, max_packet_size: 1MiB}
`)
	a, b := c.Listeners[0], c.Listeners[1]
	if a.MaxTopicAlias != 5 || b.MaxTopicAlias != 5 || a.MaxQoS != 1 || b.MaxQoS != 2 {
		t.Errorf("inherited %+v and %+v", a.Limits, b.Limits)
	}
	if a.MaxPacketSize != 2e6 || b.MaxPacketSize != 1<<20 {
		t.Errorf("packet sizes %v and %v", a.MaxPacketSize, b.MaxPacketSize)
	}
}

func TestConfD(t *testing.T) {
	files := map[string]string{
		"/etc/g/gatewayd.yaml":     "gateway: {id: one, data_dir: /d}\nlog: {to: [stderr, syslog]}\nsensors:\n  - {name: a, driver: bme280, every: 5s}\n",
		"/etc/g/conf.d/20-b.yaml":  "gateway: {id: three}\nsensors:\n  - {name: a, every: 7s}\n  - {name: b, driver: ds18b20}\nauth: {password_file: passwd}\n",
		"/etc/g/conf.d/10-a.yaml":  "gateway: {id: two}\nlog: {to: journal}\n",
		"/etc/g/conf.d/.swp.yaml":  "rubbish: 1\n",
		"/etc/g/conf.d/notes.txt":  "rubbish: 1\n",
		"/etc/g/conf.d/99-bad.yml": "rubbish: 1\n",
	}
	c, err := Load("/etc/g/gatewayd.yaml", Options{Environment: env(files, nil)})
	if err != nil {
		t.Fatal(err)
	}
	if c.Gateway.ID != "three" || c.Gateway.DataDir != "/d" {
		t.Errorf("gateway %+v, want the last id and the first folder", c.Gateway)
	}
	if len(c.Sensors) != 2 || c.Sensors[0].Every.D() != 7*time.Second || c.Sensors[0].Driver != "bme280" || c.Sensors[1].Name != "b" {
		t.Errorf("sensors %+v", c.Sensors)
	}
	if !slices.Equal(c.Log.To, []string{"journal"}) {
		t.Errorf("log.to %v, want words replaced", c.Log.To)
	}
	if c.Auth.PasswordFile != "/etc/g/conf.d/passwd" {
		t.Errorf("password file %q, want it beside the file that names it", c.Auth.PasswordFile)
	}
	if p := c.Pos("sensors[0].every"); p.File != "/etc/g/conf.d/20-b.yaml" || p.Line != 3 {
		t.Errorf("position %v", p)
	}
}

func TestReferences(t *testing.T) {
	files := map[string]string{"/etc/g/secret": "s3cret\n", "/run/x": "abs"}
	c, err := Parse("/etc/g/gatewayd.yaml", []byte(`
gateway: {id: "${env:ID}-x"}
bridges:
  - {name: c, addresses: "${env:HOST}:1883", username: u, password: "${file:secret}", keepalive: "${env:KA}", topics: [{filter: "a/$${b}"}]}
`), Options{Environment: env(files, map[string]string{"ID": "gw", "HOST": "h", "KA": "30s"})})
	if err != nil {
		t.Fatal(err)
	}
	b := c.Bridges[0]
	if c.Gateway.ID != "gw-x" || b.Password.Reveal() != "s3cret" || b.Addresses[0] != "h:1883" || b.Keepalive.D() != 30*time.Second || b.Topics[0].Filter != "a/${b}" {
		t.Errorf("%+v %q", c.Gateway, b.Password.Reveal())
	}
	shown := string(c.Show())
	if strings.Contains(shown, "s3cret") || !strings.Contains(shown, "${file:secret}") {
		t.Errorf("show must name the reference and not the secret:\n%s", shown)
	}
}

func TestOverrides(t *testing.T) {
	c, err := Parse("g.yaml", []byte("listeners:\n  - {address: '127.0.0.1:8083', websocket: true}\n  - address: '[::1]:1883'\n"),
		Options{Environment: env(nil, nil), Port: 2883, DataDir: "/x", Board: "sim"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Listeners[1].Address != "[::1]:2883" || c.Gateway.DataDir != "/x" || c.Board.Kind != "sim" {
		t.Errorf("%v %v %v", c.Listeners[1].Address, c.Gateway.DataDir, c.Board.Kind)
	}
	if _, err := Load("", Options{Environment: env(nil, map[string]string{"STATE_DIRECTORY": "/var/lib/g:/other"})}); err != nil {
		t.Fatal(err)
	} else if c, _ := Load("", Options{Environment: env(nil, map[string]string{"STATE_DIRECTORY": "/var/lib/g:/other"})}); c.Gateway.DataDir != "/var/lib/g" {
		t.Errorf("data folder %q, want systemd's", c.Gateway.DataDir)
	}
}

// What Show prints is a configuration, and the same one.
func TestShowRoundTrip(t *testing.T) {
	for _, text := range []string{
		string(builtIn),
		"auth: {password_file: p}\nmqtt: {max_queued_messages: 7, mount_point: 'a/', max_packet_size: 1MiB}\nlisteners: [{address: ':1883', tls: {cert: a, key: b}}]\n" +
			"sensors: [{name: s, driver: x, address: 0x76, options: {a: [1, 2.5, 'on', true], b: {c: '7'}}, filters: {'*': [{range: [-40, 85]}, {rate: {max: 2, per: 1m}}]}}]\n" +
			"bridges: [{name: b, addresses: [h:1], restart_timeout: 40s, history_rate: 600/m, topics: [{filter: '#', direction: in}], tls: {insecure: true}}]\n",
	} {
		a := parse(t, text)
		b := parse(t, string(a.Show()))
		if string(a.Show()) != string(b.Show()) {
			t.Errorf("show of\n%s\nread again gives\n%s", a.Show(), b.Show())
		}
		w := parse(t, string(a.Write()))
		if string(w.Show()) != string(a.Show()) {
			t.Errorf("write gave\n%s\nwhich is\n%s\nbut it was\n%s", a.Write(), w.Show(), a.Show())
		}
	}
}

func TestSecretsAreMasked(t *testing.T) {
	c := parse(t, `
bridges:
  - {name: c, addresses: h:1883, username: u, password: hunter2, proxy: "http://me:hunter2@proxy:3128", topics: [{filter: "a"}]}
`)
	if s := string(c.Show()); strings.Contains(s, "hunter2") || !strings.Contains(s, masked) {
		t.Errorf("shown:\n%s", s)
	}
	if s := string(c.Write()); !strings.Contains(s, "password: hunter2") {
		t.Errorf("written:\n%s", s)
	}
}

func TestValues(t *testing.T) {
	for text, want := range map[string]time.Duration{"0": 0, "250ms": 250e6, "10s": 10e9, "1h30m": 90 * 60e9, "2d": 48 * 3600e9, "1w": 168 * 3600e9, "1.5s": 15e8, "50us": 50e3, "50µs": 50e3} {
		if got, err := ParseDuration(text); err != nil || got.D() != want {
			t.Errorf("%q = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "10", "-5s", "5x", "s", "1s2", "99999999999w", "1..5s"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("%q = %v, want an error", text, got)
		}
	}
	for text, want := range map[string]Size{"0": 0, "512": 512, "2MB": 2e6, "64kB": 64e3, "1GiB": 1 << 30, "1.5 kB": 1500} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("%q = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "MB", "-1", "2Mb", "99999999999TB"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("%q = %v, want an error", text, got)
		}
	}
	for _, d := range []Duration{0, 1e6, 1e9, 90e9, 3600e9, 86400e9, 7 * 86400e9, 1500e6} {
		if got, err := ParseDuration(d.String()); err != nil || got != d {
			t.Errorf("%v read again is %v, %v", d, got, err)
		}
	}
	for _, z := range []Size{0, 1, 1000, 1024, 2e6, 1 << 20, 268435460} {
		if got, err := parseSize(z.String()); err != nil || got != z {
			t.Errorf("%v read again is %v, %v", z, got, err)
		}
	}
}
