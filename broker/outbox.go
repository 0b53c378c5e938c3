package broker

import (
	"sync"

	"gatewayd/mqtt"
)

// shareFrom is the payload size from which an outbox refers to the payload
// instead of copying it: below, one copy and one write are cheaper than writev.
const shareFrom = 4 << 10

// keepOutbox is the largest buffer that goes back to the pool.
const keepOutbox = 256 << 10

// outbox is what waits to be written to one connection, in order. The session's
// mutex guards it while it belongs to a connection.
type outbox struct {
	buf  []byte
	refs []payloadRef // payloads that stand between pieces of buf
	size int          // bytes in all
}

// payloadRef is a shared payload that is to be written before buf[at:].
type payloadRef struct {
	at      int
	payload []byte
	body    *bodyRead // instead of payload: it is read as it is written
}

func (r *payloadRef) len() int {
	if r.body != nil {
		return r.body.body.Len()
	}
	return len(r.payload)
}

var outboxes = sync.Pool{New: func() any { return &outbox{buf: make([]byte, 0, 2<<10)} }}

func (o *outbox) free() {
	if cap(o.buf) > keepOutbox {
		return
	}
	clear(o.refs)
	o.buf, o.refs, o.size = o.buf[:0], o.refs[:0], 0
	outboxes.Put(o)
}

// publish appends a PUBLISH and returns its size. With share set a large
// payload is referred to: it must never change again.
func (o *outbox) publish(f *mqtt.Frame, h mqtt.Header, share bool) (n int) {
	before := len(o.buf)
	if !share || len(f.Payload()) < shareFrom {
		o.buf = f.Append(o.buf, h)
		n = len(o.buf) - before
	} else {
		o.buf = f.AppendHead(o.buf, h)
		o.refs = append(o.refs, payloadRef{at: len(o.buf), payload: f.Payload()})
		n = len(o.buf) - before + len(f.Payload())
	}
	o.size += n
	return n
}

// publishBody is publish for a payload that is in the store.
func (o *outbox) publishBody(f *mqtt.Frame, h mqtt.Header, r *bodyRead) (n int) {
	before := len(o.buf)
	o.buf = f.AppendHead(o.buf, h)
	o.refs = append(o.refs, payloadRef{at: len(o.buf), body: r})
	n = len(o.buf) - before + r.body.Len()
	o.size += n
	return n
}

// pieces appends to dst what is left to write when the first skip bytes are
// gone, at most max pieces and nothing that has to be read first, see lacks.
func (o *outbox) pieces(dst [][]byte, skip, max int) [][]byte {
	add := func(p []byte) {
		if skip >= len(p) {
			skip -= len(p)
			return
		}
		if len(dst) < max {
			dst = append(dst, p[skip:])
		}
		skip = 0
	}
	at := 0
	for _, r := range o.refs {
		add(o.buf[at:r.at])
		at = r.at
		if r.body == nil {
			add(r.payload)
			continue
		}
		if n := r.body.body.Len(); skip >= n {
			skip -= n
			continue
		}
		if skip -= r.body.off; skip < 0 || skip >= len(r.body.have) {
			return dst
		}
		add(r.body.have)
		if r.body.off+len(r.body.have) < r.body.body.Len() {
			return dst
		}
	}
	add(o.buf[at:])
	return dst
}
