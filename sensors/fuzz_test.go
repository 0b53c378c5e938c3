package sensors

import (
	"testing"
)

// Whatever is published on a command topic: an answer or an error, never a
// panic, and no endless time.
func FuzzParseCommand(f *testing.F) {
	for _, s := range []string{"on", "OFF", "toggle", "on 5s", `{"state":"on","for":"5s"}`, "{", "on -1s", "", " ", "\x00"} {
		f.Add([]byte(s))
	}
	o := &outputLine{cfg: LineConfig{On: "on", Off: "off"}}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := o.parseCommand(b)
		if err == nil && c.dur < 0 {
			t.Fatalf("%q: %v", b, c.dur)
		}
	})
}

// A damaged store: a block is read or left out.
func FuzzDecodeBlock(f *testing.F) {
	l := level{max: 10}
	for i := range 5 {
		l.push(point{at: int64(i), value: float64(i), seq: uint64(i), n: 1})
	}
	f.Add(l.encode("°C", 0, 5))
	f.Add([]byte{1, 255})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, _, points, ok := decodeBlock(b); ok && len(points) > blockPoints {
			t.Fatalf("%d points", len(points))
		}
	})
}

// What comes on a serial line, cut and damaged as it may be.
func FuzzSerialFrames(f *testing.F) {
	f.Add([]byte{0x42, 0x4D, 0, 28}, []byte{0xFF, 0x86})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		for _, match := range []func([]byte) int{matchPMS, matchMHZ} {
			for in := append(append([]byte(nil), a...), b...); len(in) > 0; {
				n := match(in)
				if n == 0 {
					break
				}
				if n > len(in) {
					t.Fatalf("a frame of %d bytes in %d", n, len(in))
				}
				in = in[max(n, 1):]
			}
		}
	})
}

// What anyone may ask of the history.
func FuzzHistoryRequest(f *testing.F) {
	f.Add([]byte(`{"sensor":"room","quantity":"temperature","after_sequence":1,"reply":"x"}`))
	f.Add([]byte(`{"sensor":"room","quantity":"temperature","from":"2026-01-02T03:04:05Z","reply":"x","limit":-1}`))
	r, err := NewRing(RingOptions{})
	if err != nil {
		f.Fatal(err)
	}
	fill(r, 1, 100)
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &Scheduler{o: Options{History: r, MaxPending: 4096}, out: newPublisher(nil, nil, nil, 4096)}
		_ = s.ask(Incoming{Payload: b})
		if n, _ := s.out.stats(); n > 101 {
			t.Fatalf("%d answers of 100 readings", n)
		}
	})
}
