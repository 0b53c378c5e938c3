package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatewayd/board"
	"gatewayd/config"
)

// diagLimit bounds one file of the bundle: the end of a log is what matters.
const diagLimit = 4 << 20

func newDiag() *cobra.Command {
	var flags configFlags
	var to, user, password string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "diag",
		Short: "Make a support bundle, secrets masked",
		Long: `diag writes one archive with what somebody needs who helps you: version,
configuration with its secrets masked and what is wrong with it, what the board
and its kernel say, the state and figures of the running gateway, the sizes of
the files of the store, the end of the log file. Names of topics and clients are
in it, contents of messages and passwords are not. Look into it before you send
it: tar tzf FILE lists it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			now := time.Now()
			if to == "" {
				to = "gatewayd-diag-" + now.UTC().Format("20060102-150405") + ".tar.gz"
			}
			f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
			if err != nil {
				return err
			}
			d := newBundle(f, now)
			d.collect(cmd.Context(), &flags, user, password)
			if err := d.close(); err != nil {
				f.Close()
				return err
			}
			if err := f.Close(); err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]any{"file": to, "contents": d.names, "missing": d.missing})
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s has %s\n", to, strings.Join(d.names, ", "))
			for _, m := range d.missing {
				fmt.Fprintln(cmd.OutOrStdout(), "not in it:", m)
			}
			return nil
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVarP(&to, "output", "o", "", "file to write (default: gatewayd-diag-TIME.tar.gz here)")
	cmd.Flags().StringVarP(&user, "username", "u", "", "user name for the running gateway")
	cmd.Flags().StringVarP(&password, "pw", "P", "", "password for it")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what is in it as JSON")
	return cmd
}

// bundle is an archive that goes on when a part of it cannot be had.
type bundle struct {
	zip     *gzip.Writer
	tar     *tar.Writer
	at      time.Time
	names   []string
	missing []string
	err     error
	hide    []string // secrets that are replaced wherever they stand
}

func newBundle(w io.Writer, at time.Time) *bundle {
	z := gzip.NewWriter(w)
	return &bundle{zip: z, tar: tar.NewWriter(z), at: at, missing: []string{}}
}

func (d *bundle) close() error {
	if d.err == nil {
		d.err = d.tar.Close()
	}
	if d.err == nil {
		d.err = d.zip.Close()
	}
	return d.err
}

// add puts a file into the archive, without the secrets that are known.
func (d *bundle) add(name string, text []byte) {
	if d.err != nil {
		return
	}
	for _, secret := range d.hide {
		text = bytes.ReplaceAll(text, []byte(secret), []byte("********"))
	}
	d.err = d.tar.WriteHeader(&tar.Header{Name: "gatewayd-diag/" + name, Mode: 0o600, Size: int64(len(text)), ModTime: d.at})
	if d.err == nil {
		_, d.err = d.tar.Write(text)
	}
	d.names = append(d.names, name)
}

// lacks notes what cannot be had, and why.
func (d *bundle) lacks(name string, why error) {
	d.missing = append(d.missing, fmt.Sprintf("%s (%s)", name, why))
}

func (d *bundle) addJSON(name string, v any) {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		d.lacks(name, err)
		return
	}
	d.add(name, append(text, '\n'))
}

// collect gathers everything.
func (d *bundle) collect(ctx context.Context, flags *configFlags, user, password string) {
	d.add("version.txt", versionText())
	c, err := flags.load()
	if err != nil {
		d.add("config-errors.txt", []byte(err.Error()+"\n"))
		d.lacks("config.yaml", errors.New("the configuration is wrong"))
		c, _ = config.Load("", config.Options{DataDir: flags.o.DataDir}) // the built-in default, for the rest
	} else {
		d.hide = secretsOf(reflect.ValueOf(c))
		d.add("config.yaml", c.Show())
		var text strings.Builder
		explainConfig(&text, c)
		for _, w := range warnings(c) {
			fmt.Fprintln(&text, "warning:", w)
		}
		d.add("config-explained.txt", []byte(text.String()))
	}
	d.kernel()
	if c == nil {
		return
	}
	b, err := board.Open(board.Options{Mode: board.ModeNone, Log: slog.New(slog.DiscardHandler)})
	if err == nil {
		d.addJSON("board.json", map[string]any{"detected": board.Detect("/"), "health": b.Health(c.Gateway.DataDir)})
		b.Close()
	}
	d.files(c.Gateway.DataDir)
	if c.Log.File != "" {
		if text, err := tail(c.Log.File); err != nil {
			d.lacks("log.txt", err)
		} else {
			d.add("log.txt", text)
		}
	}
	d.running(ctx, c, user, password)
}

// kernel copies what the kernel says of the machine.
func (d *bundle) kernel() {
	for _, f := range []string{"/proc/version", "/proc/cpuinfo", "/proc/meminfo", "/proc/loadavg", "/proc/mounts", "/proc/partitions", "/proc/device-tree/model",
		"/etc/os-release", "/sys/class/thermal/thermal_zone0/temp"} {
		if text, err := os.ReadFile(f); err == nil { // what this machine has
			d.add("system"+f, text)
		}
	}
}

// files lists the data folder; nothing of the files themselves goes in.
func (d *bundle) files(dir string) {
	var list strings.Builder
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			fmt.Fprintf(&list, "%s: %v\n", path, err)
			return nil
		}
		if info, err := e.Info(); err == nil { // it may have gone meanwhile
			fmt.Fprintf(&list, "%s %12d %s %s\n", info.Mode(), info.Size(), info.ModTime().UTC().Format(time.RFC3339), path)
		}
		return nil
	})
	if err != nil {
		d.lacks("data-files.txt", err)
		return
	}
	d.add("data-files.txt", []byte(list.String()))
}

// running asks the gateway that runs.
func (d *bundle) running(ctx context.Context, c *config.Config, user, password string) {
	base, err := baseURL(c)
	if err != nil {
		d.lacks("status.json", err)
		return
	}
	r := remote{address: base, user: user, password: password}
	for _, x := range [][2]string{{"status.json", "/api/v1/status"}, {"metrics.txt", "/metrics"}, {"health.txt", "/healthz"}} {
		text, code, err := r.do(ctx, http.MethodGet, x[1])
		switch {
		case err != nil:
			d.lacks(x[0], err)
		case code == http.StatusUnauthorized:
			d.lacks(x[0], errors.New("the gateway asks for a login: -u USER -P PASSWORD"))
		default:
			d.add(x[0], text)
		}
	}
}

// secretsOf are the values of every Secret in v, the long ones first.
func secretsOf(v reflect.Value) (all []string) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			all = secretsOf(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				all = append(all, secretsOf(v.Field(i))...)
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			all = append(all, secretsOf(v.Index(i))...)
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			all = append(all, secretsOf(v.MapIndex(k))...)
		}
	default:
		if v.Type() == reflect.TypeFor[config.Secret]() && v.String() != "" {
			all = []string{v.String()}
		}
	}
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) })
	return all
}

// tail is the end of a file.
func tail(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.NewSectionReader(f, max(0, info.Size()-diagLimit), diagLimit))
}

func versionText() []byte {
	text := fmt.Sprintf("gatewayd %s, %s, %s/%s, %d processors\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	if info, ok := debug.ReadBuildInfo(); ok {
		text += info.String()
	}
	return []byte(text)
}
