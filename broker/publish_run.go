package broker

import "gatewayd/mqtt"

// maxRun bounds what one step forwards of a run: the receiver's mutex is held
// while it is copied.
const maxRun = flushAt

// publishRun forwards the messages at the beginning of b that are a plain
// PUBLISH at QoS 0 to the topic that the client was last allowed to publish to.
// They leave as they came, so a receiver gets all of them in one copy, under one
// lock. It returns how much of b it used; 0: b does not begin with two of them,
// or the client has not published to one topic twice in a row, so that it is not
// worth looking.
func (c *conn) publishRun(b []byte, t *turn) (used int) {
	r := c.lastPub
	if !c.stays || r == nil || !r.simple || c.state != connected || r.gen != c.b.gen.Load() || c.set.MountPoint != "" || c.b.memory.refusePublishers() {
		return 0
	}
	most := shareFrom - 1
	if max := c.set.MaxMessageSize; max > 0 {
		most = min(most, max)
	}
	run := mqtt.PublishRun(c.version, b[:min(len(b), maxRun)], r.topic, most)
	if run.Packets < 2 || run.Largest > c.maxIn() {
		return 0
	}
	b = b[:run.Bytes]
	c.lastPacket.Store(t.now)
	t.counts.runIn(&run)
	for i := range r.targets {
		tg := &r.targets[i]
		if tg.s == c.sess && (!tg.local || tg.more != nil) {
			if tg = tg.more; tg == nil {
				continue // no local [MQTT-3.8.3-3]
			}
		}
		s := tg.s
		s.mu.Lock()
		if s.takesRunLocked(c.version, &run) && len(tg.ids) == 0 {
			s.sendRunLocked(t, b, &run)
		} else {
			c.sendEachLocked(t, r.topic, b, s, tg.ids)
		}
		s.mu.Unlock()
	}
	return run.Bytes
}

// takesRunLocked says whether the client gets the messages exactly as they came
// from one that speaks v, and all of them.
func (s *session) takesRunLocked(v mqtt.Version, run *mqtt.Run) bool {
	c := s.conn
	return c != nil && s.live && (c.version == mqtt.V5) == (v == mqtt.V5) && s.mount == "" && c.aliases == nil &&
		(c.maxPacket == 0 || run.Largest <= int(c.maxPacket)) &&
		c.waiting+run.Bytes <= s.rules.Load().MaxOutbox && !s.b.memory.dropQoS0()
}

func (s *session) sendRunLocked(t *turn, b []byte, run *mqtt.Run) {
	c := s.conn
	if c.out == nil {
		c.out = outboxes.Get().(*outbox)
	}
	c.out.buf = append(c.out.buf, b...)
	c.out.size += len(b)
	c.waiting += len(b)
	t.pending += len(b)
	t.counts.runOut(run)
	t.touch(c)
}

// sendEachLocked sends a run's messages one by one.
func (c *conn) sendEachLocked(t *turn, topic string, b []byte, s *session, ids []uint32) {
	for len(b) > 0 {
		n, err := mqtt.Split(b, 0)
		if err == nil {
			err = t.publish.Decode(c.version, b[:n])
		}
		if err != nil {
			return // cannot be: the run was measured
		}
		t.out.set(mqtt.Message{Payload: t.publish.Payload}, topic, c.client.ID, t.now, 0)
		s.send0Locked(t, &t.out, 0, ids)
		b = b[n:]
	}
}
