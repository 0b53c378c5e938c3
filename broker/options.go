package broker

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"io/fs"
	"log/slog"
	"net"
	"slices"
	"time"

	"gatewayd/mqtt"
	"gatewayd/topic"
)

// Options configure a Broker. The zero value works: no listener, everybody
// may do everything.
type Options struct {
	Listeners []Listener
	Auth      Authorizer // nil: everybody may do everything
	Log       *slog.Logger
	Clock     *Clock // nil: one of its own; the store's Options.Now must be the same clock's

	// Loops is the number of event loops on Linux; 0: one a core; negative: none,
	// every connection has a goroutine as on other systems.
	Loops int

	// Rules hold for listeners that have none of their own, for Links, and for
	// sessions whose listener is not there any more.
	Rules

	// MaxConnections bounds the connections of all listeners; 0: no bound.
	MaxConnections int
	// MemoryLimit degrades the broker in this order as its memory nears it: at
	// 85 % new connections are refused, at 92 % QoS 0 is dropped, at 97 %
	// publishers are refused. In bytes; 0: no limit.
	MemoryLimit int64
	// MaxVolatile bounds the QoS 1 and 2 messages that wait in memory, for
	// sessions that end with their connection: all of them together, with 256
	// bytes a message for its keeping. One session may have a quarter of it,
	// unless its QueueLimits say a number of bytes. 0: a quarter of
	// MemoryLimit, at most 256 MiB.
	MaxVolatile int64

	// CheckRetainSource asks Auth again whether the publisher of a retained
	// message may still publish it, whenever it is replayed.
	CheckRetainSource bool
	// RetainExpiry drops retained messages of that age; 0: never.
	RetainExpiry time.Duration
	// MaxRetained bounds the number of retained messages; 0: no bound.
	MaxRetained int
	// RetainLazy makes retained messages of QoS 1 and 2 as lazy as those of QoS
	// 0: an explicit opt-out of durability.
	RetainLazy bool
	// RetainMemory never writes the clients' retained messages: they are gone
	// after a restart.
	RetainMemory bool
	// Durability gives topics a class of their own: the first filter that matches
	// counts. What none names is of class Commit, retained messages as above.
	Durability []Durability
	// SysInterval is the time between two rounds of $SYS; 0: 10 s, negative: no
	// $SYS.
	SysInterval time.Duration
	// ResponseInfo is the response information for clients that ask; %c is the
	// client id, %u the user name. Empty: none is given.
	ResponseInfo string
	// ServerReference is sent when the broker shuts down or refuses for load.
	ServerReference string
	// Version is what $SYS/broker/version says.
	Version string
}

// Rules are what holds for a client and for its session: those of the listener
// that it came through last.
type Rules struct {
	// ConnectTimeout is how long a connection may take to send CONNECT; 0: 10 s.
	ConnectTimeout time.Duration
	// MaxOutbox bounds the bytes that wait for one slow connection. Beyond it
	// QoS 0 is dropped and counted, QoS 1 and 2 stay queued; 0: 2 MiB.
	MaxOutbox int
	// MaxInflight is the number of QoS 1 and 2 messages under way to a client,
	// and the Receive Maximum the broker announces; 0: 20, at most 16,384.
	MaxInflight int
	// MaxInflightBytes bounds their payload bytes; 0: no bound.
	MaxInflightBytes int
	// Queue bounds the messages waiting for a session beyond those in flight.
	Queue QueueLimits
	// QueueQoS0 keeps QoS 0 messages for persistent sessions that are away.
	QueueQoS0 bool
	// UpgradeOutgoingQoS delivers with the subscription's QoS even when the
	// message was published with less.
	UpgradeOutgoingQoS bool
	// AllowDuplicates sends a message once for each overlapping subscription of a
	// session that ends with its connection; durable ones get one copy.
	AllowDuplicates bool
	// SessionExpiryMax bounds the life of a session that is away; 0: none.
	SessionExpiryMax time.Duration
	// MaxTopicLevels bounds the levels of names and filters; 0: 200.
	MaxTopicLevels int
	// MaxSubscriptions bounds the subscriptions of one session; 0: no bound.
	MaxSubscriptions int
	// GrantDenied grants subscriptions that may receive nothing, and delivers
	// nothing, until rights change.
	GrantDenied bool
}

// QueueLimits bound a session's queue; zero fields do not.
type QueueLimits struct {
	Messages int
	Bytes    int64
	Age      time.Duration
	OnFull   OnFull
}

// OnFull is what happens to a message for a queue that is full.
type OnFull uint8

// The answers to a full queue.
const (
	Reject         OnFull = iota // the publisher is told; nobody gets the message
	DropOldest                   // the oldest waiting message goes
	DropNewest                   // the new message is not queued for this session
	LatestPerTopic               // an older message of the same topic goes, else the oldest
	RejectClose                  // Reject, and the publisher is disconnected, also one of MQTT 5
)

