package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatewayd/board"
	"gatewayd/config"
	"gatewayd/sensors"
)

// calibrated is what sensor calibrate answers with --json.
type calibrated struct {
	Sensor   string       `json:"sensor"`
	Quantity string       `json:"quantity"`
	Points   [][2]float64 `json:"points"` // raw, true
	Filter   any          `json:"filter"`
	Worst    float64      `json:"worst"` // distance from the truth at a point
}

func newSensorCalibrate() *cobra.Command {
	var flags configFlags
	var asJSON bool
	var now []float64
	var pairs []string
	var degree, samples int
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "calibrate NAME QUANTITY",
		Short: "Find the filter that makes a sensor read true",
		Long: `calibrate compares what a sensor reads, without its filters, with values that are
known to be true, and prints the lines for the configuration: an offset for one
point, a line for two or more, a polynomial with --degree.

  gatewayd sensor calibrate room1 temperature --true 21.5     reads the sensor now
  gatewayd sensor calibrate room1 temperature --point 0.8=0 --point 98.7=100
  gatewayd sensor calibrate room1 temperature                 asks, point by point

A running gateway has its buses for itself: stop it before the sensor is read here.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var points [][2]float64
			for _, p := range pairs {
				point, err := parsePoint(p)
				if err != nil {
					return &exit{exitUsage, err}
				}
				points = append(points, point)
			}
			if len(now) > 1 {
				return &exit{exitUsage, errors.New("--true is the one value that is true now; use --point RAW=TRUE for others")}
			}
			name, quantity := args[0], args[1]
			raw := func() (float64, error) {
				return readRaw(cmd.Context(), &flags, name, quantity, samples, timeout)
			}
			switch {
			case len(now) == 1:
				v, err := raw()
				if err != nil {
					return err
				}
				points = append(points, [2]float64{v, now[0]})
			case len(points) == 0:
				var err error
				if points, err = askPoints(cmd.InOrStdin(), cmd.ErrOrStderr(), name, quantity, raw); err != nil {
					return err
				}
			}
			c, err := sensors.Calibrate(points, degree)
			if err != nil {
				return &exit{exitUsage, err}
			}
			return printCalibration(cmd.OutOrStdout(), calibrated{name, quantity, points, map[string]any{c.Filter.Name: c.Filter.Arg}, c.Worst}, c.Filter, asJSON)
		},
	}
	flags.add(cmd)
	cmd.Flags().Float64SliceVar(&now, "true", nil, "the value that is true now; the sensor is read for the other")
	cmd.Flags().StringArrayVar(&pairs, "point", nil, "RAW=TRUE: what the sensor read without filters, and what was true")
	cmd.Flags().IntVar(&degree, "degree", 0, "1, 2 or 3: degree of the polynomial; 0: an offset or a line")
	cmd.Flags().IntVar(&samples, "samples", 3, "readings to take the mean of")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().DurationVar(&timeout, "timeout", 15*time.Second, "give up a reading after this long")
	return cmd
}

func parsePoint(s string) (p [2]float64, err error) {
	raw, truth, ok := strings.Cut(s, "=")
	if !ok {
		return p, fmt.Errorf("%q is not RAW=TRUE, such as 98.7=100", s)
	}
	var err1, err2 error
	p[0], err1 = strconv.ParseFloat(strings.TrimSpace(raw), 64)
	p[1], err2 = strconv.ParseFloat(strings.TrimSpace(truth), 64)
	if err1 != nil || err2 != nil {
		return p, fmt.Errorf("%q is not RAW=TRUE, such as 98.7=100", s)
	}
	return p, nil
}

// askPoints asks for true values until an empty line, and reads the sensor at
// each.
func askPoints(in io.Reader, out io.Writer, name, quantity string, raw func() (float64, error)) (points [][2]float64, err error) {
	lines := bufio.NewScanner(in)
	for {
		fmt.Fprintf(out, "Bring %s to a known %s and write the true value; an empty line ends: ", name, quantity)
		if !lines.Scan() || strings.TrimSpace(lines.Text()) == "" {
			fmt.Fprintln(out)
			return points, lines.Err()
		}
		truth, err := strconv.ParseFloat(strings.TrimSpace(lines.Text()), 64)
		if err != nil {
			fmt.Fprintf(out, "%q is not a number\n", lines.Text())
			continue
		}
		v, err := raw()
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(out, "it reads %g\n", v)
		points = append(points, [2]float64{v, truth})
	}
}

// readRaw is the mean of some readings of one quantity without its filters.
func readRaw(ctx context.Context, flags *configFlags, name, quantity string, samples int, timeout time.Duration) (float64, error) {
	c, err := flags.load()
	if err != nil {
		return 0, err
	}
	if err := keepSensors(c, []string{name}); err != nil {
		return 0, err
	}
	c.Sensors[0].Filters, c.Sensors[0].Disabled = nil, nil
	b, err := openBoard(c, slog.New(slog.DiscardHandler))
	if err != nil {
		return 0, err
	}
	defer b.Close()
	sum := 0.0
	for range max(samples, 1) {
		v, err := readQuantity(ctx, c, b, quantity, timeout)
		if err != nil {
			return 0, err
		}
		sum += v
	}
	return sum / float64(max(samples, 1)), nil
}

func readQuantity(ctx context.Context, c *config.Config, b *board.Board, quantity string, timeout time.Duration) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	all, err := readOnce(ctx, c, b)
	if err != nil {
		return 0, err
	}
	s := all[0]
	if !s.Online {
		return 0, fmt.Errorf("%s gave no reading: %s", s.Name, s.Reason)
	}
	var known []string
	for _, r := range s.Readings {
		if r.Quantity == quantity && r.Quality == sensors.Bad {
			return 0, fmt.Errorf("the %s of %s is not usable: %s", quantity, s.Name, r.Reason)
		}
		if r.Quantity == quantity {
			return r.Value, nil
		}
		known = append(known, r.Quantity)
	}
	return 0, &exit{exitUsage, fmt.Errorf("%s has no %q; it has %s", s.Name, quantity, strings.Join(known, ", "))}
}

func printCalibration(w io.Writer, c calibrated, f sensors.FilterSpec, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(c)
	}
	fmt.Fprintf(w, "# in the entry of %s; it comes before other filters of %s\n", c.Sensor, c.Quantity)
	fmt.Fprintf(w, "filters:\n  %s: [{%s: %s}]\n", c.Quantity, f.Name, flow(f.Arg))
	if len(c.Points) > 2 {
		fmt.Fprintf(w, "# at most %.3g from the truth at its points\n", c.Worst)
	}
	return nil
}

// flow writes an argument in YAML's flow style.
func flow(arg any) string {
	switch v := arg.(type) {
	case map[string]any:
		var parts []string
		for _, k := range slices.Backward(slices.Sorted(maps.Keys(v))) { // slope before intercept
			parts = append(parts, fmt.Sprintf("%s: %v", k, v[k]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case []any:
		var parts []string
		for _, x := range v {
			parts = append(parts, fmt.Sprint(x))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return fmt.Sprint(arg)
}
