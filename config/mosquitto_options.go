package config

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// mosquittoOptions carries each option over. Those whose effect gatewayd has
// without a setting, or cannot have, are named by a note.
var mosquittoOptions map[string]func(m *mosquitto, value string)

func init() { // the functions refer to the map's owner
	mosquittoOptions = map[string]func(m *mosquitto, value string){
		// General
		"acl_file":                     (*mosquitto).aclFile,
		"password_file":                (*mosquitto).passwordFile,
		"allow_anonymous":              (*mosquitto).allowAnonymous,
		"allow_duplicate_messages":     truthInto(func(m *mosquitto) *bool { return &m.c.MQTT.AllowDuplicateMessages }),
		"check_retain_source":          truthInto(func(m *mosquitto) *bool { return &m.c.MQTT.CheckRetainSource }),
		"queue_qos0_messages":          truthInto(func(m *mosquitto) *bool { return &m.c.MQTT.QueueQoS0Messages }),
		"upgrade_outgoing_qos":         truthInto(func(m *mosquitto) *bool { return &m.c.MQTT.UpgradeOutgoingQoS }),
		"max_inflight_messages":        (*mosquitto).maxInflight,
		"max_inflight_bytes":           sizeInto(func(m *mosquitto) *Size { return &m.c.MQTT.MaxInflightBytes }),
		"max_queued_bytes":             sizeInto(func(m *mosquitto) *Size { return &m.c.MQTT.MaxQueuedBytes }),
		"max_queued_messages":          atLeast(0, func(m *mosquitto) *int { return &m.queued }),
		"memory_limit":                 sizeInto(func(m *mosquitto) *Size { return &m.c.MQTT.MemoryLimit }),
		"global_max_clients":           (*mosquitto).globalMax,
		"global_max_connections":       (*mosquitto).globalMax,
		"persistent_client_expiration": (*mosquitto).expiration,
		"retain_expiry_interval":       (*mosquitto).retainExpiry,
		"sys_interval":                 secondsInto(func(m *mosquitto) *Duration { return &m.c.MQTT.SysInterval }),
		"per_listener_settings":        truthInto(func(m *mosquitto) *bool { return &m.perListener }),
		"persistence":                  truthInto(func(m *mosquitto) *bool { return &m.c.Store.Persistence }),
		"retained_persistence":         truthInto(func(m *mosquitto) *bool { return &m.c.Store.Persistence }),
		"max_keepalive":                numberInto(0, 65535, func(m *mosquitto) *int { return &m.c.MQTT.MaxKeepalive }),
		"max_packet_size":              sizeInto(func(m *mosquitto) *Size { return &m.c.MQTT.MaxPacketSize }),
		"message_size_limit":           (*mosquitto).messageSize,
		"allow_zero_length_clientid":   (*mosquitto).allowZeroLength,
		"auto_id_prefix":               (*mosquitto).autoIDPrefix,
		"retain_available":             truthInto(func(m *mosquitto) *bool { return &m.c.MQTT.RetainAvailable }),
		"set_tcp_nodelay":              truthInto(func(m *mosquitto) *bool { return &m.c.MQTT.SetTCPNoDelay }),
		"persistence_file":             func(m *mosquitto, v string) { m.database = v },
		"persistence_location":         func(m *mosquitto, v string) { m.location = m.path(v); m.place("gateway.data_dir") },
		"autosave_interval":            because("every acknowledged message is on the card already"),
		"autosave_on_changes":          because("every acknowledged message is on the card already"),
		"connection_messages":          because("connections are logged at level info"),
		"log_dest":                     (*mosquitto).logDest,
		"log_facility":                 (*mosquitto).logFacility,
		"log_timestamp":                because("every line has its time"),
		"log_timestamp_format":         because("times are in RFC 3339"),
		"log_type":                     (*mosquitto).logType,
		"websockets_log_level":         because("WebSocket events are logged at level debug"),
		"websockets_headers_size":      because("headers may have 16 kB"),
		"pid_file":                     because("systemd knows the process; nothing else needs the file"),
		"packet_buffer_size":           because("buffers are as large as what they hold"),
		"enable_control_api":           lostWhenTrue("there is no $CONTROL; use the password file, the ACL file and HUP"),
		"user":                         lost("start gatewayd as the user it should run as (User= in its unit)"),
		"retry_interval":               because("MQTT forbids repeating messages on a living connection"),
		"store_clean_interval":         because("the store cleans itself"),
		"max_log_entries":              because("the log has no such bound"),
		"clientid_prefixes":            lost("restrict client ids by users and the ACL file"),
		// Plugins
		"auth_plugin":                    (*mosquitto).loadPlugin,
		"auth_plugin_deny_special_chars": because("user names with + or # match no pattern of the ACL file"),
		"plugin":                         (*mosquitto).loadPlugin,
		"global_plugin":                  (*mosquitto).loadPlugin,
		"plugin_load": func(m *mosquitto, v string) {
			_, path, _ := strings.Cut(v, " ")
			m.loadPlugin(strings.TrimSpace(path))
		},
		"plugin_use": because("plugins are not loaded"),
		// Listeners
		"listener":                      (*mosquitto).newListener,
		"port":                          func(m *mosquitto, v string) { m.general.port, m.general.pos, m.ports = v, m.pos, true },
		"bind_address":                  func(m *mosquitto, v string) { m.general.host, m.general.pos, m.ports = v, m.pos, true },
		"bind_interface":                func(m *mosquitto, v string) { m.current().Interface = v },
		"socket_domain":                 (*mosquitto).socketDomain,
		"protocol":                      (*mosquitto).protocol,
		"http_dir":                      lost("gatewayd serves no files of yours"),
		"websockets_origin":             func(m *mosquitto, v string) { m.current().Origins = append(m.current().Origins, v) },
		"mount_point":                   func(m *mosquitto, v string) { m.current().MountPoint = v },
		"max_connections":               (*mosquitto).maxConnections,
		"max_qos":                       numberInto(0, 2, func(m *mosquitto) *int { return &m.current().MaxQoS }),
		"maximum_qos":                   numberInto(0, 2, func(m *mosquitto) *int { return &m.current().MaxQoS }),
		"max_topic_alias":               numberInto(0, 65535, func(m *mosquitto) *int { return &m.current().MaxTopicAlias }),
		"max_topic_alias_broker":        numberInto(0, 65535, func(m *mosquitto) *int { return &m.current().MaxTopicAliasBroker }),
		"accept_protocol_versions":      (*mosquitto).versions,
		"listener_auto_id_prefix":       func(m *mosquitto, v string) { m.current().idPrefix = &v },
		"listener_allow_anonymous":      (*mosquitto).listenerAnonymous,
		"use_username_as_clientid":      truthInto(func(m *mosquitto) *bool { return &m.current().UseUsernameAsClientID }),
		"enable_proxy_protocol":         (*mosquitto).proxyProtocol,
		"proxy_protocol_v2_require_tls": truthInto(func(m *mosquitto) *bool { return &m.current().ProxyRequireTLS }),
		// TLS of listeners
		"cafile":                          func(m *mosquitto, v string) { m.current().cafile = m.path(v) },
		"capath":                          func(m *mosquitto, v string) { m.current().capath = m.path(v) },
		"certfile":                        func(m *mosquitto, v string) { m.current().cert, m.current().tlsPos = m.path(v), m.pos },
		"keyfile":                         func(m *mosquitto, v string) { m.current().key = m.path(v) },
		"crlfile":                         func(m *mosquitto, v string) { m.current().crl = m.path(v) },
		"require_certificate":             truthInto(func(m *mosquitto) *bool { return &m.current().requireCert }),
		"use_identity_as_username":        identity("cn"),
		"use_subject_as_username":         identity("subject"),
		"tls_version":                     (*mosquitto).tlsVersion,
		"ciphers":                         because("only safe cipher suites are offered"),
		"ciphers_tls1.3":                  because("TLS 1.3 has safe cipher suites only"),
		"dhparamfile":                     because("key exchange is by elliptic curves"),
		"disable_client_cert_date_checks": lostWhenTrue("client certificates must be valid in time"),
		"tls_engine":                      lost("keys are read from files"),
		"tls_engine_kpass_sha1":           lost("keys are read from files"),
		"tls_keyform":                     (*mosquitto).keyForm,
		"psk_file":                        lost("there are no pre-shared keys: use certificates; listeners with a psk_hint are left out"),
		"psk_hint":                        (*mosquitto).preShared,
	}
	for name, carry := range mosquittoBridgeOptions {
		mosquittoOptions[name] = carry
	}
}

