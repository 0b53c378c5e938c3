package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"gatewayd/broker"
	"gatewayd/mqtt"
)

// Bridge is one configured connection to another broker. Run does the work;
// every other method may be called from anywhere.
type Bridge struct {
	o       Options
	demands demands
	broker  *broker.Broker
	log     *slog.Logger
	count   counters
	storm   *storm
	changed chan struct{} // what is wanted has changed

	// Of the goroutine that Run is on.
	addresses addresses
	levels    map[string]int // by address: the place in the ladder that it refused all before
	hung      map[string]int // by address: times it hung up without an answer
	back      *backoff
	dial      func(context.Context, address, *Options) (net.Conn, error)
	// Of one connection's pump after the other.
	known struct {
		unsubscribed bool
		subscribed   string // where the centre has our subscriptions
	}

	mu          sync.Mutex // guards the fields below
	state       State
	since       time.Time
	lastError   string
	nextAttempt time.Time
	conn        *conn // while connected
	link        *broker.Link
	retained    *reconcile   // nil: nothing goes outward
	parked      *broker.Link // nil: nothing was ever kept aside
	certs       certificates // of the last attempt
	paused      bool         // by hand
	wanted      bool         // manual and once: a connection is asked for
}

// New returns a bridge of the local broker; Run starts it.
func New(o Options, b *broker.Broker) (*Bridge, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	br := &Bridge{
		o: o, demands: o.Profile.demands(), broker: b, log: o.Log.With("bridge", o.Name),
		changed: make(chan struct{}, 1), levels: map[string]int{}, hung: map[string]int{},
		back:  newBackoff(o.RestartBase, o.RestartCap, o.RestartStable),
		dial:  dial,
		state: Stopped, since: time.Now(), wanted: o.Start == Once,
	}
	br.o.seen = func(c certificates) {
		br.mu.Lock()
		br.certs = c
		br.mu.Unlock()
	}
	br.count.rules = make([]ruleCount, len(o.Rules))
	br.storm = newStorm(o.Rules, o.StormRate, br.log)
	br.addresses.roundRobin = o.RoundRobin
	for _, a := range o.Addresses {
		addr, err := parseAddress(a, o)
		if err != nil {
			return nil, err
		}
		br.addresses.list = append(br.addresses.list, addr)
	}
	return br, nil
}

// LocalClientID names the bridge's session here.
func (b *Bridge) LocalClientID() string { return b.o.LocalClientID }

// Name is the bridge's name.
func (b *Bridge) Name() string { return b.o.Name }

// Open opens the bridge's session at the local broker and brings its
// subscriptions up to date, durably. Done between the start of the store and
// that of the broker it makes sure that not even the first message of the
// first client is missed. Run does it when nobody has.
func (b *Bridge) Open() error {
	b.mu.Lock()
	opened := b.link != nil
	b.mu.Unlock()
	if opened {
		return nil
	}
	link, err := b.openLink()
	if err != nil {
		return fmt.Errorf("bridge %q: %w", b.o.Name, err)
	}
	if err := b.subscribeLocal(link); err != nil {
		link.Close()
		return err
	}
	retained, err := b.openReconcile()
	if err != nil {
		link.Close()
		return fmt.Errorf("bridge %q: %w", b.o.Name, err)
	}
	b.mu.Lock()
	b.link, b.retained = link, retained
	b.mu.Unlock()
	if err := b.reopenAside(); err != nil {
		return fmt.Errorf("bridge %q: %w", b.o.Name, err)
	}
	return nil
}

// Run keeps the bridge connected until ctx is done. An error means that the
// bridge cannot work at all.
func (b *Bridge) Run(ctx context.Context) error {
	if err := b.Open(); err != nil {
		return err
	}
	b.mu.Lock()
	link, retained := b.link, b.retained
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		aside := b.parked
		b.link, b.retained, b.parked = nil, nil, nil
		b.mu.Unlock()
		link.Close()
		if aside != nil {
			aside.Close()
		}
	}()
	if retained != nil {
		var watching sync.WaitGroup
		watching.Go(func() { retained.run(ctx) })
		defer watching.Wait()
		defer retained.link.Close()
		retained.away(nil)
	}
	b.notify(ctx, "0")
	defer b.survey(ctx, link)()
	for b.await(ctx) {
		b.enter(Connecting, nil)
		c, err := b.connect(ctx, link)
		if err != nil {
			b.failed(ctx, err)
			continue
		}
		err = c.serve(ctx)
		b.ended(ctx, c, err)
	}
	b.enter(Stopped, nil)
	return context.Cause(ctx)
}

// surveyTime is how long the first connection waits until it is known which
// topics have messages waiting; reading on takes no harm from it.
const surveyTime = 5 * time.Second

