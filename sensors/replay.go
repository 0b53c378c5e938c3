package sensors

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// HistoryRequest asks for what was missed. It is published as JSON on
// gateway/<id>/history/get; the answers come on Reply as JSON readings marked
// as history, oldest first, and then one {"done": true, "count": n}.
type HistoryRequest struct {
	Sensor   string `json:"sensor"`
	Quantity string `json:"quantity"`
	After    uint64 `json:"after_sequence,omitempty"` // or a time:
	From     string `json:"from,omitempty"`           // RFC 3339
	To       string `json:"to,omitempty"`             // empty: now
	Limit    int    `json:"limit,omitempty"`          // 0: 1000, which is also the most
	Reply    string `json:"reply"`                    // topic
}

const replayMost = 1000

// replay answers one request. It runs on the broker's side: it only reads
// memory and queues.
func (s *Scheduler) replay(body []byte) error {
	var q HistoryRequest
	if err := json.Unmarshal(body, &q); err != nil {
		return err
	}
	if q.Reply == "" || len(q.Reply) > 256 {
		return errors.New("no reply topic")
	}
	if waiting, _ := s.out.stats(); waiting > s.o.MaxPending/4 {
		return errors.New("too much waits for the broker already")
	}
	if q.Limit <= 0 || q.Limit > replayMost {
		q.Limit = replayMost
	}
	var found []Reading
	var err error
	if q.From == "" {
		h, ok := s.o.History.(interface {
			After(probe, quantity string, seq uint64, limit int) ([]Reading, error)
		})
		if !ok {
			return errors.New("this history knows times only")
		}
		found, err = h.After(q.Sensor, q.Quantity, q.After, q.Limit)
	} else {
		from, err1 := time.Parse(time.RFC3339, q.From)
		to := time.Now()
		var err2 error
		if q.To != "" {
			to, err2 = time.Parse(time.RFC3339, q.To)
		}
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		found, err = s.o.History.Range(q.Sensor, q.Quantity, from, to, q.Limit)
	}
	if err != nil {
		return err
	}
	for _, r := range found {
		r.History = true
		if b, ok := payload(r, FormatJSON, QuantityOf(r.Quantity).Digits+1); ok {
			s.out.push(Message{Topic: q.Reply, Payload: b, QoS: 1}, false)
		}
	}
	s.out.push(Message{Topic: q.Reply, Payload: fmt.Appendf(nil, `{"done":true,"count":%d}`, len(found)), QoS: 1}, false)
	return nil
}

// serveHistory answers requests until the returned function is called.
func (s *Scheduler) serveHistory() (cancel func()) {
	topic := "gateway/" + s.o.Gateway + "/history/get"
	cancel, err := s.o.Sink.Subscribe(topic, 1, func(b []byte, retained bool) {
		if retained {
			return
		}
		if err := s.replay(b); err != nil {
			s.log.Warn("history request not understood", "topic", topic, "err", err)
		}
	})
	if err != nil {
		s.log.Warn("history cannot be asked for", "topic", topic, "err", err)
		return func() {}
	}
	return cancel
}

// clockSet is called once when the clock, unknown until then, is known: what
// was taken before is given its right time, in the history and, where payloads
// carry a time, on the topics again.
func (s *Scheduler) clockSet(by time.Duration) {
	if h, ok := s.o.History.(interface{ Restamp(time.Duration) }); ok {
		h.Restamp(by)
	}
	for _, l := range s.loops {
		for _, p := range l.probes {
			p.restamp(by)
		}
	}
}

// restamp publishes the latest readings of a probe again with their right time.
func (p *probe) restamp(by time.Duration) {
	p.mu.Lock()
	var again []Reading
	for q, r := range p.latest {
		if r.Source == TimeUnknown && r.Seq > 0 {
			r.At, r.Source = r.At.Round(0).Add(by), TimeRestamped
			p.latest[q] = r
			again = append(again, r)
		}
	}
	p.mu.Unlock()
	for _, r := range again {
		p.sched.observeReading(r)
	}
	if p.cfg.Format != FormatJSON {
		return
	}
	for _, r := range again {
		digits := QuantityOf(r.Quantity).Digits
		if d, ok := p.cfg.Digits[r.Quantity]; ok {
			digits = d
		}
		if b, ok := payload(r, FormatJSON, digits); ok {
			p.sched.out.push(Message{Topic: expandTopic(p.cfg.Topic, p.sched.o.Gateway, p.cfg.Name, r.Quantity), Payload: b,
				QoS: p.cfg.QoS, Retain: p.cfg.Retain}, true)
		}
	}
}
