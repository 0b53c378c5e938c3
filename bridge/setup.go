package bridge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gatewayd/broker"
	"gatewayd/mqtt"
)

// prepare asks the centre for the inward topics, publishes the bridge's state
// there and waits until all of it is answered: only then deliveries begin, so
// that no packet id can mean two things.
func (c *conn) prepare(ctx context.Context) error {
	o := &c.b.o
	buf := []byte(nil)
	id := setupID
	c.mu.Lock()
	if !c.limits.sessionPresent {
		c.b.known.subscribed = "" // also when this connection ends before SUBACK
	}
	if c.limits.sessionPresent && !o.NoUnsubscribe && !c.b.known.unsubscribed {
		// The centre kept our session: an older configuration may have left
		// subscriptions in it that nobody wants any more.
		if gone := c.b.outwardOnly(); len(gone) > 0 {
			for batch := range fitting(gone, filterBytes, 64, c.limits.maxPacket) {
				c.setup[id] = setupStep{filters: batch}
				buf = (&mqtt.Unsubscribe{ID: id, Filters: batch}).Append(buf, c.level.version)
				id--
			}
		}
	}
	if !c.alreadySubscribed() {
		for batch := range fitting(inwardRequests(o.Rules, c.level.version, c.limits.maxQoS), subscribeBytes, filtersAtOnce(c.b.demands), c.limits.maxPacket) {
			c.setup[id] = setupStep{requests: batch}
			buf = (&mqtt.Subscribe{ID: id, Requests: batch}).Append(buf, c.level.version)
			id--
		}
	}
	if o.notifiesRemotely() && !o.heralded() {
		p := &mqtt.Publish{Topic: o.NotificationTopic, Payload: []byte("1"), Retain: c.limits.retain}
		// A session that the centre kept may be full of our unfinished messages:
		// one more of QoS 1 would exceed its Receive Maximum, and mosquitto hangs
		// up on that, at every attempt. [MQTT-3.3.4-9]
		if c.limits.maxQoS > 0 && !c.limits.sessionPresent {
			p.QoS, p.ID = 1, id
			c.setup[id] = setupStep{}
		}
		buf = p.Append(buf, c.level.version)
	}
	empty := len(c.setup) == 0
	if empty {
		close(c.ready)
	}
	c.mu.Unlock()
	pending := c.out.lock()
	c.out.unlock(append(pending, buf...))
	c.out.flush()
	select {
	case <-c.ready:
	case <-ctx.Done():
		return nil
	case <-time.After(o.ConnectTimeout):
		return errors.New("the centre did not answer the subscriptions in time")
	}
	c.b.known.unsubscribed = true
	c.b.known.subscribed = c.subscriptionKey()
	return nil
}

// alreadySubscribed says whether the centre has our subscriptions since an
// earlier connection of this process. In 3.x subscribing again would make it
// send all retained messages again; in 5.0 it costs nothing and makes sure.
func (c *conn) alreadySubscribed() bool {
	return c.level.version != mqtt.V5 && c.limits.sessionPresent && c.b.known.subscribed == c.subscriptionKey()
}

func (c *conn) subscriptionKey() string { return c.addr.text + " " + c.level.String() }

// answer takes the answer to a step of setup; it reports false when pid is not
// one.
func (c *conn) answer(pid mqtt.PacketID, codes []mqtt.ReasonCode) bool {
	c.mu.Lock()
	step, ok := c.setup[pid]
	if ok {
		delete(c.setup, pid)
		if len(c.setup) == 0 {
			close(c.ready)
		}
	}
	c.mu.Unlock()
	for i, q := range step.requests {
		switch {
		case i >= len(codes):
		case codes[i].Failed():
			c.b.log.Warn("the centre refused a subscription", "filter", q.Filter, "reason", codes[i].String())
		case mqtt.QoS(codes[i]) < q.Options.QoS():
			c.b.log.Warn("the centre granted less than asked for", "filter", q.Filter, "qos", byte(codes[i]))
		}
	}
	return ok
}

// inwardRequests are the subscriptions at the centre.
func inwardRequests(rules []Rule, v mqtt.Version, maxQoS mqtt.QoS) []mqtt.Request {
	var out []mqtt.Request
	at := map[string]int{}
	for _, r := range rules {
		if !r.inward() {
			continue
		}
		q := mqtt.Request{Filter: r.remap().RemoteFilter(), Options: mqtt.Options(min(r.QoS, maxQoS))}
		if v == mqtt.V5 {
			// No-local breaks the loop; retain-as-published keeps the flag, and
			// retained messages come only with a new subscription.
			q.Options |= mqtt.OptionRetainAsPublished
			if !isShared(q.Filter) { // [MQTT-3.8.3-4]
				q.Options |= mqtt.OptionNoLocal
			}
			q.Options = q.Options.WithRetainHandling(1)
		}
		if i, ok := at[q.Filter]; ok {
			if q.Options.QoS() > out[i].Options.QoS() {
				out[i] = q
			}
			continue
		}
		at[q.Filter] = len(out)
		out = append(out, q)
	}
	return out
}

// outwardRequests are the subscriptions at the local broker.
func (b *Bridge) outwardRequests() []mqtt.Request {
	var out []mqtt.Request
	at := map[string]int{}
	for _, r := range b.o.Rules {
		if !r.outward() {
			continue
		}
		q := mqtt.Request{Filter: r.remap().LocalFilter(),
			Options: (mqtt.Options(r.QoS) | mqtt.OptionNoLocal | mqtt.OptionRetainAsPublished).WithRetainHandling(1)}
		if i, ok := at[q.Filter]; ok {
			if q.Options.QoS() > out[i].Options.QoS() {
				out[i] = q
			}
			continue
		}
		at[q.Filter] = len(out)
		out = append(out, q)
	}
	return out
}

// outwardOnly are the filters at the centre that only outward rules name.
func (b *Bridge) outwardOnly() []string {
	var out []string
	for _, r := range b.o.Rules {
		f := r.remap().RemoteFilter()
		in := slices.ContainsFunc(b.o.Rules, func(o Rule) bool { return o.inward() && o.remap().RemoteFilter() == f })
		if !in && !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	return out
}

// subscribeLocal brings the subscriptions of the bridge's own session up to
// date with the rules.
func (b *Bridge) subscribeLocal(link *broker.Link) error {
	want := b.outwardRequests()
	var gone []string
	for _, f := range link.Subscriptions() {
		if !slices.ContainsFunc(want, func(q mqtt.Request) bool { return q.Filter == f }) {
			gone = append(gone, f)
		}
	}
	if len(gone) > 0 {
		if err := link.Unsubscribe(gone...); err != nil {
			return fmt.Errorf("bridge %q: unsubscribe here: %w", b.o.Name, err)
		}
	}
	if err := b.subscribeOutward(link, 1); err != nil {
		return fmt.Errorf("bridge %q: subscribe here: %w", b.o.Name, err)
	}
	return nil
}
