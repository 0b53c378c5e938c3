package broker

import (
	"sync"
	"sync/atomic"

	"gatewayd/mqtt"
	"gatewayd/store"
)

const neverExpires = 0xFFFFFFFF

// session is what a client id owns, across connections. It is one incarnation:
// a clean start makes a new one, and whatever still knows the old one finds it
// gone. It is passive; a step under mu is short, does no I/O and takes no other
// lock.
type session struct {
	b  *Broker
	id string // the client id
	// keeps says whether the session is durable, for those who only pass by.
	keeps atomic.Bool
	// rules are those of the listener its client came through last.
	rules atomic.Pointer[Rules]

	mu      sync.Mutex      // guards the fields below, and the outbox of conn
	conn    *conn           // nil while the client is away
	link    *Link           // instead of conn, inside the process
	key     store.SessionID // 0: nothing of it is in the store
	client  *Client         // who connected last
	subs    []*subscription
	index   map[string]int // of subs by name, once there are many
	flow    *outflow       // lazily: QoS 1 and 2 to the client
	holds   holds          // QoS 2 from the client
	replay  []*replay      // retained messages still to be sent
	will    *will
	stored  *will  // the will as the store has it
	saves   saving // how far the store knows of all this
	expiry  uint32 // seconds; 0: ends with the connection
	mount   string // of the listener the client came through
	window  uint16 // QoS 1 and 2 under way at most, while connected
	version mqtt.Version
	live    bool   // CONNACK is in the outbox: deliveries may go there
	inStore bool   // is or was durable: its queue is in the store
	gone    bool   // ended: nothing is accepted for it any more
	goneAt  int64  // when the client went away, ms; 0: it is there
	willDue int64  // as restored: when the will is due; 0: the client was connected
	noted   bool   // the store was told since when the client is away
	cursor  bool   // the store has where a replay stands
	lapse   uint32 // tells the timers of one absence from those of another
}

// newSession makes the session of a client id. Until a client has come through
// a listener the broker's own rules hold.
func (b *Broker) newSession(id string) *session {
	s := &session{b: b, id: id}
	s.rules.Store(&b.opt().Rules)
	return s
}

// durable says whether the session outlives its connection. The caller holds mu
// or knows that nobody changes it.
func (s *session) durable() bool { return s.expiry > 0 }

// online says whether a delivery can leave now.
func (s *session) onlineLocked() bool { return s.live && (s.conn != nil || s.link != nil) }

// subscription is one filter of one session. All but the session is immutable:
// subscribing again makes a new one.
type subscription struct {
	s      *session
	name   string // the filter as the client gave it
	filter string // what the tree has: mount point in front, no $share
	id     uint32 // subscription identifier; 0: none
	opts   subOptions
	share  *shareGroup // nil: not shared
}

// subOptions are the options byte of SUBSCRIBE, as on the wire.
type subOptions uint8

func (o subOptions) qos() mqtt.QoS           { return mqtt.QoS(o & 3) }
func (o subOptions) noLocal() bool           { return o&4 != 0 }
func (o subOptions) retainAsPublished() bool { return o&8 != 0 }
func (o subOptions) retainHandling() byte    { return byte(o>>4) & 3 }

// indexFrom is the number of subscriptions from which a session looks them up
// in a map.
const indexFrom = 16

// findLocked returns the place of the subscription with that name, or -1.
func (s *session) findLocked(name string) int {
	if s.index != nil {
		if i, ok := s.index[name]; ok {
			return i
		}
		return -1
	}
	for i, sub := range s.subs {
		if sub.name == name {
			return i
		}
	}
	return -1
}

// putLocked adds or replaces a subscription and returns the one it replaces.
func (s *session) putLocked(sub *subscription) (old *subscription) {
	if i := s.findLocked(sub.name); i >= 0 {
		old, s.subs[i] = s.subs[i], sub
		return old
	}
	s.subs = append(s.subs, sub)
	if s.index != nil {
		s.index[sub.name] = len(s.subs) - 1
	} else if len(s.subs) > indexFrom {
		s.index = make(map[string]int, 2*indexFrom)
		for i, sub := range s.subs {
			s.index[sub.name] = i
		}
	}
	return nil
}

// takeLocked removes a subscription.
func (s *session) takeLocked(name string) *subscription {
	i := s.findLocked(name)
	if i < 0 {
		return nil
	}
	sub, last := s.subs[i], len(s.subs)-1
	s.subs[i] = s.subs[last]
	s.subs[last] = nil
	s.subs = s.subs[:last]
	if s.index != nil {
		delete(s.index, name)
		if i < last {
			s.index[s.subs[i].name] = i
		}
	}
	return sub
}

// outLocked returns the session's outflow.
func (s *session) outLocked() *outflow {
	if s.flow == nil {
		s.flow = &outflow{nextPID: 1, mark: firstMark, queue: memQueue{total: &s.b.volatile}}
	}
	return s.flow
}