// because is an option that needs no setting here.
func because(why string) func(*mosquitto, string) {
	return func(m *mosquitto, _ string) { m.note(false, "%s", why) }
}

// lost is an option that cannot be carried over.
func lost(why string) func(*mosquitto, string) {
	return func(m *mosquitto, _ string) { m.note(true, "%s", why) }
}

// lostWhenTrue is an option that cannot be carried over, and whose false is what
// gatewayd does.
func lostWhenTrue(why string) func(*mosquitto, string) {
	return func(m *mosquitto, value string) {
		if v, ok := m.truth(value); ok && v {
			m.note(true, "%s", why)
		}
	}
}

func (m *mosquitto) truth(value string) (v, ok bool) {
	switch strings.ToLower(value) {
	case "true", "1":
		return true, true
	case "false", "0":
		return false, true
	}
	m.fail("write true or false", "%q is not a truth value", value)
	return false, false
}

func truthInto(field func(*mosquitto) *bool) func(*mosquitto, string) {
	return func(m *mosquitto, value string) {
		if v, ok := m.truth(value); ok {
			*field(m) = v
		}
	}
}

func (m *mosquitto) number(value string, low, high int) (int, bool) {
	n, ok := m.integer(value)
	if !ok {
		m.fail(fmt.Sprintf("write a number from %d to %d", low, high), "%q is not a number", value)
		return 0, false
	}
	if n < low || n > high {
		m.fail(fmt.Sprintf("write a number from %d to %d", low, high), "%d is out of range", n)
		return 0, false
	}
	return n, true
}

