package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"gatewayd/broker"
	"gatewayd/mqtt"
	"gatewayd/sensors"
	"gatewayd/topic"
)

// sink lets the sensors publish to the broker and hear commands from it. Its
// commands come through a Link of its own, opened with the first Subscribe.
type sink struct {
	b      *broker.Broker
	log    *slog.Logger
	client string // client id of the Link

	mu       sync.Mutex // guards the fields below
	link     *broker.Link
	handlers map[int]handler
	next     int
	closed   bool
	stop     context.CancelFunc
	ended    chan struct{} // closed when the Link is drained no more
}

type handler struct {
	filter string
	handle func(sensors.Incoming)
}

func newSink(b *broker.Broker, client string, log *slog.Logger) *sink {
	return &sink{b: b, client: client, log: log, handlers: map[int]handler{}}
}

// Publish hands a message to the broker. Readings of retained topics are
// written lazily: the next one replaces them.
func (s *sink) Publish(ctx context.Context, m sensors.Message) error {
	p := broker.Publication{
		Topic: m.Topic, Payload: m.Payload, QoS: mqtt.QoS(m.QoS), Retain: m.Retain, Lazy: m.Reading != nil, Publisher: s.client,
	}
	if m.Answer {
		p.Properties = &mqtt.PublishProperties{PayloadFormat: 1, ContentType: "application/json", Correlation: m.Correlation}
	}
	return s.b.Publish(ctx, p, func(err error) {
		if err != nil {
			s.log.Warn("message of a sensor not kept", "topic", m.Topic, "err", err)
		}
	})
}

// Subscribe calls handle for each message on topic, from one goroutine.
func (s *sink) Subscribe(name string, qos byte, handle func(sensors.Incoming)) (cancel func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.New("the gateway is stopping")
	}
	if s.link == nil {
		if s.link, err = s.b.Link(broker.LinkOptions{ClientID: s.client, CleanStart: true}); err != nil {
			return nil, err
		}
		ctx, stop := context.WithCancel(context.Background())
		s.stop, s.ended = stop, make(chan struct{})
		s.link.Resume(20)
		go s.drain(ctx, s.link)
	}
	if err := s.link.Subscribe(0, mqtt.Request{Filter: name, Options: mqtt.Options(0).WithQoS(mqtt.QoS(qos))}); err != nil {
		return nil, err
	}
	s.next++
	id := s.next
	s.handlers[id] = handler{name, handle}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.handlers, id)
		if !s.closed {
			if err := s.link.Unsubscribe(name); err != nil {
				s.log.Debug("unsubscribe", "filter", name, "err", err)
			}
		}
	}, nil
}

// drain hands out what the Link has until ctx is done.
func (s *sink) drain(ctx context.Context, l *broker.Link) {
	defer close(s.ended)
	for {
		d, err := l.Next(ctx)
		if err != nil {
			if ctx.Err() == nil {
				s.log.Error("commands to outputs are not heard any more", "err", err)
			}
			return
		}
		if err := s.finish(l, d); err != nil {
			s.log.Warn("command not acknowledged", "packet_id", d.PacketID, "err", err)
		}
	}
}

// finish dispatches a delivery and completes its exchange: this end is the
// remote, and it has the message at once.
func (s *sink) finish(l *broker.Link, d broker.Delivery) error {
	if d.Message != nil {
		s.dispatch(d)
	}
	switch {
	case d.Release:
		return l.Comp(d.PacketID)
	case d.QoS == 1:
		return l.Ack(d.PacketID, mqtt.Success)
	case d.QoS == 2:
		return l.Rec(d.PacketID, mqtt.Success, func(err error) {
			if err != nil {
				s.log.Warn("command not released", "packet_id", d.PacketID, "err", err)
				return
			}
			if err := l.Comp(d.PacketID); err != nil {
				s.log.Warn("command not completed", "packet_id", d.PacketID, "err", err)
			}
		})
	}
	return nil
}

func (s *sink) dispatch(d broker.Delivery) {
	s.mu.Lock()
	var call []func(sensors.Incoming)
	for _, h := range s.handlers {
		if topic.Match(h.filter, d.Message.Topic) {
			call = append(call, h.handle)
		}
	}
	s.mu.Unlock()
	m := sensors.Incoming{Payload: d.Message.Payload, Retained: d.Retain || d.Received}
	if p := d.Message.Properties; p != nil {
		m.Reply, m.Correlation = p.ResponseTopic, p.Correlation
	}
	for _, handle := range call {
		handle(m)
	}
}

// Close ends the Link and waits until nothing is handed out any more.
func (s *sink) Close() {
	s.mu.Lock()
	s.closed = true
	link, stop, ended := s.link, s.stop, s.ended
	s.mu.Unlock()
	if link == nil {
		return
	}
	stop()
	<-ended
	link.Delete()
}
