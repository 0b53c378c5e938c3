package bridge

import (
	"sync"
	"time"

	"gatewayd/broker"
)

// rateOver is what rates are averaged over, at least.
const rateOver = 5 * time.Second

// rates turns counters into messages a second. Whoever looks moves it on: with
// two marks, the older of which is between one and two times rateOver old when
// somebody looks all the time, and else as old as the last look.
type rates struct {
	mu          sync.Mutex // guards the fields below
	older, mark rateMark
}

type rateMark struct {
	at      time.Time
	out, in uint64
}

// at returns the rates up to now.
func (r *rates) at(now time.Time, out, in uint64) (outRate, inRate float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	here := rateMark{now, out, in}
	switch {
	case r.mark.at.IsZero():
		r.older, r.mark = here, here
	case now.Sub(r.mark.at) >= rateOver:
		r.older, r.mark = r.mark, here
	}
	took := now.Sub(r.older.at).Seconds()
	if took <= 0 {
		return 0, 0
	}
	return float64(out-r.older.out) / took, float64(in-r.older.in) / took
}

// addDrops puts what the session here has lost under its reasons.
func addDrops(to map[string]uint64, d broker.LinkDrops) map[string]uint64 {
	for reason, n := range map[string]uint64{
		"queue_full_oldest": d.Oldest, "queue_full_newest": d.Newest, "queue_full_topic": d.Topic,
		"too_old": d.Age, "expired": d.Expired, "qos0_full": d.QoS0,
	} {
		if n == 0 {
			continue
		}
		if to == nil {
			to = map[string]uint64{}
		}
		to[reason] += n
	}
	return to
}
