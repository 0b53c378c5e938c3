package broker

import (
	"fmt"
	"math"
	"runtime"
	"strconv"
	"time"

	"gatewayd/mqtt"
)

// sysState is what $SYS needs to remember from one round to the next.
type sysState struct {
	last    map[string]string // what was published
	at      time.Time
	before  Stats
	loads   map[string]*[3]float64
	maxHeap uint64
}

// publishSys publishes $SYS with the names and forms of Mosquitto 2.1: what has
// changed, retained, never written to the store.
func (b *Broker) publishSys() {
	sys := &b.sys
	if sys.last == nil {
		sys.last, sys.loads = make(map[string]string), make(map[string]*[3]float64)
	}
	s := b.Stats()
	if total := s.Connected + s.Disconnected; total > b.stats.maximum.Load() {
		b.stats.maximum.Store(total)
		s.Maximum = total
	}
	t := b.takeTurn()
	defer b.giveTurn(t)
	set := func(name, value string) {
		if sys.last[name] == value {
			return
		}
		sys.last[name] = value
		b.publishOwn(t, "$SYS/broker/"+name, value)
	}
	num := func(name string, v uint64) { set(name, strconv.FormatUint(v, 10)) }
	set("version", b.opt().Version)
	set("uptime", fmt.Sprintf("%d seconds", s.Uptime/1000))
	num("clients/total", uint64(s.Connected+s.Disconnected))
	num("clients/maximum", uint64(s.Maximum))
	num("clients/connected", uint64(s.Connected))
	num("clients/active", uint64(s.Connected))
	num("clients/disconnected", uint64(s.Disconnected))
	num("clients/inactive", uint64(s.Disconnected))
	num("clients/expired", uint64(s.Expired))
	num("connections/socket/count", uint64(s.Sockets))
	num("bytes/received", s.BytesReceived)
	num("bytes/sent", s.BytesSent)
	num("messages/received", s.MessagesReceived)
	num("messages/sent", s.MessagesSent)
	num("publish/messages/received", s.PublishesReceived)
	num("publish/messages/sent", s.PublishesSent)
	num("publish/messages/dropped", s.PublishesDropped)
	num("publish/bytes/received", s.PayloadReceived)
	num("publish/bytes/sent", s.PayloadSent)
	num("subscriptions/count", uint64(s.Subscriptions))
	num("shared_subscriptions/count", uint64(s.SharedSubscriptions))
	num("retained messages/count", uint64(s.Retained))
	st := b.store.Stats()
	stored, storedBytes := uint64(max(st.Messages, 0)+s.Retained), uint64(max(st.MessageBytes, 0)+s.RetainedBytes)
	num("messages/stored", stored)
	num("store/messages/count", stored)
	num("store/messages/bytes", storedBytes)
	count, bytes := b.waiting()
	num("packet/out/count", count)
	num("packet/out/bytes", bytes)
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	sys.maxHeap = max(sys.maxHeap, mem.HeapAlloc)
	num("heap/current", mem.HeapAlloc)
	num("heap/maximum", sys.maxHeap)
	b.loads(s, set)
}

// loads publishes the moving averages, per minute as Mosquitto's are.
func (b *Broker) loads(s Stats, set func(name, value string)) {
	sys := &b.sys
	now := time.Now()
	elapsed := now.Sub(sys.at)
	first := sys.at.IsZero()
	before := sys.before
	sys.at, sys.before = now, s
	for _, l := range [...]struct {
		name        string
		now, before uint64
	}{
		{"messages/received", s.MessagesReceived, before.MessagesReceived},
		{"messages/sent", s.MessagesSent, before.MessagesSent},
		{"publish/received", s.PublishesReceived, before.PublishesReceived},
		{"publish/sent", s.PublishesSent, before.PublishesSent},
		{"publish/dropped", s.PublishesDropped, before.PublishesDropped},
		{"bytes/received", s.BytesReceived, before.BytesReceived},
		{"bytes/sent", s.BytesSent, before.BytesSent},
		{"sockets", s.SocketsOpened, before.SocketsOpened},
		{"connections", s.Connections, before.Connections},
	} {
		avg := sys.loads[l.name]
		if avg == nil {
			avg = new([3]float64)
			sys.loads[l.name] = avg
		}
		perMinute := 0.0
		if !first && elapsed > 0 {
			perMinute = float64(l.now-l.before) / elapsed.Minutes()
		}
		for i, span := range [...]time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute} {
			if !first {
				k := math.Exp(-float64(elapsed) / float64(span))
				avg[i] = perMinute + k*(avg[i]-perMinute)
			}
			set("load/"+l.name+"/"+[...]string{"1min", "5min", "15min"}[i], strconv.FormatFloat(avg[i], 'f', 2, 64))
		}
	}
}

// waiting is what stands in the outboxes of clients.
func (b *Broker) waiting() (clients, bytes uint64) {
	b.clients.mu.Lock()
	list := make([]*conn, 0, len(b.clients.all))
	for c := range b.clients.all {
		list = append(list, c)
	}
	b.clients.mu.Unlock()
	for _, c := range list {
		c.lock()
		if c.waiting > 0 {
			clients++
			bytes += uint64(c.waiting)
		}
		c.unlock()
	}
	return clients, bytes
}

// publishOwn publishes one of the broker's own values: retained, QoS 0, never
// written.
func (b *Broker) publishOwn(t *turn, name, value string) {
	r := t.routeOf(name)
	m := &message{at: t.now, Message: mqtt.Message{Topic: r.topic, Payload: []byte(value), Retain: true}}
	t.out.setOwned(m)
	b.retained.set(m)
	b.fanOut(t, r, nil)
}
