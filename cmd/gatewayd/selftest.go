package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"gatewayd/board"
	"gatewayd/config"
)

// finding is one line of the self-test.
type finding struct {
	What   string `json:"what"`
	Result string `json:"result"` // good, warning, failed
	Detail string `json:"detail"`
}

const (
	resultGood    = "good"
	resultWarning = "warning"
	resultFailed  = "failed"
)

func newSelftest() *cobra.Command {
	var flags configFlags
	var asJSON bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "selftest",
		Short: "Test the hardware and the installation",
		Long: `selftest looks whether this machine can do what the configuration asks for: the
board with its buses and each sensor once, the supply, the data folder and how
fast its disk keeps a write, the clock, the listeners' ports, the watchdog. Lines
are not moved. It ends with 1 when something failed; a warning is no failure.
Stop a running gateway before: it has the buses and the ports.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := flags.load()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			all := selftest(ctx, c)
			if err := printFindings(cmd.OutOrStdout(), all, asJSON); err != nil {
				return err
			}
			failed := 0
			for _, f := range all {
				if f.Result == resultFailed {
					failed++
				}
			}
			if failed > 0 {
				return fmt.Errorf("%d of %d tests failed", failed, len(all))
			}
			return nil
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().DurationVar(&timeout, "timeout", time.Minute, "give up after this long")
	return cmd
}

func selftest(ctx context.Context, c *config.Config) []finding {
	all := []finding{{"configuration", resultGood, fmt.Sprintf("%d listeners, %d sensors, %d lines, %d bridges", len(c.Listeners), len(c.Sensors), len(c.Lines), len(c.Bridges))}}
	all = append(all, testData(c)...)
	all = append(all, testListeners(c)...)
	b, err := openBoard(c, slog.New(slog.DiscardHandler))
	if err != nil {
		return append(all, finding{"board", resultFailed, err.Error()})
	}
	defer b.Close()
	all = append(all, testBoard(c, b)...)
	return append(all, testSensors(ctx, c, b)...)
}

// testData writes and syncs a small file where the data lie.
func testData(c *config.Config) []finding {
	if !c.Store.Persistence {
		return []finding{{"data folder", resultWarning, "store.persistence is off: nothing survives a restart"}}
	}
	dir, err := dataFolder(c)
	if err != nil {
		return []finding{{"data folder", resultFailed, err.Error()}}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil { // as the store does at its first start
		return []finding{{"data folder", resultFailed, err.Error()}}
	}
	f, err := os.CreateTemp(dir, "selftest-")
	if err != nil {
		return []finding{{"data folder", resultFailed, err.Error()}}
	}
	defer os.Remove(f.Name())
	defer f.Close()
	const writes = 5
	begun := time.Now()
	for range writes {
		if _, err := f.Write(make([]byte, 4096)); err != nil {
			return []finding{{"data folder", resultFailed, err.Error()}}
		}
		if err := f.Sync(); err != nil {
			return []finding{{"data folder", resultFailed, err.Error()}}
		}
	}
	each := time.Since(begun) / writes
	out := []finding{{"data folder", resultGood, dir + " can be written"}, {"disk", resultGood, fmt.Sprintf("a write is kept in %v", each.Round(10*time.Microsecond))}}
	if each > 100*time.Millisecond {
		out[1] = finding{"disk", resultWarning, fmt.Sprintf("a write is kept only after %v: acknowledgements will be slow; use a better card", each.Round(time.Millisecond))}
	}
	return out
}

// testListeners looks whether the ports are free.
func testListeners(c *config.Config) (out []finding) {
	for _, l := range c.Listeners {
		name := "listener " + l.Address
		if strings.HasPrefix(l.Address, "unix:") {
			dir := filepath.Dir(strings.TrimPrefix(l.Address, "unix:"))
			if _, err := os.Stat(dir); err != nil {
				out = append(out, finding{name, resultFailed, err.Error()})
			} else {
				out = append(out, finding{name, resultGood, "its folder is there"})
			}
			continue
		}
		open, err := net.Listen("tcp", l.Address)
		switch {
		case errors.Is(err, syscall.EADDRINUSE):
			out = append(out, finding{name, resultWarning, "somebody listens there already; is the gateway running?"})
		case err != nil:
			out = append(out, finding{name, resultFailed, err.Error()})
		default:
			open.Close()
			out = append(out, finding{name, resultGood, "free"})
		}
	}
	return out
}

func testBoard(c *config.Config, b *board.Board) []finding {
	info := b.Info()
	f := finding{"board", resultGood, info.Model}
	if info.Simulated {
		f = finding{"board", resultWarning, "SIMULATED: " + info.Reason}
	}
	out := []finding{f}
	for _, n := range info.Notes {
		out = append(out, finding{"board", resultWarning, n})
	}
	for _, name := range info.Buses {
		_, err := b.I2C(name)
		switch {
		case strings.HasPrefix(name, "spi"):
			_, err = b.SPI(name)
		case strings.HasPrefix(name, "w1-"):
			_, err = b.OneWire(name)
		case !strings.HasPrefix(name, "i2c-"):
			continue // a serial port is opened by its sensor
		}
		if err != nil {
			out = append(out, finding{"bus " + name, resultFailed, err.Error()})
			continue
		}
		out = append(out, finding{"bus " + name, resultGood, "can be opened"})
	}
	h := b.Health(c.Gateway.DataDir)
	if t := h.Trouble(); t != "" {
		out = append(out, finding{"board's health", resultWarning, t})
	} else {
		out = append(out, finding{"board's health", resultGood, fmt.Sprintf("%d MiB of memory free, %d MiB of disk", h.MemoryAvailable>>20, h.DiskFree>>20)})
	}
	clock := finding{"clock", resultGood, h.Clock.String()}
	if !h.Clock.Synchronised {
		clock.Result, clock.Detail = resultWarning, h.Clock.String()+": readings are marked until it is"
	}
	out = append(out, clock)
	if c.Board.Watchdog > 0 {
		// Opening the device would start it, so it is only looked at.
		if _, err := os.Stat("/dev/watchdog"); err != nil {
			out = append(out, finding{"watchdog", resultWarning, "there is no /dev/watchdog: the gateway will watch itself"})
		} else {
			out = append(out, finding{"watchdog", resultGood, "/dev/watchdog is there"})
		}
	}
	return out
}

// testSensors reads each sensor once.
func testSensors(ctx context.Context, c *config.Config, b *board.Board) (out []finding) {
	if len(c.Sensors) == 0 {
		return nil
	}
	c.Lines = nil // an output would switch something
	all, err := readOnce(ctx, c, b)
	if err != nil {
		return []finding{{"sensors", resultFailed, err.Error()}}
	}
	for _, s := range all {
		f := finding{"sensor " + s.Name, resultGood, ""}
		var values []string
		for _, r := range s.Readings {
			text := fmt.Sprintf("%s %s %s", r.Quantity, r.Number(), r.Unit)
			if r.Reason != "" {
				text += " (" + r.Quality.String() + ": " + r.Reason + ")"
			}
			values = append(values, strings.TrimSpace(text))
		}
		f.Detail = strings.Join(values, ", ")
		if !s.Online {
			f.Result, f.Detail = resultFailed, s.Reason
		}
		out = append(out, f)
	}
	return out
}

func printFindings(w io.Writer, all []finding, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(all)
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, f := range all {
		fmt.Fprintf(t, "%s\t%s\t%s\n", f.Result, f.What, f.Detail)
	}
	return t.Flush()
}
