package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// stages run one above the other: started bottom-up, stopped top-down, each
// only when the one above it has ended. One goroutine uses them.
type stages struct {
	log    *slog.Logger
	all    []*stage
	failed chan error // the first stage that ended by itself; room for one
}

type stage struct {
	name   string
	cancel context.CancelFunc
	done   chan struct{}
	err    error // once done is closed
}

func newStages(log *slog.Logger) *stages {
	return &stages{log: log, failed: make(chan error, 1)}
}

// start runs one more stage, above the others.
func (s *stages) start(name string, run func(context.Context) error) *stage {
	ctx, cancel := context.WithCancel(context.Background())
	st := &stage{name: name, cancel: cancel, done: make(chan struct{})}
	s.all = append(s.all, st)
	go func() {
		defer close(st.done)
		err := run(ctx)
		if ctx.Err() != nil { // it was asked to
			if err != nil && !errors.Is(err, context.Canceled) {
				st.err = err
			}
			return
		}
		if err == nil {
			err = errors.New("ended by itself")
		}
		st.err = err
		select {
		case s.failed <- fmt.Errorf("%s: %w", name, err):
		default:
		}
	}()
	return st
}

// stop ends one stage and waits for it.
func (s *stages) stop(st *stage, limit time.Duration) error {
	st.cancel()
	s.all = slices.DeleteFunc(s.all, func(x *stage) bool { return x == st })
	select {
	case <-st.done:
		return st.err
	case <-time.After(limit):
		return fmt.Errorf("%s did not stop within %s", st.name, limit)
	}
}

// stopAll ends every stage, the top first.
func (s *stages) stopAll(limit time.Duration) error {
	var errs []error
	for len(s.all) > 0 {
		st := s.all[len(s.all)-1]
		if err := s.stop(st, limit); err != nil {
			s.log.Error("did not stop cleanly", "stage", st.name, "err", err)
			errs = append(errs, fmt.Errorf("%s: %w", st.name, err))
		}
	}
	return errors.Join(errs...)
}
