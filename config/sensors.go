package config

// Board is the hardware the sensors and lines hang on.
type Board struct {
	Kind     string   `yaml:"kind" default:"auto" enum:"auto,hardware,sim,none" doc:"auto: the hardware where there is some, else simulated. hardware: the hardware or an error. sim: simulated. none: no sensors and no lines."`
	Watchdog Duration `yaml:"watchdog" default:"0" max:"10m" doc:"Let the hardware watchdog reset the board when the gateway has not advanced for so long; 0: off."`
	LED      string   `yaml:"led" default:"off" doc:"LED that shows the state: auto is the board's activity LED, else a name under /sys/class/leds; off."`
	Seed     int      `yaml:"seed" default:"1" min:"0" doc:"Simulation: the same seed gives the same values."`
	Faults   []Fault  `yaml:"faults" doc:"Simulation: what goes wrong."`
	Script   []Event  `yaml:"script" doc:"Simulation: what happens to the lines."`
}

func (Board) scalarKey() string { return "kind" }

// Fault is something that goes wrong on the simulated board.
type Fault struct {
	Sensor string   `yaml:"sensor" required:"true" doc:"Name of the sensor."`
	Fault  string   `yaml:"fault" required:"true" enum:"nack,crc,stuck,drift,noise,unplug,slow,hang" doc:"What goes wrong."`
	After  Duration `yaml:"after" doc:"How long after the start it begins."`
	For    Duration `yaml:"for" doc:"How long it lasts; 0: for ever."`
	Every  Duration `yaml:"every" doc:"Period of its return; 0: once."`
	Chance float64  `yaml:"chance" doc:"Probability for each transaction, up to 1; 0: always."`
	Amount float64  `yaml:"amount" doc:"Drift an hour, noise either way, milliseconds of slow."`
}

// Event is something that happens to a line of the simulated board.
type Event struct {
	Line  string   `yaml:"line" required:"true" doc:"The line, as in lines."`
	Level string   `yaml:"level" default:"toggle" enum:"high,low,toggle" doc:"What becomes of it."`
	At    Duration `yaml:"at" doc:"How long after the start."`
	Every Duration `yaml:"every" doc:"Period; 0: once."`
}

// History is how much of the past of each quantity is kept.
type History struct {
	Keep    bool `yaml:"keep" default:"true" doc:"Keep readings for those who missed them, in the store."`
	Raw     int  `yaml:"raw" default:"360" min:"1" max:"100000" doc:"Last readings of each quantity, as they were."`
	Minutes int  `yaml:"minutes" default:"720" min:"1" max:"100000" doc:"Means of a minute."`
	Hours   int  `yaml:"hours" default:"720" min:"1" max:"100000" doc:"Means of an hour."`
	Series  int  `yaml:"series" default:"1000" min:"1" max:"100000" doc:"Quantities that have a history; further ones are not kept, and counted."`
}

// Mux is an I2C multiplexer.
type Mux struct {
	Name    string `yaml:"name" required:"true" check:"level" doc:"Its name; the buses behind it are name/0 to name/7."`
	Driver  string `yaml:"driver" default:"pca9548" enum:"pca9548,tca9548" doc:"The part."`
	Bus     string `yaml:"bus" default:"i2c-1" doc:"Bus it hangs on."`
	Address string `yaml:"address" doc:"Its address; default 0x70."`
}

// Expander is a port expander.
type Expander struct {
	Name      string   `yaml:"name" required:"true" check:"level" doc:"Its name; its lines are name:0 and on."`
	Driver    string   `yaml:"driver" required:"true" enum:"mcp23017,mcp23008,pcf8574,pcf8575,xl9535" doc:"The part."`
	Bus       string   `yaml:"bus" default:"i2c-1" doc:"Bus it hangs on."`
	Address   string   `yaml:"address" doc:"Its address; default: the part's first."`
	Interrupt string   `yaml:"interrupt" doc:"Line of the board that the part pulls down on a change; empty: it is polled."`
	Every     Duration `yaml:"every" default:"0" doc:"How often it is polled; 0: every 20 ms, with an interrupt every second."`
}

