package bridge

import (
	"hash/maphash"
	"sync"
)

// seed makes content hashes unguessable, so that nobody can provoke a match.
var seed = maphash.MakeSeed()

func content(topic string, payload []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	h.WriteString(topic)
	h.WriteByte(0)
	h.Write(payload)
	return h.Sum64()
}

const (
	echoMemory = 30e9 // ns that a sent message is remembered
	echoBound  = 8192
)

// echo drops what the centre sends back of our own: for a centre that knows
// neither no-local nor the bridge bit. It remembers what went out through rules
// that also come in; each may come back once.
type echo struct {
	mu    sync.Mutex // guards the fields below
	count map[uint64]int
	order []echoed // the oldest first
}

type echoed struct {
	sum uint64
	at  int64
}

func newEcho() *echo { return &echo{count: map[uint64]int{}} }

// sent notes a message under its name at the centre.
func (e *echo) sent(topic string, payload []byte, now int64) {
	sum := content(topic, payload)
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.order) > 0 && (now-e.order[0].at > echoMemory || len(e.order) >= echoBound) {
		e.forgetLocked(e.order[0].sum)
		e.order = e.order[1:]
	}
	e.order = append(e.order, echoed{sum, now})
	e.count[sum]++
}

func (e *echo) forgetLocked(sum uint64) {
	if e.count[sum] > 1 {
		e.count[sum]--
	} else {
		delete(e.count, sum)
	}
}

// returned reports whether a message of the centre is one of ours coming back.
func (e *echo) returned(topic string, payload []byte, now int64) bool {
	sum := content(topic, payload)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.count[sum] == 0 {
		return false
	}
	for i, x := range e.order {
		if x.sum == sum {
			e.order = append(e.order[:i:i], e.order[i+1:]...)
			break
		}
	}
	e.forgetLocked(sum)
	return true
}
