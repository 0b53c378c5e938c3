package broker

import (
	"sync"

	"gatewayd/store"
	"gatewayd/topic"
)

// retainedSet holds the retained messages.
type retainedSet struct {
	mu    sync.RWMutex // guards the fields below
	names topic.Names[*message]
	bytes int64
}

// fillRetained puts the change that t.out makes to the retained messages into
// the store. It reports whether op's receipt stands for it; lazy ones are
// written behind.
func (b *Broker) fillRetained(t *turn, op *pubOp, from origin) bool {
	o := &t.out
	if !b.retainable(o.topic, len(o.view.Payload)) {
		return false
	}
	class := b.opt().retainedClass(op.class(o.topic), o.view.QoS == 0, from.lazy)
	if class == store.Memory {
		return false
	}
	lazy := class == store.Lazy
	batch := &op.batch
	if lazy && len(op.to) == 0 {
		batch = &t.done
	}
	if len(o.view.Payload) == 0 { // [MQTT-3.3.1-6]
		b.retained.mu.RLock()
		_, had := b.retained.names.Get(o.topic)
		b.retained.mu.RUnlock()
		if !had {
			return false
		}
		batch.DeleteRetained(o.topic)
		return !lazy
	}
	m := o.keep()
	batch.PutRetained(m.toStore(class, t.storedPublisher(m)))
	return !lazy
}

// retainable says whether the topic may have a retained message (more).
func (b *Broker) retainable(name string, payload int) bool {
	max := b.opt().MaxRetained
	if max == 0 || payload == 0 {
		return true
	}
	b.retained.mu.RLock()
	defer b.retained.mu.RUnlock()
	if b.retained.names.Len() < max {
		return true
	}
	_, had := b.retained.names.Get(name)
	return had
}

// retain makes t.out the retained message of its topic [MQTT-3.3.1-5].
func (b *Broker) retain(t *turn) {
	o := &t.out
	if !b.retainable(o.topic, len(o.view.Payload)) {
		t.counts.dropped++
		return
	}
	if len(o.view.Payload) == 0 { // [MQTT-3.3.1-6] [MQTT-3.3.1-7]
		b.retained.drop(o.topic)
		return
	}
	b.keepRetained(o.keep())
}

// keepRetained makes m the retained message of its topic, for as long as it may
// be one.
func (b *Broker) keepRetained(m *message) {
	if age := b.opt().RetainExpiry; age > 0 && (m.expires == 0 || m.expires > m.at+age.Milliseconds()) {
		aged := *m
		aged.expires = m.at + age.Milliseconds()
		m = &aged
	}
	b.retained.set(m)
	if m.expires != 0 {
		b.timers.addRetained(m.expires, m.Topic)
	}
}

func (r *retainedSet) set(m *message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old, had := r.names.Set(m.Topic, m); had {
		r.bytes -= int64(len(old.Payload))
	}
	r.bytes += int64(len(m.Payload))
}

func (r *retainedSet) drop(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old, had := r.names.Delete(name); had {
		r.bytes -= int64(len(old.Payload))
	}
}

// dropExpired drops the retained message of a topic if its life is over.
func (r *retainedSet) dropExpired(name string, now int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, ok := r.names.Get(name)
	if !ok || !m.expired(now) {
		return false
	}
	r.names.Delete(name)
	r.bytes -= int64(len(m.Payload))
	return true
}
