package sensors

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// HistoryRequest asks for what was missed. It is published as JSON on
// gateway/<id>/history/get; the answers come as JSON readings marked as
// history, oldest first, and then one {"done": true, "count": n}. They go to
// Reply, or to MQTT 5's response topic, with its correlation data.
type HistoryRequest struct {
	Sensor   string `json:"sensor"`                   // or the name of a line
	Quantity string `json:"quantity"`                 // of a line: state, count or rate
	After    uint64 `json:"after_sequence,omitempty"` // or a time:
	From     string `json:"from,omitempty"`           // RFC 3339
	To       string `json:"to,omitempty"`             // empty: now
	Limit    int    `json:"limit,omitempty"`          // 0: 1000, which is also the most
	Reply    string `json:"reply,omitempty"`          // topic; needed in MQTT 3.1.1
}

const replayMost = 1000

// ask answers one request. It runs on the broker's side: it only reads memory
// and queues.
func (s *Scheduler) ask(m Incoming) error {
	var q HistoryRequest
	err := json.Unmarshal(m.Payload, &q)
	if q.Reply == "" {
		q.Reply = m.Reply
	}
	if bad := s.checkReply(q.Reply); bad != nil {
		return errors.Join(err, bad) // nowhere to say it
	}
	var found []Reading
	more := false
	if err == nil {
		found, more, err = s.find(q)
	}
	answer := func(b []byte) {
		s.out.push(Message{Topic: q.Reply, Payload: b, QoS: 1, Answer: true, Correlation: m.Correlation}, false)
	}
	if err != nil {
		text, _ := json.Marshal(struct { // of strings only
			Error string `json:"error"`
			Done  bool   `json:"done"`
		}{err.Error(), true})
		answer(text)
		return err
	}
	for _, r := range found {
		r.History = true
		if b, ok := payload(r, FormatJSON, QuantityOf(r.Quantity).Digits+1); ok {
			answer(b)
		}
	}
	if more {
		answer(fmt.Appendf(nil, `{"done":true,"count":%d,"more":true}`, len(found)))
	} else {
		answer(fmt.Appendf(nil, `{"done":true,"count":%d}`, len(found)))
	}
	return nil
}

// checkReply refuses topics that a client must not make the gateway write to:
// its own, those that command something here, and the broker's.
func (s *Scheduler) checkReply(topic string) error {
	switch {
	case topic == "":
		return errors.New(`no reply topic: write "reply", or use MQTT 5's response topic`)
	case len(topic) > 256, strings.ContainsAny(topic, "+#\x00"), strings.HasPrefix(topic, "$"):
		return fmt.Errorf("%.80q cannot be a reply topic", topic)
	case strings.HasPrefix(topic, "gateway/"+s.o.Gateway+"/"):
		return fmt.Errorf("%q is a topic of the gateway itself", topic)
	}
	for _, o := range s.outs {
		if topic == o.cfg.CommandTopic {
			return fmt.Errorf("%q commands the output %s", topic, o.cfg.Name)
		}
	}
	for _, e := range s.Entities() {
		if topic == e.Topic {
			return fmt.Errorf("%q is where %s publishes", topic, e.Probe)
		}
	}
	return nil
}

// find looks a request up; more says that the limit cut something off.
func (s *Scheduler) find(q HistoryRequest) (found []Reading, more bool, err error) {
	if q.Sensor == "" || q.Quantity == "" {
		return nil, false, errors.New(`name a "sensor" and a "quantity"`)
	}
	if waiting, _ := s.out.stats(); waiting > s.o.MaxPending/4 {
		return nil, false, errors.New("too much waits for the broker already; ask again later")
	}
	if q.Limit <= 0 || q.Limit > replayMost {
		q.Limit = replayMost
	}
	if q.From == "" && q.To == "" {
		h, ok := s.o.History.(interface {
			After(probe, quantity string, seq uint64, limit int) ([]Reading, error)
		})
		if !ok {
			return nil, false, errors.New("this history knows times only")
		}
		found, err = h.After(q.Sensor, q.Quantity, q.After, q.Limit+1)
	} else {
		var from time.Time
		to := time.Now()
		var err1, err2 error
		if q.From != "" {
			from, err1 = time.Parse(time.RFC3339, q.From)
		}
		if q.To != "" {
			to, err2 = time.Parse(time.RFC3339, q.To)
		}
		if err := errors.Join(err1, err2); err != nil {
			return nil, false, err
		}
		found, err = s.o.History.Range(q.Sensor, q.Quantity, from, to, q.Limit+1)
	}
	if len(found) > q.Limit {
		return found[:q.Limit], true, err
	}
	return found, false, err
}

// serveHistory answers requests until the returned function is called.
func (s *Scheduler) serveHistory() (cancel func()) {
	topic := "gateway/" + s.o.Gateway + "/history/get"
	cancel, err := s.o.Sink.Subscribe(topic, 1, func(m Incoming) {
		if m.Retained {
			return
		}
		if err := s.ask(m); err != nil {
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
