package bridge

import (
	"fmt"
	"net"
	"net/url"
	"strings"
)

// address is one place where the centre may be.
type address struct {
	text    string // as configured
	network string // tcp, tcp4, unix
	host    string // host:port, or the path of a socket
	name    string // the host alone, for TLS
	tls     bool
	ws      bool
	path    string // of WebSocket, with its query
}

// parseAddress reads host:port or a URL.
func parseAddress(text string, o Options) (address, error) {
	a := address{text: text, network: "tcp", tls: o.TLS != nil}
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		a.network, a.host, a.tls = "unix", strings.TrimPrefix(path, "//"), false
		return a, nil
	}
	if !strings.Contains(text, "://") {
		text = "mqtt://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return a, fmt.Errorf("address %q: %w", a.text, err)
	}
	port := "1883"
	switch u.Scheme {
	case "mqtt", "tcp":
	case "mqtts", "ssl", "tls":
		a.tls = true
	case "ws":
		a.ws = true
	case "wss":
		a.ws, a.tls = true, true
	default:
		return a, fmt.Errorf("address %q: scheme %q is none of mqtt, mqtts, ws, wss, unix", a.text, u.Scheme)
	}
	if a.tls {
		port = "8883"
	}
	if a.ws {
		port = map[bool]string{false: "80", true: "443"}[a.tls]
		if a.path = u.RequestURI(); u.Path == "" || u.Path == "/" {
			a.path = o.WebSocketPath
		}
	}
	if u.Hostname() == "" {
		return a, fmt.Errorf("address %q has no host", a.text)
	}
	if u.Port() != "" {
		port = u.Port()
	}
	a.name, a.host = u.Hostname(), net.JoinHostPort(u.Hostname(), port)
	return a, nil
}

// addresses chooses where to connect. It is used by one goroutine.
type addresses struct {
	list       []address
	at         int // the one in use, or to try next
	roundRobin bool
}

// round returns all addresses in the order to try them: the one that worked
// last when all are equal, else always the first first.
func (a *addresses) round() []int {
	start := 0
	if a.roundRobin {
		start = a.at
	}
	order := make([]int, 0, len(a.list))
	for i := range a.list {
		order = append(order, (start+i)%len(a.list))
	}
	return order
}

// lost notes that the connection to the one in use ended without lasting: among
// equals the next one is tried first, so that one bad address is never stuck to.
func (a *addresses) lost() {
	if a.roundRobin {
		a.at = (a.at + 1) % len(a.list)
	}
}
