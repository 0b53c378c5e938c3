package mqtt

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func headers() []Header {
	return []Header{
		{},
		{Retain: true},
		{QoS: 1, PacketID: 7, Dup: true},
		{QoS: 2, PacketID: 65535, HasExpiry: true, Expiry: 9},
		{HasExpiry: true},
		{TopicAlias: 3},
		{TopicAlias: 3, OmitTopic: true, QoS: 1, PacketID: 1},
		{SubscriptionIDs: []uint32{1, 127, 128, 16384, 268435455}},
	}
}

// TestFrame compares a frame with the packet it stands for.
func TestFrame(t *testing.T) {
	user := &PublishProperties{ContentType: "text/plain", PayloadFormat: 1, ResponseTopic: "r", Correlation: []byte{}, User: []UserProperty{{"a", "b"}, {"a", "c"}}}
	for _, size := range []int{0, 4, 118, 119, 127, 128, 16375, 20000} {
		for _, props := range []*PublishProperties{nil, user} {
			m := &Message{Topic: "room1/temperature", Payload: bytes.Repeat([]byte{'x'}, size), Properties: props}
			for _, v := range []Version{V31, V311, V5} {
				f := NewFrame(m, v)
				for _, h := range headers() {
					p := Publish{Topic: m.Topic, Payload: m.Payload, Dup: h.Dup, QoS: h.QoS, Retain: h.Retain, ID: h.PacketID}
					want := p
					if v == V5 {
						if h.OmitTopic {
							want.Topic = ""
						}
						want.Properties = props.Full()
						if want.Properties == nil {
							want.Properties = new(Properties)
						}
						want.Properties.TopicAlias = h.TopicAlias
						want.Properties.SubscriptionIDs = h.SubscriptionIDs
						want.Properties.MessageExpiry = h.Expiry
						if h.HasExpiry {
							want.Properties.Present |= PropertiesOf(PropMessageExpiry)
						}
					}
					name := fmt.Sprintf("%s %d bytes %+v", v, size, h)
					wire := f.Append([]byte("before"), h)[len("before"):]
					if f.Size(h) != len(wire) {
						t.Errorf("%s: Size %d, length %d", name, f.Size(h), len(wire))
					}
					if joined := bytes.Join(f.Buffers([]byte("scratch"), h), nil); !bytes.Equal(joined, wire) {
						t.Errorf("%s: Buffers differ from Append", name)
					}
					got, err := Decode(v, wire)
					if err != nil {
						t.Fatalf("%s: %v", name, err)
					}
					wantBack, err := Decode(v, want.Append(nil, v))
					if err != nil {
						t.Fatal(err)
					}
					if w, g := wantBack.Append(nil, v), got.Append(nil, v); !bytes.Equal(w, g) {
						t.Errorf("%s: packet % x, frame % x", name, w[:min(len(w), 80)], g[:min(len(g), 80)])
					}
				}
			}
		}
	}
}

// TestMessageIsACopy: nothing of a message changes with the read buffer.
func TestMessageIsACopy(t *testing.T) {
	p := Publish{Topic: "a/b", Payload: []byte("payload"), QoS: 1, ID: 1, Retain: true, Properties: &Properties{MessageExpiry: 5, TopicAlias: 2,
		ContentType: "text", ResponseTopic: "r", Correlation: []byte{1}, User: []UserProperty{{"k", "v"}}, Present: PropertiesOf(PropPayloadFormat)}}
	wire := p.Append(nil, V5)
	var q Publish
	if err := q.Decode(V5, wire); err != nil {
		t.Fatal(err)
	}
	m := q.NewMessage("")
	aliased := q.NewMessage("from/alias")
	clear(wire)
	want := &Message{Topic: "a/b", Payload: []byte("payload"), QoS: 1, Retain: true, Properties: &PublishProperties{
		Present:     PropertiesOf(PropPayloadFormat, PropContentType, PropResponseTopic, PropCorrelationData, PropUser),
		ContentType: "text", ResponseTopic: "r", Correlation: []byte{1}, User: []UserProperty{{"k", "v"}}}}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
	want.Topic = "from/alias"
	if diff := cmp.Diff(want, aliased); diff != "" {
		t.Errorf("message with a resolved alias (-want +got):\n%s", diff)
	}
	if m := (&Publish{Topic: "t"}).NewMessage("t"); m.Topic != "t" || len(m.Payload) != 0 || m.Properties != nil {
		t.Errorf("empty message is %+v", m)
	}
}

