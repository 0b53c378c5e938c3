package sensors_test

import (
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"gatewayd/board/sim"
	"gatewayd/sensors"
)

// bigHouse is 100 sensors on 8 buses at 1 s, and a line with a thousand edges
// a second.
func bigHouse(tb testing.TB) (*sim.Board, *sensors.Scheduler, *sink) {
	kinds := []struct {
		kind, quantity string
		addresses      []string
	}{
		{"bme280", "pressure", []string{"0x76", "0x77"}}, {"sht4x", "humidity", []string{"0x44", "0x45"}},
		{"tmp102", "temperature", []string{"0x48", "0x49", "0x4a", "0x4b"}}, {"mcp9808", "temperature", []string{"0x18", "0x19", "0x1a", "0x1b", "0x1c"}},
	}
	so := sim.Options{Parts: []sim.Part{}}
	o := sensors.Options{Gateway: "gw", Log: quiet(), Lines: []sensors.LineConfig{{Name: "edges", Line: "GPIO5", Topic: "edges"}}}
	for bus := range 8 {
		for _, k := range kinds {
			for _, a := range k.addresses {
				if len(o.Probes) == 100 {
					break
				}
				name := fmt.Sprintf("s%03d", len(o.Probes))
				b := fmt.Sprint("i2c-", bus)
				so.Parts = append(so.Parts, sim.Part{Kind: k.kind, Name: name, Bus: b, Address: a})
				o.Probes = append(o.Probes, sensors.ProbeConfig{Name: name, Driver: k.kind, Bus: b, Address: a, Every: time.Second})
			}
		}
	}
	if len(o.Probes) != 100 {
		tb.Fatalf("%d probes", len(o.Probes))
	}
	board, err := sim.New(so)
	if err != nil {
		tb.Fatal(err)
	}
	s := &sink{}
	o.Buses, o.Sink = board, s
	sched, err := sensors.New(o)
	if err != nil {
		tb.Fatal(err)
	}
	return board, sched, s
}

// No reading is late by more than 50 ms and no edge is lost.
func TestAHundredSensorsAndAThousandEdges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		board, sched, s := bigHouse(t)
		h := run(t, board, sched)
		time.Sleep(5 * time.Second)
		start := len(s.on("edges"))
		for i := range 10000 {
			_ = board.SetLine("GPIO5", i%2 == 0)
			time.Sleep(time.Millisecond)
		}
		time.Sleep(100 * time.Millisecond)
		if n := len(s.on("edges")) - start; n != 10000 {
			t.Errorf("%d of 10000 edges", n)
		}
		for _, st := range sched.Snapshot() {
			at := s.times(st.Name + "/" + st.Readings[len(st.Readings)-1].Quantity)
			if len(at) < 14 {
				t.Errorf("%s: %d readings in 15 s", st.Name, len(at))
			}
			for i := 2; i < len(at); i++ {
				if d := at[i].Sub(at[i-1]) - time.Second; d > 50*time.Millisecond || d < -50*time.Millisecond {
					t.Errorf("%s: reading %d is %v off its second", st.Name, i, d)
				}
			}
			if st.Errors > 0 || st.Late > 0 {
				t.Errorf("%s: %d errors, %d late turns", st.Name, st.Errors, st.Late)
			}
		}
		h()
	})
}

// BenchmarkHouse runs the same in real time for two seconds and reports what
// share of one core it takes.
func BenchmarkHouse(b *testing.B) {
	for range b.N {
		board, sched, s := bigHouse(b)
		stop := run(b, board, sched)
		time.Sleep(1500 * time.Millisecond)
		runtime.GC()
		cpu, start := cpuTime(), time.Now()
		tick := time.NewTicker(10 * time.Millisecond)
		edges := 0
		for time.Since(start) < 2*time.Second {
			<-tick.C
			for range 10 {
				edges++
				_ = board.SetLine("GPIO5", edges%2 == 1)
			}
		}
		tick.Stop()
		used, took := cpuTime()-cpu, time.Since(start)
		time.Sleep(50 * time.Millisecond)
		late := uint64(0)
		for _, st := range sched.Snapshot() {
			late += st.Late
		}
		b.ReportMetric(100*used.Seconds()/took.Seconds(), "%core")
		b.ReportMetric(float64(late), "late")
		b.ReportMetric(float64(edges+1-len(s.on("edges"))), "edges-lost")
		stop()
	}
}

func cpuTime() time.Duration {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
