package sparkplug

import (
	"context"
	"maps"
	"slices"
	"time"

	"gatewayd/sensors"
)

// drain takes what was observed: births and deaths of devices, and data in
// messages of one device each.
func (n *Node) drain(ctx context.Context) {
	n.mu.Lock()
	events := n.queue
	n.queue = nil
	n.lost += n.dropped
	n.dropped = 0
	n.mu.Unlock()
	var run collected
	flush := func() {
		if len(run.values) > 0 {
			n.send(ctx, "DDATA", run.device.name, run.values)
		}
		run = collected{}
	}
	births := func() {
		for _, name := range n.order {
			if d := n.devices[name]; d.due && n.born {
				n.deviceBirth(ctx, d)
			}
		}
	}
	for _, e := range events {
		d := n.devices[e.Name]
		if d == nil {
			continue
		}
		if e.Online != nil {
			flush()
			if *e.Online != d.online {
				births()
				d.online = *e.Online
				if d.due = d.online; !d.online {
					n.deviceDeath(ctx, d)
				}
			}
			continue
		}
		m, v, ok := d.metricOf(e)
		if !ok {
			continue
		}
		switch {
		case !n.born:
			m.latest = v
			n.keep(m, v)
		case d.due && !m.fresh:
			m.latest, m.fresh = v, true // its birth carries it
		case d.due:
			flush()
			n.deviceBirth(ctx, d)
			m.latest = v
			run.add(d, m, v)
		case d.born:
			if run.device != d || run.has(m) {
				flush()
			}
			m.latest = v
			run.add(d, m, v)
		}
	}
	flush()
	births()
	n.sayLost(ctx)
}

// collected is the data of one message on its way.
type collected struct {
	device *device
	seen   []*metric
	values []Metric
}

func (c *collected) has(m *metric) bool { return slices.Contains(c.seen, m) }

func (c *collected) add(d *device, m *metric, v Metric) {
	c.device = d
	c.seen, c.values = append(c.seen, m), append(c.values, m.data(v))
}

// metricOf finds what an event is the value of. A state that did not change is
// no event: data is reported by exception.
func (d *device) metricOf(e sensors.Event) (*metric, Metric, bool) {
	switch {
	case e.Reading != nil:
		m := d.byName[e.Reading.Quantity]
		if m == nil || m.kind != Double {
			return nil, Metric{}, false
		}
		return m, m.value(e.Reading), true
	case e.State != nil:
		m := d.byName[nameState]
		if m == nil || m.kind != Boolean || m.latest.Value == *e.State {
			return nil, Metric{}, false
		}
		return m, Metric{Timestamp: millis(e.At), Type: Boolean, Value: *e.State}, true
	}
	return nil, Metric{}, false
}

// keep stores a value for a host that is away; the oldest goes when there is
// no room.
func (n *Node) keep(m *metric, v Metric) {
	if len(n.buffer) >= n.o.Buffer {
		n.buffer = n.buffer[1:]
		n.lost++
	}
	n.buffer = append(n.buffer, buffered{m, v})
}

// flush sends what waited, marked as historical, in the order of each device.
// A device that went meanwhile is born for it and dies again: without a birth
// its aliases mean nothing.
func (n *Node) flush(ctx context.Context) {
	waiting := map[*device]*collected{}
	for _, b := range n.buffer {
		c := waiting[b.m.device]
		if c == nil {
			c = &collected{}
			waiting[b.m.device] = c
		}
		b.value.Historical = true
		c.add(b.m.device, b.m, b.value)
	}
	n.buffer = nil
	for _, name := range n.order {
		d := n.devices[name]
		c := waiting[d]
		if c == nil {
			continue
		}
		if !d.born {
			n.deviceBirth(ctx, d)
		}
		for values := range slices.Chunk(c.values, flushSize) {
			n.send(ctx, "DDATA", name, values)
			sleep(ctx, flushRest)
		}
		if !d.online {
			n.deviceDeath(ctx, d)
		}
	}
}

// sayLost reports values that were lost since it was last said.
func (n *Node) sayLost(ctx context.Context) {
	if !n.born || n.lost == n.said {
		return
	}
	n.said = n.lost
	n.log.Warn("sparkplug: values were lost", "lost", n.lost)
	n.send(ctx, "NDATA", "", []Metric{{Alias: aliasLost, HasAlias: true, Timestamp: millis(time.Now()), Type: Int64, Value: int64(n.lost)}})
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
