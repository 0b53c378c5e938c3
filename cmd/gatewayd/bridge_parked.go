package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"gatewayd/config"
	"gatewayd/web"
)

func newBridgeParked() *cobra.Command {
	var r remote
	var release, drop, show, asJSON bool
	cmd := &cobra.Command{
		Use:   "parked NAME [ID...]",
		Short: "List the messages kept aside because the other broker cannot take them, release or drop them",
		Long: `parked lists the messages that a bridge of the running gateway keeps aside because
the other broker's limits exclude them: limits in the bridge's configuration says
which. --release sends them again, those named or all: they cross if the limits
allow it by now, else they are parked anew. --drop gives them up. --show writes
the content of one to standard output.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			method, path := http.MethodGet, "/api/v1/bridges/"+url.PathEscape(args[0])+"/parked"
			switch {
			case release && drop, show && (release || drop):
				return usage("--release, --drop and --show exclude each other")
			case show && len(args) != 2:
				return usage("--show needs the number of one message")
			case release:
				method, path = http.MethodPost, path+"/release"
			case drop:
				method, path = http.MethodPost, path+"/drop"
			case !show && len(args) > 1:
				return usage("numbers of messages need --release, --drop or --show")
			}
			q := url.Values{"id": args[1:]}
			body, code, err := r.do(cmd.Context(), method, path+"?"+q.Encode())
			if err != nil {
				return err
			}
			if code >= 300 {
				return fmt.Errorf("bridge %s: %s", args[0], strings.TrimSpace(string(body)))
			}
			if asJSON {
				_, err := cmd.OutOrStdout().Write(body)
				return err
			}
			var p web.Parked
			if err := json.Unmarshal(body, &p); err != nil {
				return fmt.Errorf("the gateway's answer is not understood: %w", err)
			}
			return printParked(cmd.OutOrStdout(), p, release, drop, show, args)
		},
	}
	r.add(cmd)
	f := cmd.Flags()
	f.BoolVar(&release, "release", false, "send them again")
	f.BoolVar(&drop, "drop", false, "give them up")
	f.BoolVar(&show, "show", false, "write the content of one message")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printParked(w io.Writer, p web.Parked, release, drop, show bool, args []string) error {
	switch {
	case release:
		fmt.Fprintf(w, "%d released\n", p.Count)
	case drop:
		fmt.Fprintf(w, "%d dropped\n", p.Count)
	case show:
		for _, m := range p.Messages {
			if fmt.Sprint(m.ID) == args[1] {
				_, err := w.Write(m.Content)
				return err
			}
		}
		return fmt.Errorf("no message %s is parked", args[1])
	case len(p.Messages) == 0:
		fmt.Fprintln(w, "nothing is parked")
	}
	if release || drop {
		if n := len(args) - 1; p.Count < n {
			return errors.New("some of these are not parked any more")
		}
		return nil
	}
	for _, m := range p.Messages {
		retained := ""
		if m.Retain {
			retained = ", retained"
		}
		fmt.Fprintf(w, "%d %s %s, %s, QoS %d%s\n", m.ID, m.Time.Format("2006-01-02T15:04:05Z"), m.Topic, config.Size(m.Bytes), m.QoS, retained)
	}
	return nil
}
