package sensors

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"
)

// Number is the value as it is published in plain form.
func (r Reading) Number() string { return formatNumber(r.Value, QuantityOf(r.Quantity).Digits) }

// jsonReading is the JSON payload of a reading. A value that is not usable is
// null with a reason, never a stale number.
type jsonReading struct {
	Value    any    `json:"value"`
	Unit     string `json:"unit,omitempty"`
	Time     string `json:"time"`
	Clock    string `json:"time_source,omitempty"` // only where it is not synchronised
	Quality  string `json:"quality"`
	Reason   string `json:"reason,omitempty"`
	Sequence uint64 `json:"sequence"`
	History  bool   `json:"history,omitempty"`
	Of       uint32 `json:"of,omitempty"` // a mean of so many readings
	Low      any    `json:"min,omitempty"`
	High     any    `json:"max,omitempty"`
}

// payload is the bytes for r, and whether there is anything to publish: a bad
// value has no plain form.
func payload(r Reading, f Format, digits int) ([]byte, bool) {
	if f != FormatJSON {
		if r.Quality == Bad {
			return nil, false
		}
		return []byte(formatNumber(r.Value, digits)), true
	}
	j := jsonReading{Unit: r.Unit, Time: formatTime(r.At), Quality: r.Quality.String(),
		Reason: r.Reason, Sequence: r.Seq, History: r.History}
	if r.Quality != Bad {
		j.Value = json.Number(formatNumber(r.Value, digits))
	}
	if r.Of > 0 {
		j.Of, j.Low, j.High = r.Of, json.Number(formatNumber(r.Low, digits)), json.Number(formatNumber(r.High, digits))
	}
	if r.Source != TimeSynchronised {
		j.Clock = r.Source.String()
	}
	b, err := json.Marshal(j)
	return b, err == nil
}

// formatNumber writes v with at most digits decimals and no trailing zeros:
// 21.40 is "21.4". Minus zero is zero.
func formatNumber(v float64, digits int) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "0"
	}
	s := strconv.FormatFloat(v, 'f', max(digits, 0), 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	if s == "-0" {
		s = "0"
	}
	return s
}

func formatTime(t time.Time) string {
	return t.UTC().Format("2006-01-02T15:04:05.000Z07:00")
}

// expandTopic fills {quantity}, {name} and {gateway} in.
func expandTopic(tmpl, gateway, name, quantity string) string {
	return strings.NewReplacer("{quantity}", quantity, "{name}", name, "{gateway}", gateway).Replace(tmpl)
}
