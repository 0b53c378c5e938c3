package broker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// wsConn is the server's end of a WebSocket connection after the handshake
// [RFC 6455], as a stream of the bytes inside binary messages: MQTT packets may
// span frames and messages, and one may carry several [MQTT-6.0.0-2].
//
// It holds no buffer: Read puts what the connection below has into the caller's
// buffer and takes the frames off in place. So it costs an idle client next to
// nothing, and, like crypto/tls, it loses nothing when the connection below has
// no more for now and says so with an error.
//
// One goroutine reads at a time; any may write.
type wsConn struct {
	net.Conn
	base      *baseConn // the loop's bottom of the stack; nil while a goroutine reads
	early     []byte    // what the client sent right behind its handshake
	forwarded string    // the client's address, if a proxy that is believed said it

	// The reader's own.
	head    [14]byte // of the frame that is arriving
	headLen int
	inFrame bool
	left    uint64 // payload bytes of it still to come
	mask    [4]byte
	maskAt  int
	control []byte // payload of a control frame so far
	more    bool   // in a message of several frames
	err     error

	mu     sync.Mutex // guards the fields below: frames are written whole
	closed bool       // a close frame was written
}

// Opcodes and status codes of RFC 6455.
const (
	wsContinuation = 0x0
	wsText         = 0x1
	wsBinary       = 0x2
	wsClose        = 0x8
	wsPing         = 0x9
	wsPong         = 0xA

	wsNormal      = 1000
	wsProtocol    = 1002
	wsUnsupported = 1003
)

// wsMaxControl is the largest payload of a control frame [RFC 6455 5.5].
const wsMaxControl = 125

var (
	errFrame = errors.New("WebSocket")
	// errNoMessage is what Read tells a loop of bytes that were no part of a
	// message: there may be more to read, and others wait.
	errNoMessage = errors.New("nothing for MQTT in it")
)

// Read returns bytes of binary messages. Control frames are answered on the
// way. After a close frame it returns io.EOF.
func (w *wsConn) Read(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	for {
		var n int
		var err error
		if len(w.early) > 0 {
			n = copy(p, w.early)
			if w.early = w.early[n:]; len(w.early) == 0 {
				w.early = nil
			}
		} else {
			n, err = w.Conn.Read(p)
		}
		out, frameErr := w.unframe(p[:n])
		if frameErr != nil {
			w.err = frameErr
			if out == 0 {
				return 0, frameErr
			}
			return out, nil
		}
		if out > 0 || err != nil {
			return out, err
		}
		if w.base != nil && n > 0 {
			return 0, errNoMessage
		}
	}
}

// unframe takes the frames off b in place and returns how many bytes of message
// it leaves at the beginning.
func (w *wsConn) unframe(b []byte) (out int, err error) {
	for in := 0; in < len(b); {
		if !w.inFrame {
			in += w.header(b[in:])
			if !w.inFrame {
				return out, nil // the header is not whole yet
			}
			if err := w.checkFrame(); err != nil {
				return out, err
			}
		}
		n := int(min(w.left, uint64(len(b)-in)))
		payload := b[in : in+n]
		in += n
		w.left -= uint64(n)
		w.unmask(payload)
		if w.opcode() < wsClose {
			out += copy(b[out:], payload)
		} else {
			w.control = append(w.control, payload...)
		}
		if w.left == 0 {
			w.inFrame, w.headLen = false, 0
			if err := w.endFrame(); err != nil {
				return out, err
			}
		}
	}
	return out, nil
}

// header collects a frame's header, of 6, 8 or 14 bytes, and returns how much
// of b belonged to it.
func (w *wsConn) header(b []byte) (used int) {
	for used < len(b) {
		w.head[w.headLen] = b[used]
		w.headLen++
		used++
		if w.headLen < 2 {
			continue
		}
		length, size := uint64(w.head[1]&0x7f), 2
		switch length {
		case 126:
			size = 4
		case 127:
			size = 10
		}
		masked := w.head[1]&0x80 != 0
		if masked {
			size += 4
		}
		if w.headLen < size {
			continue
		}
		switch length {
		case 126:
			length = uint64(binary.BigEndian.Uint16(w.head[2:]))
		case 127:
			length = binary.BigEndian.Uint64(w.head[2:])
		}
		if masked {
			copy(w.mask[:], w.head[size-4:size])
		}
		w.inFrame, w.left, w.maskAt, w.control = true, length, 0, nil
		return used
	}
	return used
}

func (w *wsConn) opcode() byte { return w.head[0] & 0x0f }

