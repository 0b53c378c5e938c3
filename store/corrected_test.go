package store

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// TestSaysWhatItIs: a program that lacks the corrections says so when it opens a
// store, and one that has them does not.
func TestSaysWhatItIs(t *testing.T) {
	var log bytes.Buffer
	s, err := Open(t.TempDir(), Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if said := strings.Contains(log.String(), "without the corrections"); said == Corrected() {
		t.Errorf("corrected %v, log: %s", Corrected(), log.String())
	}
}