// TestAllocations keeps the allocation budget of the packet path.
func TestAllocations(t *testing.T) {
	wire := (&Publish{Topic: "room1/temperature", Payload: make([]byte, 64), QoS: 1, ID: 1}).Append(nil, V5)
	rich := (&Publish{Topic: "t", QoS: 1, ID: 1, Properties: &Properties{MessageExpiry: 1, ContentType: "x", User: []UserProperty{{"a", "b"}}, SubscriptionIDs: []uint32{1}}}).Append(nil, V5)
	puback := (&Puback{ID: 1, Code: QuotaExceeded, Properties: &Properties{ReasonString: "full"}}).Append(nil, V5)
	m := &Message{Topic: "room1/temperature", Payload: make([]byte, 64), Properties: &PublishProperties{ContentType: "x"}}
	frame := NewFrame(m, V5)
	buf := make([]byte, 0, 4096)
	var p Publish
	var a Puback
	var got Message
	packets := []Packet{&Puback{ID: 1}, &Publish{Topic: "t", Payload: wire}, &Suback{ID: 1, Codes: []ReasonCode{1}}, &Pingresp{},
		&Connack{Properties: &Properties{ReceiveMaximum: 1, ReasonString: "x"}}}
	for _, tc := range []struct {
		name string
		max  float64
		do   func()
	}{
		{"decode PUBLISH", 0, func() { _ = p.Decode(V5, wire) }},
		{"decode PUBLISH with properties", 0, func() { _ = p.Decode(V5, rich) }},
		{"decode PUBACK with properties", 0, func() { _ = a.Decode(V5, puback) }},
		{"split", 0, func() { _, _ = Split(wire, 0) }},
		{"append", 0, func() {
			for _, p := range packets {
				buf = p.Append(buf[:0], V5)
			}
		}},
		{"append frame", 0, func() {
			buf = frame.Append(buf[:0], Header{QoS: 1, PacketID: 1, TopicAlias: 1, HasExpiry: true, Expiry: 3})
		}},
		{"append ack", 0, func() { buf = AppendAck(buf[:0], V5, PUBREC, 1, QuotaExceeded) }},
		{"message of a plain publish", 1, func() { _ = p.Decode(V5, wire); got.SetPublish(&p, "") }},
	} {
		tc.do()
		if n := testing.AllocsPerRun(200, tc.do); n > tc.max {
			t.Errorf("%s: %v allocations, want at most %v", tc.name, n, tc.max)
		}
	}
}

func BenchmarkDecodePublish(b *testing.B) {
	wire := (&Publish{Topic: "room1/temperature", Payload: make([]byte, 64), QoS: 1, ID: 1}).Append(nil, V311)
	b.ReportAllocs()
	b.SetBytes(int64(len(wire)))
	var p Publish
	for b.Loop() {
		n, err := Split(wire, 0)
		if err != nil || p.Decode(V311, wire[:n]) != nil {
			b.Fatal("not decoded")
		}
	}
}

func BenchmarkDecodePublish5(b *testing.B) {
	wire := (&Publish{Topic: "room1/temperature", Payload: make([]byte, 64), Properties: &Properties{MessageExpiry: 60, ContentType: "text/plain"}}).Append(nil, V5)
	b.ReportAllocs()
	var p Publish
	for b.Loop() {
		if p.Decode(V5, wire) != nil {
			b.Fatal("not decoded")
		}
	}
}

func BenchmarkFrameAppend(b *testing.B) {
	for _, v := range []Version{V311, V5} {
		b.Run(v.String(), func(b *testing.B) {
			f := NewFrame(&Message{Topic: "room1/temperature", Payload: make([]byte, 64)}, v)
			buf := make([]byte, 0, 64<<10)
			b.ReportAllocs()
			for b.Loop() {
				if len(buf) > 60<<10 {
					buf = buf[:0]
				}
				buf = f.Append(buf, Header{QoS: 1, PacketID: 9})
			}
		})
	}
}

func BenchmarkNewMessage(b *testing.B) {
	p := Publish{Topic: "room1/temperature", Payload: make([]byte, 64)}
	b.ReportAllocs()
	for b.Loop() {
		_ = p.NewMessage("")
	}
}

func BenchmarkAckRoundTrip(b *testing.B) {
	buf := make([]byte, 0, 64)
	var p Puback
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendAck(buf[:0], V5, PUBACK, 9, Success)
		if p.Decode(V5, buf) != nil {
			b.Fatal("not decoded")
		}
	}
}
