package sparkplug

import (
	"bytes"
	"encoding/hex"
	"testing"
)

func TestPayloadIsTheSchemas(t *testing.T) {
	p := Payload{Timestamp: 1700000000123, Seq: 7, HasSeq: true, Metrics: []Metric{
		{Name: "temperature", Alias: 12, HasAlias: true, Timestamp: 1700000000001, Type: Double, Value: -21.5,
			Properties: []Property{{keyQuality, Int32, int32(qualityStale)}, {keyUnit, String, "°C"}}},
		{Alias: 300, HasAlias: true, Timestamp: 5, Type: Boolean, Value: false, Historical: true},
		{Name: "bdSeq", Timestamp: 6, Type: Int64, Value: int64(-2)},
		{Name: "gone", Timestamp: 6, Type: Double},
		{Name: "text", Timestamp: 6, Type: String, Value: "ä"},
	}}
	s := see(t, p.Append(nil))
	if s.timestamp != 1700000000123 || s.seq != 7 || len(s.metrics) != 5 {
		t.Fatalf("read as %+v", s)
	}
	m := s.metrics[0]
	if m.name != "temperature" || m.alias != 12 || m.datatype != 10 || m.field != "double_value" || m.value != -21.5 ||
		m.properties[keyQuality] != uint32(500) || m.properties[keyUnit] != "°C" || m.historical || m.null {
		t.Errorf("read as %+v", m)
	}
	if m = s.metrics[1]; m.alias != 300 || m.field != "boolean_value" || m.value != false || !m.historical {
		t.Errorf("read as %+v", m)
	}
	if m = s.metrics[2]; m.field != "long_value" || int64(m.value.(uint64)) != -2 {
		t.Errorf("read as %+v", m)
	}
	if m = s.metrics[3]; !m.null || m.value != nil {
		t.Errorf("read as %+v", m)
	}
	if m = s.metrics[4]; m.field != "string_value" || m.value != "ä" {
		t.Errorf("read as %+v", m)
	}
}

// An NCMD as Eclipse Tahu's JavaScript library (sparkplug-payload 1.0.3) encodes it: the rebirth a host asks for.
const tahuRebirth = "08fbd095ffbc3112210a144e6f646520436f6e74726f6c2f5265626972746818fbd095ffbc31200b7001"

func TestDecodesWhatHostsSend(t *testing.T) {
	b, err := hex.DecodeString(tahuRebirth)
	if err != nil {
		t.Fatal(err)
	}
	p, err := decode(b)
	if err != nil || len(p.Metrics) != 1 || p.Metrics[0].Name != nameRebirth || p.Metrics[0].Value != true || p.Timestamp != 1700000000123 {
		t.Errorf("read as %+v, %v", p, err)
	}
}

// Whatever is published on a command topic is understood or refused; what is
// understood is encoded as it was meant.
func FuzzDecode(f *testing.F) {
	b, _ := hex.DecodeString(tahuRebirth)
	f.Add(b)
	f.Add(Payload{Timestamp: 1, Metrics: []Metric{{Alias: 3, HasAlias: true, Type: Boolean, Value: true}}}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := decode(b)
		if err != nil {
			return
		}
		q, err := decode(p.Append(nil))
		if err != nil || len(q.Metrics) != len(p.Metrics) || q.Timestamp != p.Timestamp {
			t.Fatalf("%+v came back as %+v, %v", p, q, err)
		}
		if again := q.Append(nil); !bytes.Equal(again, mustDecode(t, again).Append(nil)) {
			t.Fatalf("%x is not stable", again)
		}
	})
}

func mustDecode(t *testing.T, b []byte) Payload {
	p, err := decode(b)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