// checkFrame checks the header that has just arrived.
func (w *wsConn) checkFrame() error {
	op, final := w.opcode(), w.head[0]&0x80 != 0
	switch {
	case w.head[0]&0x70 != 0:
		return w.fail(wsProtocol, "reserved bits are set")
	case w.head[1]&0x80 == 0:
		return w.fail(wsProtocol, "a client's frame is not masked") // [RFC 6455 5.1]
	case w.left>>63 != 0:
		return w.fail(wsProtocol, "length of a frame")
	case op >= wsClose && (!final || w.left > wsMaxControl):
		return w.fail(wsProtocol, "control frame in pieces or too long")
	case op == wsText:
		return w.fail(wsUnsupported, "text message") // [MQTT-6.0.0-1]
	case op == wsBinary && w.more:
		return w.fail(wsProtocol, "message within a message")
	case op == wsContinuation && !w.more:
		return w.fail(wsProtocol, "continuation of nothing")
	case op > wsPong || op > wsBinary && op < wsClose:
		return w.fail(wsProtocol, "unknown kind of frame")
	}
	if op < wsClose {
		w.more = !final
	}
	return nil
}

// unmask decodes payload bytes [RFC 6455 5.3], eight at a time.
func (w *wsConn) unmask(b []byte) {
	for ; len(b) > 0 && w.maskAt != 0; b = b[1:] {
		b[0] ^= w.mask[w.maskAt]
		w.maskAt = (w.maskAt + 1) & 3
	}
	m := uint64(binary.LittleEndian.Uint32(w.mask[:]))
	m |= m << 32
	for ; len(b) >= 8; b = b[8:] {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^m)
	}
	for ; len(b) > 0; b = b[1:] {
		b[0] ^= w.mask[w.maskAt]
		w.maskAt = (w.maskAt + 1) & 3
	}
}

// endFrame acts on a control frame that is whole.
func (w *wsConn) endFrame() error {
	control := w.control
	w.control = nil
	switch w.opcode() {
	case wsPing:
		return w.pong(control)
	case wsClose:
		code := uint16(wsNormal)
		if len(control) >= 2 {
			code = binary.BigEndian.Uint16(control)
		}
		w.close(code)
		return io.EOF
	}
	return nil
}

// maxPongs is what pongs may take of memory until the loop writes them.
const maxPongs = 4 << 10

// pong answers a ping, unless so many answers wait already that the client
// cannot be waiting for this one [RFC 6455 5.5.3].
func (w *wsConn) pong(payload []byte) error {
	if w.base != nil && w.base.held() > maxPongs {
		return nil
	}
	return w.frame(wsPong, payload)
}

func (w *wsConn) fail(code uint16, what string) error {
	w.close(code)
	return fmt.Errorf("%w: %s", errFrame, what)
}

// close writes a close frame, once.
func (w *wsConn) close(code uint16) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	w.frameLocked(wsClose, binary.BigEndian.AppendUint16(nil, code))
	w.closed = true
}

// frame writes one whole frame.
func (w *wsConn) frame(op byte, payload []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.frameLocked(op, payload)
}

func (w *wsConn) frameLocked(op byte, payload []byte) error {
	if w.closed {
		return net.ErrClosed
	}
	if below, ok := w.Conn.(*baseConn); ok && below.collects() {
		var space [10]byte
		below.Write(appendFrameHead(space[:0], op, len(payload)))
		_, err := below.Write(payload)
		return err
	}
	b := frames.Get().(*bytes.Buffer)
	defer func() {
		if b.Cap() <= 64<<10 {
			b.Reset()
			frames.Put(b)
		}
	}()
	b.Write(appendFrameHead(nil, op, len(payload)))
	b.Write(payload)
	_, err := w.Conn.Write(b.Bytes())
	return err
}

// frames are for putting header and payload into one write, which is one TLS
// record and one TCP segment where it fits.
var frames = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// appendFrameHead appends the header of an unmasked final frame.
func appendFrameHead(b []byte, op byte, n int) []byte {
	b = append(b, 0x80|op)
	switch {
	case n < 126:
		return append(b, byte(n))
	case n <= 0xffff:
		return binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	}
	return binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
}

// Write writes p as one binary message [MQTT-6.0.0-1].
func (w *wsConn) Write(p []byte) (int, error) {
	if err := w.frame(wsBinary, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// CloseWrite says that nothing more comes: in WebSocket, then below.
func (w *wsConn) CloseWrite() error {
	w.close(wsNormal)
	if below, ok := w.Conn.(interface{ CloseWrite() error }); ok {
		return below.CloseWrite()
	}
	return nil
}
