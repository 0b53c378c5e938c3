package bridge

import (
	"slices"
	"strings"

	"gatewayd/broker"
)

// Orphan is the session of a bridge that is not configured any more: nobody
// drains it, and what its subscriptions match goes on filling it
// (mosquitto#2224).
type Orphan struct {
	LocalClientID string
	Messages      int
	Bytes         int64
}

// Orphans lists the sessions here that look like a bridge's and are not one of
// these bridges', given by their client ids here.
func Orphans(b *broker.Broker, own []string) []Orphan {
	keep := map[string]bool{}
	for _, id := range own {
		keep[id] = true
	}
	var out []Orphan
	for _, c := range b.Clients() {
		if !strings.HasPrefix(c.ID, "local.") || keep[c.ID] || c.Connected || c.Expiry != 0xFFFFFFFF {
			continue
		}
		if id, watch := strings.CutSuffix(c.ID, ".retained"); watch && keep[id] {
			continue
		}
		if id, aside := strings.CutSuffix(c.ID, parkedSuffix); aside && keep[id] {
			continue
		}
		out = append(out, Orphan{c.ID, c.Queued, c.QueuedBytes})
	}
	slices.SortFunc(out, func(a, b Orphan) int { return strings.Compare(a.LocalClientID, b.LocalClientID) })
	return out
}

// Discard ends an orphan with everything that waits in it.
func Discard(b *broker.Broker, o Orphan) error {
	link, err := b.Link(broker.LinkOptions{ClientID: o.LocalClientID, Expiry: 0xFFFFFFFF})
	if err != nil {
		return err
	}
	link.Delete()
	return nil
}
