package broker

import "strings"

// A retained message outlives the session of its publisher, so what its rights
// are judged by is kept with it: behind the client id, the user name and the
// listener, each behind a sourceMark, which no MQTT string may hold [MQTT-1.5.4-2].
const sourceMark = "\x00"

// sourceOf is what a retained message of a client keeps; empty where it is not
// asked for, or the client's rights are not checked.
func (b *Broker) sourceOf(c *Client) string {
	if c == nil || c.Local || !b.opt().CheckRetainSource || b.auth() == nil {
		return ""
	}
	return c.Username + sourceMark + c.Listener
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
