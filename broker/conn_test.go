package broker

import (
	"testing"

	"gatewayd/mqtt"
)

// TestFeedBytewise feeds a large packet byte by byte: the bytes that are kept are
// not copied again for each.
func TestFeedBytewise(t *testing.T) {
	l := Listener{}
	l.Settings = l.Settings.withDefaults(Rules{})
	owner := new(Broker)
	owner.options.Store(&Options{})
	c := &conn{b: owner, ln: &listener{Listener: l}, set: &l.Settings, state: connected, version: mqtt.V5}
	b := (&mqtt.Publish{Topic: "t", Payload: make([]byte, 1<<20)}).Append(nil, mqtt.V5)
	copies := 0
	var last *byte
	for i := range len(b) - 1 {
		c.feed(b[i:i+1], &turn{})
		if p := &c.partial[0]; p != last {
			copies, last = copies+1, p
		}
	}
	if copies > 100 {
		t.Errorf("the beginning of the packet was copied %d times", copies)
	}
}