// survey learns what waits since before the start; the returned function waits
// until it has ended.
func (b *Bridge) survey(ctx context.Context, link *broker.Link) (wait func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := link.Survey(ctx); err != nil && ctx.Err() == nil {
			b.log.Warn("the queue was not read: live messages wait for history", "err", err)
		}
	}()
	t := time.NewTimer(surveyTime)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
		b.log.Info("the queue is long: until it is known which topics wait in it, live messages wait for history")
	case <-ctx.Done():
	}
	return func() { <-done }
}

// maxQoS0 bounds the QoS 0 messages that wait for the pump, as a slow client's
// outbox bounds its; beyond it they are dropped and the broker counts them.
const maxQoS0 = 20_000

func (b *Bridge) openLink() (*broker.Link, error) {
	o := broker.LinkOptions{
		ClientID: b.o.LocalClientID, Expiry: 0xFFFFFFFF, MaxQoS0: maxQoS0,
		Lanes:       [...]broker.LaneOrder{ByTopic: broker.TopicOrder, LiveFirst: broker.LaneFirst, OneLane: broker.OneLane}[b.o.Lanes],
		HistoryRate: b.o.historyRate(),
	}
	if b.o.LocalVolatile {
		o.CleanStart, o.Expiry = true, 0
	}
	if b.o.Queue != (broker.QueueLimits{}) {
		o.Limits = &b.o.Queue
	}
	o.Parts, _ = b.o.parts()
	return b.broker.Link(o)
}

// await waits until a connection is wanted; false when ctx is done.
func (b *Bridge) await(ctx context.Context) bool {
	for ctx.Err() == nil {
		b.mu.Lock()
		paused, wanted, link := b.paused, b.wanted, b.link
		b.mu.Unlock()
		var poll <-chan time.Time
		switch {
		case paused:
			b.enter(Paused, nil)
		case b.o.Start == Automatic:
			return true
		case (b.o.Start == Manual || b.o.Start == Once) && wanted:
			return true
		case b.o.Start == Once:
			b.enter(Ended, nil)
		case b.o.Start == Manual:
			b.enter(Waiting, nil)
		default: // lazy
			if n, _, _ := link.Depth(); n >= b.o.Threshold || wanted {
				return true
			}
			b.enter(Waiting, nil)
			poll = time.After(250 * time.Millisecond)
		}
		select {
		case <-ctx.Done():
		case <-poll:
		case <-b.changed:
		}
	}
	return false
}

// failed notes a failed round of attempts and waits before the next.
func (b *Bridge) failed(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	b.addresses.lost()
	b.rest(ctx, err)
}

// rest pauses as the back-off says; a change of mind ends the pause.
func (b *Bridge) rest(ctx context.Context, err error) {
	pause := b.back.next()
	b.log.Warn("bridge is not connected", "err", err, "retry_in", pause.Round(time.Millisecond).String())
	b.mu.Lock()
	b.nextAttempt = time.Now().Add(pause)
	b.mu.Unlock()
	b.enter(Waiting, err)
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	case <-b.changed:
	}
	b.mu.Lock()
	b.nextAttempt = time.Time{}
	b.mu.Unlock()
}

// up notes that everything is set up on a new connection.
func (b *Bridge) up(c *conn, window int) {
	b.count.connects.Add(1)
	b.mu.Lock()
	b.conn = c
	paused := b.paused
	b.mu.Unlock()
	if paused { // while the connection was being made, when Pause saw none to end
		c.fail(fmt.Errorf("%w: paused", errLeave))
	}
	b.enter(Connected, nil)
	b.log.Info("bridge connected", "remote", c.addr.text, "protocol", c.level.String(),
		"session_present", c.limits.sessionPresent, "window", window)
	b.notify(context.Background(), "1")
}

// ended notes the end of a connection and pauses unless it was wanted.
func (b *Bridge) ended(ctx context.Context, c *conn, err error) {
	lasted := time.Since(c.since)
	b.mu.Lock()
	wasUp := b.conn == c
	b.conn = nil
	if b.o.Start != Automatic {
		b.wanted = false
	}
	b.mu.Unlock()
	if wasUp {
		stateCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		b.notify(stateCtx, "0")
		cancel()
		if b.retained != nil {
			b.retained.away(c.recent.since(c.lastRead.Load()))
		}
	}
	b.back.lasted(lasted)
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, errLeave):
		b.log.Info("bridge disconnected", "remote", c.addr.text, "reason", err)
		b.enter(Waiting, nil)
	default:
		b.addresses.lost()
		b.rest(ctx, fmt.Errorf("%s: %w", c.addr.text, err))
	}
}

