package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// report gathers every run and writes the medians.
type report struct {
	f       flags
	brokers []*broker
	figures
}

// figures are what -data keeps.
type figures struct {
	Runs   map[string][]map[string]float64 // by scenario and broker
	Failed map[string]string               // the last failure
	Broken map[string]int                  // how many runs failed
	Disk   string                          // what it allowed before the run
	Load   string                          // what else the machine had to do, before
	After  string                          // and at the end, our own work included
	Took   time.Duration
}

func newReport(f flags, brokers []*broker) *report {
	return &report{f: f, brokers: brokers, figures: figures{
		Runs: map[string][]map[string]float64{}, Failed: map[string]string{}, Broken: map[string]int{}, Disk: syncProbe(), Load: loadAverage(),
	}}
}

func key(s *scenario, b *broker) string { return s.name + " " + b.name }

func (r *report) add(s *scenario, b *broker, v map[string]float64) {
	r.Runs[key(s, b)] = append(r.Runs[key(s, b)], v)
}

func (r *report) fail(s *scenario, b *broker, err error) {
	r.Failed[key(s, b)] = err.Error()
	r.Broken[key(s, b)]++
}

// median of one figure over the runs; have is false when there is none.
func (r *report) median(s *scenario, b *broker, metric string) (v float64, have bool) {
	var all []float64
	for _, run := range r.Runs[key(s, b)] {
		if v, ok := run[metric]; ok {
			all = append(all, v)
		}
	}
	if len(all) == 0 {
		return 0, false
	}
	slices.Sort(all)
	if n := len(all); n%2 == 0 {
		return (all[n/2-1] + all[n/2]) / 2, true
	}
	return all[len(all)/2], true
}

func (r *report) find(name string) *broker {
	for _, b := range r.brokers {
		if b.name == name {
			return b
		}
	}
	return nil
}

// load takes over what -data has.
func (r *report) load() error {
	if r.f.data == "" {
		return nil
	}
	b, err := os.ReadFile(r.f.data)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	old := figures{}
	if err := json.Unmarshal(b, &old); err != nil {
		return fmt.Errorf("%s: %w", r.f.data, err)
	}
	if old.Broken == nil {
		old.Broken = map[string]int{}
	}
	old.Disk, old.Load = r.Disk, old.Load+", "+r.Load
	r.figures = old
	return nil
}

