package sparkplug

import (
	"context"
	"slices"
	"time"

	"gatewayd/broker"
	"gatewayd/sensors"
)

// device is one sensor or line.
type device struct {
	name    string
	metrics []*metric
	byName  map[string]*metric
	online  bool
	born    bool // its birth holds
	due     bool // it came; its birth waits for the first values
}

// metric is one quantity, or the state of a line.
type metric struct {
	device  *device
	name    string
	alias   uint64
	kind    DataType
	unit    string
	command string // local topic; empty: it cannot be set
	on, off string

	latest Metric // without name and alias; a null at first
	fresh  bool   // has a value that its device's birth has to carry
}

// Aliases are unique within the node [tck-id-payloads-alias-uniqueness]; 0 and
// 1 are the node's own.
const (
	aliasRebirth = 0
	aliasLost    = 1
	aliasFirst   = 10
)

const (
	nameRebirth = "Node Control/Rebirth"
	nameLost    = "Store Forward/Lost"
	nameState   = "state"
)

// build makes the devices, in the order of the configuration.
func (n *Node) build(entities []sensors.Entity) {
	n.devices, n.byAlias = map[string]*device{}, map[uint64]*metric{}
	alias := uint64(aliasFirst)
	for _, e := range entities {
		d := n.devices[e.Probe]
		if d == nil {
			d = &device{name: e.Probe, byName: map[string]*metric{}}
			n.devices[e.Probe] = d
			n.order = append(n.order, e.Probe)
		}
		m := &metric{device: d, name: e.Quantity.Name, alias: alias, kind: Double, unit: e.Quantity.Unit}
		if e.Kind != "sensor" {
			m.name, m.kind, m.command, m.on, m.off = nameState, Boolean, e.Command, e.On, e.Off
		}
		alias++
		m.forget(time.Now())
		d.metrics = append(d.metrics, m)
		d.byName[m.name] = m
		n.byAlias[m.alias] = m
	}
}

// forget makes the value null: what a device measured before it went is not
// born again with it.
func (m *metric) forget(at time.Time) {
	m.latest, m.fresh = Metric{Timestamp: millis(at), Type: m.kind}, false
}

// Values of the property Quality [tck-id-payloads-propertyset-quality-value-value].
const (
	qualityBad   = 0
	qualityGood  = 192
	qualityStale = 500
)

// value is a reading in Sparkplug's terms: a bad one is null, one that is
// doubted has the quality that keeps it from being used as current.
func (m *metric) value(r *sensors.Reading) Metric {
	v := Metric{Timestamp: millis(r.At), Type: m.kind, Value: r.Value}
	switch r.Quality {
	case sensors.Uncertain:
		v.Properties = quality(qualityStale, r.Reason)
	case sensors.Bad:
		v.Value, v.Properties = nil, quality(qualityBad, r.Reason)
	default:
		if !m.wasGood() {
			v.Properties = quality(qualityGood, "")
		}
	}
	return v
}

// wasGood tells whether hosts take the metric's quality for good already.
func (m *metric) wasGood() bool {
	for _, p := range m.latest.Properties {
		if p.Key == keyQuality {
			return p.Value == int32(qualityGood)
		}
	}
	return true
}

const (
	keyQuality = "Quality"
	keyReason  = "Reason"
	keyUnit    = "engUnit"
)

func quality(v int32, reason string) []Property {
	p := []Property{{keyQuality, Int32, v}}
	if reason != "" {
		p = append(p, Property{keyReason, String, reason})
	}
	return p
}

// data is what a metric's message carries: the alias instead of the name
// [tck-id-payloads-alias-data-cmd-requirement].
func (m *metric) data(v Metric) Metric {
	v.Alias, v.HasAlias = m.alias, true
	return v
}

// birthMetric is a metric as its device's birth has it.
func (m *metric) birthMetric() Metric {
	v := m.latest
	v.Name, v.Alias, v.HasAlias = m.name, m.alias, true
	v.Properties = slices.Clone(v.Properties)
	if !slices.ContainsFunc(v.Properties, func(p Property) bool { return p.Key == keyQuality }) {
		q := int32(qualityGood)
		if v.Value == nil {
			q = qualityBad
		}
		v.Properties = append(v.Properties, Property{keyQuality, Int32, q})
	}
	if m.unit != "" {
		v.Properties = append(v.Properties, Property{keyUnit, String, m.unit})
	}
	return v
}