// Sensor is one part that is read on a schedule.
type Sensor struct {
	Name     string              `yaml:"name" required:"true" check:"level" doc:"Its name, used in topics."`
	Driver   string              `yaml:"driver" required:"true" doc:"Driver; gatewayd sensor list shows them."`
	Bus      string              `yaml:"bus" doc:"Bus it hangs on, such as i2c-1, w1-1, spi0.0 or /dev/ttyS0; default: the driver's usual one."`
	Address  string              `yaml:"address" doc:"Address on the bus, such as 0x76 or 28-000005e2fdc3; default: the driver's usual one."`
	Options  map[string]any      `yaml:"options" doc:"What the driver has of its own."`
	Every    Duration            `yaml:"every" default:"10s" min:"10ms" max:"1w" doc:"How often it is read."`
	Topic    string              `yaml:"topic" default:"{name}/{quantity}" check:"topic" doc:"Topic of its values; {name}, {quantity} and {gateway} are filled in."`
	QoS      int                 `yaml:"qos" default:"1" min:"0" max:"2" doc:"QoS of its values."`
	Retain   bool                `yaml:"retain" default:"true" doc:"Publish retained."`
	Format   string              `yaml:"format" default:"plain" enum:"plain,json" doc:"plain: the number alone. json: value, unit, time, quality, sequence."`
	Filters  map[string][]Filter `yaml:"filters" doc:"Filters by quantity, in the order they are applied; \"*\" for all quantities not named."`
	Derive   []Derive            `yaml:"derive" doc:"Quantities computed from others."`
	Digits   map[string]int      `yaml:"digits" doc:"Decimals by quantity."`
	Disabled []string            `yaml:"disabled" doc:"Quantities that are not published."`
}

// Filter is one step of a filter chain: {offset: -0.4}.
type Filter struct {
	Name string
	Arg  any // number, text, list or map
}

// Derive makes a quantity out of others.
type Derive struct {
	Quantity string         `yaml:"quantity" required:"true" check:"level" doc:"Name of the new quantity; dew_point, absolute_humidity, sea_level_pressure and others are built in."`
	Unit     string         `yaml:"unit" doc:"Its unit."`
	Formula  string         `yaml:"formula" doc:"Formula over the other quantities; empty: the built-in one of that name."`
	Options  map[string]any `yaml:"options" doc:"Constants for the formula."`
}

// Line is one input or output.
type Line struct {
	Name      string   `yaml:"name" required:"true" check:"level" doc:"Its name."`
	Line      string   `yaml:"line" required:"true" doc:"Which one: GPIO17, pin 11, gpiochip0:17, or an expander and a number."`
	Direction string   `yaml:"direction" required:"true" enum:"in,out" doc:"Input or output."`
	Pull      string   `yaml:"pull" enum:"up,down,none" doc:"Input: pull resistor; default: as the board has it."`
	Active    string   `yaml:"active" default:"high" enum:"high,low" doc:"Level that means on."`
	Debounce  Duration `yaml:"debounce" default:"0" max:"1m" doc:"Input: changes shorter than this are ignored."`
	Topic     string   `yaml:"topic" required:"true" check:"topic" doc:"Topic of its state."`
	QoS       int      `yaml:"qos" default:"1" min:"0" max:"2" doc:"QoS of its state."`
	Retain    bool     `yaml:"retain" default:"true" doc:"Publish its state retained."`
	On        string   `yaml:"on" default:"on" doc:"Payload that means on."`
	Off       string   `yaml:"off" default:"off" doc:"Payload that means off."`
	Format    string   `yaml:"format" default:"plain" enum:"plain,json" doc:"plain: the payload alone. json: with time and sequence."`

	Count     string   `yaml:"count" enum:"rising,falling,both" doc:"Input: count edges instead of publishing each."`
	Every     Duration `yaml:"every" default:"10s" min:"100ms" max:"1w" doc:"Count: how often it is published."`
	PerUnit   float64  `yaml:"per_unit" default:"1" doc:"Count: edges for one unit."`
	Unit      string   `yaml:"unit" doc:"Count: the unit, such as L or kWh."`
	Heartbeat Duration `yaml:"heartbeat" default:"0" doc:"Input: repeat the state so often; 0: never."`

	CommandTopic string   `yaml:"command_topic" check:"topic" doc:"Output: topic that commands it; default: the topic with /set."`
	Initial      string   `yaml:"initial" default:"off" enum:"on,off,keep" doc:"Output: state at start; keep takes the last retained one."`
	FailSafe     string   `yaml:"fail_safe" enum:"on,off" doc:"Output: state it takes when the gateway stops, nobody commands for fail_after, or fail_bridge is away; default: it stays."`
	FailAfter    Duration `yaml:"fail_after" default:"0" doc:"Output: silence until fail_safe; 0: never."`
	FailBridge   string   `yaml:"fail_bridge" doc:"Output: name of the bridge its commander is behind; when that has had no connection for fail_bridge_after, fail_safe is taken."`
	BridgeAfter  Duration `yaml:"fail_bridge_after" default:"1m" min:"1s" doc:"Output: time without the bridge until fail_safe."`
	Pulse        Duration `yaml:"pulse" default:"0" doc:"Output: on lasts that long; 0: until off."`
	MaxOn        Duration `yaml:"max_on" default:"0" doc:"Output: never on for longer; 0: no bound."`
	Interlock    string   `yaml:"interlock" doc:"Output: of a group of this name at most one is on."`
	Settle       Duration `yaml:"settle" default:"0" doc:"Output: interlock pause between one going off and another on."`
}
