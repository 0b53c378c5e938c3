package discovery

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"gatewayd/broker"
	"gatewayd/mqtt"
)

// Broker is what an Announcer needs of the broker.
type Broker interface {
	Publish(ctx context.Context, p broker.Publication, done func(error)) error
	Link(o broker.LinkOptions) (*broker.Link, error)
}

// Options configure an Announcer.
type Options struct {
	Prefix    string // zero: homeassistant
	Client    string // client id of its own session
	Broker    Broker
	Documents map[string]Document // by object id, as Documents makes them
	Log       *slog.Logger        // nil: slog.Default()
	// Jitter is the longest wait after Home Assistant's birth message, so that
	// many gateways do not answer in the same instant. Zero: 3s.
	Jitter time.Duration
	// Settle is how long nothing retained must have come before what is there
	// counts as known. Zero: 300ms.
	Settle time.Duration
}

// Announcer keeps Home Assistant's documents current.
type Announcer struct {
	o   Options
	old map[string][]byte // what is retained and ours, by object id
}

// New returns an Announcer; Run drives it.
func New(o Options) *Announcer {
	if o.Prefix == "" {
		o.Prefix = "homeassistant"
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Jitter == 0 {
		o.Jitter = 3 * time.Second
	}
	if o.Settle == 0 {
		o.Settle = 300 * time.Millisecond
	}
	return &Announcer{o: o, old: map[string][]byte{}}
}

// Run announces, and announces again whenever Home Assistant starts, until ctx
// is done.
func (a *Announcer) Run(ctx context.Context) error {
	link, err := a.o.Broker.Link(broker.LinkOptions{ClientID: a.o.Client, CleanStart: true})
	if err != nil {
		return err
	}
	defer link.Delete()
	if err := link.Subscribe(0, mqtt.Request{Filter: a.o.Prefix + "/device/+/config"}, mqtt.Request{Filter: a.o.Prefix + "/status"}); err != nil {
		return err
	}
	link.Resume(20)
	if err := a.learn(ctx, link); err != nil {
		return err
	}
	if err := a.announce(ctx); err != nil {
		return err
	}
	for {
		d, err := link.Next(ctx)
		if err != nil {
			return err
		}
		if d.Message == nil || d.Message.Topic != a.o.Prefix+"/status" || string(d.Message.Payload) != "online" || d.Retain {
			continue
		}
		a.o.Log.Info("Home Assistant is up: announcing again")
		select {
		case <-time.After(rand.N(a.o.Jitter)):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		a.old = map[string][]byte{} // all of it once more, changed or not
		if err := a.announce(ctx); err != nil {
			return err
		}
	}
}

// learn takes in the documents that are retained until no more come.
func (a *Announcer) learn(ctx context.Context, link *broker.Link) error {
	for {
		limited, cancel := context.WithTimeout(ctx, a.o.Settle)
		d, err := link.Next(limited)
		cancel()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			if limited.Err() != nil {
				return nil
			}
			return err
		}
		if d.Message == nil {
			continue
		}
		id, ok := strings.CutPrefix(d.Message.Topic, a.o.Prefix+"/device/")
		id, ok2 := strings.CutSuffix(id, "/config")
		if ok && ok2 && a.ours(id, d.Message.Payload) {
			a.old[id] = bytes.Clone(d.Message.Payload)
		}
	}
}

// ours says whether a retained document was written by this gateway.
func (a *Announcer) ours(id string, payload []byte) bool {
	if _, ok := a.o.Documents[id]; ok {
		return len(payload) > 0
	}
	var d Document
	if json.Unmarshal(payload, &d) != nil || d.Origin.Name != originName {
		return false
	}
	for root, own := range a.o.Documents {
		if own.Device.ViaDevice == "" && (d.Device.ViaDevice == root || slices.Contains(d.Device.Identifiers, root)) {
			return true
		}
	}
	return false
}

// announce says what has changed, the gateway first since the others refer to
// it, and takes back what is gone.
func (a *Announcer) announce(ctx context.Context) error {
	ids := slices.SortedFunc(maps.Keys(a.o.Documents), func(x, y string) int {
		if len(x) != len(y) {
			return len(x) - len(y)
		}
		return strings.Compare(x, y)
	})
	said := 0
	for _, id := range ids {
		d := a.o.Documents[id]
		text, err := json.Marshal(d)
		if err != nil {
			return err
		}
		old := a.old[id]
		if bytes.Equal(old, text) {
			continue
		}
		// A component that is gone is first published with its platform alone,
		// then left out: otherwise its entity would stay for ever.
		if gone := removed(old, d); gone != nil {
			if err := a.publish(ctx, id, gone); err != nil {
				return err
			}
		}
		if err := a.publish(ctx, id, text); err != nil {
			return err
		}
		a.old[id] = text
		said++
	}
	for id := range a.old {
		if _, ok := a.o.Documents[id]; !ok {
			if err := a.publish(ctx, id, nil); err != nil {
				return err
			}
			delete(a.old, id)
			a.o.Log.Info("device taken back from Home Assistant", "device", id)
		}
	}
	if said > 0 {
		a.o.Log.Info("announced to Home Assistant", "documents", said)
	}
	return nil
}

// removed returns the new document with those of the old one's components that
// it no longer has reduced to their platform; nil when it has them all.
func removed(old []byte, d Document) []byte {
	var before Document
	if len(old) == 0 || json.Unmarshal(old, &before) != nil {
		return nil
	}
	all := maps.Clone(d.Components)
	for key, c := range before.Components {
		if _, ok := all[key]; !ok {
			all[key] = Component{Platform: c.Platform}
		}
	}
	if len(all) == len(d.Components) {
		return nil
	}
	d.Components = all
	text, err := json.Marshal(d)
	if err != nil {
		return nil
	}
	return text
}

// publish sends one retained document and waits until it is kept.
func (a *Announcer) publish(ctx context.Context, id string, payload []byte) error {
	done := make(chan error, 1)
	err := a.o.Broker.Publish(ctx, broker.Publication{
		Topic: a.o.Prefix + "/device/" + id + "/config", Payload: payload, QoS: 1, Retain: true, Publisher: a.o.Client,
	}, func(err error) { done <- err })
	if err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
