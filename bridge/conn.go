package bridge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"gatewayd/broker"
	"gatewayd/faulthook"
	"gatewayd/mqtt"
)

// setupID is the highest packet id of what the bridge itself sends before any
// delivery of the link is under way; the link counts from the other end.
const setupID mqtt.PacketID = 65535

// conn is one accepted connection to the centre.
type conn struct {
	b      *Bridge
	link   *broker.Link
	net    net.Conn
	addr   address
	level  level
	limits limits
	window int    // messages in flight
	rest   []byte // read together with CONNACK
	since  time.Time

	out    *outbox
	acks   acks
	recent recent // the pump's
	echo   *echo  // nil: the centre does not send our own messages back
	end    context.CancelCauseFunc

	lastRead, lastWrite, lastMessage, pingSent atomic.Int64 // ns since start; pingSent 0: no ping is out
	start                                      time.Time

	mu      sync.Mutex // guards the fields below
	flight  map[mqtt.PacketID]flight
	setup   map[mqtt.PacketID]setupStep // not yet answered
	ready   chan struct{}               // closed when setup is empty
	fullErr error                       // the centre has no room: see full
	waiting map[string]bool             // topics of messages it had no room for
}

// flight is one delivery of QoS 1 or 2 that the centre has not acknowledged.
type flight struct {
	qos  mqtt.QoS // of the link's delivery
	wire mqtt.QoS // on the way to the centre, lowered by its maximum
	sent int64    // ns since the connection's start
	held bool     // behind a refused message of its topic: not released on this connection
	rule int32    // noRule: not known any more
	name string   // the topic here
}

// setupStep is something the bridge asked for at the start.
type setupStep struct {
	requests []mqtt.Request // SUBSCRIBE
	filters  []string       // UNSUBSCRIBE
}

func (c *conn) now() int64 { return int64(time.Since(c.start)) }

// fail ends the connection.
func (c *conn) fail(err error) { c.end(err) }

// serve runs the connection until it ends and returns why.
func (c *conn) serve(ctx context.Context) error {
	parent := ctx
	ctx, c.end = context.WithCancelCause(ctx)
	defer c.end(nil)
	c.flight, c.setup = map[mqtt.PacketID]flight{}, map[mqtt.PacketID]setupStep{}
	c.ready = make(chan struct{})

	var wg sync.WaitGroup
	run := func(f func(context.Context) error) {
		wg.Go(func() {
			if err := f(ctx); err != nil {
				c.fail(err)
			}
		})
	}
	// A session of ours that the centre lost holds no packet ids any more: what
	// comes under them is new.
	if !c.limits.sessionPresent {
		if err := c.link.ForgetHolds(); err != nil {
			return fmt.Errorf("local session: %w", err)
		}
	}
	run(c.write)
	run(c.read)
	run(c.pump)
	run(c.goBack)
	if c.b.o.heralded() {
		run(c.herald)
	}
	<-ctx.Done()
	err := context.Cause(ctx)
	if errors.Is(err, errLeave) || parent.Err() != nil {
		c.leave()
	}
	c.net.Close()
	wg.Wait()
	c.link.Pause()
	return err
}

// errLeave ends a connection that is to be closed in order.
var errLeave = errors.New("closed by the gateway")

// leave says goodbye: the state 0, since an orderly DISCONNECT takes the will
// away, and DISCONNECT. The writer has ended or will find the connection closed.
func (c *conn) leave() {
	buf := c.out.take()
	if c.b.o.notifiesRemotely() && !c.b.o.heralded() {
		buf = (&mqtt.Publish{Topic: c.b.o.NotificationTopic, Payload: []byte("0"), Retain: c.limits.retain}).Append(buf, c.level.version)
	}
	if c.b.o.Will == nil { // else it is to be published now too
		buf = (&mqtt.Disconnect{}).Append(buf, c.level.version)
	}
	c.net.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = c.net.Write(buf) // goodbye is a courtesy
}

// write writes what gathers in the outbox and keeps the connection alive.
func (c *conn) write(ctx context.Context) error {
	tick := time.NewTicker(c.tickEvery())
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := c.tick(); err != nil {
				return err
			}
		case <-c.out.wake:
		}
		b := c.out.take()
		if len(b) == 0 {
			continue
		}
		if err := c.net.SetWriteDeadline(time.Now().Add(c.b.o.WriteTimeout)); err != nil {
			return err
		}
		n, err := c.net.Write(b)
		c.b.count.bytesOut.Add(uint64(n))
		if err != nil {
			return err
		}
		c.lastWrite.Store(c.now())
		if faulthook.Enabled {
			faultWritten(c.b.o.Name, b)
		}
		c.out.give(b)
	}
}

func (c *conn) tickEvery() time.Duration {
	every := time.Second
	if k := c.limits.keepalive; k > 0 && k < 4*time.Second {
		every = k / 4
	}
	return every
}

// tick sends a ping when it is time and ends a connection that is dead: no
// answer to the ping, or to a message.
func (c *conn) tick() error {
	now := c.now()
	if ping := c.pingSent.Load(); ping != 0 && now-ping > int64(c.pingTimeout()) {
		return fmt.Errorf("no answer to PINGREQ for %v", c.pingTimeout())
	}
	c.mu.Lock()
	oldest := now
	for _, f := range c.flight {
		oldest = min(oldest, f.sent)
	}
	c.mu.Unlock()
	if now-oldest > int64(c.b.o.AckTimeout) {
		return fmt.Errorf("no acknowledgement for %v", c.b.o.AckTimeout)
	}
	if c.b.o.Start == Lazy && len(c.out.wake) == 0 && oldest == now && now-c.lastMessage.Load() > int64(c.b.o.IdleTimeout) {
		return fmt.Errorf("%w: no message for %v", errLeave, c.b.o.IdleTimeout)
	}
	k := int64(c.limits.keepalive)
	if k == 0 || c.pingSent.Load() != 0 {
		return nil
	}
	// A link can be dead while we write happily into it, so silence of the
	// other side asks for a ping as well.
	if now-c.lastWrite.Load() >= k*3/4 || now-c.lastRead.Load() >= k*3/4 {
		c.pingSent.Store(max(now, 1))
		buf := c.out.lock()
		c.out.unlock((&mqtt.Pingreq{}).Append(buf, c.level.version))
		c.out.flush()
	}
	return nil
}

// pingTimeout is how long PINGRESP may take.
func (c *conn) pingTimeout() time.Duration {
	return min(max(c.limits.keepalive/2, 250*time.Millisecond), 10*time.Second)
}

// sendRelease appends a PUBREL. Others come with it: the read that brought their
// PUBRECs has the writer woken once for all of them.
func (c *conn) sendRelease(pid mqtt.PacketID) {
	buf := c.out.lock()
	c.out.unlock(mqtt.AppendAck(buf, c.level.version, mqtt.PUBREL, pid, mqtt.Success))
}
