package sparkplug

import (
	"errors"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

var errPayload = errors.New("not a Sparkplug payload")

// mostMetrics bounds what one command may carry.
const mostMetrics = 1000

// decode reads a command: timestamps, sequence, and of each metric the name or
// alias and a scalar value. What it does not know is passed over, as protobuf
// asks for.
func decode(b []byte) (Payload, error) {
	var p Payload
	err := fields(b, func(f protowire.Number, v uint64, data []byte) error {
		switch f {
		case fieldTimestamp:
			p.Timestamp = v
		case fieldSeq:
			p.Seq, p.HasSeq = v, true
		case fieldMetrics:
			if len(p.Metrics) == mostMetrics {
				return errPayload
			}
			m, err := decodeMetric(data)
			if err != nil {
				return err
			}
			p.Metrics = append(p.Metrics, m)
		}
		return nil
	})
	return p, err
}

func decodeMetric(b []byte) (Metric, error) {
	var m Metric
	null := false
	err := fields(b, func(f protowire.Number, v uint64, data []byte) error {
		switch f {
		case metricName:
			m.Name = string(data)
		case metricAlias:
			m.Alias, m.HasAlias = v, true
		case metricTimestamp:
			m.Timestamp = v
		case metricType:
			m.Type = DataType(v)
		case metricHistorical:
			m.Historical = v != 0
		case metricNull:
			null = v != 0
		case metricInt, metricLong:
			m.Value = int64(v)
		case metricFloat:
			m.Value = float64(math.Float32frombits(uint32(v)))
		case metricDouble:
			m.Value = math.Float64frombits(v)
		case metricBoolean:
			m.Value = v != 0
		case metricString:
			m.Value = string(data)
		}
		return nil
	})
	if null {
		m.Value = nil
	}
	return m, err
}

// fields walks one message: numbers as v, texts and messages as data.
func fields(b []byte, yield func(f protowire.Number, v uint64, data []byte) error) error {
	for len(b) > 0 {
		f, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errPayload
		}
		b = b[n:]
		var v uint64
		var data []byte
		switch kind {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		case protowire.Fixed64Type:
			v, n = protowire.ConsumeFixed64(b)
		case protowire.Fixed32Type:
			var w uint32
			w, n = protowire.ConsumeFixed32(b)
			v = uint64(w)
		case protowire.BytesType:
			data, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(f, kind, b)
		}
		if n < 0 {
			return errPayload
		}
		b = b[n:]
		if err := yield(f, v, data); err != nil {
			return err
		}
	}
	return nil
}
