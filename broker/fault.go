package broker

import (
	"gatewayd/faulthook"
	"gatewayd/mqtt"
	"gatewayd/store"
)

// fault is a step of a QoS 2 exchange at which a test may end the process. It
// compiles to nothing without the build tag faulthook.
func (s *session) fault(step string) {
	if faulthook.Enabled && s != nil {
		faulthook.At(step, s.id)
	}
}

// faultSent is a step that is over when the turn's packets are written.
func (s *session) faultSent(t *turn, step string) {
	if faulthook.Enabled {
		faulthook.After(t, step, s.id)
	}
}

// faultAnswered is faultSent for the acknowledgements of QoS 2.
func (s *session) faultAnswered(t *turn, kind mqtt.PacketType) {
	if !faulthook.Enabled {
		return
	}
	switch kind {
	case mqtt.PUBREC:
		s.faultSent(t, "in.pubrec.sent")
	case mqtt.PUBREL:
		s.faultSent(t, "out.pubrel.sent")
	case mqtt.PUBCOMP:
		s.faultSent(t, "in.pubcomp.sent")
	}
}

// faultBound is the step for the deliveries of QoS 2 that a batch binds.
func (op *pubOp) faultBound(step string) {
	if !faulthook.Enabled {
		return
	}
	for i := range op.to {
		if op.to[i].pid != 0 {
			op.to[i].s.fault(step)
		}
	}
}

// faultDone has the steps of what the turn's clients are done with: submitted
// runs after the hand-over, durable with its receipt.
func (t *turn) faultDone() (submitted func(), durable func(store.Receipt)) {
	var who []string
	for _, r := range t.doneRefs {
		who = append(who, r.s.id)
	}
	at := func(step string) {
		for _, id := range who {
			faulthook.At(step, id)
		}
	}
	return func() { at("out.done.submitted") }, func(store.Receipt) { at("out.done.durable") }
}
