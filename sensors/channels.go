package sensors

import (
	"fmt"
	"strconv"
)

// channels reads the option `channels`, a list of inputs; all n where it is
// absent.
func (p Params) channels(n int) ([]int, error) {
	opt, ok := p.Options["channels"]
	if !ok {
		all := make([]int, n)
		for i := range all {
			all[i] = i
		}
		return all, nil
	}
	list, err := numbers(opt)
	if err != nil {
		return nil, fmt.Errorf("channels: %w", err)
	}
	var out []int
	for _, v := range list {
		if v != float64(int(v)) || v < 0 || int(v) >= n {
			return nil, fmt.Errorf("channels: %v is not 0 to %d", v, n-1)
		}
		out = append(out, int(v))
	}
	return out, nil
}

// voltages names the quantities of a part with n analogue inputs.
func voltages(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = "voltage_" + strconv.Itoa(i)
	}
	return names
}

// emitsVoltages is the Emits of such a part. A wrong option is told by Open.
func emitsVoltages(n int) func(Params) []string {
	return func(p Params) []string {
		list, err := p.channels(n)
		if err != nil {
			return voltages(n)
		}
		names := make([]string, len(list))
		for i, c := range list {
			names[i] = voltages(n)[c]
		}
		return names
	}
}
