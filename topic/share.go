package topic

import "strings"

const sharePrefix = "$share/"

// ParseShare splits a subscription's filter and checks it within
// DefaultLimits. For "$share/group/filter" it returns both parts and shared;
// anything else comes back as the filter.
func ParseShare(s string) (group, filter string, shared bool, err error) {
	return DefaultLimits.Share(s)
}

// Share is ParseShare within l; the levels of a shared subscription are
// counted without "$share/group/".
func (l Limits) Share(s string) (group, filter string, shared bool, err error) {
	rest, shared := strings.CutPrefix(s, sharePrefix)
	if !shared {
		return "", s, false, l.Filter(s)
	}
	group, filter, found := strings.Cut(rest, "/")
	if !found || group == "" || filter == "" || strings.ContainsAny(group, "+#") {
		return "", "", true, ErrShare // [MQTT-4.8.2-1] [MQTT-4.8.2-2]
	}
	if err := (Limits{}).Name(group); err != nil {
		return "", "", true, err
	}
	return group, filter, true, l.Filter(filter)
}
