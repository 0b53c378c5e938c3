package sensors

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"
)

// keeper is a store in memory.
type keeper map[string][]byte

func (k keeper) Keep(key string, value []byte) error {
	k[key] = append([]byte(nil), value...)
	return nil
}

func (k keeper) Load(prefix string, yield func(string, []byte) error) error {
	for key, v := range k {
		if strings.HasPrefix(key, prefix) {
			if err := yield(key, v); err != nil {
				return err
			}
		}
	}
	return nil
}

// fill appends n readings, one each ten seconds, with the value of their
// number.
func fill(r *Ring, from, n int) {
	for i := from; i < from+n; i++ {
		r.Append(Reading{Probe: "room", Quantity: "temperature", Unit: "°C", Value: float64(i), Seq: uint64(i), At: t0.Add(time.Duration(i) * 10 * time.Second)})
	}
}

func TestHistoryIsFineNearAndCoarseFar(t *testing.T) {
	r, err := NewRing(RingOptions{Raw: 60, Minutes: 60, Hours: 24})
	if err != nil {
		t.Fatal(err)
	}
	fill(r, 1, 6*60*10) // ten hours
	all, err := r.Range("room", "temperature", t0.Add(-time.Hour), t0.Add(11*time.Hour), 10000)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(all); n < 60+45+8 || n > 60+60+10 {
		t.Errorf("%d points of ten hours", n)
	}
	for i := 1; i < len(all); i++ {
		if !all[i].At.After(all[i-1].At) || all[i].Seq <= all[i-1].Seq {
			t.Fatalf("point %d (%v, %d) is not after %v, %d", i, all[i].At, all[i].Seq, all[i-1].At, all[i-1].Seq)
		}
		if !all[i].History {
			t.Fatal("a point that is not marked as history")
		}
	}
	if last := all[len(all)-1]; last.Value != 3600 || last.Seq != 3600 || last.Unit != "°C" {
		t.Errorf("the last point is %+v", last)
	}
	// A mean is the mean of its readings: those of an hour differ from their middle by half.
	if first := all[0]; first.At.Minute() != 0 || first.Value < 1 || first.Value > 400 {
		t.Errorf("the first point is %+v", first)
	}
}

func TestHistoryAfterSequence(t *testing.T) {
	r, _ := NewRing(RingOptions{})
	fill(r, 1, 100)
	got, err := r.After("room", "temperature", 90, 5)
	if err != nil || len(got) != 5 || got[0].Seq != 91 || got[4].Seq != 95 {
		t.Errorf("after 90, at most 5: %v, %v", got, err)
	}
	if got, _ := r.After("nowhere", "temperature", 0, 5); len(got) != 0 {
		t.Errorf("of a sensor that is not there: %v", got)
	}
	if n := r.LastSeq("room", "temperature"); n != 100 {
		t.Errorf("the last number is %d", n)
	}
}

func TestHistorySurvivesARestart(t *testing.T) {
	k := keeper{}
	r, _ := NewRing(RingOptions{Raw: 150, Minutes: 30, Hours: 5, Keeper: k})
	for i := range 40 {
		fill(r, i*50, 50)
		if err := r.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(k); n > 15 {
		t.Errorf("%d keys after 2000 readings: they do not come round", n)
	}
	before, _ := r.Range("room", "temperature", t0, t0.Add(24*time.Hour), 10000)
	again, err := NewRing(RingOptions{Raw: 150, Minutes: 30, Hours: 5, Keeper: k})
	if err != nil {
		t.Fatal(err)
	}
	after, _ := again.Range("room", "temperature", t0, t0.Add(24*time.Hour), 10000)
	if fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("%d points before the restart, %d after it", len(before), len(after))
	}
	fill(again, 2000, 10)
	if err := again.Flush(); err != nil {
		t.Fatal(err)
	}
	third, _ := NewRing(RingOptions{Raw: 150, Minutes: 30, Hours: 5, Keeper: k})
	if n := third.LastSeq("room", "temperature"); n != 2009 {
		t.Errorf("after the second restart the last number is %d", n)
	}
}

func TestHistoryTakesDamagedBlocksForNone(t *testing.T) {
	k := keeper{}
	r, _ := NewRing(RingOptions{Keeper: k})
	fill(r, 1, 200)
	_ = r.Flush()
	for key := range maps.Clone(k) {
		if strings.HasSuffix(key, "/r/1") {
			k[key] = k[key][:20]
		}
	}
	k["nonsense"] = []byte{1}
	k["a/b/r/0"] = []byte{9, 9}
	again, err := NewRing(RingOptions{Keeper: k})
	if err != nil {
		t.Fatal(err)
	}
	if n := again.LastSeq("room", "temperature"); n != 200 {
		t.Errorf("the last number is %d", n)
	}
	if raw, _ := again.After("room", "temperature", 150, 1000); len(raw) == 0 {
		t.Error("nothing is left behind a damaged block")
	}
}

func TestHistoryIsBounded(t *testing.T) {
	r, _ := NewRing(RingOptions{Series: 3})
	for i := range 5 {
		r.Append(Reading{Probe: fmt.Sprint(i), Quantity: "x", At: t0})
	}
	if len(r.Names()) != 3 || r.Refused() != 2 {
		t.Errorf("%v are kept, %d refused", r.Names(), r.Refused())
	}
}

func TestBadValuesEnterNoMean(t *testing.T) {
	r, _ := NewRing(RingOptions{Raw: 2})
	for i, v := range []float64{10, 85, 20, 30, 40, 50, 60, 70} {
		x := Reading{Probe: "p", Quantity: "q", Value: v, At: t0.Truncate(time.Minute).Add(time.Duration(i) * 20 * time.Second), Seq: uint64(i + 1)}
		if v == 85 {
			x.bad("power-on value")
		}
		r.Append(x)
	}
	got, _ := r.Range("p", "q", t0.Add(-time.Hour), t0.Add(time.Hour), 10)
	if len(got) < 3 || got[0].Value != 15 {
		t.Errorf("points are %v, the first should be the mean of 10 and 20", got)
	}
}
