package sim

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// serialPort is a tty with a part at its other end.
type serialPort struct {
	part  SerialPart
	world *World

	mu   sync.Mutex // guards all below
	busy bool
	rx   []byte // from the part, not yet read
	next time.Time
}

// serialReadTime is how long a read waits for the first byte before it gives
// nothing, as the termios settings of a real port say.
const serialReadTime = 100 * time.Millisecond

func newSerialPort(p SerialPart, w *World) *serialPort { return &serialPort{part: p, world: w} }

func (s *serialPort) open(baud int) (io.ReadWriteCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy {
		return nil, fmt.Errorf("serial port is in use: %w", os.ErrPermission)
	}
	s.busy, s.rx, s.next = true, nil, time.Time{}
	return &serialConn{s, baud}, nil
}

type serialConn struct {
	s    *serialPort
	baud int
}

// Read gives what has come, or nothing after a while.
func (c *serialConn) Read(b []byte) (int, error) {
	for end := time.Now().Add(serialReadTime); ; {
		if n := c.take(b); n > 0 || !time.Now().Before(end) {
			return n, nil
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (c *serialConn) take(b []byte) int {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); !now.Before(s.next) {
		out, again := s.part.Send()
		s.next = now.Add(again)
		if again == 0 {
			s.next = now.Add(time.Hour)
		}
		s.arriveLocked(out, c.baud)
	}
	n := copy(b, s.rx)
	s.rx = s.rx[n:]
	return n
}

// Write hands bytes to the part.
func (c *serialConn) Write(b []byte) (int, error) {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arriveLocked(s.part.Receive(b), c.baud)
	return len(b), nil
}

// arriveLocked puts what the part sends on the wire, with its faults. At the
// wrong speed nothing sensible arrives.
func (s *serialPort) arriveLocked(out []byte, baud int) {
	if len(out) == 0 {
		return
	}
	d := s.world.disturb()
	if d.absent {
		return
	}
	out = append([]byte(nil), out...)
	if d.flip {
		s.world.flipBit(out)
	}
	if baud != s.part.Baud() {
		for i := range out {
			out[i] ^= 0x5A
		}
	}
	if s.rx = append(s.rx, out...); len(s.rx) > 4096 {
		s.rx = s.rx[len(s.rx)-4096:]
	}
}

func (c *serialConn) Close() error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.s.busy = false
	return nil
}
