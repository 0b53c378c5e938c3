package bridge

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"
	"time"

	"gatewayd/mqtt"
)

// TestProfiles walks through what each kind of centre is known for: what the
// profile sets, and what it says about an option that the centre would not take.
// A property without a line here is one that CONNACK grants.
func TestProfiles(t *testing.T) {
	secure := func() (*tls.Config, error) { return nil, nil }
	base := func(p Profile) Options {
		o := Options{Name: "x", ClientID: "c", Profile: p, Addresses: []string{"mqtts://h:8883"}, TLS: secure, Keepalive: time.Minute,
			NoNotifications: true, Username: "u", ReceiveMaximum: 500, MaxTopicAlias: 50, RestartBase: 100 * time.Millisecond}
		if p == NATS || p == EMQX {
			o.Addresses, o.TLS = []string{"h:1883"}, nil
		}
		return o
	}
	for _, tc := range []struct {
		p        Profile
		property string
		edit     func(o *Options)
		set      func(o Options) any // of the options in force
		want     any
		lint     string // a part of the one sentence; empty: none
	}{
		{Mosquitto, "5, then 3.1.1 with the bridge bit", nil, func(o Options) any { return fmt.Sprint(o.ladder()) }, "[5.0 3.1.1 as bridge 3.1.1]", ""},
		{Mosquitto, "what CONNACK says", nil, func(o Options) any { return o.Profile.demands().maxPacket }, 0, ""},
		{HiveMQ, "no bridge bit", nil, func(o Options) any { return fmt.Sprint(o.ladder()) }, "[5.0 3.1.1]", ""},
		{HiveMQ, "the cloud is TLS only", func(o *Options) { o.TLS, o.Addresses = nil, []string{"a.hivemq.cloud:1883"} }, nil, nil, "HiveMQ Cloud takes TLS only"},
		{EMQX, "session expiry is told", nil, func(o Options) any { return connectExpiry(o) }, uint32(0xFFFFFFFF), ""},
		{EMQX, "a 3.x session ends after two hours", func(o *Options) { o.Protocol = Only311 }, nil, nil, "forgets the session of a 3.x client"},
		{NATS, "3.1.1 only, no bridge bit", nil, func(o Options) any { return fmt.Sprint(o.ladder()) }, "[3.1.1]", ""},
		{NATS, "5 does not work", func(o *Options) { o.Protocol = Only5 }, nil, nil, "another protocol version"},
		{NATS, "space", rules(Out, "a b/#"), taken("a b/c"), "topic_not_allowed", `ends the connection at " "`},
		{NATS, "the level *", rules(Out, "a/*/c"), taken("a/*/c"), "topic_not_allowed", `the level "*" is a wildcard`},
		{NATS, "the level >", rules(Out, ">/c"), taken("a/>"), "topic_not_allowed", `the level ">" is a wildcard`},
		{NATS, "a dot is no fault", rules(Out, "a.b/#"), taken("a.b/c"), "", ""},
		{NATS, "QoS 2 is known", func(o *Options) { rules(Out, "a")(o); o.Rules[0].QoS = 2 }, func(o Options) any { return o.Profile.demands().maxQoS }, mqtt.QoS(2), ""},
		{NATS, "$SYS", rules(In, "$SYS/broker/uptime"), nil, nil, "has no $SYS"},
		{NATS, "shared subscriptions", rules(In, "$share/g/a"), nil, nil, "has no shared subscriptions"},
		{NATS, "a token wants a user name", func(o *Options) { o.Username, o.Password = "", []byte("jwt") }, nil, nil, "only with a username"},
		{NATS, "max_ack_pending", func(o *Options) {
			for i := range 40 {
				o.Rules = append(o.Rules, Rule{Filter: fmt.Sprintf("t%d/#", i), Direction: In})
			}
		}, nil, nil, "80 subscriptions"},
		{NATS, "the state stays here", func(o *Options) { o.NoNotifications = false }, func(o Options) any { return o.NotificationsLocalOnly }, true, ""},
		{NATS, "the state under $", func(o *Options) { o.NoNotifications, o.NotificationTopic = false, "$SYS/x" }, func(o Options) any { return o.NotificationsLocalOnly }, true, "published here only"},
		{AWS, "no QoS 2", func(o *Options) { rules(Out, "a")(o); o.Rules[0].QoS = 2 }, func(o Options) any { return o.Profile.demands().maxQoS }, mqtt.QoS(1), "QoS 1 at most"},
		{AWS, "seven slashes", rules(Out, "1/2/3/4/5/6/7/8/9"), taken("1/2/3/4/5/6/7/8/9"), "topic_too_deep", "more than the 7 slashes"},
		{AWS, "seven are enough", rules(Out, "1/2/3/4/5/6/7/8"), taken("1/2/3/4/5/6/7/8"), "", ""},
		{AWS, "the prefix of a rule does not count", rules(Out, "$aws/rules/r/1/2/3/4/5/6/7/8"), taken("$aws/rules/r/1/2/3/4/5/6/7/8"), "", ""},
		{AWS, "256 bytes", rules(Out, strings.Repeat("x", 257)), taken(strings.Repeat("x", 257)), "topic_too_long", "longer than the 256 bytes"},
		{AWS, "client id", func(o *Options) { o.ClientID = strings.Repeat("c", 129) }, nil, nil, "longer than the 128 bytes"},
		{AWS, "client id with $", func(o *Options) { o.ClientID = "$c" }, nil, nil, "begins with $"},
		{AWS, "eight filters a SUBSCRIBE", nil, func(o Options) any { return filtersAtOnce(o.Profile.demands()) }, 8, ""},
		{AWS, "fifty subscriptions", func(o *Options) {
			for i := range 51 {
				o.Rules = append(o.Rules, Rule{Filter: fmt.Sprint("t", i), Direction: In})
			}
		}, nil, nil, "51 rules come in"},
		{AWS, "a hundred in flight", nil, func(o Options) any { return o.ReceiveMaximum }, 100, ""},
		{AWS, "100 publishes a second", nil, func(o Options) any { return o.PublishRate }, 100.0, ""},
		{AWS, "512 KiB a second", nil, func(o Options) any { return o.Profile.demands().byteRate }, 512 << 10, ""},
		{AWS, "one CONNECT a second", nil, func(o Options) any { return o.RestartBase }, time.Second, "takes one connection a second"},
		{AWS, "a server name", func(o *Options) { o.Addresses = []string{"mqtts://10.0.0.1:8883"} }, nil, nil, "an IP address does not give"},
		{AWS, "TLS", func(o *Options) { o.TLS, o.Addresses = nil, []string{"h:1883"} }, nil, nil, "takes TLS only"},
		{AWS, "port", func(o *Options) { o.Addresses = []string{"mqtts://h:1884"} }, nil, nil, "listens on 8883, 443, WebSocket 443"},
		{AWS, "443 is a port", func(o *Options) { o.Addresses = []string{"mqtts://h:443", "wss://h"} }, nil, nil, ""},
		{AWS, "packets", nil, func(o Options) any { return o.Profile.demands().maxPacket }, 128 << 10, ""},
		{AWS, "keep alive", func(o *Options) { o.Keepalive = time.Hour }, func(o Options) any { return o.Keepalive }, 1200 * time.Second, "1h0m0s: aws takes 20m0s at most"},
		{AWS, "session", func(o *Options) { o.SessionExpiry = 30 * 24 * time.Hour }, func(o Options) any { return o.SessionExpiry }, 7 * 24 * time.Hour, "keeps a session for 168h"},
		{AWS, "no UNSUBSCRIBE at connect", nil, func(o Options) any { return o.NoUnsubscribe }, true, ""},
		{AWS, "the state stays here", func(o *Options) { o.NoNotifications = false }, func(o Options) any { return o.notifiesRemotely() }, false, ""},
		{AWS, "the state under a topic of its own", func(o *Options) { o.NoNotifications, o.NotificationTopic = false, "gw/state" }, func(o Options) any { return o.notifiesRemotely() }, true, ""},
		{AWS, "topics of its own", rules(Out, "$x/y"), taken("$x/y"), "topic_not_allowed", "begin with $"},
		{AWS, "its own topics can be used", rules(In, "$aws/things/t/shadow/get"), taken("$aws/things/t/shadow/get"), "", ""},
		{AWS, "retained messages", nil, func(o Options) any { return o.Profile.demands().noRetain }, false, ""},
		{AzureEG, "no QoS 2", func(o *Options) { rules(In, "a")(o); o.Rules[0].QoS = 2 }, func(o Options) any { return o.Profile.demands().maxQoS }, mqtt.QoS(1), "QoS 1 at most"},
		{AzureEG, "port", func(o *Options) { o.Addresses = []string{"mqtts://h:443"} }, nil, nil, "listens on 8883, WebSocket 443"},
		{AzureEG, "TLS", func(o *Options) { o.TLS, o.Addresses = nil, []string{"h:1883"} }, nil, nil, "takes TLS only"},
		{AzureEG, "packets", nil, func(o Options) any { return o.Profile.demands().maxPacket }, 512 << 10, ""},
		{AzureEG, "keep alive", func(o *Options) { o.Keepalive = 1200 * time.Second }, func(o Options) any { return o.Keepalive }, 1160 * time.Second, "takes 19m20s at most"},
		{AzureEG, "session", nil, func(o Options) any { return o.SessionExpiry }, 8 * time.Hour, ""},
		{AzureEG, "topic aliases", nil, func(o Options) any { return o.MaxTopicAlias }, uint16(10), ""},
		{AzureEG, "messages a second", nil, func(o Options) any { return o.PublishRate }, 1000.0, ""},
		{AzureEG, "bytes a second", nil, func(o Options) any { return o.Profile.demands().byteRate }, 1_000_000, ""},
		{AzureEG, "the name of the client", func(o *Options) { o.Username = "" }, nil, nil, "authentication name as username"},
		{AzureEG, "no retained messages", rules(Out, "a"), func(o Options) any { return o.Profile.demands().noRetain }, true, "the flag is taken off"},
		{AzureEG, "no negative acknowledgements", nil, func(o Options) any { return o.Profile.demands().noNack }, true, ""},
		{AzureEG, "3.1", func(o *Options) { o.Protocol = Only31 }, nil, nil, "another protocol version"},
	} {
		t.Run(string(tc.p)+"/"+tc.property, func(t *testing.T) {
			o := base(tc.p)
			if tc.property != "one CONNECT a second" {
				o.RestartBase = 5 * time.Second
			}
			if tc.edit != nil {
				tc.edit(&o)
			}
			switch said := Lint(o); {
			case tc.lint == "" && len(said) > 0:
				t.Errorf("said %q", said)
			case tc.lint != "" && (len(said) != 1 || !strings.Contains(said[0], tc.lint)):
				t.Errorf("said %q, want %q", said, tc.lint)
			}
			if tc.set != nil {
				if got := tc.set(o.withDefaults()); got != tc.want {
					t.Errorf("%v is in force, want %v", got, tc.want)
				}
			}
		})
	}
}

func rules(d Direction, filter string) func(o *Options) {
	return func(o *Options) { o.Rules = []Rule{{Filter: filter, Direction: d, QoS: 1}} }
}

func taken(name string) func(Options) any {
	return func(o Options) any { d := o.Profile.demands(); return d.takes(name) }
}

func connectExpiry(o Options) uint32 {
	return o.connectPacket(level{mqtt.V5, false}).Properties.SessionExpiry
}
