package sensors

import (
	"fmt"
	"time"
)

// Quality says how far a reading can be trusted. The zero value is Good, so
// that a driver has to say so when something is wrong.
type Quality uint8

const (
	Good      Quality = iota // measured, checked and plausible
	Uncertain                // a value, but see the reason before relying on it
	Bad                      // no usable value; never published as a plain number
)

var qualityNames = [...]string{"good", "uncertain", "bad"}

func (q Quality) String() string {
	if int(q) < len(qualityNames) {
		return qualityNames[q]
	}
	return fmt.Sprintf("quality(%d)", uint8(q))
}

// TimeSource says what the time of a reading is worth.
type TimeSource uint8

const (
	TimeSynchronised TimeSource = iota // the clock was known to be right
	TimeUnknown                        // the clock was not (yet) set: a board without a clock starts in 1970
	TimeRestamped                      // taken before the clock was set, corrected since
)

var timeSourceNames = [...]string{"synchronised", "unsynchronised", "restamped"}

func (t TimeSource) String() string {
	if int(t) < len(timeSourceNames) {
		return timeSourceNames[t]
	}
	return fmt.Sprintf("time(%d)", uint8(t))
}

// Reading is one value of one quantity. A driver fills Quantity, Unit and
// Value, and Quality and Reason if they are not good; the scheduler the rest.
type Reading struct {
	Probe    string
	Quantity string
	Unit     string
	Value    float64
	At       time.Time
	Source   TimeSource
	Seq      uint64 // per probe and quantity, without gaps; starts at 1
	Quality  Quality
	Reason   string // why it is not good
	History  bool   // delivered later on request, not live

	// Of a mean out of the history: of how many readings, and their bounds. A
	// reading as it was has Of 0.
	Of        uint32
	Low, High float64

	held bool // a filter keeps it back; a later heartbeat may let it through
}
