package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"log/syslog"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/coreos/go-systemd/v22/journal"

	"gatewayd/config"
)

// logs is where the log goes; reopen and level change it while it is in use.
type logs struct {
	*slog.Logger
	level slog.LevelVar
	file  *logFile   // nil without one
	topic *topicSink // nil without one
	close []io.Closer
}

func openLogs(c *config.Config, verbose bool, stderr io.Writer) (*logs, error) {
	l := &logs{}
	l.setLevel(c, verbose)
	o := &slog.HandlerOptions{Level: &l.level}
	stream := func(w io.Writer) slog.Handler {
		if c.Log.Format == "json" {
			return slog.NewJSONHandler(w, o)
		}
		return slog.NewTextHandler(w, o)
	}
	var handlers []slog.Handler
	for i, to := range c.Log.To {
		at := fmt.Sprintf("log.to[%d]", i)
		switch to {
		case "stderr":
			handlers = append(handlers, stream(stderr))
		case "file":
			f := &logFile{name: c.Log.File}
			if err := f.reopen(); err != nil {
				return nil, c.Errorf("log.file", "choose a file that may be written", "%s", err)
			}
			l.file = f
			l.close = append(l.close, f)
			handlers = append(handlers, stream(f))
		case "syslog":
			w, err := syslog.New(facilities[c.Log.Facility], "gatewayd")
			if err != nil {
				return nil, c.Errorf(at, "start a syslog daemon or choose another destination", "there is no syslog: %s", err)
			}
			l.close = append(l.close, w)
			handlers = append(handlers, newLineHandler(&l.level, func(level slog.Level, _ string, line string, _ []slog.Attr) { toSyslog(w, level, line) }))
		case "journal":
			if !journal.Enabled() {
				return nil, c.Errorf(at, "choose another destination", "there is no systemd journal here")
			}
			handlers = append(handlers, newLineHandler(&l.level, toJournal))
		case "topic":
			l.topic = newTopicSink()
			handlers = append(handlers, newLineHandler(&l.level, l.topic.add))
		}
	}
	if len(handlers) == 0 {
		l.Logger = slog.New(slog.DiscardHandler)
	} else {
		l.Logger = slog.New(slog.NewMultiHandler(handlers...))
	}
	return l, nil
}

func (l *logs) setLevel(c *config.Config, verbose bool) {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	l.level.Set(levels[c.Log.Level])
	if verbose {
		l.level.Set(slog.LevelDebug)
	}
}

// reopen opens the log file anew, after it was rotated.
func (l *logs) reopen() error {
	if l.file == nil {
		return nil
	}
	return l.file.reopen()
}

func (l *logs) Close() {
	for _, c := range l.close {
		c.Close()
	}
}

// logFile is a file that can be opened anew under its name.
type logFile struct {
	name string

	mu sync.Mutex // guards f
	f  *os.File
}

func (l *logFile) reopen() error {
	f, err := os.OpenFile(l.name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	l.mu.Lock()
	old := l.f
	l.f = f
	l.mu.Unlock()
	if old != nil {
		return old.Close()
	}
	return nil
}

func (l *logFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.f.Write(b)
}

func (l *logFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.f.Close()
}

var facilities = map[string]syslog.Priority{
	"daemon": syslog.LOG_DAEMON, "user": syslog.LOG_USER, "local0": syslog.LOG_LOCAL0, "local1": syslog.LOG_LOCAL1,
	"local2": syslog.LOG_LOCAL2, "local3": syslog.LOG_LOCAL3, "local4": syslog.LOG_LOCAL4, "local5": syslog.LOG_LOCAL5,
	"local6": syslog.LOG_LOCAL6, "local7": syslog.LOG_LOCAL7,
}

func toSyslog(w *syslog.Writer, level slog.Level, line string) {
	switch { // there is nobody left to tell about an error
	case level >= slog.LevelError:
		_ = w.Err(line)
	case level >= slog.LevelWarn:
		_ = w.Warning(line)
	case level >= slog.LevelInfo:
		_ = w.Info(line)
	default:
		_ = w.Debug(line)
	}
}

// toJournal sends an event with its attributes as fields GATEWAYD_….
func toJournal(level slog.Level, message, _ string, attrs []slog.Attr) {
	priority := journal.PriDebug
	switch {
	case level >= slog.LevelError:
		priority = journal.PriErr
	case level >= slog.LevelWarn:
		priority = journal.PriWarning
	case level >= slog.LevelInfo:
		priority = journal.PriInfo
	}
	fields := map[string]string{}
	text := message
	for _, a := range attrs {
		fields["GATEWAYD_"+journalField(a.Key)] = a.Value.String()
		text += " " + a.Key + "=" + a.Value.String()
	}
	_ = journal.Send(text, priority, fields) // there is nobody left to tell
}

// journalField makes a name the journal takes: upper case letters, digits and
// underscores.
func journalField(key string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z' || r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, key)
}

// lineHandler gives each event as one line and as message and attributes.
type lineHandler struct {
	level *slog.LevelVar
	emit  func(level slog.Level, message, line string, attrs []slog.Attr)
	attrs []slog.Attr
	group string
}

func newLineHandler(level *slog.LevelVar, emit func(slog.Level, string, string, []slog.Attr)) *lineHandler {
	return &lineHandler{level: level, emit: emit}
}

// Enabled holds the level against the configured one.
func (h *lineHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

// Handle emits one event.
func (h *lineHandler) Handle(_ context.Context, r slog.Record) error {
	attrs := slices.Clone(h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		attrs = append(attrs, slog.Attr{Key: h.group + a.Key, Value: a.Value.Resolve()})
		return true
	})
	var b strings.Builder
	b.WriteString(r.Message)
	for _, a := range attrs {
		fmt.Fprintf(&b, " %s=%s", a.Key, quoteWord(a.Value.String()))
	}
	h.emit(r.Level, r.Message, b.String(), attrs)
	return nil
}

// WithAttrs and WithGroup make a handler of the same destination.
func (h *lineHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	next.attrs = slices.Clone(h.attrs)
	for _, a := range attrs {
		next.attrs = append(next.attrs, slog.Attr{Key: h.group + a.Key, Value: a.Value.Resolve()})
	}
	return &next
}

// WithGroup puts name before the keys that follow.
func (h *lineHandler) WithGroup(name string) slog.Handler {
	next := *h
	next.group = h.group + name + "."
	return &next
}

func quoteWord(s string) string {
	if s == "" || strings.ContainsAny(s, " \t\r\n\"=") {
		return fmt.Sprintf("%q", s)
	}
	return s
}

// topicSink holds events until the broker publishes them on
// $SYS/broker/log/<severity>. Nothing waits for it: when it is full, what
// comes is dropped.
type topicSink struct{ events chan logEvent }

type logEvent struct{ severity, line string }

func newTopicSink() *topicSink { return &topicSink{events: make(chan logEvent, 256)} }

func (t *topicSink) add(level slog.Level, _, line string, _ []slog.Attr) {
	severity := "D"
	switch { // Mosquitto's letters
	case level >= slog.LevelError:
		severity = "E"
	case level >= slog.LevelWarn:
		severity = "W"
	case level >= slog.LevelInfo:
		severity = "I"
	}
	select {
	case t.events <- logEvent{severity, line}:
	default:
	}
}

// run publishes until ctx is done.
func (t *topicSink) run(ctx context.Context, publish func(topic, text string)) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-t.events:
			publish("$SYS/broker/log/"+e.severity, e.line)
		}
	}
}
