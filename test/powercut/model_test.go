package powercut

import (
	"math/rand/v2"
	"testing"

	"gatewayd/test/rig"
)

func newPair() (*publisher, *subscriber) {
	return &publisher{number: 3, qos: 2, topics: []string{"both/3"}, inflight: map[uint16]*sent{}, acked: map[string]uint64{}},
		&subscriber{name: "s", filters: []string{"both/#"}, held: map[uint16]bool{}, got: map[key]int{}, last: map[string]uint64{}}
}

func TestPayloadTellsDamage(t *testing.T) {
	b := payload(key{2, 77}, 1, 100)
	k, qos, err := parse(b)
	if err != nil || k != (key{2, 77}) || qos != 1 {
		t.Fatalf("parse gave %v, %d, %v", k, qos, err)
	}
	b[30] ^= 1
	if _, _, err := parse(b); err == nil {
		t.Error("a changed payload passed")
	}
}

func TestModelFindsWhatIsMissing(t *testing.T) {
	p, s := newPair()
	rng := rand.New(rand.NewPCG(1, 1))
	var ids []uint16
	for range 3 {
		id, m := p.next(rng)
		ids = append(ids, id)
		if m.seq != 2 {
			s.receive(rig.Packet{QoS: 2, ID: id, Topic: m.topic, Payload: m.payload})
		}
	}
	if list := s.missing(p, 0); len(list) != 0 {
		t.Errorf("%v are missing while nothing was acknowledged", list)
	}
	for _, id := range ids {
		if !p.ack(rig.PUBREC, id, 0) {
			t.Error("PUBREC asks for no PUBREL")
		}
		p.ack(rig.PUBCOMP, id, 0)
	}
	if list := s.missing(p, 0); len(list) != 1 || list[0] != (key{3, 2}) {
		t.Errorf("missing are %v, want number 2", list)
	}
	if p.total != 3 || p.acked["both/3"] != 3 {
		t.Errorf("acknowledged %d, the last %d", p.total, p.acked["both/3"])
	}
}

func TestModelFindsWhatCameTwice(t *testing.T) {
	p, s := newPair()
	id, m := p.next(rand.New(rand.NewPCG(1, 1)))
	publish := rig.Packet{QoS: 2, ID: id, Topic: m.topic, Payload: m.payload}
	s.receive(publish)
	s.receive(publish) // the packet id is held: a repeat, not a second message
	if len(s.twice) != 0 {
		t.Error("a repeat before PUBREL counts as a second delivery")
	}
	s.release(id)
	s.receive(publish)
	if len(s.twice) != 1 {
		t.Error("a second delivery after PUBREL was not seen")
	}
}

func TestModelFindsDisorder(t *testing.T) {
	p, s := newPair()
	rng := rand.New(rand.NewPCG(1, 1))
	_, first := p.next(rng)
	_, second := p.next(rng)
	s.receive(rig.Packet{QoS: 1, ID: 1, Topic: second.topic, Payload: second.payload})
	s.receive(rig.Packet{QoS: 1, ID: 2, Topic: first.topic, Payload: first.payload})
	if len(s.disorder) != 1 {
		t.Error("the wrong order was not seen")
	}
}
