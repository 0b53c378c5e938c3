package config

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func convert(t *testing.T, version string, files map[string]string) (*Config, []Note) {
	t.Helper()
	c, notes, err := LoadMosquitto("/etc/mosquitto/mosquitto.conf", version, Options{Environment: env(files, nil)})
	if err != nil {
		t.Fatal(err)
	}
	return c, notes
}

func conf(text string) map[string]string {
	return map[string]string{"/etc/mosquitto/mosquitto.conf": text}
}

// What is absent means what that version meant.
func TestMosquittoDefaults(t *testing.T) {
	for _, tc := range []struct {
		version, address string
		anonymous        bool
		queued           int
		packet           Size
	}{
		{"1.6", ":1883", true, 100, 268_435_460},
		{"2.0", "127.0.0.1:1883", true, 1000, 268_435_460},
		{"2.1", "127.0.0.1:1883", true, 1000, 2_000_000},
	} {
		c, _ := convert(t, tc.version, conf("# nothing\n"))
		l := c.Listeners[0]
		if len(c.Listeners) != 1 || l.Address != tc.address || l.Anonymous != tc.anonymous || c.MQTT.MaxQueuedMessages != tc.queued || l.MaxPacketSize != tc.packet {
			t.Errorf("%s: %d listeners, %s, anonymous %v, queued %d, packet %s", tc.version, len(c.Listeners), l.Address, l.Anonymous, c.MQTT.MaxQueuedMessages, l.MaxPacketSize)
		}
		if c.MQTT.QueueFull != "drop_newest" || c.MQTT.MaxInflightMessages != 20 || c.Store.Persistence || c.Board.Kind != "none" || c.HTTP.Enabled() {
			t.Errorf("%s: %+v %+v", tc.version, c.MQTT, c.Store)
		}
	}
}

func TestMosquittoBroker(t *testing.T) {
	files := conf(`
per_listener_settings false
persistence true
persistence_location /var/lib/mosquitto/
max_queued_messages 5000
max_inflight_messages 0
persistent_client_expiration 2w
retain_expiry_interval 90
sys_interval 30
log_dest file /var/log/mosquitto/mosquitto.log
log_dest stdout
log_type error
log_type warning
password_file passwd
acl_file /etc/mosquitto/acl

listener 1883 127.0.0.1
max_connections -1
listener 8883
certfile /c/server.crt
keyfile /c/server.key
cafile /c/ca.crt
require_certificate true
use_identity_as_username true
tls_version tlsv1.3
max_keepalive 600
listener 9001
protocol websockets
socket_domain ipv4
listener_allow_anonymous true
listener 0 /run/mosquitto.sock
include_dir /etc/mosquitto/conf.d
`)
	files["/etc/mosquitto/conf.d/20.conf"] = "max_packet_size 1000\n"
	files["/etc/mosquitto/conf.d/10.conf"] = "max_packet_size 5000\n"
	files["/etc/mosquitto/conf.d/no.txt"] = "nonsense\n"
	files["/etc/mosquitto/passwd"] = ""
	c, notes := convert(t, "2.0", files)
	var addresses []string
	for _, l := range c.Listeners {
		addresses = append(addresses, l.Address)
		if l.MaxPacketSize != 1000 || l.MaxKeepalive != 600 {
			t.Errorf("%s: packet size %d, keep alive %d: those are once for all listeners", l.Address, l.MaxPacketSize, l.MaxKeepalive)
		}
	}
	if want := []string{"127.0.0.1:1883", ":8883", "0.0.0.0:9001", "unix:/run/mosquitto.sock"}; !slices.Equal(addresses, want) {
		t.Errorf("listeners %v, want %v", addresses, want)
	}
	if l := c.Listeners[1]; l.TLS == nil || l.TLS.ClientCA != "/c/ca.crt" || !l.TLS.RequireClientCert || l.TLS.Identity != "cn" || l.TLS.MinVersion != "1.3" || l.Anonymous {
		t.Errorf("TLS listener %+v %+v", l, l.TLS)
	}
	if l := c.Listeners[2]; !l.WebSocket || !l.Anonymous {
		t.Errorf("WebSocket listener %+v", l)
	}
	m := c.MQTT
	if m.MaxQueuedMessages != 5000 || m.MaxInflightMessages != 65535 || m.PersistentClientExpiration.D() != 14*24*time.Hour ||
		m.RetainExpiryInterval.D() != 90*time.Minute || m.SysInterval.D() != 30*time.Second {
		t.Errorf("mqtt %+v", m)
	}
	if c.Auth.PasswordFile != "/etc/mosquitto/passwd" || c.Auth.ACLFile != "/etc/mosquitto/acl" {
		t.Errorf("auth %+v", c.Auth)
	}
	if !c.Store.Persistence || c.Gateway.DataDir != "/var/lib/mosquitto/gatewayd" || !slices.Equal(c.Log.To, []string{"file", "stderr"}) || c.Log.Level != "warn" {
		t.Errorf("store %v in %s, log %+v", c.Store.Persistence, c.Gateway.DataDir, c.Log)
	}
	if len(notes) == 0 || notes[0].Pos.Line == 0 {
		t.Errorf("notes %v", notes)
	}
}

