package bridge

import (
	"context"
	"errors"
	"slices"
	"time"

	"gatewayd/broker"
)

// Messages that the centre cannot take as they are, parked, wait in a session of
// their own, named as the bridge's with parkedSuffix, until somebody releases
// them to try again or gives them up. They do not hold up the others. The
// session begins with the first of them.
const parkedSuffix = ".parked"

// Parked is one message kept aside.
type Parked struct {
	ID      uint64    `json:"id"`
	Topic   string    `json:"topic"` // here
	Bytes   int       `json:"bytes"` // of its payload
	QoS     byte      `json:"qos"`
	Retain  bool      `json:"retain"`
	Time    time.Time `json:"time"` // when it reached the gateway
	Content []byte    `json:"content,omitempty"`
}

var errNotOpen = errors.New("the bridge does not run")

// park moves a message under way aside; false when it cannot be kept: there is
// no room, or it lies in no store.
func (b *Bridge) park(link *broker.Link, d *broker.Delivery, rule int, reason string) bool {
	if b.o.LocalVolatile {
		return false
	}
	aside, err := b.aside()
	if err != nil {
		b.log.Warn("a message cannot be parked", "err", err)
		return false
	}
	if n, _, _ := aside.Depth(); n >= b.o.MaxParked {
		b.log.Warn("a message is given up: too many are parked", "topic", d.Message.Topic, "parked", n)
		return false
	}
	if !link.MoveTo(aside, d.PacketID) {
		return false
	}
	b.count.park(rule, reason)
	b.log.Warn("a message is parked: the centre's limits exclude it", "topic", d.Message.Topic, "reason", reason, "bytes", len(d.Message.Payload))
	return true
}

// aside is the link to the session of the parked messages.
func (b *Bridge) aside() (*broker.Link, error) {
	b.mu.Lock()
	aside, open := b.parked, b.link != nil
	b.mu.Unlock()
	if aside != nil {
		return aside, nil
	}
	if !open {
		return nil, errNotOpen
	}
	return b.openAside()
}

func (b *Bridge) openAside() (*broker.Link, error) {
	aside, err := b.broker.Link(broker.LinkOptions{ClientID: b.o.LocalClientID + parkedSuffix, Expiry: 0xFFFFFFFF, Limits: &broker.QueueLimits{}})
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	b.parked = aside
	b.mu.Unlock()
	return aside, nil
}

// reopenAside opens the session of the parked messages when there is one.
func (b *Bridge) reopenAside() error {
	there := slices.ContainsFunc(b.broker.Clients(), func(c broker.ClientInfo) bool { return c.ID == b.o.LocalClientID+parkedSuffix })
	if !there {
		return nil
	}
	_, err := b.openAside()
	return err
}

// parkedLink is the link to the parked messages; nil when there never were any.
func (b *Bridge) parkedLink() *broker.Link {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.parked
}

// Parked lists the parked messages, the oldest first; with content, what is in
// them as well, which only one of ids has.
func (b *Bridge) Parked(ctx context.Context, content uint64) ([]Parked, error) {
	list := []Parked{}
	aside := b.parkedLink()
	if aside == nil {
		return list, nil
	}
	err := aside.Kept(ctx, b.o.MaxParked, func(k broker.Kept) {
		p := Parked{ID: k.ID, Topic: k.Message.Topic, Bytes: len(k.Message.Payload), QoS: byte(k.QoS), Retain: k.Retain, Time: time.UnixMilli(k.Time).UTC()}
		if k.ID == content {
			p.Content = slices.Clone(k.Message.Payload)
		}
		list = append(list, p)
	})
	return list, err
}

// Release sends parked messages again, those with the ids or all: back to their
// places in the queue, to cross if the centre's limits allow it by now and to be
// parked anew else.
func (b *Bridge) Release(ids ...uint64) (int, error) {
	b.mu.Lock()
	link, aside := b.link, b.parked
	b.mu.Unlock()
	if aside == nil {
		return 0, nil
	}
	if link == nil {
		return 0, errNotOpen
	}
	return aside.Return(link, ids...)
}

// GiveUp forgets parked messages, those with the ids or all.
func (b *Bridge) GiveUp(ids ...uint64) (int, error) {
	aside := b.parkedLink()
	if aside == nil {
		return 0, nil
	}
	return aside.GiveUp(ids...)
}
