package topic

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// MaxBytes is the longest name or filter the wire can carry [MQTT-4.7.3-3].
const MaxBytes = 65535

// Errors of the checks. They are values, not formatted texts: a flood of bad
// topics must not cost allocations, and a topic may be 64 KiB long.
var (
	ErrEmpty     = errors.New("topic is empty")                                                   // [MQTT-4.7.3-1]
	ErrNull      = errors.New("topic contains the null character")                                // [MQTT-4.7.3-2]
	ErrTooLong   = errors.New("topic is longer than allowed")                                     // [MQTT-4.7.3-3]
	ErrUTF8      = errors.New("topic is not valid UTF-8")                                         // [MQTT-1.5.4-1]
	ErrWildcard  = errors.New("topic name contains a wildcard")                                   // [MQTT-3.3.2-2]
	ErrPlus      = errors.New("'+' in a topic filter must stand alone in its level")              // [MQTT-4.7.1-2]
	ErrHash      = errors.New("'#' in a topic filter must stand alone in the last level")         // [MQTT-4.7.1-1]
	ErrLevels    = errors.New("topic has more levels than allowed")                               // Limits.Levels
	ErrWildcards = errors.New("topic filter has more wildcards than allowed")                     // Limits.Wildcards
	ErrShare     = errors.New("shared subscription must be $share/name/filter, name without +#/") // [MQTT-4.8.2-1]
)

// Limits are this broker's bounds on top of the specification's. A zero field
// stands for the specification's own bound.
type Limits struct {
	Bytes     int // longest name or filter
	Levels    int // most levels; "a/b" has two
	Wildcards int // most wildcards in one filter
}

// DefaultLimits allow as many levels as Mosquitto does.
var DefaultLimits = Limits{Bytes: MaxBytes, Levels: 201}

// ValidName checks a topic name (what a PUBLISH carries) within DefaultLimits.
func ValidName(s string) error { return DefaultLimits.Name(s) }

// ValidFilter checks a topic filter within DefaultLimits. A shared
// subscription goes through ParseShare instead.
func ValidFilter(s string) error { return DefaultLimits.Filter(s) }

// Name checks a topic name.
func (l Limits) Name(s string) error {
	levels, ascii := 1, true
	if err := l.size(s); err != nil {
		return err
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '/':
			levels++
		case c == '+', c == '#':
			return ErrWildcard
		case c == 0:
			return ErrNull
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return l.rest(s, levels, ascii)
}

// Filter checks a topic filter.
func (l Limits) Filter(s string) error {
	levels, wildcards, ascii := 1, 0, true
	if err := l.size(s); err != nil {
		return err
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '/':
			levels++
		case c == '+':
			if i > 0 && s[i-1] != '/' || i+1 < len(s) && s[i+1] != '/' {
				return ErrPlus
			}
			wildcards++
		case c == '#':
			if i > 0 && s[i-1] != '/' || i+1 < len(s) {
				return ErrHash
			}
			wildcards++
		case c == 0:
			return ErrNull
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	if l.Wildcards > 0 && wildcards > l.Wildcards {
		return ErrWildcards
	}
	return l.rest(s, levels, ascii)
}

func (l Limits) size(s string) error {
	switch {
	case len(s) == 0:
		return ErrEmpty
	case len(s) > MaxBytes, l.Bytes > 0 && len(s) > l.Bytes:
		return ErrTooLong
	}
	return nil
}

func (l Limits) rest(s string, levels int, ascii bool) error {
	switch {
	case l.Levels > 0 && levels > l.Levels:
		return ErrLevels
	case !ascii && !utf8.ValidString(s):
		return ErrUTF8
	}
	return nil
}

// HasWildcard says whether a filter selects more than the one name it spells.
func HasWildcard(filter string) bool { return strings.ContainsAny(filter, "+#") }

// cutLevel takes the first level off s. more is false when it was the last.
func cutLevel(s string) (level, rest string, more bool) {
	if i := strings.IndexByte(s, '/'); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}
