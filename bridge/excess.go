package bridge

import (
	"cmp"

	"gatewayd/broker"
)

// Excess says what becomes of a message that the centre's limits exclude.
type Excess uint8

// The answers.
const (
	AsUsual Excess = iota // Adapt where that is possible, else Park
	Adapt                 // it crosses with less: a lower QoS, without the retain flag
	Park                  // it is kept aside here until somebody decides
	Drop                  // it is given up
)

// Why messages are parked or dropped for the centre's limits.
const (
	tooLarge     = "too_large"
	qosTooHigh   = "qos_too_high"
	retainBarred = "retain_not_available"
)

// excess says whether a message, which takes so many bytes, exceeds what the centre
// granted; an empty reason: it does not, or crosses with less.
func (p *outward) excess(d *broker.Delivery, retain bool, size int) (reason string, answer Excess) {
	o, l := &p.b.o, &p.limits
	switch {
	case l.maxPacket > 0 && size > l.maxPacket: // [MQTT-3.2.2-15]
		return tooLarge, cmp.Or(o.OverSize, Park)
	case d.QoS > l.maxQoS && cmp.Or(o.OverQoS, Adapt) != Adapt: // [MQTT-3.2.2-11]
		return qosTooHigh, o.OverQoS
	case retain && !l.retain && cmp.Or(o.OverRetain, Adapt) != Adapt: // [MQTT-3.2.2-14]
		return retainBarred, o.OverRetain
	}
	return "", Adapt
}

// exclude ends a delivery that exceeds the centre's limits.
func (p *outward) exclude(d *broker.Delivery, rule int, reason string, answer Excess) {
	if answer != Park || d.QoS == 0 || !p.b.park(p.link, d, rule, reason) {
		p.drop(d, rule, reason)
	}
}
