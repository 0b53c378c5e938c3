package config

// Bridge joins this broker to another.
type Bridge struct {
	Name      string   `yaml:"name" required:"true" check:"level" doc:"Its name."`
	Addresses []string `yaml:"addresses" required:"true" check:"remote" doc:"Addresses of the other broker in order of preference: host:port, or a URL with mqtt, mqtts, ws or wss."`
	Profile   string   `yaml:"profile" default:"generic" enum:"generic,mosquitto,emqx,hivemq,nats,aws,azure" doc:"What the other broker is; sets what it demands."`
	Protocol  string   `yaml:"protocol" default:"auto" enum:"auto,mqttv5,mqttv311,mqttv31" doc:"Protocol version; auto tries 5 and falls back to 3.1.1."`
	Topics    []Topic  `yaml:"topics" doc:"What is carried over."`

	ClientID      string   `yaml:"clientid" doc:"Client id at the other broker; default: the gateway's id and the bridge's name."`
	Username      string   `yaml:"username" doc:"User name at the other broker."`
	Password      Secret   `yaml:"password" doc:"Password at the other broker."`
	Keepalive     Duration `yaml:"keepalive" default:"60s" min:"5s" max:"65535s" doc:"Keep alive."`
	CleanSession  bool     `yaml:"clean_session" default:"false" doc:"Forget subscriptions and messages at the other broker when the connection ends."`
	SessionExpiry Duration `yaml:"session_expiry" default:"0" doc:"How long the other broker keeps our session (MQTT 5); 0: for ever, unless clean_session."`

	LocalClientID     string `yaml:"local_clientid" doc:"Client id of the bridge's session here; default: local. and the client id."`
	LocalCleanSession bool   `yaml:"local_clean_session" default:"false" doc:"Forget what waits for the other broker when the connection ends."`

	StartType      string   `yaml:"start_type" default:"automatic" enum:"automatic,lazy,once,manual" doc:"automatic: at start and for ever. lazy: when there is something to send. once: at start, not again. manual: on command."`
	IdleTimeout    Duration `yaml:"idle_timeout" default:"60s" min:"1s" doc:"Lazy: disconnect after so long without messages."`
	Threshold      int      `yaml:"threshold" default:"10" min:"1" doc:"Lazy: connect when so many messages wait."`
	RoundRobin     bool     `yaml:"round_robin" default:"false" doc:"Treat the addresses alike instead of returning to the first."`
	RestartTimeout Restart  `yaml:"restart_timeout" doc:"Pause before connecting again. Also written as a single duration."`
	ConnectTimeout Duration `yaml:"connect_timeout" default:"20s" min:"1s" max:"10m" doc:"Time a connection has to be accepted."`

	Notifications          bool   `yaml:"notifications" default:"true" doc:"Publish 1 and 0 as the bridge's state, here and as will at the other broker."`
	NotificationsLocalOnly bool   `yaml:"notifications_local_only" default:"false" doc:"Publish the state here only."`
	NotificationTopic      string `yaml:"notification_topic" check:"topic" doc:"Topic of the state; default: $SYS/broker/connection/<client id>/state."`
	TryPrivate             bool   `yaml:"try_private" default:"true" doc:"Tell a 3.x broker that this is a bridge."`
	AttemptUnsubscribe     bool   `yaml:"attempt_unsubscribe" default:"true" doc:"At connect, unsubscribe topics of direction out that an older configuration may have subscribed."`
	OutgoingRetain         bool   `yaml:"outgoing_retain" default:"true" doc:"Keep the retain flag of messages that go out."`

	BindAddress    string     `yaml:"bind_address" doc:"Local address to connect from."`
	MaxPacketSize  Size       `yaml:"max_packet_size" default:"0" doc:"Largest packet we accept from the other broker; 0: mqtt.max_packet_size."`
	MaxTopicAlias  int        `yaml:"max_topic_alias" default:"10" min:"0" max:"65535" doc:"Topic aliases in either direction (MQTT 5)."`
	ReceiveMaximum int        `yaml:"receive_maximum" default:"20" min:"1" max:"65535" doc:"QoS 1 and 2 messages in flight in either direction."`
	TCPKeepalive   Duration   `yaml:"tcp_keepalive" default:"15s" doc:"TCP keep alive; 0: off."`
	TCPUserTimeout Duration   `yaml:"tcp_user_timeout" default:"0" doc:"Give up a TCP connection whose data is not acknowledged for so long; 0: the system's."`
	WebSocketPath  string     `yaml:"websocket_path" default:"/mqtt" check:"urlpath" doc:"Path for ws and wss addresses without one."`
	Proxy          string     `yaml:"proxy" check:"proxy" doc:"Proxy to go through: http://user:password@host:port or socks5://host:port."`
	TLS            *ClientTLS `yaml:"tls" doc:"Encrypt with TLS. Addresses with mqtts or wss do so with the system's authorities even without this."`
	ReloadType     string     `yaml:"reload_type" default:"lazy" enum:"lazy,immediate" doc:"A changed configuration takes effect at the next connection, or at once."`

	Queue       Queue  `yaml:"queue" doc:"What waits while the other broker is away. A topic with a queue of its own counts by itself."`
	Limits      Excess `yaml:"limits" doc:"What becomes of messages that the other broker's limits exclude."`
	Lanes       string `yaml:"lanes" default:"by_topic" enum:"by_topic,live_first,off" doc:"What passes the queue after an outage. by_topic: live messages, unless an older one of their topic waits. live_first: all live messages. off: none, everything in one order."`
	HistoryMark bool   `yaml:"history_mark" default:"true" doc:"Give messages out of the queue the user properties timestamp, when they reached this gateway, and is_historical (MQTT 5)."`
	HistoryRate Rate   `yaml:"history_rate" default:"0" doc:"After an outage, send at most this many queued messages a second beside the live ones; 0: as fast as it goes."`
	PublishRate Rate   `yaml:"publish_rate" default:"0" doc:"Send at most this many messages a second in all; 0: no bound."`
	StormRate   Rate   `yaml:"storm_rate" default:"0" doc:"Cut a rule that carries more than this many messages a second in both directions for ten seconds; 0: 10000/s."`
}