// save keeps the figures for the next part.
func (r *report) save(took time.Duration) error {
	r.Took += took
	r.After = loadAverage()
	if r.f.data == "" {
		return nil
	}
	b, err := json.MarshalIndent(r.figures, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(r.f.data, b, 0o644)
}

// most is the largest number of runs of any row.
func (r *report) most() (n int) {
	for _, runs := range r.Runs {
		n = max(n, len(runs))
	}
	return n
}

// measured says whether the report has anything of a scenario.
func (r *report) measured(s *scenario) bool {
	return slices.ContainsFunc(r.brokers, func(b *broker) bool { return len(r.Runs[key(s, b)]) > 0 || r.Failed[key(s, b)] != "" })
}

func (r *report) markdown() string {
	var chosen []*scenario
	for _, s := range scenarios {
		if r.measured(s) {
			chosen = append(chosen, s)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Benchmarks\n\nWritten by `make bench` on %s; do not edit by hand. Medians of %d runs, the brokers taking turns, %.1f s a run.\n",
		time.Now().UTC().Format("2006-01-02"), r.most(), r.f.seconds)
	fmt.Fprintf(&b, "MQTT 3.1.1, loopback, 64 B payloads and clean sessions unless a row says otherwise; one process each, no pinning.\n")
	fmt.Fprintf(&b, "CPU is the broker's user and system time from /proc for each delivered message (retained and queue rows: for each\nacknowledged one). gatewayd has its durable store open in every row. Absolute figures drift with the machine; compare within a row.\n\n")
	fmt.Fprintf(&b, "- Machine: %s, %d cores, %s, disk: %s, load average before %s, after %s (our own work included); the whole run took %s\n",
		cpuModel(), runtime.NumCPU(), kernel(), r.Disk, r.Load, r.After, r.Took.Round(time.Second))
	for _, br := range r.brokers {
		fmt.Fprintf(&b, "- %s: %s\n", br.name, br.version)
	}
	b.WriteString("\n| scenario | figure |")
	for _, br := range r.brokers {
		fmt.Fprintf(&b, " %s |", br.name)
	}
	b.WriteString(" goal | gatewayd : mosquitto |\n|---|---|")
	b.WriteString(strings.Repeat("---|", len(r.brokers)+2) + "\n")
	for _, s := range chosen {
		r.rows(&b, s)
	}
	r.notes(&b, chosen)
	return b.String()
}

func (r *report) rows(b *strings.Builder, s *scenario) {
	title := s.title
	for _, m := range s.metrics {
		fmt.Fprintf(b, "| %s | %s |", title, m.title)
		title = ""
		for _, br := range r.brokers {
			v, ok := r.median(s, br, m.key)
			switch {
			case ok:
				fmt.Fprintf(b, " "+m.format+" |", v)
			case r.Failed[key(s, br)] != "":
				b.WriteString(" failed |")
			default:
				b.WriteString(" – |")
			}
		}
		fmt.Fprintf(b, " %s | %s |\n", r.goal(s, m), r.ratio(s, m))
	}
}

func (r *report) goal(s *scenario, m metric) string {
	if m.goal == 0 {
		return ""
	}
	sign := "≥"
	if m.atMost {
		sign = "≤"
	}
	format := m.format
	if m.goal == float64(int(m.goal)) {
		format = "%.0f"
	}
	text := sign + " " + fmt.Sprintf(format, m.goal)
	g := r.find("gatewayd")
	if g == nil {
		return text
	}
	v, ok := r.median(s, g, m.key)
	if !ok {
		return text
	}
	if (m.atMost && v <= m.goal) || (!m.atMost && v >= m.goal) {
		return text + " met"
	}
	return text + " **missed**"
}

func (r *report) ratio(s *scenario, m metric) string {
	g, q := r.find("gatewayd"), r.find("mosquitto")
	if g == nil || q == nil {
		return ""
	}
	a, ok1 := r.median(s, g, m.key)
	b, ok2 := r.median(s, q, m.key)
	if !ok1 || !ok2 || b == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", a/b)
}

func (r *report) notes(b *strings.Builder, chosen []*scenario) {
	var lines []string
	for _, s := range chosen {
		for _, br := range r.brokers {
			if e := r.Failed[key(s, br)]; e != "" {
				e, _, _ = strings.Cut(e, "\n")
				n := r.Broken[key(s, br)]
				lines = append(lines, fmt.Sprintf("- %s, %s: %d of %d runs failed: %s", s.name, br.name, n, n+len(r.Runs[key(s, br)]), e))
			}
			for _, k := range []string{"lost", "disorder"} {
				if slices.ContainsFunc(s.metrics, func(m metric) bool { return m.key == k }) {
					continue
				}
				if v, _ := r.median(s, br, k); v > 0 {
					lines = append(lines, fmt.Sprintf("- %s, %s: %s %.0f", s.name, br.name, k, v))
				}
			}
		}
	}
	if len(lines) > 0 {
		b.WriteString("\nNot as it should be:\n\n" + strings.Join(lines, "\n") + "\n")
	}
}

func cpuModel() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if name, v, ok := strings.Cut(sc.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(v)
		}
	}
	return runtime.GOARCH
}

func kernel() string {
	out, err := exec.Command("uname", "-sr").Output()
	if err != nil {
		return runtime.GOOS
	}
	return strings.TrimSpace(string(out))
}

// loadAverage is what the kernel says of the last minute.
func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(b), " ")
	return first
}

// syncProbe says what the disk allows: 64 KiB appended and synced, as a group commit does.
func syncProbe() string {
	d := syncTimes(100, 64<<10, 0)
	if len(d) == 0 {
		return "unknown"
	}
	slices.Sort(d)
	return fmt.Sprintf("64 KiB append and sync p50 %.2f ms, p99 %.2f ms", d[50].Seconds()*1000, d[98].Seconds()*1000)
}

// syncTimes appends and syncs n times; nil when that fails.
func syncTimes(n, size int, pause time.Duration) []time.Duration {
	dir, err := os.MkdirTemp("", "bench-disk-")
	if err != nil {
		return nil
	}
	defer os.RemoveAll(dir)
	f, err := os.Create(filepath.Join(dir, "probe"))
	if err != nil {
		return nil
	}
	defer f.Close()
	buf := make([]byte, size)
	var d []time.Duration
	for range n {
		time.Sleep(pause)
		begun := time.Now()
		if _, err := f.Write(buf); err != nil {
			return nil
		}
		if err := f.Sync(); err != nil {
			return nil
		}
		d = append(d, time.Since(begun))
	}
	return d
}
