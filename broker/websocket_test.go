package broker

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// clientFrame makes a masked frame as a client sends it.
func clientFrame(first byte, payload []byte) []byte {
	mask := [4]byte{0x12, 0x34, 0x56, 0x78}
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	b = append(b, mask[:]...)
	for i, c := range payload {
		b = append(b, c^mask[i&3])
	}
	return b
}

// script is a connection that gives what it holds in pieces and takes writes.
type script struct {
	net.Conn
	in    []byte
	piece int
	out   bytes.Buffer
}

var errNotYet = errors.New("nothing yet")

func (s *script) Read(p []byte) (int, error) {
	if len(s.in) == 0 {
		return 0, errNotYet
	}
	n := copy(p, s.in[:min(s.piece, len(s.in))])
	s.in = s.in[n:]
	return n, nil
}

func (s *script) Write(p []byte) (int, error) { return s.out.Write(p) }

// TestWebSocketStream sends random bytes in random frames with control frames
// between them, gives them to the reader in pieces of every size, and expects
// the bytes and the pongs.
func TestWebSocketStream(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var wire, want, pongs []byte
	for range 60 {
		message := make([]byte, []int{0, 1, 5, 125, 126, 300, 300, 70_000}[r.IntN(8)])
		for i := range message {
			message[i] = byte(r.Uint32())
		}
		want = append(want, message...)
		op := byte(wsBinary)
		for {
			cut := len(message)
			if r.IntN(3) == 0 {
				cut = r.IntN(len(message) + 1)
			}
			first := op
			if cut == len(message) {
				first |= 0x80
			}
			wire = append(wire, clientFrame(first, message[:cut])...)
			if r.IntN(4) == 0 { // control frames may come between the pieces of a message
				wire = append(wire, clientFrame(0x80|wsPing, []byte("ping"))...)
				pongs = append(append(pongs, 0x80|wsPong, 4), "ping"...)
			}
			if r.IntN(9) == 0 {
				wire = append(wire, clientFrame(0x80|wsPong, nil)...)
			}
			if first&0x80 != 0 {
				break
			}
			message, op = message[cut:], wsContinuation
		}
	}
	for _, piece := range []int{1, 2, 3, 7, 100, 4096, 1 << 20} {
		s := &script{in: bytes.Clone(wire), piece: piece}
		w := &wsConn{Conn: s}
		var got []byte
		buf := make([]byte, 5000)
		for {
			n, err := w.Read(buf)
			got = append(got, buf[:n]...)
			if err == errNotYet {
				break
			}
			if err != nil {
				t.Fatalf("pieces of %d: %v", piece, err)
			}
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("pieces of %d: %d bytes of %d, or other ones", piece, len(got), len(want))
		}
		if !bytes.Equal(s.out.Bytes(), pongs) {
			t.Fatalf("pieces of %d: the pongs differ", piece)
		}
	}
}

