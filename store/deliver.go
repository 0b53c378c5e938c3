package store

// runDeliverer runs the done functions in the order in which their batches were
// answered, until stop is closed and none is left.
func (s *Store) runDeliverer(stop <-chan struct{}) {
	for {
		s.runCompletions()
		select {
		case <-s.deliver:
		case <-stop:
			s.runCompletions()
			return
		}
	}
}

func (s *Store) runCompletions() {
	var run []completion
	for {
		s.mu.Lock()
		run, s.completions = s.completions, run[:0]
		s.mu.Unlock()
		if len(run) == 0 {
			return
		}
		for i := range run {
			run[i].done(run[i].receipt)
		}
		if s.opts.Delivered != nil {
			s.opts.Delivered()
		}
		clear(run)
	}
}

// completeLocked answers a submission.
func (s *Store) completeLocked(sub *submission, r Receipt) {
	sub.over = true
	if sub.done != nil {
		s.completions = append(s.completions, completion{sub.done, r})
		sub.done = nil
	}
}
