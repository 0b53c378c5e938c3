package sensors

import (
	"cmp"
	"math"
	"slices"
	"sync"
	"time"
)

// RingOptions bounds a Ring; zero values take the defaults.
type RingOptions struct {
	Raw     int // last readings of each quantity, as they were; 360
	Minutes int // means of a minute; 720 (12 hours)
	Hours   int // means of an hour; 720 (30 days)
	Series  int // quantities; 1000. One more is not kept, and counted
	Keeper  Keeper
}

// Keeper keeps what a Ring must not lose over a restart. Values are small
// blocks that are written again and again under few keys.
type Keeper interface {
	Keep(key string, value []byte) error
	Load(prefix string, yield func(key string, value []byte) error) error
}

// Ring is a History in bounded memory: the last readings of each quantity as
// they were, means of minutes before them, means of hours before those.
type Ring struct {
	o RingOptions

	mu      sync.Mutex // guards the fields below
	series  map[seriesKey]*series
	refused uint64
}

type seriesKey struct{ probe, quantity string }

// series is one quantity: three rings.
type series struct {
	unit   string
	raw    level
	minute level
	hour   level
}

// point is a reading, or the mean of several.
type point struct {
	at      int64 // ms since 1970; of a mean the begin of its time
	value   float64
	low     float32
	high    float32
	seq     uint64 // of a mean the last in it
	n       uint32 // readings in it
	quality Quality
	source  TimeSource
}

// level is a ring of points in order of time.
type level struct {
	step   int64 // ms; 0: every reading
	max    int
	points []point
	first  int    // index of the oldest once the ring is full
	count  uint64 // ever appended
	kept   uint64 // of those, how many the keeper has
	open   point  // mean that is still growing; n 0: none
}

// stateQuantity is a line's changes, 1 on and 0 off: a mean would say nothing.
const stateQuantity = "state"

// NewRing makes a Ring and loads what its Keeper has.
func NewRing(o RingOptions) (*Ring, error) {
	o.Raw, o.Minutes, o.Hours, o.Series = cmp.Or(o.Raw, 360), cmp.Or(o.Minutes, 720), cmp.Or(o.Hours, 720), cmp.Or(o.Series, 1000)
	r := &Ring{o: o, series: map[seriesKey]*series{}}
	if o.Keeper == nil {
		return r, nil
	}
	return r, r.load()
}

func (r *Ring) seriesLocked(k seriesKey) *series {
	s := r.series[k]
	if s == nil {
		if len(r.series) >= r.o.Series {
			r.refused++
			return nil
		}
		s = &series{raw: level{max: r.o.Raw}, minute: level{step: 60_000, max: r.o.Minutes}, hour: level{step: 3_600_000, max: r.o.Hours}}
		r.series[k] = s
	}
	return s
}

// Append adds a reading. Bad ones are kept as such but enter no mean.
func (r *Ring) Append(x Reading) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.seriesLocked(seriesKey{x.Probe, x.Quantity})
	if s == nil {
		return
	}
	s.unit = x.Unit
	p := point{at: x.At.UnixMilli(), value: x.Value, low: float32(x.Value), high: float32(x.Value), seq: x.Seq, n: 1, quality: x.Quality, source: x.Source}
	s.raw.push(p)
	if x.Quality != Bad && x.Source != TimeUnknown && x.Quantity != stateQuantity {
		s.minute.mean(p)
		s.hour.mean(p)
	}
}

// push adds a point; the oldest goes when the ring is full.
func (l *level) push(p point) {
	l.count++
	if len(l.points) < l.max {
		l.points = append(l.points, p)
		return
	}
	l.points[l.first] = p
	l.first = (l.first + 1) % l.max
}

// mean adds a point to the growing mean; one of another time closes it.
func (l *level) mean(p point) {
	at := p.at - p.at%l.step
	if l.open.n > 0 && l.open.at != at {
		l.push(l.open)
		l.open = point{}
	}
	o := &l.open
	if o.n == 0 {
		*o = point{at: at, low: p.low, high: p.high}
	}
	o.n++
	o.value += (p.value - o.value) / float64(o.n)
	o.low, o.high, o.seq = min(o.low, p.low), max(o.high, p.high), p.seq
	o.quality, o.source = max(o.quality, p.quality), max(o.source, p.source)
}

