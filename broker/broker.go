package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gatewayd/mqtt"
	"gatewayd/store"
	"gatewayd/topic"
)

// Broker is an MQTT broker. New makes one from what the store has, Run opens
// its listeners and serves.
type Broker struct {
	log     *slog.Logger
	clock   *Clock
	store   *store.Store
	options atomic.Pointer[Options]
	started time.Time

	sessionsMu sync.RWMutex // guards sessions
	sessions   map[string]*session

	treeMu sync.RWMutex // guards tree and groups
	tree   topic.Tree[*subscription]
	groups map[shareKey]*shareGroup
	gen    atomic.Uint64 // changes when routes have to be found again

	retained  retainedSet
	timers    timers
	wheel     *wheel
	receipts  receiptQueue
	durable   atomic.Uint64 // the store has every message up to this id
	busy      busySet
	stuck     stuckOps
	leftover  atomic.Bool // a turn holds what the store had no room for
	turns     sync.Pool
	counts    totals
	stats     gauges
	memory    memoryState
	kept      keptBytes
	tidy      tidying
	volatile  atomic.Int64 // bytes that wait in the sessions' queues in memory
	takeovers takeoverLog
	away      awaySet
	clients   clientSet
	links     linkSet
	cursors   cursors
	streams   streamSet
	sys       sysState
	stale     []store.SessionID // incarnations that restore found to be superseded
	forgotten []string          // retained messages that restore found to be of class Memory now

	loops     *loops
	listeners []*listener
	ready     chan struct{}

	ctx        context.Context // of background work; ends with Run
	cancel     context.CancelFunc
	background background
}

// busySet is the conns that wait for the store to have room.
type busySet struct {
	mu  sync.Mutex
	all map[*conn]struct{}
}

// stuckOps are ops that nobody waits for and the store had no room for.
type stuckOps struct {
	mu  sync.Mutex
	ops []*pubOp
}

// background is goroutines that Run waits for at its end.
type background struct {
	mu    sync.Mutex
	wg    sync.WaitGroup
	ended bool
}

// run runs f on a goroutine of its own. It reports false when the broker is
// stopping: f does not run then.
func (g *background) run(f func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		return false
	}
	g.wg.Go(f)
	return true
}

// end waits for those that run and lets no more start.
func (g *background) end() {
	g.mu.Lock()
	g.ended = true
	g.mu.Unlock()
	g.wg.Wait()
}

// New makes a broker and restores its sessions from the store, which must not
// be running yet.
func New(o Options, st *store.Store) (*Broker, error) {
	o = o.withDefaults()
	b := &Broker{
		log: o.Log, clock: o.Clock, store: st, started: time.Now(),
		sessions: make(map[string]*session),
		groups:   make(map[shareKey]*shareGroup),
		wheel:    newWheel(),
		ready:    make(chan struct{}),
	}
	b.timers.wake = make(chan struct{}, 1)
	b.receipts.init()
	b.options.Store(&o)
	b.turns.New = func() any { return newTurn(b) }
	b.ctx, b.cancel = context.WithCancel(context.Background())
	if err := b.restore(); err != nil {
		return nil, err
	}
	b.durable.Store(uint64(st.LastID())) // what the store has read back is on the card
	return b, nil
}

// opt returns the options that hold now.
func (b *Broker) opt() *Options { return b.options.Load() }

func (b *Broker) auth() Authorizer { return b.opt().Auth }

