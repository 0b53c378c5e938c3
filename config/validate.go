package config

import (
	"fmt"
	"slices"
	"strings"
)

// derive fills in what depends on other values and was not written.
func (c *Config) derive() {
	for i := range c.Listeners {
		l := &c.Listeners[i]
		if !c.Written(fmt.Sprintf("listeners[%d].anonymous", i)) && !c.Written("auth.anonymous") {
			l.Anonymous = Loopback(l.Address) && c.UsersOf(*l) == "" && len(l.AuthMethods) == 0
		}
	}
	for i := range c.Lines {
		l := &c.Lines[i]
		if l.Direction == "out" && l.CommandTopic == "" && l.Topic != "" {
			l.CommandTopic = l.Topic + "/set"
		}
	}
	for i := range c.Bridges {
		r := &c.Bridges[i].RestartTimeout
		if !c.Written(fmt.Sprintf("bridges[%d].restart_timeout.cap", i)) {
			r.Cap = max(r.Cap, r.Base)
		}
		c.inheritQueues(i)
	}
}

// inheritQueues lets the queues of a bridge's topics take from the bridge's what
// they do not say.
func (c *Config) inheritQueues(i int) {
	b := &c.Bridges[i]
	for j := range b.Topics {
		q := b.Topics[j].Queue
		if q == nil {
			continue
		}
		written := func(key string) bool { return c.Written(fmt.Sprintf("bridges[%d].topics[%d].queue.%s", i, j, key)) }
		if !written("max_messages") {
			q.MaxMessages = b.Queue.MaxMessages
		}
		if !written("max_bytes") {
			q.MaxBytes = b.Queue.MaxBytes
		}
		if !written("max_age") {
			q.MaxAge = b.Queue.MaxAge
		}
		if !written("on_full") {
			q.OnFull = b.Queue.OnFull
		}
	}
}

// validate finds what no single value shows.
func (c *Config) validate() Errors {
	v := &validator{Config: c}
	v.listeners()
	v.http()
	v.sensors()
	v.lines()
	v.bridges()
	v.log()
	return v.errs
}

type validator struct {
	*Config
	errs Errors
}

func (v *validator) fail(path, remedy, format string, args ...any) {
	v.errs = append(v.errs, v.Errorf(path, remedy, format, args...))
}

// unique reports a value that an earlier entry of a list has too.
func (v *validator) unique(seen map[string]string, path, value, what string) {
	if first, ok := seen[value]; ok {
		v.fail(path, "give each its own", "%s %q is that of %s already", what, value, first)
		return
	}
	cut := strings.LastIndexByte(path, '.')
	seen[value] = path[:cut]
}

func (v *validator) listeners() {
	if len(v.Listeners) == 0 {
		v.fail("listeners", "add one, such as - address: 127.0.0.1:1883", "has no entries, so no client could connect")
	}
	seen := map[string]string{}
	for i, l := range v.Listeners {
		p := fmt.Sprintf("listeners[%d]", i)
		if l.Address == "off" {
			v.fail(p+".address", "remove the listener", "a listener cannot be off")
			continue
		}
		if !strings.HasSuffix(l.Address, ":0") {
			v.unique(seen, p+".address", l.Address, "the address")
		}
		unix := strings.HasPrefix(l.Address, "unix:")
		v.needs(p, "socket_mode", unix, "a unix: address")
		if unix && l.Interface != "" {
			v.fail(p+".interface", "remove it", "a Unix socket has no interface")
		}
		v.needs(p, "path", l.WebSocket, "websocket: true")
		v.needs(p, "origins", l.WebSocket, "websocket: true")
		v.needs(p, "forwarded_for", l.WebSocket, "websocket: true")
		v.needs(p, "proxy_identity", l.ProxyProtocol, "proxy_protocol: true")
		v.needs(p, "proxy_require_tls", l.ProxyProtocol, "proxy_protocol: true")
		if l.TLS != nil && l.ProxyIdentity != "none" {
			v.fail(p+".proxy_identity", "remove it, or set tls.identity instead", "TLS ends here, not at the proxy")
		}
		if len(l.AuthMethods) > 0 && v.Auth.ScramFile == "" {
			v.fail(p+".auth_methods", "set auth.scram_file, or remove it", "nobody could use an authentication method: there is no auth.scram_file")
		}
		v.tls(p+".tls", l.TLS)
		v.access(p, l)
	}
}

