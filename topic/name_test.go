package topic

import (
	"errors"
	"strings"
	"testing"
)

func TestValidName(t *testing.T) {
	for _, tc := range []struct {
		name string
		want error
	}{
		{"sport/tennis/player1", nil},
		{"/finance", nil}, // 4.7.1.1: a leading separator makes a level
		{"/", nil},        // 4.7.3: one separator alone is valid
		{"Accounts payable", nil},
		{"grüße/日本", nil},
		{"$SYS/broker/uptime", nil},
		{"", ErrEmpty},                                  // [MQTT-4.7.3-1]
		{"a\x00b", ErrNull},                             // [MQTT-4.7.3-2]
		{strings.Repeat("a", MaxBytes), nil},            // [MQTT-4.7.3-3]
		{strings.Repeat("a", MaxBytes+1), ErrTooLong},   //
		{"sport/+", ErrWildcard},                        // [MQTT-3.3.2-2]
		{"sport/#", ErrWildcard},                        //
		{"a+b", ErrWildcard},                            // [MQTT-4.7.1-1]
		{"a\xff", ErrUTF8},                              // [MQTT-1.5.4-1]
		{"a\xed\xa0\x80", ErrUTF8},                      // a surrogate
		{strings.Repeat("/", 200), nil},                 // 201 levels, as Mosquitto takes
		{strings.Repeat("/", 201), ErrLevels},           //
		{strings.Repeat("a/", 5000) + "+", ErrWildcard}, // the graver error is named
	} {
		if err := ValidName(tc.name); !errors.Is(err, tc.want) {
			t.Errorf("ValidName(%.40q) = %v, want %v", tc.name, err, tc.want)
		}
	}
}

func TestValidFilter(t *testing.T) {
	for _, tc := range []struct {
		filter string
		want   error
	}{
		{"#", nil},
		{"+", nil},
		{"sport/tennis/#", nil},
		{"+/tennis/#", nil},
		{"sport/+/player1", nil},
		{"+/+", nil},
		{"/+", nil},
		{"sport/tennis#", ErrHash},             // [MQTT-4.7.1-1]
		{"sport/tennis/#/ranking", ErrHash},    // [MQTT-4.7.1-1]
		{"##", ErrHash},                        //
		{"sport+", ErrPlus},                    // [MQTT-4.7.1-2]
		{"+sport/a", ErrPlus},                  //
		{"a/+b/c", ErrPlus},                    //
		{"", ErrEmpty},                         // [MQTT-4.7.3-1]
		{"a/\x00/#", ErrNull},                  // [MQTT-4.7.3-2]
		{"\xc0/#", ErrUTF8},                    //
		{strings.Repeat("+/", 201), ErrLevels}, //
	} {
		if err := ValidFilter(tc.filter); !errors.Is(err, tc.want) {
			t.Errorf("ValidFilter(%.40q) = %v, want %v", tc.filter, err, tc.want)
		}
	}
}

func TestLimits(t *testing.T) {
	l := Limits{Bytes: 10, Levels: 3, Wildcards: 1}
	for _, tc := range []struct {
		filter string
		want   error
	}{
		{"a/b/c", nil},
		{"a/b/c/d", ErrLevels},
		{"+/b/#", ErrWildcards},
		{"+/b/c", nil},
		{"0123456789a", ErrTooLong},
	} {
		if err := l.Filter(tc.filter); !errors.Is(err, tc.want) {
			t.Errorf("Filter(%q) = %v, want %v", tc.filter, err, tc.want)
		}
	}
	if err := (Limits{}).Name(strings.Repeat("/", 60000)); err != nil {
		t.Errorf("without limits only the specification's hold: %v", err)
	}
}

func TestChecksDoNotAllocate(t *testing.T) {
	long := strings.Repeat("x/", 30000)
	if n := testing.AllocsPerRun(100, func() {
		ValidName("house/room1/temperature")
		ValidName(long)
		ValidFilter("house/+b")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
