package topic

import (
	"errors"
	"testing"
)

func TestParseShare(t *testing.T) {
	for _, tc := range []struct {
		in, group, filter string
		shared            bool
		want              error
	}{
		{"$share/consumer1//finance", "consumer1", "/finance", true, nil}, // the example of 4.8.2
		{"$share/consumer1/sport/tennis/+", "consumer1", "sport/tennis/+", true, nil},
		{"$share/g/#", "g", "#", true, nil},
		{"$share/g/$SYS/#", "g", "$SYS/#", true, nil},
		{"sport/#", "", "sport/#", false, nil},
		{"$shared/g/a", "", "$shared/g/a", false, nil},
		{"$share", "", "$share", false, nil},
		{"$share//a", "", "", true, ErrShare},     // [MQTT-4.8.2-1] at least one character
		{"$share/g+/a", "", "", true, ErrShare},   // [MQTT-4.8.2-2] no '/', '+', '#'
		{"$share/#/a", "", "", true, ErrShare},    // [MQTT-4.8.2-2]
		{"$share/g", "", "", true, ErrShare},      // [MQTT-4.8.2-2] a '/' and a filter follow
		{"$share/g/", "", "", true, ErrShare},     //
		{"$share/g/a#", "g", "a#", true, ErrHash}, //
		{"$share/g/a\x00", "g", "a\x00", true, ErrNull},
	} {
		group, filter, shared, err := ParseShare(tc.in)
		if group != tc.group || filter != tc.filter || shared != tc.shared || !errors.Is(err, tc.want) {
			t.Errorf("ParseShare(%q) = %q, %q, %v, %v", tc.in, group, filter, shared, err)
		}
	}
}
