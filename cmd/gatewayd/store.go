package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"gatewayd/config"
	"gatewayd/store"
)

func newStore() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Look after the durable store of a gateway that is not running",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newStoreVerify(), newStoreStats())
	return cmd
}

// openStore opens the store that the flags lead to, which must exist.
func openStore(flags *configFlags) (*store.Store, *config.Config, error) {
	c, err := flags.load()
	if err != nil {
		return nil, nil, err
	}
	dir := filepath.Join(c.Gateway.DataDir, "store")
	if _, err := os.Stat(dir); err != nil {
		return nil, nil, fmt.Errorf("there is no store in %s; name its data folder with -d", c.Gateway.DataDir)
	}
	s, err := store.Open(dir, storeOptions(c, memory(), slog.New(slog.DiscardHandler)))
	if err != nil {
		return nil, nil, fmt.Errorf("open the store in %s: %w", dir, err)
	}
	return s, c, nil
}

func newStoreVerify() *cobra.Command {
	var flags configFlags
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check that the store is in order",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, _, err := openStore(&flags)
			if err != nil {
				return err
			}
			fault, st := s.Check(), s.Stats()
			if err := errors.Join(fault, s.Close()); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "the store is in order: %d sessions, %d queued messages, %d bytes\n", st.Sessions, st.Messages, st.MessageBytes)
			return nil
		},
	}
	flags.add(cmd)
	return cmd
}

func newStoreStats() *cobra.Command {
	var flags configFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "Say what the store holds",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, _, err := openStore(&flags)
			if err != nil {
				return err
			}
			st := s.Stats()
			if err := s.Close(); err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(st)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintf(w, "sessions\t%d\n", st.Sessions)
			fmt.Fprintf(w, "queued messages\t%d\n", st.Messages)
			fmt.Fprintf(w, "their bytes\t%d\n", st.MessageBytes)
			fmt.Fprintf(w, "packed groups\t%d\n", st.Groups)
			fmt.Fprintf(w, "their bytes on disk\t%d\n", st.BodyBytes)
			fmt.Fprintf(w, "entries without a body\t%d\n", st.Lost)
			for _, k := range slices.Sorted(maps.Keys(st.Written)) {
				fmt.Fprintf(w, "written for %s\t%d\n", k, st.Written[k])
			}
			return w.Flush()
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
