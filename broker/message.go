package broker

import (
	"bytes"
	"encoding/binary"
	"strings"

	"gatewayd/mqtt"
	"gatewayd/store"
)

// message is one application message on its way. It is read-only once it was
// routed and shared by everyone who needs it.
type message struct {
	mqtt.Message
	expires   int64       // ms on the broker's clock; 0: never
	at        int64       // when it was published, on the same clock
	publisher string      // client id
	body      *store.Body // the payload, when it is in the store; Later says how long it is
	source    string      // of a retained message: who may have published it, see sourceOf
}

// Options of a queued delivery, as store.Recipient.Options keeps them.
const (
	optRetain uint8 = 1 << iota // goes out with RETAIN set
	optShared                   // came through a shared subscription
	optReplay                   // is a retained message replayed for a subscription
)

// size is how long the payload is, wherever it is.
func (m *message) size() int { return len(m.Payload) + m.Later }

// expired says whether the message's life is over at now.
func (m *message) expired(now int64) bool { return m.expires != 0 && now >= m.expires }

// whole returns the message with its payload in memory; nil when it cannot be read.
func (m *message) whole() *message {
	if m.body == nil {
		return m
	}
	read := store.Message{Body: m.body}
	if read.Load() != nil {
		return nil
	}
	w := *m
	w.Payload, w.Later, w.body = read.Payload, 0, nil
	return &w
}

// own returns a message that aliases no one's buffer; the payload is in one of
// ours already when ours is set.
func own(v *mqtt.Message, topic string, ours bool) mqtt.Message {
	m := *v
	m.Topic = topic
	if !ours {
		m.Payload = bytes.Clone(v.Payload)
	}
	if v.Properties != nil {
		p := *v.Properties
		p.ContentType = strings.Clone(p.ContentType)
		p.ResponseTopic = strings.Clone(p.ResponseTopic)
		p.Correlation = bytes.Clone(p.Correlation)
		if p.User != nil {
			user := make([]mqtt.UserProperty, len(p.User))
			for i, u := range p.User {
				user[i] = mqtt.UserProperty{Name: strings.Clone(u.Name), Value: strings.Clone(u.Value)}
			}
			p.User = user
		}
		m.Properties = &p
	}
	return m
}

// toStore is the message as the store keeps it, with what t.storedPublisher says.
func (m *message) toStore(class store.Class, publisher string) *store.Message {
	s := &store.Message{
		Topic: m.Topic, Payload: m.Payload, Body: m.body, QoS: byte(m.QoS), Retain: m.Retain,
		Class: class, Time: m.at, Expires: m.expires, Publisher: publisher,
	}
	if m.Properties != nil {
		s.Properties = m.AppendProperties(nil)
	}
	return s
}

// fromStore is the inverse of toStore.
func fromStore(s *store.Message) *message {
	m := &message{expires: s.Expires, at: s.Time, body: s.Body}
	m.Later = s.Body.Len()
	m.publisher, m.source, _ = strings.Cut(s.Publisher, sourceMark)
	m.Topic, m.Payload, m.QoS, m.Retain = s.Topic, s.Payload, mqtt.QoS(s.QoS), s.Retain
	// What does not parse was not written by us: the message is worth more than
	// its properties.
	_ = m.ParseProperties(s.Properties)
	return m
}

// ownFrom is the payload size from which memory is shared with the packet it came
// in: below, a copy costs less than the packets that would be kept with it.
const ownFrom = 128 << 10

// digestBytes is how much of a payload goes into its digest.
const digestBytes = 1024

// digest tells two messages under one packet id apart; it survives restarts.
// FNV-1a over the topic, the length and the first bytes of the payload, eight
// bytes at a step; the shift brings the high bits down, where the next step's
// multiplication spreads them.
//
// later is how much of the payload is not in payload.
func digest(topic string, payload []byte, later int) uint64 {
	h := uint64(14695981039346656037)
	step := func(v uint64) {
		h = (h ^ v) * 1099511628211
		h ^= h >> 32
	}
	for i := range len(topic) {
		step(uint64(topic[i]))
	}
	step(uint64(len(payload) + later))
	rest := payload[:min(len(payload), digestBytes)]
	for ; len(rest) >= 8; rest = rest[8:] {
		step(binary.LittleEndian.Uint64(rest))
	}
	for _, c := range rest {
		step(uint64(c))
	}
	return h
}

// outgoing is one message while it is fanned out: the message as it came, an
// owned copy once someone keeps it, and at most two encoded frames.
type outgoing struct {
	view  mqtt.Message // may alias a read buffer
	owned *message     // nil until someone keeps the message
	f3    *mqtt.Frame
	f5    *mqtt.Frame

	expires   int64
	at        int64
	publisher string
	body      *store.Body
	ours      bool // view is in memory that nobody will write to again
	source    string
	topic     string // owned by nobody's buffer

	// Spare frames, so that a message that nobody keeps costs no allocation.
	spare3, spare5 mqtt.Frame
	// The message as clients below a mount point see it.
	mounted      mqtt.Frame
	mountedView  mqtt.Message
	mountedBelow string
	mountedFor   mqtt.Version
}

// set begins a new message. topic must not alias a buffer.
func (o *outgoing) set(view mqtt.Message, topic, publisher string, at, expires int64) {
	o.view, o.topic, o.publisher, o.source, o.at, o.expires = view, topic, publisher, "", at, expires
	o.view.Topic = topic
	o.owned, o.body, o.ours, o.f3, o.f5 = nil, nil, false, nil, nil
	o.mountedFor = 0
}

// setOwned begins a message that is already kept.
func (o *outgoing) setOwned(m *message) {
	o.set(m.Message, m.Topic, m.publisher, m.at, m.expires)
	o.source, o.owned, o.body = m.source, m, m.body
}

// keep returns the message for those who keep it.
func (o *outgoing) keep() *message {
	if o.owned == nil {
		o.owned = &message{Message: own(&o.view, o.topic, o.ours && len(o.view.Payload) >= ownFrom), expires: o.expires, at: o.at, publisher: o.publisher, body: o.body, source: o.source}
		// Large payloads in outboxes refer to the copy from now on.
		o.view = o.owned.Message
		o.f3, o.f5, o.mountedFor = nil, nil, 0
	}
	return o.owned
}

// frame returns the message encoded for v. Large payloads are referred to by
// outboxes, so they must not stay in a read buffer.
func (o *outgoing) frame(v mqtt.Version) *mqtt.Frame {
	if o.owned == nil && len(o.view.Payload) >= shareFrom {
		o.keep()
	}
	if v == mqtt.V5 {
		if o.f5 == nil {
			o.spare5.Set(&o.view, v)
			o.f5 = &o.spare5
		}
		return o.f5
	}
	if o.f3 == nil {
		o.spare3.Set(&o.view, v)
		o.f3 = &o.spare3
	}
	return o.f3
}

// unmounted is frame for clients whose topics begin below mount.
func (o *outgoing) unmounted(mount string, v mqtt.Version) *mqtt.Frame {
	if o.mountedFor != v || o.mountedBelow != mount {
		if o.owned == nil && len(o.view.Payload) >= shareFrom {
			o.keep()
		}
		o.mountedView = o.view
		o.mountedView.Topic = strings.TrimPrefix(o.view.Topic, mount)
		o.mounted.Set(&o.mountedView, v)
		o.mountedFor, o.mountedBelow = v, mount
	}
	return &o.mounted
}
