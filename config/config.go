package config

import (
	"fmt"
	"strings"
)

// Config is the whole configuration. The order of the fields is the order of
// the documentation, and MQTT and Auth stand before the listeners because a
// listener starts from what they say.
type Config struct {
	Gateway   Gateway    `yaml:"gateway" doc:"The gateway itself."`
	MQTT      MQTT       `yaml:"mqtt" doc:"The broker. The names are Mosquitto's where Mosquitto has the option."`
	Auth      Auth       `yaml:"auth" doc:"Who may connect, and what they may do."`
	Listeners []Listener `yaml:"listeners" doc:"Where MQTT clients connect. Without this key: 127.0.0.1:1883 and, as WebSocket, 127.0.0.1:8083."`
	HTTP      HTTP       `yaml:"http" doc:"Health, metrics and status over HTTP."`
	Store     Store      `yaml:"store" doc:"The durable store."`
	Board     Board      `yaml:"board" doc:"The hardware. Also written as a single word: board: auto."`
	Muxes     []Mux      `yaml:"muxes" doc:"I2C multiplexers."`
	Expanders []Expander `yaml:"expanders" doc:"Port expanders on I2C."`
	Sensors   []Sensor   `yaml:"sensors" doc:"Parts that are read on a schedule."`
	Lines     []Line     `yaml:"lines" doc:"Single inputs and outputs."`
	History   History    `yaml:"history" doc:"The past of the sensors' readings."`
	Bridges   []Bridge   `yaml:"bridges" doc:"Connections to other brokers."`
	Discovery Discovery  `yaml:"discovery" doc:"Announcing the gateway and what hangs on it."`
	Sparkplug Sparkplug  `yaml:"sparkplug" doc:"Sparkplug B."`
	Log       Log        `yaml:"log" doc:"Where the log goes and how much of it there is."`

	files     []string            // in the order they were read
	positions map[string]Position // by path
	refs      map[string]string   // ${…} as written, by path
	byName    map[string]bool     // paths that were written, not defaulted
	changed   map[string]bool     // paths written with another value than the default
}

// Gateway is what the gateway is called and where it keeps its data.
type Gateway struct {
	ID      string `yaml:"id" check:"level" doc:"Name of this gateway in topics, at other brokers and in discovery. Default: the board's serial number, else the host name."`
	Topics  bool   `yaml:"topics" default:"true" doc:"Publish the gateway's own topics: gateway/<id>/status, info, health and board."`
	DataDir string `yaml:"data_dir" path:"dir" doc:"Folder of the durable store. Default: $STATE_DIRECTORY, else ./data."`
}

// Auth is who may connect and what they may do.
type Auth struct {
	Anonymous    bool   `yaml:"anonymous" default:"false" doc:"Let clients in without a user name, on every listener that does not say otherwise. Listeners on loopback and Unix sockets are open anyway while there is no password_file."`
	PasswordFile string `yaml:"password_file" path:"file" doc:"Users and their passwords, as written by gatewayd passwd or mosquitto_passwd."`
	ScramFile    string `yaml:"scram_file" path:"file" doc:"Users who prove their password by SCRAM without sending it, as written by gatewayd passwd --scram. Listeners offer it with auth_methods."`
	ACLFile      string `yaml:"acl_file" path:"file" doc:"Rights in Mosquitto's format: user, pattern, topic read, write, readwrite, deny."`
}

// HTTP is the server for health, metrics and status.
type HTTP struct {
	Address   string `yaml:"address" default:"127.0.0.1:8080" check:"address" doc:"Where it listens; off turns it off."`
	Anonymous bool   `yaml:"anonymous" default:"false" doc:"Serve without a password on an address that is not loopback. Otherwise users of auth.password_file log in there."`
	TLS       *TLS   `yaml:"tls" doc:"Serve HTTPS."`
	Debug     bool   `yaml:"debug" default:"false" doc:"Serve Go's profiles at /debug/pprof/, on loopback only: see docs/BENCHMARKING.md."`
}

// Enabled reports whether there is an HTTP server at all.
func (h HTTP) Enabled() bool { return h.Address != "off" }

// Discovery is how the gateway makes itself known.
type Discovery struct {
	HomeAssistant bool   `yaml:"home_assistant" default:"false" doc:"Announce sensors and lines to Home Assistant (device-based MQTT discovery)."`
	Prefix        string `yaml:"prefix" default:"homeassistant" check:"topic" doc:"First level of Home Assistant's discovery topics."`
}

// Log is where the log goes.
type Log struct {
	Level    string   `yaml:"level" default:"info" enum:"debug,info,warn,error" doc:"The least important event that is written."`
	Format   string   `yaml:"format" default:"text" enum:"text,json" doc:"Form of a line on stderr and in a file."`
	To       []string `yaml:"to" default:"stderr" enum:"stderr,file,syslog,journal,topic,none" doc:"Destinations; several may be given."`
	File     string   `yaml:"file" path:"file" doc:"The file for the destination file. It is opened anew on HUP, so it can be rotated."`
	Facility string   `yaml:"facility" default:"daemon" enum:"daemon,user,local0,local1,local2,local3,local4,local5,local6,local7" doc:"Facility for the destination syslog."`
}

// Pos is where the value at path (such as "bridges[0].topics[1].filter") was
// written, or the nearest value around it that was, or the zero Position.
func (c *Config) Pos(path string) Position {
	for {
		if p, ok := c.positions[path]; ok {
			return p
		}
		cut := strings.LastIndexAny(path, ".[")
		if cut <= 0 {
			if len(c.files) > 0 {
				return Position{File: c.files[0]}
			}
			return Position{}
		}
		path = path[:cut]
	}
}

// Written reports whether path stands in a file, as opposed to a default.
func (c *Config) Written(path string) bool { return c.byName[path] }

// Files lists what was read, the main file first; empty for the built-in
// default.
func (c *Config) Files() []string { return c.files }

// Errorf is a fault at path that another room found.
func (c *Config) Errorf(path, remedy, format string, args ...any) *Error {
	return &Error{Pos: c.Pos(path), Path: path, Problem: fmt.Sprintf(format, args...), Remedy: remedy}
}
