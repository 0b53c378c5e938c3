package bridge

import (
	"slices"
	"time"

	"gatewayd/broker"
	"gatewayd/mqtt"
)

// The user properties of a message out of history: when it reached this
// gateway, as Mosquitto's message-timestamp plugin writes it, and Sparkplug's
// word for what is not of now.
const (
	originName     = "timestamp"
	originFormat   = "2006-01-02T15:04:05.000Z07:00" // RFC 3339
	historicalName = "is_historical"
	historicalAge  = 10 * time.Second // a live message that waited so long is history too
)

// marker gives history its time of origin.
type marker struct {
	since time.Time // what came before is history; zero: nothing is marked
}

func newMarker(c *conn) marker {
	if c.level.version != mqtt.V5 || c.b.o.NoMark {
		return marker{}
	}
	return marker{since: c.since}
}

// origin marks a message of QoS 1 or 2 that comes out of history. A time that it
// brought along is nearer to its origin and stays.
func (k *marker) origin(m *mqtt.Message, d *broker.Delivery) {
	if k.since.IsZero() || d.QoS == 0 || d.Received || d.Origin.IsZero() {
		return
	}
	if !d.Origin.Before(k.since) && time.Since(d.Origin) < historicalAge {
		return
	}
	var p mqtt.PublishProperties
	if m.Properties != nil {
		p = *m.Properties // shared by all who receive it
	}
	p.User = slices.Clone(p.User)
	for _, add := range []mqtt.UserProperty{
		{Name: originName, Value: d.Origin.UTC().Format(originFormat)},
		{Name: historicalName, Value: "true"},
	} {
		if !slices.ContainsFunc(p.User, func(u mqtt.UserProperty) bool { return u.Name == add.Name }) {
			p.User = append(p.User, add)
		}
	}
	m.Properties = &p
}

// historyRate leaves live messages room below a bound over both lanes.
func (o *Options) historyRate() float64 {
	if o.PublishRate > 0 && o.Lanes != OneLane && (o.HistoryRate <= 0 || o.HistoryRate > o.PublishRate*9/10) {
		return o.PublishRate * 9 / 10
	}
	return o.HistoryRate
}