// integer reads a number as that version does: 2.1 in C's notation, those before
// it as many digits as there are.
func (m *mosquitto) integer(value string) (int, bool) {
	if !m.older("2.1") {
		n, err := strconv.ParseInt(value, 0, 64)
		return int(max(min(n, math.MaxInt32), math.MinInt32)), err == nil
	}
	sign, digits := int64(1), value
	if value != "" && (value[0] == '-' || value[0] == '+') {
		digits = value[1:]
		if value[0] == '-' {
			sign = -1
		}
	}
	end := strings.IndexFunc(digits+" ", func(r rune) bool { return r < '0' || r > '9' })
	n, err := strconv.ParseInt(digits[:end], 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, false
	}
	n *= sign
	if end < len(digits) {
		m.note(false, "%q is read as %d, as by Mosquitto %s", value, n, m.version)
	}
	return int(max(min(n, math.MaxInt32), math.MinInt32)), true
}

func numberInto(low, high int, field func(*mosquitto) *int) func(*mosquitto, string) {
	return func(m *mosquitto, value string) {
		if n, ok := m.number(value, low, high); ok {
			*field(m) = n
		}
	}
}

func sizeInto(field func(*mosquitto) *Size) func(*mosquitto, string) {
	return func(m *mosquitto, value string) {
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			m.fail("write a number of bytes", "%q is not a number of bytes", value)
			return
		}
		*field(m) = Size(max(n, 0))
	}
}

func secondsInto(field func(*mosquitto) *Duration) func(*mosquitto, string) {
	return func(m *mosquitto, value string) {
		if n, ok := m.number(value, 0, 1<<30); ok {
			*field(m) = Duration(time.Duration(n) * time.Second)
		}
	}
}

func (m *mosquitto) allowAnonymous(value string) {
	v, ok := m.truth(value)
	if !ok {
		return
	}
	if m.perListener && m.listener >= 0 {
		m.current().anonymous = &v
		return
	}
	m.anonymous = &v
}

func (m *mosquitto) listenerAnonymous(value string) {
	if v, ok := m.truth(value); ok {
		m.current().anonymous = &v
	}
}

// atLeast takes what is below low for low, as Mosquitto does.
func atLeast(low int, field func(*mosquitto) *int) func(*mosquitto, string) {
	return func(m *mosquitto, value string) {
		if n, ok := m.number(value, -1<<30, 1<<30); ok {
			*field(m) = max(n, low)
		}
	}
}

// autoIDPrefix is the listener's own only with per_listener_settings.
func (m *mosquitto) autoIDPrefix(value string) {
	if m.perListener && m.listener >= 0 {
		m.current().idPrefix = &value
		return
	}
	m.c.MQTT.AutoIDPrefix = value
}

