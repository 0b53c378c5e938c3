package sensors

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// through sends values, one each ten seconds, through a chain and writes down
// what comes out: numbers, "-" for a held one, "!" for a bad one, "?" after an
// uncertain one.
func through(t *testing.T, specs []FilterSpec, values ...float64) string {
	t.Helper()
	c, err := newChain(specs)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for i, v := range values {
		r := Reading{Value: v, At: t0.Add(time.Duration(i) * 10 * time.Second)}
		pass := c.apply(&r)
		switch {
		case !pass:
			out = append(out, "-")
		case r.Quality == Bad:
			out = append(out, "!")
		case r.Quality == Uncertain:
			out = append(out, formatNumber(r.Value, 4)+"?")
		default:
			out = append(out, formatNumber(r.Value, 4))
		}
	}
	return strings.Join(out, " ")
}

func TestFilters(t *testing.T) {
	list := func(v ...any) []any { return v }
	for _, tc := range []struct {
		name   string
		specs  []FilterSpec
		values []float64
		want   string
	}{
		{"offset", []FilterSpec{{"offset", -0.4}}, []float64{21, 0}, "20.6 -0.4"},
		{"scale", []FilterSpec{{"scale", 2}}, []float64{21, -1}, "42 -2"},
		{"in order", []FilterSpec{{"offset", 1}, {"scale", 10}}, []float64{1}, "20"},
		{"linear by slope", []FilterSpec{{"linear", map[string]any{"slope": 2, "intercept": 1}}}, []float64{3}, "7"},
		{"linear by points", []FilterSpec{{"linear", list(list(0, 0), list(10, 20), list(20, 30))}}, []float64{-1, 5, 15, 30}, "-2 10 25 40"},
		{"polynomial", []FilterSpec{{"polynomial", list(1, 0, 2)}}, []float64{3}, "19"},
		{"median", []FilterSpec{{"median", 3}}, []float64{1, 100, 2, 3}, "1 50.5 2 3"},
		{"mean", []FilterSpec{{"mean", 2}}, []float64{1, 3, 5}, "1 2 4"},
		{"min", []FilterSpec{{"min", 2}}, []float64{3, 1, 5, 6}, "3 1 1 5"},
		{"max", []FilterSpec{{"max", 2}}, []float64{3, 1, 0}, "3 3 1"},
		{"quantile", []FilterSpec{{"quantile", list(5, 0.75)}}, []float64{1, 2, 3, 4, 5}, "1 1.75 2.5 3.25 4"},
		{"exponential", []FilterSpec{{"exponential", 0.5}}, []float64{10, 20, 20}, "10 15 17.5"},
		{"clamp", []FilterSpec{{"clamp", list(0, 100)}}, []float64{-5, 50, 101}, "0 50 100"},
		{"round", []FilterSpec{{"round", 1}}, []float64{21.449, 21.45}, "21.4 21.5"},
		{"delta", []FilterSpec{{"delta", 0.1}}, []float64{20, 20.05, 20.1, 20.05, 20}, "20 - 20.1 - 20"},
		{"throttle", []FilterSpec{{"throttle", "30s"}}, []float64{1, 2, 3, 4, 5}, "1 - - 4 -"},
		{"delta and heartbeat", []FilterSpec{{"delta", 1.0}, {"heartbeat", "30s"}}, []float64{20, 20, 20.2, 20.3, 20.3, 25}, "20 - - 20.3 - 25"},
		{"range", []FilterSpec{{"range", list(-40, 85)}}, []float64{20, 120, 21}, "20 ! 21"},
		{"drop", []FilterSpec{{"drop", list(85, -127)}}, []float64{20, 85, -127, 21}, "20 ! ! 21"},
		{"drop one", []FilterSpec{{"drop", 65535}}, []float64{65535, 1}, "! 1"},
		{"a bad value does not enter the window", []FilterSpec{{"drop", 85}, {"median", 3}}, []float64{20, 85, 22}, "20 ! 21"},
		{"rate: one outlier", []FilterSpec{{"rate", map[string]any{"max": 6, "per": "1m"}}}, []float64{20, 80, 20.5, 21}, "20 ! 20.5 21"},
		{"rate: a true jump", []FilterSpec{{"rate", 0.1}}, []float64{20, 40, 40.2, 40.4, 40.5}, "20 ! ! 40.4? 40.5"},
		{"rate: erratic values are never taken", []FilterSpec{{"rate", 0.1}}, []float64{20, 40, 90, 40, 90, 20}, "20 ! ! ! ! 20"},
		{"delta passes the change to bad and back", []FilterSpec{{"drop", 85}, {"delta", 1}}, []float64{20, 85, 85, 20}, "20 ! - 20"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := through(t, tc.specs, tc.values...); got != tc.want {
				t.Errorf("%v gives %q, want %q", tc.values, got, tc.want)
			}
		})
	}
}

