package broker

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
)

// maxHandshake bounds the bytes of a WebSocket handshake.
const maxHandshake = 16 << 10

var handshakeReaders = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 4<<10) }}

// upgrade answers the WebSocket handshake on nc [RFC 6455 4.2]. A request that
// is not acceptable gets an HTTP answer that says why.
func upgrade(nc net.Conn, ln *Listener) (*wsConn, error) {
	br := handshakeReaders.Get().(*bufio.Reader)
	defer handshakeReaders.Put(br)
	br.Reset(&io.LimitedReader{R: nc, N: maxHandshake})
	defer br.Reset(nil)
	req, err := http.ReadRequest(br)
	if err != nil {
		answer(nc, http.StatusBadRequest, "")
		return nil, fmt.Errorf("WebSocket handshake: %w", err)
	}
	protocol, status, err := checkUpgrade(req, ln)
	if err != nil {
		answer(nc, status, err.Error())
		return nil, fmt.Errorf("WebSocket handshake: %w", err)
	}
	sum := sha1.Sum([]byte(req.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	_, err = fmt.Fprintf(nc, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: %s\r\n\r\n", base64.StdEncoding.EncodeToString(sum[:]), protocol)
	if err != nil {
		return nil, err
	}
	w := &wsConn{Conn: nc}
	if ln.ForwardedFor {
		w.forwarded = forwardedFor(req.Header)
	}
	if n := br.Buffered(); n > 0 {
		early, _ := br.Peek(n)
		w.early = slices.Clone(early)
	}
	return w, nil
}

// checkUpgrade returns the subprotocol to speak, or the HTTP status of the
// refusal.
func checkUpgrade(r *http.Request, ln *Listener) (protocol string, status int, err error) {
	if r.URL.Path != ln.Path {
		return "", http.StatusNotFound, fmt.Errorf("path %q, MQTT is at %q", r.URL.Path, ln.Path)
	}
	if r.Method != http.MethodGet || !headerHas(r.Header, "Connection", "upgrade") || !headerHas(r.Header, "Upgrade", "websocket") {
		return "", http.StatusUpgradeRequired, errors.New("this is MQTT over WebSocket")
	}
	if r.Header.Get("Sec-WebSocket-Version") != "13" {
		return "", http.StatusUpgradeRequired, errors.New("WebSocket version 13 is required")
	}
	if key, err := base64.StdEncoding.DecodeString(r.Header.Get("Sec-WebSocket-Key")); err != nil || len(key) != 16 {
		return "", http.StatusBadRequest, errors.New("bad Sec-WebSocket-Key")
	}
	for _, p := range []string{"mqtt", "mqttv3.1"} { // [MQTT-6.0.0-3] [MQTT-6.0.0-4]
		if headerHas(r.Header, "Sec-WebSocket-Protocol", p) {
			protocol = p
			break
		}
	}
	if protocol == "" {
		return "", http.StatusBadRequest, errors.New("the client offers no subprotocol mqtt")
	}
	if origin := r.Header.Get("Origin"); origin != "" && !originAllowed(origin, r.Host, ln.Origins) {
		return "", http.StatusForbidden, fmt.Errorf("origin %q is not allowed here", origin)
	}
	return protocol, 0, nil
}

// forwardedFor is the last address in X-Forwarded-For: the one that the proxy
// before us has seen. Those in front of it are hearsay.
func forwardedFor(h http.Header) string {
	lines := h.Values("X-Forwarded-For")
	if len(lines) == 0 {
		return ""
	}
	last := lines[len(lines)-1]
	last = strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
	if a, err := netip.ParseAddrPort(last); err == nil {
		return a.String()
	}
	if a, err := netip.ParseAddr(strings.Trim(last, "[]")); err == nil {
		return a.String()
	}
	return ""
}

// headerHas says whether a header of comma-separated tokens has one of them.
func headerHas(h http.Header, name, token string) bool {
	for _, line := range h.Values(name) {
		for part := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(part), token) {
				return true
			}
		}
	}
	return false
}

// originAllowed keeps pages of strangers from using a browser's reach into the
// LAN. Without a list a page must come from the host it connects to, at any
// port. An entry is "*", a whole origin ("https://panel.example"), or a host; a
// host may have wildcards ("*.example").
func originAllowed(origin, host string, allowed []string) bool {
	u, err := url.Parse(strings.ToLower(origin))
	if err != nil {
		return false
	}
	if len(allowed) == 0 {
		return u.Hostname() != "" && u.Hostname() == hostname(strings.ToLower(host))
	}
	for _, a := range allowed {
		a = strings.TrimSuffix(strings.ToLower(a), "/")
		if a == "*" || a == u.Scheme+"://"+u.Host {
			return true
		}
		if !strings.Contains(a, "://") {
			if ok, err := path.Match(a, u.Hostname()); err == nil && ok || a == u.Host {
				return true
			}
		}
	}
	return false
}

func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return strings.Trim(host, "[]")
}

// answer refuses a handshake in HTTP.
func answer(nc net.Conn, status int, why string) {
	more := ""
	if status == http.StatusUpgradeRequired {
		more = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
	}
	body := why + "\n"
	fmt.Fprintf(nc, "HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n%sContent-Length: %d\r\n\r\n%s",
		status, http.StatusText(status), more, len(body), body)
}
