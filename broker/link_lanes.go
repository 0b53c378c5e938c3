package broker

import (
	"context"
	"math"
	"time"

	"gatewayd/mqtt"
	"gatewayd/store"
)

// LaneOrder says what may pass the messages that wait for a Link.
type LaneOrder uint8

// The orders.
const (
	// OneLane keeps one order over everything.
	OneLane LaneOrder = iota
	// TopicOrder lets a message go at once when no older one of its topic waits.
	TopicOrder
	// LaneFirst lets everything that is published while the remote is there go
	// at once; each lane keeps its own order.
	LaneFirst
)

const (
	laneTopics     = 16384   // topics with waiting messages that are told apart
	laneTopicBytes = 1 << 20 // and their names
	liveMessages   = 1024    // published now, on their way past what waits
	liveBytes      = 1 << 20 // payload in flight beyond which nothing passes any more

	paceStep = 100 * time.Millisecond // between two helpings of paced history
)

// lanes let what is published now pass what has waited. They only say which
// message goes when: what passes is in flight under its own MessageID as every
// other, and what waits stays in the queue. The session's mutex guards them.
//
// A message may pass only while no older one of its topic waits to be sent for
// the first time, in the queue or read ahead of the window, so topics are counted
// with their waiting messages. What passes, or goes out directly because nothing
// waits, is live: it is not counted, and what is published after it may only be
// live too, behind it, or wait. Topics that
// there is no room for are counted in others together; while any of these
// waits, a topic that is not known may be one of them and does not pass. What
// the queue's bounds throw out stays counted until the queue is empty: that
// holds a topic back, it never lets one pass.
type lanes struct {
	order  LaneOrder
	topics map[string]int
	bytes  int // of the names
	others int

	// What waited at the start of the process: up to known it was counted. While
	// the queue is read between known and last, nothing passes.
	known, last store.MessageID

	reservedFloor store.MessageID // what is promised to be sent has a higher id

	rate    float64         // messages a second of history; 0: no bound
	horizon store.MessageID // history is up to here
	next    time.Time       // when its next message is due
	resting bool            // a timer starts the refill again
}

// waits counts a message that goes to the queue.
func (l *lanes) waits(topic string) {
	if !l.inOrder() {
		return
	}
	if n, ok := l.topics[topic]; ok {
		l.topics[topic] = n + 1
		return
	}
	if len(l.topics) >= laneTopics || l.bytes+len(topic) > laneTopicBytes {
		l.others++
		return
	}
	if l.topics == nil {
		l.topics = make(map[string]int)
	}
	l.topics[topic] = 1
	l.bytes += len(topic)
}

// left uncounts one that is sent for the first time, or never will be.
func (l *lanes) left(topic string) {
	if !l.inOrder() {
		return
	}
	switch n := l.topics[topic]; {
	case n > 1:
		l.topics[topic] = n - 1
	case n == 1:
		delete(l.topics, topic)
		l.bytes -= len(topic)
	case l.others > 0:
		l.others--
	}
}

// sorts says whether messages are live or history.
func (l *lanes) sorts() bool { return l != nil && l.order != OneLane }

// inOrder says whether topics are counted.
func (l *lanes) inOrder() bool { return l != nil && l.order == TopicOrder }

// emptiedLocked is called when the queue has nothing any more: only what was
// read ahead of the window waits.
func (f *outflow) emptiedLocked() {
	l := f.lanes
	if l == nil {
		return
	}
	l.topics, l.bytes, l.others, l.known, l.last = nil, 0, 0, 0, 0
	for i := range f.flight {
		if f.flight[i].counted {
			l.waits(f.flight[i].msg.Topic)
		}
	}
}

// counted says whether a message of the queue was counted.
func (l *lanes) counted(id store.MessageID) bool {
	return l.inOrder() && (id <= l.known || id > l.last)
}

