package config

import (
	"fmt"
	"net"
	"reflect"
	"strconv"
	"strings"
)

// newListener is "listener port [bind address/host/unix socket path]".
func (m *mosquitto) newListener(value string) {
	parts := append(words(value), "", "")
	number, ok := m.number(parts[0], 0, 65535)
	if !ok {
		return
	}
	if number == 0 && parts[1] == "" {
		m.fail("write the path of a Unix socket behind it", "has port 0 and no path")
		return
	}
	l := mosquittoListener{pos: m.pos, port: strconv.Itoa(number), host: parts[1]}
	setDefaults(reflect.ValueOf(&l.Listener).Elem())
	l.Limits = m.c.MQTT.Limits
	m.listeners = append(m.listeners, l)
	m.listener = len(m.listeners) - 1 // a connection above it goes on
}

func (m *mosquitto) protocol(value string) {
	l := m.current()
	switch value {
	case "mqtt":
	case "websockets":
		l.WebSocket = true
	case "http_api":
		l.api = true
		m.note(true, "use gatewayd's own HTTP server: http.address")
	default:
		m.fail("write mqtt or websockets", "there is no protocol %q", value)
	}
}

func (m *mosquitto) socketDomain(value string) {
	if value != "ipv4" && value != "ipv6" {
		m.fail("write ipv4 or ipv6", "there is no socket domain %q", value)
		return
	}
	m.current().domain = value
}

func (m *mosquitto) proxyProtocol(value string) {
	if _, ok := m.number(value, 1, 2); ok {
		m.current().ProxyProtocol = true
		m.note(false, "PROXY headers of version 1 and 2 are both understood")
	}
}

func (m *mosquitto) keyForm(value string) {
	if value == "engine" {
		m.note(true, "keys are read from PEM files")
	}
}

func identity(what string) func(*mosquitto, string) {
	return func(m *mosquitto, value string) {
		if v, ok := m.truth(value); ok && v {
			m.current().identity = what
		}
	}
}

func (m *mosquitto) tlsVersion(value string) {
	v := strings.TrimPrefix(value, "tlsv")
	if v != "1.2" && v != "1.3" {
		m.note(true, "%s is not safe; TLS 1.2 is the oldest", value)
		v = "1.2"
	}
	m.current().tls = v
}

func (m *mosquitto) preShared(string) {
	m.current().psk = true
	m.note(true, "there are no pre-shared keys: use certificates; the listener is left out")
}

// finishListeners decides what depends on several lines.
func (m *mosquitto) finishListeners() {
	g := &m.c.MQTT.Limits
	if g.MaxKeepalive == 0 { // Mosquitto's "no bound"
		g.MaxKeepalive = 65535
	}
	g.MaxKeepalive = max(g.MaxKeepalive, 10)
	if g.MaxPacketSize == 0 {
		g.MaxPacketSize = 268_435_460
	}
	all := m.listeners
	if m.ports || len(all) == 0 {
		first := m.general
		if first.port == "" {
			first.port = "1883"
		}
		if !m.ports && !m.older("2.0") && len(m.listeners) == 0 { // 2.0 and later open nothing to the network unasked
			first.host = "localhost"
			if m.anonymous == nil && m.c.UsersOf(first.Listener) == "" {
				first.anonymous = new(true)
			}
		}
		all = append([]mosquittoListener{first}, all...)
	}
	if !m.ports { // Mosquitto opens port 1883 on every interface for them
		for _, e := range m.early {
			m.option, m.pos = e.option, e.pos
			switch {
			case len(m.listeners) > 0:
				m.note(true, "it stands before the first listener and holds for none of them: put it below the one it is for, or write \"listener 1883\" above it")
			case !m.older("2.0"):
				m.note(true, "for it Mosquitto opens port 1883 to the network: write \"listener 1883\" above it if that is wanted; here the port stays on this machine")
			}
		}
	}
	for _, l := range all {
		if l.psk || l.api {
			continue
		}
		m.addListener(l)
	}
}

