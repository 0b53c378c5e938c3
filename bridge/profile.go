package bridge

import (
	"fmt"
	"strings"
	"time"

	"gatewayd/mqtt"
	"gatewayd/topic"
)

// Profile says what the centre is and so what it demands.
type Profile string

// The profiles.
const (
	Generic     Profile = "generic"
	Mosquitto   Profile = "mosquitto"
	EMQX        Profile = "emqx"
	HiveMQ      Profile = "hivemq"
	NATS        Profile = "nats"
	AWS         Profile = "aws"
	AzureEG     Profile = "azure-eg"
	azureShort  Profile = "azure"
	emptyChoice Profile = ""
)

// demands is what a kind of centre allows.
type demands struct {
	maxQoS        mqtt.QoS
	maxInflight   int           // 0: no bound
	maxPacket     int           // bytes; 0: no bound
	maxKeepalive  time.Duration // 0: no bound
	filtersAtOnce int           // filters in one SUBSCRIBE; 0: no bound
	filters       int           // in all; 0: no bound
	topicBytes    int           // 0: no bound
	topicSlashes  int           // -1: no bound
	publishRate   float64
	sessionExpiry time.Duration // longest it keeps a session; 0: no bound
	noRetain      bool
	noSys         bool // $SYS may be neither published nor be a will's topic
	noUnsubscribe bool
	noBridgeBit   bool
	noNack        bool // an acknowledgement with an error ends the connection
	protocol      Protocol
	needTLS       bool
	clientIDBytes int
	badLevels     []string // levels of a topic that mean something else there
	badBytes      string   // characters a topic must not have
}

// open is a centre without demands.
func open() demands { return demands{maxQoS: 2, topicSlashes: -1} }

func (p Profile) demands() demands {
	d := open()
	switch p {
	case HiveMQ:
		d.noBridgeBit = true
	case NATS:
		// 3.1.1 only; a level of * or > would become a wildcard behind its
		// subject mapping, a space ends the connection, and $SYS is the
		// server's own account.
		d.protocol, d.noBridgeBit, d.noSys = Only311, true, true
		d.badLevels, d.badBytes = []string{"*", ">"}, " "
	case AWS:
		d.maxQoS, d.maxInflight, d.maxPacket, d.maxKeepalive = 1, 100, 128<<10, 1200*time.Second
		d.filtersAtOnce, d.filters, d.topicBytes, d.topicSlashes = 8, 50, 256, 7
		d.publishRate, d.sessionExpiry = 100, 7*24*time.Hour
		d.noSys, d.noUnsubscribe, d.noBridgeBit, d.needTLS, d.clientIDBytes = true, true, true, true, 128
	case AzureEG, azureShort:
		d.maxQoS, d.maxPacket, d.maxKeepalive, d.publishRate = 1, 512<<10, 1160*time.Second, 1000
		d.sessionExpiry, d.noRetain = 8*time.Hour, true
		d.noSys, d.noBridgeBit, d.noNack, d.needTLS, d.clientIDBytes = true, true, true, true, 128
	}
	return d
}

// apply fills in what the centre demands and the configuration leaves open,
// and bounds what it sets.
func (p Profile) apply(o Options) Options {
	d := p.demands()
	if d.maxKeepalive > 0 && (o.Keepalive == 0 || o.Keepalive > d.maxKeepalive) {
		o.Keepalive = min(max(o.Keepalive, 60*time.Second), d.maxKeepalive)
	}
	if d.maxInflight > 0 {
		o.ReceiveMaximum = min(o.ReceiveMaximum, d.maxInflight)
	}
	if d.sessionExpiry > 0 && (o.SessionExpiry == 0 || o.SessionExpiry > d.sessionExpiry) {
		o.SessionExpiry = d.sessionExpiry
	}
	if d.publishRate > 0 && (o.PublishRate == 0 || o.PublishRate > d.publishRate) {
		o.PublishRate = d.publishRate
	}
	if o.Protocol == Auto {
		o.Protocol = d.protocol
	}
	o.NoPrivate = o.NoPrivate || d.noBridgeBit
	o.NoUnsubscribe = o.NoUnsubscribe || d.noUnsubscribe
	if d.noSys && (o.NotificationTopic == "" || strings.HasPrefix(o.NotificationTopic, "$SYS/")) {
		o.NotificationsLocalOnly = true
	}
	return o
}

// Lint says what of the options the centre will not take, one sentence each.
func Lint(o Options) []string {
	d := o.Profile.demands()
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if o.LocalUsername != "" {
		say("local_username %q has no effect: a bridge has all rights here, its rules are its bounds", o.LocalUsername)
	}
	if d.clientIDBytes > 0 && len(o.ClientID) > d.clientIDBytes {
		say("client id %q is longer than the %d bytes %s takes", o.ClientID, d.clientIDBytes, o.Profile)
	}
	if d.needTLS && o.TLS == nil {
		for _, a := range o.Addresses {
			if addr, err := parseAddress(a, o); err == nil && !addr.tls {
				say("%s takes TLS only, and %q is not encrypted", o.Profile, a)
			}
		}
	}
	if d.protocol != Auto && o.Protocol != Auto && o.Protocol != d.protocol {
		say("%s speaks another protocol version than the one set", o.Profile)
	}
	inward := 0
	for _, r := range o.Rules {
		if r.inward() {
			inward++
		}
		lintRule(d, o.Profile, r, say)
	}
	if d.filters > 0 && inward > d.filters {
		say("%d rules come in, and %s takes %d subscriptions a connection", inward, o.Profile, d.filters)
	}
	return out
}

func lintRule(d demands, p Profile, r Rule, say func(string, ...any)) {
	remote := r.remap().RemoteFilter()
	if r.QoS > d.maxQoS {
		say("%v: %s knows QoS %d at most; messages are carried with that", r, p, d.maxQoS)
	}
	if d.topicBytes > 0 && len(remote) > d.topicBytes {
		say("%v: the topic is longer than the %d bytes %s takes", r, d.topicBytes, p)
	}
	if d.topicSlashes >= 0 && strings.Count(remote, "/") > d.topicSlashes {
		say("%v: the topic has more than the %d slashes %s takes", r, d.topicSlashes, p)
	}
	if i := strings.IndexAny(remote, d.badBytes); i >= 0 {
		say("%v: %s ends the connection at %q in a topic", r, p, remote[i:i+1])
	}
	for _, l := range strings.Split(remote, "/") {
		for _, bad := range d.badLevels {
			if l == bad {
				say("%v: the level %q is a wildcard to %s", r, l, p)
			}
		}
	}
	if d.noSys && topic.Match("$SYS/#", strings.NewReplacer("+", "x", "#", "x").Replace(remote)) {
		say("%v: %s has no $SYS for clients", r, p)
	}
}

// takes says why the centre would not take a message under this name, empty
// when it does.
func (d *demands) takes(name string) string {
	switch {
	case d.topicBytes > 0 && len(name) > d.topicBytes:
		return "topic_too_long"
	case d.topicSlashes >= 0 && strings.Count(name, "/") > d.topicSlashes:
		return "topic_too_deep"
	case d.badBytes != "" && strings.ContainsAny(name, d.badBytes):
		return "topic_not_allowed"
	}
	if len(d.badLevels) > 0 {
		for _, l := range strings.Split(name, "/") {
			for _, bad := range d.badLevels {
				if l == bad {
					return "topic_not_allowed"
				}
			}
		}
	}
	return ""
}