// Run serves until ctx is done. The store must run before it, and longer.
func (b *Broker) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	n := b.opt().Loops
	if n == 0 {
		n = runtime.GOMAXPROCS(0)
	}
	n = max(n, 0)
	var err error
	if b.loops, err = newLoops(b, n); err != nil {
		return err
	}
	for _, l := range b.opt().Listeners {
		ln, err := b.open(l)
		if err != nil {
			b.closeListeners()
			return err
		}
		b.listeners = append(b.listeners, ln)
	}
	close(b.ready)
	for _, key := range b.stale {
		op := b.newOp()
		op.batch.DeleteSession(key)
		op.batch.Delete(awayKey(key))
		op.batch.Delete(cursorKey(key))
		b.submitOrRetry(op)
	}
	for _, name := range b.forgotten {
		op := b.newOp()
		op.batch.DeleteRetained(name)
		b.submitOrRetry(op)
	}

	var wg sync.WaitGroup
	var once sync.Once
	var first error
	run := func(f func() error) {
		wg.Go(func() {
			if err := f(); err != nil {
				once.Do(func() { first = err })
				stop()
			}
		})
	}
	b.loops.serve(ctx, run)
	for _, ln := range b.listeners {
		b.log.Info("listening", "listener", ln.Name, "addr", ln.net.Addr().String())
		run(func() error { return ln.serve(ctx) })
	}
	run(func() error { return b.runClock(ctx) })
	run(func() error { return b.wheel.run(ctx) })
	acts := make(chan struct{})
	actx, stopActing := context.WithCancel(context.Background())
	go func() {
		defer close(acts)
		b.act(actx)
	}()
	<-ctx.Done()
	wg.Wait()
	b.cancel()
	b.background.end()
	stopActing()
	<-acts
	return first
}

func (b *Broker) closeListeners() {
	for _, ln := range b.listeners {
		ln.net.Close()
	}
	b.listeners = nil
}

// Ready is closed once the listeners are open.
func (b *Broker) Ready() <-chan struct{} { return b.ready }

// Addr is the address of the i-th listener, once Ready is closed.
func (b *Broker) Addr(i int) net.Addr { return b.listeners[i].net.Addr() }

// act acts on receipts, and goes on with what had to wait for the store.
func (b *Broker) act(ctx context.Context) {
	t := newTurn(b)
	var list []receiptOf
	again := time.NewTimer(time.Hour)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.receipts.wake:
		case <-again.C:
		}
		t.begin()
		list = b.receipts.take(list)
		for i := range list {
			op := list[i].op
			op.err = list[i].r.Err
			if r := &list[i].r; op.err == nil && !r.Elided && !r.Lazy && op.msg != nil && len(op.to) > 0 {
				if id := uint64(op.lastID()); id > b.durable.Load() {
					b.durable.Store(id)
				}
			}
			saves, removed, err := op.saves, op.removed, op.err
			op.part(t)
			if saves != nil {
				saves.saved(err, removed)
			}
			list[i] = receiptOf{}
		}
		t.flush()
		b.retryStuck()
		b.busy.wakeAll()
		b.receipts.endRound()
		b.loops.nudge(b)
		if b.waitsForStore(t) {
			again.Reset(20 * time.Millisecond)
		}
	}
}

// waitsForStore says whether anything has to be tried again soon.
func (b *Broker) waitsForStore(t *turn) bool {
	b.stuck.mu.Lock()
	stuck := len(b.stuck.ops) > 0
	b.stuck.mu.Unlock()
	return stuck || b.busy.any() || t.done.Len() > 0 || b.leftover.Load()
}

func (bs *busySet) add(c *conn) {
	bs.mu.Lock()
	if bs.all == nil {
		bs.all = make(map[*conn]struct{})
	}
	bs.all[c] = struct{}{}
	bs.mu.Unlock()
	// Without a receipt under way nobody would wake it.
	select {
	case c.b.receipts.wake <- struct{}{}:
	default:
	}
}

func (bs *busySet) any() bool {
	bs.mu.Lock()
	defer bs.mu.Unlock()
	return len(bs.all) > 0
}

// wakeAll has every conn that waits try again.
func (bs *busySet) wakeAll() {
	bs.mu.Lock()
	all := bs.all
	bs.all = nil
	bs.mu.Unlock()
	for c := range all {
		c.tr.post(c.retry)
	}
}

// takeTurn lends a turn to whoever is not an event loop.
func (b *Broker) takeTurn() *turn {
	t := b.turns.Get().(*turn)
	t.begin()
	return t
}

