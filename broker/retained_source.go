package broker

import "strings"

// A retained message outlives the session of its publisher, so what its rights
// are judged by is kept with it: behind the client id, the user name and the
// listener, each behind a sourceMark, which no MQTT string may hold [MQTT-1.5.4-2].
const sourceMark = "\x00"

// sourceOf is what a retained message of a client keeps; empty where it is not
// asked for, or the client's rights are not checked.
func (t *turn) sourceOf(c *Client) string {
	b := t.b
	if c == nil || c.Local || !b.opt().CheckRetainSource || b.auth() == nil {
		return ""
	}
	memo := &t.sources
	if memo.source == "" || memo.user != c.Username || memo.listener != c.Listener {
		*memo = sourceMemo{user: c.Username, listener: c.Listener, source: c.Username + sourceMark + c.Listener}
	}
	return memo.source
}

// sourceMemo has what the last message of a turn's reader was kept with: most
// come from the same user and listener, and then share one string.
type sourceMemo struct {
	user, listener, source string

	publisher, stored string
}

// storedPublisher is what the store keeps as a message's publisher.
func (t *turn) storedPublisher(m *message) string {
	if m.source == "" {
		return m.publisher
	}
	memo := &t.sources
	if m.source != memo.source {
		return m.publisher + sourceMark + m.source
	}
	if memo.stored == "" || memo.publisher != m.publisher {
		memo.publisher, memo.stored = m.publisher, m.publisher+sourceMark+m.source
	}
	return memo.stored
}

// sourceAllowed asks again whether the publisher of a retained message may still
// publish it.
func (b *Broker) sourceAllowed(t *turn, m *message) bool {
	if !b.opt().CheckRetainSource || m.publisher == "" {
		return true
	}
	if m.source == "" { // kept by an older version, or by one that did not ask
		b.sessionsMu.RLock()
		s := b.sessions[m.publisher]
		b.sessionsMu.RUnlock()
		return s == nil || b.mayPublish(s.who(), b.unmounted(s, m.Topic), m.QoS, true)
	}
	user, listener, _ := strings.Cut(m.source, sourceMark)
	t.source = Client{ID: m.publisher, Username: user, Listener: listener}
	name := m.Topic
	for i := range b.opt().Listeners {
		if l := &b.opt().Listeners[i]; l.Name == listener {
			name = strings.TrimPrefix(name, l.MountPoint) // rights are of the client's own names
			break
		}
	}
	return b.mayPublish(&t.source, name, m.QoS, true)
}
