package config

import (
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// Where a line stands decides what it belongs to.
const (
	confGeneral  = "%s\nlistener 1883\n"
	confListener = "per_listener_settings true\nlistener 1883\n%s\n"
	confTLS      = "listener 8883\ncertfile /c/server.crt\nkeyfile /c/server.key\ncafile /c/ca.crt\nrequire_certificate true\n%s\n"
	confPSK      = "listener 1883\nlistener 8884\n%s\n"
	confProxy    = "listener 1883\nenable_proxy_protocol 2\n%s\n"
	confWS       = "listener 9001\nprotocol websockets\n%s\n"
	confPlugin   = "plugin /usr/lib/mosquitto_password_file.so\n%s\nlistener 1883\n"
	confBridge   = "listener 1883\nconnection c\naddress h\ntopic a/# both 1\n%s\n"
	confSecure   = "listener 1883\nconnection c\naddress h\ntopic a/# both 1\nbridge_cafile /c/ca.crt\n%s\n"
	confBare     = "%s\n" // what opens a listener by itself
)

// mosquittoTable has every option of mosquitto.conf(5) from 1.4 to 2.1 with a
// value that is no default; 2.1 where no older version has it. A value of several lines belongs together.
var mosquittoTable = []struct{ since, conf, line string }{
	// General
	{"2.1", confListener, "accept_protocol_versions 4,5"},
	{"", confGeneral, "acl_file /etc/mosquitto/acl"},
	{"", confGeneral, "allow_anonymous true"},
	{"", confGeneral, "allow_duplicate_messages true"},
	{"", confGeneral, "allow_zero_length_clientid false"},
	{"", confGeneral, "auth_opt_path /x"},
	{"", confGeneral, "auth_plugin /usr/lib/other.so"},
	{"", confGeneral, "auth_plugin_deny_special_chars false"},
	{"", confGeneral, "auto_id_prefix me-"},
	{"", confGeneral, "autosave_interval 60"},
	{"", confGeneral, "autosave_on_changes true"},
	{"", confGeneral, "check_retain_source false"},
	{"", confGeneral, "clientid_prefixes secure-"},
	{"", confGeneral, "connection_messages false"},
	{"2.1", confGeneral, "enable_control_api true"},
	{"2.1", confGeneral, "global_max_clients 50"},
	{"2.1", confGeneral, "global_max_connections 50"},
	{"", confGeneral, "include_dir /etc/mosquitto/conf.d"},
	{"", confGeneral, "log_dest file /var/log/mosquitto.log"},
	{"", confGeneral, "log_facility 3"},
	{"", confGeneral, "log_timestamp false"},
	{"", confGeneral, "log_timestamp_format %H:%M"},
	{"", confGeneral, "log_type all"},
	{"", confGeneral, "max_inflight_bytes 1000"},
	{"", confGeneral, "max_inflight_messages 5"},
	{"", confGeneral, "max_keepalive 600"},
	{"", confGeneral, "max_log_entries 100"},
	{"", confGeneral, "max_packet_size 5000"},
	{"", confGeneral, "max_queued_bytes 100000"},
	{"", confGeneral, "max_queued_messages 7"},
	{"", confGeneral, "memory_limit 100000000"},
	{"", confGeneral, "message_size_limit 500"},
	{"2.1", confGeneral, "packet_buffer_size 4096"},
	{"", confGeneral, "password_file /etc/mosquitto/passwd"},
	{"", confListener, "per_listener_settings true\nallow_anonymous true"},
	{"", confGeneral, "persistence true"},
	{"", confGeneral, "persistence true\npersistence_file other.db\npersistence_location /var/lib/mosquitto"},
	{"", confGeneral, "persistence true\npersistence_location /var/lib/mosquitto"},
	{"", confGeneral, "persistent_client_expiration 2w"},
	{"", confGeneral, "pid_file /run/mosquitto.pid"},
	{"", confGeneral, "plugin /usr/lib/mosquitto_dynamic_security.so"},
	{"2.1", confGeneral, "global_plugin /usr/lib/other.so"},
	{"2.1", confGeneral, "plugin_load own /usr/lib/other.so"},
	{"", confPlugin, "plugin_opt_password_file /etc/mosquitto/passwd"},
	{"2.1", confListener, "plugin_use own"},
	{"", confGeneral, "psk_file /etc/mosquitto/psk"},
	{"", confGeneral, "queue_qos0_messages true"},
	{"", confGeneral, "retain_available false"},
	{"2.1", confGeneral, "retain_expiry_interval 90"},
	{"", confGeneral, "retained_persistence true"},
	{"", confGeneral, "retry_interval 20"},
	{"", confGeneral, "set_tcp_nodelay false"},
	{"", confGeneral, "store_clean_interval 10"},
	{"", confGeneral, "sys_interval 30"},
	{"", confGeneral, "upgrade_outgoing_qos true"},
	{"", confGeneral, "user mosquitto"},
	{"", confGeneral, "websockets_headers_size 2048"},
	{"", confGeneral, "websockets_log_level 255"},
	// Listeners
	{"", confBare, "bind_address 10.0.0.1"},
	{"", confListener, "bind_interface eth0"},
	{"2.1", confListener, "enable_proxy_protocol 2"},
	{"", confWS, "http_dir /srv/www"},
	{"", confBare, "listener 8080 10.0.0.1"},
	{"2.1", confListener, "listener_allow_anonymous true"},
	{"2.1", confListener, "listener_auto_id_prefix own-"},
	{"", confListener, "max_connections 9"},
	{"", confListener, "max_qos 1"},
	{"", confListener, "max_topic_alias 3"},
	{"2.1", confListener, "max_topic_alias_broker 3"},
	{"", confListener, "maximum_qos 1"},
	{"", confListener, "mount_point site/"},
	{"", confBare, "port 1884"},
	{"", confListener, "protocol websockets"},
	{"2.1", confProxy, "proxy_protocol_v2_require_tls true"},
	{"", confListener, "socket_domain ipv6"},
	{"", confListener, "use_username_as_clientid true"},
	{"2.1", confWS, "websockets_origin https://panel.example"},
	// TLS of listeners
	{"", confListener, "certfile /c/a.crt\nkeyfile /c/a.key\ncafile /c/ca.crt\nrequire_certificate true"},
	{"", confListener, "certfile /c/a.crt\nkeyfile /c/a.key\ncapath /c/ca\nrequire_certificate true"},
	{"", confTLS, "ciphers HIGH"},
	{"", confTLS, "ciphers_tls1.3 TLS_AES_128_GCM_SHA256"},
	{"", confTLS, "crlfile /c/crl.pem"},
	{"", confTLS, "dhparamfile /c/dh.pem"},
	{"2.1", confTLS, "disable_client_cert_date_checks true"},
	{"", confPSK, "psk_hint hello"},
	{"", confTLS, "tls_engine pkcs11"},
	{"", confTLS, "tls_engine_kpass_sha1 00ff"},
	{"", confTLS, "tls_keyform engine"},
	{"", confTLS, "tls_version tlsv1.3"},
	{"", confTLS, "use_identity_as_username true"},
	{"", confTLS, "use_subject_as_username true"},
	// Bridges
	{"", confBare, "connection c\naddress h:1884\ntopic # out"},
	{"", confBare, "connection c\naddresses h:1884 k\ntopic # out"},
	{"", confSecure, "bridge_alpn x-amzn-mqtt-ca"},
	{"", confBridge, "bridge_attempt_unsubscribe false"},
	{"", confBridge, "bridge_bind_address 10.0.0.1"},
	{"", confBridge, "bridge_cafile /c/ca.crt"},
	{"", confBridge, "bridge_capath /c/ca"},
	{"", confSecure, "bridge_certfile /c/b.crt\nbridge_keyfile /c/b.key"},
	{"2.1", confBridge, "bridge_ciphers HIGH"},
	{"2.1", confBridge, "bridge_ciphers_tls1.3 TLS_AES_128_GCM_SHA256"},
	{"", confBridge, "bridge_identity me"},
	{"", confSecure, "bridge_insecure true"},
	{"", confSecure, "bridge_keyfile /c/b.key\nbridge_certfile /c/b.crt"},
	{"", confBridge, "bridge_max_packet_size 5000"},
	{"2.1", confBridge, "bridge_max_topic_alias 3"},
	{"", confBridge, "bridge_outgoing_retain false"},
	{"", confBridge, "bridge_protocol_version mqttv50"},
	{"", confBridge, "bridge_psk 00ff"},
	{"2.1", confBridge, "bridge_receive_maximum 5"},
	{"2.1", confBridge, "bridge_reload_type immediate"},
	{"", confBridge, "bridge_require_ocsp true"},
	{"2.1", confBridge, "bridge_session_expiry_interval 60"},
	{"2.1", confBridge, "bridge_tcp_keepalive 30 10 3"},
	{"2.1", confBridge, "bridge_tcp_user_timeout 5000"},
	{"2.1", confSecure, "bridge_tls_use_os_certs true"},
	{"", confSecure, "bridge_tls_version tlsv1.3"},
	{"", confBridge, "cleansession true"},
	{"", confBridge, "clientid other"},
	{"", confBridge, "idle_timeout 5"},
	{"", confBridge, "keepalive_interval 20"},
	{"", confBridge, "local_cleansession true"},
	{"", confBridge, "local_clientid own"},
	{"", confBridge, "local_password p"},
	{"", confBridge, "local_username u"},
	{"", confBridge, "notification_topic bridge/state"},
	{"", confBridge, "notifications false"},
	{"", confBridge, "notifications_local_only true"},
	{"", confBridge, "username u\npassword p"},
	{"", confBridge, "remote_clientid other"},
	{"", confBridge, "remote_username u\nremote_password p"},
	{"", confBridge, "remote_username u"},
	{"", confBridge, "restart_timeout 3 60"},
	{"", confBridge, "round_robin true"},
	{"", confBridge, "start_type lazy"},
	{"", confBridge, "threshold 3"},
	{"", confBridge, "topic b/# in 2 here/ there/"},
	{"", confBridge, "try_private false"},
	{"", confBridge, "username u"},
}

// option is the one a row of the table is about: the last but for what only
// completes it.
func tableOption(line string) string {
	lines := strings.Split(line, "\n")
	name := firstWord(lines[len(lines)-1])
	switch {
	case strings.HasPrefix(line, "connection c\naddresses"):
		name = "addresses"
	case strings.HasPrefix(line, "connection c\n"):
		name = "connection"
	case strings.HasPrefix(line, "certfile") && strings.Contains(line, "capath"):
		name = "capath"
	case strings.HasPrefix(line, "certfile"):
		name = "certfile"
	case strings.HasPrefix(line, "bridge_certfile"):
		name = "bridge_certfile"
	case strings.HasPrefix(line, "bridge_keyfile"):
		name = "bridge_keyfile"
	case strings.HasPrefix(line, "persistence true\npersistence_file"):
		name = "persistence_file"
	case strings.HasPrefix(line, "per_listener_settings"):
		name = "per_listener_settings"
	}
	switch {
	case strings.HasPrefix(name, "auth_opt_"):
		name = "auth_opt_*"
	case strings.HasPrefix(name, "plugin_opt_"):
		name = "plugin_opt_*"
	}
	return name
}

// alsoIn are options that other rows show together with their own.
var alsoIn = map[string]string{
	"cafile": "certfile", "keyfile": "certfile", "require_certificate": "certfile", "address": "connection",
}

// Every option of mosquitto.conf from 1.4 to 2.1 changes the configuration or
// is named; what it becomes is the table in docs/MIGRATING.md.
func TestMosquittoTable(t *testing.T) {
	files := map[string]string{"/etc/mosquitto/conf.d/more.conf": "max_inflight_messages 7\n"}
	load := func(text string) (map[string]string, []Note) {
		t.Helper()
		files["/etc/mosquitto/mosquitto.conf"] = text
		c, notes, err := LoadMosquitto("/etc/mosquitto/mosquitto.conf", "2.1", Options{Environment: env(files, nil)})
		if err != nil {
			t.Fatalf("%s\n%v", text, err)
		}
		flat := map[string]string{}
		flatten("", c.Tree(), flat)
		return flat, notes
	}
	rows := map[string]string{}
	for _, row := range mosquittoTable {
		name := tableOption(row.line)
		base, before := load(strings.Replace(row.conf, "%s", "", 1))
		after, notes := load(strings.Replace(row.conf, "%s", row.line, 1))
		if name == "per_listener_settings" { // which belong to which listener
			base, before = load("listener 1883\n")
		}
		changed := map[string]bool{}
		for k, v := range after {
			if base[k] != v && !(strings.HasPrefix(k, "bridges[]") && strings.HasSuffix(k, "client_id") && name != "clientid") {
				changed[k] = true
			}
		}
		for k := range base {
			if _, ok := after[k]; !ok {
				changed[k] = true
			}
		}
		var says []string
		lost := false
		for _, n := range notes {
			known := slices.ContainsFunc(before, func(b Note) bool { return b.Option == n.Option && b.Text == n.Text })
			plain := n.Option == "listener" || n.Option == "persistence_location" && name != "persistence_file"
			if !known && !plain {
				says = append(says, n.Text)
				lost = lost || n.Lost
				if n.Pos.Line == 0 || n.Pos.File == "" {
					t.Errorf("%s: a note without a place: %s", name, n)
				}
			}
		}
		if len(changed) == 0 && len(says) == 0 {
			t.Errorf("%s is silently lost", name)
		}
		cell := strings.Join(prune(slices.Sorted(maps.Keys(changed))), ", ")
		if text := strings.Join(says, "; "); text != "" {
			if lost {
				text = "**not carried over**: " + text
			}
			cell = strings.TrimPrefix(cell+". "+text, ". ")
		}
		if rows[name] != "" {
			t.Errorf("%s has two rows", name)
		}
		rows[name] = fmt.Sprintf("| `%s` | %s | %s |", name, row.since, strings.ReplaceAll(cell, "|", "\\|"))
	}
	for name, with := range alsoIn {
		rows[name] = fmt.Sprintf("| `%s` | | with `%s` |", name, with)
	}
	for _, name := range append(mosquittoNames(), "auth_opt_*", "plugin_opt_*") {
		if rows[name] == "" {
			t.Errorf("%s is in no row", name)
		}
	}
	for name := range rows {
		if !slices.Contains(mosquittoNames(), name) && !strings.HasSuffix(name, "*") {
			t.Errorf("%s is not known", name)
		}
	}
	table := "| option | new in | becomes |\n|---|---|---|\n"
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		table += rows[name] + "\n"
	}
	holdTable(t, "../docs/MIGRATING.md", table)
}

