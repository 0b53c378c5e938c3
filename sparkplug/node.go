package sparkplug

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"gatewayd/broker"
	"gatewayd/mqtt"
	"gatewayd/sensors"
)

const (
	namespace = "spBv1.0"
	gather    = 20 * time.Millisecond // readings of one turn go into one message
	queueMost = 8192                  // events that wait for Run; the oldest go
	flushSize = 100                   // historical values in one message
	flushRest = 20 * time.Millisecond // between those, so that live values are not crowded out
)

// Broker is what a Node needs of the local broker.
type Broker interface {
	Publish(ctx context.Context, p broker.Publication, done func(error)) error
	Link(o broker.LinkOptions) (*broker.Link, error)
}

// Keeper keeps the number of the last birth over a restart.
type Keeper interface {
	Load() (bdSeq uint64, alive, ok bool)
	Save(bdSeq uint64, alive bool)
}

// Options configure a Node.
type Options struct {
	Group, Node string
	Broker      Broker
	Client      string            // client id of its own session
	Entities    []sensors.Entity  // what can be reported
	Properties  map[string]string // of the node, such as Model
	PrimaryHost string            // empty: births without waiting for a host
	// Upstream is the local topic that says 1 while the bridge to the server
	// of the hosts is connected; empty: hosts connect to the local broker.
	Upstream string
	Buffer   int          // values kept while there is no server or host; zero: 10000
	Keeper   Keeper       // nil: numbers of births begin at 0
	Log      *slog.Logger // nil: slog.Default()
}

// Node is the edge node.
type Node struct {
	o   Options
	log *slog.Logger

	// Of Run's goroutine.
	devices map[string]*device
	order   []string
	byAlias map[uint64]*metric
	born    bool
	as      uint64 // bdSeq of the birth that holds
	seq     uint64
	host    hostState
	linked  bool // the bridge is connected
	buffer  []buffered
	lost    uint64 // values that there was no room for
	said    uint64 // of those, told to the hosts

	mu      sync.Mutex // guards the fields below
	queue   []sensors.Event
	dropped uint64
	bdSeq   uint64
	given   bool          // bdSeq has been used in a will or a birth
	kick    chan struct{} // 1 deep
}

// buffered is a value that waits for a host.
type buffered struct {
	m     *metric
	value Metric
}

// New makes a Node; Run drives it.
func New(o Options) (*Node, error) {
	o.Buffer = cmp.Or(o.Buffer, 10000)
	if o.Log == nil {
		o.Log = slog.Default()
	}
	for what, id := range map[string]string{"group": o.Group, "node": o.Node, "primary host": o.PrimaryHost} {
		if strings.ContainsAny(id, "/+#") || id == "" && what != "primary host" {
			return nil, fmt.Errorf("sparkplug: %q cannot be a %s: it is a topic level without / + #", id, what)
		}
	}
	n := &Node{o: o, log: o.Log, kick: make(chan struct{}, 1)}
	if o.Keeper != nil {
		if last, _, ok := o.Keeper.Load(); ok {
			n.bdSeq, n.given = last, true
		}
	}
	n.build(o.Entities)
	return n, nil
}

// Observe takes an event of the scheduler.
func (n *Node) Observe(e sensors.Event) {
	n.mu.Lock()
	if len(n.queue) >= queueMost {
		n.queue = n.queue[1:]
		n.dropped++
	}
	n.queue = append(n.queue, e)
	n.mu.Unlock()
	n.wake()
}

func (n *Node) wake() {
	select {
	case n.kick <- struct{}{}:
	default:
	}
}

// Will is the NDEATH that the connection to the hosts' server leaves behind.
// Each call begins a new life: the next birth carries the same number.
func (n *Node) Will() *mqtt.Will {
	b := n.nextLife()
	return &mqtt.Will{Topic: n.topic("NDEATH", ""), Payload: deathPayload(b), QoS: 1}
}

// nextLife counts bdSeq on: 0 to 255, over restarts.
func (n *Node) nextLife() uint64 {
	n.mu.Lock()
	if n.given {
		n.bdSeq = (n.bdSeq + 1) & 0xFF
	}
	n.given = true
	b := n.bdSeq
	n.mu.Unlock()
	n.save(b, false)
	return b
}

func (n *Node) save(bdSeq uint64, alive bool) {
	if n.o.Keeper != nil {
		n.o.Keeper.Save(bdSeq, alive)
	}
}

func (n *Node) life() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.bdSeq
}

