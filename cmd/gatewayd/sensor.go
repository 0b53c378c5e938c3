package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"gatewayd/board"
	"gatewayd/config"
	"gatewayd/sensors"
)

func newSensor() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sensor",
		Short: "Drivers, what hangs on the buses, one reading now",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newSensorList(), newSensorScan(), newSensorRead(), newSensorCalibrate())
	return cmd
}

func newSensorList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the drivers",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			type row struct {
				Name       string   `json:"name"`
				Part       string   `json:"part"`
				Bus        string   `json:"bus"`
				Addresses  []string `json:"addresses,omitempty"`
				Quantities []string `json:"quantities"`
				Options    []string `json:"options,omitempty"`
			}
			rows := []row{}
			for _, d := range sensors.Drivers() {
				r := row{Name: d.Name, Part: d.Part, Bus: string(d.Bus), Quantities: d.Quantities, Options: d.Options}
				for _, a := range d.Addresses {
					r.Addresses = append(r.Addresses, fmt.Sprintf("0x%02x", a))
				}
				rows = append(rows, r)
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(rows)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "DRIVER\tPART\tBUS\tADDRESSES\tQUANTITIES")
			for _, r := range rows {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.Name, r.Part, r.Bus, strings.Join(r.Addresses, " "), strings.Join(r.Quantities, " "))
			}
			return w.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// openBoard opens the board that the configuration asks for.
func openBoard(c *config.Config, log *slog.Logger) (*board.Board, error) {
	b, err := board.Open(boardOptions(c, log))
	if err != nil {
		return nil, c.Errorf("board", "set board: sim to go on without hardware", "%s", err)
	}
	return b, nil
}

func newSensorScan() *cobra.Command {
	var flags configFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "scan",
		Short: "Show what answers on the I2C buses and what it may be",
		Long: `scan asks every address of every I2C bus by reading, never by writing, and lists
those that answer with the drivers they may be for.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := flags.load()
			if err != nil {
				return err
			}
			b, err := openBoard(c, slog.New(slog.DiscardHandler))
			if err != nil {
				return err
			}
			defer b.Close()
			found := scan(b)
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(found)
			}
			if b.Info().Simulated {
				fmt.Fprintln(cmd.ErrOrStderr(), "gatewayd: this is the simulated board:", b.Info().Reason)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "BUS\tADDRESS\tMAY BE")
			for _, f := range found {
				fmt.Fprintf(w, "%s\t%s\t%s\n", f.Bus, f.Address, strings.Join(f.Drivers, " "))
			}
			return w.Flush()
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// answered is an address of an I2C bus where something answers.
type answered struct {
	Bus     string   `json:"bus"`
	Address string   `json:"address"`
	Drivers []string `json:"drivers"`
}

func scan(b *board.Board) []answered {
	found := []answered{}
	for _, name := range b.Info().Buses {
		bus, err := b.I2C(name)
		if err != nil {
			continue // no I2C bus
		}
		for addr := uint16(0x03); addr < 0x78; addr++ { // those from 0x03 to 0x07 are reserved, and used all the same
			var one [1]byte
			if err := bus.Tx(addr, nil, one[:]); err != nil {
				continue
			}
			a := answered{Bus: name, Address: fmt.Sprintf("0x%02x", addr), Drivers: []string{}}
			for _, d := range sensors.Drivers() {
				for _, may := range d.Addresses {
					if may == addr && (d.Identify == nil || d.Identify(bus, addr)) {
						a.Drivers = append(a.Drivers, d.Name)
					}
				}
			}
			found = append(found, a)
		}
	}
	return found
}

func newSensorRead() *cobra.Command {
	var flags configFlags
	var asJSON bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "read [NAME...]",
		Short: "Read sensors of the configuration once",
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, names []string) error {
			c, err := flags.load()
			if err != nil {
				return err
			}
			if err := keepSensors(c, names); err != nil {
				return err
			}
			b, err := openBoard(c, slog.New(slog.DiscardHandler))
			if err != nil {
				return err
			}
			defer b.Close()
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			all, err := readOnce(ctx, c, b)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(all)
			}
			failed := 0
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			for _, s := range all {
				if !s.Online {
					failed++
					fmt.Fprintf(w, "%s\t\t%s\n", s.Name, s.Reason)
				}
				for _, r := range s.Readings {
					fmt.Fprintf(w, "%s\t%s\t%g %s\t%s\n", s.Name, r.Quantity, r.Value, r.Unit, r.Quality)
				}
			}
			if err := w.Flush(); err != nil {
				return err
			}
			if failed > 0 {
				return fmt.Errorf("%d of %d sensors gave no reading", failed, len(all))
			}
			return nil
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().DurationVar(&timeout, "timeout", 15*time.Second, "give up after this long")
	return cmd
}

// keepSensors leaves those that are named, all without names.
func keepSensors(c *config.Config, names []string) error {
	c.Lines, c.Board.Faults = nil, nil
	if len(names) == 0 {
		return nil
	}
	var kept []config.Sensor
	var known []string
	for _, s := range c.Sensors {
		known = append(known, s.Name)
	}
	for _, n := range names {
		found := false
		for _, s := range c.Sensors {
			if s.Name == n {
				kept, found = append(kept, s), true
			}
		}
		if !found {
			return &exit{exitUsage, fmt.Errorf("there is no sensor %q; known are %s", n, strings.Join(known, ", "))}
		}
	}
	c.Sensors = kept
	return nil
}

// readOnce runs the scheduler until every probe has had its turn.
func readOnce(ctx context.Context, c *config.Config, b *board.Board) ([]sensors.Status, error) {
	o := sensorOptions(c, "read", slog.New(slog.DiscardHandler))
	o.Buses, o.Sink = b, discardSink{}
	s, err := sensors.New(o)
	if err != nil {
		return nil, sensorFault(c, b, err)
	}
	run, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { defer close(ended); s.Run(run) }()
	var result []sensors.Status
	select {
	case <-s.Ready():
		result = s.Snapshot()
	case <-ctx.Done():
		err = errors.New("the sensors did not answer in time")
	}
	stop()
	<-ended
	return result, err
}

// discardSink publishes nothing: for commands that only look.
type discardSink struct{}

func (discardSink) Publish(context.Context, sensors.Message) error { return nil }
func (discardSink) Subscribe(string, byte, func(sensors.Incoming)) (func(), error) {
	return func() {}, nil
}
