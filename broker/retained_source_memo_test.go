package broker

import "testing"

// TestStoredPublisher: what the turn remembers of the last message is not taken
// for another's.
func TestStoredPublisher(t *testing.T) {
	var turn turn
	for _, m := range []message{
		{publisher: "a", source: "u\x00l"}, {publisher: "b", source: "u\x00l"}, {publisher: "b"}, {publisher: "b", source: "v\x00l"},
		{publisher: "a", source: "u\x00l"},
	} {
		turn.sources.source = "u\x00l"
		want := m.publisher
		if m.source != "" {
			want += "\x00" + m.source
		}
		for range 2 {
			if got := turn.storedPublisher(&m); got != want {
				t.Errorf("%q of %q: %q", m.publisher, m.source, got)
			}
		}
	}
}