func TestWebSocketFaults(t *testing.T) {
	unmasked := []byte{0x82, 0x01, 'x'}
	for _, tc := range []struct {
		name string
		in   []byte
		code uint16 // of our close frame
	}{
		{"text message", clientFrame(0x80|wsText, []byte("x")), wsUnsupported}, // [MQTT-6.0.0-1]
		{"not masked", unmasked, wsProtocol},
		{"reserved bit", clientFrame(0xC0|wsBinary, nil), wsProtocol},
		{"unknown opcode", clientFrame(0x80|3, nil), wsProtocol},
		{"unknown control opcode", clientFrame(0x80|0xB, nil), wsProtocol},
		{"continuation of nothing", clientFrame(0x80|wsContinuation, nil), wsProtocol},
		{"message within a message", append(clientFrame(wsBinary, nil), clientFrame(0x80|wsBinary, nil)...), wsProtocol},
		{"ping in pieces", clientFrame(wsPing, nil), wsProtocol},
		{"long ping", clientFrame(0x80|wsPing, make([]byte, 126)), wsProtocol},
		{"close", clientFrame(0x80|wsClose, []byte{0x03, 0xE9}), 1001},
		{"close without a code", clientFrame(0x80|wsClose, nil), wsNormal},
		{"length", []byte{0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, wsProtocol},
	} {
		s := &script{in: append(clientFrame(0x80|wsBinary, []byte("before")), tc.in...), piece: 1000}
		w := &wsConn{Conn: s}
		got := make([]byte, 100)
		n, err := w.Read(got)
		if string(got[:n]) != "before" || err != nil {
			t.Errorf("%s: what came before is lost: %q, %v", tc.name, got[:n], err)
			if tc.name == "message within a message" {
				continue
			}
		}
		n, err = w.Read(got)
		if n != 0 || err == nil || err == errNotYet {
			t.Errorf("%s: %d bytes, error %v", tc.name, n, err)
		}
		want := binary.BigEndian.AppendUint16([]byte{0x88, 2}, tc.code)
		if !bytes.Equal(s.out.Bytes(), want) {
			t.Errorf("%s: answered % x, want % x", tc.name, s.out.Bytes(), want)
		}
		if _, err := w.Write([]byte("x")); err == nil {
			t.Errorf("%s: writes go on after the close frame", tc.name)
		}
	}
}

func FuzzWebSocket(f *testing.F) {
	f.Add(clientFrame(0x82, []byte("hello")), 3)
	f.Add(append(clientFrame(2, []byte("a")), clientFrame(0x80, []byte("b"))...), 1)
	f.Fuzz(func(t *testing.T, in []byte, piece int) {
		piece = 1 + (piece&0x7fffffff)%64
		whole, wholeErr := readAll(&wsConn{Conn: &script{in: bytes.Clone(in), piece: 1 << 20}})
		split, splitErr := readAll(&wsConn{Conn: &script{in: bytes.Clone(in), piece: piece}})
		if !bytes.Equal(whole, split) || (wholeErr == errNotYet) != (splitErr == errNotYet) {
			t.Fatalf("whole: %x, %v; in pieces of %d: %x, %v", whole, wholeErr, piece, split, splitErr)
		}
	})
}

func readAll(w *wsConn) (got []byte, err error) {
	buf := make([]byte, 64)
	for {
		n, err := w.Read(buf)
		got = append(got, buf[:n]...)
		if err != nil {
			return got, err
		}
	}
}

// upgradeServer answers handshakes and echoes.
func upgradeServer(t *testing.T, ln *Listener) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				w, err := upgrade(nc, ln)
				if err != nil {
					return
				}
				io.Copy(w, w)
			}()
		}
	}()
	return l.Addr().String()
}

