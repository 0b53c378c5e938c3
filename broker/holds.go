package broker

import "gatewayd/mqtt"

// hold is an inbound QoS 2 packet id that was not released yet.
type hold struct {
	digest uint64
	state  holdState
	stored bool   // is in the store
	op     *pubOp // while pending or releasing: whose receipt decides
}

type holdState uint8

const (
	holdPending   holdState = iota + 1 // PUBREC waits for the receipt
	holdDone                           // PUBREC was sent, or may be
	holdReleasing                      // PUBCOMP waits for the receipt
)

// fewHolds is how many holds are kept in a row: a client has a window full of
// them, releases them in their order and reuses their ids, which a map is slow at.
const fewHolds = 32

// holds are a session's holds by packet id.
type holds struct {
	few  []heldID
	many map[mqtt.PacketID]hold // instead of few, once there are more
}

type heldID struct {
	pid mqtt.PacketID
	hold
}

func (hs *holds) len() int { return len(hs.few) + len(hs.many) }

func (hs *holds) find(pid mqtt.PacketID) int {
	for i := range hs.few {
		if hs.few[i].pid == pid {
			return i
		}
	}
	return -1
}

func (hs *holds) get(pid mqtt.PacketID) (hold, bool) {
	if i := hs.find(pid); i >= 0 {
		return hs.few[i].hold, true
	}
	if hs.many == nil {
		return hold{}, false
	}
	h, ok := hs.many[pid]
	return h, ok
}

// put adds or replaces a hold.
func (hs *holds) put(pid mqtt.PacketID, h hold) {
	switch i := hs.find(pid); {
	case i >= 0:
		hs.few[i].hold = h
	case hs.many != nil:
		hs.many[pid] = h
	case len(hs.few) < fewHolds:
		hs.few = append(hs.few, heldID{pid, h})
	default:
		hs.many = make(map[mqtt.PacketID]hold, 2*fewHolds)
		for _, f := range hs.few {
			hs.many[f.pid] = f.hold
		}
		hs.many[pid], hs.few = h, nil
	}
}

func (hs *holds) drop(pid mqtt.PacketID) {
	if i := hs.find(pid); i >= 0 {
		n := copy(hs.few[i:], hs.few[i+1:])
		hs.few[i+n] = heldID{}
		hs.few = hs.few[:i+n]
		return
	}
	delete(hs.many, pid)
	if len(hs.many) == 0 {
		hs.many = nil
	}
}

// each calls f for every hold, in no order.
func (hs *holds) each(f func(pid mqtt.PacketID, h hold)) {
	for _, e := range hs.few {
		f(e.pid, e.hold)
	}
	for pid, h := range hs.many {
		f(pid, h)
	}
}
