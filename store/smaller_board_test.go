package store

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

// TestCardMovesToASmallerBoard opens what a gateway with a large memtable left
// behind at a power cut with the options of a board that has little memory.
func TestCardMovesToASmallerBoard(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Options{Large: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	var b Batch
	id := s.NewSessionID()
	b.PutSession(Session{ID: id, ClientID: "away"})
	const n = 300
	for range n {
		b.AddMessage(&Message{Topic: "t", Payload: make([]byte, 30<<10), QoS: 1}, []Recipient{{Session: id, QoS: 1}})
		if err := s.Submit(ctx, &b, nil); err != nil {
			t.Fatal(err)
		}
		b.Reset()
	}
	if err := s.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	// The power is cut here: what another process finds is a copy of the files.
	cut := t.TempDir()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.Name() == "LOCK" {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(cut, f.Name()), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	<-ran
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	small, err := Open(cut, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer small.Close()
	if messages, _, _ := small.Depth(id); messages != n {
		t.Errorf("%d messages on the smaller board, want %d", messages, n)
	}
}
