package bridge

import (
	"fmt"
	"net"
	"slices"
	"strings"

	"gatewayd/topic"
)

// linter gathers what the centre will not take.
type linter struct {
	o    Options
	d    demands
	said []string
}

func (l *linter) say(format string, args ...any) {
	if s := fmt.Sprintf(format, args...); !slices.Contains(l.said, s) {
		l.said = append(l.said, s)
	}
}

// Lint says what of the options the centre will not take, one sentence each.
func Lint(o Options) []string {
	l := &linter{o: o, d: o.Profile.demands()}
	if o.LocalUsername != "" {
		l.say("local_username %q has no effect: a bridge has all rights here, its rules are its bounds", o.LocalUsername)
	}
	l.client()
	l.session()
	for _, a := range o.Addresses {
		if addr, err := parseAddress(a, o); err == nil {
			l.address(addr)
		}
	}
	inward, acks := 0, 0
	for _, r := range o.Rules {
		if r.inward() {
			inward++
			acks++
			if strings.HasSuffix(r.remap().RemoteFilter(), "#") {
				acks++
			}
		}
		l.rule(r)
	}
	if l.d.filters > 0 && inward > l.d.filters {
		l.say("%d rules come in, and %s takes %d subscriptions a connection", inward, o.Profile, l.d.filters)
	}
	if o.Profile == NATS && acks > natsSubscriptions {
		l.say("%d subscriptions, those that end in # counted twice: %s allows %d at its default max_ack_pending of 1024", acks, o.Profile, natsSubscriptions)
	}
	return l.said
}

// natsSubscriptions is how many subscriptions have room in the 65,535 messages
// that NATS lets a session have unacknowledged, at 1024 each.
const natsSubscriptions = 63

func (l *linter) client() {
	o, d := l.o, l.d
	switch {
	case d.clientIDBytes > 0 && len(o.ClientID) > d.clientIDBytes:
		l.say("client id %q is longer than the %d bytes %s takes", o.ClientID, d.clientIDBytes, o.Profile)
	case o.Profile == AWS && strings.HasPrefix(o.ClientID, "$"):
		l.say("client id %q begins with $, which %s keeps for itself", o.ClientID, o.Profile)
	}
	if d.needName && o.Username == "" {
		l.say("%s wants the client's authentication name as username", o.Profile)
	}
	if o.Profile == NATS && o.Password != nil && o.Username == "" {
		l.say("%s takes a token in the password only with a username, which may be any", o.Profile)
	}
	if d.protocol != Auto && o.Protocol != Auto && o.Protocol != d.protocol || d.needTLS && o.Protocol == Only31 {
		l.say("%s speaks another protocol version than the one set", o.Profile)
	}
}

func (l *linter) session() {
	o, d := l.o, l.d
	if d.maxKeepalive > 0 && o.Keepalive > d.maxKeepalive {
		l.say("keepalive %v: %s takes %v at most, which is used", o.Keepalive, o.Profile, d.maxKeepalive)
	}
	if d.sessionExpiry > 0 && o.SessionExpiry > d.sessionExpiry {
		l.say("session_expiry %v: %s keeps a session for %v at most", o.SessionExpiry, o.Profile, d.sessionExpiry)
	}
	if o.Profile == EMQX && (o.Protocol == Only311 || o.Protocol == Only31) && !o.CleanSession {
		l.say("%s forgets the session of a 3.x client after two hours: with protocol auto it is told how long", o.Profile)
	}
	if d.noRetain && o.OverRetain == AsUsual && !o.StripRetain && slices.ContainsFunc(o.Rules, Rule.outward) {
		l.say("%s takes no retained messages: the flag is taken off what goes out", o.Profile)
	}
	if d.noSys && !o.NoNotifications && !o.NotificationsLocalOnly && strings.HasPrefix(o.NotificationTopic, "$") {
		l.say("%s has no $SYS for clients: the bridge's state is published here only, unless notification_topic is another", o.Profile)
	}
	if o.Profile == AWS && o.RestartBase > 0 && o.RestartBase < d.restartBase {
		l.say("restart_timeout %v: %s takes one connection a second of a client", o.RestartBase, o.Profile)
	}
}

func (l *linter) address(a address) {
	p := l.o.Profile
	secured := a.tls || l.o.TLS != nil
	if l.d.needTLS && !secured {
		l.say("%s takes TLS only, and %q is not encrypted", p, a.text)
	}
	if p == HiveMQ && !secured && strings.HasSuffix(a.name, ".hivemq.cloud") {
		l.say("HiveMQ Cloud takes TLS only, and %q is not encrypted", a.text)
	}
	host, port, err := net.SplitHostPort(a.host)
	if err != nil {
		return
	}
	if a.ws {
		port = "ws" + port
	}
	if len(l.d.ports) > 0 && !slices.Contains(l.d.ports, port) && secured {
		l.say("%s: %s listens on %s", a.text, p, strings.ReplaceAll(strings.Join(l.d.ports, ", "), "ws", "WebSocket "))
	}
	if l.d.needTLS && net.ParseIP(host) != nil && !net.ParseIP(host).IsLoopback() {
		l.say("%s: %s wants the name of its server in the TLS handshake, which an IP address does not give; write the name, or tls.server_name", a.text, p)
	}
}

func (l *linter) rule(r Rule) {
	d, p, say := l.d, l.o.Profile, l.say
	remote := r.remap().RemoteFilter()
	if group, filter, shared, err := topic.ParseShare(remote); err == nil && shared {
		if d.noShared {
			say("%v: %s has no shared subscriptions", r, p)
		}
		_, remote = group, filter
	}
	if r.QoS > d.maxQoS {
		say("%v: %s knows QoS %d at most; messages are carried with that", r, p, d.maxQoS)
	}
	counted := remote
	if d.freePrefix != "" && strings.HasPrefix(remote, d.freePrefix) {
		if _, rest, ok := strings.Cut(remote[len(d.freePrefix):], "/"); ok {
			counted = rest
		}
	}
	if d.topicBytes > 0 && len(counted) > d.topicBytes {
		say("%v: the topic is longer than the %d bytes %s takes", r, d.topicBytes, p)
	}
	if d.topicSlashes >= 0 && strings.Count(counted, "/") > d.topicSlashes {
		say("%v: the topic has more than the %d slashes %s takes", r, d.topicSlashes, p)
	}
	if i := strings.IndexAny(remote, d.badBytes); i >= 0 {
		say("%v: %s ends the connection at %q in a topic", r, p, remote[i:i+1])
	}
	for _, level := range strings.Split(remote, "/") {
		if slices.Contains(d.badLevels, level) {
			say("%v: the level %q is a wildcard to %s", r, level, p)
		}
	}
	switch {
	case d.noSys && topic.Match("$SYS/#", strings.NewReplacer("+", "x", "#", "x").Replace(remote)):
		say("%v: %s has no $SYS for clients", r, p)
	case d.noReserved && strings.HasPrefix(remote, "$") && !strings.HasPrefix(remote, "$aws/"):
		say("%v: %s keeps topics that begin with $ for itself", r, p)
	}
}