// needs reports a key that means nothing without another. One that says what
// would hold anyway is left in peace.
func (v *validator) needs(path, key string, ok bool, what string) {
	if !ok && v.changed[path+"."+key] {
		v.fail(path+"."+key, fmt.Sprintf("add %s or remove it", what), "has no effect without %s", what)
	}
}

// access holds the rule that the network finds no open door by accident, and
// that no door is one nobody can pass; Mosquitto has such doors, so what was
// converted from its configuration may.
func (v *validator) access(p string, l Listener) {
	byCert := l.TLS != nil && l.TLS.RequireClientCert || l.ProxyProtocol && l.ProxyIdentity != "none"
	if l.Anonymous || byCert || len(l.AuthMethods) > 0 || l.closed || l.MosquittoAnswers || v.UsersOf(l) != "" {
		return
	}
	if !Loopback(l.Address) {
		v.fail(p+".address", "set auth.password_file, or anonymous: true to let everyone in",
			"%q can be reached from the network and nobody would have to log in", l.Address)
		return
	}
	at := p + ".anonymous"
	if !v.Written(at) {
		at = "auth.anonymous"
	}
	v.fail(at, "set auth.password_file, or anonymous: true", "nobody could connect to %s: it is not anonymous and there are no users", l.Address)
}

func (v *validator) tls(p string, t *TLS) {
	if t == nil {
		return
	}
	if t.ClientCA == "" {
		v.needs(p, "require_client_cert", !t.RequireClientCert, "client_ca")
		v.needs(p, "identity", t.Identity == "none", "client_ca")
		v.needs(p, "crl", false, "client_ca")
	}
}

func (v *validator) http() {
	if !v.HTTP.Enabled() {
		return
	}
	v.tls("http.tls", v.HTTP.TLS)
	for i, l := range v.Listeners {
		if l.Address == v.HTTP.Address && !strings.HasSuffix(l.Address, ":0") {
			v.fail("http.address", "give each its own", "the address %q is that of listeners[%d] already", l.Address, i)
		}
	}
	if !Loopback(v.HTTP.Address) && !v.HTTP.Anonymous && v.Auth.PasswordFile == "" {
		v.fail("http.address", "set auth.password_file, or http.anonymous: true to let everyone in",
			"%q can be reached from the network and nobody would have to log in", v.HTTP.Address)
	}
	if v.HTTP.Debug && !Loopback(v.HTTP.Address) {
		v.fail("http.debug", "listen on 127.0.0.1 while you look for something, or leave it out",
			"profiles show what the process has in memory, and %q can be reached from the network", v.HTTP.Address)
	}
}

func (v *validator) sensors() {
	layers := map[string]string{}
	for i, m := range v.Muxes {
		v.unique(layers, fmt.Sprintf("muxes[%d].name", i), m.Name, "the name")
	}
	for i, e := range v.Expanders {
		v.unique(layers, fmt.Sprintf("expanders[%d].name", i), e.Name, "the name")
	}
	seen := map[string]string{}
	for i, s := range v.Sensors {
		v.unique(seen, fmt.Sprintf("sensors[%d].name", i), s.Name, "the name")
	}
	for i, f := range v.Board.Faults {
		p := fmt.Sprintf("board.faults[%d]", i)
		if _, ok := seen[f.Sensor]; !ok {
			v.fail(p+".sensor", "name one of sensors", "there is no sensor %q", f.Sensor)
		}
		if f.Chance < 0 || f.Chance > 1 {
			v.fail(p+".chance", "write a number from 0 to 1", "%v is no probability", f.Chance)
		}
	}
}

// Keys of a line that only an input, or only an output, has.
var (
	inputKeys  = []string{"pull", "debounce", "count", "every", "per_unit", "unit", "heartbeat"}
	outputKeys = []string{"command_topic", "initial", "fail_safe", "fail_after", "fail_bridge", "fail_bridge_after", "pulse", "max_on", "interlock", "settle"}
)

