package broker

import (
	"errors"

	"gatewayd/mqtt"
	"gatewayd/store"
)

const (
	// streamFrom is the size of a PUBLISH from which its payload goes into the
	// store part by part as it arrives.
	streamFrom = 512 << 10
	// partsUnderWay is how many parts of a payload may wait for the disk before
	// the socket is not read any more.
	partsUnderWay = 4
)

// largeIn is a PUBLISH whose payload is not kept in memory: what comes goes into
// the store, and is decided on, as any other, once all of it is there. What is
// refused from its head is read and thrown away. The conn's reader owns it.
//
//	arriving ─▶ all parts durable ─▶ published
//	   └────▶ refused ─▶ read to its end ─▶ answered
type largeIn struct {
	packet []byte // its beginning: the head, and what digests are made of
	left   int    // bytes of payload still to come
	size   int    // bytes of payload
	stream *store.Stream
	code   mqtt.ReasonCode // without a stream: why
	repeat bool            // without a stream: it is held already
	part   []byte          // being filled
	op     *pubOp          // a part that the store had no room for
	under  int             // parts whose receipts are to come
	spare  [][]byte
	taken  bool // the store has the message
	asked  bool // it is being read back in one piece
}

// errWhole means that somebody needs a payload in one piece.
var errWhole = errors.New("the payload is needed in one piece")

// beginLarge looks at the beginning of a packet that has not come as a whole. It
// returns how much it used of it, 0 when it is to be gathered in memory.
func (c *conn) beginLarge(t *turn, b []byte) (used int, err error) {
	total := mqtt.Length(b)
	if total < streamFrom || c.state != connected || mqtt.TypeOf(b[0]) != mqtt.PUBLISH {
		return 0, nil
	}
	p := &t.publish
	head, err := p.DecodeHead(c.version, b)
	if err != nil || head == 0 || len(p.Payload) < digestBytes || p.QoS == 0 || p.QoS > *c.set.MaxQoS || p.Retain {
		return 0, err
	}
	name, err := c.topicOf(p)
	if err != nil {
		return 0, err
	}
	r, code, err := c.admit(t, p, name)
	if err != nil {
		return 0, err
	}
	l := &largeIn{packet: append([]byte(nil), b[:head+digestBytes]...), size: total - head, code: code}
	switch {
	case r == nil:
	case p.QoS == 2 && c.held(p, r.topic):
		l.repeat = true
	case code.Failed(), c.tooLarge(p):
	case !r.streams(c.sess):
		return 0, nil
	default:
		if l.stream, err = c.b.store.NewStream(l.size); err != nil {
			l.code = codeOfStore(err)
		}
	}
	if l.stream == nil && !l.repeat && c.version != mqtt.V5 && l.code.Failed() && l.code != mqtt.NotAuthorized {
		return 0, reasonError(l.code, "publish refused") // 3.x is answered by closing: at once
	}
	c.large, l.left = l, l.size
	return head, nil
}

// streams says whether everyone who wants the topic takes the payload from the
// store, part by part.
func (r *route) streams(from *session) bool {
	if len(r.groups) > 0 || r.class.Class == store.Memory {
		return false
	}
	n := 0
	for i := range r.targets {
		tg := &r.targets[i]
		if tg.s == from && !tg.local && tg.more == nil {
			continue // no local
		}
		if tg.qos == 0 || !tg.s.keeps.Load() || tg.s.linked() {
			return false
		}
		n++
	}
	return n > 0
}

// linked says whether the session is drained inside the process.
func (s *session) linked() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.link != nil
}

// feedLarge takes what belongs to the payload and returns how much it used. A
// client that sends is alive, however long its packet is.
func (c *conn) feedLarge(t *turn, b []byte) (used int) {
	l := c.large
	c.lastPacket.Store(t.now)
	for used < len(b) && l.left > 0 && !c.parked {
		if l.stream == nil {
			n := min(l.left, len(b)-used)
			used, l.left = used+n, l.left-n
			continue
		}
		if l.part == nil {
			l.part = l.newPart()
		}
		n := min(cap(l.part)-len(l.part), l.left, len(b)-used)
		l.part = append(l.part, b[used:used+n]...)
		used, l.left = used+n, l.left-n
		if len(l.part) == cap(l.part) || l.left == 0 {
			if c.putPart(t); c.large != l {
				return used // refused
			}
		}
	}
	c.onLarge(t)
	return used
}

func (l *largeIn) newPart() []byte {
	if n := len(l.spare); n > 0 {
		p := l.spare[n-1]
		l.spare = l.spare[:n-1]
		return p[:0]
	}
	return make([]byte, 0, l.stream.PartSize())
}

// putPart hands the part at hand to the store.
func (c *conn) putPart(t *turn) {
	l := c.large
	l.op = c.b.newOp()
	l.op.c, l.op.large, l.op.portion, l.op.fn = c, l, l.part, (*turn).partReceipt
	l.op.batch.AddPart(l.stream, l.part)
	l.part = nil
	c.handPart(t)
}

