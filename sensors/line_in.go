package sensors

import (
	"context"
	"math"
	"strings"
	"sync"
	"time"

	"periph.io/x/conn/v3/gpio"
)

// inputLine watches one input. Its edges come from the kernel with their time,
// so that none is lost while the broker is busy.
type inputLine struct {
	cfg   LineConfig
	pull  gpio.Pull
	sched *Scheduler

	mu       sync.Mutex // guards the fields below
	online   bool
	reason   string
	high     bool
	known    bool
	since    time.Time
	lastSeq  uint64
	edges    uint64
	lost     uint64
	pulses   uint64
	sent     uint64 // pulses at the last publication of the rate
	sentAt   time.Time
	lastSent time.Time
	seq      uint64
}

// run watches until ctx is done and takes the line again when it is lost.
func (l *inputLine) run(ctx context.Context) {
	l.resume()
	var ticking sync.WaitGroup
	ticking.Go(func() { l.tick(ctx) })
	defer ticking.Wait()
	for pause := backoffFirst; ; pause = min(2*pause, backoffMost) {
		err := l.sched.o.Buses.WatchInput(ctx, l.cfg.Line, l.pull, l.cfg.Debounce, l.edge)
		if ctx.Err() != nil {
			return
		}
		l.mu.Lock()
		was := l.online || l.reason == "" // not told yet
		l.online, l.known = false, false
		l.reason = "the line is gone"
		if err != nil {
			l.reason = err.Error()
		}
		l.mu.Unlock()
		if was {
			pause = backoffFirst
			l.sched.log.Warn("input failed", "line", l.cfg.Name, "err", err)
			l.sched.lineOnline(l.cfg.Name, false)
		}
		if !sleep(ctx, pause) {
			return
		}
	}
}

// resume goes on counting where the history ends, so that a meter's total
// survives a restart.
func (l *inputLine) resume() {
	h, ok := l.sched.o.History.(interface {
		Last(probe, quantity string) (Reading, bool)
	})
	if !ok {
		return
	}
	if l.cfg.Count == "" {
		l.mu.Lock()
		l.seq = l.sched.lastState(l.cfg.Name)
		l.mu.Unlock()
		return
	}
	if r, ok := h.Last(l.cfg.Name, "count"); ok && r.Value > 0 {
		l.mu.Lock()
		l.pulses, l.seq = uint64(math.Round(r.Value*l.cfg.PerUnit)), r.Seq
		l.sent = l.pulses
		l.mu.Unlock()
	}
}

// edge is called for the first level (seq 0) and each edge, in order.
func (l *inputLine) edge(high bool, at time.Time, seq uint64) {
	first := seq == 0
	if first {
		l.sched.lineOnline(l.cfg.Name, true)
	}
	l.mu.Lock()
	if first {
		l.online, l.reason, l.lastSeq = true, "", 0
	} else {
		if seq > l.lastSeq+1 {
			l.lost += seq - l.lastSeq - 1
		}
		l.lastSeq = seq
		l.edges++
	}
	changed := !l.known || l.high != high
	l.high, l.known = high, true
	if changed {
		l.since = at
	}
	on := high != l.cfg.activeLow()
	if l.cfg.Count != "" {
		if !first && (l.cfg.Count == "both" || l.cfg.Count == "rising" && on || l.cfg.Count == "falling" && !on) {
			l.pulses++
		}
		l.mu.Unlock()
		return
	}
	// An edge to the level that is known already means that the one between
	// was shorter than the kernel could tell: the state did not change.
	if !changed && !first {
		l.mu.Unlock()
		return
	}
	l.seq++
	n := l.seq
	l.lastSent = at
	l.mu.Unlock()
	l.publish(on, at, n, first)
}

func (l *inputLine) publish(on bool, at time.Time, seq uint64, state bool) {
	l.sched.keepState(l.cfg.Name, on, at, seq)
	l.sched.out.push(Message{Topic: l.topic("state"), Payload: l.cfg.statePayload(on, at, seq),
		QoS: l.cfg.QoS, Retain: l.cfg.retain()}, state)
}

