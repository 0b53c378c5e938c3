package bridge

import (
	"sync"

	"gatewayd/mqtt"
)

// acks are the acknowledgements owed to the centre. They leave in the order of
// what they answer, for each type [MQTT-4.6.0-2], although what they wait for
// may be done in another.
// The outbox's lock guards them.
type acks struct {
	lists [3]ackList // PUBACK, PUBREC, PUBCOMP
}

type ackList struct{ head, tail *ackSlot }

// ackSlot is one owed acknowledgement; slots are pooled with their function.
type ackSlot struct {
	c     *conn
	typ   mqtt.PacketType
	pid   mqtt.PacketID
	rule  int // of the message
	code  mqtt.ReasonCode
	ready bool
	next  *ackSlot
	done  func(error)
}

var ackSlots sync.Pool

func newAckSlot() *ackSlot {
	if s, ok := ackSlots.Get().(*ackSlot); ok {
		return s
	}
	s := new(ackSlot)
	s.done = func(err error) { s.c.answered(s, err) }
	return s
}

func listOf(t mqtt.PacketType) int {
	switch t {
	case mqtt.PUBACK:
		return 0
	case mqtt.PUBREC:
		return 1
	}
	return 2
}

// owe returns the function that settles the answer to pid.
func (c *conn) owe(t mqtt.PacketType, pid mqtt.PacketID, rule int) func(error) {
	s := newAckSlot()
	s.c, s.typ, s.pid, s.rule, s.code, s.ready, s.next = c, t, pid, rule, mqtt.Success, false, nil
	buf := c.out.lock()
	l := &c.acks.lists[listOf(t)]
	if l.tail == nil {
		l.head = s
	} else {
		l.tail.next = s
	}
	l.tail = s
	c.out.unlock(buf)
	return s.done
}

// settle marks a slot ready and appends every answer that may leave now.
// The caller holds the outbox's lock.
func (a *acks) settle(s *ackSlot, dst []byte, v mqtt.Version) []byte {
	s.ready = true
	l := &a.lists[listOf(s.typ)]
	for l.head != nil && l.head.ready {
		h := l.head
		if l.head = h.next; l.head == nil {
			l.tail = nil
		}
		dst = mqtt.AppendAck(dst, v, h.typ, h.pid, h.code)
		h.c, h.next = nil, nil
		ackSlots.Put(h)
	}
	return dst
}

// answered is the done function of a slot: what the centre sent is safe here,
// or err says why not.
func (c *conn) answered(s *ackSlot, err error) {
	if err != nil {
		code, final := refusal(err)
		if !final {
			// Not acknowledged: the centre will send it again.
			c.fail(err)
			return
		}
		c.b.count.dropped(s.rule, "refused_locally")
		if c.level.version == mqtt.V5 && code.AllowedIn(s.typ) && !c.b.demands.noNack {
			s.code = code
		}
	}
	buf := c.out.lock()
	n := len(buf)
	buf = c.acks.settle(s, buf, c.level.version)
	grown := len(buf) > n
	c.out.unlock(buf)
	if grown {
		c.out.flush()
	}
}

// refusal says whether an error of the local broker will be the same next
// time, and the code that says so.
func refusal(err error) (code mqtt.ReasonCode, final bool) {
	switch code := mqtt.CodeOf(err); code {
	case mqtt.NotAuthorized, mqtt.TopicNameInvalid, mqtt.PayloadFormatInvalid:
		return code, true
	}
	return 0, false
}
