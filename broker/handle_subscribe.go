package broker

import (
	"bytes"
	"strings"

	"gatewayd/mqtt"
	"gatewayd/store"
	"gatewayd/topic"
)

// onSubscribe handles SUBSCRIBE [MQTT5 3.8].
func (c *conn) onSubscribe(b []byte, t *turn) error {
	var p mqtt.Subscribe
	if err := p.Decode(c.version, bytes.Clone(b)); err != nil { // its filters are kept
		return err
	}
	var id uint32
	if p.Properties != nil && len(p.Properties.SubscriptionIDs) > 0 {
		id = p.Properties.SubscriptionIDs[0]
		if c.set.RefuseSubscriptionID {
			return reasonError(mqtt.SubIDsNotSupported, "subscription identifiers are not available")
		}
	}
	op := c.b.newOp()
	op.c, op.s, op.pid = c, c.sess, p.ID
	codes := make([]mqtt.ReasonCode, len(p.Requests))
	var fresh []*subscription // those whose retained messages are to be sent
	joined := false           // a shared subscription
	for i, q := range p.Requests {
		sub, old, code, err := c.subscribe(q, id, &op.batch)
		if err != nil {
			op.free()
			return err
		}
		codes[i] = code
		if sub == nil {
			continue
		}
		joined = joined || sub.share != nil
		// [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11]; none for shared ones [MQTT5 4.8.2]
		if h := sub.opts.retainHandling(); sub.share == nil && (h == 0 || h == 1 && old == nil) {
			fresh = append(fresh, sub)
		}
	}
	wait := c.saves(op, nil)
	c.b.promiseReplay(c.sess, &op.batch, fresh)
	ack := &mqtt.Suback{ID: p.ID, Codes: codes}
	c.afterSave(t, op, ack, wait, fresh, joined)
	return nil
}

// subscribe makes one subscription. A nil subscription was refused with code.
func (c *conn) subscribe(q mqtt.Request, id uint32, batch *store.Batch) (sub, old *subscription, code mqtt.ReasonCode, err error) {
	set, s := c.set, c.sess
	group, filter, shared, err := set.Rules.limits().Share(q.Filter)
	switch {
	case err != nil:
		if c.version != mqtt.V5 { // [MQTT-4.7.1-2]: not a filter at all
			return nil, nil, 0, &mqtt.ReasonError{Code: mqtt.TopicFilterInvalid, Err: err}
		}
		return nil, nil, mqtt.TopicFilterInvalid, nil
	case shared && q.Options.NoLocal(): // [MQTT-3.8.3-4]
		return nil, nil, 0, protocolError("no local on a shared subscription")
	case shared && set.RefuseSharedSubs:
		return nil, nil, mqtt.SharedSubsNotSupported, nil
	case set.RefuseWildcardSubs && topic.HasWildcard(filter):
		return nil, nil, mqtt.WildcardSubsNotSupported, nil
	case !set.Rules.GrantDenied && !c.b.maySubscribe(c.client, filter, q.Options.QoS()):
		return nil, nil, mqtt.NotAuthorized, nil
	}
	if c.bridge && !shared {
		// It cannot ask for these in 3.x and would otherwise go in circles.
		q.Options |= mqtt.OptionNoLocal | mqtt.OptionRetainAsPublished
	}
	qos := min(q.Options.QoS(), *set.MaxQoS)
	sub = &subscription{
		s: s, name: q.Filter, filter: filter, id: id,
		opts: subOptions(q.Options.WithQoS(qos)),
	}
	if set.MountPoint != "" {
		sub.filter = set.MountPoint + filter
	}
	s.mu.Lock()
	if max := set.Rules.MaxSubscriptions; max > 0 && len(s.subs) >= max && s.findLocked(sub.name) < 0 {
		s.mu.Unlock()
		return nil, nil, mqtt.QuotaExceeded, nil
	}
	old = s.putLocked(sub)
	if s.durable() && !sub.same(old) {
		batch.PutSubscription(s.key, store.Subscription{Filter: sub.name, Options: uint8(sub.opts), ID: sub.id})
	}
	s.mu.Unlock()
	c.b.enter(sub, old, group, shared)
	return sub, old, mqtt.ReasonCode(qos), nil
}

// same says whether the store need not hear of it.
func (sub *subscription) same(old *subscription) bool {
	return old != nil && old.opts == sub.opts && old.id == sub.id
}

// enter puts a subscription into the tree in place of old [MQTT-3.8.4-3].
func (b *Broker) enter(sub, old *subscription, group string, shared bool) {
	if shared {
		b.stats.shared.Add(1)
		if old != nil {
			b.stats.shared.Add(-1)
		}
		b.joinGroup(shareKey{group, sub.filter}, sub, old)
		return
	}
	b.treeMu.Lock()
	b.tree.Add(sub.filter, sub)
	if old != nil {
		b.tree.Remove(old.filter, old)
	}
	b.gen.Add(1)
	b.treeMu.Unlock()
	if old == nil {
		b.stats.subscriptions.Add(1)
	}
}

