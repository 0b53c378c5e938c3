package config

// MQTT is what holds for the broker as a whole, and through Limits what each
// listener starts from.
type MQTT struct {
	Limits `yaml:",inline"`

	MaxConnections       int      `yaml:"max_connections" default:"0" min:"0" doc:"Connections on all listeners together; 0: as many as the system allows."`
	RetainExpiryInterval Duration `yaml:"retain_expiry_interval" default:"0" doc:"Forget retained messages after so long; 0: never."`
	MaxRetainedMessages  int      `yaml:"max_retained_messages" default:"0" min:"0" doc:"Retained messages in all; 0: bounded by memory."`
	MaxQueuedMemory      Size     `yaml:"max_queued_memory" default:"0" doc:"Bytes of QoS 1 and 2 messages that wait in memory, for clients whose sessions end with their connection, all of them together. One client may have a quarter of it, unless max_queued_bytes says how much. 0: a quarter of memory_limit, at most 256 MiB."`
	CheckRetainSource    bool     `yaml:"check_retain_source" default:"true" doc:"Deliver a retained message only while its publisher would still be allowed to publish it."`
	ResponseInformation  string   `yaml:"response_information" doc:"What MQTT 5 clients are told that ask for response information: where they may have answers sent. %c is the client id, %u the user name. Empty: nothing."`
	ServerReference      string   `yaml:"server_reference" doc:"Another server, as host:port, that MQTT 5 clients are told to use when the gateway stops. Empty: none."`
	SysInterval          Duration `yaml:"sys_interval" default:"10s" max:"1h" doc:"How often the $SYS topics are refreshed; 0: never."`
	MemoryLimit          Size     `yaml:"memory_limit" default:"0" doc:"Memory ceiling; near it new connections are refused, then QoS 0 is dropped, then publishers are refused. 0: three quarters of what the board or its control group has."`
}

// Limits is what every listener can have its own of.
type Limits struct {
	AllowZeroLengthClientID    bool     `yaml:"allow_zero_length_clientid" default:"true" doc:"Give a client that sends no client id one made here."`
	AutoIDPrefix               string   `yaml:"auto_id_prefix" default:"auto-" doc:"Prefix of client ids made here."`
	UseUsernameAsClientID      bool     `yaml:"use_username_as_clientid" default:"false" doc:"Replace the client id by the user name."`
	MountPoint                 string   `yaml:"mount_point" check:"prefix" doc:"Prefix put before every topic of the listener's clients, and taken off again."`
	AcceptProtocolVersions     []string `yaml:"accept_protocol_versions" default:"3,4,5" enum:"3,4,5,3.1,3.1.1,5.0" doc:"Protocol versions that may connect: 3 (3.1), 4 (3.1.1), 5."`
	MaxPacketSize              Size     `yaml:"max_packet_size" default:"2MB" min:"20" max:"268435460" doc:"Largest packet a client may send."`
	MaxMessageSize             Size     `yaml:"max_message_size" default:"0" doc:"Largest payload a client may publish, Mosquitto's message_size_limit; a larger one goes to nobody. 0: only max_packet_size bounds it."`
	MaxQoS                     int      `yaml:"max_qos" default:"2" min:"0" max:"2" doc:"Highest QoS a client may publish with."`
	MaxKeepalive               int      `yaml:"max_keepalive" default:"65535" min:"10" max:"65535" doc:"Longest keep alive in seconds; 65535: no bound. MQTT 5 clients that want more are told this one, others are refused."`
	MaxTopicAlias              int      `yaml:"max_topic_alias" default:"10" min:"0" max:"65535" doc:"Topic aliases an MQTT 5 client may use towards the broker."`
	MaxTopicAliasBroker        int      `yaml:"max_topic_alias_broker" default:"10" min:"0" max:"65535" doc:"Topic aliases the broker uses towards an MQTT 5 client that allows them."`
	RetainAvailable            bool     `yaml:"retain_available" default:"true" doc:"Accept retained messages."`
	SetTCPNoDelay              bool     `yaml:"set_tcp_nodelay" default:"true" doc:"Send small packets at once."`
	MaxInflightMessages        int      `yaml:"max_inflight_messages" default:"20" min:"1" max:"65535" doc:"QoS 1 and 2 messages in flight in either direction; a client's Receive Maximum lowers it, and more than 16384 are as good as 16384."`
	MaxTopicLevels             int      `yaml:"max_topic_levels" default:"201" min:"1" max:"65535" doc:"Levels a topic or filter may have."`
	MaxSubscriptions           int      `yaml:"max_subscriptions" default:"10000" min:"0" doc:"Subscriptions one client may hold; 0: no bound."`
	ConnectTimeout             Duration `yaml:"connect_timeout" default:"10s" min:"1s" max:"10m" doc:"Time a new connection has to bring its CONNECT."`
	MaxOutbox                  Size     `yaml:"max_outbox" default:"2MiB" min:"16KiB" max:"256MiB" doc:"Bytes that wait for one slow connection before QoS 0 is dropped."`
	QueueQoS0Messages          bool     `yaml:"queue_qos0_messages" default:"false" doc:"Queue QoS 0 messages too for persistent clients that are away."`
	UpgradeOutgoingQoS         bool     `yaml:"upgrade_outgoing_qos" default:"false" doc:"Deliver at the QoS of the subscription even where the message was published with less."`
	MaxInflightBytes           Size     `yaml:"max_inflight_bytes" default:"0" doc:"Bytes of QoS 1 and 2 messages in flight to one client; 0: no bound but max_inflight_messages."`
	MaxQueuedMessages          int      `yaml:"max_queued_messages" default:"0" min:"0" doc:"Messages that wait for one client beyond those in flight; 0: bounded by bytes only."`
	MaxQueuedBytes             Size     `yaml:"max_queued_bytes" default:"0" doc:"Bytes that wait for one client; 0: a share of the free disk, in memory of max_queued_memory."`
	MaxQueuedAge               Duration `yaml:"max_queued_age" default:"0" doc:"How long a message waits for a client; 0: until it expires by its own."`
	QueueFull                  string   `yaml:"queue_full" default:"reject" enum:"reject,close,drop_oldest,drop_newest,latest_per_topic" doc:"What happens to a message for a client whose queue is full. reject: the publisher is refused, by Quota exceeded (0x97) in MQTT 5 and by closing its connection in 3.x, which has no other way to say so. close: its connection is closed in either. Or the oldest or the newest goes, or only the latest of each topic stays."`
	PersistentClientExpiration Duration `yaml:"persistent_client_expiration" default:"0" doc:"Forget persistent clients that have been away for so long; 0: never."`
	AllowDuplicateMessages     bool     `yaml:"allow_duplicate_messages" default:"false" doc:"Send a message once for each overlapping subscription of a client whose session ends with its connection. Otherwise, and always for persistent clients, once at the highest QoS, with the identifiers of all of them."`
	MosquittoAnswers           bool     `yaml:"mosquitto_answers" default:"false" doc:"Answer as Mosquitto does where the specification leaves a choice: no reason strings, a malformed CONNECT of MQTT 5 is closed without CONNACK, PUBREC does not say that nobody has subscribed. On when a mosquitto.conf is run or converted."`
	DeniedSubscriptions        string   `yaml:"denied_subscriptions" default:"refuse" enum:"refuse,grant" doc:"Answer to a subscription that the ACL file lets receive nothing: refuse says so (0x80, in MQTT 5 Not authorized), grant accepts it, as Mosquitto does, and delivers what later rights allow."`
}