// Restart is the pause before a bridge connects again: decorrelated jitter
// between Base and Cap, back at Base after a connection of Stable.
type Restart struct {
	Base   Duration `yaml:"base" default:"5s" min:"100ms" max:"1h" doc:"Shortest pause."`
	Cap    Duration `yaml:"cap" default:"30s" min:"100ms" max:"1d" doc:"Longest pause."`
	Stable Duration `yaml:"stable" default:"10s" max:"1d" doc:"A connection that lasted this long starts over from the shortest."`
}

func (Restart) scalarKey() string { return "base" }

// Excess says what becomes of messages that the other broker's limits exclude.
type Excess struct {
	PacketSize string `yaml:"packet_size" default:"park" enum:"park,drop" doc:"Larger than its Maximum Packet Size. park: kept aside on the disk, for gatewayd bridge parked to release or to drop; those of QoS 0 are dropped. drop: given up."`
	QoS        string `yaml:"qos" default:"lower" enum:"lower,park,drop" doc:"Above its Maximum QoS. lower: carried with that. park, drop: as above."`
	Retain     string `yaml:"retain" default:"strip" enum:"strip,park,drop" doc:"Retained while it keeps no retained messages. strip: carried without the flag. park, drop: as above."`
	MaxParked  int    `yaml:"max_parked" default:"1000" min:"1" doc:"Messages that may be kept aside; beyond it they are dropped."`
}

// Queue bounds what waits.
type Queue struct {
	MaxMessages int      `yaml:"max_messages" default:"0" min:"0" doc:"Messages that may wait; 0: no bound but bytes."`
	MaxBytes    Size     `yaml:"max_bytes" default:"0" doc:"Bytes that may wait; 0: a share of the free disk."`
	MaxAge      Duration `yaml:"max_age" default:"0" doc:"How long a message may wait; 0: until it expires by its own."`
	OnFull      string   `yaml:"on_full" default:"drop_oldest" enum:"reject,close,drop_oldest,drop_newest,latest_per_topic" doc:"What happens when it is full: see mqtt.queue_full."`
}

// Topic is one rule of a bridge: what is carried in which direction, and what
// it is called at either end.
type Topic struct {
	Filter       string `yaml:"filter" doc:"Topic filter, the part both sides share. Empty: the prefixes are whole topics."`
	Direction    string `yaml:"direction" default:"out" enum:"out,in,both" doc:"out: from here to the other broker. in: from there. both."`
	QoS          int    `yaml:"qos" default:"0" min:"0" max:"2" doc:"Highest QoS the messages are carried with."`
	LocalPrefix  string `yaml:"local_prefix" check:"prefix" doc:"What stands before the filter here."`
	RemotePrefix string `yaml:"remote_prefix" check:"prefix" doc:"What stands before the filter there."`
	Retain       string `yaml:"retain" default:"keep" enum:"keep,strip" doc:"Keep or take off the retain flag."`
	Queue        *Queue `yaml:"queue" doc:"A queue of its own for what goes out: its bounds count only this topic's messages, and the bridge's do not count them. What is not written here is as the bridge's queue has it."`
}

// ClientTLS is a client's side of TLS.
type ClientTLS struct {
	CA          string   `yaml:"ca" path:"file" doc:"Authorities that may vouch for the other broker: PEM file or folder of PEM files; default: the system's."`
	SystemRoots bool     `yaml:"system_roots" default:"false" doc:"Trust the system's authorities beside ca."`
	Cert        string   `yaml:"cert" path:"file" doc:"Our client certificate, PEM."`
	Key         string   `yaml:"key" path:"file" doc:"Its private key, PEM."`
	ServerName  string   `yaml:"server_name" doc:"Name the certificate of the other broker must have; default: the host of the address."`
	ALPN        []string `yaml:"alpn" doc:"Application protocols to offer."`
	Insecure    bool     `yaml:"insecure" default:"false" doc:"Accept any certificate: encrypted, but by anyone."`
	MinVersion  string   `yaml:"min_version" default:"1.2" enum:"1.2,1.3" doc:"Oldest TLS version."`
	Ciphers     []string `yaml:"ciphers" doc:"Cipher suites of TLS 1.2 by their IANA names; empty: the safe ones."`
}