// unsubscribe takes a subscription out of the tree.
func (b *Broker) unsubscribe(sub *subscription) {
	if sub.share != nil {
		b.stats.shared.Add(-1)
		b.leaveGroup(sub)
		return
	}
	b.treeMu.Lock()
	b.tree.Remove(sub.filter, sub)
	b.gen.Add(1)
	b.treeMu.Unlock()
	b.stats.subscriptions.Add(-1)
}

// onUnsubscribe handles UNSUBSCRIBE [MQTT5 3.10].
func (c *conn) onUnsubscribe(b []byte, t *turn) error {
	var p mqtt.Unsubscribe
	if err := p.Decode(c.version, b); err != nil {
		return err
	}
	s := c.sess
	op := c.b.newOp()
	op.c, op.s, op.pid = c, s, p.ID
	codes := make([]mqtt.ReasonCode, len(p.Filters))
	var left []*subscription
	cursor := false
	for i, name := range p.Filters {
		if _, _, _, err := topic.ParseShare(name); err != nil {
			if c.version != mqtt.V5 {
				op.free()
				return &mqtt.ReasonError{Code: mqtt.TopicFilterInvalid, Err: err}
			}
			codes[i] = mqtt.TopicFilterInvalid
			continue
		}
		s.mu.Lock()
		sub := s.takeLocked(name)
		if sub != nil && s.durable() {
			op.batch.DeleteSubscription(s.key, strings.Clone(name))
		}
		for j, r := range s.replay {
			if sub != nil && r.sub == sub {
				s.replay = append(s.replay[:j:j], s.replay[j+1:]...)
				break
			}
		}
		cursor = s.cursor
		s.mu.Unlock()
		if sub == nil {
			codes[i] = mqtt.NoSubscriptionExisted
			continue
		}
		c.b.unsubscribe(sub)
		left = append(left, sub)
	}
	if cursor {
		c.b.cursors.put(s)
	}
	wait := c.saves(op, p.Filters)
	c.afterSave(t, op, &mqtt.Unsuback{ID: p.ID, Codes: codes}, wait, nil, false)
	c.b.leaveGroups(s, left)
	return nil
}

// saves completes op's batch, and reports whether it says nothing of its own
// while what was said before is still on its way.
func (c *conn) saves(op *pubOp, removed []string) (wait bool) {
	s := c.sess
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.saveLocked(&op.batch) {
		return s.saves.under > 0
	}
	op.saves = s
	for _, name := range removed {
		op.removed = append(op.removed, strings.Clone(name))
	}
	return false
}

// afterSave sends an answer once op's batch is durable, at once when there is
// nothing in it and nothing to wait for. After it begin the replay of retained
// messages and what a new member of a group takes over.
func (c *conn) afterSave(t *turn, op *pubOp, ack mqtt.Packet, wait bool, fresh []*subscription, joined bool) {
	then := func(t *turn) {
		c.beginReplay(t, fresh)
		if joined {
			c.b.groupsChanged(t, c.sess)
		}
	}
	answer := func(err error) {
		if err != nil {
			failAll(ack)
		}
		c.tr.post(func(t *turn) {
			if c.state != connected {
				return
			}
			c.send(t, ack)
			if err == nil {
				then(t)
			}
		})
	}
	if wait {
		c.sess.mu.Lock()
		wait = c.sess.whenSavedLocked(answer)
		c.sess.mu.Unlock()
	}
	if !wait && op.batch.Len() == 0 {
		op.free()
		c.send(t, ack)
		then(t)
		return
	}
	op.fn = func(t *turn, op *pubOp) {
		err := op.err
		op.free()
		if !wait {
			answer(err)
		}
	}
	if op.batch.Len() == 0 {
		op.free()
		return
	}
	c.b.submitOrRetry(op)
}

// failAll tells the client that nothing of what it asked for is safe.
func failAll(p mqtt.Packet) {
	var codes []mqtt.ReasonCode
	switch p := p.(type) {
	case *mqtt.Suback:
		codes = p.Codes
	case *mqtt.Unsuback:
		codes = p.Codes
	}
	for i := range codes {
		codes[i] = mqtt.UnspecifiedError
	}
}

func (c *conn) beginReplay(t *turn, fresh []*subscription) {
	if len(fresh) == 0 {
		return
	}
	s := c.sess
	s.mu.Lock()
	for _, sub := range fresh {
		if i := s.findLocked(sub.name); i >= 0 && s.subs[i] == sub {
			s.replayForLocked(sub)
		}
	}
	durable := s.durable()
	s.mu.Unlock()
	if durable {
		c.b.cursors.put(s)
	}
	c.b.replay(t, s)
}