// giveTurn flushes the turn and takes it back. What the store has no room for
// stays with the turn only as long as someone uses it, so it is waited for.
func (b *Broker) giveTurn(t *turn) {
	t.flush()
	if t.done.Len() > 0 {
		if err := b.store.Submit(b.ctx, &t.done, nil); err != nil {
			b.log.Error("progress cannot be saved", "err", err)
		}
		t.doneSubmitted()
	}
	b.turns.Put(t)
}

// pause waits for d or the end of ctx.
func (b *Broker) pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (b *Broker) uptime() int64 { return time.Since(b.started).Milliseconds() }

// unmounted is the topic as the session's client knows it.
func (b *Broker) unmounted(s *session, name string) string {
	if s.mount == "" {
		return name
	}
	return strings.TrimPrefix(name, s.mount)
}

func (c *conn) unmounted(name string) string { return strings.TrimPrefix(name, c.set.MountPoint) }

// goOn sends what waits for a session: its outbox has room again.
func (b *Broker) goOn(t *turn, s *session) {
	s.mu.Lock()
	s.moreLocked(t)
}

// Kick closes the connection of a client. It reports whether there was one.
func (b *Broker) Kick(id string) bool {
	b.sessionsMu.RLock()
	s := b.sessions[id]
	b.sessionsMu.RUnlock()
	if s == nil {
		return false
	}
	s.mu.Lock()
	c := s.conn
	s.mu.Unlock()
	if c == nil {
		return false
	}
	c.tr.post(func(t *turn) { c.bye(t, mqtt.AdministrativeAction, "", errors.New("closed by an administrator")) })
	return true
}

// Reload takes new options. Of listeners, told apart by their names, it takes
// new Settings for the connections that come from then on; their rules hold for
// the sessions there are too, as far as their clients were not told otherwise.
// Rights hold for clients already connected.
func (b *Broker) Reload(o Options) error {
	old := b.opt()
	given := o.Listeners
	o.Listeners, o.Clock = slices.Clone(old.Listeners), old.Clock
	for i := range o.Listeners {
		for j := range given {
			if cmp.Or(given[j].Name, given[j].Address) == o.Listeners[i].Name {
				o.Listeners[i].Settings = given[j].Settings
			}
		}
	}
	if o.Log == nil {
		o.Log = old.Log
	}
	o = o.withDefaults()
	if o.Queue.Messages < 0 || o.Queue.Bytes < 0 {
		return fmt.Errorf("queue limits below zero: %d messages, %d bytes", o.Queue.Messages, o.Queue.Bytes)
	}
	b.options.Store(&o)
	for i, ln := range b.listeners {
		ln.settings.Store(&o.Listeners[i].Settings)
	}
	b.takeRules(&o)
	b.gen.Add(1) // routes were found with the old rights
	b.recheck()
	return nil
}

// takeRules has every session go by the rules that hold now. What a client was
// told at CONNACK stays as it is until it connects again.
func (b *Broker) takeRules(o *Options) {
	b.sessionsMu.RLock()
	all := slices.Collect(maps.Values(b.sessions))
	b.sessionsMu.RUnlock()
	for _, s := range all {
		s.mu.Lock()
		if s.client == nil || s.gone || s.link != nil {
			s.mu.Unlock()
			continue
		}
		rules := o.rulesOf(s.client.Listener)
		was := s.rules.Swap(rules)
		key, durable := s.key, s.durable()
		s.mu.Unlock()
		if key != 0 && durable && was.Queue != rules.Queue {
			b.store.SetLimits(key, rules.Queue.toStore())
		}
	}
}

// recheck closes the connections of clients that may not connect any more.
func (b *Broker) recheck() {
	a, ok := b.auth().(Revalidator)
	if !ok {
		return
	}
	b.clients.mu.Lock()
	list := make([]*conn, 0, len(b.clients.all))
	for c := range b.clients.all {
		list = append(list, c)
	}
	b.clients.mu.Unlock()
	for _, c := range list {
		if !a.StillValid(c.client) {
			c.tr.post(func(t *turn) {
				c.bye(t, mqtt.NotAuthorized, "", errors.New("the client may not connect any more"))
			})
		}
	}
}
