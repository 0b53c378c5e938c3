package store

import (
	"slices"
	"sort"
	"time"
)

// session is what the store knows in memory of one session: the index of its
// queue and its QoS 2 state. Store.mu guards it, but for the members named as
// the committer's.
type session struct {
	id SessionID

	// The queue: every id in qs is lower than every id in pend, since groups are
	// cut in order of submission. memq lies anywhere.
	qs   []qgroup  // committed, by gid
	pend []pendRef // submitted, not yet committed; by id
	gaps int       // of pend, those whose sub is nil
	memq []memRef  // class Memory; by id

	messages int   // live ones in the three
	bytes    int64 // their size
	handed   MessageID
	waiting  int         // of messages, those after handed: what Limits count
	waitBits int64       // their size
	ahead    []MessageID // sent past those that wait: with the broker, though after handed; in order
	limits   Limits
	drops    Drops
	topics   map[string][]MessageID // waiting messages by topic, kept for LatestPerTopic only
	parts    *parts                 // nil: none is bounded by itself

	flights   []flight              // in order of sending
	pids      *[1 << 16 / 64]uint64 // the packet ids of flights, when they are many
	seek      int                   // where the last search among flights ended
	mark      uint16
	flightCut uint64 // the last cut that wrote them

	rtt    time.Duration // of acknowledgements, smoothed; 0: not known
	rttvar time.Duration // its mean deviation
	probe  MessageID     // the message whose acknowledgement is timed
	probed time.Duration // when it was submitted

	dead bool // deleted

	// The committer's own.
	holds  []hold // by packet id
	before []hold // as they were before the cut that is being written
	buried bool   // deleted in a group already cut
	build  *queueBuilder
	cut    uint64 // the last cut that wrote its holds
}

type flight struct {
	pid      uint16
	released bool
	id       MessageID
}

type hold struct {
	pid    uint16
	digest uint64
}

// pendRef points at a recipient of a submitted message; sub is nil when the
// session is done with it.
type pendRef struct {
	id   MessageID
	sub  *submission
	m, r int32
}

// rcpt is the recipient pointed at; one that got the message by Move while it was
// being written lies beside the others, r counts down from -1 there.
func (p pendRef) rcpt() *pendingRecipient {
	if p.r < 0 {
		return &p.sub.moved[-1-p.r]
	}
	return &p.sub.rcpt[p.r]
}

type memRef struct {
	id MessageID
	m  *Message // nil: gone
	e  entry
}

// group finds the qgroup that would hold the message, or -1.
func (ss *session) group(id MessageID) int {
	if len(ss.qs) > 0 && uint64(id) >= ss.qs[0].gid && (len(ss.qs) == 1 || uint64(id) < ss.qs[1].gid) {
		return 0 // drained in order
	}
	return sort.Search(len(ss.qs), func(i int) bool { return ss.qs[i].gid > uint64(id) }) - 1
}

func (ss *session) findPend(id MessageID) int {
	i := sort.Search(len(ss.pend), func(i int) bool { return ss.pend[i].id >= id })
	if i == len(ss.pend) || ss.pend[i].id != id || ss.pend[i].sub == nil {
		return -1
	}
	return i
}

func (ss *session) findMem(id MessageID) int {
	i := sort.Search(len(ss.memq), func(i int) bool { return ss.memq[i].id >= id })
	if i == len(ss.memq) || ss.memq[i].id != id || ss.memq[i].m == nil {
		return -1
	}
	return i
}

// count and uncount keep the numbers true when a message comes or goes.
func (ss *session) count(id MessageID, size uint32, subs []uint32) {
	ss.messages++
	ss.bytes += int64(size)
	if id > ss.handed && !ss.lent(id) {
		ss.waits(subs, 1, int64(size))
	}
}

func (ss *session) uncount(id MessageID, size uint32, subs []uint32) {
	ss.messages--
	ss.bytes -= int64(size)
	if id > ss.handed && !ss.back(id) {
		ss.waits(subs, -1, -int64(size))
	}
}

// handOut moves the mark up to which messages are with the broker, and no
// longer counted against the bound.
func (ss *session) handOut(id MessageID, size uint32, subs []uint32) {
	if id <= ss.handed {
		return
	}
	ss.handed = id
	if ss.back(id) {
		return
	}
	ss.waits(subs, -1, -int64(size))
}

// lend is handOut for a message that is sent at once: others may still wait
// before it.
func (ss *session) lend(id MessageID, size uint32, subs []uint32) {
	if ss.waiting <= 1 { // itself
		ss.handOut(id, size, subs)
		return
	}
	ss.ahead = append(ss.ahead, id)
	ss.waits(subs, -1, -int64(size))
}

