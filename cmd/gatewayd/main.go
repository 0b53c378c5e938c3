// Command gatewayd is a gateway for sensors: an MQTT broker, a durable store,
// sensors and lines of the board it runs on, and bridges to other brokers.
//
// This package is wiring only. Each subcommand has a file of its name; run
// builds the rooms bottom-up (the wire_*.go files turn configuration into
// their options) and closes them top-down.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"gatewayd/config"
)

// Exit codes of the command line.
const (
	exitFailed = 1  // failed while running
	exitUsage  = 2  // wrong usage
	exitConfig = 78 // wrong configuration (EX_CONFIG)
)

// version is stamped by the linker.
var version = "dev"

func main() {
	runtime.MemProfileRate = 0 // its tables take more than a megabyte; http.debug turns it on
	os.Exit(Main())
}

// Main is main with an exit code, so that tests can run it as a command.
func Main() int {
	return execute(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
}

// exit is an error that asks for an exit code; a nil err says nothing more.
type exit struct {
	code int
	err  error
}

func (e *exit) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exit) Unwrap() error { return e.err }

// execute runs one command line.
func execute(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	root := newRoot()
	started := false
	root.PersistentPreRun = func(*cobra.Command, []string) { started = true }
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	if asked, ok := errors.AsType[*exit](err); ok {
		if asked.err != nil {
			complain(errOut, asked.err)
		}
		return asked.code
	}
	if faults, ok := errors.AsType[config.Errors](err); ok {
		complain(errOut, faults)
		return exitConfig
	}
	if fault, ok := errors.AsType[*config.Error](err); ok {
		complain(errOut, fault)
		return exitConfig
	}
	complain(errOut, err)
	if !started { // cobra refused the flags, the arguments or the command
		fmt.Fprintf(errOut, "see %s --help\n", cmd.CommandPath())
		return exitUsage
	}
	return exitFailed
}

// complain prints one line for each fault.
func complain(w io.Writer, err error) {
	for _, line := range strings.Split(err.Error(), "\n") {
		if line = strings.TrimSpace(line); line != "" {
			fmt.Fprintf(w, "gatewayd: %s\n", line)
		}
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "gatewayd",
		Short: "Sensor gateway: MQTT broker, durable store, sensors, bridges",
		Long: `gatewayd is a gateway for sensors. It is an MQTT broker (3.1, 3.1.1 and 5) with
a store that survives a power cut, it reads the sensors and lines of the board
it runs on, and it bridges to other brokers. "gatewayd run" without any
configuration is a working gateway on this machine.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	root.CompletionOptions.HiddenDefaultCmd = false
	root.AddCommand(
		newRun(), newCheck(), newConvert(), newConfig(), newPasswd(), newPub(), newSub(), newSensor(), newStore(), newBridge(), newStatus(), newHealth(), newVersion(), newMan(),
		newCert(), newDiag(), newSelftest(), newBench(), newPlan(),
	)
	return root
}

// configFlags are the flags of every command that reads the configuration.
type configFlags struct {
	file      string
	mosquitto string // a mosquitto.conf instead
	from      string // the Mosquitto that one was written for
	notes     []config.Note
	o         config.Options
}

func (f *configFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVarP(&f.file, "config", "c", "", "configuration file (default: ./gatewayd.yaml, /etc/gatewayd/gatewayd.yaml, the built-in default)")
	fl.IntVarP(&f.o.Port, "port", "p", 0, "port of the first MQTT listener")
	fl.StringVarP(&f.o.DataDir, "data-dir", "d", "", "folder of the durable store")
	fl.StringVar(&f.o.Board, "board", "", "auto, sim or none")
}

// load reads the configuration that the flags name.
func (f *configFlags) load() (*config.Config, error) {
	switch f.o.Board {
	case "", "auto", "hardware", "sim", "none":
	default:
		return nil, &exit{exitUsage, fmt.Errorf("--board %s is not known; write auto, sim or none", f.o.Board)}
	}
	if f.o.Port < 0 || f.o.Port > 65535 {
		return nil, &exit{exitUsage, fmt.Errorf("--port %d is not a port; ports go from 1 to 65535", f.o.Port)}
	}
	if f.mosquitto != "" {
		if f.file != "" {
			return nil, usage("give --config or --mosquitto-conf, not both")
		}
		c, notes, err := config.LoadMosquitto(f.mosquitto, f.from, f.o)
		f.notes = notes
		return c, err
	}
	file := f.file
	if file == "" {
		file = config.Find()
	}
	return config.Load(file, f.o)
}