// passesLocked says whether a message that is being published is live: it goes
// out past what waits, or nothing does.
func (s *session) passesLocked(topic string, qos mqtt.QoS) bool {
	f := s.flow
	l := f.lanes
	if !l.sorts() || qos == 0 || s.link == nil || !s.onlineLocked() || f.bytes >= liveBytes || f.reserved+f.live >= liveMessages {
		return false
	}
	if !f.backlog && !s.openLocked() {
		return false
	}
	if l.order == TopicOrder {
		if l.topics[topic] > 0 || l.known < l.last && f.cursor < l.last {
			return false
		}
		if l.others > 0 {
			return false
		}
	}
	if f.reserved == 0 {
		l.reservedFloor = store.MessageID(s.b.durable.Load())
	}
	return true
}

// topic is what the op publishes to; empty when it moves a message between the
// members of a shared subscription, which links are not.
func (op *pubOp) topic() string {
	if op.route == nil {
		return ""
	}
	return op.route.topic
}

// shownBelowLocked says up to where a message of the queue that is not in flight
// is one that waits, for certain: while something is being sent whose id is not
// known yet, only what is older than that.
func (f *outflow) shownBelowLocked() store.MessageID {
	below := store.MessageID(math.MaxUint64)
	if f.lanes == nil {
		return below // the queue is not read meanwhile
	}
	if f.reserved > 0 {
		below = f.lanes.reservedFloor
	}
	for i := range f.flight {
		if d := &f.flight[i]; d.state == binding && d.id == 0 {
			below = min(below, d.floor)
		}
	}
	return below
}

// crowdLocked is what of the queue is in flight, and how much of that was not
// sent yet.
func (f *outflow) crowdLocked() (flight, idle int) {
	idle = f.idle
	for i := 0; i < len(f.flight) && f.live > 0 && idle > 0; i++ {
		if d := &f.flight[i]; d.live && !d.wire {
			idle--
		}
	}
	return len(f.flight) - f.live, idle
}

// goneLocked uncounts a delivery that was sent, or left without.
func (f *outflow) goneLocked(d *delivery) {
	if d.counted {
		d.counted = false
		f.lanes.left(d.msg.Topic)
	}
}

// returnedLocked is called before a delivery that was not sent goes back from
// flight to the queue, where it waits.
func (f *outflow) returnedLocked(d *delivery) {
	switch in := f.lanes.counted(d.id); {
	case in && !d.counted:
		f.lanes.waits(d.msg.Topic)
	case !in && d.counted:
		f.lanes.left(d.msg.Topic)
	}
	d.counted = false
}

// sendLanesLocked is sendIdleLocked with lanes: first what was sent on an
// earlier connection, in the order of then, its PUBRELs before its messages,
// since they make room at the other end; then what is published now; then
// history.
func (s *session) sendLanesLocked(t *turn) {
	for _, turn := range [...]lane{releases, repeated, live, history} {
		if s.flow.idle == 0 || !s.sendLaneLocked(t, turn) {
			return
		}
	}
}

type lane uint8

const (
	anyLane lane = iota
	releases
	repeated
	live
	history
)

func (d *delivery) lane() lane {
	switch {
	case d.state >= releasing:
		return releases
	case d.later:
		return history
	case d.tried:
		return repeated
	case d.live:
		return live
	}
	return history
}

// paceLocked says whether history may go on now. If not, it will be read on
// when its time comes.
func (s *session) paceLocked(id store.MessageID) bool {
	l := s.flow.lanes
	if l == nil || l.rate <= 0 || id > l.horizon {
		return true
	}
	now := time.Now()
	if burst := now.Add(-paceStep); l.next.Before(burst) {
		l.next = burst
	}
	if !l.next.After(now) {
		l.next = l.next.Add(time.Duration(float64(time.Second) / l.rate))
		return true
	}
	if !l.resting {
		l.resting = true
		time.AfterFunc(max(paceStep, l.next.Sub(now)), s.rested)
	}
	return false
}

func (s *session) rested() {
	s.mu.Lock()
	s.flow.lanes.resting = false
	start := !s.gone && s.wantsRefillLocked()
	s.mu.Unlock()
	if start {
		s.b.startRefill(s)
	}
}