func (v *validator) lines() {
	names, wires, topics := map[string]string{}, map[string]string{}, map[string]string{}
	for i, l := range v.Lines {
		p := fmt.Sprintf("lines[%d]", i)
		v.unique(names, p+".name", l.Name, "the name")
		v.unique(wires, p+".line", l.Line, "the line")
		v.unique(topics, p+".topic", l.Topic, "the topic")
		foreign, other := outputKeys, "output"
		if l.Direction == "out" {
			foreign, other = inputKeys, "input"
		}
		for _, key := range foreign {
			if v.changed[p+"."+key] {
				v.fail(p+"."+key, "remove it, or change direction", "is for an %s only", other)
			}
		}
		if l.On == l.Off {
			v.fail(p+".on", "give each its own", "on and off have the same payload %q", l.On)
		}
		if l.Direction == "in" && l.Count == "" {
			for _, key := range []string{"every", "per_unit", "unit"} {
				v.needs(p, key, false, "count")
			}
		}
		if l.PerUnit <= 0 {
			v.fail(p+".per_unit", "write a number above 0", "%v is too small", l.PerUnit)
		}
		if l.Direction == "out" {
			v.needs(p, "fail_after", l.FailSafe != "", "fail_safe")
			v.needs(p, "fail_bridge", l.FailSafe != "", "fail_safe")
			v.needs(p, "fail_bridge_after", l.FailBridge != "", "fail_bridge")
			if l.FailBridge != "" && !slices.ContainsFunc(v.Bridges, func(b Bridge) bool { return b.Name == l.FailBridge }) {
				v.fail(p+".fail_bridge", "name one of bridges", "there is no bridge %q", l.FailBridge)
			}
			v.needs(p, "settle", l.Interlock != "", "interlock")
			if l.CommandTopic == l.Topic {
				v.fail(p+".command_topic", "give each its own", "the state and its command have the same topic %q", l.Topic)
			}
		}
	}
}

func (v *validator) bridges() {
	names, clients := map[string]string{}, map[string]string{}
	for i, b := range v.Bridges {
		p := fmt.Sprintf("bridges[%d]", i)
		v.unique(names, p+".name", b.Name, "the name")
		if b.LocalClientID != "" {
			v.unique(clients, p+".local_clientid", b.LocalClientID, "the client id")
		}
		if len(b.Addresses) == 0 {
			v.fail(p+".addresses", "write host:port", "is empty")
		}
		if len(b.Topics) == 0 {
			v.fail(p, "add topics: with a filter and a direction", "the bridge %q carries no topics", b.Name)
		}
		v.bridgeTLS(p, b)
		if b.Password != "" && b.Username == "" {
			v.fail(p+".password", "add username", "a password needs a user name") // [MQTT-3.1.2-22] in 3.1.1; nobody checks one without the other in 5
		}
		if r := b.RestartTimeout; r.Cap < r.Base {
			v.fail(p+".restart_timeout.cap", fmt.Sprintf("write %s or more", r.Base), "%s is below base", r.Cap)
		}
		v.needs(p, "notifications_local_only", b.Notifications, "notifications")
		v.needs(p, "notification_topic", b.Notifications, "notifications")
		for j, t := range b.Topics {
			if t.Filter == "" && (t.LocalPrefix == "" || t.RemotePrefix == "") {
				v.fail(fmt.Sprintf("%s.topics[%d]", p, j), "write a filter such as room1/#, or both prefixes", "the rule names no topics")
			}
			at := fmt.Sprintf("%s.topics[%d].queue", p, j)
			switch {
			case t.Queue == nil:
			case t.Direction == "in":
				v.fail(at, "remove queue, or let the topic go out", "only what goes out waits here")
			case t.QoS == 0:
				v.fail(at, "write qos: 1 or 2, or remove queue", "messages of QoS 0 do not wait")
			}
		}
	}
}

func (v *validator) bridgeTLS(p string, b Bridge) {
	for i, a := range b.Addresses {
		scheme, _, _ := strings.Cut(a, "://")
		if (scheme == "mqtt" || scheme == "ws") && b.TLS != nil {
			v.fail(fmt.Sprintf("%s.addresses[%d]", p, i), fmt.Sprintf("write %ss:// or remove tls", scheme), "%q is not encrypted although the bridge has tls", a)
		}
	}
	if b.TLS == nil {
		return
	}
	if (b.TLS.Cert == "") != (b.TLS.Key == "") {
		v.fail(p+".tls", "write both cert and key, or neither", "a client certificate needs its key, and the key its certificate")
	}
	if b.TLS.Insecure && b.TLS.CA != "" {
		v.fail(p+".tls.insecure", "remove insecure, or ca", "ca has no effect while any certificate is accepted")
	}
}

func (v *validator) log() {
	file := slices.Contains(v.Log.To, "file")
	if file && v.Log.File == "" {
		v.fail("log.to", "add log.file", "the destination file has no name")
	}
	v.needs("log", "file", file, "to: [file]")
	v.needs("log", "facility", slices.Contains(v.Log.To, "syslog"), "to: [syslog]")
	if slices.Contains(v.Log.To, "none") && len(v.Log.To) > 1 {
		v.fail("log.to", "write none alone, or leave it out", "none stands beside other destinations")
	}
}
