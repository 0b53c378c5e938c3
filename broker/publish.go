package broker

import (
	"context"
	"errors"
	"time"

	"gatewayd/mqtt"
	"gatewayd/store"
	"gatewayd/topic"
)

// Publication is a message that enters the broker inside the process. Its
// fields are read-only from then on.
type Publication struct {
	Topic      string
	Payload    []byte
	QoS        mqtt.QoS
	Retain     bool
	Properties *mqtt.PublishProperties
	Expiry     time.Duration // 0: never
	// Lazy makes a retained message of QoS 1 or 2 as lazy as one of QoS 0 is:
	// our own sensors repeat themselves.
	Lazy bool
	// Publisher is the client id that the store keeps with the message.
	Publisher string
}

// Publish routes a message of the process itself. done runs once the message is
// as safe as its QoS promises, on a goroutine that must not be held up; it may
// be nil. Publish waits while the store is busy.
func (b *Broker) Publish(ctx context.Context, p Publication, done func(error)) error {
	if err := topic.ValidName(p.Topic); err != nil {
		return err
	}
	op := b.newOp()
	op.done = done
	for {
		t := b.takeTurn()
		err := b.publishInside(t, op, p, origin{lazy: p.Lazy}, nil)
		b.giveTurn(t)
		if !errors.Is(err, store.ErrBusy) {
			if err != nil {
				op.free()
			}
			return err
		}
		if err := b.waitStore(ctx); err != nil {
			op.free()
			return err
		}
	}
}

// publishInside routes p, a message that enters the broker inside the process.
// in is where it waits for its turn to be answered; nil: whoever published it is
// told as soon as it is safe. On an error nothing has happened and op is still
// the caller's.
func (b *Broker) publishInside(t *turn, op *pubOp, p Publication, from origin, in *inbound) error {
	var expires int64
	if p.Expiry > 0 {
		expires = t.now + p.Expiry.Milliseconds()
	}
	r := t.routeOf(p.Topic)
	t.out.setOwned(&message{
		at:        t.now,
		Message:   mqtt.Message{Topic: r.topic, Payload: p.Payload, QoS: p.QoS, Retain: p.Retain, Properties: p.Properties},
		expires:   expires,
		publisher: p.Publisher,
	})
	t.counts.publishIn(len(p.Payload))
	b.prepare(t, op, r, from)
	durable := op.fill(t, from)
	if durable {
		if err := op.submit(); err != nil {
			op.undo()
			op.batch.Reset()
			op.other = op.other[:0]
			return err
		}
		op.fn = (*turn).localReceipt
	}
	if in != nil {
		if durable {
			op.fn = (*turn).ackReceipt
			if op.hold {
				op.s.fault("in.hold.submitted")
			}
		}
		if op.msg == nil { // else fill has set it, and its receipt may be looking already
			op.msg = t.out.keep() // late deliveries look there
		}
		in.enqueue(op)
	}
	if !op.late || in == nil && !durable {
		b.settle(t, r, from.s)
		b.settleOthers(t, op.other)
		op.offerAll(t, false)
	}
	switch {
	case durable:
		op.launched(t)
	case in != nil:
		in.ready(t, op)
	default:
		op.finish(nil)
	}
	return nil
}

// finish reports to a publisher inside the process.
func (op *pubOp) finish(err error) {
	done := op.done
	op.free()
	if done != nil {
		done(err)
	}
}

// localReceipt goes on with a publication of the process itself.
func (t *turn) localReceipt(op *pubOp) {
	if op.err == nil {
		t.lateDeliveries(op)
	}
	op.finish(op.err)
}

// waitStore waits until the store may have room again.
func (b *Broker) waitStore(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-b.receipts.again():
		return nil
	case <-time.After(50 * time.Millisecond):
		return nil
	}
}
