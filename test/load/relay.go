package load

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Transport is how connections reach the broker.
type Transport string

// The transports a Loop knows. TLS and WebSocket go through two goroutines a connection, which costs the generator more
// than plain TCP does; the broker's side is as real as ever.
const (
	TCP Transport = ""
	TLS Transport = "tls"
	WS  Transport = "ws"
	WSS Transport = "wss"
)

// Secure says whether the transport is encrypted.
func (tr Transport) Secure() bool { return tr == TLS || tr == WSS }

// WebSocket says whether the transport is WebSocket.
func (tr Transport) WebSocket() bool { return tr == WS || tr == WSS }

// open returns a connected descriptor that carries MQTT in the clear.
func (tr Transport) open(addr string) (fd int, err error) {
	if tr == TCP {
		return dialTCP(addr)
	}
	conn, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return 0, err
	}
	var remote io.ReadWriteCloser
	remote = conn
	if tr.Secure() {
		// The certificate was made a moment ago for this measurement; who holds it does not matter.
		c := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
		err, conn, remote = c.Handshake(), c, c
	}
	if err == nil && tr.WebSocket() {
		remote, err = upgrade(conn)
	}
	if err != nil {
		conn.Close()
		return 0, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		conn.Close()
		return 0, err
	}
	// A non-blocking descriptor lets the runtime poll it instead of giving it a thread.
	_ = unix.SetNonblock(pair[1], true)
	local := os.NewFile(uintptr(pair[1]), "relay")
	shuttle := func(dst io.WriteCloser, src io.ReadCloser) {
		buf := make([]byte, 16<<10)
		_, _ = io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{src}, buf)
		dst.Close()
		src.Close()
	}
	go shuttle(remote, local)
	go shuttle(local, remote)
	return pair[0], nil
}

// webSocket frames MQTT as binary messages, masked with zeroes as a client that saves its strength may.
type webSocket struct {
	net.Conn
	r    *bufio.Reader
	left int // bytes of the current frame
	out  []byte
}

func upgrade(conn net.Conn) (*webSocket, error) {
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, err := io.WriteString(conn, "GET /mqtt HTTP/1.1\r\nHost: "+conn.RemoteAddr().String()+"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n")
	if err != nil {
		return nil, err
	}
	r := bufio.NewReaderSize(conn, 16<<10)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols || !strings.EqualFold(resp.Header.Get("Sec-WebSocket-Protocol"), "mqtt") {
		return nil, fmt.Errorf("upgrade refused: %s", resp.Status)
	}
	_ = conn.SetDeadline(time.Time{})
	return &webSocket{Conn: conn, r: r}, nil
}

func (w *webSocket) Write(p []byte) (int, error) {
	b := append(w.out[:0], 0x82)
	switch n := len(p); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	b = append(append(b, 0, 0, 0, 0), p...)
	w.out = b
	if _, err := w.Conn.Write(b); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (w *webSocket) Read(p []byte) (int, error) {
	for w.left == 0 {
		first, err := w.r.ReadByte()
		if err != nil {
			return 0, err
		}
		second, err := w.r.ReadByte()
		if err != nil {
			return 0, err
		}
		n := int(second & 0x7f)
		if more := map[int]int{126: 2, 127: 8}[n]; more > 0 {
			n = 0
			for range more {
				b, err := w.r.ReadByte()
				if err != nil {
					return 0, err
				}
				n = n<<8 | int(b)
			}
		}
		if op := first & 15; op > 2 { // control frames carry nothing for us; a close ends the stream
			if _, err := w.r.Discard(n); err != nil || op == 8 {
				return 0, io.EOF
			}
			continue
		}
		w.left = n
	}
	n, err := w.r.Read(p[:min(len(p), w.left)])
	w.left -= n
	return n, err
}
