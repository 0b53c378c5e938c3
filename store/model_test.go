package store

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// modelSession is what a session should hold, kept in the simplest way.
type modelSession struct {
	queue   []MessageID
	flights []flight
	holds   map[uint16]uint64
	subs    map[string]bool
}

func (m *modelSession) drop(id MessageID) {
	m.queue = slices.DeleteFunc(m.queue, func(q MessageID) bool { return q == id })
}

type model struct {
	sessions map[SessionID]*modelSession
	payloads map[MessageID]string
	retained map[string]string
}

// TestRandomOperationsAgainstAModel drives a store and a simple model of it with
// the same random operations, and compares what they hold, in memory, on disk
// and after reopening.
func TestRandomOperationsAgainstAModel(t *testing.T) {
	inBoth(t, func(t *testing.T, dir string) {
		rounds, seeds := 9, uint64(4)
		if testing.Short() {
			rounds = 3
		}
		if v, err := strconv.ParseUint(os.Getenv("MODEL_SEEDS"), 10, 32); err == nil {
			seeds = v
		}
		first, _ := strconv.ParseUint(os.Getenv("MODEL_FIRST"), 10, 32)
		for seed := first; seed < first+seeds; seed++ {
			d := dir
			if d != "" {
				d = fmt.Sprint(dir, "/", seed)
			}
			runModel(t, d, seed, rounds)
			if d != "" {
				os.RemoveAll(d)
			}
		}
	})
}

func runModel(t *testing.T, dir string, seed uint64, rounds int) {
	r := rand.New(rand.NewPCG(seed, 1))
	m := model{sessions: map[SessionID]*modelSession{}, payloads: map[MessageID]string{}, retained: map[string]string{}}
	o := Options{
		CommitDelay: time.Duration(seed%3) * time.Millisecond, MaxGroup: 32 << 10, LazyInterval: 20 * time.Millisecond,
		eager: seed%2 == 1, // groups are merged beside everything else, all the time
	}
	s, stop := running(t, dir, o)
	for round := range rounds {
		for range 300 {
			m.step(t, s, r)
			if r.IntN(40) == 0 {
				m.compare(t, s)
			}
			if r.IntN(60) == 0 {
				time.Sleep(time.Duration(r.IntN(1500)) * time.Microsecond)
			}
		}
		check(t, s)
		m.compare(t, s)
		if dir != "" && round%3 == 2 {
			stop()
			s, stop = running(t, dir, o)
			check(t, s)
			m.compare(t, s)
			m.compareLoaded(t, s)
		}
		if t.Failed() {
			t.Fatalf("seed %d, round %d", seed, round)
		}
	}
	stop()
}

func (m *model) pick(r *rand.Rand) (SessionID, *modelSession) {
	ids := slices.Sorted(maps.Keys(m.sessions))
	if len(ids) == 0 {
		return 0, nil
	}
	id := ids[r.IntN(len(ids))]
	return id, m.sessions[id]
}