// each visits the points from the oldest on.
func (l *level) each(yield func(*point)) {
	for i := range l.points {
		yield(&l.points[(l.first+i)%len(l.points)])
	}
}

// oldest is the time of the oldest point; none: the end of time.
func (l *level) oldest() int64 {
	if len(l.points) == 0 {
		return math.MaxInt64
	}
	return l.points[l.first%len(l.points)].at
}

// Range gives at most limit points from the given time on, oldest first, as
// fine as they are still kept: means of hours, then of minutes, then readings.
func (r *Ring) Range(probe, quantity string, from, to time.Time, limit int) ([]Reading, error) {
	return r.collect(probe, quantity, limit, func(p *point) bool { return p.at >= from.UnixMilli() && p.at <= to.UnixMilli() })
}

// After gives at most limit points with a sequence number above seq.
func (r *Ring) After(probe, quantity string, seq uint64, limit int) ([]Reading, error) {
	return r.collect(probe, quantity, limit, func(p *point) bool { return p.seq > seq })
}

func (r *Ring) collect(probe, quantity string, limit int, want func(*point) bool) ([]Reading, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.series[seriesKey{probe, quantity}]
	if s == nil {
		return nil, nil
	}
	var out []Reading
	add := func(l *level, before int64) {
		l.each(func(p *point) {
			if p.at+l.step <= before && want(p) && len(out) < limit {
				r := Reading{Probe: probe, Quantity: quantity, Unit: s.unit, Value: p.value, At: time.UnixMilli(p.at),
					Source: p.source, Seq: p.seq, Quality: p.quality, History: true}
				if l.step > 0 {
					r.Of, r.Low, r.High = p.n, float64(p.low), float64(p.high)
				}
				out = append(out, r)
			}
		})
	}
	rawFrom := s.raw.oldest()
	minuteFrom := min(s.minute.oldest(), rawFrom)
	add(&s.hour, minuteFrom)
	add(&s.minute, rawFrom)
	add(&s.raw, math.MaxInt64)
	return out, nil
}

// LastSeq is the highest sequence number kept, so that numbers go on after a
// restart.
func (r *Ring) LastSeq(probe, quantity string) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := uint64(0)
	if s := r.series[seriesKey{probe, quantity}]; s != nil {
		for _, l := range []*level{&s.raw, &s.minute, &s.hour} {
			l.each(func(p *point) { last = max(last, p.seq) })
		}
	}
	return last
}

// Last is the newest reading that is not bad.
func (r *Ring) Last(probe, quantity string) (Reading, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found Reading
	ok := false
	if s := r.series[seriesKey{probe, quantity}]; s != nil {
		s.raw.each(func(p *point) {
			if p.quality != Bad {
				found, ok = Reading{Probe: probe, Quantity: quantity, Unit: s.unit, Value: p.value, At: time.UnixMilli(p.at),
					Source: p.source, Seq: p.seq, Quality: p.quality, History: true}, true
			}
		})
	}
	return found, ok
}

// Restamp corrects the readings that were taken before the clock was set: by
// is how far it was behind.
func (r *Ring) Restamp(by time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, s := range r.series {
		s.raw.each(func(p *point) {
			if p.source != TimeUnknown {
				return
			}
			p.at, p.source = p.at+by.Milliseconds(), TimeRestamped
			if p.quality != Bad && k.quantity != stateQuantity {
				s.minute.mean(*p)
				s.hour.mean(*p)
			}
		})
		s.raw.kept = 0
	}
}

// Names lists what is kept, as probe and quantity.
func (r *Ring) Names() [][2]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all [][2]string
	for k := range r.series {
		all = append(all, [2]string{k.probe, k.quantity})
	}
	slices.SortFunc(all, func(a, b [2]string) int { return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1])) })
	return all
}

// Refused counts readings that were not kept because there are too many
// quantities.
func (r *Ring) Refused() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refused
}
