package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"gatewayd/config"
	"gatewayd/sensors"
	"gatewayd/topic"
)

// planInput is what a plan is made for, besides the configuration.
type planInput struct {
	outage   time.Duration // how long a centre may be away
	clients  int
	rate     float64 // messages a second of all clients together
	size     int     // bytes of a message of theirs
	carried  bool    // bridges carry the clients' messages too
	free     int64   // bytes of disk, 0: not known
	device   int64   // bytes of the file system
	memory   int64   // bytes of the board
	writable bool    // messages are kept on disk at all
}

// planLine is one line of a plan.
type planLine struct {
	What  string `json:"what"`
	Needs string `json:"needs"`
	Has   string `json:"has,omitempty"`
	Fits  string `json:"fits"` // yes, no, or - where nothing bounds it
}

// What things cost, from docs/BENCHMARKS.md and docs/STORE.md.
const (
	planBase       = 25 << 20 // resident set after the start
	planConnection = 10 << 10 // a TLS connection with its session and a subscription; plain ones take 2 KiB
	planRetained   = 450      // a retained topic in memory
	planRecord     = 40       // bytes a waiting message takes beside topic and payload
	planSpread     = 1.2      // of the files over what they hold
	planRewrite    = 3        // each byte is written to the log, to a table, and once more by a compaction
	planSync       = 8 << 10  // bytes a commit writes at least: a page of the log, one of the file system's journal
	planReading    = 8        // bytes of a plain value
	planReadingMax = 160      // bytes of a JSON value
)

