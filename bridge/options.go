package bridge

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"gatewayd/broker"
	"gatewayd/mqtt"
)

// StartType says when a bridge connects.
type StartType uint8

// The start types.
const (
	Automatic StartType = iota // at start, and again whenever the connection ends
	Lazy                       // when Threshold messages wait; until IdleTimeout without any
	Once                       // at start, not again
	Manual                     // when told to by Resume
)

// Protocol is the version a bridge speaks, or a choice.
type Protocol uint8

// The protocols. Auto tries 5, then 3.1.1 with the bridge bit, then without.
const (
	Auto Protocol = iota
	Only5
	Only311
	Only31
)

// Lanes says what may pass the messages that have queued up.
type Lanes uint8

// The lanes.
const (
	ByTopic   Lanes = iota // live messages, unless an older one of their topic waits
	LiveFirst              // all live messages
	OneLane                // none
)

// Options configure a Bridge.
type Options struct {
	Name      string
	Addresses []string // host:port, or URLs with mqtt, mqtts, ws, wss, unix
	Rules     []Rule
	Protocol  Protocol
	Profile   Profile
	Log       *slog.Logger

	ClientID      string // at the centre
	Username      string
	Password      []byte        // nil: none
	Keepalive     time.Duration // zero: 60s
	CleanSession  bool          // the centre forgets us when the connection ends
	SessionExpiry time.Duration // 5.0, how long the centre keeps the session; zero: for ever

	LocalClientID string // zero: "local." and ClientID
	LocalUsername string // without effect, Lint says so: the rules bound what a bridge does here
	LocalVolatile bool   // local_cleansession: what waits does not survive a restart
	Queue         broker.QueueLimits

	Start          StartType
	IdleTimeout    time.Duration // zero: 60s
	Threshold      int           // zero: 10
	RoundRobin     bool          // all addresses are equal: stay with the one that works
	RestartBase    time.Duration // zero: 5s
	RestartCap     time.Duration // zero: 30s
	RestartStable  time.Duration // zero: 10s
	ConnectTimeout time.Duration // zero: 20s
	ReturnInterval time.Duration // between probes of the first address while on another; zero: 60s
	AckTimeout     time.Duration // an acknowledgement missing so long ends the connection; zero: 60s
	WriteTimeout   time.Duration // zero: 30s

	NoNotifications        bool
	NotificationsLocalOnly bool
	NotificationTopic      string // zero: $SYS/broker/connection/<ClientID>/state
	NoPrivate              bool   // do not set the bridge bit in 3.x
	NoUnsubscribe          bool   // do not unsubscribe topics of direction out
	StripRetain            bool   // bridge_outgoing_retain false

	// What becomes of messages that the centre's limits exclude: packets beyond its
	// size, a QoS above its own, retained messages where it keeps none.
	OverSize, OverQoS, OverRetain Excess
	MaxParked                     int // messages kept aside; zero: 1000

	ReceiveMaximum int    // zero: 20
	MaxPacketSize  int    // largest we accept; zero: 2 MB
	MaxTopicAlias  uint16 // in either direction

	BindAddress    string
	TCPKeepAlive   time.Duration // zero: the system's; negative: off
	TCPUserTimeout time.Duration // zero: the system's
	WebSocketPath  string        // zero: /mqtt
	Proxy          string        // http:// or socks5:// URL
	// TLS returns the configuration for a connection, each time anew so that
	// renewed files are used; nil: plain, except mqtts and wss addresses.
	TLS func() (*tls.Config, error)

	// Will gives, for each CONNECT, a will in place of that of the notification,
	// which then has a connection of its own; it is also what an orderly end of the
	// connection leaves behind. nil: none.
	Will func() *mqtt.Will

	Lanes       Lanes
	NoMark      bool    // history does not get the user properties of its origin
	HistoryRate float64 // messages a second of what had queued up when the connection began; zero: no bound
	PublishRate float64 // messages a second in all; zero: no bound
	StormRate   float64 // messages a second through one rule that cut it; zero: 10,000

	seen func(certificates) // told about the certificates of every attempt; nil: nobody
}

func (o *Options) see(c certificates) {
	if o.seen != nil {
		o.seen(c)
	}
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o = o.Profile.apply(o)
	o.Keepalive = cmp.Or(o.Keepalive, 60*time.Second)
	o.LocalClientID = cmp.Or(o.LocalClientID, "local."+o.ClientID)
	o.IdleTimeout = cmp.Or(o.IdleTimeout, 60*time.Second)
	o.Threshold = cmp.Or(o.Threshold, 10)
	o.RestartBase = cmp.Or(o.RestartBase, 5*time.Second)
	o.RestartCap = cmp.Or(o.RestartCap, 30*time.Second)
	o.RestartStable = cmp.Or(o.RestartStable, 10*time.Second)
	o.ConnectTimeout = cmp.Or(o.ConnectTimeout, 20*time.Second)
	o.ReturnInterval = cmp.Or(o.ReturnInterval, 60*time.Second)
	o.AckTimeout = cmp.Or(o.AckTimeout, 60*time.Second)
	o.WriteTimeout = cmp.Or(o.WriteTimeout, 30*time.Second)
	o.NotificationTopic = cmp.Or(o.NotificationTopic, "$SYS/broker/connection/"+o.ClientID+"/state")
	o.ReceiveMaximum = min(cmp.Or(o.ReceiveMaximum, 20), 65535)
	o.MaxPacketSize = cmp.Or(o.MaxPacketSize, 2_000_000)
	o.WebSocketPath = cmp.Or(o.WebSocketPath, "/mqtt")
	o.StormRate = cmp.Or(o.StormRate, 10_000)
	o.MaxParked = cmp.Or(o.MaxParked, 1000)
	return o
}

func (o Options) validate() error {
	if o.Name == "" || o.ClientID == "" {
		return errors.New("a bridge needs a name and a client id")
	}
	if len(o.Addresses) == 0 {
		return fmt.Errorf("bridge %q has no address", o.Name)
	}
	for _, a := range o.Addresses {
		if _, err := parseAddress(a, o); err != nil {
			return fmt.Errorf("bridge %q: %w", o.Name, err)
		}
	}
	for _, r := range o.Rules {
		if err := r.validate(); err != nil {
			return fmt.Errorf("bridge %q: %v: %w", o.Name, r, err)
		}
	}
	return nil
}

// ladder is the protocols to try, best first.
func (o Options) ladder() []level {
	var l []level
	if o.Protocol == Auto || o.Protocol == Only5 {
		l = append(l, level{mqtt.V5, false})
	}
	if o.Protocol == Auto || o.Protocol == Only311 {
		if !o.NoPrivate {
			l = append(l, level{mqtt.V311, true})
		}
		l = append(l, level{mqtt.V311, false})
	}
	if o.Protocol == Only31 {
		if !o.NoPrivate {
			l = append(l, level{mqtt.V31, true})
		}
		l = append(l, level{mqtt.V31, false})
	}
	return l
}

// level is a protocol version, with or without the bridge bit.
type level struct {
	version mqtt.Version
	bridge  bool
}

func (l level) String() string {
	if l.bridge {
		return l.version.String() + " as bridge"
	}
	return l.version.String()
}
