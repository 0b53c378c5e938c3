package mqtt

import (
	"bytes"
	"reflect"
	"testing"
)

// TestDecodeHead decodes a PUBLISH of every version and QoS from each of its
// beginnings, and wants the same as from the whole once the payload is reached.
func TestDecodeHead(t *testing.T) {
	payload := bytes.Repeat([]byte("payload "), 40)
	for _, v := range []Version{V31, V311, V5} {
		for qos := range QoS(3) {
			in := Publish{QoS: qos, Topic: "a/topic", Payload: payload}
			if qos > 0 {
				in.ID = 77
			}
			if v == V5 {
				in.Properties = &Properties{ContentType: "text/plain", User: []UserProperty{{Name: "k", Value: "v"}}}
			}
			whole := in.Append(nil, v)
			head := len(whole) - len(payload)
			var want Publish
			if err := want.Decode(v, whole); err != nil {
				t.Fatal(err)
			}
			for end := 0; end <= len(whole); end++ {
				var p Publish
				n, err := p.DecodeHead(v, whole[:end])
				switch {
				case err != nil:
					t.Fatalf("version %d, QoS %d, %d of %d bytes: %v", v, qos, end, len(whole), err)
				case end < head && n != 0, end >= head && n != head:
					t.Fatalf("version %d, QoS %d, %d bytes: the payload begins at %d, not %d", v, qos, end, head, n)
				case n == 0:
					continue
				}
				if p.Later != len(whole)-end || !bytes.Equal(p.Payload, whole[head:end]) {
					t.Fatalf("version %d, QoS %d, %d bytes: %d of payload, %d later", v, qos, end, len(p.Payload), p.Later)
				}
				p.Later, p.Payload, p.spare, want.spare = 0, want.Payload, nil, nil
				if !reflect.DeepEqual(p, want) {
					t.Fatalf("%+v\n%+v", p, want)
				}
			}
		}
	}
	var p Publish
	if _, err := p.DecodeHead(V5, []byte{0x32, 5, 0, 9, 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 0, 1, 0}); err == nil {
		t.Error("a head longer than its packet was taken")
	}
}

// TestFrameLater encodes a PUBLISH whose payload is written behind it.
func TestFrameLater(t *testing.T) {
	payload := []byte("somewhere else")
	for _, v := range []Version{V311, V5} {
		m := Message{Topic: "t", Payload: payload, QoS: 1}
		h := Header{QoS: 1, PacketID: 9}
		want := NewFrame(&m, v).Append(nil, h)
		m.Payload, m.Later = nil, len(payload)
		f := NewFrame(&m, v)
		if got := append(f.Append(nil, h), payload...); !bytes.Equal(got, want) || f.Size(h) != len(want) {
			t.Errorf("%x, size %d, want %x", got, f.Size(h), want)
		}
	}
}
