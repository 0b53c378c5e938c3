package broker

import (
	"bytes"
	"reflect"
	"strings"

	"gatewayd/mqtt"
	"gatewayd/store"
)

// will is the message to publish when its client vanishes. It is immutable.
type will struct {
	m      mqtt.Message // topic with the mount point in front
	client *Client
	name   string // the topic as the client gave it
	delay  uint32 // seconds
	life   uint32 // seconds of message expiry, counted from publication; 0: for good
}

// willOf clones the will of a CONNECT.
func (c *conn) willOf(p *mqtt.Will) *will {
	w := &will{client: c.client, name: strings.Clone(p.Topic)}
	w.m = own(&mqtt.Message{Payload: p.Payload, QoS: p.QoS, Retain: p.Retain, Properties: p.Properties.Travelling()}, c.set.MountPoint+p.Topic, false)
	if p.Properties != nil {
		w.delay = p.Properties.WillDelay
		w.life = p.Properties.MessageExpiry
	}
	return w
}

// same says whether o, as the store has it, is this will.
func (w *will) same(o *will) bool {
	return o != nil && w.m.Topic == o.m.Topic && w.m.QoS == o.m.QoS && w.m.Retain == o.m.Retain && w.delay == o.delay &&
		w.life == o.life && bytes.Equal(w.m.Payload, o.m.Payload) && reflect.DeepEqual(w.m.Properties, o.m.Properties)
}

// record is the will as the store keeps it; due is 0 while the client is
// connected. The message's life is kept in Expires, in ms, uncounted.
func (w *will) record(due int64) store.Will {
	m := message{Message: w.m, publisher: w.client.ID, expires: int64(w.life) * 1000}
	return store.Will{Message: *m.toStore(store.Commit, m.publisher), Delay: w.delay, Due: due}
}

// willFromStore is the inverse of record.
func willFromStore(r store.Will, c *Client, mount string) *will {
	m := fromStore(&r.Message)
	return &will{
		m: m.Message, client: c, name: strings.TrimPrefix(m.Topic, mount),
		delay: r.Delay, life: uint32(m.expires / 1000),
	}
}

// publishWill publishes a will whose record goes with the session's.
func (b *Broker) publishWill(t *turn, w *will) { b.publishWillWith(t, w, b.newOp()) }

// publishWillWith publishes a will, and saves with it what op's batch holds: a
// will is published and deleted in one batch.
func (b *Broker) publishWillWith(t *turn, w *will, op *pubOp) {
	saved := op.batch.Len() > 0
	if !b.mayPublish(w.client, w.name, w.m.QoS, w.m.Retain) { // rights may have changed since CONNECT
		b.log.Info("will not published: not authorized", "client", w.client.ID, "topic", w.m.Topic)
		if saved {
			b.submitOrRetry(op)
		} else {
			op.free()
		}
		return
	}
	var expires int64
	if w.life > 0 {
		expires = t.now + int64(w.life)*1000
	}
	// The turn may be in the middle of a publish of its own (a takeover is not,
	// but a connection that ends while its batch is read may be).
	keep := t.out
	defer func() { t.out = keep }()
	t.out = outgoing{}
	r := t.routeOf(w.m.Topic)
	t.out.setOwned(&message{Message: w.m, at: t.now, expires: expires, publisher: w.client.ID})
	if w.m.Retain {
		t.out.source = t.sourceOf(w.client)
		t.out.owned.source = t.out.source
	}
	from := origin{client: w.client}
	b.prepare(t, op, r, from)
	durable := op.fill(t, from)
	if !durable && !saved {
		b.settle(t, r, nil)
		b.settleOthers(t, op.other)
		op.free()
		return
	}
	op.late = op.late && durable
	op.fn = (*turn).localReceipt
	now := !op.late
	if now {
		b.settle(t, r, nil)
		b.settleOthers(t, op.other)
	}
	// Quotas do not keep a will from being deleted: its recipients miss it then.
	if err := op.submit(); err != nil {
		if !now {
			b.settle(t, r, nil)
			b.settleOthers(t, op.other)
		}
		op.undo()
		b.log.Warn("will not queued for all", "client", w.client.ID, "topic", w.m.Topic, "err", err)
		b.receipts.add(op, store.Receipt{Err: err})
		return
	}
	if now {
		op.offerAll(t, false)
	}
	op.launched(t)
}
