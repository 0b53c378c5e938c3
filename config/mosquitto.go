package config

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// Note is what became of a line of a mosquitto.conf that was not simply
// carried over.
type Note struct {
	Pos    Position
	Option string
	Text   string
	// Lost is set when something the line asked for is missing now; otherwise
	// the note explains why nothing is.
	Lost bool
}

func (n Note) String() string {
	what := "note"
	if n.Lost {
		what = "not carried over"
	}
	return oneLine(fmt.Sprintf("%s: %s: %s: %s", n.Pos, n.Option, what, n.Text))
}

// LoadMosquitto reads a mosquitto.conf with everything it includes. version
// is the Mosquitto it was written for ("1.4" to "2.1"; empty: 2.1), because an
// option that is absent means what that version meant.
func LoadMosquitto(file, version string, o Options) (*Config, []Note, error) {
	env := o.Environment.withDefaults()
	c := &Config{positions: map[string]Position{}, refs: map[string]string{}, byName: map[string]bool{}, changed: map[string]bool{}}
	setDefaults(reflect.ValueOf(c).Elem())
	m := &mosquitto{c: c, env: env, version: version}
	if m.version == "" {
		m.version = "2.1"
	}
	if !slices.Contains(mosquittoVersions, m.version) {
		return nil, nil, Errors{{Problem: fmt.Sprintf("Mosquitto %s is not known", version), Remedy: "write one of " + strings.Join(mosquittoVersions, ", ")}}
	}
	m.defaults()
	m.file(file, 0)
	if len(m.errs) == 0 {
		m.finish()
	}
	d := &decoder{c: c}
	if o.Port != 0 {
		d.override(c, o.Port)
	}
	if o.DataDir != "" {
		c.Gateway.DataDir = o.DataDir
	}
	if o.Board != "" {
		c.Board.Kind = o.Board
	}
	if c.Gateway.DataDir == "" {
		c.Gateway.DataDir = defaultDataDir(env)
	}
	errs := append(m.errs, d.errs...)
	if len(errs) == 0 {
		errs = c.validate()
	}
	if len(errs) > 0 {
		return nil, m.notes, errs.sorted(c.files)
	}
	return c, m.notes, nil
}

var mosquittoVersions = []string{"1.4", "1.5", "1.6", "2.0", "2.1"}

// mosquitto carries one mosquitto.conf over.
type mosquitto struct {
	c       *Config
	env     Environment
	version string
	notes   []Note
	errs    Errors

	pos      Position // of the line at hand
	option   string
	listener int // index of the listener that options belong to; -1: the default one
	bridge   int // index of the bridge; -1: none yet

	general     mosquittoListener // what stands before the first listener
	listeners   []mosquittoListener
	bridges     []mosquittoBridge
	perListener bool
	anonymous   *bool  // allow_anonymous outside of listeners
	plugin      string // the last plugin named
	location    string // persistence_location
	database    string // persistence_file
	queued      int    // max_queued_messages
	logTypes    []string
	logDests    []string
	ports       bool // port or bind_address: the default listener is wanted
	early       []early
}

// early is a listener's option that stands before every listener.
type early struct {
	pos    Position
	option string
}

// mosquittoListener is a listener with what decides late.
type mosquittoListener struct {
	Listener
	pos                Position
	host, port, domain string
	anonymous          *bool
	cafile, capath     string
	cert, key          string
	requireCert        bool
	identity, crl, tls string
	psk, api           bool
	idPrefix           *string
	zeroLength         *bool
	tlsPos             Position
}

// older reports whether the configuration is for a Mosquitto before version.
func (m *mosquitto) older(version string) bool {
	return slices.Index(mosquittoVersions, m.version) < slices.Index(mosquittoVersions, version)
}

// defaults are what Mosquitto takes for options that are absent.
func (m *mosquitto) defaults() {
	m.listener, m.bridge = -1, -1
	m.queued = 1000
	m.database = "mosquitto.db"
	m.c.HTTP.Address = "off"
	m.c.Board.Kind = "none"
	m.c.MQTT.QueueFull = "drop_newest"
	m.c.MQTT.DeniedSubscriptions = "grant"
	m.c.MQTT.MosquittoAnswers = true
	m.c.Gateway.Topics = false
	m.c.Store.Persistence = false
	if m.older("2.0") {
		m.queued = 100
	}
	if m.older("1.5") {
		m.c.MQTT.CheckRetainSource = false // it came with 1.5.6
	}
	if m.older("2.1") {
		m.c.MQTT.MaxPacketSize = 268_435_460
	}
	setDefaults(reflect.ValueOf(&m.general.Listener).Elem())
	m.general.Limits = m.c.MQTT.Limits
	m.general.pos = Position{}
}

func (m *mosquitto) note(lost bool, format string, args ...any) {
	m.notes = append(m.notes, Note{m.pos, m.option, fmt.Sprintf(format, args...), lost})
}

