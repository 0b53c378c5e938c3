package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatewayd/bridge"
	"gatewayd/config"
	"gatewayd/web"
)

// remote talks to the HTTP server of the running gateway.
type remote struct {
	flags    configFlags
	address  string
	user     string
	password string
}

func (r *remote) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVarP(&r.flags.file, "config", "c", "", "configuration file of the gateway")
	fl.StringVar(&r.address, "http", "", "address of the gateway's HTTP server (default: http.address of the configuration)")
	fl.StringVarP(&r.user, "username", "u", "", "user name")
	fl.StringVarP(&r.password, "pw", "P", "", "password")
}

// base is the URL the gateway's HTTP server has.
func (r *remote) base() (string, error) {
	if r.address != "" {
		if !strings.Contains(r.address, "://") {
			return "http://" + r.address, nil
		}
		return strings.TrimSuffix(r.address, "/"), nil
	}
	c, err := r.flags.load()
	if err != nil {
		return "", err
	}
	return baseURL(c)
}

func baseURL(c *config.Config) (string, error) {
	if !c.HTTP.Enabled() {
		return "", errors.New("the gateway has no HTTP server (http.address is off)")
	}
	scheme := "http"
	if c.HTTP.TLS != nil {
		scheme = "https"
	}
	host, port, err := net.SplitHostPort(c.HTTP.Address)
	if err != nil {
		return "", fmt.Errorf("http.address %s: %w", c.HTTP.Address, err)
	}
	if host == "" || host == "0.0.0.0" || host == "::" {
		host = "localhost"
	}
	return scheme + "://" + net.JoinHostPort(host, port), nil
}

// send sends one request.
func (r *remote) send(ctx context.Context, method, path string) (*http.Response, error) {
	base, err := r.base()
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, base+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set(web.CommandHeader, "1")
	if r.user != "" {
		req.SetBasicAuth(r.user, r.password)
	}
	client := http.Client{}
	if host := req.URL.Hostname(); config.Loopback(net.JoinHostPort(host, "0")) {
		// Its certificate is for the name the network knows it by.
		client.Transport = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	}
	resp, err := client.Do(req)
	if err != nil {
		if op, ok := errors.AsType[*net.OpError](err); ok {
			err = op.Err
		}
		return nil, fmt.Errorf("no gateway answers at %s: %w", base, err)
	}
	return resp, nil
}

// do sends one request and returns the answer's body.
func (r *remote) do(ctx context.Context, method, path string) (body []byte, code int, err error) {
	resp, err := r.send(ctx, method, path)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	return body, resp.StatusCode, err
}

// status asks for everything there is to know.
func (r *remote) status(ctx context.Context) (*web.Status, []byte, error) {
	body, code, err := r.do(ctx, http.MethodGet, "/api/v1/status")
	if err != nil {
		return nil, nil, err
	}
	if code != http.StatusOK {
		return nil, nil, fmt.Errorf("the gateway answers %d: %s", code, strings.TrimSpace(string(body)))
	}
	var s web.Status
	if err := json.Unmarshal(body, &s); err != nil {
		return nil, nil, fmt.Errorf("the gateway's answer is not understood: %w", err)
	}
	return &s, body, nil
}

func newHealth() *cobra.Command {
	var r remote
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "health",
		Short: "One line and an exit code for scripts",
		Long:  "health prints one line and ends with 0 when the running gateway is ready and its store takes writes, else with 1.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			for _, path := range []string{"/healthz", "/readyz"} {
				body, code, err := r.do(ctx, http.MethodGet, path)
				if err != nil {
					return err
				}
				if code != http.StatusOK {
					return errors.New(strings.ReplaceAll(strings.TrimSpace(string(body)), "\n", "; "))
				}
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "healthy")
			return err
		},
	}
	r.add(cmd)
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "give up after this long")
	return cmd
}

