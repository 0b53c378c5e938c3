package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
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
backup works on a running one too.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		newStoreTool("verify", "Read the whole store and check that it is in order", func(dir string, out io.Writer) error {
			if err := store.Verify(dir); err != nil {
				return err
			}
			_, err := fmt.Fprintln(out, "the store is in order")
			return err
		}),
		newStoreTool("dump", "Print what the store holds as JSON lines", store.DumpDir),
		newStoreTool("compact", "Give back the space that deletions left", func(dir string, out io.Writer) error {
			before := folderSize(dir)
			if err := store.CompactDir(dir); err != nil {
				return err
			}
			_, err := fmt.Fprintf(out, "%s: %d bytes before, %d after\n", dir, before, folderSize(dir))
			return err
		}),
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
func inUse(err error) bool { return strings.Contains(err.Error(), "Cannot acquire directory lock") }

func newStoreTool(name, short string, do func(dir string, out io.Writer) error) *cobra.Command {
	var flags configFlags
	cmd := &cobra.Command{
		Use:   name,
		Short: short,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, _, err := existingStore(&flags)
			if err != nil {
				return err
			}
			return storeFault(dir, do(dir, cmd.OutOrStdout()))
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
	var flags configFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "Say what the store holds",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, _, err := existingStore(&flags)
			if err != nil {
				return err
			}
			st, err := store.StatsOf(dir)
			if err != nil {
				return storeFault(dir, err)
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
			fmt.Fprintf(w, "bytes of the folder\t%d\n", folderSize(dir))
			return w.Flush()
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
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
			dir, c, err := existingStore(&r.flags)
			if err != nil {
				return err
			}
			copyTo := func(w io.Writer) error {
				err := backupFolder(cmd.Context(), dir, c, w)
				if err != nil && inUse(err) {
					return r.download(cmd.Context(), "/api/v1/store/backup", w)
				}
				return err
			}
			if args[0] == "-" {
				return copyTo(cmd.OutOrStdout())
			}
			return writeWhole(args[0], copyTo)
		},
	}
	r.add(cmd)
	cmd.Flags().StringVarP(&r.flags.o.DataDir, "data-dir", "d", "", "folder of the durable store")
	return cmd
}

func backupFolder(ctx context.Context, dir string, c *config.Config, w io.Writer) error {
	s, err := store.Open(dir, storeOptions(c, slog.New(slog.DiscardHandler)))
	if err != nil {
		return err
	}
	return errors.Join(s.Backup(ctx, w), s.Close())
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
