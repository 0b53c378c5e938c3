package mqtttest

import (
	"fmt"
	"net"
	"sync"
	"time"

	"gatewayd/mqtt"
)

// Client is a raw MQTT client: it sends what it is told, answers nothing by
// itself and keeps what it receives in order. One goroutine uses it; another,
// its own, reads the connection until it ends.
type Client struct {
	Version mqtt.Version

	conn net.Conn
	in   chan []byte // one packet each; closed when the connection ends
	kept [][]byte    // received, looked at, not yet taken
	done sync.WaitGroup

	drained bool // the last step was drain: what comes before the end does not matter
}

// NewClient returns a client on conn and starts reading it. Close ends both.
func NewClient(conn net.Conn, v mqtt.Version) *Client {
	c := &Client{Version: v, conn: conn, in: make(chan []byte, 1<<16)}
	c.done.Go(c.read)
	return c
}

func (c *Client) read() {
	defer close(c.in)
	var buf []byte
	chunk := make([]byte, 64<<10)
	for {
		n, err := c.conn.Read(chunk)
		buf = append(buf, chunk[:n]...)
		for {
			size, bad := mqtt.Split(buf, 0)
			if bad != nil || size == 0 {
				break
			}
			c.in <- append([]byte(nil), buf[:size]...)
			buf = append(buf[:0], buf[size:]...)
		}
		if err != nil {
			return
		}
	}
}

// Close ends the connection without a DISCONNECT.
func (c *Client) Close() {
	c.conn.Close()
	for range c.in { // lets the reader end
	}
	c.done.Wait()
}

// Send sends packets in one write.
func (c *Client) Send(packets ...mqtt.Packet) error {
	var b []byte
	for _, p := range packets {
		if con, ok := p.(*mqtt.Connect); ok && con.Version != 0 {
			c.Version = con.Version
		}
		b = p.Append(b, c.Version)
	}
	return c.SendRaw(b)
}

// SendRaw sends bytes as they are.
func (c *Client) SendRaw(b []byte) error {
	if err := c.conn.SetWriteDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	_, err := c.conn.Write(b)
	return err
}

// errQuiet says that nothing came in time, errClosed that the server hung up.
var (
	errQuiet  = fmt.Errorf("nothing came")
	errClosed = fmt.Errorf("the connection was closed")
)

// raw takes the next packet's bytes.
func (c *Client) raw(within time.Duration) ([]byte, error) {
	if len(c.kept) > 0 {
		b := c.kept[0]
		c.kept = c.kept[1:]
		return b, nil
	}
	return c.fresh(within)
}

// fresh waits for a packet that nobody has looked at.
func (c *Client) fresh(within time.Duration) ([]byte, error) {
	t := time.NewTimer(within)
	defer t.Stop()
	select {
	case b, ok := <-c.in:
		if !ok {
			return nil, errClosed
		}
		return b, nil
	case <-t.C:
		return nil, errQuiet
	}
}

// Next takes the next packet, waiting for it at most so long.
func (c *Client) Next(within time.Duration) (mqtt.Packet, error) {
	b, err := c.raw(within)
	if err != nil {
		return nil, err
	}
	return mqtt.Decode(c.Version, b)
}
