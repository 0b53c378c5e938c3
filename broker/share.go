package broker

import (
	"sync/atomic"

	"gatewayd/mqtt"
)

// shareGroup is the members of one shared subscription [MQTT5 4.8.2]: one group
// and filter. It stands in the tree once.
type shareGroup struct {
	key     shareKey
	entry   *subscription // what the tree holds
	members atomic.Pointer[[]*subscription]
	next    atomic.Uint32
}

type shareKey struct{ group, filter string }

// choose takes the member that gets the next message: the next one in turn that
// is online and has room, else one that is online, else a durable one that is
// away. qos is the message's as published.
func (g *shareGroup) choose(b *Broker, name string, qos mqtt.QoS) (recipient, bool) {
	return g.chooseNot(b, name, qos, nil)
}

func (g *shareGroup) chooseNot(b *Broker, name string, qos mqtt.QoS, not *session) (recipient, bool) {
	members := *g.members.Load()
	n := len(members)
	if n == 0 {
		return recipient{}, false
	}
	start := int((g.next.Add(1) - 1) % uint32(n))
	var full, away *subscription
	for i := range n {
		m := members[(start+i)%n]
		s := m.s
		if s == not {
			continue
		}
		s.mu.Lock()
		gone, online, client := s.gone, s.onlineLocked(), s.client
		open := online && s.openLocked() && s.roomLocked() && (s.flow == nil || s.flow.queue.len() == 0 && !s.flow.backlog)
		keeps := s.durable()
		s.mu.Unlock()
		if gone || b.auth() != nil && !b.mayDeliver(client, b.unmounted(s, name)) {
			continue
		}
		switch {
		case open:
			if i > 0 {
				g.next.Add(uint32(i)) // else the one after those who cannot would get their share too
			}
			return g.recipientOf(m, qos), true
		case online && full == nil:
			full = m
		case !online && keeps && away == nil:
			away = m
		}
	}
	switch {
	case full != nil:
		return g.recipientOf(full, qos), true
	case away != nil:
		return g.recipientOf(away, qos), true
	}
	return recipient{}, false
}

func (g *shareGroup) recipientOf(m *subscription, qos mqtt.QoS) recipient {
	rc := recipient{s: m.s, qos: effective(qos, m.opts.qos(), m.s.rules.Load().UpgradeOutgoingQoS), opts: optShared}
	if m.opts.retainAsPublished() {
		rc.opts |= optRetain
	}
	if m.id != 0 {
		rc.ids = []uint32{m.id}
	}
	return rc
}

// join makes sub a member of its group, in place of old if that is not nil.
func (b *Broker) joinGroup(key shareKey, sub, old *subscription) {
	b.treeMu.Lock()
	defer b.treeMu.Unlock()
	g := b.groups[key]
	if g == nil {
		g = &shareGroup{key: key}
		g.members.Store(&[]*subscription{})
		g.entry = &subscription{filter: key.filter, share: g}
		b.groups[key] = g
		b.tree.Add(key.filter, g.entry)
		b.gen.Add(1)
	}
	members := make([]*subscription, 0, len(*g.members.Load())+1)
	for _, m := range *g.members.Load() {
		if m != old {
			members = append(members, m)
		}
	}
	members = append(members, sub)
	sub.share = g
	g.members.Store(&members)
}

// leaveGroup takes sub out of its group.
func (b *Broker) leaveGroup(sub *subscription) {
	b.treeMu.Lock()
	defer b.treeMu.Unlock()
	g := sub.share
	var members []*subscription
	for _, m := range *g.members.Load() {
		if m != sub {
			members = append(members, m)
		}
	}
	g.members.Store(&members)
	if len(members) == 0 && b.groups[g.key] == g {
		delete(b.groups, g.key)
		b.tree.Remove(g.key.filter, g.entry)
		b.gen.Add(1)
	}
}
