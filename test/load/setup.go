package load

import (
	"fmt"
	"time"
)

// Client says how one client of a scenario connects and what it subscribes to.
type Client struct {
	ID        string
	Clean     bool
	KeepAlive uint16
	Filters   []string
	QoS       byte
	// EarlyPublish, when set, takes a PUBLISH that comes before the client is set up (a stored backlog).
	EarlyPublish func(c *Conn, m Message)
}

// filtersPerPacket keeps one SUBSCRIBE far below any broker's packet limit.
const filtersPerPacket = 50

// Connect connects all clients, subscribes them and returns when every CONNACK and SUBACK has come.
// The handlers are the caller's to set afterwards.
func (l *Loop) Connect(addr string, limit time.Duration, clients ...Client) ([]*Conn, error) {
	deadline := time.Now().Add(limit)
	conns := make([]*Conn, 0, len(clients))
	ready := 0
	var failed error
	for start := 0; start < len(clients); start += 200 { // stay below any listener's backlog
		for _, cl := range clients[start:min(start+200, len(clients))] {
			want := 1 + (len(cl.Filters)+filtersPerPacket-1)/filtersPerPacket
			c, err := l.Dial(addr, func(c *Conn, first byte, body []byte) {
				switch first >> 4 {
				case Connack:
					if len(body) < 2 || body[1] != 0 {
						failed = fmt.Errorf("client %s refused: % x", cl.ID, body)
					}
				case Suback:
					for _, code := range body[2:] {
						if code&0x80 != 0 {
							failed = fmt.Errorf("client %s: subscription refused", cl.ID)
						}
					}
				case Publish:
					if cl.EarlyPublish != nil {
						if m, err := ParsePublish(first, body); err == nil {
							cl.EarlyPublish(c, m)
						}
					}
					return
				default:
					return
				}
				if want--; want == 0 {
					ready++
				}
			})
			if err != nil {
				return nil, err
			}
			c.Append(func(dst []byte) []byte {
				dst = AppendConnect(dst, cl.ID, cl.Clean, cl.KeepAlive)
				for i := 0; i < len(cl.Filters); i += filtersPerPacket {
					part := cl.Filters[i:min(i+filtersPerPacket, len(cl.Filters))]
					dst = AppendSubscribe(dst, c.NextID(), cl.QoS, part...)
				}
				return dst
			})
			conns = append(conns, c)
		}
		if err := l.Run(time.Until(deadline), func() bool { return failed != nil || ready == len(conns) }); err != nil {
			return nil, fmt.Errorf("%d of %d clients set up: %w", ready, len(clients), err)
		}
		if failed != nil {
			return nil, failed
		}
	}
	return conns, nil
}