func (m *model) step(t *testing.T, s *Store, r *rand.Rand) {
	var b Batch
	id, ms := m.pick(r)
	var added []Recipient
	kind := r.IntN(100)
	switch {
	case ms == nil || kind < 2 && len(m.sessions) < 8:
		id = s.NewSessionID()
		m.sessions[id] = &modelSession{holds: map[uint16]uint64{}, subs: map[string]bool{}}
		b.PutSession(Session{ID: id, ClientID: fmt.Sprint(id)})
	case kind < 3 && len(m.sessions) > 3:
		b.DeleteSession(id)
		delete(m.sessions, id)
	case kind < 40:
		added = m.publish(&b, r)
	case kind < 65:
		for range r.IntN(20) {
			if q := ms.unbound(r); q != 0 {
				b.Done(id, q)
				ms.drop(q)
			}
		}
	case kind < 70:
		if q := ms.unbound(r); q != 0 {
			pid := ms.freePacket(r)
			b.Bind(id, pid, q)
			ms.flights = append(ms.flights, flight{pid: pid, id: q})
		}
	case kind < 80 && len(ms.flights) > 0:
		f := &ms.flights[r.IntN(len(ms.flights))]
		if !f.released && r.IntN(4) > 0 {
			b.Released(id, f.pid)
			f.released = true
			ms.drop(f.id)
		} else {
			b.DonePacket(id, f.pid, f.id)
			if !f.released {
				ms.drop(f.id)
			}
			pid := f.pid
			ms.flights = slices.DeleteFunc(ms.flights, func(f flight) bool { return f.pid == pid })
		}
	case kind < 85:
		pid := uint16(1 + r.IntN(20))
		if _, ok := ms.holds[pid]; ok {
			b.Release(id, pid)
			delete(ms.holds, pid)
		} else {
			d := r.Uint64()
			b.Hold(id, pid, d)
			ms.holds[pid] = d
		}
	case kind < 90:
		f := fmt.Sprint("f/", r.IntN(10))
		if ms.subs[f] {
			b.DeleteSubscription(id, f)
			delete(ms.subs, f)
		} else {
			b.PutSubscription(id, Subscription{Filter: f})
			ms.subs[f] = true
		}
	case kind < 95:
		topic, v := fmt.Sprint("r/", r.IntN(20)), fmt.Sprint(r.Uint64())
		if r.IntN(4) == 0 {
			b.DeleteRetained(topic)
			delete(m.retained, topic)
			break
		}
		if r.IntN(10) == 0 {
			v = strings.Repeat(v, 10000)
		}
		msg := message(topic, v)
		msg.Class = Class(r.IntN(2))
		b.PutRetained(msg)
		m.retained[topic] = v
	default:
		m.move(&b, r, id, ms)
	}
	if b.Len() == 0 {
		return
	}
	var done func(Receipt)
	if r.IntN(2) == 0 {
		done = func(r Receipt) {
			if r.Err != nil {
				t.Error(r.Err)
			}
		}
	}
	var payload string
	if added != nil {
		payload = string(b.sub.msgs[0].msg.Payload)
	}
	if err := s.Submit(t.Context(), &b, done); err != nil {
		t.Fatal(err)
	}
	if added == nil {
		return
	}
	mid := b.ID(0)
	m.payloads[mid] = payload
	for _, a := range added {
		ms := m.sessions[a.Session]
		ms.queue = append(ms.queue, mid)
		if a.PacketID != 0 {
			ms.flights = append(ms.flights, flight{pid: a.PacketID, id: mid})
		}
	}
}

func (m *model) publish(b *Batch, r *rand.Rand) (to []Recipient) {
	for _, id := range slices.Sorted(maps.Keys(m.sessions)) {
		if r.IntN(3) > 0 {
			continue
		}
		rc := Recipient{Session: id, QoS: 1, Sent: r.IntN(2) == 0}
		if r.IntN(5) == 0 {
			rc.QoS, rc.PacketID = 2, m.sessions[id].freePacket(r)
		}
		if r.IntN(5) == 0 {
			rc.SubscriptionIDs = []uint32{uint32(r.IntN(3))}
		}
		to = append(to, rc)
	}
	size := r.IntN(400)
	if r.IntN(50) == 0 {
		size = 300_000
	}
	p := make([]byte, size)
	for i := range p {
		p[i] = byte('a' + r.IntN(26))
	}
	b.AddMessage(message("t/"+fmt.Sprint(r.IntN(5)), string(p)), to)
	if to == nil {
		to = []Recipient{}
	}
	return to
}

func (m *model) move(b *Batch, r *rand.Rand, from SessionID, ms *modelSession) {
	to, mt := m.pick(r)
	if to == from {
		return
	}
	var ids []MessageID
	for _, q := range ms.queue {
		if r.IntN(2) == 0 && !ms.isBound(q) {
			ids = append(ids, q)
		}
	}
	b.Move(from, to, ids)
	for _, q := range ids {
		ms.drop(q)
		if !slices.Contains(mt.queue, q) {
			i, _ := slices.BinarySearch(mt.queue, q)
			mt.queue = slices.Insert(mt.queue, i, q)
		}
	}
}