func TestFilterMistakes(t *testing.T) {
	for _, tc := range []struct {
		spec FilterSpec
		want string
	}{
		{FilterSpec{"mediann", 5}, `did you mean "median"?`},
		{FilterSpec{"median", "five"}, "how many values"},
		{FilterSpec{"median", 0}, "how many values"},
		{FilterSpec{"clamp", []any{5, 1}}, "[lowest, highest]"},
		{FilterSpec{"heartbeat", "soon"}, "duration"},
		{FilterSpec{"heartbeat", "-5s"}, "duration"},
		{FilterSpec{"linear", []any{[]any{1, 2}}}, "two points"},
		{FilterSpec{"linear", []any{[]any{1, 2}, []any{1, 3}}}, "two points at 1"},
		{FilterSpec{"linear", map[string]any{"slop": 2}}, `unknown key "slop"`},
		{FilterSpec{"exponential", 2}, "weight"},
		{FilterSpec{"rate", -1}, "largest change"},
	} {
		_, err := newChain([]FilterSpec{tc.spec})
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v: %v, want %q in it", tc.spec, err, tc.want)
		}
	}
}

func TestImpossibleValuesAreBad(t *testing.T) {
	for _, tc := range []struct {
		quantity string
		value    float64
		bad      bool
	}{{"temperature", -300, true}, {"temperature", 85, false}, {"humidity", 100.5, true}, {"humidity", math.NaN(), true}, {"made_up", -1e9, false}} {
		r := Of(tc.quantity, tc.value)
		checkPossible(&r, QuantityOf(tc.quantity))
		if (r.Quality == Bad) != tc.bad {
			t.Errorf("%s %v is %v", tc.quantity, tc.value, r.Quality)
		}
	}
}

func TestPayload(t *testing.T) {
	r := Reading{Quantity: "temperature", Unit: "°C", Value: 21.4, At: t0, Seq: 123}
	for _, tc := range []struct {
		r    Reading
		f    Format
		want string
	}{
		{r, FormatPlain, "21.4"},
		{Reading{Value: 21.456}, FormatPlain, "21.46"},
		{Reading{Value: -0.001}, FormatPlain, "0"},
		{Reading{Value: 1000}, FormatPlain, "1000"},
		{r, FormatJSON, `{"value":21.4,"unit":"°C","time":"2026-01-02T03:04:05.000Z","quality":"good","sequence":123}`},
		{Reading{Value: 85, At: t0, Seq: 1, Quality: Bad, Reason: "known bad value 85", Source: TimeUnknown}, FormatJSON,
			`{"value":null,"time":"2026-01-02T03:04:05.000Z","time_source":"unsynchronised","quality":"bad","reason":"known bad value 85","sequence":1}`},
		{Reading{Value: 85, Quality: Bad}, FormatPlain, "<nothing>"},
	} {
		b, ok := payload(tc.r, tc.f, 2)
		got := string(b)
		if !ok {
			got = "<nothing>"
		}
		if got != tc.want {
			t.Errorf("payload is %s\nwant       %s", got, tc.want)
		}
	}
}

