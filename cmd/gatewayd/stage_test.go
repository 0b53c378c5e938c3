package main

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestStagesStopTopDown(t *testing.T) {
	var mu sync.Mutex
	var ended []string
	s := newStages(slog.New(slog.DiscardHandler))
	for _, name := range []string{"store", "broker", "sensors"} {
		s.start(name, func(ctx context.Context) error {
			<-ctx.Done()
			mu.Lock()
			defer mu.Unlock()
			ended = append(ended, name)
			return ctx.Err()
		})
	}
	if err := s.stopAll(time.Second); err != nil {
		t.Fatal(err)
	}
	if want := []string{"sensors", "broker", "store"}; !slices.Equal(ended, want) {
		t.Errorf("ended %v, want %v", ended, want)
	}
}

func TestStageThatEndsByItself(t *testing.T) {
	s := newStages(slog.New(slog.DiscardHandler))
	s.start("store", func(context.Context) error { return errors.New("broken disk") })
	if err := <-s.failed; err == nil || err.Error() != "store: broken disk" {
		t.Errorf("got %v", err)
	}
	if err := s.stopAll(time.Second); err == nil || !strings.Contains(err.Error(), "broken disk") {
		t.Errorf("stopping says %v, want the fault", err)
	}
}

func TestStageThatHangsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStages(slog.New(slog.DiscardHandler))
		release := make(chan struct{})
		s.start("web", func(context.Context) error { <-release; return nil })
		begun := time.Now()
		if err := s.stopAll(5 * time.Second); err == nil || time.Since(begun) != 5*time.Second {
			t.Errorf("after %s: %v", time.Since(begun), err)
		}
		close(release)
	})
}
