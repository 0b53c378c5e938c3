package broker

import (
	"gatewayd/faulthook"
	"gatewayd/mqtt"
	"gatewayd/store"
)

// flushAt is how many bytes a turn puts into outboxes before it writes them
// out in the middle of a batch of reads.
const flushAt = 64 << 10

// turn is what one reader does between two flushes. It belongs to one
// goroutine at a time.
type turn struct {
	b       *Broker
	now     int64   // ms on the broker's clock, of the batch's start
	touched []*conn // each once: conn.touched guards it
	pending int     // bytes put into outboxes since the last flush

	routes  map[string]*route // match results of this turn's reader
	sweep   int64             // when to drop those that are out of date
	once    route             // see routeOnce
	matches []*subscription   // scratch of route

	// Scratch of decoding: valid until the next packet.
	publish mqtt.Publish
	ack     mqtt.Puback
	rec     mqtt.Pubrec
	rel     mqtt.Pubrel
	comp    mqtt.Pubcomp
	out     outgoing // what is being published
	out2    outgoing // what is being sent again
	recs    []store.Recipient
	slice   []*message // of retained messages
	source  Client     // whom a retained message came from
	sources sourceMemo

	// What the clients are done with, submitted once at the end of the turn.
	done     store.Batch
	doneRefs []doneRef

	counts counts
}

// doneRef is one delivery in turn.done.
type doneRef struct {
	s  *session
	id store.MessageID
}

func newTurn(b *Broker) *turn {
	return &turn{b: b, routes: make(map[string]*route)}
}

// begin starts a batch of reads.
func (t *turn) begin() {
	t.now = t.b.clock.Now()
	if t.now >= t.sweep {
		t.sweepRoutes()
	}
}

// sweepEvery is how often a turn looks for routes that are out of date, in ms:
// they keep sessions in memory that are long gone.
const sweepEvery = 60_000

func (t *turn) sweepRoutes() {
	t.sweep = t.now + sweepEvery
	gen := t.b.gen.Load()
	for name, r := range t.routes {
		if r.gen != gen {
			delete(t.routes, name)
		}
	}
}

// touch notes that c has something to write. The caller holds the mutex of c's
// session.
func (t *turn) touch(c *conn) {
	if !c.touched {
		c.touched = true
		t.touched = append(t.touched, c)
	}
}

// flush writes once to each touched connection and submits what clients are
// done with. The caller holds no lock.
func (t *turn) flush() {
	for i := 0; i < len(t.touched); i++ {
		t.touched[i].tr.flush()
		t.touched[i] = nil
	}
	t.touched = t.touched[:0]
	t.pending = 0
	if faulthook.Enabled {
		faulthook.Reached(t)
	}
	t.submitDone()
	t.b.counts.add(&t.counts)
}