// tick publishes counts, and repeats states where a heartbeat is asked for.
func (l *inputLine) tick(ctx context.Context) {
	every := l.cfg.Every
	if l.cfg.Count == "" {
		if every = l.cfg.Heartbeat; every <= 0 {
			return
		}
	}
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			if l.cfg.Count == "" {
				l.mu.Lock()
				on, known, n := l.high != l.cfg.activeLow(), l.known, l.seq
				due := known && now.Sub(l.lastSent) >= every-time.Millisecond
				if due {
					l.lastSent = now
				}
				l.mu.Unlock()
				if due {
					l.publish(on, now, n, true)
				}
				continue
			}
			l.publishCount(now)
		}
	}
}

func (l *inputLine) publishCount(now time.Time) {
	l.mu.Lock()
	if !l.known {
		l.mu.Unlock()
		return
	}
	l.seq++
	n, seq := l.pulses, l.seq
	perMinute := 0.0
	if !l.sentAt.IsZero() && now.After(l.sentAt) {
		perMinute = float64(n-l.sent) / l.cfg.PerUnit / now.Sub(l.sentAt).Minutes()
	}
	withRate := !l.sentAt.IsZero()
	l.sent, l.sentAt = n, now
	l.mu.Unlock()
	l.publishNumber("count", float64(n)/l.cfg.PerUnit, l.cfg.Unit, now, seq)
	if withRate && strings.Contains(l.cfg.Topic, "{quantity}") {
		unit := "/min"
		if l.cfg.Unit != "" {
			unit = l.cfg.Unit + "/min"
		}
		l.publishNumber("rate", perMinute, unit, now, seq)
	}
}

func (l *inputLine) publishNumber(quantity string, v float64, unit string, now time.Time, seq uint64) {
	r := Reading{Probe: l.cfg.Name, Quantity: quantity, Unit: unit, Value: v, At: now, Seq: seq}
	if !l.sched.o.Clock().Synchronised {
		r.Source = TimeUnknown
	}
	l.sched.observeReading(r)
	body, ok := payload(r, l.cfg.Format, 4)
	if ok {
		l.sched.out.push(Message{Topic: l.topic(quantity), Payload: body, QoS: l.cfg.QoS, Retain: l.cfg.retain(), Reading: &r}, true)
	}
}

func (l *inputLine) topic(quantity string) string {
	return expandTopic(l.cfg.Topic, l.sched.o.Gateway, l.cfg.Name, quantity)
}

func (l *inputLine) status() LineStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	st := LineStatus{Name: l.cfg.Name, Line: l.cfg.Line, Direction: "in", Since: l.since,
		Edges: l.edges, Lost: l.lost, Reason: l.reason, Online: l.online}
	on := l.high != l.cfg.activeLow()
	if l.known && l.cfg.Count == "" {
		st.On = &on
	}
	switch {
	case !l.known:
	case l.cfg.Count != "":
		st.State = formatNumber(float64(l.pulses)/l.cfg.PerUnit, 4)
	case on:
		st.State = l.cfg.On
	default:
		st.State = l.cfg.Off
	}
	return st
}

// meterClasses is what a counter counts, where its unit leaves no doubt.
var meterClasses = map[string]string{"L": "water", "m³": "water", "Wh": "energy", "kWh": "energy"}

func (l *inputLine) entities() []Entity {
	e := Entity{Kind: "binary_sensor", Probe: l.cfg.Name, Topic: l.topic("state"), Availability: l.sched.availability(l.cfg.Name), On: l.cfg.On, Off: l.cfg.Off,
		Format: l.cfg.Format, QoS: l.cfg.QoS, Retain: l.cfg.retain()}
	if l.cfg.Count == "" {
		return []Entity{e}
	}
	e.Kind, e.On, e.Off, e.Every, e.Topic = "sensor", "", "", l.cfg.Every, l.topic("count")
	e.Quantity = QuantityOf("count")
	e.Quantity.Unit, e.Quantity.Class = l.cfg.Unit, meterClasses[l.cfg.Unit]
	all := []Entity{e}
	if strings.Contains(l.cfg.Topic, "{quantity}") {
		e.Quantity, e.Topic = QuantityOf("rate"), l.topic("rate")
		if l.cfg.Unit != "" {
			e.Quantity.Unit = l.cfg.Unit + "/min"
			if l.cfg.Unit == "L" {
				e.Quantity.Class = "volume_flow_rate"
			}
		}
		all = append(all, e)
	}
	return all
}
