package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"time"

	"gatewayd/bridge"
	"gatewayd/broker"
	"gatewayd/sensors"
	"gatewayd/store"
)

// healthz says whether the process is alive and its store takes writes. A
// store that is red heals by itself where it can, and says here why it is red.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if s.o.Health != nil {
		if h := s.o.Health(); !h.OK {
			w.WriteHeader(http.StatusServiceUnavailable)
			for _, reason := range h.Reasons {
				fmt.Fprintln(w, reason)
			}
			return
		}
	}
	fmt.Fprintln(w, "ok")
}

// readyz says whether clients should be sent here.
func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if s.o.Ready != nil {
		if err := s.o.Ready(); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, err)
			return
		}
	}
	fmt.Fprintln(w, "ready")
}

// Status is everything there is to know, as /api/v1/status has it.
type Status struct {
	Version    string               `json:"version"`
	Gateway    string               `json:"gateway"`
	Time       time.Time            `json:"time"`
	Uptime     float64              `json:"uptime_seconds"`
	Ready      bool                 `json:"ready"`
	NotReady   string               `json:"not_ready,omitempty"`
	Board      any                  `json:"board,omitempty"`
	Broker     *broker.Stats        `json:"broker,omitempty"`
	Store      *store.Stats         `json:"store,omitempty"`
	Healthy    bool                 `json:"healthy"`
	Problems   []string             `json:"problems,omitempty"`
	Sensors    []sensors.Status     `json:"sensors,omitempty"`
	Lines      []sensors.LineStatus `json:"lines,omitempty"`
	Bridges    []bridge.Status      `json:"bridges,omitempty"`
	Warnings   []string             `json:"warnings,omitempty"`
	Goroutines int                  `json:"goroutines"`
	Memory     uint64               `json:"memory_bytes"` // of the Go heap
}

// Status asks every room.
func (s *Server) Status() Status {
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	st := Status{
		Version: s.o.Version, Gateway: s.o.Gateway, Time: time.Now().UTC(), Uptime: time.Since(s.started).Seconds(),
		Ready: true, Board: s.o.Board, Healthy: true, Warnings: s.o.Warnings, Goroutines: runtime.NumGoroutine(), Memory: memory.HeapAlloc,
	}
	if s.o.Ready != nil {
		if err := s.o.Ready(); err != nil {
			st.Ready, st.NotReady = false, err.Error()
		}
	}
	if s.o.Health != nil {
		h := s.o.Health()
		st.Healthy, st.Problems = h.OK, h.Reasons
	}
	if s.o.Broker != nil {
		st.Broker = new(s.o.Broker())
	}
	if s.o.Store != nil {
		st.Store = new(s.o.Store())
	}
	if s.o.Sensors != nil {
		st.Sensors = s.o.Sensors()
	}
	if s.o.Lines != nil {
		st.Lines = s.o.Lines()
	}
	if s.o.Bridges != nil {
		st.Bridges = s.o.Bridges()
	}
	return st
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if err := enc.Encode(s.Status()); err != nil {
		s.log.Debug("status not sent", "err", err)
	}
}

func (s *Server) index(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprint(w, `<!doctype html><meta charset="utf-8"><title>gatewayd</title>
<h1>gatewayd</h1>
<ul>
<li><a href="/api/v1/status">status</a>
<li><a href="/metrics">metrics</a>
<li><a href="/healthz">health</a>
<li><a href="/readyz">readiness</a>
</ul>
`)
}