func (ms *modelSession) isBound(id MessageID) bool {
	return slices.ContainsFunc(ms.flights, func(f flight) bool { return f.id == id })
}

// unbound picks a queued message, an early one rather.
func (ms *modelSession) unbound(r *rand.Rand) MessageID {
	if len(ms.queue) == 0 {
		return 0
	}
	n := len(ms.queue)
	if r.IntN(3) > 0 {
		n = min(n, 5)
	}
	if q := ms.queue[r.IntN(n)]; !ms.isBound(q) {
		return q
	}
	return 0
}

func (ms *modelSession) freePacket(r *rand.Rand) uint16 {
	for {
		pid := uint16(1 + r.IntN(60000))
		if !slices.ContainsFunc(ms.flights, func(f flight) bool { return f.pid == pid }) {
			return pid
		}
	}
}

func (m *model) compare(t *testing.T, s *Store) {
	t.Helper()
	for id, ms := range m.sessions {
		var page []Queued
		after := MessageID(0)
		for {
			next, err := s.Queue(nil, id, after, 50, 100_000)
			if err != nil {
				t.Fatal(err)
			}
			if len(next) == 0 {
				break
			}
			page = append(page, next...)
			after = next[len(next)-1].ID
		}
		var got []MessageID
		for _, q := range page {
			got = append(got, q.ID)
			if err := q.Message.Load(); err != nil || string(q.Message.Payload) != m.payloads[q.ID] {
				t.Fatalf("message %d has another payload", q.ID)
			}
		}
		if !slices.Equal(got, ms.queue) {
			t.Fatalf("session %d:\n got %v\nwant %v", id, got, ms.queue)
		}
		if n, _, _ := s.Depth(id); n != len(ms.queue) {
			t.Fatalf("session %d: depth %d, want %d", id, n, len(ms.queue))
		}
	}
}

// compareLoaded compares what Load gives.
func (m *model) compareLoaded(t *testing.T, s *Store) {
	t.Helper()
	flights := map[SessionID][]flight{}
	holds, subs := 0, 0
	retained := map[string]string{}
	err := s.Load(Loader{
		Session: func(s Session, _ uint16) error {
			if m.sessions[s.ID] == nil {
				t.Errorf("session %d was deleted", s.ID)
			}
			return nil
		},
		Flight: func(id SessionID, f Flight) error {
			flights[id] = append(flights[id], flight{pid: f.PacketID, released: f.Released, id: f.ID})
			if !f.Released && (f.Message.Load() != nil || string(f.Message.Payload) != m.payloads[f.ID]) {
				t.Errorf("flight %d has another message", f.PacketID)
			}
			return nil
		},
		Hold: func(id SessionID, pid uint16, d uint64) error {
			holds++
			if m.sessions[id].holds[pid] != d {
				t.Errorf("session %d holds %d", id, pid)
			}
			return nil
		},
		Subscription: func(id SessionID, u Subscription) error {
			subs++
			if !m.sessions[id].subs[u.Filter] {
				t.Errorf("session %d has %s", id, u.Filter)
			}
			return nil
		},
		Retained: func(msg *Message) error {
			retained[msg.Topic] = string(msg.Payload)
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for id, ms := range m.sessions {
		holds -= len(ms.holds)
		subs -= len(ms.subs)
		if !slices.Equal(flights[id], ms.flights) {
			t.Errorf("session %d: flights\n got %v\nwant %v", id, flights[id], ms.flights)
		}
	}
	if holds != 0 || subs != 0 || !maps.Equal(retained, m.retained) {
		t.Errorf("%d holds and %d subscriptions too many; retained %d, want %d", holds, subs, len(retained), len(m.retained))
	}
}
