package conformance

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatewayd/test/peer"
)

// behindProxy connects with a PROXY header in front.
func behindProxy(t *testing.T, addr, header string, o options) (*client, error) {
	t.Helper()
	c := raw(t, addr, o.v)
	c.write(append([]byte(header), o.encode()...))
	p, err := c.recv(patience)
	c.ack = p
	return c, err
}

// proxyV2 is a header of version 2 for a client at 192.0.2.9:4711, whose certificate the proxy has verified unless cn is empty.
func proxyV2(tls bool, cn string) string {
	b := []byte{192, 0, 2, 9, 192, 0, 2, 1, 0x12, 0x67, 0x07, 0x5b}
	if tls {
		flags, sub := byte(1), []byte(nil)
		if cn != "" {
			flags, sub = 7, append([]byte{0x22, 0, byte(len(cn))}, cn...)
		}
		b = append(b, 0x20, 0, byte(5+len(sub)), flags, 0, 0, 0, 0)
		b = append(b, sub...)
	}
	return "\r\n\r\n\x00\r\nQUIT\n\x21\x11" + string(binary.BigEndian.AppendUint16(nil, uint16(len(b)))) + string(b)
}

// logged waits for a line of the log that has all the words.
func logged(t *testing.T, p *peer.Process, words ...string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		for line := range strings.Lines(p.Output()) {
			all := true
			for _, w := range words {
				all = all && strings.Contains(line, w)
			}
			if all {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("no line of the log has %q:\n%s", words, p.Output())
		}
	}
}

// TestBehindAProxy: address and certificate of the client are those that the proxy tells, where that is asked for.
func TestBehindAProxy(t *testing.T) {
	t.Parallel()
	var addrs [4]string
	for i := range addrs {
		port, err := peer.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		addrs[i] = fmt.Sprintf("127.0.0.1:%d", port)
	}
	_, p := configuredProcess(t, fmt.Sprintf(`  - {address: %q, proxy_protocol: true}
  - {address: %q, proxy_protocol: true, proxy_require_tls: true}
  - {address: %q, proxy_protocol: true, proxy_identity: cn}
  - {address: %q, websocket: true, forwarded_for: true}
`, addrs[0], addrs[1], addrs[2], addrs[3]))

	if _, err := behindProxy(t, addrs[0], "PROXY TCP4 192.0.2.8 192.0.2.1 1234 1883\r\n", options{v: 4, id: "one"}); err != nil {
		t.Errorf("version 1: %v", err)
	}
	logged(t, p, "client connected", "client=one", "remote=192.0.2.8:1234")
	if _, err := behindProxy(t, addrs[0], proxyV2(false, ""), options{v: 4, id: "two"}); err != nil {
		t.Errorf("version 2: %v", err)
	}
	logged(t, p, "client connected", "client=two", "remote=192.0.2.9:4711")
	if _, err := behindProxy(t, addrs[0], "", options{v: 4, id: "none"}); err == nil {
		t.Error("a client without a header is let in")
	}

	if _, err := behindProxy(t, addrs[1], proxyV2(false, ""), options{v: 4, id: "plain"}); err == nil {
		t.Error("a client that did not speak TLS is let in")
	}
	if _, err := behindProxy(t, addrs[1], proxyV2(true, ""), options{v: 4, id: "secure"}); err != nil {
		t.Errorf("TLS with the proxy: %v", err)
	}

	if c, err := behindProxy(t, addrs[2], proxyV2(true, ""), options{v: 5, id: "nobody", user: "node-7"}); err != nil || c.ack.code < 0x80 {
		t.Errorf("a client without a certificate: %v, %v", c.ack, err)
	}
	if c, err := behindProxy(t, addrs[2], proxyV2(true, "node-7"), options{v: 5, id: "cert", user: "root"}); err != nil || c.ack.code != 0 {
		t.Errorf("a client with a certificate: %v, %v", c.ack, err)
	}
	logged(t, p, "client connected", "client=cert", "user=node-7", "remote=192.0.2.9:4711")

	conn, err := net.DialTimeout("tcp", addrs[3], patience)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	o := options{v: 4, id: "web"}
	packet := o.encode()
	fmt.Fprintf(conn, "GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mqtt\r\nX-Forwarded-For: 203.0.113.1, 192.0.2.10\r\n\r\n")
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %v, %v", answer, err)
	}
	_, _ = conn.Write(append([]byte{0x82, 0x80 | byte(len(packet)), 0, 0, 0, 0}, packet...)) // a mask of zeros changes nothing
	logged(t, p, "client connected", "client=web", "remote=192.0.2.10 ")
}

// TestResponseInformation and the server's reference when it stops.
func TestResponseInformation(t *testing.T) {
	t.Parallel()
	addr, p := configuredProcess(t, "mqtt: {response_information: \"answers/%c/%u\", server_reference: \"other.example:1883\"}\n")
	c := connect(t, addr, options{v: 5, id: "asks", user: "me", props: props{pRequestResponse: byte(1)}})
	if got := c.ack.props[pResponseInfo]; got != "answers/asks/me" {
		t.Errorf("response information %v", got)
	}
	if d := connect(t, addr, options{v: 5}); d.ack.props.has(pResponseInfo) {
		t.Errorf("nobody asked: %v", d.ack) // [MQTT-3.1.2-28]
	}
	done := make(chan error, 1)
	go func() { done <- p.Stop() }()
	bye := c.want(tDisconnect)
	if bye.code != 0x9c || bye.props[pServerReference] != "other.example:1883" {
		t.Errorf("got %v", bye)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