func TestMosquittoBridge(t *testing.T) {
	c, notes := convert(t, "2.0", conf(`
connection centre
address central.example:8883 backup.example
bridge_cafile /c/ca.crt
bridge_protocol_version mqttv50
remote_clientid gw7
remote_username u
remote_password p#w
restart_timeout 10 60
keepalive_interval 3
cleansession false
notifications_local_only true
topic room1/# both 2 sensor/ myhouse/
topic "a b/#" in 1 "" remote/
topic # out 0 # all of it
connection old
address 10.0.0.1
cleansession true
topic x/# out 1
`))
	if len(c.Bridges) != 2 {
		t.Fatalf("%d bridges", len(c.Bridges))
	}
	b := c.Bridges[0]
	if !slices.Equal(b.Addresses, []string{"central.example:8883", "backup.example:1883"}) || b.TLS == nil || b.TLS.CA != "/c/ca.crt" ||
		b.Protocol != "mqttv5" || b.ClientID != "gw7" || b.Username != "u" || b.Password.Reveal() != "p#w" ||
		b.RestartTimeout.Base.D() != 10*time.Second || b.RestartTimeout.Cap.D() != time.Minute || b.Keepalive.D() != 5*time.Second || !b.NotificationsLocalOnly {
		t.Errorf("bridge %+v", b)
	}
	want := []Topic{
		{Filter: "room1/#", Direction: "both", QoS: 2, LocalPrefix: "sensor/", RemotePrefix: "myhouse/", Retain: "keep"},
		{Filter: "a b/#", Direction: "in", QoS: 1, RemotePrefix: "remote/", Retain: "keep"},
		{Filter: "#", Direction: "out", Retain: "keep"},
	}
	if !reflect.DeepEqual(b.Topics, want) {
		t.Errorf("topics %+v", b.Topics)
	}
	if b.Queue.MaxMessages != 1000 || b.Queue.OnFull != "drop_newest" {
		t.Errorf("queue %+v", b.Queue)
	}
	old := c.Bridges[1]
	if !old.CleanSession || !old.LocalCleanSession || !strings.HasSuffix(old.ClientID, ".old") || old.Protocol != "mqttv311" {
		t.Errorf("bridge %+v", old)
	}
	if !slices.ContainsFunc(notes, func(n Note) bool { return strings.Contains(n.Text, "are lost while the bridge is away") }) {
		t.Errorf("no warning of lost messages in %v", notes)
	}
	if p := c.Pos("bridges[0].topics[1].filter"); p.Line != 14 {
		t.Errorf("position of the second rule %v", p)
	}
}

// A listener that lets nobody in is one, as with Mosquitto, and is named.
func TestMosquittoClosedListener(t *testing.T) {
	c, notes := convert(t, "2.0", conf("listener 1883\nmessage_size_limit 500\n"))
	if c.Listeners[0].Anonymous || c.Listeners[0].MaxMessageSize != 500 || !c.MQTT.MosquittoAnswers || c.Gateway.Topics {
		t.Errorf("%+v", c.Listeners[0])
	}
	if !slices.ContainsFunc(notes, func(n Note) bool { return strings.Contains(n.Text, "nobody can connect") }) {
		t.Errorf("notes %v", notes)
	}
}

