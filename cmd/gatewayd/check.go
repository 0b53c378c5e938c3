package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"gatewayd/auth"
	"gatewayd/bridge"
	"gatewayd/config"
	"gatewayd/sensors"
	"gatewayd/topic"
)

func newCheck() *cobra.Command {
	var flags configFlags
	var explain, asJSON bool
	cmd := &cobra.Command{
		Use:   "check [FILE...]",
		Short: "Check the configuration and explain what it would do",
		Long: `check reads the configuration as run would and says what is wrong, one line for
each fault with file, line, column and remedy. Exit code 78 means it is wrong.
Nothing is opened, listened on or written. Further FILEs are configurations of
other gateways: circles that the bridges of all of them form together are found.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, others []string) error {
			c, err := flags.load()
			if err == nil {
				if faults := checkMeaning(c); len(faults) > 0 {
					err = faults
				}
			}
			if err == nil {
				err = checkTogether(c, others)
			}
			if asJSON {
				return checkJSON(cmd.OutOrStdout(), c, err)
			}
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			for _, n := range flags.notes {
				fmt.Fprintf(cmd.ErrOrStderr(), "gatewayd: %s\n", n)
			}
			for _, w := range warnings(c) {
				fmt.Fprintf(cmd.ErrOrStderr(), "gatewayd: warning: %s\n", w)
			}
			if explain {
				explainConfig(out, c)
			}
			if len(c.Files()) == 0 {
				fmt.Fprintln(out, "the built-in default is good")
				return nil
			}
			fmt.Fprintf(out, "%s: good\n", strings.Join(c.Files(), ", "))
			return nil
		},
	}
	flags.add(cmd)
	flags.addMosquitto(cmd)
	cmd.Flags().BoolVar(&explain, "explain", false, "say what the gateway would do")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// checkTogether finds circles through several gateways.
func checkTogether(c *config.Config, others []string) error {
	if len(others) == 0 {
		return nil
	}
	sites := []bridge.Site{site(c)}
	for i, file := range others {
		o, err := config.Load(file, config.Options{})
		if err != nil {
			return err
		}
		s := site(o)
		if o.Gateway.ID == "" {
			s.Name = fmt.Sprintf("gateway %d (%s)", i+2, file)
		}
		sites = append(sites, s)
	}
	var faults config.Errors
	for _, cycle := range bridge.Cycles(sites) {
		faults = append(faults, c.Errorf("bridges", "let one of the rules go one way only, or give the two ways different prefixes",
			"messages would go round in a circle: %s", cycle))
	}
	if len(faults) > 0 {
		return faults
	}
	return nil
}

// checkJSON prints the result for a program.
func checkJSON(out io.Writer, c *config.Config, err error) error {
	type fault struct {
		File    string `json:"file,omitempty"`
		Line    int    `json:"line,omitempty"`
		Column  int    `json:"column,omitempty"`
		Path    string `json:"path,omitempty"`
		Problem string `json:"problem"`
		Remedy  string `json:"remedy,omitempty"`
	}
	result := struct {
		Good     bool     `json:"good"`
		Faults   []fault  `json:"faults"`
		Warnings []string `json:"warnings"`
	}{Good: err == nil, Faults: []fault{}, Warnings: []string{}}
	faults, ok := errors.AsType[config.Errors](err)
	if err != nil && !ok {
		return err
	}
	for _, e := range faults {
		result.Faults = append(result.Faults, fault{e.Pos.File, e.Pos.Line, e.Pos.Column, e.Path, e.Problem, e.Remedy})
	}
	if err == nil {
		result.Warnings = append(result.Warnings, warnings(c)...)
	}
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	if err := enc.Encode(result); err != nil {
		return err
	}
	if err != nil {
		return &exit{code: exitConfig}
	}
	return nil
}

// checkMeaning finds what only the other rooms can judge, without opening
// anything but the files that the configuration names.
func checkMeaning(c *config.Config) config.Errors {
	var faults config.Errors
	fail := func(path, remedy, format string, args ...any) {
		faults = append(faults, c.Errorf(path, remedy, format, args...))
	}
	for i, b := range c.Bridges {
		for j, t := range b.Topics {
			checkRule(c, fmt.Sprintf("bridges[%d].topics[%d]", i, j), t, fail)
		}
	}
	for i, s := range c.Sensors {
		name := strings.NewReplacer("{name}", s.Name, "{quantity}", "q", "{gateway}", "g").Replace(s.Topic)
		if err := topic.ValidName(name); err != nil {
			fail(fmt.Sprintf("sensors[%d].topic", i), "write a topic such as {name}/{quantity}", "%q: %s", s.Topic, err)
		}
	}
	if len(faults) == 0 {
		faults = append(faults, checkCycles(c)...)
	}
	checkSparkplug(c, fail)
	faults = append(faults, checkSensors(c)...)
	return append(faults, checkFiles(c)...)
}

// checkSensors lets the room itself judge, on this board or a simulated one.
// Whether the parts answer is found out while running: they may be plugged in
// later.
func checkSensors(c *config.Config) config.Errors {
	if c.Board.Kind == "none" {
		return nil
	}
	quiet := slog.New(slog.DiscardHandler)
	b, err := openBoard(c, quiet)
	if err == nil {
		defer b.Close()
		o := sensorOptions(c, "check", quiet)
		o.Buses, o.Sink = b, discardSink{}
		if _, err = sensors.New(o); err != nil {
			err = sensorFault(c, b, err)
		}
	}
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*config.Error](err); ok {
		return config.Errors{e}
	}
	return config.Errors{c.Errorf("sensors", "correct the entry", "%s", err)}
}

// checkRule holds a bridge's rule against what Mosquitto's bridges allow.
func checkRule(c *config.Config, path string, t config.Topic, fail func(path, remedy, format string, args ...any)) {
	const remedy = "write a topic filter such as room1/#, + and # each alone in its level"
	if t.Filter != "" {
		if err := topic.ValidFilter(t.Filter); err != nil {
			fail(path+".filter", remedy, "%q: %s", t.Filter, err)
			return
		}
	}
	r := topic.Remap{Pattern: t.Filter, Local: t.LocalPrefix, Remote: t.RemotePrefix}
	if err := r.Validate(); err != nil {
		at := path
		if c.Written(path + ".filter") {
			at += ".filter"
		}
		fail(at, "correct the filter or the prefixes", "%s", err)
	}
}

// checkCycles finds circles that the gateway's own bridges form.
func checkCycles(c *config.Config) config.Errors {
	var faults config.Errors
	for _, cycle := range bridge.Cycles([]bridge.Site{site(c)}) {
		faults = append(faults, c.Errorf("bridges", "let one of the rules go one way only, or give the two ways different prefixes",
			"messages would go round in a circle: %s", cycle))
	}
	return faults
}

// site is a gateway as the search for circles sees it.
func site(c *config.Config) bridge.Site {
	s := bridge.Site{Name: c.Gateway.ID}
	if s.Name == "" {
		s.Name = "this gateway"
	}
	for _, l := range c.Listeners {
		s.Addresses = append(s.Addresses, l.Address)
	}
	for i := range c.Bridges {
		s.Bridges = append(s.Bridges, bridgeOptions(c, i, s.Name, nil))
	}
	return s
}

// checkFiles reads the files the configuration names, as run would.
func checkFiles(c *config.Config) config.Errors {
	var faults config.Errors
	fail := func(path string, err error) {
		faults = append(faults, c.Errorf(path, "correct the file or the path", "%s", err))
	}
	if c.Auth.PasswordFile != "" {
		if _, err := auth.ReadPasswords(c.Auth.PasswordFile); err != nil {
			fail("auth.password_file", err)
		}
	}
	if c.Auth.ScramFile != "" {
		if _, err := auth.ReadCredentials(c.Auth.ScramFile); err != nil {
			fail("auth.scram_file", err)
		}
	}
	if c.Auth.ACLFile != "" {
		if _, err := auth.ReadRules(c.Auth.ACLFile); err != nil {
			fail("auth.acl_file", err)
		}
	}
	for i, l := range c.Listeners {
		if l.PasswordFile != "" {
			if _, err := auth.ReadPasswords(l.PasswordFile); err != nil {
				fail(fmt.Sprintf("listeners[%d].password_file", i), err)
			}
		}
		if l.ACLFile != "" {
			if _, err := auth.ReadRules(l.ACLFile); err != nil {
				fail(fmt.Sprintf("listeners[%d].acl_file", i), err)
			}
		}
		if l.TLS != nil {
			if _, err := auth.NewServerTLS(serverTLS(l.TLS)); err != nil {
				fail(fmt.Sprintf("listeners[%d].tls", i), err)
			}
		}
	}
	for i, b := range c.Bridges {
		if b.TLS != nil {
			if _, err := clientTLS(b.TLS); err != nil {
				fail(fmt.Sprintf("bridges[%d].tls", i), err)
			}
		}
	}
	if c.HTTP.TLS != nil {
		if _, err := auth.NewServerTLS(serverTLS(c.HTTP.TLS)); err != nil {
			fail("http.tls", err)
		}
	}
	return faults
}

// warnings is what is allowed but worth a second look.
func warnings(c *config.Config) []string {
	var out []string
	warn := func(path, format string, args ...any) {
		out = append(out, c.Errorf(path, "", format, args...).Error())
	}
	for i, l := range c.Listeners {
		if l.Anonymous && !config.Loopback(l.Address) && c.RightsOf(l) == "" {
			warn(fmt.Sprintf("listeners[%d].address", i), "everyone who reaches %s may do everything", l.Address)
		}
	}
	if c.Store.RetainedClass != "commit" {
		warn("store.retained_class", "retained messages of QoS 1 and 2 may be lost at a power cut (class %s)", c.Store.RetainedClass)
	}
	if !c.Store.Persistence {
		warn("store.persistence", "everything is lost at a restart")
	}
	for i, b := range c.Bridges {
		p := fmt.Sprintf("bridges[%d]", i)
		for _, say := range bridge.Lint(bridgeOptions(c, i, "gateway", nil)) {
			warn(p, "%s", say)
		}
		if b.TLS != nil && b.TLS.Insecure {
			warn(p+".tls.insecure", "the bridge %q accepts any certificate", b.Name)
		}
		if b.CleanSession || b.LocalCleanSession {
			for _, t := range b.Topics {
				if t.QoS > 0 {
					warn(p, "the bridge %q forgets its session, so messages of QoS %d are lost when the connection ends", b.Name, t.QoS)
					break
				}
			}
		}
	}
	if c.Auth.ACLFile != "" {
		if rules, err := auth.ReadRules(c.Auth.ACLFile); err == nil {
			out = append(out, rules.Warnings()...)
		}
	}
	return out
}