func (m *mosquitto) addListener(l mosquittoListener) {
	path := fmt.Sprintf("listeners[%d]", len(m.c.Listeners))
	at := l.pos
	if at.IsZero() && len(m.c.files) > 0 {
		at = Position{File: m.c.files[0]}
	}
	m.c.positions[path], m.c.positions[path+".address"] = at, at
	m.pos, m.option = at, "listener"
	out := l.Listener
	switch {
	case l.port == "0" && l.host != "":
		out.Address = "unix:" + l.host
		out.SocketMode = "0666" // as Mosquitto makes them, less the umask
	case l.host == "localhost":
		out.Address = "127.0.0.1:" + l.port
		if l.domain == "ipv6" {
			out.Address = "[::1]:" + l.port
		}
	case l.host != "":
		out.Address = net.JoinHostPort(strings.Trim(l.host, "[]"), l.port)
	case l.domain == "ipv4":
		out.Address = "0.0.0.0:" + l.port
	case l.domain == "ipv6":
		out.Address = "[::]:" + l.port
	default:
		out.Address = ":" + l.port
	}
	if problem, remedy := checkAddress(out.Address); problem != "" {
		m.fail(remedy, "%q %s", out.Address, problem)
		return
	}
	if l.WebSocket {
		out.Path = "/"
	}
	if l.ProxyProtocol && l.cert == "" && l.identity != "" {
		out.ProxyIdentity = l.identity // the proxy says whose certificate it saw
	}
	m.limits(&out.Limits, l)
	m.listenerTLS(&out, l, path)
	switch {
	case l.anonymous != nil:
		out.Anonymous = *l.anonymous
	case m.anonymous != nil:
		out.Anonymous = *m.anonymous
	default:
		out.Anonymous = m.older("2.0") && m.c.UsersOf(out) == ""
	}
	m.c.byName[path+".anonymous"] = true
	if out.Anonymous && !Loopback(out.Address) {
		m.note(false, "everyone who reaches %s may log in without a password, as with Mosquitto", out.Address)
	}
	out.closed = true // Mosquitto starts with a listener that lets nobody in
	if !out.Anonymous && m.c.UsersOf(out) == "" && (out.TLS == nil || !out.TLS.RequireClientCert) {
		m.note(false, "nobody can connect to %s: there is neither allow_anonymous nor a password_file, as with Mosquitto", out.Address)
	}
	m.c.Listeners = append(m.c.Listeners, out)
}

// limits takes what Mosquitto has once for all listeners from where it was
// collected, wherever it stood in the file.
func (m *mosquitto) limits(out *Limits, l mosquittoListener) {
	own := *out
	*out = m.c.MQTT.Limits
	out.MountPoint, out.MaxQoS, out.UseUsernameAsClientID = own.MountPoint, own.MaxQoS, own.UseUsernameAsClientID
	out.MaxTopicAlias, out.MaxTopicAliasBroker, out.AcceptProtocolVersions = own.MaxTopicAlias, own.MaxTopicAliasBroker, own.AcceptProtocolVersions
	if l.zeroLength != nil {
		out.AllowZeroLengthClientID = *l.zeroLength
	}
	if l.idPrefix != nil {
		out.AutoIDPrefix = *l.idPrefix
	}
}

func (m *mosquitto) listenerTLS(out *Listener, l mosquittoListener, path string) {
	if l.cert == "" {
		return
	}
	out.TLS = &TLS{}
	setDefaults(reflect.ValueOf(out.TLS).Elem())
	out.TLS.Cert, out.TLS.Key = l.cert, l.key
	if out.TLS.Chain = l.cafile; l.cafile == "" {
		out.TLS.Chain = l.capath
	}
	m.c.positions[path+".tls"] = l.tlsPos
	if l.tls != "" {
		out.TLS.MinVersion = l.tls
	}
	if l.requireCert {
		out.TLS.ClientCA = l.cafile
		if l.cafile == "" {
			out.TLS.ClientCA = l.capath
		}
		out.TLS.RequireClientCert = true
		out.TLS.CRL = l.crl
		if l.identity != "" {
			out.TLS.Identity = l.identity
		}
	}
}
