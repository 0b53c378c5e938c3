package bridge

import (
	"maps"
	"time"
)

// State is what a bridge is doing.
type State string

// The states.
const (
	Stopped    State = "stopped"    // Run has not begun or has ended
	Waiting    State = "waiting"    // a pause before the next attempt, or nothing to send yet
	Connecting State = "connecting" // an attempt is under way
	Connected  State = "connected"
	Paused     State = "paused" // by hand
	Ended      State = "ended"  // start type once, and the connection is over
)

// Status is what there is to tell about a bridge.
type Status struct {
	Name           string            `json:"name"`
	State          State             `json:"state"`
	Address        string            `json:"address,omitempty"`  // in use
	Protocol       string            `json:"protocol,omitempty"` // in use
	Since          time.Time         `json:"since,omitzero"`     // of the state
	LastError      string            `json:"last_error,omitempty"`
	NextAttempt    time.Time         `json:"next_attempt,omitzero"`
	SessionPresent bool              `json:"session_present"`
	QueueMessages  int               `json:"queue_messages"`
	QueueBytes     int64             `json:"queue_bytes"`
	Oldest         int64             `json:"oldest_ms"` // when the oldest that waits reached the gateway, ms of the wall clock; 0: none
	Inflight       int               `json:"inflight"`
	Out            uint64            `json:"messages_out"`
	In             uint64            `json:"messages_in"`
	OutRate        float64           `json:"out_per_second"` // over the last seconds
	InRate         float64           `json:"in_per_second"`
	Acked          uint64            `json:"messages_acked"`
	Retried        uint64            `json:"messages_retried"`
	BytesOut       uint64            `json:"bytes_out"`
	BytesIn        uint64            `json:"bytes_in"`
	Dropped        map[string]uint64 `json:"dropped,omitempty"` // by reason
	QoSLowered     uint64            `json:"qos_lowered"`       // the centre's Maximum QoS is lower
	RetainStripped uint64            `json:"retain_stripped"`   // the centre keeps no retained messages
	Connects       uint64            `json:"connects"`
	RoundTrip      time.Duration     `json:"round_trip"`           // smoothed
	Window         int               `json:"window,omitempty"`     // messages that may be in flight, as the centre grants
	MaxPacket      int               `json:"max_packet,omitempty"` // bytes, as the centre grants; 0: no bound
	Parked         ParkedStatus      `json:"parked"`
	CertDays       *float64          `json:"certificate_days,omitempty"`        // of the centre's certificate
	ClientCertDays *float64          `json:"client_certificate_days,omitempty"` // of our own
	CADays         *float64          `json:"ca_days,omitempty"`                 // of the authority in use that ends first
	CutRules       []string          `json:"cut_rules,omitempty"`               // by the storm breaker
	Rules          []RuleStatus      `json:"rules,omitempty"`
}

// ParkedStatus is what is kept aside because the centre cannot take it.
type ParkedStatus struct {
	Messages int               `json:"messages"`
	Bytes    int64             `json:"bytes"`
	Total    map[string]uint64 `json:"total,omitempty"` // by reason, since the start
}

// Status returns what there is to tell now.
func (b *Bridge) Status() Status {
	b.mu.Lock()
	s := Status{Name: b.o.Name, State: b.state, Since: b.since, LastError: b.lastError, NextAttempt: b.nextAttempt}
	c, link, aside, certs := b.conn, b.link, b.parked, b.certs
	b.mu.Unlock()
	if c != nil {
		s.Address, s.Protocol, s.SessionPresent = c.addr.text, c.level.String(), c.limits.sessionPresent
		s.Window, s.MaxPacket = c.window, c.limits.maxPacket
		s.CertDays, _, s.CADays = certs.days(time.Now())
	}
	_, s.ClientCertDays, _ = certs.days(time.Now())
	if link != nil {
		var oldest time.Time
		s.QueueMessages, s.QueueBytes, oldest = link.Depth()
		if !oldest.IsZero() {
			s.Oldest = oldest.UnixMilli()
		}
		s.Inflight = link.Inflight()
	}
	s.Out, s.In, s.Acked, s.Retried = b.count.out.Load(), b.count.in.Load(), b.count.acks.Load(), b.count.retried.Load()
	s.BytesOut, s.BytesIn, s.Connects = b.count.bytesOut.Load(), b.count.bytesIn.Load(), b.count.connects.Load()
	s.QoSLowered, s.RetainStripped = b.count.lowered.Load(), b.count.stripped.Load()
	s.RoundTrip = time.Duration(b.count.rtt.Load())
	s.OutRate, s.InRate = b.count.rates.at(time.Now(), s.Out, s.In)
	b.count.mu.Lock()
	s.Dropped, s.Parked.Total = maps.Clone(b.count.drops), maps.Clone(b.count.parked)
	b.count.mu.Unlock()
	if link != nil {
		s.Dropped = addDrops(s.Dropped, link.Drops())
	}
	if aside != nil {
		s.Parked.Messages, s.Parked.Bytes, _ = aside.Depth()
	}
	s.Rules = b.ruleStatus(link)
	for _, r := range s.Rules {
		if r.Cut {
			s.CutRules = append(s.CutRules, r.Rule)
		}
	}
	return s
}
