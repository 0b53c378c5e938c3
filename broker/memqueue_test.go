package broker

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"

	"gatewayd/mqtt"
)

// TestMemQueue holds the queue against a plain list.
func TestMemQueue(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var total atomic.Int64
	w := memQueue{total: &total}
	var model []string
	check := func(what string) {
		t.Helper()
		var have []string
		var size int64
		for i := range w.len() {
			have = append(have, w.at(i).msg.Topic)
			size += int64(len(w.at(i).msg.Payload))
		}
		if !slices.Equal(have, model) {
			t.Fatalf("after %s it holds %v instead of %v", what, have, model)
		}
		if w.bytes != size || total.Load() != size+int64(len(model))*memQueueCost {
			t.Fatalf("after %s it counts %d and %d bytes for %d messages of %d bytes", what, w.bytes, total.Load(), len(model), size)
		}
	}
	for n := range 20_000 {
		switch k := r.IntN(100); {
		case k < 55 && len(model) < 300:
			name := strconv.Itoa(n)
			w.push(delivery{msg: &message{Message: mqtt.Message{Topic: name, Payload: make([]byte, r.IntN(50))}}})
			model = append(model, name)
			check("push")
		case k < 97 && len(model) > 0:
			if d := w.pop(); d.msg.Topic != model[0] {
				t.Fatalf("%s came out instead of %s", d.msg.Topic, model[0])
			}
			model = model[1:]
			check("pop")
		case k < 99 && len(model) > 0:
			i := r.IntN(len(model))
			w.remove(i)
			model = slices.Delete(slices.Clone(model), i, i+1)
			check("remove")
		case k == 99 && n%10 == 0:
			even := func(name string) bool { return name[len(name)-1]%2 == 0 }
			w.keep(func(d *delivery) bool { return even(d.msg.Topic) })
			model = slices.DeleteFunc(slices.Clone(model), func(name string) bool { return !even(name) })
			check("keep")
		}
	}
	w.empty()
	if total.Load() != 0 || w.len() != 0 {
		t.Errorf("empty, it counts %d bytes and %d messages", total.Load(), w.len())
	}
}

// BenchmarkMemQueueDeep takes one message and puts one behind a hundred
// thousand others, as each acknowledgement of a slow receiver does.
func BenchmarkMemQueueDeep(b *testing.B) {
	var total atomic.Int64
	w := memQueue{total: &total}
	m := &message{Message: mqtt.Message{Topic: "t", Payload: make([]byte, 64)}}
	for range 100_000 {
		w.push(delivery{msg: m})
	}
	for b.Loop() {
		w.push(w.pop())
	}
}

// TestSlowReaderQoS1: what waits in memory for clients that do not read has a
// bound, each client its share of it; beyond it messages are dropped and
// counted, the newest first, and what is kept comes once they read.
func TestSlowReaderQoS1(t *testing.T) {
	const bound, size, sent, window = 4 << 20, 4000, 1500, 10
	for _, clients := range []int{1, 6} {
		t.Run(strconv.Itoa(clients), func(t *testing.T) {
			s := newServer(t, func(o *Options) { o.MaxVolatile, o.MaxInflight = bound, window })
			var slow []*wire
			for i := range clients {
				slow = append(slow, s.wire("slow"+strconv.Itoa(i)))
				slow[i].subscribe("t", 1)
			}
			pub := s.wire("pub")
			before := heapBytes()
			for i := range sent {
				payload := bytes.Repeat([]byte("x"), size)
				copy(payload, strconv.Itoa(i)+" ")
				if code := pub.publish("t", payload, false); code.Failed() {
					t.Fatalf("message %d was refused: %v", i, code)
				}
			}
			most := min(clients*bound/4, bound)
			if have := s.b.volatile.Load(); have > int64(most) || have < int64(most-clients*(size+memQueueCost)) {
				t.Errorf("%d bytes wait in memory; the bound is %d", have, most)
			}
			if grown := heapBytes() - before; grown > bound+(16<<20) {
				t.Errorf("the heap grew by %d bytes", grown)
			}
			waiting := int(s.b.volatile.Load()) / (size + memQueueCost)
			if n, want := s.b.Stats().PublishesDropped, uint64(clients*(sent-window)-waiting); n != want {
				t.Errorf("%d messages are counted as dropped, %d are not there", n, want)
			}
			// The first window is on the wire, then comes what waited.
			for i := range window + waiting/clients {
				p := slow[0].want(mqtt.PUBLISH).(*mqtt.Publish)
				if n, _, _ := bytes.Cut(p.Payload, []byte(" ")); string(n) != strconv.Itoa(i) {
					t.Fatalf("message %s came instead of %d", n, i)
				}
				slow[0].send(&mqtt.Puback{ID: p.ID})
			}
			for _, w := range slow {
				w.Close()
			}
			eventually(t, "nothing waits for those who left", func() bool { return s.b.volatile.Load() == 0 })
		})
	}
}
