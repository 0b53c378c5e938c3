package topic

import "strings"

// Match says whether a valid filter selects a valid name. Wildcards in the
// first level do not select names that start with '$' [MQTT-4.7.2-1].
func Match(filter, name string) bool {
	if hidden(name) && len(filter) > 0 && (filter[0] == '+' || filter[0] == '#') {
		return false
	}
	for {
		f, filterRest, filterMore := cutLevel(filter)
		if f == "#" {
			return true
		}
		n, nameRest, nameMore := cutLevel(name)
		switch {
		case f != "+" && f != n:
			return false
		case !nameMore:
			return !filterMore || filterRest == "#" // '#' includes the parent, 4.7.1.2
		case !filterMore:
			return false
		}
		filter, name = filterRest, nameRest
	}
}

// hidden says whether wildcards of the first level pass name by.
func hidden(name string) bool { return strings.HasPrefix(name, "$") }

// Covers says whether every name that inner selects is selected by outer too.
// It is cautious with "/#", whose parent would be the empty name.
func Covers(outer, inner string) bool {
	if outer == "+/#" && inner == "#" {
		return true // no name has less than one level
	}
	if hidden(inner) && len(outer) > 0 && (outer[0] == '+' || outer[0] == '#') {
		return false
	}
	for {
		o, outerRest, outerMore := cutLevel(outer)
		if o == "#" {
			return true
		}
		i, innerRest, innerMore := cutLevel(inner)
		switch {
		case i == "#":
			return false // the parent, or some deeper name, is not in outer
		case o != "+" && o != i:
			return false
		case !innerMore:
			return !outerMore || outerRest == "#"
		case !outerMore:
			return false
		}
		outer, inner = outerRest, innerRest
	}
}

// Overlap says whether some name is selected by both filters. It is cautious
// with "/#", as Covers is.
func Overlap(a, b string) bool {
	if hidden(a) && strings.HasPrefix(b, "+") || hidden(b) && strings.HasPrefix(a, "+") ||
		hidden(a) && strings.HasPrefix(b, "#") || hidden(b) && strings.HasPrefix(a, "#") {
		return false
	}
	for {
		x, aRest, aMore := cutLevel(a)
		y, bRest, bMore := cutLevel(b)
		switch {
		case x == "#" || y == "#":
			return true
		case x != y && x != "+" && y != "+":
			return false
		case !aMore:
			return !bMore || bRest == "#"
		case !bMore:
			return aRest == "#"
		}
		a, b = aRest, bRest
	}
}
