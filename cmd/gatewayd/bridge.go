package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatewayd/board"
	"gatewayd/bridge"
	"gatewayd/config"
)

func newBridge() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bridge",
		Short: "Bridges to other brokers: state, test, pause, resume, drain, parked, orphans",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newBridgeList(), newBridgeTest(), newBridgeParked(), newBridgeOrphans(),
		newBridgeCommand("pause", "Disconnect a bridge of the running gateway; its messages wait in the store"),
		newBridgeCommand("resume", "Connect a paused or manual bridge at once, and join rules that a storm has cut"),
		newBridgeCommand("drain", "Wait until nothing waits for the other broker, then pause the bridge"))
	return cmd
}

func newBridgeList() *cobra.Command {
	var r remote
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Say how the bridges of the running gateway are doing",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), 10*time.Second)
			defer cancel()
			s, _, err := r.status(ctx)
			if err != nil {
				return err
			}
			if asJSON {
				if s.Bridges == nil {
					s.Bridges = []bridge.Status{}
				}
				return json.NewEncoder(cmd.OutOrStdout()).Encode(s.Bridges)
			}
			for _, b := range s.Bridges {
				printBridge(cmd.OutOrStdout(), b)
				printRules(cmd.OutOrStdout(), b)
			}
			return nil
		},
	}
	r.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newBridgeCommand(what, short string) *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:   what + " NAME",
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			body, code, err := r.do(cmd.Context(), http.MethodPost, "/api/v1/bridges/"+args[0]+"/"+what)
			if err != nil {
				return err
			}
			if code >= 300 {
				return fmt.Errorf("bridge %s: %s", args[0], strings.TrimSpace(string(body)))
			}
			return nil
		},
	}
	r.add(cmd)
	return cmd
}

func newBridgeTest() *cobra.Command {
	var flags configFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "test [NAME...]",
		Short: "Connect as the configuration says and report what the other broker grants",
		Long: `test connects to every address of the named bridges, or of all, under a client id
of its own, so that a running bridge is not disturbed, and reports the limits
the other broker sets.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, names []string) error {
			c, err := flags.load()
			if err != nil {
				return err
			}
			if len(c.Bridges) == 0 {
				return usage("the configuration has no bridges")
			}
			for _, n := range names {
				if !hasBridge(c, n) {
					return usage("there is no bridge %q in the configuration", n)
				}
			}
			reports := map[string][]bridge.Report{}
			failed := 0
			id := gatewayID(c, board.Info{})
			for i, b := range c.Bridges {
				if len(names) > 0 && !slices.Contains(names, b.Name) {
					continue
				}
				rs, err := bridge.Test(cmd.Context(), bridgeOptions(c, i, id, slog.New(slog.DiscardHandler)))
				if err != nil {
					return c.Errorf(fmt.Sprintf("bridges[%d]", i), "correct the bridge", "%s", err)
				}
				reports[b.Name] = rs
				for _, r := range rs {
					if r.Err != "" {
						failed++
					}
					if !asJSON {
						printReport(cmd.OutOrStdout(), b.Name, r)
					}
				}
			}
			if asJSON {
				if err := json.NewEncoder(cmd.OutOrStdout()).Encode(reports); err != nil {
					return err
				}
			}
			if failed > 0 {
				return fmt.Errorf("%d addresses do not work", failed)
			}
			return nil
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func hasBridge(c *config.Config, name string) bool {
	for _, b := range c.Bridges {
		if b.Name == name {
			return true
		}
	}
	return false
}

func printReport(w io.Writer, name string, r bridge.Report) {
	if r.Err != "" {
		fmt.Fprintf(w, "%s %s: %s (after %s)\n", name, r.Address, r.Err, r.Took.Round(time.Millisecond))
		return
	}
	yes := map[bool]string{true: "yes", false: "no"}
	fmt.Fprintf(w, "%s %s: MQTT %s, in %s\n", name, r.Address, r.Protocol, r.Took.Round(time.Millisecond))
	fmt.Fprintf(w, "  in flight %d, QoS up to %d, retained %s, wildcards %s, topic aliases %d, keep alive %s\n",
		r.ReceiveMaximum, r.MaximumQoS, yes[r.Retain], yes[r.Wildcards], r.TopicAliases, r.Keepalive)
	if r.MaximumPacket > 0 {
		fmt.Fprintf(w, "  packets up to %s\n", config.Size(r.MaximumPacket))
	}
	fmt.Fprintf(w, "  shared subscriptions %s, subscription ids %s\n", yes[r.Shared], yes[r.SubIDs])
	if len(r.Told) > 0 {
		fmt.Fprintf(w, "  its CONNACK: %s\n", strings.Join(r.Told, ", "))
	}
	for _, f := range r.Filters {
		switch {
		case f.Error:
			fmt.Fprintf(w, "  subscription %s: refused: %s\n", f.Filter, f.Answer)
		case f.Less:
			fmt.Fprintf(w, "  subscription %s: %s, less than %d\n", f.Filter, f.Answer, f.Asked)
		default:
			fmt.Fprintf(w, "  subscription %s: %s\n", f.Filter, f.Answer)
		}
	}
	for _, c := range []struct {
		whose string
		days  *float64
	}{{"its certificate", r.CertDays}, {"our certificate", r.ClientCertDays}, {"its authority", r.CADays}} {
		if c.days != nil {
			fmt.Fprintf(w, "  %s is good for %.0f days\n", c.whose, *c.days)
		}
	}
}

// printRules says what each rule carried and lost.
func printRules(w io.Writer, b bridge.Status) {
	for _, r := range b.Rules {
		fmt.Fprintf(w, "  %s: %d out, %d in", r.Rule, r.Out, r.In)
		if r.Own {
			fmt.Fprintf(w, ", %d wait in its own queue (%s)", r.Messages, config.Size(r.Bytes))
		}
		for _, reason := range slices.Sorted(maps.Keys(r.Dropped)) {
			fmt.Fprintf(w, ", %d dropped (%s)", r.Dropped[reason], reason)
		}
		for _, reason := range slices.Sorted(maps.Keys(r.Parked)) {
			fmt.Fprintf(w, ", %d parked (%s)", r.Parked[reason], reason)
		}
		fmt.Fprintln(w)
	}
}
