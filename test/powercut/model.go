package powercut

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"

	"gatewayd/test/rig"
)

// fromCentre begins the topics that come in through the bridge. Their order is
// not compared: mosquitto 2.0.11 itself sends a subscriber that was away newer
// messages before older ones, as seen on the wire.
const fromCentre = "down/"

// key names a message: who published it, and its number there.
type key struct {
	publisher int
	seq       uint64
}

// sent is a message that was handed to the gateway and is not finished.
type sent struct {
	seq     uint64
	topic   string
	payload []byte
	rec     bool // PUBREC came: PUBREL is all that may be sent from here on
}

// publisher is one publishing client and its memory.
type publisher struct {
	number  int
	qos     byte
	version byte
	topics  []string
	retain  bool
	window  int
	centre  bool // publishes at the other end of the bridge

	mu       sync.Mutex // guards the fields below
	seq      uint64
	packetID uint16
	inflight map[uint16]*sent
	order    []uint16          // packet ids in flight, in the order of sending
	acked    map[string]uint64 // topic: the highest number acknowledged
	total    uint64            // acknowledged in all
	refused  uint64
}

func (p *publisher) clientID() string { return fmt.Sprint("publisher-", p.number) }

// next makes the next message, ready to be sent.
func (p *publisher) next(rng *rand.Rand) (uint16, *sent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seq++
	for p.packetID == 0 || p.inflight[p.packetID] != nil {
		p.packetID++
	}
	s := &sent{seq: p.seq, topic: p.topics[p.seq%uint64(len(p.topics))], payload: payload(key{p.number, p.seq}, p.qos, 20+rng.IntN(500))}
	p.inflight[p.packetID] = s
	p.order = append(p.order, p.packetID)
	return p.packetID, s
}

func (p *publisher) open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.inflight)
}

// unfinished is what must be sent again after a reconnect, in order.
func (p *publisher) unfinished() (ids []uint16, messages []sent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range p.order {
		if s := p.inflight[id]; s != nil {
			ids, messages = append(ids, id), append(messages, *s)
		}
	}
	p.order = append(p.order[:0], ids...)
	return ids, messages
}

// ack steps the publisher by an acknowledgement and says whether PUBREL is to
// be sent now.
func (p *publisher) ack(kind byte, id uint16, code byte) (pubrel bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.inflight[id]
	if s == nil {
		return false
	}
	if code >= 0x80 && kind != rig.PUBCOMP { // refused: nobody has it, nobody may expect it
		p.refused++
		delete(p.inflight, id)
		return false
	}
	switch kind {
	case rig.PUBACK, rig.PUBREC:
		if !s.rec {
			p.total++
			p.acked[s.topic] = max(p.acked[s.topic], s.seq)
		}
		if kind == rig.PUBREC {
			s.rec = true
			return true
		}
		delete(p.inflight, id)
	case rig.PUBCOMP:
		delete(p.inflight, id)
	}
	return false
}

// subscriber is one subscribing client and its memory.
type subscriber struct {
	name    string
	version byte
	filters []string

	mu       sync.Mutex // guards the fields below
	held     map[uint16]bool
	got      map[key]int
	last     map[string]uint64 // topic: the highest number seen
	twice    []string
	disorder []string
	damaged  []string
	repeated int // QoS 1, as MQTT allows
}

// receive steps the subscriber by a PUBLISH. It is called before the
// acknowledgement leaves.
func (s *subscriber) receive(p rig.Packet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.QoS == 2 {
		if s.held[p.ID] {
			return // a repeat, as the packet id says
		}
		s.held[p.ID] = true
	}
	k, qos, err := parse(p.Payload)
	if err != nil {
		s.damaged = append(s.damaged, fmt.Sprintf("%s %q: %v", p.Topic, p.Payload[:min(len(p.Payload), 40)], err))
		return
	}
	s.got[k]++
	switch {
	case s.got[k] == 1 && k.seq < s.last[p.Topic] && !strings.HasPrefix(p.Topic, fromCentre):
		s.disorder = append(s.disorder, fmt.Sprintf("%s: %d after %d", p.Topic, k.seq, s.last[p.Topic]))
	case s.got[k] > 1 && qos == 2:
		s.twice = append(s.twice, fmt.Sprintf("%s: %d, packet id %d, dup %v", p.Topic, k.seq, p.ID, p.Dup))
	case s.got[k] > 1:
		s.repeated++
	}
	s.last[p.Topic] = max(s.last[p.Topic], k.seq)
}

func (s *subscriber) release(id uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.held, id)
}

// wants says whether messages of the topic are for this subscriber.
func (s *subscriber) wants(topic string) bool {
	for _, f := range s.filters {
		if strings.HasPrefix(topic, strings.TrimSuffix(f, "#")) {
			return true
		}
	}
	return false
}

// missing lists the messages of p, from the number after `after` on, that are
// finished and did not arrive.
func (s *subscriber) missing(p *publisher, after uint64) (list []key) {
	p.mu.Lock()
	open := map[uint64]bool{}
	for _, m := range p.inflight {
		open[m.seq] = true
	}
	last := p.seq
	p.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for seq := after + 1; seq <= last; seq++ {
		k := key{p.number, seq}
		if s.wants(p.topics[seq%uint64(len(p.topics))]) && s.got[k] == 0 && !open[seq] {
			list = append(list, k)
		}
	}
	return list
}

// payload is a text that says what it is, with a filling that shows damage.
func payload(k key, qos byte, size int) []byte {
	b := fmt.Appendf(nil, "%d %d %d %d ", k.publisher, k.seq, qos, size)
	rng := rand.New(rand.NewPCG(uint64(k.publisher), k.seq))
	for range size {
		b = append(b, 'a'+byte(rng.IntN(26)))
	}
	h := fnv.New32a()
	h.Write(b)
	return fmt.Appendf(b, " %08x", h.Sum32())
}

func parse(b []byte) (k key, qos byte, err error) {
	text := string(b)
	end := strings.LastIndexByte(text, ' ')
	if end < 0 {
		return k, 0, fmt.Errorf("no checksum")
	}
	h := fnv.New32a()
	h.Write(b[:end])
	if sum, err := strconv.ParseUint(text[end+1:], 16, 32); err != nil || uint32(sum) != h.Sum32() {
		return k, 0, fmt.Errorf("checksum does not fit")
	}
	_, err = fmt.Sscanf(text, "%d %d %d", &k.publisher, &k.seq, &qos)
	return k, qos, err
}