// lent says whether a message was sent past others.
func (ss *session) lent(id MessageID) bool {
	_, ok := slices.BinarySearch(ss.ahead, id)
	return ok
}

// back forgets that a message was sent past others; it reports whether it was.
func (ss *session) back(id MessageID) bool {
	i, ok := slices.BinarySearch(ss.ahead, id)
	if ok {
		ss.ahead = slices.Delete(ss.ahead, i, i+1)
	}
	return ok
}

// leave makes a hole of a pendRef, and closes the holes at the head, or all once
// they prevail.
func (ss *session) leave(i int) {
	ss.pend[i].sub = nil
	ss.gaps++
	if ss.gaps == len(ss.pend) {
		ss.pend, ss.gaps = ss.pend[:0], 0
		return
	}
	if ss.gaps > 32 && ss.gaps > len(ss.pend)/2 {
		ss.pend = slices.DeleteFunc(ss.pend, func(p pendRef) bool { return p.sub == nil })
		ss.gaps = 0
	}
}

func (ss *session) trimMem() {
	i := 0
	for i < len(ss.memq) && ss.memq[i].m == nil {
		i++
	}
	if i > 16 && i > len(ss.memq)/2 || i == len(ss.memq) {
		ss.memq = slices.DeleteFunc(ss.memq, func(m memRef) bool { return m.m == nil })
	}
}

// flight is the place of a packet id among those in flight, or -1. They are asked
// for in their order, so a search begins where the last ended.
func (ss *session) flight(pid uint16) int {
	if ss.pids != nil && ss.pids[pid/64]>>(pid%64)&1 == 0 {
		return -1
	}
	from := min(ss.seek, len(ss.flights))
	for _, part := range [...]int{from, 0} {
		if i := slices.IndexFunc(ss.flights[part:], func(f flight) bool { return f.pid == pid }); i >= 0 {
			ss.seek = part + i
			return ss.seek
		}
	}
	return -1
}

// wideWindow is how many packet ids in flight are worth a set of them.
const wideWindow = 64

func (ss *session) hold(pid uint16) (int, bool) {
	return slices.BinarySearchFunc(ss.holds, pid, func(h hold, pid uint16) int { return int(h.pid) - int(pid) })
}

// flightRecord encodes the QoS 2 state out, without flights whose message is
// not in the transaction that is being made: upto is the last that is. It is
// nil when there is nothing to keep.
func (ss *session) flightRecord(dst []byte, upto MessageID) []byte {
	r := flightRecord{Version: recordVersion, Mark: ss.mark}
	for _, f := range ss.flights {
		if f.id > upto {
			continue
		}
		var rel uint8
		if f.released {
			rel = 1
		}
		r.Packets = append(r.Packets, f.pid)
		r.Messages = append(r.Messages, uint64(f.id))
		r.Released = append(r.Released, rel)
	}
	if len(r.Packets) == 0 && r.Mark == 0 {
		return nil
	}
	dst, _ = r.MarshalMsg(dst)
	return dst
}

func (ss *session) holdRecord(dst []byte) []byte {
	if len(ss.holds) == 0 {
		return nil
	}
	r := holdRecord{Version: recordVersion, Packets: make([]uint16, len(ss.holds)), Digests: make([]uint64, len(ss.holds))}
	for i, h := range ss.holds {
		r.Packets[i], r.Digests[i] = h.pid, h.digest
	}
	dst, _ = r.MarshalMsg(dst)
	return dst
}

// bind remembers the packet id a message goes out with at QoS 2.
func (ss *session) bind(pid uint16, id MessageID) {
	if i := ss.flight(pid); i >= 0 {
		ss.unbind(i)
	}
	ss.flights = append(ss.flights, flight{pid: pid, id: id})
	switch {
	case len(ss.flights) <= wideWindow:
		ss.pids = nil
	case ss.pids != nil:
		ss.pids[pid/64] |= 1 << (pid % 64)
	default:
		ss.pids = new([1 << 16 / 64]uint64)
		for _, f := range ss.flights {
			ss.pids[f.pid/64] |= 1 << (f.pid % 64)
		}
	}
}

func (ss *session) unbind(i int) {
	if pid := ss.flights[i].pid; ss.pids != nil {
		ss.pids[pid/64] &^= 1 << (pid % 64)
	}
	if i < ss.seek {
		ss.seek--
	}
	if i == 0 {
		ss.flights = ss.flights[1:]
		return
	}
	ss.flights = slices.Delete(ss.flights, i, i+1)
}

func (ss *session) bound(id MessageID) bool {
	return slices.ContainsFunc(ss.flights, func(f flight) bool { return f.id == id })
}
