package config

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a time.Duration written as 250ms, 10s, 5m, 1h30m, 2d or 1w.
type Duration time.Duration

var durationUnits = map[string]time.Duration{
	"us": time.Microsecond, "µs": time.Microsecond, "ms": time.Millisecond, "s": time.Second,
	"m": time.Minute, "h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour,
}

// ParseDuration reads the written form. A bare number is refused, because
// nobody agrees on its unit; 0 needs none.
func ParseDuration(s string) (Duration, error) {
	rest, total := strings.TrimSpace(s), 0.0
	if rest == "0" {
		return 0, nil
	}
	if rest == "" {
		return 0, fmt.Errorf("is empty")
	}
	for rest != "" {
		n := strings.IndexFunc(rest, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
		if n < 0 {
			return 0, fmt.Errorf("%q has no unit", s)
		}
		number, err := strconv.ParseFloat(rest[:n], 64)
		if err != nil {
			return 0, fmt.Errorf("%q is not a duration", s)
		}
		rest = rest[n:]
		end := strings.IndexFunc(rest, func(r rune) bool { return r >= '0' && r <= '9' || r == '.' })
		if end < 0 {
			end = len(rest)
		}
		unit, ok := durationUnits[strings.TrimSpace(rest[:end])]
		if !ok {
			return 0, fmt.Errorf("%q is not a duration", s)
		}
		total += number * float64(unit)
		rest = rest[end:]
	}
	if total >= math.MaxInt64 {
		return 0, fmt.Errorf("%q is too long", s)
	}
	return Duration(total), nil
}

// D is the value as the standard library has it.
func (d Duration) D() time.Duration { return time.Duration(d) }

func (d Duration) String() string {
	v := time.Duration(d)
	switch {
	case v == 0:
		return "0"
	case v%(7*24*time.Hour) == 0:
		return strconv.FormatInt(int64(v/(7*24*time.Hour)), 10) + "w"
	case v%(24*time.Hour) == 0:
		return strconv.FormatInt(int64(v/(24*time.Hour)), 10) + "d"
	case v%time.Hour == 0:
		return strconv.FormatInt(int64(v/time.Hour), 10) + "h"
	case v%time.Minute == 0:
		return strconv.FormatInt(int64(v/time.Minute), 10) + "m"
	case v%time.Second == 0:
		return strconv.FormatInt(int64(v/time.Second), 10) + "s"
	}
	return v.String()
}

// MarshalJSON writes the form people write.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// Size is a number of bytes written as 512, 64kB, 2MB, 1GB (powers of 1000) or
// 64KiB, 2MiB, 1GiB (powers of 1024).
type Size int64

var sizeUnits = map[string]float64{
	"": 1, "B": 1, "kB": 1e3, "KB": 1e3, "k": 1e3, "K": 1e3, "MB": 1e6, "M": 1e6, "GB": 1e9, "G": 1e9, "TB": 1e12, "T": 1e12,
	"KiB": 1 << 10, "kiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
}

func parseSize(s string) (Size, error) {
	s = strings.TrimSpace(s)
	n := strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	if n < 0 {
		n = len(s)
	}
	number, err := strconv.ParseFloat(s[:n], 64)
	unit, ok := sizeUnits[strings.TrimSpace(s[n:])]
	if err != nil || !ok {
		return 0, fmt.Errorf("%q is not a size", s)
	}
	if number*unit >= math.MaxInt64 {
		return 0, fmt.Errorf("%q is too large", s)
	}
	return Size(number * unit), nil
}

func (z Size) String() string {
	v := int64(z)
	for _, u := range []struct {
		size int64
		name string
	}{{1 << 40, "TiB"}, {1e12, "TB"}, {1 << 30, "GiB"}, {1e9, "GB"}, {1 << 20, "MiB"}, {1e6, "MB"}, {1 << 10, "KiB"}, {1e3, "kB"}} {
		if v != 0 && v%u.size == 0 {
			return strconv.FormatInt(v/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(v, 10)
}

// MarshalJSON writes the form people write.
func (z Size) MarshalJSON() ([]byte, error) { return json.Marshal(z.String()) }

// Rate is events a second, written as 100 or 100/s, 600/m, 36000/h.
type Rate float64

func parseRate(s string) (Rate, error) {
	number, unit, _ := strings.Cut(strings.TrimSpace(s), "/")
	n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	per, ok := map[string]float64{"": 1, "s": 1, "m": 60, "h": 3600}[strings.TrimSpace(unit)]
	if err != nil || !ok || n < 0 || math.IsInf(n, 0) || math.IsNaN(n) {
		return 0, fmt.Errorf("%q is not a rate", s)
	}
	return Rate(n / per), nil
}

func (r Rate) String() string { return strconv.FormatFloat(float64(r), 'g', -1, 64) + "/s" }

// MarshalJSON writes the form people write.
func (r Rate) MarshalJSON() ([]byte, error) { return json.Marshal(r.String()) }

// Secret is a string that Show, String and JSON never reveal.
type Secret string

const masked = "********"

func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return masked
}

// GoString keeps %#v from showing what String hides.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// MarshalJSON writes the mask.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// Reveal is the secret itself.
func (s Secret) Reveal() string { return string(s) }