// notify publishes the bridge's state at the local broker.
func (b *Bridge) notify(ctx context.Context, state string) {
	if b.o.NoNotifications {
		return
	}
	err := b.broker.Publish(ctx, broker.Publication{
		Topic: b.o.NotificationTopic, Payload: []byte(state), QoS: 1, Retain: true, Lazy: true, Publisher: b.o.LocalClientID,
	}, nil)
	if err != nil && ctx.Err() == nil {
		b.log.Warn("bridge state not published", "topic", b.o.NotificationTopic, "err", err)
	}
}

func (b *Bridge) enter(s State, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state != s {
		b.state, b.since = s, time.Now()
	}
	if err != nil {
		b.lastError = err.Error()
	}
}

// connect tries the addresses in their order, once each.
func (b *Bridge) connect(ctx context.Context, link *broker.Link) (*conn, error) {
	var errs []error
	for _, i := range b.addresses.round() {
		a := b.addresses.list[i]
		c, err := b.attempt(ctx, a)
		if err == nil {
			b.addresses.at, c.link = i, link
			return c, nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
		errs = append(errs, fmt.Errorf("%s: %w", a.text, err))
	}
	return nil, errors.Join(errs...)
}

// attempt connects to one address, going down the ladder of protocols as far
// as the centre makes it. What the centre said no to is remembered. A hang-up
// may have been a balancer's whose centre was away just then, so a level that
// was reached by hang-ups alone is good for this connection only; next time one
// hang-up is enough to come back to it.
func (b *Bridge) attempt(ctx context.Context, a address) (*conn, error) {
	ladder := b.o.ladder()
	i := min(b.levels[a.text], len(ladder)-1)
	hungUp := false
	for {
		c, err := b.try(ctx, a, ladder[i])
		if err == nil {
			b.hung[a.text] = 0
			if hungUp {
				b.hung[a.text] = 1
			}
			return c, nil
		}
		var refused *refusedError
		switch {
		case errors.As(err, &refused) && refused.code == mqtt.UnsupportedProtocolVersion:
			if !hungUp {
				b.levels[a.text] = i + 1
			}
		case errors.Is(err, errHungUp):
			// Once may be the network; twice is how some brokers say that they
			// do not know this protocol.
			if b.hung[a.text]++; b.hung[a.text] < 2 {
				return nil, err
			}
			hungUp = true
		default:
			return nil, err
		}
		if i++; i == len(ladder) {
			b.levels[a.text], b.hung[a.text] = 0, 0
			return nil, err
		}
	}
}

// try opens one connection with one protocol.
func (b *Bridge) try(ctx context.Context, a address, l level) (*conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, b.o.ConnectTimeout, errors.New("no connection in time"))
	defer cancel()
	b.mu.Lock()
	b.certs.peer, b.certs.trust = time.Time{}, time.Time{}
	b.mu.Unlock()
	nc, err := b.dial(ctx, a, &b.o)
	if err != nil {
		return nil, err
	}
	lim, rest, err := shake(ctx, nc, &b.o, l)
	if err != nil {
		// The centre may have begun a session for a CONNECT whose answer did not
		// reach us, or that a balancer delivered after we had left.
		b.known.subscribed = ""
		nc.Close()
		return nil, err
	}
	c := &conn{b: b, net: nc, addr: a, level: l, limits: lim, rest: rest, since: time.Now(), start: time.Now(), out: newOutbox(),
		window: min(b.o.ReceiveMaximum, lim.receiveMaximum)}
	if l.version != mqtt.V5 && !l.bridge && slices.ContainsFunc(b.o.Rules, func(r Rule) bool { return r.Direction == Both }) {
		c.echo = newEcho()
	}
	return c, nil
}

// Pause disconnects and stays away until Resume; messages wait in the store.
func (b *Bridge) Pause() {
	b.mu.Lock()
	b.paused = true
	c := b.conn
	b.mu.Unlock()
	if c != nil {
		c.fail(fmt.Errorf("%w: paused", errLeave))
	}
	b.wake()
}

// Resume connects at once: it ends a pause by hand, a pause between attempts,
// and starts a manual bridge. Rules that the storm breaker cut are joined again.
func (b *Bridge) Resume() {
	b.mu.Lock()
	b.paused, b.wanted = false, true
	b.mu.Unlock()
	if n := b.storm.mend(); n > 0 {
		b.log.Info("rules joined again", "rules", n)
	}
	b.wake()
}

func (b *Bridge) wake() {
	select {
	case b.changed <- struct{}{}:
	default:
	}
}

// Drain waits until nothing waits for the centre any more, then pauses the
// bridge.
func (b *Bridge) Drain(ctx context.Context) error {
	b.Resume()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if s := b.Status(); s.State == Connected && s.QueueMessages == 0 && s.Inflight == 0 {
			b.Pause()
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}
