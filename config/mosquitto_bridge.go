package config

import (
	"fmt"
	"net"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// mosquittoBridge is a connection block with what decides late.
type mosquittoBridge struct {
	Bridge
	pos          Position
	psk          bool
	tls          bool
	localClean   *bool
	positions    []Position // of the topics
	cafile, path string
	client       ClientTLS
	sessionSet   bool
	minVersion   bool
}

// bridgeOption wraps what needs a connection before it.
func bridgeOption(f func(m *mosquitto, b *mosquittoBridge, value string)) func(*mosquitto, string) {
	return func(m *mosquitto, value string) {
		if m.bridge < 0 {
			m.fail("put it below a connection line", "belongs to no bridge")
			return
		}
		f(m, &m.bridges[m.bridge], value)
	}
}

func bridgeText(field func(*mosquittoBridge) *string) func(*mosquitto, string) {
	return bridgeOption(func(_ *mosquitto, b *mosquittoBridge, v string) { *field(b) = v })
}

func bridgeTruth(field func(*mosquittoBridge) *bool) func(*mosquitto, string) {
	return bridgeOption(func(m *mosquitto, b *mosquittoBridge, v string) {
		if t, ok := m.truth(v); ok {
			*field(b) = t
		}
	})
}

func bridgeNumber(low, high int, field func(*mosquittoBridge) *int) func(*mosquitto, string) {
	return bridgeOption(func(m *mosquitto, b *mosquittoBridge, v string) {
		if n, ok := m.number(v, -1<<30, high); ok {
			*field(b) = max(n, low)
		}
	})
}

func bridgeTime(unit time.Duration, low int, field func(*mosquittoBridge) *Duration) func(*mosquitto, string) {
	return bridgeOption(func(m *mosquitto, b *mosquittoBridge, v string) {
		if n, ok := m.number(v, -1<<30, 1<<30); ok { // below low Mosquitto takes low
			*field(b) = Duration(time.Duration(max(n, low)) * unit)
		}
	})
}

func bridgeWord(field func(*mosquittoBridge) *string, words map[string]string) func(*mosquitto, string) {
	return bridgeOption(func(m *mosquitto, b *mosquittoBridge, v string) {
		w, ok := words[v]
		if !ok {
			var known []string
			for k := range words {
				known = append(known, k)
			}
			m.fail(didYouMean(v, known), "%q is not a value it can have", v)
			return
		}
		*field(b) = w
	})
}

var mosquittoBridgeOptions = map[string]func(*mosquitto, string){
	"connection": (*mosquitto).newBridge,
	"address":    bridgeOption((*mosquitto).bridgeAddresses),
	"addresses":  bridgeOption((*mosquitto).bridgeAddresses),
	"topic":      bridgeOption((*mosquitto).bridgeTopic),
	"start_type": bridgeWord(func(b *mosquittoBridge) *string { return &b.StartType },
		map[string]string{"automatic": "automatic", "lazy": "lazy", "once": "once", "manual": "manual"}),
	"bridge_protocol_version": bridgeWord(func(b *mosquittoBridge) *string { return &b.Protocol },
		map[string]string{"mqttv31": "mqttv31", "mqttv311": "mqttv311", "mqttv50": "mqttv5"}),
	"bridge_reload_type": bridgeWord(func(b *mosquittoBridge) *string { return &b.ReloadType },
		map[string]string{"lazy": "lazy", "immediate": "immediate"}),
	"restart_timeout":          bridgeOption((*mosquitto).restartTimeout),
	"threshold":                bridgeNumber(1, 1<<30, func(b *mosquittoBridge) *int { return &b.Threshold }),
	"idle_timeout":             bridgeTime(time.Second, 1, func(b *mosquittoBridge) *Duration { return &b.IdleTimeout }),
	"keepalive_interval":       bridgeTime(time.Second, 5, func(b *mosquittoBridge) *Duration { return &b.Keepalive }),
	"cleansession":             bridgeTruth(func(b *mosquittoBridge) *bool { return &b.CleanSession }),
	"round_robin":              bridgeTruth(func(b *mosquittoBridge) *bool { return &b.RoundRobin }),
	"try_private":              bridgeTruth(func(b *mosquittoBridge) *bool { return &b.TryPrivate }),
	"notifications":            bridgeTruth(func(b *mosquittoBridge) *bool { return &b.Notifications }),
	"notifications_local_only": bridgeTruth(func(b *mosquittoBridge) *bool { return &b.NotificationsLocalOnly }),
	"notification_topic":       bridgeText(func(b *mosquittoBridge) *string { return &b.NotificationTopic }),
	"clientid":                 bridgeText(func(b *mosquittoBridge) *string { return &b.ClientID }),
	"remote_clientid":          bridgeText(func(b *mosquittoBridge) *string { return &b.ClientID }),
	"username":                 bridgeText(func(b *mosquittoBridge) *string { return &b.Username }),
	"remote_username":          bridgeText(func(b *mosquittoBridge) *string { return &b.Username }),
	"password":                 bridgeOption(func(_ *mosquitto, b *mosquittoBridge, v string) { b.Password = Secret(v) }),
	"remote_password":          bridgeOption(func(_ *mosquitto, b *mosquittoBridge, v string) { b.Password = Secret(v) }),
	"local_clientid":           bridgeText(func(b *mosquittoBridge) *string { return &b.LocalClientID }),
	"local_username":           lost("the bridge has all rights here; let the ACL of the other broker bound what it sends"),
	"local_password":           because("a bridge is inside the gateway and needs no password here"),
	"local_cleansession": bridgeOption(func(m *mosquitto, b *mosquittoBridge, v string) {
		if t, ok := m.truth(v); ok {
			b.localClean = &t
		}
	}),
	"bridge_attempt_unsubscribe": bridgeTruth(func(b *mosquittoBridge) *bool { return &b.AttemptUnsubscribe }),
	"bridge_outgoing_retain":     bridgeTruth(func(b *mosquittoBridge) *bool { return &b.OutgoingRetain }),
	"bridge_bind_address":        bridgeText(func(b *mosquittoBridge) *string { return &b.BindAddress }),
	"bridge_max_packet_size": bridgeOption(func(m *mosquitto, b *mosquittoBridge, v string) {
		if n, ok := m.number(v, 0, 268_435_460); ok {
			b.MaxPacketSize = Size(n)
		}
	}),
	"bridge_max_topic_alias": bridgeNumber(0, 65535, func(b *mosquittoBridge) *int { return &b.MaxTopicAlias }),
	"bridge_receive_maximum": bridgeNumber(1, 65535, func(b *mosquittoBridge) *int { return &b.ReceiveMaximum }),
	"bridge_session_expiry_interval": bridgeOption(func(m *mosquitto, b *mosquittoBridge, v string) {
		const forever = 1<<32 - 1 // seconds; more than an int holds on 32-bit boards
		n, err := strconv.ParseUint(v, 10, 32)
		if err != nil {
			m.fail(fmt.Sprintf("write a number of seconds from 0 to %d", uint32(forever)), "%q is not one", v)
		} else {
			b.SessionExpiry, b.sessionSet = Duration(time.Duration(n)*time.Second), n > 0
			if n == forever {
				b.SessionExpiry = 0
			}
		}
	}),
	"bridge_tcp_keepalive": bridgeOption(func(m *mosquitto, b *mosquittoBridge, v string) {
		parts := strings.Fields(v)
		if n, ok := m.number(parts[0], 1, 1<<20); ok {
			b.TCPKeepalive = Duration(time.Duration(n) * time.Second)
		}
		if len(parts) > 1 {
			m.note(false, "the interval and count of probes are the system's")
		}
	}),
	"bridge_tcp_user_timeout": bridgeTime(time.Millisecond, 0, func(b *mosquittoBridge) *Duration { return &b.TCPUserTimeout }),
	// TLS
	"bridge_cafile":   bridgeOption(func(m *mosquitto, b *mosquittoBridge, v string) { b.cafile, b.tls = m.path(v), true }),
	"bridge_capath":   bridgeOption(func(m *mosquitto, b *mosquittoBridge, v string) { b.path, b.tls = m.path(v), true }),
	"bridge_certfile": bridgeOption(func(m *mosquitto, b *mosquittoBridge, v string) { b.client.Cert = m.path(v) }),
	"bridge_keyfile":  bridgeOption(func(m *mosquitto, b *mosquittoBridge, v string) { b.client.Key = m.path(v) }),
	"bridge_alpn":     bridgeOption(func(_ *mosquitto, b *mosquittoBridge, v string) { b.client.ALPN = []string{v} }),
	"bridge_insecure": bridgeOption(func(m *mosquitto, b *mosquittoBridge, v string) {
		if t, ok := m.truth(v); ok && t {
			b.client.Insecure = true
			m.note(false, "any certificate is accepted: encrypted, but by anyone")
		}
	}),
	"bridge_tls_use_os_certs": bridgeOption(func(m *mosquitto, b *mosquittoBridge, v string) {
		if t, ok := m.truth(v); ok && t {
			b.client.SystemRoots, b.tls = true, true
		}
	}),
	"bridge_tls_version": bridgeOption(func(m *mosquitto, b *mosquittoBridge, v string) {
		version := strings.TrimPrefix(v, "tlsv")
		if version != "1.2" && version != "1.3" {
			m.note(true, "%s is not safe; TLS 1.2 is the oldest", v)
			return
		}
		b.client.MinVersion, b.minVersion = version, true
	}),
	"bridge_ciphers":        because("only safe cipher suites are offered"),
	"bridge_ciphers_tls1.3": because("TLS 1.3 has safe cipher suites only"),
	"bridge_require_ocsp":   lostWhenTrue("stapled OCSP answers are not demanded"),
	"bridge_identity":       bridgeOption((*mosquitto).bridgePreShared),
	"bridge_psk":            bridgeOption((*mosquitto).bridgePreShared),
}

func (m *mosquitto) newBridge(name string) {
	b := mosquittoBridge{pos: m.pos}
	setDefaults(reflect.ValueOf(&b.Bridge).Elem())
	setDefaults(reflect.ValueOf(&b.client).Elem())
	b.Name = strings.NewReplacer("/", "-", "+", "-", "#", "-").Replace(name)
	b.Profile = "generic"
	b.Protocol = "mqttv311"
	if m.older("1.5") {
		b.Protocol = "mqttv31"
	}
	if m.older("1.6") { // jitter came with 1.6
		b.RestartTimeout.Base, b.RestartTimeout.Cap = Duration(30*time.Second), Duration(30*time.Second)
	}
	b.ClientID = hostname() + "." + name
	m.bridges = append(m.bridges, b)
	m.bridge = len(m.bridges) - 1
}

func (m *mosquitto) bridgeAddresses(b *mosquittoBridge, value string) {
	for _, a := range words(value) {
		if !strings.Contains(a, ":") {
			a = net.JoinHostPort(a, "1883")
		} else if i := strings.LastIndexByte(a, ':'); strings.Count(a, ":") > 1 && !strings.HasPrefix(a, "[") {
			a = net.JoinHostPort(a[:i], a[i+1:]) // IPv6, whose last part is the port
		}
		if problem, remedy := checkRemote(a); problem != "" {
			m.fail(remedy, "%q %s", a, problem)
			return
		}
		b.Addresses = append(b.Addresses, a)
	}
}

// bridgeTopic is "topic pattern [[[out|in|both] qos] local-prefix [remote-prefix]]".
func (m *mosquitto) bridgeTopic(b *mosquittoBridge, value string) {
	filter, rest, ok := quotedTopic(value)
	if !ok {
		m.fail("close it", "a quote is open")
		return
	}
	words := append([]string{filter}, strings.Fields(rest)...)
	for i, w := range words[1:] { // a comment
		if w[0] == '#' {
			words = words[:i+1]
			break
		}
	}
	empty := func(s string) string {
		if s == `""` {
			return ""
		}
		return s
	}
	t := Topic{Direction: "out", Retain: "keep", Filter: empty(words[0])}
	if len(words) > 1 {
		switch d := strings.ToLower(words[1]); d {
		case "out", "in", "both":
			t.Direction = d
		default:
			m.fail("write out, in or both", "%q is no direction", words[1])
			return
		}
	}
	if len(words) > 2 {
		n, ok := m.number(words[2], 0, 2)
		if !ok {
			return
		}
		t.QoS = n
	}
	if len(words) > 3 {
		t.LocalPrefix = empty(words[3])
	}
	if len(words) > 4 {
		t.RemotePrefix = empty(words[4])
	}
	if len(words) > 5 {
		m.fail("write topic, direction, qos, local prefix, remote prefix", "has more than five parts")
		return
	}
	b.Topics = append(b.Topics, t)
	b.positions = append(b.positions, m.pos)
}

// quotedTopic splits off the pattern, which stands in quotes when it has a
// space in it.
func quotedTopic(value string) (pattern, rest string, ok bool) {
	if !strings.HasPrefix(value, `"`) || strings.HasPrefix(value, `""`) {
		pattern, rest, _ = strings.Cut(value, " ")
		return pattern, rest, true
	}
	return strings.Cut(value[1:], `"`)
}

// restartTimeout is "base cap [stable]" or a constant.
func (m *mosquitto) restartTimeout(b *mosquittoBridge, value string) {
	var out []Duration
	for _, w := range words(value) {
		n, ok := m.number(w, -1<<30, 1<<30)
		if !ok {
			return
		}
		out = append(out, Duration(time.Duration(min(max(n, 1), 7200))*time.Second))
	}
	if len(out) == 0 {
		m.fail("write its value or remove the line", "has no value")
		return
	}
	r := &b.RestartTimeout
	r.Base, r.Cap = out[0], out[0]
	if len(out) > 1 {
		r.Cap = max(out[1], r.Base)
	}
	if len(out) > 2 {
		r.Stable = out[2]
	}
}

func (m *mosquitto) bridgePreShared(b *mosquittoBridge, _ string) {
	b.psk = true
	m.note(true, "there are no pre-shared keys: use certificates; the bridge %s is left out", b.Name)
}

func (m *mosquitto) finishBridges() {
	for _, b := range m.bridges {
		if b.psk {
			continue
		}
		path := fmt.Sprintf("bridges[%d]", len(m.c.Bridges))
		m.c.positions[path], m.pos, m.option = b.pos, b.pos, "connection"
		for i, p := range b.positions {
			m.c.positions[fmt.Sprintf("%s.topics[%d]", path, i)] = p
		}
		if b.tls || b.client.Cert != "" {
			b.client.CA = b.cafile
			if b.cafile == "" {
				b.client.CA = b.path
			}
			if b.client.Insecure {
				b.client.CA = ""
			}
			b.TLS = &b.client
		} else if b.client.Insecure || b.client.Key != "" || len(b.client.ALPN) > 0 || b.minVersion {
			m.note(true, "its TLS options have no effect, as with Mosquitto: without bridge_cafile, bridge_capath or bridge_tls_use_os_certs it is not encrypted")
		}
		if b.Password.Reveal() != "" && b.Username == "" {
			m.note(true, "a password without a user name is not sent, as with Mosquitto: write remote_username")
			b.Password = ""
		}
		// As in Mosquitto, what waits for the other side is bounded by count and
		// the newest goes.
		b.LocalCleanSession = b.CleanSession
		if b.localClean != nil {
			b.LocalCleanSession = *b.localClean
		}
		if b.LocalCleanSession && carriesAcknowledged(b.Topics) {
			m.note(false, "messages of QoS 1 and 2 are lost while the bridge is away, as with Mosquitto; cleansession false keeps them")
		}
		b.Queue.MaxMessages, b.Queue.OnFull = m.queued, "drop_newest"
		b.Queue.MaxBytes = m.c.MQTT.MaxQueuedBytes
		if b.Protocol == "mqttv5" && !b.sessionSet && !b.CleanSession {
			m.note(false, "the other broker keeps the session while the bridge is away; with Mosquitto's default of bridge_session_expiry_interval 0 it would forget it")
		}
		m.c.Bridges = append(m.c.Bridges, b.Bridge)
	}
}

func carriesAcknowledged(topics []Topic) bool {
	for _, t := range topics {
		if t.QoS > 0 {
			return true
		}
	}
	return false
}
