package broker

import (
	"net"
	"testing"
	"time"
)

// TestHandshakeStalls: whoever begins a PROXY header, a TLS or WebSocket
// handshake and does not finish it, or sends something else, is closed when the
// time for CONNECT is over at the latest, and leaves nothing behind.
func TestHandshakeStalls(t *testing.T) {
	p := newPKI(t)
	for _, tc := range []struct {
		name  string
		edit  func(*Listener)
		sends []string
	}{
		{"proxy", func(l *Listener) { l.Proxy = true },
			[]string{"", "PROXY TCP4 1", "GET / HTTP/1.1\r\n\r\n", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x05.....", "PROXY TCP4 1.2.3.4 1.2.3.4 99999 1\r\n"}},
		{"tls", func(l *Listener) { l.TLS = p.server }, []string{"", "\x16\x03\x01\x40\x00\x01", "GET / HTTP/1.1\r\n\r\n", "\x10\x0c\x00\x04MQTT\x05\x02\x00\x00"}},
		{"websocket", func(l *Listener) { l.WebSocket = true }, []string{"", "GET /mqtt HTTP/1.1\r\nX: y", "\x10\x0c\x00\x04MQTT\x05\x02\x00\x00", "POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newServer(t, func(o *Options) {
				o.ConnectTimeout = time.Second
				tc.edit(&o.Listeners[0])
			})
			var open []net.Conn
			for range 20 {
				for _, text := range tc.sends {
					c, err := s.dial()
					if err != nil {
						t.Fatal(err)
					}
					defer c.Close()
					c.Write([]byte(text)) // what is garbage may be closed already
					open = append(open, c)
				}
			}
			for _, c := range open {
				c.SetReadDeadline(time.Now().Add(time.Minute))
				for buf := make([]byte, 1024); ; {
					if _, err := c.Read(buf); err != nil {
						if e, ok := err.(net.Error); ok && e.Timeout() {
							t.Fatal("a stalled handshake stays open")
						}
						break
					}
				}
			}
			eventually(t, "none is counted any more", func() bool { return s.b.Stats().Sockets == 0 })
		})
	}
}
