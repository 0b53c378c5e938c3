package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"gatewayd/config"
	"gatewayd/store"
	"gatewayd/web"
)

func newStore() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Look after the durable store",
		Long: `The store commands work on the data folder of a gateway that is not running;
stats and backup work on a running one too. None of them salvages: what is
damaged is an error, and stays as it is.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		newStoreTool("verify", "Read the whole store and check that it is in order", func(dir string) (any, string, error) {
			return map[string]any{"ok": true, "dir": dir}, "the store is in order", store.Verify(dir)
		}),
		newStoreTool("compact", "Give back the space that deletions left", func(dir string) (any, string, error) {
			before := folderSize(dir)
			err := store.CompactDir(dir)
			after := folderSize(dir)
			return map[string]any{"dir": dir, "bytes_before": before, "bytes_after": after},
				fmt.Sprintf("%s: %d bytes before, %d after", dir, before, after), err
		}),
		newStoreDump(),
		newStoreStats(), newStoreBackup(), newStoreRestore(), newStoreImport(),
	)
	return cmd
}

// storeDir is the folder of the store that the flags lead to.
func storeDir(flags *configFlags) (string, *config.Config, error) {
	c, err := flags.load()
	if err != nil {
		return "", nil, err
	}
	return filepath.Join(c.Gateway.DataDir, "store"), c, nil
}

// existingStore is storeDir for a store that must be there.
func existingStore(flags *configFlags) (string, *config.Config, error) {
	dir, c, err := storeDir(flags)
	if err != nil {
		return "", nil, err
	}
	if _, err := os.Stat(dir); err != nil {
		return "", nil, fmt.Errorf("there is no store in %s; name its data folder with -d", c.Gateway.DataDir)
	}
	return dir, c, nil
}

// storeFault says what to do about the usual reason.
func storeFault(dir string, err error) error {
	if err != nil && inUse(err) {
		return fmt.Errorf("the store in %s belongs to a running gateway; stop it first", dir)
	}
	return err
}

// inUse reports whether another process holds the store.
func inUse(err error) bool { return errors.Is(err, store.ErrInUse) }

// newStoreTool is a command on a store that no gateway has open. It says what
// came of it in a line, or as JSON, which has the fault too.
func newStoreTool(name, short string, do func(dir string) (result any, text string, err error)) *cobra.Command {
	var flags configFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   name,
		Short: short,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, _, err := existingStore(&flags)
			if err != nil {
				return err
			}
			result, text, err := do(dir)
			if err = storeFault(dir, err); err != nil {
				if asJSON {
					return errors.Join(err, json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]any{"ok": false, "dir": dir, "error": err.Error()}))
				}
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(result)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), text)
			return err
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newStoreDump() *cobra.Command {
	var flags configFlags
	cmd := &cobra.Command{
		Use:   "dump",
		Short: "Print what the store holds as JSON lines",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, _, err := existingStore(&flags)
			if err != nil {
				return err
			}
			return storeFault(dir, store.DumpDir(dir, cmd.OutOrStdout()))
		},
	}
	flags.add(cmd)
	return cmd
}

func folderSize(dir string) (n int64) {
	_ = filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			n += info.Size()
		}
		return nil
	})
	return n
}

func newStoreStats() *cobra.Command {
	var r remote
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "Say what the store holds, and of a running gateway what it wrote",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, _, err := existingStore(&r.flags)
			if err != nil {
				return err
			}
			st, err := store.StatsOf(dir)
			running := err != nil && inUse(err)
			if running {
				status, _, err := r.status(cmd.Context())
				if err != nil {
					return errors.Join(storeFault(dir, store.ErrInUse), err)
				}
				st = *status.Store
			} else if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(st)
			}
			return printStoreStats(cmd.OutOrStdout(), dir, st, running)
		},
	}
	r.add(cmd)
	cmd.Flags().StringVarP(&r.flags.o.DataDir, "data-dir", "d", "", "folder of the durable store")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printStoreStats(out io.Writer, dir string, st store.Stats, running bool) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	p := func(name, format string, args ...any) { fmt.Fprintf(w, name+"\t"+format+"\n", args...) }
	p("sessions", "%d", st.Sessions)
	p("queued messages", "%d", st.Messages)
	p("their bytes", "%d", st.MessageBytes)
	p("packed groups", "%d", st.Groups)
	p("their bytes on disk", "%d", st.BodyBytes)
	p("entries without a body", "%d", st.Lost)
	p("bytes of the folder", "%d", folderSize(dir))
	p("bytes of the disk", "%d", st.DiskSize)
	if !running {
		return w.Flush()
	}
	p("commits since the start", "%d, half of them within %s", st.Commits, st.CommitP50)
	p("never written, cancelled out", "%d", st.Elided)
	for _, name := range slices.Sorted(maps.Keys(st.Written)) {
		p("bytes handed to the database, "+name, "%d", st.Written[name])
	}
	p("bytes this process wrote", "%d", st.DiskWritten)
	p("bytes the device wrote", "%d", st.DeviceWritten)
	for _, d := range []struct {
		reason string
		n      uint64
	}{
		{"the oldest", st.DroppedOldest}, {"the newest", st.DroppedNewest}, {"an older one of its topic", st.DroppedTopic},
		{"too old", st.DroppedAge}, {"expired", st.DroppedExpired},
	} {
		p("dropped, "+d.reason, "%d", d.n)
	}
	p("refused", "%d", st.Rejected)
	if st.BytesPerDay > 0 {
		p("bytes a day at this rate", "%d", st.BytesPerDay)
		p("life of the card at this rate", "%.1f years, by estimate", st.CardYears)
	}
	return w.Flush()
}

func newStoreBackup() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write a consistent copy of the store into FILE, - for standard output",
		Long: `backup copies the store as it is at this moment. A gateway that runs on it is