// holdTable compares the part of a document between two marks, or renews it.
func holdTable(t *testing.T, file, table string) {
	t.Helper()
	const begin, end = "<!-- options begin -->\n", "<!-- options end -->\n"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(text), begin)
	old, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no marks", file)
	}
	if old == table {
		return
	}
	if !*update {
		t.Errorf("the options in %s are out of date: go test ./config -run TestMosquittoTable -update", file)
		return
	}
	if err := os.WriteFile(file, []byte(head+begin+table+end+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}

// flatten names every value by its path, lists without their index.
func flatten(path string, v any, into map[string]string) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			flatten(strings.TrimPrefix(path+"."+k, "."), e, into)
		}
	case []any:
		for _, e := range v {
			if reflect.TypeOf(e) != nil && reflect.TypeOf(e).Kind() == reflect.Map {
				flatten(path+"[]", e, into)
			} else {
				into[path] += fmt.Sprint(e, " ")
			}
		}
	default:
		into[path] += fmt.Sprint(v, " ")
	}
}

// prune names a whole section where all of it is new, and what every listener
// takes from mqtt only once.
func prune(keys []string) []string {
	sections := map[string]int{}
	for _, k := range keys {
		section, rest, _ := strings.Cut(k, ".")
		sections[section]++
		if strings.HasPrefix(rest, "tls.") {
			sections[section+".tls"]++
		}
	}
	var out []string
	for _, k := range keys {
		section, rest, _ := strings.Cut(k, ".")
		switch {
		case sections[section] > 12:
			k = section
		case strings.HasPrefix(rest, "tls.") && sections[section+".tls"] > 5:
			k = section + ".tls"
		case section == "listeners[]" && slices.Contains(keys, "mqtt."+rest):
			continue
		}
		out = append(out, "`"+k+"`")
	}
	slices.Sort(out)
	return slices.Compact(out)
}