// birth sends NBIRTH and a DBIRTH for every device that is there.
func (n *Node) birth(ctx context.Context) {
	now := millis(time.Now())
	metrics := []Metric{
		{Name: "bdSeq", Timestamp: now, Type: Int64, Value: int64(n.as)},
		{Name: nameRebirth, Alias: aliasRebirth, HasAlias: true, Timestamp: now, Type: Boolean, Value: false},
		{Name: nameLost, Alias: aliasLost, HasAlias: true, Timestamp: now, Type: Int64, Value: int64(n.lost)},
	}
	for _, k := range sortedKeys(n.o.Properties) {
		metrics = append(metrics, Metric{Name: "Properties/" + k, Timestamp: now, Type: String, Value: n.o.Properties[k]})
	}
	n.said = n.lost
	n.send(ctx, "NBIRTH", "", metrics)
	for _, name := range n.order {
		d := n.devices[name]
		d.born = false
		if d.online {
			n.deviceBirth(ctx, d)
		}
	}
}

func (n *Node) deviceBirth(ctx context.Context, d *device) {
	metrics := make([]Metric, len(d.metrics))
	for i, m := range d.metrics {
		metrics[i], m.fresh = m.birthMetric(), false
	}
	d.born, d.due = true, false
	n.send(ctx, "DBIRTH", d.name, metrics)
}

// deviceDeath says that a device is gone.
func (n *Node) deviceDeath(ctx context.Context, d *device) {
	d.due = false
	if d.born && n.born {
		n.send(ctx, "DDEATH", d.name, nil)
	}
	d.born = false
	for _, m := range d.metrics {
		m.forget(time.Now())
	}
}

// nodeCommand obeys an NCMD: rebirth is what a node can be asked for.
func (n *Node) nodeCommand(ctx context.Context, body []byte) {
	p, err := decode(body)
	if err != nil {
		n.log.Warn("sparkplug: command not understood", "topic", n.topic("NCMD", ""), "err", err)
		return
	}
	for _, m := range p.Metrics {
		if (m.Name == nameRebirth || m.Name == "" && m.HasAlias && m.Alias == aliasRebirth) && m.Value == true && n.born {
			n.log.Info("sparkplug: rebirth asked for", "node", n.o.Node)
			n.drain(ctx)
			n.birth(ctx) // with the bdSeq of the will that stands
			return
		}
	}
}

// deviceCommand passes a DCMD on to the output's command topic; its new state
// comes back as data.
func (n *Node) deviceCommand(ctx context.Context, name string, body []byte) {
	p, err := decode(body)
	d := n.devices[name]
	if err != nil || d == nil {
		n.log.Warn("sparkplug: command not understood", "device", name, "known", d != nil, "err", err)
		return
	}
	for _, c := range p.Metrics {
		m := d.byName[c.Name]
		if c.Name == "" && c.HasAlias {
			m = n.byAlias[c.Alias]
		}
		on, ok := truth(c.Value)
		if m == nil || m.device != d || m.command == "" || !ok {
			n.log.Warn("sparkplug: this cannot be commanded", "device", name, "metric", c.Name, "alias", c.Alias)
			continue
		}
		text := m.off
		if on {
			text = m.on
		}
		err := n.o.Broker.Publish(ctx, broker.Publication{Topic: m.command, Payload: []byte(text), QoS: 1, Publisher: n.o.Client}, nil)
		if err != nil {
			n.log.Warn("sparkplug: command not passed on", "topic", m.command, "err", err)
		}
	}
}

// truth reads a switch's wish: a boolean, or a number as some hosts send.
func truth(v any) (on, ok bool) {
	switch v := v.(type) {
	case bool:
		return v, true
	case int64:
		return v != 0, true
	case float64:
		return v != 0, true
	}
	return false, false
}
