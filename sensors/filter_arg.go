package sensors

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The arguments of filters come as YAML gives them: numbers of any type, text,
// lists and maps.

func toNumber(a any) (float64, error) {
	switch v := a.(type) {
	case int:
		return float64(v), nil
	case int64:
		return float64(v), nil
	case uint64:
		return float64(v), nil
	case uint32:
		return float64(v), nil
	case int32:
		return float64(v), nil
	case float32:
		return float64(v), nil
	case float64:
		return v, nil
	case string:
		if f, err := strconv.ParseFloat(v, 64); err == nil {
			return f, nil
		}
	}
	return 0, fmt.Errorf("want a number, not %v", a)
}

func toDuration(a any) (time.Duration, error) {
	if d, ok := a.(time.Duration); ok {
		return d, nil
	}
	if s, ok := a.(string); ok {
		if d, err := time.ParseDuration(s); err == nil && d > 0 {
			return d, nil
		}
	}
	return 0, fmt.Errorf("want a duration like 30s or 5m, not %v", a)
}

func number(a any, f func(float64) step) (step, error) {
	v, err := toNumber(a)
	if err != nil {
		return nil, err
	}
	return f(v), nil
}

func numbers(a any) ([]float64, error) {
	switch l := a.(type) {
	case []float64:
		return l, nil
	case []any:
		out := make([]float64, 0, len(l))
		for _, e := range l {
			v, err := toNumber(e)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		return out, nil
	}
	return nil, fmt.Errorf("want a list of numbers, not %v", a)
}

func pairs(a any) ([][2]float64, error) {
	l, ok := a.([]any)
	if !ok {
		return nil, fmt.Errorf("want a list of pairs, not %v", a)
	}
	var out [][2]float64
	for _, e := range l {
		p, err := numbers(e)
		if err != nil || len(p) != 2 {
			return nil, fmt.Errorf("want pairs of numbers, not %v", e)
		}
		out = append(out, [2]float64{p[0], p[1]})
	}
	return out, nil
}

func field(m map[string]any, key string, def float64) (float64, error) {
	a, ok := m[key]
	if !ok {
		return def, nil
	}
	v, err := toNumber(a)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", key, err)
	}
	return v, nil
}

func onlyKeys(m map[string]any, keys ...string) error {
	for k := range m {
		if !slices.Contains(keys, k) {
			return fmt.Errorf("unknown key %q; known: %s", k, strings.Join(keys, ", "))
		}
	}
	return nil
}

// suggest names what was probably meant, for the end of an error message.
func suggest(word string, known []string) string {
	best, dist := "", 3
	for _, k := range known {
		if d := distance(word, k); d < dist {
			best, dist = k, d
		}
	}
	if best != "" {
		return fmt.Sprintf(", did you mean %q?", best)
	}
	return "; known: " + strings.Join(known, ", ")
}

// distance is the number of edits between two words.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		prev := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cur := row[j+1]
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(row[j]+1, cur+1, prev+cost)
			prev = cur
		}
	}
	return row[len(b)]
}
