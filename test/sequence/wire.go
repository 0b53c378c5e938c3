package sequence

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"gatewayd/test/load"
)

// link is one connection of a client, past its CONNACK.
type link struct {
	conn    net.Conn
	r       *bufio.Reader
	present bool // session present
}

const ioLimit = 30 * time.Second

// dial connects through d, or by TCP to addr where d is nil.
func dial(ctx context.Context, d func(context.Context) (net.Conn, error), addr, id string) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if d == nil {
		d = func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", addr) }
	}
	conn, err := d(ctx)
	if err != nil {
		return nil, err
	}
	l := &link{conn: conn, r: bufio.NewReaderSize(conn, 64<<10)}
	_ = conn.SetDeadline(time.Now().Add(ioLimit))
	if _, err := conn.Write(load.AppendConnect(nil, id, false, 0)); err != nil {
		conn.Close()
		return nil, err
	}
	first, body, err := l.read()
	if err == nil && (first>>4 != load.Connack || len(body) < 2 || body[1] != 0) {
		err = fmt.Errorf("connect refused: %#x % x", first, body)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	l.present = body[0]&1 == 1
	_ = conn.SetDeadline(time.Time{})
	return l, nil
}

// read returns the next packet; the body is the caller's.
func (l *link) read() (first byte, body []byte, err error) {
	if first, err = l.r.ReadByte(); err != nil {
		return 0, nil, err
	}
	size := 0
	for shift := 0; ; shift += 7 {
		b, err := l.r.ReadByte()
		if err != nil {
			return 0, nil, err
		}
		size |= int(b&0x7f) << shift
		if b < 0x80 {
			break
		}
		if shift == 21 {
			return 0, nil, fmt.Errorf("remaining length of more than four bytes")
		}
	}
	body = make([]byte, size)
	_, err = io.ReadFull(l.r, body)
	return first, body, err
}
