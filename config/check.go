package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

// checks are the forms a text may have to have. Each returns what is wrong,
// to follow the quoted text, and what to do; both empty when nothing is.
var checks = map[string]func(s string) (problem, remedy string){
	"level": func(s string) (string, string) {
		if s == "" || strings.ContainsAny(s, "/+#") {
			return "cannot be one level of a topic", "leave out / + and #"
		}
		return plainText(s)
	},
	"topic": func(s string) (string, string) {
		if s == "" || strings.ContainsAny(s, "+#") {
			return "is not a topic to publish to", "leave out + and #"
		}
		return plainText(s)
	},
	"prefix": func(s string) (string, string) {
		if strings.ContainsAny(s, "+#") {
			return "is not a prefix", "leave out + and #"
		}
		return plainText(s)
	},
	"filter": func(s string) (string, string) {
		levels := strings.Split(s, "/")
		for i, l := range levels {
			if l != "#" && l != "+" && strings.ContainsAny(l, "+#") || l == "#" && i < len(levels)-1 {
				return "is not a topic filter", "a + is a level of its own, a # the last one"
			}
		}
		return plainText(s)
	},
	"address": checkAddress,
	"remote":  checkRemote,
	"mode": func(s string) (string, string) {
		if m, err := strconv.ParseUint(s, 8, 32); err != nil || m > 0o777 {
			return "is not a file mode", `write three octal digits, such as "0660"`
		}
		return "", ""
	},
	"urlpath": func(s string) (string, string) {
		if !strings.HasPrefix(s, "/") || strings.ContainsAny(s, "?# ") {
			return "is not a path", "begin with / and leave out ? # and spaces"
		}
		return "", ""
	},
	"proxy": func(s string) (string, string) {
		u, err := url.Parse(s)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "socks5" && u.Scheme != "socks5h" {
			return "is not a proxy", "write http://host:port or socks5://host:port"
		}
		return "", ""
	},
}

func runCheck(name, s string) (problem, remedy string) {
	if name == "" {
		return "", ""
	}
	return checks[name](s)
}

// plainText holds a text against what MQTT allows in a topic [MQTT-1.5.4-1, -2].
func plainText(s string) (string, string) {
	if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
		return "is not valid UTF-8", "write it in UTF-8 without NUL"
	}
	if len(s) > 65535 {
		return "is too long", "use at most 65535 bytes"
	}
	return "", ""
}

// checkAddress is for what we listen on.
func checkAddress(s string) (string, string) {
	const remedy = "write host:port, :port for all interfaces, [v6]:port, or unix:/path"
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		if path == "" {
			return "names no socket", "write unix:/path/of/socket"
		}
		if len(path) > 107 {
			return "is longer than a Unix socket's path can be", "use at most 107 bytes"
		}
		return "", ""
	}
	if s == "off" {
		return "", ""
	}
	return hostPort(s, remedy, true)
}

// checkRemote is for what a bridge connects to.
func checkRemote(s string) (string, string) {
	const remedy = "write host:port, or a URL with mqtt, mqtts, ws or wss"
	if !strings.Contains(s, "://") {
		return hostPort(s, remedy, false)
	}
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" {
		return "is not an address", remedy
	}
	switch u.Scheme {
	case "mqtt", "mqtts", "ws", "wss":
	default:
		return fmt.Sprintf("has the unknown scheme %s", u.Scheme), remedy
	}
	if u.User != nil {
		return "carries a user name", "write username and password as keys of the bridge"
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
			return "has no valid port", "ports go from 1 to 65535"
		}
	}
	return "", ""
}

func hostPort(s, remedy string, listen bool) (string, string) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return "has no port", remedy
	}
	host, port := s[:i], s[i+1:]
	n, err := strconv.Atoi(port)
	if err != nil || n < 0 || n > 65535 || n == 0 && !listen {
		return "has no valid port", "ports go from 1 to 65535"
	}
	switch {
	case strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]"):
		if a, err := netip.ParseAddr(host[1 : len(host)-1]); err != nil || !a.Is6() {
			return "is not an address", remedy
		}
	case strings.Contains(host, ":"):
		return "is not an address", "write an IPv6 address in brackets, such as [::1]:1883"
	case host == "" && !listen:
		return "has no host", remedy
	case strings.ContainsAny(host, " /[]"):
		return "is not an address", remedy
	}
	return "", ""
}

// Loopback reports whether only this machine can reach a listener's address.
func Loopback(address string) bool {
	if strings.HasPrefix(address, "unix:") {
		return true
	}
	i := strings.LastIndexByte(address, ':')
	if i < 0 {
		return false
	}
	host := strings.Trim(address[:i], "[]")
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}
