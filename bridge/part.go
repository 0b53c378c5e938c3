package bridge

import (
	"slices"

	"gatewayd/broker"
	"gatewayd/mqtt"
)

// parts divide the bridge's queue by rules, once one of them has bounds of its
// own. ids are the rules' subscription ids at the local broker, which the store
// keeps with each message: the same after a restart and whatever the other rules
// are; 0: none. The first rule that takes a message is its own, as on the way out.
func (o *Options) parts() (parts []broker.QueuePart, ids []uint32) {
	ids = make([]uint32, len(o.Rules))
	if !slices.ContainsFunc(o.Rules, func(r Rule) bool { return r.outward() && r.Queue != nil }) {
		return nil, ids
	}
	taken, byFilter := map[uint32]bool{}, map[string]uint32{}
	for i, r := range o.Rules {
		if !r.outward() {
			continue
		}
		f := r.remap().LocalFilter()
		id, known := byFilter[f]
		if !known {
			id = broker.PartID(f, taken)
			byFilter[f] = id
			parts = append(parts, broker.QueuePart{SubscriptionID: id, Limits: r.Queue})
		}
		ids[i] = id
	}
	return parts, ids
}

// subscribeOutward subscribes at the local broker to what the rules send out,
// each under its id.
func (b *Bridge) subscribeOutward(link *broker.Link, retainHandling uint8) error {
	ids := map[string]uint32{}
	_, all := b.o.parts()
	for i, r := range b.o.Rules {
		if all[i] != 0 {
			ids[r.remap().LocalFilter()] = all[i]
		}
	}
	byID := map[uint32][]mqtt.Request{}
	var order []uint32
	for _, q := range b.outwardRequests() {
		id := ids[q.Filter]
		if byID[id] == nil {
			order = append(order, id)
		}
		q.Options = q.Options.WithRetainHandling(retainHandling)
		byID[id] = append(byID[id], q)
	}
	for _, id := range order {
		if err := link.Subscribe(id, byID[id]...); err != nil {
			return err
		}
	}
	return nil
}
