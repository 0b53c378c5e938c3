package sensors

import (
	"context"
	"errors"
	"io"
	"time"
)

// serialPart is a part on a serial line of its own.
type serialPart struct {
	port io.ReadWriteCloser
	buf  []byte
}

var errSilent = errors.New("nothing comes on the serial line")

// drain throws away what has come so far.
func (s *serialPart) drain() error {
	s.buf = s.buf[:0]
	b := make([]byte, 256)
	for range 16 {
		n, err := s.port.Read(b[:])
		if err != nil || n < len(b) {
			return err
		}
	}
	return nil
}

// frame reads until match finds a frame at the front of what has come. match
// gives the frame's length, 0 when more is needed, -1 when the first byte
// begins none.
func (s *serialPart) frame(ctx context.Context, limit time.Duration, match func(b []byte) int) ([]byte, error) {
	tmp := make([]byte, 128)
	for end := time.Now().Add(limit); ; {
		for len(s.buf) > 0 {
			n := match(s.buf)
			if n > 0 {
				f := append([]byte(nil), s.buf[:n]...)
				s.buf = append(s.buf[:0], s.buf[n:]...)
				return f, nil
			}
			if n == 0 {
				break
			}
			s.buf = append(s.buf[:0], s.buf[1:]...)
		}
		if ctx.Err() != nil || !time.Now().Before(end) {
			return nil, errSilent
		}
		n, err := s.port.Read(tmp)
		if err != nil {
			return nil, err
		}
		s.buf = append(s.buf, tmp[:n]...)
	}
}

func (s *serialPart) close() error { return s.port.Close() }