// setLanes gives the session the link's lanes.
func (l *Link) setLanesLocked(last store.MessageID) {
	f := l.s.outLocked()
	if !l.s.durable() || l.opts.Lanes == OneLane && l.opts.HistoryRate <= 0 {
		f.lanes = nil
		return
	}
	if f.lanes == nil || f.lanes.order != l.opts.Lanes {
		// What is being published already is not counted: until the queue is empty
		// nothing passes.
		f.lanes = &lanes{last: last, others: f.unoffered}
		f.lanes.order = l.opts.Lanes
		f.live = 0
		for i := range f.flight {
			d := &f.flight[i]
			d.live, d.counted = false, false
			if !d.tried && d.msg != nil && f.lanes.inOrder() {
				d.counted = true
				f.lanes.waits(d.msg.Topic)
			}
		}
	}
	f.lanes.rate = l.opts.HistoryRate
}

// Survey learns which topics have messages waiting since before the process
// started. Until it returns, what is published goes behind all of these. A
// million take less than a second; it may run on while messages are sent.
func (l *Link) Survey(ctx context.Context) error {
	s := l.s
	s.mu.Lock()
	key, lanes := s.key, s.outLocked().lanes
	if !lanes.inOrder() || s.link != l {
		s.mu.Unlock()
		return nil
	}
	after, last := lanes.known, lanes.last
	s.mu.Unlock()
	var page []queuedTopic
	for after < last && ctx.Err() == nil {
		page = page[:0]
		upto, err := l.b.store.Topics(key, after, func(id store.MessageID, topic string) {
			page = append(page, queuedTopic{id, topic})
		})
		if err != nil {
			return err
		}
		if upto == after || upto > last { // the rest came since
			upto = last
		}
		s.mu.Lock()
		if s.link != l || s.flow.lanes != lanes || lanes.known != after || lanes.last != last {
			s.mu.Unlock()
			return nil
		}
		s.flow.surveyedLocked(page, upto)
		s.mu.Unlock()
		after = upto
	}
	return nil
}

// queuedTopic is a message of the queue, as far as lanes go.
type queuedTopic struct {
	id    store.MessageID
	topic string
}

// surveyedLocked counts what waits up to an id. Some of it may have been taken
// out of the queue since it was looked at.
func (f *outflow) surveyedLocked(page []queuedTopic, upto store.MessageID) {
	l := f.lanes
	busy := map[store.MessageID]bool{}
	for i := range f.flight {
		d := &f.flight[i]
		if d.id <= l.known || d.id > upto {
			continue
		}
		busy[d.id] = true
		if !d.counted && !d.tried && d.msg != nil { // read ahead of the window: it waits too
			d.counted = true
			l.waits(d.msg.Topic)
		}
	}
	for _, a := range f.acked {
		busy[a.id] = true
	}
	for _, w := range page {
		if w.id > f.cursor && w.id <= upto && !busy[w.id] {
			l.waits(w.topic)
		}
	}
	l.known = upto
}

// stale says whether a history message's retain flag would put an old value in
// the place of a newer one that has passed it.
func (l *Link) stale(d *Delivery) bool {
	if l.opts.Lanes != LaneFirst || !d.Retain || d.received == 0 {
		return false
	}
	m := l.b.retained.get(d.Message.Topic)
	if m == nil {
		return len(d.Message.Payload) > 0 // it was deleted since
	}
	return m.at > d.received
}

// origin is when a message reached the process, on the wall clock of now: the
// clock may have been wrong then.
func (l *Link) origin(received int64) time.Time {
	age := l.b.clock.Now() - received
	return time.Now().Add(-time.Duration(max(age, 0)) * time.Millisecond)
}

// get returns the retained message of a topic, nil when there is none.
func (r *retainedSet) get(name string) *message {
	r.mu.RLock()
	defer r.mu.RUnlock()
	m, _ := r.names.Get(name)
	return m
}
