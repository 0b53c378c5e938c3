// Command bench measures gatewayd beside Debian's mosquitto and nats-server on
// this machine: the same scenarios, one after the other, with the brokers
// taking turns, broker CPU and memory read from /proc. It writes the table
// that docs/BENCHMARKS.md holds.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"gatewayd/test/peer"
)

type flags struct {
	out       string
	brokers   string
	scenarios string
	runs      int
	seconds   float64
	quick     bool
	list      bool
	keep      bool
	profile   string
	data      string
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == natsChild {
		if err := serveNATS(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	var f flags
	flag.StringVar(&f.out, "out", "", "write the report (Markdown) to this file; nothing: standard output")
	flag.StringVar(&f.brokers, "brokers", "gatewayd,mosquitto,nats", "brokers to measure, in this order")
	flag.StringVar(&f.scenarios, "scenarios", "", "names or prefixes of the scenarios to run, by comma; nothing: the default set")
	flag.StringVar(&f.scenarios, "only", "", "the same as -scenarios")
	flag.IntVar(&f.runs, "runs", 5, "runs of each scenario; the median is reported")
	flag.Float64Var(&f.seconds, "seconds", 0.8, "length of one run of a traffic scenario")
	flag.BoolVar(&f.quick, "quick", false, "one short run each, about a minute in all")
	flag.BoolVar(&f.list, "list", false, "list the scenarios")
	flag.BoolVar(&f.keep, "keep", false, "keep the brokers' folders")
	flag.StringVar(&f.profile, "profile", "", "write a CPU profile of gatewayd for each scenario into this folder")
	flag.StringVar(&f.data, "data", "", "keep the figures in this file and add to what it has: a long measurement in several parts")
	flag.Parse()
	if f.list {
		for _, s := range scenarios {
			mark := " "
			if s.extra {
				mark = "+"
			}
			fmt.Printf("%s %-16s %s\n", mark, s.name, s.title)
		}
		fmt.Println("\n+ only when named with -scenarios")
		return
	}
	if err := run(f); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(f flags) error {
	if f.quick {
		f.runs, f.seconds = 1, min(f.seconds, 1)
	}
	if err := raiseFiles(); err != nil {
		return err
	}
	chosen, err := choose(f.scenarios, f.quick)
	if err != nil {
		return err
	}
	var brokers []*broker
	for name := range strings.SplitSeq(f.brokers, ",") {
		b, err := newBroker(name)
		if err != nil {
			fmt.Fprintf(os.Stderr, "bench: without %s: %v\n", name, err)
			continue
		}
		brokers = append(brokers, b)
	}
	defer peer.RemoveBuilt()
	if len(brokers) == 0 {
		return fmt.Errorf("no broker to measure")
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)

	begun := time.Now()
	rep := newReport(f, brokers)
	if err := rep.load(); err != nil {
		return err
	}
	for _, s := range chosen {
		if err := rep.save(time.Since(begun)); err != nil { // what there is survives an interruption
			return err
		}
		begun = time.Now()
		for i := range f.runs {
			for _, b := range brokers {
				select {
				case <-stop:
					return fmt.Errorf("interrupted")
				default:
				}
				if s.only != nil && !slices.Contains(s.only, b.name) {
					continue
				}
				r, err := once(s, b, f)
				if err != nil {
					fmt.Fprintf(os.Stderr, "%-16s %-10s run %d: %v\n", s.name, b.name, i+1, err)
					rep.fail(s, b, err)
					continue
				}
				rep.add(s, b, r)
				fmt.Fprintf(os.Stderr, "%-16s %-10s run %d: %s\n", s.name, b.name, i+1, s.line(r))
			}
		}
	}
	if err := rep.save(time.Since(begun)); err != nil {
		return err
	}
	text := rep.markdown()
	if f.out == "" {
		fmt.Print(text)
		return nil
	}
	return os.WriteFile(f.out, []byte(text), 0o644)
}

func choose(names string, quick bool) ([]*scenario, error) {
	var out []*scenario
	if names == "" {
		for _, s := range scenarios {
			if !s.extra && !(quick && s.slow) {
				out = append(out, s)
			}
		}
		return out, nil
	}
	for want := range strings.SplitSeq(names, ",") {
		n := len(out)
		for _, s := range scenarios {
			if strings.HasPrefix(s.name, want) && !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
		if len(out) == n {
			return nil, fmt.Errorf("no scenario is called %q; -list shows them", want)
		}
	}
	return out, nil
}

// raiseFiles lifts the limit of open files as far as it goes; the brokers inherit it.
func raiseFiles() error {
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		return err
	}
	lim.Cur = lim.Max
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lim)
}