// allowZeroLength is the listener's own only with per_listener_settings.
func (m *mosquitto) allowZeroLength(value string) {
	v, ok := m.truth(value)
	switch {
	case !ok:
	case m.perListener && m.listener >= 0:
		m.current().zeroLength = &v
	default:
		m.c.MQTT.AllowZeroLengthClientID = v
	}
}

// maxInflight knows Mosquitto's 0, no bound, which MQTT's packet ids bound.
func (m *mosquitto) maxInflight(value string) {
	if n, ok := m.number(value, -1<<30, 65535); ok {
		if n <= 0 {
			n = 65535
		}
		m.c.MQTT.MaxInflightMessages = n
	}
}

func (m *mosquitto) globalMax(value string) {
	if n, ok := m.number(value, -1, 1<<30); ok {
		m.c.MQTT.MaxConnections = max(n, 0)
	}
}

func (m *mosquitto) maxConnections(value string) {
	if n, ok := m.number(value, -1, 1<<30); ok {
		m.current().MaxConnections = max(n, 0)
	}
}

// expiration is a number with s, h, d, w, m (months) or y.
func (m *mosquitto) expiration(value string) {
	units := map[byte]time.Duration{'s': time.Second, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour, 'm': 30 * 24 * time.Hour, 'y': 365 * 24 * time.Hour}
	unit := units[value[len(value)-1]]
	n, err := strconv.Atoi(value[:len(value)-1])
	if err != nil || unit == 0 || n < 1 || time.Duration(n) > 290*365*24*time.Hour/unit {
		m.fail("write a number with s, h, d, w, m or y, such as 2w", "%q is not a duration", value)
		return
	}
	m.c.MQTT.PersistentClientExpiration = Duration(time.Duration(n) * unit)
}

func (m *mosquitto) retainExpiry(value string) {
	if n, ok := m.number(value, 0, 1<<30); ok { // minutes
		m.c.MQTT.RetainExpiryInterval = Duration(time.Duration(n) * time.Minute)
	}
}

func (m *mosquitto) messageSize(value string) {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 0 {
		m.fail("write a number of bytes", "%q is not a number of bytes", value)
		return
	}
	if n > 0 {
		m.c.MQTT.MaxMessageSize = Size(min(n, 268_435_455))
	}
}

func (m *mosquitto) versions(value string) {
	l := m.current()
	l.AcceptProtocolVersions = nil
	for _, w := range strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' }) {
		if w != "3" && w != "4" && w != "5" {
			m.note(true, "%q is no protocol version: write 3, 4 or 5", w)
			continue
		}
		l.AcceptProtocolVersions = append(l.AcceptProtocolVersions, w)
	}
}

func (m *mosquitto) logDest(value string) {
	dest, rest, _ := strings.Cut(value, " ")
	switch dest {
	case "stdout":
		m.note(false, "goes to stderr")
		dest = "stderr"
	case "stderr", "syslog", "topic", "none":
	case "file":
		m.c.Log.File = m.path(strings.TrimSpace(rest))
		m.place("log.file")
	default:
		m.note(true, "there is no destination %s", dest)
		return
	}
	for _, d := range m.logDests {
		if d == dest {
			return
		}
	}
	m.logDests = append(m.logDests, dest)
}

func (m *mosquitto) logType(value string) {
	if !slices.Contains(mosquittoLogTypes, value) {
		m.fail(didYouMean(value, mosquittoLogTypes), "there is no log type %q", value)
		return
	}
	m.logTypes = append(m.logTypes, value)
}

var mosquittoLogTypes = []string{"all", "debug", "error", "information", "internal", "none", "notice", "subscribe", "unsubscribe", "warning", "websockets"}

func (m *mosquitto) logFacility(value string) {
	if n, ok := m.number(value, 0, 7); ok {
		m.c.Log.Facility = "local" + value
		_ = n
	}
}

func (m *mosquitto) loadPlugin(path string) {
	m.plugin = path
	switch name := path[strings.LastIndexByte(path, '/')+1:]; {
	case strings.Contains(name, "password_file"), strings.Contains(name, "acl_file"):
		m.note(false, "gatewayd reads these files itself")
	case strings.Contains(name, "sqlite"):
		m.c.Store.Persistence = true
		m.note(false, "gatewayd has its own store")
	case strings.Contains(name, "dynamic_security"):
		m.note(true, "write its clients and roles as a password file and an ACL file")
	default:
		m.note(true, "gatewayd loads no plugins of Mosquitto")
	}
}
