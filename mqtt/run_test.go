package mqtt

import (
	"bytes"
	"testing"
)

// TestPublishRun puts packets that belong to a run before one that does not.
func TestPublishRun(t *testing.T) {
	const topic = "room1/temperature"
	properties := &Properties{User: []UserProperty{{"a", "b"}}}
	for _, v := range []Version{V31, V311, V5} {
		packet := func(p Publish) []byte {
			if p.Topic == "" {
				p.Topic = topic
			}
			return p.Append(nil, v)
		}
		plain := [][]byte{packet(Publish{}), packet(Publish{Payload: []byte("21.5")}), packet(Publish{Payload: make([]byte, 200)}), packet(Publish{Payload: make([]byte, 300)})}
		want := Run{Packets: len(plain), Payload: 504, Largest: len(plain[3])}
		for _, p := range plain {
			want.Bytes += len(p)
		}
		long := packet(Publish{Payload: make([]byte, 106-len(topic))})
		long = append([]byte{long[0], long[1] | 0x80, 0}, long[2:]...) // its length is not in the shortest form
		ends := map[string][]byte{
			"nothing":           {},
			"half a head":       {0x30},
			"half a length":     {0x30, 0xff},
			"bad length":        {0x30, 0xff, 0xff, 0xff, 0xff, 0xff},
			"half a packet":     packet(Publish{Payload: []byte("21.5")})[:20],
			"QoS 1":             packet(Publish{QoS: 1, ID: 7}),
			"QoS 3":             {0x36, 2, 0, 0},
			"RETAIN":            packet(Publish{Retain: true}),
			"DUP":               packet(Publish{Dup: true}),
			"shorter topic":     packet(Publish{Topic: topic[:len(topic)-1], Payload: []byte("x")}),
			"longer topic":      packet(Publish{Topic: topic + "x"}),
			"other topic":       packet(Publish{Topic: "room2/temperature"}),
			"large payload":     packet(Publish{Payload: make([]byte, 301)}),
			"no room for topic": {0x30, 3, 0, byte(len(topic)), 'r'},
			"empty body":        {0x30, 0},
			"another type":      {0xc0, 0},
			"long length":       long,
		}
		if v == V5 {
			ends["property"] = packet(Publish{Properties: properties})
		}
		for name, end := range ends {
			b := append(bytes.Join(plain, nil), end...)
			if got := PublishRun(v, b, topic, 300); got != want {
				t.Errorf("%s, %s: %+v, want %+v", v, name, got, want)
			}
		}
		// What a run is made of is what the decoder and the encoder make of it.
		for b := bytes.Join(plain, nil); len(b) > 0; {
			n, err := Split(b, 0)
			if err != nil {
				t.Fatal(err)
			}
			var p Publish
			if err := p.Decode(v, b[:n]); err != nil {
				t.Fatal(err)
			}
			f := NewFrame(&Message{Topic: p.Topic, Payload: p.Payload}, v)
			if out := f.Append(nil, Header{}); !bytes.Equal(out, b[:n]) {
				t.Errorf("%s: forwarded as % x, came as % x", v, out, b[:n])
			}
			b = b[n:]
		}
	}
}

func BenchmarkPublishRun(b *testing.B) {
	p := (&Publish{Topic: "bench/fan-in/1", Payload: make([]byte, 64)}).Append(nil, V311)
	run := bytes.Repeat(p, 780)
	b.SetBytes(int64(len(run)))
	for b.Loop() {
		if r := PublishRun(V311, run, "bench/fan-in/1", 4096); r.Packets != 780 {
			b.Fatal(r)
		}
	}
}
