package sparkplug

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// DataType is the type of a metric's value, by the specification's numbers
// (6.4.16).
type DataType uint32

const (
	Int32    DataType = 3
	Int64    DataType = 4
	UInt64   DataType = 8
	Double   DataType = 10
	Boolean  DataType = 11
	String   DataType = 12
	DateTime DataType = 13
	Text     DataType = 14
)

// Payload is the body of every message but STATE.
type Payload struct {
	Timestamp uint64 // ms since 1970
	Metrics   []Metric
	Seq       uint64
	HasSeq    bool // NDEATH and commands have none
}

// Metric is one value. Births carry name and alias, data the alias alone.
type Metric struct {
	Name       string
	Alias      uint64
	HasAlias   bool
	Timestamp  uint64
	Type       DataType
	Historical bool
	Value      any // bool, float64, string, int64, uint64; nil: null
	Properties []Property
}

// Property is one entry of a metric's property set.
type Property struct {
	Key   string
	Type  DataType // Int32 or String
	Value any      // int32 or string
}

// Field numbers of org.eclipse.tahu.protobuf.Payload (sparkplug_b.proto).
const (
	fieldTimestamp = 1
	fieldMetrics   = 2
	fieldSeq       = 3

	metricName       = 1
	metricAlias      = 2
	metricTimestamp  = 3
	metricType       = 4
	metricHistorical = 5
	metricNull       = 7
	metricProperties = 9
	metricInt        = 10
	metricLong       = 11
	metricFloat      = 12
	metricDouble     = 13
	metricBoolean    = 14
	metricString     = 15

	setKeys   = 1
	setValues = 2

	propertyType   = 1
	propertyInt    = 3
	propertyString = 8
)

// Append appends the payload in wire form.
func (p Payload) Append(b []byte) []byte {
	b = appendUint(b, fieldTimestamp, p.Timestamp)
	var body []byte
	for i := range p.Metrics {
		body = p.Metrics[i].append(body[:0])
		b = protowire.AppendTag(b, fieldMetrics, protowire.BytesType)
		b = protowire.AppendBytes(b, body)
	}
	if p.HasSeq {
		b = appendUint(b, fieldSeq, p.Seq)
	}
	return b
}

func (m *Metric) append(b []byte) []byte {
	if m.Name != "" {
		b = appendString(b, metricName, m.Name)
	}
	if m.HasAlias {
		b = appendUint(b, metricAlias, m.Alias)
	}
	b = appendUint(b, metricTimestamp, m.Timestamp)
	b = appendUint(b, metricType, uint64(m.Type))
	if m.Historical {
		b = appendUint(b, metricHistorical, 1)
	}
	if len(m.Properties) > 0 {
		b = protowire.AppendTag(b, metricProperties, protowire.BytesType)
		b = protowire.AppendBytes(b, appendProperties(nil, m.Properties))
	}
	switch v := m.Value.(type) {
	case bool:
		b = appendUint(b, metricBoolean, protowire.EncodeBool(v))
	case float64:
		b = protowire.AppendTag(b, metricDouble, protowire.Fixed64Type)
		b = protowire.AppendFixed64(b, math.Float64bits(v))
	case string:
		b = appendString(b, metricString, v)
	case uint64:
		b = appendUint(b, metricLong, v)
	case int64:
		b = appendUint(b, metricLong, uint64(v)) // two's complement, as the specification has it
	default:
		b = appendUint(b, metricNull, 1)
	}
	return b
}

func appendProperties(b []byte, all []Property) []byte {
	for _, p := range all {
		b = appendString(b, setKeys, p.Key)
	}
	for _, p := range all {
		v := appendUint(nil, propertyType, uint64(p.Type))
		switch x := p.Value.(type) {
		case int32:
			v = appendUint(v, propertyInt, uint64(uint32(x)))
		case string:
			v = appendString(v, propertyString, x)
		}
		b = protowire.AppendTag(b, setValues, protowire.BytesType)
		b = protowire.AppendBytes(b, v)
	}
	return b
}

func appendUint(b []byte, field protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), v)
}

func appendString(b []byte, field protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), s)
}