func (m *mosquitto) fail(remedy, format string, args ...any) {
	m.errs = append(m.errs, &Error{Pos: m.pos, Path: m.option, Problem: fmt.Sprintf(format, args...), Remedy: remedy})
}

// file reads one file; include_dir may lead to more.
func (m *mosquitto) file(name string, depth int) {
	text, err := m.env.ReadFile(name)
	if err != nil {
		m.errs = append(m.errs, &Error{Pos: Position{File: name}, Problem: fileProblem("the configuration", err), Remedy: "name an existing mosquitto.conf"})
		return
	}
	m.c.files = append(m.c.files, name)
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, maxText)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if n == 1 {
			line = strings.TrimPrefix(line, "\ufeff") // what some editors begin a file with
		}
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		option, value := line, ""
		if i := strings.IndexAny(line, " \t"); i > 0 {
			option, value = line[:i], strings.TrimSpace(line[i:])
		}
		m.pos, m.option = Position{File: name, Line: n}, option
		m.line(option, value, depth)
	}
	if err := lines.Err(); err != nil {
		m.errs = append(m.errs, &Error{Pos: Position{File: name}, Problem: "cannot be read: " + err.Error(), Remedy: "check that it is a text file"})
	}
}

func (m *mosquitto) line(option, value string, depth int) {
	switch {
	case option == "include_dir" && depth > 0:
		m.fail("name the folder in the main file", "include_dir stands in an included file, where Mosquitto refuses it")
		return
	case option == "include_dir":
		m.include(value, depth)
		return
	case strings.HasPrefix(option, "auth_opt_"), strings.HasPrefix(option, "plugin_opt_"):
		m.pluginOption(option[strings.Index(option, "opt_")+4:], value)
		return
	}
	carry, ok := mosquittoOptions[option]
	if !ok {
		remedy := didYouMean(option, mosquittoNames())
		if !strings.HasPrefix(remedy, "did") {
			remedy = "this is no option of Mosquitto"
		}
		m.note(true, "unknown option; %s", remedy)
		return
	}
	if value == "" && option != "mount_point" {
		m.fail("write its value or remove the line", "has no value")
		return
	}
	if !mosquittoTexts[option] {
		value = firstWord(value) // the rest of the line is ignored, often a comment
	}
	carry(m, value)
}

// mosquittoTexts are the options whose value is the rest of the line, or several
// words. Of all others Mosquitto reads the first word only.
var mosquittoTexts = map[string]bool{
	"acl_file": true, "password_file": true, "psk_file": true, "psk_hint": true, "persistence_file": true, "persistence_location": true, "pid_file": true,
	"auto_id_prefix": true, "listener_auto_id_prefix": true, "bind_address": true, "bind_interface": true, "clientid_prefixes": true, "http_dir": true,
	"log_dest": true, "log_timestamp_format": true, "mount_point": true, "user": true, "websockets_origin": true, "listener": true,
	"accept_protocol_versions": true, "plugin_load": true, "plugin_use": true, "cafile": true, "capath": true, "certfile": true, "keyfile": true, "crlfile": true,
	"ciphers": true, "ciphers_tls1.3": true, "tls_version": true, "tls_engine": true, "tls_engine_kpass_sha1": true, "tls_keyform": true,
	"address": true, "addresses": true, "topic": true, "restart_timeout": true, "bridge_tcp_keepalive": true, "notification_topic": true,
	"clientid": true, "remote_clientid": true, "username": true, "remote_username": true, "password": true, "remote_password": true,
	"local_clientid": true, "local_username": true, "local_password": true, "bridge_alpn": true, "bridge_bind_address": true,
	"bridge_cafile": true, "bridge_capath": true, "bridge_certfile": true, "bridge_keyfile": true, "bridge_ciphers": true, "bridge_ciphers_tls1.3": true,
	"bridge_identity": true, "bridge_psk": true, "bridge_protocol_version": true, "bridge_tls_version": true,
}

func firstWord(value string) string {
	if i := strings.IndexAny(value, " \t"); i >= 0 {
		return value[:i]
	}
	return value
}

// words splits a value and drops a comment at its end.
func words(value string) []string {
	all := strings.Fields(value)
	if i := slices.IndexFunc(all, func(w string) bool { return w[0] == '#' }); i >= 0 {
		all = all[:i]
	}
	return all
}

// include reads the files of a folder whose names end in .conf, in Mosquitto's
// order: alphabetical, the upper case of a letter before its lower case. Each
// file starts outside of every listener and connection, and the file that
// includes it goes on where it was.
func (m *mosquitto) include(dir string, depth int) {
	names, err := m.env.ReadDir(dir)
	if err != nil {
		m.fail("let gatewayd read it", "%s", fileProblem("the folder "+dir, err))
		return
	}
	slices.SortFunc(names, mosquittoOrder)
	at, listener, bridge := m.pos, m.listener, m.bridge
	for _, n := range names {
		if strings.HasSuffix(n, ".conf") {
			m.listener, m.bridge = -1, -1
			m.file(filepath.Join(dir, n), depth+1)
		}
	}
	m.pos, m.listener, m.bridge = at, listener, bridge
}