// What cannot be carried over is named, and never leaves a door open.
func TestMosquittoLosses(t *testing.T) {
	c, notes := convert(t, "2.0", conf(`
listener 1883 127.0.0.1
allow_anonymous true
listener 8884
psk_hint hello
psk_file /x
listener 9090
protocol http_api
plugin /usr/lib/mosquitto_dynamic_security.so
plugin_opt_config_file /x.json
dhparamfile /x
nosuch_option 1
allow_annonymous true
connection secret
address h
bridge_psk 00ff
topic # out
`))
	if len(c.Listeners) != 1 || len(c.Bridges) != 0 {
		t.Errorf("%d listeners and %d bridges, want those with pre-shared keys left out", len(c.Listeners), len(c.Bridges))
	}
	var got []string
	for _, n := range notes {
		lost := "  "
		if n.Lost {
			lost = "! "
		}
		got = append(got, lost+n.Option)
	}
	want := []string{"! psk_hint", "! psk_file", "! protocol", "! plugin", "! plugin_opt_config_file", "  dhparamfile", "! nosuch_option", "! allow_annonymous", "! bridge_psk"}
	if !slices.Equal(got, want) {
		t.Errorf("notes %q, want %q", got, want)
	}
	if !strings.Contains(notes[7].String(), `/etc/mosquitto/mosquitto.conf:13: allow_annonymous: not carried over: unknown option; did you mean "allow_anonymous"?`) {
		t.Errorf("got %s", notes[7])
	}
}

func TestMosquittoFaults(t *testing.T) {
	for text, want := range map[string]string{
		"max_qos 3\n":         `/etc/mosquitto/mosquitto.conf:1: max_qos: 3 is out of range; write a number from 0 to 2`,
		"persistence maybe\n": `/etc/mosquitto/mosquitto.conf:1: persistence: "maybe" is not a truth value; write true or false`,
		"topic a/# out\n":     `/etc/mosquitto/mosquitto.conf:1: topic: belongs to no bridge; put it below a connection line`,
		"connection a\naddress h\ntopic a/# sideway\n": `/etc/mosquitto/mosquitto.conf:3: topic: "sideway" is no direction; write out, in or both`,
		"connection a\naddress h:x\ntopic a/# out\n":   `/etc/mosquitto/mosquitto.conf:2: address: "h:x" has no valid port; ports go from 1 to 65535`,
		"max_inflight_messages\n":                      `/etc/mosquitto/mosquitto.conf:1: max_inflight_messages: has no value; write its value or remove the line`,
	} {
		_, _, err := LoadMosquitto("/etc/mosquitto/mosquitto.conf", "", Options{Environment: env(conf(text), nil)})
		if err == nil || err.Error() != want {
			t.Errorf("%q gives\n%v\nwant\n%s", text, err, want)
		}
	}
}

// What convert writes is a configuration that means the same.
func TestMosquittoWrites(t *testing.T) {
	c, _ := convert(t, "2.0", conf("listener 1883\nallow_anonymous true\nmax_packet_size 5000\nconnection c\naddress h:1884\nremote_username u\nremote_password \"p\ntopic # both 1 a/ b/\n"))
	again := parse(t, string(c.Write()))
	if string(again.Show()) != string(c.Show()) {
		t.Errorf("%s\nreads as\n%s\nwant\n%s", c.Write(), again.Show(), c.Show())
	}
}

func FuzzMosquitto(f *testing.F) {
	f.Add("listener 1883\nallow_anonymous true\nconnection c\naddress h\ntopic \"a b\" both 1 \"\" x/\n")
	f.Add("persistent_client_expiration 3\nrestart_timeout 1 2 3\nbridge_tcp_keepalive 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, _, err := LoadMosquitto("/m.conf", "", Options{Environment: env(map[string]string{"/m.conf": text}, nil)})
		if err != nil {
			return
		}
		o := Options{Environment: env(nil, nil)}
		if _, err := Parse("g.yaml", c.Write(), o); err != nil {
			t.Fatalf("%q becomes\n%s\nwhich does not read: %v", text, c.Write(), err)
		}
	})
}
