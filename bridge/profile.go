package bridge

import (
	"strings"
	"time"

	"gatewayd/mqtt"
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
	publishRate   float64       // messages a second; 0: no bound
	byteRate      int           // bytes a second; 0: no bound
	aliases       int           // topic aliases; 0: no bound
	restartBase   time.Duration // shortest pause between two connections; 0: any
	sessionExpiry time.Duration // longest it keeps a session; 0: no bound
	noRetain      bool
	noSys         bool // $SYS may be neither published nor be a will's topic
	noUnsubscribe bool
	noBridgeBit   bool
	noNack        bool // an acknowledgement with an error ends the connection
	protocol      Protocol
	needTLS       bool
	ports         []string // "" is TCP, "ws" WebSocket: what it listens on; none: anything
	alpn          string   // needed on port 443
	needName      bool     // a user name must be given
	noShared      bool     // shared subscriptions are no such thing there
	noReserved    bool     // topics that begin with $ are the centre's own
	freePrefix    string   // what stands before such a topic's own name and level counts for nothing
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
		d.protocol, d.noBridgeBit, d.noSys, d.noShared = Only311, true, true, true
		d.badLevels, d.badBytes = []string{"*", ">"}, " "
	case AWS:
		d.maxQoS, d.maxInflight, d.maxPacket, d.maxKeepalive = 1, 100, 128<<10, 1200*time.Second
		d.filtersAtOnce, d.filters, d.topicBytes, d.topicSlashes = 8, 50, 256, 7
		d.publishRate, d.byteRate, d.sessionExpiry, d.restartBase = 100, 512<<10, 7*24*time.Hour, time.Second
		d.noSys, d.noUnsubscribe, d.noBridgeBit, d.needTLS, d.clientIDBytes = true, true, true, true, 128
		d.ports, d.alpn, d.noReserved, d.freePrefix = []string{"8883", "443", "ws443"}, "x-amzn-mqtt-ca", true, "$aws/rules/"
	case AzureEG, azureShort:
		d.maxQoS, d.maxPacket, d.maxKeepalive, d.publishRate, d.byteRate = 1, 512<<10, 1160*time.Second, 1000, 1_000_000
		d.sessionExpiry, d.noRetain, d.aliases = 8*time.Hour, true, 10
		d.noSys, d.noBridgeBit, d.noNack, d.needTLS, d.clientIDBytes = true, true, true, true, 128
		d.ports, d.needName, d.noReserved = []string{"8883", "ws443"}, true, true
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
	if d.aliases > 0 {
		o.MaxTopicAlias = min(o.MaxTopicAlias, uint16(d.aliases))
	}
	if d.restartBase > 0 && o.RestartBase > 0 {
		o.RestartBase = max(o.RestartBase, d.restartBase)
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

// takes says why the centre would not take a message under this name, empty
// when it does.
func (d *demands) takes(name string) string {
	if d.freePrefix != "" && strings.HasPrefix(name, d.freePrefix) {
		if _, rest, ok := strings.Cut(name[len(d.freePrefix):], "/"); ok {
			name = rest // the rule that takes it does not count
		}
	} else if d.noReserved && strings.HasPrefix(name, "$") && !strings.HasPrefix(name, "$aws/") {
		return "topic_not_allowed"
	}
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
