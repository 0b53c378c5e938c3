package broker

import "gatewayd/mqtt"

// outAliases are the topic aliases the broker uses towards one client
// [MQTT5 3.3.2.3.4]: the first topics that come get one, for the life of the
// connection.
type outAliases struct {
	max   uint16
	known map[string]uint16
}

// use puts the alias of the frame's topic into h, giving one out if any is
// left.
func (a *outAliases) use(f *mqtt.Frame, h *mqtt.Header) {
	name := f.Topic()
	if alias, ok := a.known[name]; ok {
		h.TopicAlias, h.OmitTopic = alias, true
		return
	}
	if len(a.known) >= int(a.max) || len(name) <= 3 { // no gain from an alias
		return
	}
	if a.known == nil {
		a.known = make(map[string]uint16)
	}
	h.TopicAlias = uint16(len(a.known) + 1)
	a.known[name] = h.TopicAlias
}

// undo takes back what use gave out for a packet that is not sent.
func (a *outAliases) undo(f *mqtt.Frame, h *mqtt.Header) {
	if h.TopicAlias != 0 && !h.OmitTopic {
		delete(a.known, f.Topic())
	}
}
