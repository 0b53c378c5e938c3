package powercut

import (
	"fmt"
	"time"

	"gatewayd/test/rig"
)

// compare sets what the gateway still has against what it acknowledged.
func (b *bench) compare() error {
	if err := b.compareRetained(); err != nil {
		return err
	}
	if err := b.compareSessions(); err != nil {
		return err
	}
	live, err := b.live.connect(b.address, false)
	if err != nil {
		return err
	}
	defer live.Goodbye()
	for _, p := range b.publishers {
		b.report.Resent += p.open()
	}
	settled := make(chan error, 1)
	go func() {
		for _, p := range b.publishers {
			if err := p.settle(b.of(p)); err != nil {
				settled <- err
				return
			}
		}
		settled <- nil
	}()
	done := false
	whole := func(s *subscriber) func() bool {
		return func() bool {
			if !done {
				select {
				case err = <-settled:
					done = true
				default:
					return false
				}
			}
			return err != nil || len(b.missing(s)) == 0
		}
	}
	if drained := b.live.drain(live, whole(b.live)); drained != nil {
		return drained
	}
	if !done {
		err = <-settled
		done = true
	}
	if err != nil {
		return err
	}
	archive, err := b.archive.connect(b.address, false)
	if err != nil {
		return err
	}
	defer archive.Goodbye()
	if drained := b.archive.drain(archive, whole(b.archive)); drained != nil {
		return drained
	}
	if b.centre != nil {
		if err := b.compareCentre(whole(b.centre)); err != nil {
			return err
		}
	}
	b.tally()
	return nil
}

// compareCentre waits until the bridge has carried everything outward.
func (b *bench) compareCentre(whole func() bool) error {
	c, err := b.centre.connect(b.o.Centre, false)
	if err != nil {
		return err
	}
	defer c.Goodbye()
	return b.centre.drain(c, whole)
}

// missing lists what has not reached s and was not compared yet.
func (b *bench) missing(s *subscriber) (list []string) {
	for _, p := range b.publishers {
		for _, k := range s.missing(p, b.verified[p.number]) {
			list = append(list, fmt.Sprintf("%s from %s: number %d", s.name, p.clientID(), k.seq))
		}
	}
	return list
}

// tally adds this boot's findings to the report.
func (b *bench) tally() {
	b.report.Acknowledged = 0
	for _, s := range b.subscribers {
		b.report.Missing = append(b.report.Missing, b.missing(s)...)
		s.mu.Lock()
		b.report.Twice = append(b.report.Twice, s.twice...)
		b.report.Disorder = append(b.report.Disorder, s.disorder...)
		b.report.Damaged = append(b.report.Damaged, s.damaged...)
		b.report.Repeated += s.repeated
		s.twice, s.disorder, s.damaged, s.repeated = nil, nil, nil, 0
		s.mu.Unlock()
	}
	for _, p := range b.publishers {
		b.verified[p.number] = p.seq
		b.report.Acknowledged += p.total
	}
	b.report.Disk = b.cache.Stats()
}

// compareRetained looks at the retained topics before anything is sent again:
// each must hold what was acknowledged last, or something newer.
func (b *bench) compareRetained() error {
	want := map[string]uint64{}
	for _, p := range b.publishers {
		if p.retain {
			for topic, seq := range p.acked {
				want[topic] = seq
			}
		}
	}
	c, _, err := rig.Connect(b.address, "watch", 4, true)
	if err != nil {
		return err
	}
	defer c.Goodbye()
	if err := c.SendSubscribe("keep/#", 0, 1); err != nil {
		return err
	}
	deadline := time.Now().Add(silence)
	for len(want) > 0 {
		waiting, err := c.Waiting(time.Until(deadline))
		if err != nil {
			return fmt.Errorf("watch: %w", err)
		}
		if !waiting {
			break
		}
		p, err := c.Read()
		if err != nil {
			return fmt.Errorf("watch: %w", err)
		}
		if p.Type != rig.PUBLISH {
			continue
		}
		k, _, err := parse(p.Payload)
		if err != nil {
			b.report.Damaged = append(b.report.Damaged, "retained "+p.Topic)
		} else if k.seq < want[p.Topic] {
			b.report.Missing = append(b.report.Missing, fmt.Sprintf("retained %s is number %d, %d was acknowledged", p.Topic, k.seq, want[p.Topic]))
		}
		delete(want, p.Topic)
	}
	for topic, seq := range want {
		b.report.Missing = append(b.report.Missing, fmt.Sprintf("retained %s: number %d was acknowledged, nothing is there", topic, seq))
	}
	return nil
}

// compareSessions looks for the sessions that were made under load, sees that
// their subscriptions work, and removes them.
func (b *bench) compareSessions() error {
	for n := range b.churn {
		id := fmt.Sprint("churn-", n)
		c, present, err := rig.Connect(b.address, id, 4, false)
		if err != nil {
			return err
		}
		if !present {
			b.report.Missing = append(b.report.Missing, "session "+id)
		} else if err := b.echo(c, n); err != nil {
			b.report.Missing = append(b.report.Missing, fmt.Sprintf("subscription of %s: %v", id, err))
		}
		c.Goodbye()
		if c, _, err = rig.Connect(b.address, id, 4, true); err != nil {
			return err
		}
		c.Goodbye()
	}
	b.churn = 0
	return nil
}

// echo publishes to the client's own subscription.
func (b *bench) echo(c *rig.Client, n int) error {
	c.Publish(fmt.Sprint("churn/", n), []byte("echo"), 0, false, false, 0)
	if err := c.Flush(); err != nil {
		return err
	}
	waiting, err := c.Waiting(silence)
	if err != nil || !waiting {
		return fmt.Errorf("nothing arrives: %v", err)
	}
	p, err := c.Read()
	if err == nil && p.Type != rig.PUBLISH {
		err = fmt.Errorf("packet type %d", p.Type)
	}
	return err
}
