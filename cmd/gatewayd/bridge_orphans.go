package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"gatewayd/config"
	"gatewayd/store"
)

func newBridgeOrphans() *cobra.Command {
	var flags configFlags
	var remove bool
	cmd := &cobra.Command{
		Use:   "orphans [CLIENT...]",
		Short: "List the queues of bridges that are not configured any more, or give them up",
		Long: `orphans lists the sessions in the store of a gateway that is not running which
are a bridge's, named local. and a client id, but of no bridge that the
configuration has. What their subscriptions match goes on filling them. --remove
deletes them with everything that waits in them, or only those named.`,
		RunE: func(cmd *cobra.Command, only []string) error {
			dir, c, err := existingStore(&flags)
			if err != nil {
				return err
			}
			own, err := localClientIDs(c)
			if err != nil {
				return err
			}
			s, err := store.Open(dir, storeOptions(c, slog.New(slog.DiscardHandler)))
			if err != nil {
				return storeFault(dir, err)
			}
			found, err := findOrphans(s, own, only)
			if err == nil && remove {
				err = removeOrphans(cmd.Context(), s, found)
			}
			if err = errors.Join(err, s.Close()); err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			for _, o := range found {
				said := "waiting"
				if remove {
					said = "removed"
				}
				fmt.Fprintf(out, "%s: %d messages, %d bytes %s\n", o.client, o.messages, o.bytes, said)
			}
			if len(found) == 0 {
				fmt.Fprintln(out, "every bridge's queue belongs to a bridge of the configuration")
			}
			return nil
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&remove, "remove", false, "delete them with everything that waits in them")
	return cmd
}

// orphan is the session of a bridge that is not configured any more.
type orphan struct {
	id       store.SessionID
	client   string
	messages int
	bytes    int64
}

// localClientIDs are the client ids here of the bridges that are configured.
func localClientIDs(c *config.Config) (map[string]bool, error) {
	gateway := c.Gateway.ID
	if gateway == "" {
		b, err := openBoard(c, slog.New(slog.DiscardHandler))
		if err != nil {
			return nil, err
		}
		gateway = gatewayID(c, b.Info())
		b.Close()
	}
	own := map[string]bool{}
	for i := range c.Bridges {
		o := bridgeOptions(c, i, gateway, nil)
		id := cmp.Or(o.LocalClientID, "local."+o.ClientID)
		own[id], own[id+".retained"], own[id+".parked"] = true, true, true
	}
	return own, nil
}

// findOrphans lists the sessions that look like a bridge's and are not one of own;
// with only, those named.
func findOrphans(s *store.Store, own map[string]bool, only []string) ([]orphan, error) {
	var found []orphan
	err := s.Load(store.Loader{Session: func(ss store.Session, _ uint16) error {
		if strings.HasPrefix(ss.ClientID, "local.") && !own[ss.ClientID] && (len(only) == 0 || slices.Contains(only, ss.ClientID)) {
			found = append(found, orphan{id: ss.ID, client: ss.ClientID})
		}
		return nil
	}})
	for i := range found {
		found[i].messages, found[i].bytes, _ = s.Depth(found[i].id)
	}
	for _, name := range only {
		if !slices.ContainsFunc(found, func(o orphan) bool { return o.client == name }) {
			err = errors.Join(err, fmt.Errorf("%s is no queue of a bridge that is gone; gatewayd bridge orphans lists them", name))
		}
	}
	slices.SortFunc(found, func(a, b orphan) int { return strings.Compare(a.client, b.client) })
	return found, err
}

// removeOrphans deletes them, all or none.
func removeOrphans(ctx context.Context, s *store.Store, found []orphan) error {
	if len(found) == 0 {
		return nil
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(running) }()
	var b store.Batch
	for _, o := range found {
		b.DeleteSession(o.id)
	}
	done := make(chan error, 1)
	err := s.Submit(ctx, &b, func(r store.Receipt) { done <- r.Err })
	if err == nil {
		select {
		case err = <-done:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	stop()
	if runErr := <-ended; err == nil && runErr != nil && !errors.Is(runErr, context.Canceled) {
		err = runErr
	}
	return err
}