func (c *conn) handPart(t *turn) {
	l := c.large
	switch err := l.op.hand(); {
	case err == nil:
		l.op = nil
		if l.under++; l.under >= partsUnderWay {
			c.parked = true
		}
	case errors.Is(err, store.ErrBusy):
		c.parked = true
		c.b.busy.add(c)
	default:
		l.op.free()
		l.op = nil
		c.refuseLarge(t, err)
	}
}

// partReceipt is what the receipt of a part leads to.
func (t *turn) partReceipt(op *pubOp) {
	c, l, part, err := op.c, op.large, op.portion, op.err
	op.free()
	c.tr.post(func(t *turn) {
		if c.large != l {
			return
		}
		l.under--
		if err != nil {
			c.refuseLarge(t, err)
		} else {
			l.spare = append(l.spare, part)
		}
		c.goOnLarge(t)
	})
}

// refuseLarge gives up a payload that the store does not take: the rest of it is
// read and thrown away; 3.x, which cannot be told, is closed.
func (c *conn) refuseLarge(t *turn, err error) {
	l := c.large
	l.code = codeOfStore(err)
	c.dropStream()
	if c.version != mqtt.V5 {
		c.fail(t, storeError(err))
	}
}

// goOnLarge goes on after something that a large payload waited for.
func (c *conn) goOnLarge(t *turn) {
	l := c.large
	if c.state != connected || l.op != nil || l.asked {
		return
	}
	c.parked = l.under >= partsUnderWay
	c.onLarge(t)
	if c.state == connected && !c.parked {
		c.unpark(t)
	}
}

// retryLarge goes on with a part that waited for room in the store.
func (c *conn) retryLarge(t *turn) {
	if c.large.op != nil {
		c.handPart(t)
	}
	if c.large != nil {
		c.goOnLarge(t)
	}
}

// onLarge publishes the message once all of it is there.
func (c *conn) onLarge(t *turn) {
	l := c.large
	if l.left > 0 || l.op != nil || l.asked || c.state != connected {
		return
	}
	if l.under > 0 || c.in != nil && len(c.in.busy) > 0 { // its receipts, and earlier messages, come first
		c.parked = true
		return
	}
	p := &t.publish
	if _, err := p.DecodeHead(c.version, l.packet); err != nil {
		c.fail(t, err)
		return
	}
	c.endLarge(t, p, c.publishLarge(t, p))
}

// publishLarge publishes what has come.
func (c *conn) publishLarge(t *turn, p *mqtt.Publish) error {
	l := c.large
	if l.stream != nil {
		return c.publish(t, p)
	}
	if l.repeat {
		name, err := c.topicOf(p)
		if err != nil {
			return err
		}
		if done, err := c.repeated(t, p, c.set.MountPoint+name); done || err != nil {
			return err
		}
		l.code = mqtt.UnspecifiedError // what it repeated has failed
	}
	if !l.code.Failed() {
		return c.tooLong(t, p)
	}
	return c.refusePublish(t, p, l.code)
}

// endLarge is the end of a large message, unless it has to be tried again.
func (c *conn) endLarge(t *turn, p *mqtt.Publish, err error) {
	l := c.large
	switch {
	case errors.Is(err, store.ErrBusy):
		c.parked = true
		c.b.busy.add(c)
		return
	case errors.Is(err, errWhole):
		c.parked, l.asked = true, true
		c.loadLarge(l)
		return
	}
	if !l.taken {
		c.dropStream()
	}
	c.large = nil
	t.counts.packetsIn++
	t.counts.bytesIn += uint64(len(l.packet) + p.Later)
	c.parked = c.in != nil && len(c.in.busy) >= c.set.Rules.MaxInflight
	if err != nil {
		c.fail(t, err)
	}
}

// loadLarge reads a payload back, for somebody who has come meanwhile and needs
// it in one piece.
func (c *conn) loadLarge(l *largeIn) {
	m := store.Message{Body: l.stream.Body()}
	c.b.background.run(func() {
		err := m.Load()
		c.tr.post(func(t *turn) {
			if c.large != l || c.state != connected {
				return
			}
			l.asked = false
			p := &t.publish
			if err == nil {
				_, err = p.DecodeHead(c.version, l.packet)
			}
			if err == nil {
				p.Payload, p.Later = m.Payload, 0
				if err = c.publish(t, p); errors.Is(err, store.ErrBusy) {
					err = errWhole // and again, when the store has room
				}
			}
			c.endLarge(t, p, err)
			if c.large == nil && c.state == connected && !c.parked {
				c.unpark(t)
			}
		})
	})
}

// dropStream has the store forget what it has of a payload.
func (c *conn) dropStream() {
	l := c.large
	if l == nil || l.stream == nil {
		return
	}
	op := c.b.newOp()
	op.batch.DropStream(l.stream)
	l.stream, l.part = nil, nil
	c.b.submitOrRetry(op)
}

// dropLarge gives up a message that will not come to its end.
func (c *conn) dropLarge() {
	if c.large == nil {
		return
	}
	if c.large.op != nil {
		c.large.op.free()
		c.large.op = nil
	}
	if !c.large.taken {
		c.dropStream()
	}
	c.large = nil
}
