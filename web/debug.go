package web

import (
	"net/http"
	"net/http/pprof"
)

// debug serves Go's profiles. A CPU profile or a trace takes as long as it is
// asked to.
func (s *Server) debug(mux *http.ServeMux) {
	for path, h := range map[string]http.HandlerFunc{
		"GET /debug/pprof/":        pprof.Index,
		"GET /debug/pprof/cmdline": pprof.Cmdline,
		"GET /debug/pprof/profile": pprof.Profile,
		"GET /debug/pprof/symbol":  pprof.Symbol,
		"GET /debug/pprof/trace":   pprof.Trace,
	} {
		mux.Handle(path, s.guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := http.NewResponseController(w).SetWriteDeadline(noDeadline); err != nil {
				s.log.Debug("no deadline to lift", "err", err)
			}
			h(w, r)
		})))
	}
}
