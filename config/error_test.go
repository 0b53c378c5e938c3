package config

import "testing"

// One wrong thing gives one sentence: where, what, what to do.
func TestMessages(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"unknown key", "gateway:\n  data_dri: /x\n", `g.yaml:2:3: unknown key "data_dri" in gateway; did you mean "data_dir"?`},
		{"unknown key at the top", "listener:\n  - address: x\n", `g.yaml:1:1: unknown key "listener" in the configuration; did you mean "listeners"?`},
		{"unknown key far from any", "gateway: {colour: red}\n", `g.yaml:1:11: unknown key "colour" in gateway; known are id, topics and data_dir`},
		{"unknown key in a list", "listeners:\n  - adress: 127.0.0.1:1883\n    address: 127.0.0.1:1884\n", `g.yaml:2:5: unknown key "adress" in listeners[0]; did you mean "address"?`},
		{"dash for underscore", "mqtt: {max-qos: 1}\n", `g.yaml:1:8: unknown key "max-qos" in mqtt; did you mean "max_qos"?`},
		{"no unit", "sensors: [{name: a, driver: b, every: 10}]\n", `g.yaml:1:39: sensors[0].every: "10" has no unit; write a number with a unit, such as 250ms, 10s, 5m, 2h or 1d`},
		{"not a duration", "sensors: [{name: a, driver: b, every: soon}]\n", `g.yaml:1:39: sensors[0].every: "soon" is not a duration; write a number with a unit, such as 250ms, 10s, 5m, 2h or 1d`},
		{"too small", "mqtt: {max_inflight_messages: 0}\n", `g.yaml:1:31: mqtt.max_inflight_messages: 0 is too small; write 1 or more`},
		{"too large", "mqtt: {max_qos: 3}\n", `g.yaml:1:17: mqtt.max_qos: 3 is too large; write 2 or less`},
		{"not a size", "mqtt: {max_packet_size: big}\n", `g.yaml:1:25: mqtt.max_packet_size: "big" is not a size; write a number of bytes, such as 512, 64kB or 2MB`},
		{"not a truth value", "auth: {anonymous: yes}\n", `g.yaml:1:19: auth.anonymous: "yes" is not a truth value; write true or false`},
		{"not a number", "mqtt: {max_qos: two}\n", `g.yaml:1:17: mqtt.max_qos: "two" is not a whole number; write a number from 0 to 2`},
		{"wrong word", "log: {level: inof}\n", `g.yaml:1:14: log.level: "inof" is not a value it can have; did you mean "info"?`},
		{"wrong word far from any", "board: raspberry\n", `g.yaml:1:8: board.kind: "raspberry" is not a value it can have; write auto, hardware, sim or none`},
		{"missing key", "sensors:\n  - name: a\n", `g.yaml:2:5: sensors[0]: driver is missing; add driver: …`},
		{"mapping for a list", "listeners: {address: x}\n", `g.yaml:1:1: listeners: needs a list, not a mapping; write - before each entry`},
		{"list for a value", "gateway: {id: [a, b]}\n", `g.yaml:1:15: gateway.id: needs a single value, not a list; write one value`},
		{"value for a mapping", "gateway: here\n", `g.yaml:1:10: gateway: needs keys, not a single value; write key: value below it`},
		{"no value", "gateway:\n  id:\n", `g.yaml:2:3: gateway.id: has no value; write one or remove the key`},
		{"empty tls", "listeners:\n  - address: 127.0.0.1:1883\n    tls:\n", `g.yaml:3:5: listeners[0].tls: has no value; write what belongs there or remove the key`},
		{"duplicate key", "log: {level: info}\nlog: {level: debug}\n", `g.yaml:2:1: mapping key "log" already defined at [1:1]; keep one of the two`},
		{"tab", "gateway:\n\tid: x\n", `g.yaml:2:1: this is not valid YAML: found character ' ' that cannot start any token`},
		{"two documents", "log: {level: info}\n---\nlog: {level: debug}\n", `g.yaml:3:4: a second YAML document begins here; keep one document a file and put more into conf.d/*.yaml`},
		{"unset variable", "gateway: {id: '${env:NOPE}'}\n", `g.yaml:1:15: gateway.id: the environment variable NOPE is not set; set it where gatewayd is started`},
		{"missing secret file", "gateway: {id: '${file:/no/such}'}\n", `g.yaml:1:15: gateway.id: /no/such does not exist; create the file or let gatewayd read it`},
		{"unknown reference", "gateway: {id: '${vault:x}'}\n", `g.yaml:1:15: gateway.id: ${vault:x} is not known; write ${env:NAME} or ${file:PATH}, or $${ for the characters themselves`},
		{"open reference", "gateway: {id: '${env:x'}\n", `g.yaml:1:15: gateway.id: "${env:x" has a ${ without }; close it, or write $${ for the characters themselves`},
		{"no port", "listeners: [{address: localhost}]\n", `g.yaml:1:23: listeners[0].address: "localhost" has no port; write host:port, :port for all interfaces, [v6]:port, or unix:/path`},
		{"port out of range", "listeners: [{address: '127.0.0.1:99999'}]\n", `g.yaml:1:23: listeners[0].address: "127.0.0.1:99999" has no valid port; ports go from 1 to 65535`},
		{"v6 without brackets", "listeners: [{address: '::1:1883'}]\n", `g.yaml:1:23: listeners[0].address: "::1:1883" is not an address; write an IPv6 address in brackets, such as [::1]:1883`},
		{"open door", "listeners:\n  - address: ':1883'\n", `g.yaml:2:14: listeners[0].address: ":1883" can be reached from the network and nobody would have to log in; set auth.password_file, or anonymous: true to let everyone in`},
		{"open http", "http: {address: ':8080'}\n", `g.yaml:1:17: http.address: ":8080" can be reached from the network and nobody would have to log in; set auth.password_file, or http.anonymous: true to let everyone in`},
		{"profiles for the network", "http: {address: ':8080', anonymous: true, debug: true}\n", `g.yaml:1:50: http.debug: profiles show what the process has in memory, and ":8080" can be reached from the network; listen on 127.0.0.1 while you look for something, or leave it out`},
		{"locked out", "auth: {anonymous: false}\nlisteners: [{address: '127.0.0.1:1883'}]\n", `g.yaml:1:19: auth.anonymous: nobody could connect to 127.0.0.1:1883: it is not anonymous and there are no users; set auth.password_file, or anonymous: true`},
		{"twice the same address", "listeners: [{address: '127.0.0.1:1883'}, {address: '127.0.0.1:1883'}]\n", `g.yaml:1:52: listeners[1].address: the address "127.0.0.1:1883" is that of listeners[0] already; give each its own`},
		{"http on a listener's port", "listeners: [{address: '127.0.0.1:8080'}]\n", `g.yaml: http.address: the address "127.0.0.1:8080" is that of listeners[0] already; give each its own`},
		{"path without websocket", "listeners: [{address: '127.0.0.1:1', path: /x}]\n", `g.yaml:1:44: listeners[0].path: has no effect without websocket: true; add websocket: true or remove it`},
		{"client certificates without authority", "listeners: [{address: '127.0.0.1:1', tls: {cert: a, key: b, require_client_cert: true}}]\n", `g.yaml:1:82: listeners[0].tls.require_client_cert: has no effect without client_ca; add client_ca or remove it`},
		{"twice the same name", "sensors: [{name: a, driver: x}, {name: a, driver: y}]\n", `g.yaml:1:40: sensors[1].name: the name "a" is that of sensors[0] already; give each its own`},
		{"wildcard in a topic", "sensors: [{name: a, driver: x, topic: 'a/+'}]\n", `g.yaml:1:39: sensors[0].topic: "a/+" is not a topic to publish to; leave out + and #`},
		{"name of several levels", "sensors: [{name: a/b, driver: x}]\n", `g.yaml:1:18: sensors[0].name: "a/b" cannot be one level of a topic; leave out / + and #`},
		{"output's key on an input", "lines: [{name: a, line: GPIO1, direction: in, topic: t, initial: 'on'}]\n", `g.yaml:1:66: lines[0].initial: is for an output only; remove it, or change direction`},
		{"input's key on an output", "lines: [{name: a, line: GPIO1, direction: out, topic: t, pull: up}]\n", `g.yaml:1:64: lines[0].pull: is for an input only; remove it, or change direction`},
		{"same payloads", "lines: [{name: a, line: GPIO1, direction: in, topic: t, on: '1', off: '1'}]\n", `g.yaml:1:61: lines[0].on: on and off have the same payload "1"; give each its own`},
		{"bridge without topics", "bridges:\n  - {name: a, addresses: [h:1883]}\n", `g.yaml:2:5: bridges[0]: the bridge "a" carries no topics; add topics: with a filter and a direction`},
		{"bridge without port", "bridges: [{name: a, addresses: [central.example], topics: [{filter: x}]}]\n", `g.yaml:1:33: bridges[0].addresses[0]: "central.example" has no port; write host:port, or a URL with mqtt, mqtts, ws or wss`},
		{"bridge with a strange scheme", "bridges: [{name: a, addresses: ['quic://h:1'], topics: [{filter: x}]}]\n", `g.yaml:1:33: bridges[0].addresses[0]: "quic://h:1" has the unknown scheme quic; write host:port, or a URL with mqtt, mqtts, ws or wss`},
		{"password in the address", "bridges: [{name: a, addresses: ['mqtt://u:p@h:1'], topics: [{filter: x}]}]\n", `g.yaml:1:33: bridges[0].addresses[0]: "mqtt://u:p@h:1" carries a user name; write username and password as keys of the bridge`},
		{"unencrypted although tls", "bridges: [{name: a, addresses: ['mqtt://h:1'], tls: {}, topics: [{filter: x}]}]\n", `g.yaml:1:33: bridges[0].addresses[0]: "mqtt://h:1" is not encrypted although the bridge has tls; write mqtts:// or remove tls`},
		{"password alone", "bridges: [{name: a, addresses: [h:1], password: x, topics: [{filter: x}]}]\n", `g.yaml:1:49: bridges[0].password: a password needs a user name; add username`},
		{"rule without topics", "bridges: [{name: a, addresses: [h:1], topics: [{local_prefix: x}]}]\n", `g.yaml:1:48: bridges[0].topics[0]: the rule names no topics; write a filter such as room1/#, or both prefixes`},
		{"cap below base", "bridges: [{name: a, addresses: [h:1], restart_timeout: {base: 10s, cap: 5s}, topics: [{filter: x}]}]\n", `g.yaml:1:73: bridges[0].restart_timeout.cap: 5s is below base; write 10s or more`},
		{"log file without a name", "log: {to: [file]}\n", `g.yaml:1:11: log.to: the destination file has no name; add log.file`},
		{"filter of two keys", "sensors: [{name: a, driver: x, filters: {t: [{offset: 1, scale: 2}]}}]\n", `g.yaml:1:46: sensors[0].filters.t[0]: is not a filter; write {name: argument}, such as {offset: -0.4}, one for each step`},
		{"unknown alias", "gateway: *x\n", `g.yaml:1:10: alias *x has no anchor before it; write &x where the value stands first`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Parse("g.yaml", []byte(tc.text), Options{Environment: env(nil, nil)})
			if err == nil {
				t.Fatalf("no error, want\n%s", tc.want)
			}
			if err.Error() != tc.want {
				t.Errorf("got\n%s\nwant\n%s", err, tc.want)
			}
		})
	}
}