// mosquittoOrder compares file names where they first differ: by the letter, and
// for the same letter the upper case first.
func mosquittoOrder(a, b string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			upper := func(c byte) byte {
				if 'a' <= c && c <= 'z' {
					return c - 'a' + 'A'
				}
				return c
			}
			return cmp.Or(cmp.Compare(upper(a[i]), upper(b[i])), cmp.Compare(a[i], b[i]))
		}
	}
	return cmp.Compare(len(a), len(b))
}

// pluginOption understands the options of the plugins that only replace an
// option of old.
func (m *mosquitto) pluginOption(name, value string) {
	plugin := filepath.Base(m.plugin)
	switch {
	case strings.Contains(plugin, "password_file") && name == "password_file":
		m.passwordFile(value)
	case strings.Contains(plugin, "acl_file") && name == "acl_file":
		m.aclFile(value)
	case strings.Contains(plugin, "sqlite"):
		m.note(false, "the store needs no such setting: what is acknowledged is on the card")
	case m.plugin == "":
		m.note(true, "there is no plugin above it that it could belong to")
	default:
		m.note(true, "the plugin %s is not loaded", plugin)
	}
}

// passwordFile and aclFile are the listener's own with per_listener_settings, and
// everybody's without.
func (m *mosquitto) passwordFile(value string) {
	if m.perListener {
		m.oneFile(&m.current().PasswordFile, value)
	} else if m.oneFile(&m.c.Auth.PasswordFile, value) {
		m.place("auth.password_file")
	}
}

func (m *mosquitto) aclFile(value string) {
	if m.perListener {
		m.oneFile(&m.current().ACLFile, value)
	} else if m.oneFile(&m.c.Auth.ACLFile, value) {
		m.place("auth.acl_file")
	}
}

// oneFile takes a file that there can be one of.
func (m *mosquitto) oneFile(to *string, value string) bool {
	value = m.path(value)
	if *to != "" && *to != value {
		m.fail("remove one of them, or set per_listener_settings true and put each below its listener", "stands there a second time, after %s", *to)
		return false
	}
	*to = value
	return true
}

// path makes a name absolute. Mosquitto takes it relative to the folder it was
// started in; that of the configuration is the better guess where it fits.
func (m *mosquitto) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	beside := filepath.Join(filepath.Dir(m.pos.File), name)
	if _, err := m.env.ReadFile(beside); err != nil {
		if here, err := filepath.Abs(name); err == nil {
			if _, err := m.env.ReadFile(here); err == nil {
				return here
			}
		}
	}
	if full, err := filepath.Abs(beside); err == nil {
		return full
	}
	return beside
}

// place remembers the line at hand as the place of a value.
func (m *mosquitto) place(path string) {
	m.c.positions[path], m.c.byName[path], m.c.changed[path] = m.pos, true, true
}

// current is the listener that the options at hand belong to.
func (m *mosquitto) current() *mosquittoListener {
	if m.listener < 0 {
		m.early = append(m.early, early{m.pos, m.option})
		return &m.general
	}
	return &m.listeners[m.listener]
}

// finish puts the collected parts together.
func (m *mosquitto) finish() {
	m.finishListeners()
	m.c.MQTT.MaxQueuedMessages = m.queued
	m.finishLog()
	m.finishStore()
	m.finishBridges()
}

func (m *mosquitto) finishStore() {
	if m.location == "" {
		return
	}
	if m.c.Store.Persistence {
		m.c.Gateway.DataDir = filepath.Join(m.location, "gatewayd")
		m.option = "persistence_location"
		m.pos = m.c.Pos("gateway.data_dir")
		m.note(false, "what Mosquitto had saved is taken over by: gatewayd store import -d %s %s", m.c.Gateway.DataDir, filepath.Join(m.location, m.database))
	}
}

func (m *mosquitto) finishLog() {
	if len(m.logDests) > 0 {
		m.c.Log.To = m.logDests
	}
	if len(m.logTypes) == 0 {
		return
	}
	has := func(t string) bool { return slices.Contains(m.logTypes, t) }
	switch {
	case has("none"):
		m.c.Log.To = []string{"none"}
	case has("all") || has("debug"):
		m.c.Log.Level = "debug"
	case has("information") || has("notice") || has("subscribe") || has("unsubscribe"):
		m.c.Log.Level = "info"
	case has("warning"):
		m.c.Log.Level = "warn"
	default:
		m.c.Log.Level = "error"
	}
}

// hostname is what Mosquitto begins a bridge's client id with.
func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}

func mosquittoNames() []string {
	names := []string{"include_dir"}
	for n := range mosquittoOptions {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