// Run is the edge node's life until ctx is done; it ends with a death.
func (n *Node) Run(ctx context.Context) error {
	link, err := n.o.Broker.Link(broker.LinkOptions{ClientID: n.o.Client, CleanStart: true})
	if err != nil {
		return err
	}
	defer link.Delete()
	if n.o.Keeper != nil {
		// A node that ended without a word is said dead before it is born again.
		if last, alive, ok := n.o.Keeper.Load(); ok && alive && n.o.Upstream == "" {
			n.publish(ctx, "NDEATH", "", deathPayload(last))
		}
	}
	// [tck-id-message-flow-edge-node-ncmd-subscribe] and its like: commands are
	// subscribed to before the birth.
	wanted := []mqtt.Request{request(n.topic("NCMD", "")), request(n.topic("DCMD", "+"))}
	if n.o.PrimaryHost != "" {
		wanted = append(wanted, request(namespace+"/STATE/"+n.o.PrimaryHost))
	}
	if n.o.Upstream != "" {
		wanted = append(wanted, request(n.o.Upstream))
	}
	if err := link.Subscribe(0, wanted...); err != nil {
		return err
	}
	link.Resume(20)
	heard := make(chan broker.Delivery)
	ended := make(chan error, 1)
	listen, stop := context.WithCancel(ctx)
	var listening sync.WaitGroup
	listening.Go(func() { ended <- n.listen(listen, link, heard) })
	defer listening.Wait()
	defer stop()
	n.follow(ctx)
	for {
		select {
		case <-ctx.Done():
			n.drain(context.WithoutCancel(ctx))
			n.die(context.WithoutCancel(ctx))
			return context.Cause(ctx)
		case err := <-ended:
			if ctx.Err() == nil {
				return err
			}
		case d := <-heard:
			n.hear(ctx, d)
		case <-n.kick:
			timer := time.NewTimer(gather)
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
			timer.Stop()
			n.drain(ctx)
		}
	}
}

func request(filter string) mqtt.Request {
	return mqtt.Request{Filter: filter, Options: mqtt.Options(0).WithQoS(1)}
}

// listen hands on what the broker has for the node.
func (n *Node) listen(ctx context.Context, link *broker.Link, heard chan<- broker.Delivery) error {
	for {
		d, err := link.Next(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}
		if d.QoS > 0 {
			if err := link.Ack(d.PacketID, mqtt.Success); err != nil && !errors.Is(err, broker.ErrPacketID) {
				return err
			}
		}
		if d.Message == nil {
			continue
		}
		select {
		case heard <- d:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// hear takes one message of a host or of the bridge.
func (n *Node) hear(ctx context.Context, d broker.Delivery) {
	name := d.Message.Topic
	old := d.Retain || d.Received
	switch {
	case n.o.Upstream != "" && name == n.o.Upstream:
		n.linked = string(d.Message.Payload) == "1"
		n.follow(ctx)
	case n.o.PrimaryHost != "" && name == namespace+"/STATE/"+n.o.PrimaryHost:
		if n.host.update(d.Message.Payload) {
			n.follow(ctx)
		}
	case old:
		// [tck-id-conformance] Commands are not retained; an old one is no wish of this moment.
	case name == n.topic("NCMD", ""):
		n.nodeCommand(ctx, d.Message.Payload)
	default:
		if dev, ok := strings.CutPrefix(name, n.topic("DCMD", "")+"/"); ok {
			n.deviceCommand(ctx, dev, d.Message.Payload)
		}
	}
}

// follow is born or dies as server and host have it.
func (n *Node) follow(ctx context.Context) {
	wanted := (n.o.Upstream == "" || n.linked) && (n.o.PrimaryHost == "" || n.host.online)
	switch {
	case wanted && !n.born:
		if n.o.Upstream == "" {
			n.nextLife() // with a bridge the connection's will has begun it
		}
		n.born, n.as = true, n.life()
		n.save(n.as, true)
		n.log.Info("sparkplug: born", "node", n.o.Node, "bdSeq", n.as, "waiting", len(n.buffer))
		n.birth(ctx)
		n.flush(ctx)
	case !wanted && n.born:
		n.die(ctx)
	}
}

// die says that nothing more comes.
func (n *Node) die(ctx context.Context) {
	if !n.born {
		return
	}
	n.born = false
	n.publish(ctx, "NDEATH", "", deathPayload(n.as))
	n.save(n.life(), false)
	n.log.Info("sparkplug: dead", "node", n.o.Node, "bdSeq", n.as)
}

func (n *Node) topic(kind, device string) string {
	t := namespace + "/" + n.o.Group + "/" + kind + "/" + n.o.Node
	if device != "" {
		t += "/" + device
	}
	return t
}

// publish sends one payload: deaths of the node at QoS 1 as the will is, all
// else at QoS 0, nothing retained [tck-id-topics-nbirth-mqtt and its like].
func (n *Node) publish(ctx context.Context, kind, device string, body []byte) {
	qos := mqtt.QoS(0)
	if kind == "NDEATH" {
		qos = 1
	}
	err := n.o.Broker.Publish(ctx, broker.Publication{Topic: n.topic(kind, device), Payload: body, QoS: qos, Publisher: n.o.Client}, nil)
	if err != nil && ctx.Err() == nil {
		n.log.Warn("sparkplug: not published", "topic", n.topic(kind, device), "err", err)
	}
}

// send numbers a payload and publishes it; NBIRTH begins with 0.
func (n *Node) send(ctx context.Context, kind, device string, metrics []Metric) {
	if kind == "NBIRTH" {
		n.seq = 0
	}
	p := Payload{Timestamp: millis(time.Now()), Metrics: metrics, Seq: n.seq, HasSeq: true}
	n.seq = (n.seq + 1) & 0xFF
	n.publish(ctx, kind, device, p.Append(nil))
}

func millis(t time.Time) uint64 { return uint64(max(t.UnixMilli(), 0)) }

// deathPayload is an NDEATH: the number of the birth that it ends, without a
// sequence number.
func deathPayload(bdSeq uint64) []byte {
	now := millis(time.Now())
	return Payload{Timestamp: now, Metrics: []Metric{{Name: "bdSeq", Timestamp: now, Type: Int64, Value: int64(bdSeq)}}}.Append(nil)
}
