package bridge

import (
	"context"
	"sync"

	"gatewayd/broker"
	"gatewayd/mqtt"
)

const (
	reconcileTopics = 20_000  // topics whose change is remembered through an outage
	reconcileBytes  = 8 << 20 // and their payload
	recentBound     = 4096    // retained messages just written that may have been lost
)

// reconcile remembers the retained messages of QoS 0 that change while the
// centre is away: they are in no queue, but the centre would keep the value
// from before, or one that was deleted here (mosquitto#1040). Each topic is
// sent once on reconnect, as it is then (mosquitto#2248). A second, volatile
// session of the bridge sees them; it is asleep while the bridge is connected.
type reconcile struct {
	link  *broker.Link
	rules *router
	qos   []mqtt.QoS // of the rules
	own   string     // client id of the bridge: what came from the centre is not sent back

	mu       sync.Mutex // guards the fields below
	changed  map[string]broker.Delivery
	order    []string
	bytes    int
	overflow bool // too much to remember: everything retained is sent again
}

// openReconcile opens the second session; nil when nothing goes outward.
func (b *Bridge) openReconcile() (*reconcile, error) {
	want := b.outwardRequests()
	if len(want) == 0 || b.o.LocalVolatile {
		return nil, nil
	}
	link, err := b.broker.Link(broker.LinkOptions{ClientID: b.o.LocalClientID + ".retained", CleanStart: true, MaxQoS0: maxQoS0})
	if err != nil {
		return nil, err
	}
	for i := range want {
		want[i].Options = mqtt.OptionRetainAsPublished.WithRetainHandling(2)
	}
	if err := link.Subscribe(0, want...); err != nil {
		link.Close()
		return nil, err
	}
	r := &reconcile{link: link, rules: newRouter(b.o.Rules, false), own: b.o.LocalClientID, changed: map[string]broker.Delivery{}}
	for _, rule := range b.o.Rules {
		r.qos = append(r.qos, rule.QoS)
	}
	return r, nil
}

// run watches until ctx is done or the link is closed.
func (r *reconcile) run(ctx context.Context) {
	for {
		d, err := r.link.Next(ctx)
		if err != nil {
			return
		}
		r.mu.Lock()
		r.noteLocked(d)
		r.mu.Unlock()
	}
}

// noteLocked remembers the latest value of a topic. Messages that the bridge's
// own session queues are not its business.
func (r *reconcile) noteLocked(d broker.Delivery) {
	if d.Message == nil || !d.Retain || d.Publisher == r.own {
		return
	}
	to := r.rules.route(d.Message.Topic)
	if to.name == "" || min(d.Message.QoS, r.qos[to.rule]) > 0 {
		return
	}
	old, known := r.changed[d.Message.Topic]
	size := len(d.Message.Payload)
	if known {
		size -= len(old.Message.Payload)
	} else {
		size += len(d.Message.Topic)
	}
	if r.bytes+size > reconcileBytes || !known && len(r.order) >= reconcileTopics {
		r.overflow = true
		return
	}
	r.bytes += size
	if !known {
		r.order = append(r.order, d.Message.Topic)
	}
	d.QoS, d.PacketID, d.Dup = 0, 0, false
	r.changed[d.Message.Topic] = d
}

// away begins to watch. lost are retained messages that were written to a
// connection of which we do not know whether it still carried them.
func (r *reconcile) away(lost []broker.Delivery) {
	r.mu.Lock()
	for _, d := range lost {
		r.noteLocked(d)
	}
	r.mu.Unlock()
	r.link.Resume(1)
}

// back ends watching and returns what changed. The bridge's own session must
// be sending already, so that nothing falls between the two.
func (r *reconcile) back() (changed []broker.Delivery, overflow bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		d, ok := r.link.TryNext()
		if !ok {
			break
		}
		r.noteLocked(d)
	}
	r.link.Pause()
	for _, topic := range r.order {
		changed = append(changed, r.changed[topic])
	}
	overflow = r.overflow
	r.order, r.bytes, r.overflow = nil, 0, false
	clear(r.changed)
	return changed, overflow
}

// recent are retained messages of QoS 0 just written.
type recent struct {
	list []sentRetained
}

type sentRetained struct {
	d  broker.Delivery
	at int64
}

// add notes one that is written at now; what the centre has answered since is
// safe.
func (r *recent) add(d broker.Delivery, now, heard int64) {
	keep := 0
	for keep < len(r.list) && (r.list[keep].at < heard || len(r.list)-keep >= recentBound) {
		keep++
	}
	r.list = append(r.list[keep:], sentRetained{d, now})
}

// since returns those written after the centre was last heard.
func (r *recent) since(heard int64) []broker.Delivery {
	var out []broker.Delivery
	for _, s := range r.list {
		if s.at >= heard {
			out = append(out, s.d)
		}
	}
	return out
}