func TestAllFaultsAreReportedInOrder(t *testing.T) {
	_, err := Parse("g.yaml", []byte("log: {level: x}\ngateway: {idd: y}\nmqtt: {max_qos: 9}\n"), Options{Environment: env(nil, nil)})
	all, ok := err.(Errors)
	if !ok || len(all) != 3 {
		t.Fatalf("got %v, want three faults", err)
	}
	for i, e := range all {
		if e.Pos.Line != i+1 {
			t.Errorf("fault %d is at line %d: %v", i, e.Pos.Line, e)
		}
	}
}

func TestMissingFile(t *testing.T) {
	_, err := Load("/no/gatewayd.yaml", Options{Environment: env(nil, nil)})
	if want := "/no/gatewayd.yaml: the configuration does not exist; name an existing file with --config"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestAnchors(t *testing.T) {
	c := parse(t, "sensors:\n  - &base {name: a, driver: bme280, every: 5s}\n  - {<<: *base, name: b}\n")
	if len(c.Sensors) != 2 || c.Sensors[1].Name != "b" || c.Sensors[1].Driver != "bme280" || c.Sensors[1].Every != c.Sensors[0].Every {
		t.Errorf("sensors %+v", c.Sensors)
	}
}

// A few lines of aliases must not become gigabytes.
func TestAliasBomb(t *testing.T) {
	text := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for i := 'b'; i < 'l'; i++ {
		text += string(i) + ": &" + string(i) + " ["
		for range 10 {
			text += "*" + string(i-1) + ","
		}
		text += "]\n"
	}
	if _, err := Parse("g.yaml", []byte(text), Options{Environment: env(nil, nil)}); err == nil {
		t.Error("an alias bomb was accepted")
	}
}
