package broker

import "sync/atomic"

// memQueueCost is what a waiting message takes besides its payload: the delivery,
// the message, its topic. In bytes.
const memQueueCost = 256

// volatileDefault is the bound of what waits in memory when neither
// MaxVolatile nor MemoryLimit says one.
const volatileDefault = 256 << 20

// memQueue is a queue in memory, of a session that ends with its connection.
// Taking from its head costs the same however long it is: a receiver slower
// than its senders has a hundred thousand messages here, and each of its
// acknowledgements takes from the head.
type memQueue struct {
	all   []delivery
	head  int
	bytes int64         // of payload
	total *atomic.Int64 // what all sessions' queues take, with memQueueCost
}

func (w *memQueue) len() int { return len(w.all) - w.head }

// at is the i-th waiting delivery; it is good until the next change.
func (w *memQueue) at(i int) *delivery { return &w.all[w.head+i] }

// memory is what the queue takes, in bytes.
func (w *memQueue) memory() int64 { return w.bytes + int64(w.len())*memQueueCost }

// push appends a delivery with its message.
func (w *memQueue) push(d delivery) {
	if len(w.all) == cap(w.all) && w.head > len(w.all)/2 {
		w.closeGap()
	}
	w.all = append(w.all, d)
	w.count(&d, 1)
}

func (w *memQueue) count(d *delivery, n int64) {
	size := int64(len(d.msg.Payload))
	w.bytes += n * size
	w.total.Add(n * (size + memQueueCost))
}

// closeGap moves what waits to the front of its memory.
func (w *memQueue) closeGap() {
	n := copy(w.all, w.all[w.head:])
	clear(w.all[n:])
	w.all, w.head = w.all[:n], 0
}

// pop takes the first delivery.
func (w *memQueue) pop() delivery {
	d := w.all[w.head]
	w.all[w.head] = delivery{}
	w.head++
	w.count(&d, -1)
	if w.head == len(w.all) {
		w.all, w.head = nil, 0
	}
	return d
}

// remove takes the i-th delivery out.
func (w *memQueue) remove(i int) {
	if i == 0 {
		w.pop()
		return
	}
	w.count(w.at(i), -1)
	copy(w.all[w.head+i:], w.all[w.head+i+1:])
	w.all[len(w.all)-1] = delivery{}
	w.all = w.all[:len(w.all)-1]
}

// find is the index of the first delivery that is so; -1: none is.
func (w *memQueue) find(so func(*delivery) bool) int {
	for i := range w.len() {
		if so(w.at(i)) {
			return i
		}
	}
	return -1
}

// keep leaves only the deliveries that pass.
func (w *memQueue) keep(pass func(*delivery) bool) {
	kept := w.all[:0]
	for i := w.head; i < len(w.all); i++ {
		d := w.all[i]
		if !pass(&d) {
			w.count(&d, -1)
			continue
		}
		kept = append(kept, d)
	}
	clear(w.all[len(kept):])
	w.all, w.head = kept, 0
	if len(kept) == 0 {
		w.all = nil
	}
}

// empty lets go of everything.
func (w *memQueue) empty() {
	if w.total != nil {
		w.total.Add(-w.memory())
	}
	w.all, w.head, w.bytes = nil, 0, 0
}

// maxVolatile is the bound of what waits in memory for all sessions together.
func (o *Options) maxVolatile() int64 {
	switch {
	case o.MaxVolatile > 0:
		return o.MaxVolatile
	case o.MemoryLimit > 0:
		return min(o.MemoryLimit/4, volatileDefault)
	}
	return volatileDefault
}

// fills says whether one more message of size bytes would take more than this
// queue's share of most, a quarter unless it has a bound of its own, or more
// than all queues together may have.
func (w *memQueue) fills(most int64, own bool, size int64) bool {
	size += memQueueCost
	return !own && w.memory()+size > most/4 || w.total.Load()+size > most
}
