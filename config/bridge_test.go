package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func loadText(t *testing.T, text string) (*Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "gatewayd.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(file, Options{})
}

// The queue of a topic takes from the bridge's what it does not say.
func TestQueueOfATopicInherits(t *testing.T) {
	c, err := loadText(t, `
bridges:
  - name: centre
    addresses: ["c.example:1883"]
    queue: {max_messages: 100, max_bytes: 1MB, max_age: 1h, on_full: drop_newest}
    topics:
      - {filter: "alarm/#", qos: 1, queue: {on_full: reject, max_age: 0}}
      - {filter: "state/#", qos: 2, queue: {max_messages: 5}}
      - {filter: "rest/#", qos: 1}
`)
	if err != nil {
		t.Fatal(err)
	}
	topics := c.Bridges[0].Topics
	if q := *topics[0].Queue; q != (Queue{100, 1e6, 0, "reject"}) {
		t.Errorf("first: %+v", q)
	}
	if q := *topics[1].Queue; q != (Queue{5, 1e6, Duration(time.Hour), "drop_newest"}) {
		t.Errorf("second: %+v", q)
	}
	if topics[2].Queue != nil {
		t.Error("the third has a queue of its own")
	}
}

func TestQueueOfATopicThatDoesNotWait(t *testing.T) {
	for text, want := range map[string]string{
		`{filter: "a", direction: in, qos: 1, queue: {max_messages: 5}}`: "only what goes out waits",
		`{filter: "a", queue: {max_messages: 5}}`:                        "QoS 0 do not wait",
	} {
		_, err := loadText(t, "bridges:\n  - name: c\n    addresses: [\"c:1883\"]\n    topics:\n      - "+text+"\n")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