func newStatus() *cobra.Command {
	var r remote
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "A page about the running gateway",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), 10*time.Second)
			defer cancel()
			s, body, err := r.status(ctx)
			if err != nil {
				return err
			}
			if asJSON {
				_, err = cmd.OutOrStdout().Write(body)
				return err
			}
			printStatus(cmd.OutOrStdout(), s)
			return nil
		},
	}
	r.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printStatus(w io.Writer, s *web.Status) {
	p := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	state := "ready"
	if !s.Ready {
		state = "not ready: " + s.NotReady
	}
	p("%s, gatewayd %s, up %s, %s", s.Gateway, s.Version, time.Duration(s.Uptime*float64(time.Second)).Round(time.Second), state)
	if b := s.Broker; b != nil {
		p("clients: %d connected, %d away; %d subscriptions, %d retained messages", b.Connected, b.Disconnected, b.Subscriptions, b.Retained)
		p("messages: %d received, %d sent, %d dropped, %d expired, %d refused", b.PublishesReceived, b.PublishesSent, b.PublishesDropped, b.PublishesExpired, b.PublishesRefused)
	}
	if st := s.Store; st != nil {
		health := "in order"
		if !s.Healthy {
			health = strings.Join(s.Problems, "; ")
		}
		p("store: %s; %d messages (%s) wait, %d commits, half of them within %s", health, st.Messages, config.Size(st.MessageBytes), st.Commits, st.CommitP50)
	}
	for _, x := range s.Sensors {
		if !x.Online {
			p("sensor %s: offline: %s", x.Name, x.Reason)
			continue
		}
		var values []string
		for _, r := range x.Readings {
			values = append(values, fmt.Sprintf("%s %s %s", r.Quantity, r.Number(), r.Unit))
		}
		p("sensor %s: %s", x.Name, strings.Join(values, ", "))
	}
	for _, l := range s.Lines {
		p("line %s (%s): %s %s", l.Name, l.Line, l.State, l.Reason)
	}
	for _, b := range s.Bridges {
		printBridge(w, b)
	}
	for _, warning := range s.Warnings {
		p("warning: %s", warning)
	}
}

func printBridge(w io.Writer, b bridge.Status) {
	where := b.Address
	if b.State != bridge.Connected {
		where = b.LastError
	}
	fmt.Fprintf(w, "bridge %s: %s %s; %d wait, %d in flight, %d out, %d in", b.Name, b.State, where, b.QueueMessages, b.Inflight, b.Out, b.In)
	fmt.Fprintf(w, "; %.1f out and %.1f in a second", b.OutRate, b.InRate)
	if b.Oldest > 0 {
		fmt.Fprintf(w, ", the oldest has waited for %v", max(time.Since(time.UnixMilli(b.Oldest)), 0).Round(time.Second))
	}
	if b.RoundTrip > 0 {
		fmt.Fprintf(w, ", round trip %v", b.RoundTrip.Round(100*time.Microsecond))
	}
	if b.CertDays != nil {
		fmt.Fprintf(w, ", its certificate good for %.0f days", *b.CertDays)
	}
	if b.ClientCertDays != nil {
		fmt.Fprintf(w, ", ours for %.0f", *b.ClientCertDays)
	}
	if b.CADays != nil {
		fmt.Fprintf(w, ", its authority for %.0f", *b.CADays)
	}
	if b.Parked.Messages > 0 {
		fmt.Fprintf(w, ", %d parked (gatewayd bridge parked %s)", b.Parked.Messages, b.Name)
	}
	if b.QueueBytes > 0 {
		fmt.Fprintf(w, ", %s on the disk", config.Size(b.QueueBytes))
	}
	if b.Retried > 0 {
		fmt.Fprintf(w, ", %d sent again", b.Retried)
	}
	for _, reason := range slices.Sorted(maps.Keys(b.Dropped)) {
		fmt.Fprintf(w, ", %d dropped (%s)", b.Dropped[reason], reason)
	}
	for _, r := range b.CutRules {
		fmt.Fprintf(w, "; cut: %s", r)
	}
	fmt.Fprintln(w)
}