func newPlan() *cobra.Command {
	var flags configFlags
	var in planInput
	var asJSON bool
	var outage string
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Estimate whether what the configuration asks for fits this machine",
		Long: `plan reckons what the configuration makes of messages, what waits on the disk while
a bridge's other end is away for as long as --outage says, how long the card will
last and what memory is taken, and sets it against what this machine has. Filters
that thin out readings are not counted, so it errs on the safe side. Say with
--clients, --rate and --size what other clients do; lines count as nothing. It
ends with 1 when something does not fit.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := flags.load()
			if err != nil {
				return err
			}
			if in.outage, err = days(outage); err != nil {
				return err
			}
			if in.clients < 0 || in.rate < 0 || in.size < 0 {
				return usage("--clients, --rate and --size cannot be negative")
			}
			in.measure(c)
			lines := plan(c, in)
			if err := printPlan(cmd.OutOrStdout(), lines, asJSON); err != nil {
				return err
			}
			for _, l := range lines {
				if l.Fits == "no" {
					return fmt.Errorf("%s does not fit", l.What)
				}
			}
			return nil
		},
	}
	flags.add(cmd)
	fl := cmd.Flags()
	fl.StringVar(&outage, "outage", "7d", "how long a bridge's other end may be away, such as 12h or 30d")
	fl.IntVar(&in.clients, "clients", 50, "clients that are connected at a time")
	fl.Float64Var(&in.rate, "rate", 1, "messages a second of all clients together, sensors of the board not counted")
	fl.IntVar(&in.size, "size", 100, "bytes of such a message with its topic")
	fl.BoolVar(&in.carried, "clients-cross", true, "the bridges carry the clients' messages too")
	fl.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// days reads a duration that may be in days.
func days(s string) (time.Duration, error) {
	d, err := config.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, usage("--outage %s is no duration; write 12h or 7d", s)
	}
	return d.D(), nil
}

// measure looks at the machine.
func (in *planInput) measure(c *config.Config) {
	in.memory, in.writable = memory(), c.Store.Persistence
	if limit := int64(c.MQTT.MemoryLimit); limit > 0 {
		in.memory = min(in.memory, limit)
	}
	dir := c.Gateway.DataDir
	for dir != "" {
		var st syscall.Statfs_t
		if syscall.Statfs(dir, &st) == nil {
			in.free, in.device = int64(st.Bavail)*int64(st.Bsize), int64(st.Blocks)*int64(st.Bsize)
			return
		}
		next := filepath.Dir(dir)
		if _, err := os.Stat(dir); err == nil || next == dir {
			return
		}
		dir = next // not made yet
	}
}

// stream is messages of one kind.
type stream struct {
	topic string  // empty: the clients'
	rate  float64 // a second
	size  int     // bytes with the topic
}

// streams are what the gateway's sensors and the clients publish.
func streams(c *config.Config, in planInput) (list []stream) {
	for _, s := range c.Sensors {
		d, known := sensors.FindDriver(s.Driver)
		if !known || s.Every <= 0 {
			continue
		}
		size := planReading
		if s.Format == "json" {
			size = planReadingMax
		}
		for _, q := range d.Quantities {
			name := strings.NewReplacer("{name}", s.Name, "{quantity}", q, "{gateway}", c.Gateway.ID).Replace(s.Topic)
			list = append(list, stream{name, 1 / s.Every.D().Seconds(), size + len(name)})
		}
	}
	if in.rate > 0 {
		list = append(list, stream{"", in.rate, in.size})
	}
	return list
}

// crosses says whether a bridge carries a stream outward.
func crosses(b *config.Bridge, s stream, clients bool) bool {
	for _, t := range b.Topics {
		r := topic.Remap{Pattern: t.Filter, Local: t.LocalPrefix, Remote: t.RemotePrefix}
		if t.Direction != "in" && t.QoS > 0 && (s.topic == "" && clients || s.topic != "" && topic.Match(r.LocalFilter(), s.topic)) {
			return true
		}
	}
	return false
}

func plan(c *config.Config, in planInput) (lines []planLine) {
	add := func(what, needs, has string, fits bool) {
		word := "no"
		if fits {
			word = "yes"
		}
		if has == "" {
			word = "-"
		}
		lines = append(lines, planLine{what, needs, has, word})
	}
	all := streams(c, in)
	var rate float64
	topics := 0
	for _, s := range all {
		rate += s.rate
		if s.topic != "" {
			topics++
		}
	}
	add("messages", number(rate)+" a second, "+number(rate*86400)+" a day", "", true)

	seconds := in.outage.Seconds()
	var disk, worst float64 // bytes that wait; bytes written a day with every centre away
	for i := range c.Bridges {
		b := &c.Bridges[i]
		var n, bytes float64
		for _, s := range all {
			if crosses(b, s, in.carried) {
				n += s.rate
				bytes += s.rate * float64(s.size+planRecord) * planSpread
			}
		}
		need := bytes * seconds
		disk += need
		worst += 86400 * (bytes*planRewrite + min(n, 20)*planSync)
		what := fmt.Sprintf("queue of bridge %s, away for %s", b.Name, config.Duration(in.outage))
		needs := bytesWord(need) + " in " + number(n*seconds) + " messages"
		switch {
		case !in.writable:
			add(what, needs, "memory only, see store.persistence", false)
		case b.Queue.MaxMessages > 0 && n*seconds > float64(b.Queue.MaxMessages):
			add(what, needs, fmt.Sprintf("%d messages (queue.max_messages)", b.Queue.MaxMessages), false)
		case b.Queue.MaxBytes > 0:
			add(what, needs, bytesWord(float64(b.Queue.MaxBytes))+" (queue.max_bytes)", need <= float64(b.Queue.MaxBytes))
		case b.Queue.MaxAge > 0:
			add(what, needs, b.Queue.MaxAge.String()+" (queue.max_age)", in.outage <= b.Queue.MaxAge.D())
		default:
			add(what, needs, "", true)
		}
	}
	if in.writable && in.free > 0 {
		room := float64(in.free) / 2 // what the store may take by itself
		if c.Store.MaxBytes > 0 {
			room = min(float64(in.free), float64(c.Store.MaxBytes))
		}
		add("disk for all queues", bytesWord(disk), bytesWord(room)+" of "+bytesWord(float64(in.free))+" free", disk <= room)
	}
	if in.writable && in.device > 0 {
		// With every centre there messages are not written; retained values are, now and then.
		quiet := 86400 / max(1, c.Store.LazyInterval.D().Seconds()) * float64(topics*(planReading+60)*planRewrite+planSync)
		years := func(daily float64) string {
			if daily <= 0 {
				return "for ever"
			}
			if n := float64(in.device) * float64(c.Store.CardWrites) / daily / 365; n < 100 {
				return fmt.Sprintf("%.2g years", n)
			}
			return "more than 100 years"
		}
		add("card, centres there", bytesWord(quiet)+" a day", years(quiet), quiet <= 0 || float64(in.device)*float64(c.Store.CardWrites)/quiet > 10*365)
		if worst > 0 {
			add("card, centres always away", bytesWord(quiet+worst)+" a day", years(quiet+worst), float64(in.device)*float64(c.Store.CardWrites)/(quiet+worst) > 365)
		}
		if budget := float64(c.Store.WriteBudget); budget > 0 {
			add("daily write budget", bytesWord(quiet+worst)+" with centres away", bytesWord(budget)+" (store.write_budget)", quiet+worst <= budget)
		}
	}
	need := float64(planBase + in.clients*planConnection + topics*planRetained)
	if in.memory > 0 {
		add("memory", bytesWord(need), bytesWord(float64(in.memory)), need <= float64(in.memory)/2)
	}
	for _, l := range c.Listeners {
		if l.MaxConnections > 0 && in.clients > l.MaxConnections {
			add("connections on "+l.Address, fmt.Sprint(in.clients), fmt.Sprintf("%d (max_connections)", l.MaxConnections), false)
		}
	}
	if n := c.MQTT.MaxConnections; n > 0 && in.clients > n {
		add("connections", fmt.Sprint(in.clients), fmt.Sprintf("%d (mqtt.max_connections)", n), false)
	}
	return lines
}

// number has three digits at least, and no exponent.
func number(n float64) string {
	if n >= 100 {
		return strconv.FormatFloat(n, 'f', 0, 64)
	}
	return strconv.FormatFloat(n, 'g', 3, 64)
}

// bytesWord is a number of bytes for people.
func bytesWord(n float64) string {
	for _, unit := range []string{"B", "kB", "MB", "GB"} {
		if n < 1000 {
			return fmt.Sprintf("%.3g %s", n, unit)
		}
		n /= 1000
	}
	return fmt.Sprintf("%.3g TB", n)
}

func printPlan(out io.Writer, lines []planLine, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(lines)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "what\tneeds\thas\tfits")
	for _, l := range lines {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", l.What, l.Needs, l.Has, l.Fits)
	}
	return w.Flush()
}
