package sensors

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// Format is the shape of a payload.
type Format string

const (
	FormatPlain Format = "plain" // the number alone, "21.4"
	FormatJSON  Format = "json"  // value, unit, time, quality, sequence
)

// Options says what to read, watch and drive, and where it goes.
type Options struct {
	Gateway   string // id, for the availability topics
	Probes    []ProbeConfig
	Lines     []LineConfig
	Muxes     []MuxConfig
	Expanders []ExpanderConfig
	Buses     Buses
	Sink      Sink
	History   History          // nil: none is kept
	Observer  Observer         // nil: nobody else hears of it
	Log       *slog.Logger     // nil: slog.Default()
	Clock     func() ClockInfo // nil: the system clock is taken as synchronised
	// BridgeUp says whether the bridge of that name has its connection, for
	// outputs that fail safe without it; nil: there are no bridges.
	BridgeUp func(name string) bool
	// MaxPending bounds the messages that wait for the Sink. When it is
	// reached the oldest goes and is counted; readings of one topic wait as
	// their latest only. Zero: 4096.
	MaxPending int
}

// ClockInfo is what is known about the system clock.
type ClockInfo struct {
	Synchronised bool
}

// ProbeConfig is one entry of `sensors:`.
type ProbeConfig struct {
	Name     string
	Driver   string
	Bus      string
	Address  string
	Options  map[string]any // driver's own keys
	Every    time.Duration  // zero: 10s
	Topic    string         // "{name}/{quantity}" when empty
	QoS      byte
	Retain   bool
	Format   Format                  // empty: plain
	Filters  map[string][]FilterSpec // by quantity; "*" for all others
	Derive   []DeriveSpec
	Digits   map[string]int // decimals of a quantity; absent: the quantity's own
	Disabled []string       // quantities that are not published
}

// FilterSpec is one step of a filter chain as written: {offset: -0.4}.
type FilterSpec struct {
	Name string
	Arg  any // number, duration text, list or map, as YAML gives it
}

// DeriveSpec makes one quantity out of others: a built-in function
// (dew_point, absolute_humidity, sea_level_pressure, …) or a formula over
// quantities, last, dt and options.
type DeriveSpec struct {
	Quantity string
	Unit     string
	Formula  string // empty: the built-in function named like the quantity
	Options  map[string]any
}

// LineConfig is one entry of `lines:`.
type LineConfig struct {
	Name      string
	Line      string // "GPIO17", "17", "gpiochip0:17", "pin 11", "<expander>:3"
	Direction string // "in" or "out"
	Pull      string // "up", "down", "none"; empty: as the board has it
	Active    string // "high" (default) or "low"
	Debounce  time.Duration
	Topic     string
	QoS       byte
	Retain    *bool // nil: true
	On, Off   string
	Format    Format

	// Inputs
	Count     string        // "", "rising", "falling", "both": pulses instead of states
	Every     time.Duration // how often a pulse count is published; zero: 10s
	PerUnit   float64       // pulses per unit of the total; zero: 1
	Unit      string        // of the total: "L", "kWh"
	Heartbeat time.Duration // repeat the state that often; zero: never

	// Outputs
	CommandTopic string
	Initial      string        // "on", "off", "keep" (the retained state); empty: off
	FailSafe     string        // "on" or "off": what it takes when the gateway stops or the commander is silent; empty: leave
	FailAfter    time.Duration // silence of the commander until FailSafe; zero: never
	FailBridge   string        // bridge through which the commander comes
	BridgeAfter  time.Duration // its silence until FailSafe; zero: 1m
	Pulse        time.Duration // on lasts that long, then off by itself; zero: for ever
	MaxOn        time.Duration // never on for longer
	Interlock    string        // at most one output of a group is on
	Settle       time.Duration // interlock: off of the other to on of this one
}

// Message is one publication.
type Message struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool
	Reading *Reading // what the payload says, where it is a reading; read-only
	// Answer says that this is sent on request: JSON, with the Correlation of
	// the request, in MQTT 5.
	Answer      bool
	Correlation []byte
}

// Sink is where publications go and commands come from: the broker.
type Sink interface {
	// Publish may wait (the store has its bound); it returns when the broker
	// has taken the message over. Called from one goroutine.
	Publish(ctx context.Context, m Message) error
	// Subscribe calls handle for each message on topic until cancel. handle
	// does not block.
	Subscribe(topic string, qos byte, handle func(Incoming)) (cancel func(), err error)
}

// Incoming is a message on a topic that was subscribed.
type Incoming struct {
	Payload  []byte
	Retained bool // an old value, not a command of this moment
	// Reply and Correlation are MQTT 5's response topic and correlation data:
	// where an answer is wanted and what it carries.
	Reply       string
	Correlation []byte
}

// History keeps readings for those who missed them; Ring is one. Append only
// writes memory: the goroutines of the buses call it.
type History interface {
	Append(Reading)
	Range(probe, quantity string, from, to time.Time, limit int) ([]Reading, error)
}

// ConfigError is a mistake in the configuration: which list, which entry,
// which key, so that the caller can name file and line.
type ConfigError struct {
	List  string // "sensors", "lines", "muxes" or "expanders"
	Index int
	Name  string
	Field string // "driver", "bus", "filters", …
	Err   error
}

func (e *ConfigError) Error() string {
	return fmt.Sprintf("%s[%d] %q: %s: %v", e.List, e.Index, e.Name, e.Field, e.Err)
}

func (e *ConfigError) Unwrap() error { return e.Err }