// TestWebSocketEcho speaks with a real client, both ways, all sizes of frames.
func TestWebSocketEcho(t *testing.T) {
	addr := upgradeServer(t, &Listener{Path: "/mqtt"})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "ws://"+addr+"/mqtt", &websocket.DialOptions{Subprotocols: []string{"mqttv3.1", "mqtt"}})
	if err != nil {
		t.Fatal(err)
	}
	if ws.Subprotocol() != "mqtt" { // [MQTT-6.0.0-4]
		t.Errorf("subprotocol %q", ws.Subprotocol())
	}
	nc := websocket.NetConn(ctx, ws, websocket.MessageBinary)
	for _, n := range []int{1, 125, 126, 65_535, 65_536, 500_000} {
		sent := bytes.Repeat([]byte{byte(n), 7}, n/2+1)
		go nc.Write(sent)
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(nc, got); err != nil || !bytes.Equal(got, sent) {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
	go io.Copy(io.Discard, nc)
	if err := ws.Ping(ctx); err != nil {
		t.Errorf("ping: %v", err)
	}
	if err := nc.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func TestWebSocketHandshake(t *testing.T) {
	ln := &Listener{Path: "/mqtt"}
	addr := upgradeServer(t, ln)
	good := "GET /mqtt HTTP/1.1\r\nHost: " + addr + "\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n"
	for _, tc := range []struct {
		name, request string
		status        int
		has           string
	}{
		{"good", good, 101, "Sec-Websocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}, // the example of RFC 6455 1.3
		{"old subprotocol", strings.Replace(good, "Protocol: mqtt", "Protocol: mqttv3.1", 1), 101, "Sec-Websocket-Protocol: mqttv3.1"},
		{"other path", strings.Replace(good, "/mqtt ", "/x ", 1), 404, ""},
		{"no upgrade", "GET /mqtt HTTP/1.1\r\nHost: x\r\n", 426, "Upgrade: websocket"},
		{"old version", strings.Replace(good, "Version: 13", "Version: 8", 1), 426, "Sec-Websocket-Version: 13"},
		{"bad key", strings.Replace(good, "dGhl", "", 1), 400, ""},
		{"no subprotocol", strings.Replace(good, "Sec-WebSocket-Protocol: mqtt\r\n", "", 1), 400, ""}, // [MQTT-6.0.0-3]
		{"other subprotocol", strings.Replace(good, "Protocol: mqtt", "Protocol: chat", 1), 400, ""},
		{"own origin", good + "Origin: http://127.0.0.1:8080\r\n", 101, ""},
		{"foreign origin", good + "Origin: https://evil.example\r\n", 403, ""},
		{"no origin of a page", good + "Origin: null\r\n", 403, ""},
		{"POST", strings.Replace(good, "GET", "POST", 1), 426, ""},
		{"rubbish", "\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00", 400, ""},
		{"endless", good + strings.Repeat("X: "+strings.Repeat("y", 1000)+"\r\n", 20), 400, ""},
	} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(5 * time.Second))
		c.Write([]byte(tc.request + "\r\n"))
		resp, err := http.ReadResponse(newReader(c), nil)
		c.Close()
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		var head strings.Builder
		resp.Header.Write(&head)
		if resp.StatusCode != tc.status || !strings.Contains(head.String(), tc.has) {
			t.Errorf("%s: status %d, want %d and %q; %s", tc.name, resp.StatusCode, tc.status, tc.has, head.String())
		}
	}
}

func TestOriginAllowed(t *testing.T) {
	for _, tc := range []struct {
		origin, host string
		allowed      []string
		want         bool
	}{
		{"http://gw.lan:8080", "gw.lan:8083", nil, true},
		{"http://gw.lan", "GW.lan", nil, true},
		{"http://[::1]:8080", "[::1]:8083", nil, true},
		{"http://evil.example", "127.0.0.1:8083", nil, false},
		{"null", "127.0.0.1:8083", nil, false},
		{"file://", "127.0.0.1:8083", nil, false},
		{"null", "x", []string{"*"}, true},
		{"https://panel.example", "x", []string{"https://panel.example"}, true},
		{"https://panel.example", "x", []string{"https://panel.example/"}, true},
		{"http://panel.example", "x", []string{"https://panel.example"}, false},
		{"https://panel.example:444", "x", []string{"https://panel.example"}, false},
		{"https://a.example", "x", []string{"*.example"}, true},
		{"https://a.example.evil", "x", []string{"*.example"}, false},
		{"https://panel:8443", "x", []string{"panel:8443"}, true},
		{"http://gw.lan", "gw.lan", []string{"https://panel.example"}, false},
	} {
		if got := originAllowed(tc.origin, tc.host, tc.allowed); got != tc.want {
			t.Errorf("originAllowed(%q, %q, %q) = %v", tc.origin, tc.host, tc.allowed, got)
		}
	}
}

// TestForwardedFor: the last address is the one that the proxy before us has
// seen; what is none is passed over.
func TestForwardedFor(t *testing.T) {
	for want, lines := range map[string][]string{
		"192.0.2.7":          {"192.0.2.7"},
		"192.0.2.8":          {"203.0.113.9, 192.0.2.8"},
		"192.0.2.9":          {"203.0.113.9", "192.0.2.10 , 192.0.2.9 "},
		"192.0.2.7:1234":     {"192.0.2.7:1234"},
		"2001:db8::7":        {"[2001:db8::7]"},
		"[2001:db8::7]:1234": {"[2001:db8::7]:1234"},
		"":                   {"192.0.2.7, unknown"},
	} {
		if got := forwardedFor(http.Header{"X-Forwarded-For": lines}); got != want {
			t.Errorf("%q gives %q, want %q", lines, got, want)
		}
	}
	if got := forwardedFor(http.Header{}); got != "" {
		t.Errorf("nothing gives %q", got)
	}
}
