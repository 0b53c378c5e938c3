package sensors

import (
	"math"
	"strings"
	"testing"
)

// What is calibrated reads true at its points: the filter found is put into a
// chain and fed with the raw values.
func TestCalibrationReadsTrueAtItsPoints(t *testing.T) {
	for name, tc := range map[string]struct {
		points [][2]float64
		degree int
		filter string
	}{
		"offset":                  {[][2]float64{{21.9, 21.5}}, 0, "offset"},
		"ice and boiling water":   {[][2]float64{{0.8, 0}, {98.7, 100}}, 0, "linear"},
		"a line through many":     {[][2]float64{{1, 3}, {2, 5}, {3, 7}, {10, 21}}, 1, "linear"},
		"a parabola":              {[][2]float64{{0, 1}, {1, 4}, {2, 11}, {3, 22}}, 2, "polynomial"},
		"a cubic far from zero":   {[][2]float64{{1000, 1}, {1010, 2}, {1020, 5}, {1030, 11}}, 3, "polynomial"},
		"counts of a load cell":   {[][2]float64{{-83412, 0}, {336588, 1000}}, 0, "linear"},
		"points in any order":     {[][2]float64{{98.7, 100}, {0.8, 0}}, 0, "linear"},
		"a calibration of itself": {[][2]float64{{5, 5}}, 0, "offset"},
	} {
		c, err := Calibrate(tc.points, tc.degree)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if c.Filter.Name != tc.filter {
			t.Errorf("%s: %s, want %s", name, c.Filter.Name, tc.filter)
		}
		chain, err := newChain([]FilterSpec{c.Filter})
		if err != nil {
			t.Errorf("%s: the filter is not one: %v", name, err)
			continue
		}
		for _, p := range tc.points {
			r := Reading{Value: p[0], At: t0}
			if tol := 0.001 * max(1, math.Abs(p[1])); !chain.apply(&r) || math.Abs(r.Value-p[1]) > tol+c.Worst {
				t.Errorf("%s: %v becomes %v, want %v (%+v)", name, p[0], r.Value, p[1], c.Filter)
			}
		}
	}
}

// Points that no line meets: Worst says how far it stays from them.
func TestCalibrationTellsHowFarItIs(t *testing.T) {
	c, err := Calibrate([][2]float64{{0, 0}, {1, 1}, {2, 2.5}}, 1)
	if err != nil || c.Worst < 0.1 || c.Worst > 0.3 {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestCalibrationRefuses(t *testing.T) {
	for want, f := range map[string]func() (Calibration, error){
		"needs a point":   func() (Calibration, error) { return Calibrate(nil, 0) },
		"raw value 1":     func() (Calibration, error) { return Calibrate([][2]float64{{1, 2}, {1, 3}}, 0) },
		"needs 3 points":  func() (Calibration, error) { return Calibrate([][2]float64{{1, 2}, {2, 3}}, 2) },
		"not 1, 2 or 3":   func() (Calibration, error) { return Calibrate([][2]float64{{1, 2}, {2, 3}}, 7) },
		"pair of numbers": func() (Calibration, error) { return Calibrate([][2]float64{{1, math.NaN()}}, 0) },
	} {
		if _, err := f(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
