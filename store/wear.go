package store

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// wear watches how much is written, and holds the store to its budget by writing
// less often: batches wait longer for each other, lazy values longer for newer
// ones. An acknowledgement means the same as ever, it comes later.
//
// What badger makes of the bytes it is given, logs, tables and compactions, is
// three to seven times as many; the kernel counts them for the process and for
// the device.
type wear struct {
	seen     time.Duration // when the counters were last read
	process  uint64        // of the process at Open, in bytes
	device   uint64        // of the device at Open
	days     []dayBytes    // what was written in the last hours
	pressure float64       // written against what the budget allows by now
	warned   bool
}

// dayBytes is a reading of what had been written since Open.
type dayBytes struct {
	at    time.Duration
	bytes uint64
}

const (
	wearEvery = 10 * time.Second
	wearHours = 48 // half-hour readings kept: a day
	// writeFactor stands for what badger makes of a byte where the kernel does
	// not say.
	writeFactor = 4
	// mostDelay bounds what pressure makes of the commit delay.
	mostDelay = 200 * time.Millisecond
)

// watchLocked reads the counters and sets the pressure.
func (s *Store) watchWearLocked(now time.Duration) {
	w := &s.wear
	if s.dir == "" || w.seen != 0 && now-w.seen < wearEvery {
		return
	}
	if w.seen == 0 {
		w.process, _ = processWritten()
		w.device, _ = deviceWritten(s.dir)
	}
	w.seen = now
	if s.opts.WriteBudget <= 0 {
		return
	}
	bytes := s.writtenLocked()
	if n := len(w.days); n == 0 || now-w.days[n-1].at >= 24*time.Hour/wearHours {
		w.days = append(w.days, dayBytes{now, bytes})
		if len(w.days) > wearHours {
			w.days = w.days[1:]
		}
	}
	first := w.days[0]
	span := max(now-first.at, time.Hour) // a burst after the start is not a day's rate
	allowed := float64(s.opts.WriteBudget) * min(span.Hours()/24, 1)
	w.pressure = float64(bytes-first.bytes) / allowed
	if over := w.pressure > 0.8; over != w.warned {
		w.warned = over
		if over {
			s.opts.Log.Warn("the write budget is nearly used up, the store writes less often", "used", fmt.Sprintf("%.0f %%", 100*w.pressure),
				"commit_delay", s.commitDelayLocked(), "lazy_interval", s.lazyIntervalLocked())
		} else {
			s.opts.Log.Info("the write budget suffices again")
		}
	}
}

// stretch is by how much pressure lengthens what can wait: 1 to 10.
func (w *wear) stretch() float64 {
	if w.pressure <= 0.8 {
		return 1
	}
	return min(1+(w.pressure-0.8)*20, 10)
}

// commitDelayLocked is how long a batch may wait for others under pressure, also
// one that has to be written whatever happens; zero when there is none.
func (s *Store) commitDelayLocked() time.Duration {
	f := s.wear.stretch()
	if f == 1 {
		return 0
	}
	return min(time.Duration(float64(max(s.opts.CommitDelay, 5*time.Millisecond))*f), mostDelay)
}

func (s *Store) lazyIntervalLocked() time.Duration {
	return time.Duration(float64(s.opts.LazyInterval) * s.wear.stretch())
}

// writtenLocked is what the store made the disk write since Open, in bytes.
func (s *Store) writtenLocked() uint64 {
	if now, err := processWritten(); err == nil && now >= s.wear.process {
		return now - s.wear.process
	}
	var n uint64
	for _, b := range s.meter.written {
		n += b
	}
	return n * writeFactor
}

// processWritten is what the kernel counts as written by this process.
func processWritten() (uint64, error) {
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "write_bytes: "); ok {
			return strconv.ParseUint(strings.TrimSpace(v), 10, 64)
		}
	}
	return 0, fmt.Errorf("store: no write_bytes in /proc/self/io")
}

// deviceWritten is what the kernel counts as written to the block device that
// dir lies on, by everyone.
func deviceWritten(dir string) (uint64, error) {
	major, minor, err := deviceOf(dir)
	if err != nil {
		return 0, err
	}
	b, err := os.ReadFile(fmt.Sprintf("/sys/dev/block/%d:%d/stat", major, minor))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(b))
	if len(fields) < 7 {
		return 0, fmt.Errorf("store: block device statistics have %d fields", len(fields))
	}
	sectors, err := strconv.ParseUint(fields[6], 10, 64)
	return sectors * 512, err
}
