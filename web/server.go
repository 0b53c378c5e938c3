package web

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"gatewayd/bridge"
	"gatewayd/broker"
	"gatewayd/sensors"
	"gatewayd/store"
)

// Options says whom the server asks. A nil function leaves its part out.
type Options struct {
	Version string
	Gateway string // id
	Board   any    // what is known about the board, for the status

	Ready   func() error // nil error: ready; else why not
	Broker  func() broker.Stats
	Clients func() []broker.ClientInfo
	Store   func() store.Stats
	Health  func() store.Health
	Sensors func() []sensors.Status
	Lines   func() []sensors.LineStatus
	Pending func() (waiting int, dropped uint64) // sensor messages on their way to the broker
	Bridges func() []bridge.Status
	// Command pauses, resumes or drains a bridge; ErrNoBridge when there is none.
	Command func(ctx context.Context, bridge, what string) error
	// Parked answers for the messages that a bridge keeps aside: what is "list",
	// "release" or "drop", of those with the ids or of all.
	Parked func(ctx context.Context, bridge, what string, ids []uint64) (Parked, error)
	// Backup writes a consistent copy of the store.
	Backup   func(ctx context.Context, w io.Writer) error
	Warnings []string // what the configuration allows but is worth a second look

	// Login checks a user and a password; nil lets everyone in.
	Login func(ctx context.Context, user, password string) bool
	TLS   *tls.Config // nil: plain HTTP
	Debug bool        // serve profiles
	Log   *slog.Logger
}

// Server is the HTTP server.
type Server struct {
	o       Options
	log     *slog.Logger
	started time.Time
	http    http.Server
}

// New makes a Server.
func New(o Options) *Server {
	s := &Server{o: o, log: cmp.Or(o.Log, slog.Default()), started: time.Now()}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("GET /metrics", s.guard(metricsHandler(s)))
	mux.Handle("GET /api/v1/status", s.guard(http.HandlerFunc(s.status)))
	mux.Handle("POST /api/v1/bridges/{name}/{what}", s.guard(http.HandlerFunc(s.command)))
	mux.Handle("GET /api/v1/bridges/{name}/parked", s.guard(http.HandlerFunc(s.parked)))
	mux.Handle("POST /api/v1/bridges/{name}/parked/{what}", s.guard(http.HandlerFunc(s.parked)))
	mux.Handle("GET /api/v1/store/backup", s.guard(http.HandlerFunc(s.backup)))
	mux.Handle("GET /{$}", s.guard(http.HandlerFunc(s.index)))
	if o.Debug {
		s.debug(mux)
	}
	s.http = http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	return s
}

// Run serves on l until ctx is done. It closes l.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	if s.o.TLS != nil {
		l = tls.NewListener(l, s.o.TLS)
	}
	stopped := make(chan struct{})
	defer context.AfterFunc(ctx, func() {
		defer close(stopped)
		grace, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if s.http.Shutdown(grace) != nil {
			s.http.Close()
		}
	})()
	err := s.http.Serve(l)
	if ctx.Err() != nil && errors.Is(err, http.ErrServerClosed) {
		<-stopped
		return nil
	}
	return err
}

// guard asks for a login where there is one to ask for.
func (s *Server) guard(next http.Handler) http.Handler {
	if s.o.Login == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, ok := r.BasicAuth()
		if !ok || !s.o.Login(r.Context(), user, password) {
			w.Header().Set("WWW-Authenticate", `Basic realm="gatewayd", charset="UTF-8"`)
			http.Error(w, "a user name and a password are required", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}
