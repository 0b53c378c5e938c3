package broker

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"testing"
	"time"

	"gatewayd/mqtt"
)

// drain plays the remote server of a bridge: it acknowledges what the link
// hands out and notes it, until ctx ends.
type drain struct {
	t    *testing.T
	link *Link
	mu   sync.Mutex
	got  map[byte][]uint32 // by publisher
	dups map[byte]int
	held map[mqtt.PacketID]bool
}

func newDrain(t *testing.T, l *Link) *drain {
	return &drain{t: t, link: l, got: make(map[byte][]uint32), dups: make(map[byte]int), held: make(map[mqtt.PacketID]bool)}
}

func (d *drain) run(ctx context.Context) {
	for {
		x, err := d.link.Next(ctx)
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				d.t.Error(err)
			}
			return
		}
		d.take(x)
	}
}

func (d *drain) take(x Delivery) {
	if x.Release {
		d.mu.Lock()
		delete(d.held, x.PacketID)
		d.mu.Unlock()
		d.link.Comp(x.PacketID)
		return
	}
	if x.QoS < 2 {
		d.note(x.Message.Payload)
		if x.QoS == 1 {
			d.link.Ack(x.PacketID, mqtt.Success)
		}
		return
	}
	d.mu.Lock()
	repeat := d.held[x.PacketID]
	d.held[x.PacketID] = true
	d.mu.Unlock()
	if !repeat {
		d.note(x.Message.Payload)
	}
	d.link.Rec(x.PacketID, mqtt.Success, func(err error) {
		if err != nil {
			d.t.Errorf("release %d: %v", x.PacketID, err)
			return
		}
		go func() { // PUBREL, and PUBCOMP comes back
			d.mu.Lock()
			delete(d.held, x.PacketID)
			d.mu.Unlock()
			d.link.Comp(x.PacketID)
		}()
	})
}

func (d *drain) note(p []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	who, n := p[0], binary.BigEndian.Uint32(p[1:])
	list := d.got[who]
	if len(list) > 0 && n <= list[len(list)-1] {
		d.dups[who]++
	}
	d.got[who] = append(d.got[who], n)
}

// different counts a publisher's messages, those that came again once.
func (d *drain) different(who byte) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	seen := make(map[uint32]bool)
	for _, n := range d.got[who] {
		seen[n] = true
	}
	return len(seen)
}

// TestLinkOutage publishes at QoS 1 and 2 while the link's remote comes and goes:
// nothing is missing, QoS 2 comes once, and each publisher's messages come in
// order.
func TestLinkOutage(t *testing.T) {
	s := newServer(t, nil)
	l, err := s.b.Link(LinkOptions{ClientID: "bridge", Expiry: neverExpires})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Subscribe(0, mqtt.Request{Filter: "#", Options: 2}); err != nil {
		t.Fatal(err)
	}
	d := newDrain(t, l)
	const total = 3000
	var pubs sync.WaitGroup
	acked := make(chan struct{}, 2*total)
	for _, qos := range []mqtt.QoS{1, 2} {
		pubs.Go(func() {
			for i := range uint32(total) {
				p := binary.BigEndian.AppendUint32([]byte{byte(qos)}, i)
				err := s.b.Publish(t.Context(), Publication{Topic: "t", QoS: qos, Payload: p}, func(err error) {
					if err != nil {
						t.Error(err)
					}
					acked <- struct{}{}
				})
				if err != nil {
					t.Error(err)
					return
				}
				if i%50 == 0 {
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	for i := range 6 {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		l.Resume(20)
		go func() {
			defer close(done)
			d.run(ctx)
		}()
		time.Sleep(20 * time.Millisecond)
		if i < 5 {
			cancel()
			<-done
			l.Pause()
			time.Sleep(10 * time.Millisecond)
			continue
		}
		pubs.Wait()
		for range 2 * total {
			select {
			case <-acked:
			case <-time.After(time.Minute):
				t.Fatal("a publication was never acknowledged")
			}
		}
		for end := time.Now().Add(time.Minute); time.Now().Before(end) && (d.different(1) < total || d.different(2) < total); {
			time.Sleep(5 * time.Millisecond)
		}
		time.Sleep(50 * time.Millisecond) // what would come twice
		cancel()
		<-done
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := len(d.got[2]); n != total || d.dups[2] != 0 {
		t.Errorf("QoS 2: %d came, %d out of order", n, d.dups[2])
	}
	seen := make(map[uint32]bool)
	last := uint32(0)
	for i, n := range d.got[1] {
		if i > 0 && !seen[n] && n < last {
			t.Errorf("QoS 1: %d came first after %d", n, last)
		}
		seen[n] = true
		last = max(last, n)
	}
	if len(seen) != total {
		t.Errorf("QoS 1: %d of %d came", len(seen), total)
	}
	t.Logf("QoS 1: %d came, %d again", len(d.got[1]), d.dups[1])
}
