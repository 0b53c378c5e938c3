package bridge

import (
	"context"
	"sync"

	"gatewayd/faulthook"
	"gatewayd/mqtt"
)

// outboxRoom is how many bytes may wait before the pump waits for the writer.
const outboxRoom = 256 << 10

// outbox gathers what is to be written to the centre, so that one write takes
// all of it. Anyone may append; only the pump waits for room, because what the
// others append, acknowledgements, is bounded by the centre's window.
type outbox struct {
	wake chan struct{} // something waits
	room chan struct{} // the writer has taken everything

	mu   sync.Mutex // guards the fields below
	buf  []byte
	free []byte
}

func newOutbox() *outbox {
	return &outbox{wake: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

// lock returns the buffer to append to; unlock takes it back.
func (o *outbox) lock() []byte {
	o.mu.Lock()
	return o.buf
}

func (o *outbox) unlock(buf []byte) {
	o.buf = buf
	o.mu.Unlock()
}

// flush wakes the writer.
func (o *outbox) flush() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// flushAny wakes the writer if there is anything to write.
func (o *outbox) flushAny() {
	o.mu.Lock()
	n := len(o.buf)
	o.mu.Unlock()
	if n > 0 {
		o.flush()
	}
}

// take returns everything that waits; give returns its memory.
func (o *outbox) take() []byte {
	o.mu.Lock()
	b := o.buf
	o.buf, o.free = o.free[:0], nil
	o.mu.Unlock()
	select {
	case o.room <- struct{}{}:
	default:
	}
	return b
}

func (o *outbox) give(b []byte) {
	if cap(b) > 4*outboxRoom {
		return // one large message must not stay for ever
	}
	o.mu.Lock()
	if o.free == nil {
		o.free = b[:0]
	}
	o.mu.Unlock()
}

// wait returns when less than outboxRoom waits.
func (o *outbox) wait(ctx context.Context) error {
	for {
		o.mu.Lock()
		n := len(o.buf)
		o.mu.Unlock()
		if n < outboxRoom {
			return nil
		}
		o.flush()
		select {
		case <-o.room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// faultWritten names the QoS 2 packets in b, which are written, as steps at
// which a test may end the process.
func faultWritten(bridge string, b []byte) {
	for n := mqtt.Length(b); n > 0 && n <= len(b); n = mqtt.Length(b) {
		switch mqtt.TypeOf(b[0]) {
		case mqtt.PUBLISH:
			if b[0]>>1&3 == 2 {
				faulthook.At("bridge.publish.sent", bridge)
			}
		case mqtt.PUBREC:
			faulthook.At("bridge.pubrec.sent", bridge)
		case mqtt.PUBREL:
			faulthook.At("bridge.pubrel.sent", bridge)
		case mqtt.PUBCOMP:
			faulthook.At("bridge.pubcomp.sent", bridge)
		}
		b = b[n:]
	}
}
