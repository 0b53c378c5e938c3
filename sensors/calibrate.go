package sensors

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// Calibration is what makes a sensor's raw values true ones.
type Calibration struct {
	Filter FilterSpec
	// Worst is how far the points still are from the truth with it.
	Worst float64
}

// Calibrate finds the filter that takes raw values to true ones, given points
// of both: one point gives an offset, two a line, more the line or polynomial
// of that degree (1 to 3) that is nearest to all.
func Calibrate(points [][2]float64, degree int) (Calibration, error) {
	points = slices.Clone(points)
	slices.SortFunc(points, func(a, b [2]float64) int {
		switch {
		case a[0] < b[0]:
			return -1
		case a[0] > b[0]:
			return 1
		}
		return 0
	})
	for i, p := range points {
		if math.IsNaN(p[0]+p[1]) || math.IsInf(p[0]+p[1], 0) {
			return Calibration{}, fmt.Errorf("%v is no pair of numbers", p)
		}
		if i > 0 && p[0] == points[i-1][0] {
			return Calibration{}, fmt.Errorf("two points have the raw value %v", p[0])
		}
	}
	switch {
	case len(points) == 0:
		return Calibration{}, errors.New("a calibration needs a point: a raw and a true value")
	case degree < 0 || degree > 3:
		return Calibration{}, fmt.Errorf("a polynomial of degree %d is not 1, 2 or 3", degree)
	case degree > 0 && len(points) <= degree:
		return Calibration{}, fmt.Errorf("a polynomial of degree %d needs %d points", degree, degree+1)
	}
	if degree == 0 {
		degree = min(len(points)-1, 1)
	}
	if degree == 0 {
		return Calibration{Filter: FilterSpec{Name: "offset", Arg: round6(points[0][1] - points[0][0])}}, nil
	}
	c, err := fit(points, degree)
	if err != nil {
		return Calibration{}, err
	}
	var out Calibration
	big, far := 0.0, max(math.Abs(points[0][0]), math.Abs(points[len(points)-1][0]))
	for _, p := range points {
		big = max(big, math.Abs(p[1]))
	}
	for i := range c {
		c[i] = round6(c[i])
		if math.Abs(c[i])*math.Pow(far, float64(i)) < 1e-9*big { // what rounding left of a zero
			c[i] = 0
		}
	}
	for _, p := range points {
		v := 0.0
		for i := len(c) - 1; i >= 0; i-- {
			v = v*p[0] + c[i]
		}
		out.Worst = max(out.Worst, math.Abs(v-p[1]))
	}
	if degree == 1 {
		out.Filter = FilterSpec{Name: "linear", Arg: map[string]any{"slope": c[1], "intercept": c[0]}}
		return out, nil
	}
	list := make([]any, len(c))
	for i, v := range c {
		list[i] = v
	}
	out.Filter = FilterSpec{Name: "polynomial", Arg: list}
	return out, nil
}

// fit is the polynomial of least squares, the constant first. The raw values
// are brought to -1..1 meanwhile, so that high powers do not swamp the rest.
func fit(points [][2]float64, degree int) ([]float64, error) {
	n := degree + 1
	low, high := points[0][0], points[len(points)-1][0]
	mid, half := (low+high)/2, (high-low)/2
	m := make([][]float64, n)
	for i := range m {
		m[i] = make([]float64, n+1)
	}
	for _, p := range points {
		x := (p[0] - mid) / half
		for i := range n {
			for j := range n {
				m[i][j] += math.Pow(x, float64(i+j))
			}
			m[i][n] += p[1] * math.Pow(x, float64(i))
		}
	}
	for i := range n { // Gauss, with the largest of a column first
		best := i
		for r := i; r < n; r++ {
			if math.Abs(m[r][i]) > math.Abs(m[best][i]) {
				best = r
			}
		}
		m[i], m[best] = m[best], m[i]
		if math.Abs(m[i][i]) < 1e-12 {
			return nil, errors.New("the points do not decide a curve")
		}
		for r := range n {
			if r == i {
				continue
			}
			f := m[r][i] / m[i][i]
			for c := i; c <= n; c++ {
				m[r][c] -= f * m[i][c]
			}
		}
	}
	// Back from x to raw: sum of a·((raw - mid)/half)^i.
	out := make([]float64, n)
	for i := range n {
		a := m[i][n] / m[i][i] / math.Pow(half, float64(i))
		for k := 0; k <= i; k++ {
			out[k] += a * binomial(i, k) * math.Pow(-mid, float64(i-k))
		}
	}
	return out, nil
}

func binomial(n, k int) float64 {
	v := 1.0
	for i := range k {
		v = v * float64(n-i) / float64(i+1)
	}
	return v
}

// round6 keeps seven digits, beyond what any of these parts is good for.
func round6(v float64) float64 {
	if v == 0 {
		return 0
	}
	f := math.Pow(10, 6-math.Floor(math.Log10(math.Abs(v))))
	return math.Round(v*f) / f
}