asked for the copy over HTTP and goes on working.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, _, err := existingStore(&r.flags)
			if err != nil {
				return err
			}
			copyTo := func(w io.Writer) error {
				err := store.BackupDir(cmd.Context(), dir, w)
				if err != nil && inUse(err) {
					return r.download(cmd.Context(), "/api/v1/store/backup", w)
				}
				return err
			}
			if args[0] == "-" {
				return copyTo(cmd.OutOrStdout())
			}
			if err := writeWhole(args[0], copyTo); err != nil {
				return err
			}
			if info, err := os.Stat(args[0]); err == nil {
				fmt.Fprintf(cmd.ErrOrStderr(), "%s has the whole store, %d bytes\n", args[0], info.Size())
			}
			return nil
		},
	}
	r.add(cmd)
	cmd.Flags().StringVarP(&r.flags.o.DataDir, "data-dir", "d", "", "folder of the durable store")
	return cmd
}

// writeWhole makes a file that is there whole or not at all.
func writeWhole(name string, fill func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-")
	if err != nil {
		return err
	}
	err = fill(f)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the fault is what counts
	}
	return err
}

// download copies the answer to a GET of the running gateway.
func (r *remote) download(ctx context.Context, path string, w io.Writer) error {
	resp, err := r.send(ctx, http.MethodGet, path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return fmt.Errorf("the gateway answers %d: %s", resp.StatusCode, strings.TrimSpace(string(text)))
	}
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("the backup broke off: %w", err)
	}
	if fault := resp.Trailer.Get(web.FaultTrailer); fault != "" {
		return fmt.Errorf("the backup broke off: %s", fault)
	}
	return nil
}

func newStoreRestore() *cobra.Command {
	var flags configFlags
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make a store of a backup, - for standard input; the data folder must have none",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, c, err := storeDir(&flags)
			if err != nil {
				return err
			}
			in := cmd.InOrStdin()
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				in = f
			}
			if err := os.MkdirAll(c.Gateway.DataDir, 0o700); err != nil {
				return err
			}
			if err := store.Restore(dir, in); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "restored into %s\n", dir)
			return err
		},
	}
	flags.add(cmd)
	return cmd
}
