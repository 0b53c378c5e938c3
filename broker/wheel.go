package broker

import (
	"context"
	"sync"
	"time"
)

// wheel has one deadline for each conn, kept by the second: a keep alive that
// is met costs nothing, the conn looks when its time has come and asks for
// more.
type wheel struct {
	mu      sync.Mutex // guards the fields below and every conn's place
	start   time.Time
	buckets map[uint32][]*conn
	next    uint32 // the earliest bucket not yet run
	n       int
	wake    chan struct{}
}

// wheelPlace is where a conn stands in the wheel.
type wheelPlace struct {
	at uint32 // second; 0: not in the wheel
	i  uint32
}

func newWheel() *wheel {
	return &wheel{start: time.Now(), buckets: make(map[uint32][]*conn), next: 1, wake: make(chan struct{}, 1)}
}

func (w *wheel) second() uint32 { return uint32(time.Since(w.start) / time.Second) }

// schedule has c.timeout called after d, rounded up to the second; it replaces
// an earlier deadline.
func (w *wheel) schedule(c *conn, d time.Duration) {
	at := uint32((time.Since(w.start) + d + time.Second - 1) / time.Second)
	w.mu.Lock()
	w.removeLocked(c)
	if w.n == 0 {
		w.next = w.second()
	}
	at = max(at, w.next, 1)
	bucket := append(w.buckets[at], c)
	w.buckets[at] = bucket
	c.place = wheelPlace{at, uint32(len(bucket) - 1)}
	w.n++
	first := w.n == 1
	w.mu.Unlock()
	if first {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

func (w *wheel) remove(c *conn) {
	w.mu.Lock()
	w.removeLocked(c)
	w.mu.Unlock()
}

func (w *wheel) removeLocked(c *conn) {
	p := c.place
	if p.at == 0 {
		return
	}
	bucket := w.buckets[p.at]
	last := len(bucket) - 1
	bucket[p.i] = bucket[last]
	bucket[p.i].place.i = p.i
	bucket[last] = nil
	if last == 0 {
		delete(w.buckets, p.at)
	} else {
		w.buckets[p.at] = bucket[:last]
	}
	c.place = wheelPlace{}
	w.n--
}

// run calls timeouts until ctx is done. It sleeps while the wheel is empty.
func (w *wheel) run(ctx context.Context) error {
	tick := time.NewTimer(time.Second)
	defer tick.Stop()
	for {
		w.mu.Lock()
		empty := w.n == 0
		w.mu.Unlock()
		if empty {
			select {
			case <-ctx.Done():
				return nil
			case <-w.wake:
			}
		}
		tick.Reset(time.Second)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for _, c := range w.due() {
			c.tr.post(c.timeout)
		}
	}
}

// due takes out every conn whose time has come.
func (w *wheel) due() []*conn {
	var due []*conn
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.second()
	for ; w.next <= now; w.next++ {
		bucket := w.buckets[w.next]
		delete(w.buckets, w.next)
		for _, c := range bucket {
			c.place = wheelPlace{}
		}
		w.n -= len(bucket)
		due = append(due, bucket...)
	}
	return due
}
