package config

// Store is what survives a power cut, and how.
type Store struct {
	Persistence   bool         `yaml:"persistence" default:"true" doc:"Keep the store on disk. false: everything is in memory and gone at a restart."`
	Memory        string       `yaml:"memory" default:"small" enum:"small,large" doc:"What the store may take: small keeps a million waiting messages in less than 64 MB, large takes about 250 MB and is faster under a load that never rests."`
	CommitDelay   Duration     `yaml:"commit_delay" default:"50ms" max:"1s" doc:"The longest a message waits to be written while its recipients, all online, are expected to acknowledge it first, which spares the write. It waits as long as they usually take, and not at all if that is longer; 0: never."`
	LazyInterval  Duration     `yaml:"lazy_interval" default:"1m" min:"1s" max:"1d" doc:"How often values of class lazy are written."`
	WriteBudget   Size         `yaml:"write_budget" default:"0" doc:"Bytes a day the card should be spared to; near it groups are gathered longer. Acknowledgements are never weakened. 0: none."`
	CardWrites    int          `yaml:"card_writes" default:"300" min:"1" doc:"How often the card can be written over as a whole, for the estimate of its life: the maker's TBW divided by its size. 300 is a guess for consumers' cards."`
	MaxBytes      Size         `yaml:"max_bytes" default:"0" doc:"Bytes that may wait in all queues together; 0: a share of the free disk."`
	MaxMessages   int          `yaml:"max_messages" default:"0" min:"0" doc:"Messages that may wait in all queues together, one for three clients counting three times; beyond it publishers are refused. 0: no bound but bytes."`
	MaxAge        Duration     `yaml:"max_age" default:"0" doc:"How long a message may wait in any queue, whatever the bounds of the queue are; 0: for ever."`
	MaxPending    Size         `yaml:"max_pending" default:"4MB" min:"64KiB" max:"1GiB" doc:"Bytes that may wait for the card before publishers have to."`
	Durability    []Durability `yaml:"durability" doc:"Durability of the messages of some topics, and with it what their acknowledgement means. The first filter that matches counts; what none names is of class commit."`
	RetainedClass string       `yaml:"retained_class" default:"commit" enum:"commit,lazy,memory" doc:"Durability of retained messages that clients publish with QoS 1 or 2. With QoS 0 they are lazy."`
}

// Durability is how durable the messages of some topics are.
type Durability struct {
	Filter string `yaml:"filter" required:"true" check:"filter" doc:"Topic filter."`
	Class  string `yaml:"class" required:"true" enum:"commit,lazy,memory" doc:"commit: acknowledged when it is on the card, or nobody needs it any more. lazy: acknowledged at once, written within lazy_interval and at a clean stop; a power cut or crash may lose what was acknowledged since. memory: acknowledged at once and never written; it is gone after a restart. It holds for queued and retained messages; QoS 2 is exactly once as long as the gateway runs."`
}
