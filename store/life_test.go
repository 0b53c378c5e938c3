package store

import (
	"testing"
	"time"
)

func TestLifeOfACard(t *testing.T) {
	s, _ := running(t, t.TempDir(), Options{CardWrites: 100})
	if n := deviceSize(s.dir); n <= 0 || n != s.Stats().DiskSize {
		t.Errorf("the disk has %d bytes, the statistics say %d", n, s.Stats().DiskSize)
	}
	st := Stats{DiskWritten: 1 << 20, DeviceWritten: 10 << 20, DiskSize: 365 << 30}
	s.mu.Lock()
	defer s.mu.Unlock()
	early := st
	s.lifeLocked(&early, time.Minute)
	if early.BytesPerDay != 0 || early.CardYears != 0 {
		t.Errorf("after a minute: %+v", early)
	}
	s.lifeLocked(&st, time.Hour)
	// 240 MB a day on 365 GB that can be written a hundred times.
	if st.BytesPerDay != 240<<20 || st.CardYears < 426 || st.CardYears > 427 {
		t.Errorf("%d bytes a day, %f years", st.BytesPerDay, st.CardYears)
	}
}

// TestMetersAgainstTheDevice: what the store says it handed over, what the kernel
// counted for the process, and what it counted for the device, each at least the
// one before.
func TestMetersAgainstTheDevice(t *testing.T) {
	dir := t.TempDir()
	s, _ := running(t, dir, Options{})
	if _, err := processWritten(); err != nil {
		t.Skip(err)
	}
	a := newSession(t, s, "a")
	var b Batch
	for range 200 {
		b.AddMessage(message("t", string(make([]byte, 20_000))), []Recipient{{Session: a, QoS: 1}})
	}
	b.PutRetained(message("r", "kept"))
	b.Hold(a, 1, 1)
	b.Put("y/x", []byte("value"))
	submit(t, s, &b)
	flush(t, s)
	st := s.Stats()
	var sum uint64
	for _, n := range st.Written {
		sum += n
	}
	for _, name := range []string{"queues", "retained", "sessions", "qos2", "values"} {
		if st.Written[name] == 0 {
			t.Errorf("nothing is counted for %s: %v", name, st.Written)
		}
	}
	if st.DiskWritten == 0 {
		t.Skip("the kernel counts nothing for this file system")
	}
	if st.DiskWritten < sum {
		t.Errorf("the process wrote %d bytes, the store handed over %d", st.DiskWritten, sum)
	}
	if st.DeviceWritten > 0 && st.DeviceWritten < sum {
		t.Errorf("the device wrote %d bytes, the store handed over %d", st.DeviceWritten, sum)
	}
	t.Logf("handed over %d %v, process %d, device %d", sum, st.Written, st.DiskWritten, st.DeviceWritten)
}