// The dew point and its kin against published tables (Sonntag 1990; WMO No. 8).
func TestDerivedQuantities(t *testing.T) {
	near := func(name string, got, want, tolerance float64) {
		t.Helper()
		if math.Abs(got-want) > tolerance {
			t.Errorf("%s is %.3f, want %.3f", name, got, want)
		}
	}
	dew, _ := DewPoint(25, 60)
	near("dew point at 25 °C, 60 %", dew, 16.7, 0.05)
	dew, _ = DewPoint(20, 100)
	near("dew point at 100 %", dew, 20, 1e-9)
	frost, _ := FrostPoint(-10, 100)
	near("frost point over water at -10 °C", frost, -8.9, 0.1)
	near("absolute humidity at 25 °C, 60 %", AbsoluteHumidity(25, 60), 13.8, 0.05)
	near("deficit at 25 °C, 60 %", VapourPressureDeficit(25, 60), 1.267, 0.005)
	near("sea level", SeaLevelPressure(954.6, 11.75, 500), 1013.25, 0.1)
	near("altitude", Altitude(954.6, 1013.25), 500, 1)
	if _, err := DewPoint(20, 0); err == nil {
		t.Error("there is no dew point at 0 %")
	}
}

func TestFormulas(t *testing.T) {
	have := []string{"temperature", "humidity"}
	ds, err := newDerivations([]DeriveSpec{
		{Quantity: "fahrenheit", Unit: "°F", Formula: "temperature * 9 / 5 + 32"},
		{Quantity: "feels", Formula: "temperature > limit ? fahrenheit : sqrt(humidity)", Options: map[string]any{"limit": 25}},
		{Quantity: "dew_point"},
	}, have)
	if err != nil {
		t.Fatal(err)
	}
	v, err := ds[0].f(map[string]float64{"temperature": 100})
	if err != nil || v != 212 {
		t.Errorf("100 °C are %v °F, %v", v, err)
	}
	if v, err = ds[1].f(map[string]float64{"temperature": 20, "fahrenheit": 68, "humidity": 49}); err != nil || v != 7 {
		t.Errorf("feels like %v, %v", v, err)
	}
	if got := fmt.Sprint(ds[1].need, ds[2].need); got != "[temperature humidity fahrenheit] [temperature humidity]" {
		t.Errorf("they need %s", got)
	}
	for formula, want := range map[string]string{"temprature + 1": "temprature", "1 + 1": "uses none of", "temperature +": "", "humidity / 0 * 0": ""} {
		ds, err := newDerivations([]DeriveSpec{{Quantity: "x", Formula: formula}}, have)
		if err == nil {
			_, err = ds[0].f(map[string]float64{"temperature": 1, "humidity": 1})
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error with %q", formula, err, want)
		}
	}
}

func TestAddresses(t *testing.T) {
	for text, want := range map[string]uint64{"28-000005e2fdc3": 0x00_000005e2fdc3_28, "": 0} {
		a, err := parseROM(text)
		if err != nil || uint64(a)&0x00ffffffffffffff != want {
			t.Errorf("%q is %#x, %v", text, uint64(a), err)
		}
		if text != "" && FormatROM(a) != text {
			t.Errorf("%q comes back as %q", text, FormatROM(a))
		}
	}
	for _, bad := range []string{"28-xyz", "nonsense", "28-0000000000000001"} {
		if _, err := parseROM(bad); err == nil {
			t.Errorf("%q passes for a 1-wire address", bad)
		}
	}
	for in, want := range map[string]string{"1": "i2c-1", "I2C1": "i2c-1", "/dev/i2c-1": "i2c-1", "i2c-1": "i2c-1", "/dev/spidev0.1": "spi0.1", "/dev/ttyAMA0": "ttyAMA0", "SPI0.0": "spi0.0"} {
		if got := BusName(in); got != want {
			t.Errorf("BusName(%q) = %q", in, got)
		}
	}
}
