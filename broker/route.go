package broker

import (
	"gatewayd/mqtt"
	"strings"
)

const maxRoutes = 16384 // match results one turn keeps

// route is who wants a topic name: the merged result of a match. It is
// immutable and good until the broker's generation changes.
type route struct {
	gen     uint64
	topic   string
	targets []target
	groups  []*shareGroup
	class   topicClass
	// simple says that QoS 0 goes to all of them at QoS 0 or not at all.
	simple bool
}

// target is one session that wants a topic, all its matching subscriptions
// merged [MQTT-3.3.4-2].
type target struct {
	s   *session
	qos mqtt.QoS // the highest
	rap bool
	// Of the session's rules.
	queue0, upgrade bool

	local bool     // some subscription wants the session's own messages
	ids   []uint32 // of all of them [MQTT-3.3.4-3]
	// more is set when one of several subscriptions says no local: what is left
	// for the session's own messages.
	more *target
}

// cached returns what the turn knows of the topic and is still good, or nil.
func (t *turn) cached(name string) *route {
	if r := t.routes[name]; r != nil && r.gen == t.b.gen.Load() {
		return r
	}
	return nil
}

// routeOf returns who wants the topic, from the turn's cache when that is still
// good. name may alias a read buffer. A topic that nobody wants is not kept: a
// flood of those must not push out the others, and finding nobody is cheap.
func (t *turn) routeOf(name string) *route { return t.find(name, nil) }

// routeOnce is routeOf for those who have done with the route before the turn
// asks for another, and let nobody else have it: a hundred thousand retained
// topics that nobody listens to are not to make as many routes.
func (t *turn) routeOnce(name string) *route { return t.find(name, &t.once) }

// find is routeOf that uses fresh, if there is one, for a route that is not kept.
func (t *turn) find(name string, fresh *route) *route {
	r := t.routes[name]
	if r != nil && r.gen == t.b.gen.Load() {
		return r
	}
	if r != nil {
		name = r.topic
	} else {
		name = strings.Clone(name)
	}
	if fresh == nil {
		fresh = new(route)
	}
	t.match(fresh, name)
	switch {
	case !fresh.empty():
		if fresh == &t.once {
			fresh = new(route)
			*fresh, t.once = t.once, route{}
		}
		if r == nil && len(t.routes) >= maxRoutes {
			clear(t.routes)
		}
		t.routes[name] = fresh
	case r != nil:
		delete(t.routes, name)
	}
	return fresh
}

// match finds who wants the name and says so in r.
func (t *turn) match(r *route, name string) {
	b := t.b
	b.treeMu.RLock()
	*r = route{gen: b.gen.Load(), topic: name, class: b.opt().classOf(name)}
	t.matches = b.tree.AppendMatches(t.matches[:0], name)
	b.treeMu.RUnlock()
	r.simple = true
	if len(t.matches) == 0 {
		return
	}
	var places map[*session]int
	if len(t.matches) > 16 {
		places = make(map[*session]int, len(t.matches))
	}
	checked := b.auth() != nil
	r.targets = make([]target, 0, len(t.matches))
	for _, sub := range t.matches {
		if sub.share != nil {
			r.groups, r.simple = append(r.groups, sub.share), false
			continue
		}
		if checked && !b.mayDeliver(sub.s.who(), b.unmounted(sub.s, name)) {
			continue
		}
		// The store keeps one copy for a session, whatever the option says.
		rules := sub.s.rules.Load()
		r.simple = r.simple && !rules.QueueQoS0 && !rules.UpgradeOutgoingQoS
		if !rules.AllowDuplicates || sub.s.keeps.Load() {
			if i := r.place(sub.s, places); i >= 0 {
				r.targets[i].add(sub)
				continue
			}
			if places != nil {
				places[sub.s] = len(r.targets)
			}
		}
		r.targets = append(r.targets, newTarget(sub, rules))
	}
	clear(t.matches)
}

func (r *route) place(s *session, places map[*session]int) int {
	if places != nil {
		if i, ok := places[s]; ok {
			return i
		}
		return -1
	}
	for i := range r.targets {
		if r.targets[i].s == s {
			return i
		}
	}
	return -1
}

func newTarget(sub *subscription, rules *Rules) target {
	t := target{s: sub.s, qos: sub.opts.qos(), rap: sub.opts.retainAsPublished(), local: !sub.opts.noLocal(),
		queue0: rules.QueueQoS0, upgrade: rules.UpgradeOutgoingQoS}
	if sub.id != 0 {
		t.ids = []uint32{sub.id}
	}
	return t
}

// add merges another subscription of the same session.
func (t *target) add(sub *subscription) {
	local := !sub.opts.noLocal()
	if t.local != local && t.more == nil {
		// Own messages take only the subscriptions that want them.
		if t.local {
			own := *t
			own.ids = append([]uint32(nil), t.ids...)
			t.more = &own
		} else {
			own := newTarget(sub, &Rules{QueueQoS0: t.queue0, UpgradeOutgoingQoS: t.upgrade})
			t.more = &own
		}
	} else if t.more != nil && local {
		t.more.join(sub)
	}
	t.local = t.local || local
	t.join(sub)
}

func (t *target) join(sub *subscription) {
	t.qos = max(t.qos, sub.opts.qos())
	t.rap = t.rap || sub.opts.retainAsPublished()
	if sub.id != 0 {
		t.ids = append(t.ids, sub.id)
	}
}

// empty says whether nobody wants the topic.
func (r *route) empty() bool { return len(r.targets) == 0 && len(r.groups) == 0 }

// who returns the client the session belongs to.
func (s *session) who() *Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.client
}