// Listener is one place where clients connect.
type Listener struct {
	Name    string
	Address string // host:port, or unix:/path
	// Opened is an open listener to use instead of Address (socket activation).
	Opened net.Listener
	// Interface binds the socket to a network interface (Linux).
	Interface string
	// Family is "", "4" or "6".
	Family string

	TLS       *tls.Config // nil: plain
	WebSocket bool
	Path      string   // of WebSocket; empty: /mqtt
	Origins   []string // accepted Origin hosts of WebSocket; empty: the same host only, "*": any
	// Proxy expects a PROXY protocol header of version 1 or 2 first.
	Proxy bool
	// ProxyRequireTLS refuses clients that did not speak TLS with the proxy.
	ProxyRequireTLS bool
	// ForwardedFor takes a WebSocket client's address from the last entry of
	// X-Forwarded-For, the one that the proxy before us has seen itself.
	ForwardedFor bool
	// SocketMode is the permissions of a Unix socket; 0: as the umask has it.
	SocketMode fs.FileMode
	// Identity takes the user name from the client certificate, CertName does it;
	// nil: the common name, whatever Identity says.
	Identity Identity
	CertName func(*x509.Certificate) (string, error)

	Settings
}

// Identity says where a client's user name comes from.
type Identity uint8

// The sources of a user name.
const (
	IdentityNone    Identity = iota // CONNECT
	IdentityCN                      // the certificate's common name
	IdentitySubject                 // the certificate's whole subject
)

// Settings are what a listener has of its own. Broker.Reload changes them for
// the connections that come from then on.
type Settings struct {
	Rules                *Rules   // nil: Options.Rules
	Anonymous            bool     // clients without a user name may connect (told to Auth)
	Methods              []string // authentication methods of MQTT 5 (told to Auth)
	MaxConnections       int      // 0: no bound
	MountPoint           string   // put before every topic of the listener's clients
	MaxQoS               *mqtt.QoS
	MaxKeepAlive         uint16         // seconds, told to MQTT 5 clients; others that want more are refused. 0: no bound
	MaxPacketSize        int            // 0: 2,000,000 bytes
	MaxMessageSize       int            // payload of a PUBLISH; 0: no bound of its own
	Terse                bool           // as Mosquitto where there is a choice: no reason strings, malformed CONNECTs closed without a word
	MaxTopicAlias        *uint16        // aliases a client may use; nil: 10
	MaxTopicAliasBroker  *uint16        // aliases the broker uses towards a client; nil: 10
	NoRetain             bool           // retained messages are not available
	RefuseEmptyClientID  bool           // allow_zero_length_clientid false
	AutoIDPrefix         string         // of assigned client ids; empty: "auto-"
	UsernameAsClientID   bool           // the client id is the user name
	Versions             []mqtt.Version // accepted; empty: all
	Delay                bool           // Nagle's algorithm is on: set_tcp_nodelay false
	RefuseSharedSubs     bool
	RefuseWildcardSubs   bool
	RefuseSubscriptionID bool
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = NewClock()
	}
	o.Rules = o.Rules.withDefaults()
	o.Listeners = slices.Clone(o.Listeners)
	for i := range o.Listeners {
		l := &o.Listeners[i]
		l.Name = cmp.Or(l.Name, l.Address)
		l.Path = cmp.Or(l.Path, "/mqtt")
		l.Settings = l.Settings.withDefaults(o.Rules)
	}
	o.SysInterval = cmp.Or(o.SysInterval, 10*time.Second)
	o.Version = cmp.Or(o.Version, "gatewayd")
	return o
}

func (r Rules) withDefaults() Rules {
	r.ConnectTimeout = cmp.Or(r.ConnectTimeout, 10*time.Second)
	r.MaxOutbox = cmp.Or(r.MaxOutbox, 2<<20)
	r.MaxInflight = min(cmp.Or(r.MaxInflight, 20), maxWindow)
	r.MaxTopicLevels = cmp.Or(r.MaxTopicLevels, topic.DefaultLimits.Levels)
	return r
}

// rulesOf are the rules of the listener with that name, or the general ones.
func (o *Options) rulesOf(listener string) *Rules {
	for i := range o.Listeners {
		if o.Listeners[i].Name == listener && listener != "" {
			return o.Listeners[i].Rules
		}
	}
	return &o.Rules
}

// limits are the bounds of topic names and filters.
func (r *Rules) limits() topic.Limits {
	return topic.Limits{Bytes: topic.MaxBytes, Levels: r.MaxTopicLevels, Wildcards: topic.DefaultLimits.Wildcards}
}

// withDefaults completes a listener's settings; general are the rules of those
// that have none.
func (s Settings) withDefaults(general Rules) Settings {
	if s.Rules != nil {
		general = s.Rules.withDefaults()
	}
	s.Rules = &general
	if s.MaxQoS == nil {
		s.MaxQoS = ptr(mqtt.QoS(2))
	}
	s.MaxPacketSize = cmp.Or(s.MaxPacketSize, 2_000_000)
	if s.MaxTopicAlias == nil {
		s.MaxTopicAlias = ptr(uint16(10))
	}
	if s.MaxTopicAliasBroker == nil {
		s.MaxTopicAliasBroker = ptr(uint16(10))
	}
	s.AutoIDPrefix = cmp.Or(s.AutoIDPrefix, "auto-")
	return s
}

func ptr[T any](v T) *T { return &v }
