package web

import (
	"errors"
	"net/http"
	"time"
)

var noDeadline time.Time

// ErrNoBridge is what Options.Command answers for a name it does not know.
var ErrNoBridge = errors.New("there is no bridge of that name")

// CommandHeader must be in a request that changes something. A page in a
// browser cannot send it to another origin, so that no page on the net can
// steer a gateway on its visitor's machine.
const CommandHeader = "X-Gatewayd"

// FaultTrailer says at the end of an answer that it broke off.
const FaultTrailer = "X-Gatewayd-Fault"

// backup sends a copy of the store. Who may read it may read every message,
// so it is guarded as a command is.
func (s *Server) backup(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get(CommandHeader) == "" {
		http.Error(w, "the header "+CommandHeader+" is missing", http.StatusForbidden)
		return
	}
	if s.o.Backup == nil {
		http.NotFound(w, r)
		return
	}
	if err := http.NewResponseController(w).SetWriteDeadline(noDeadline); err != nil {
		s.log.Debug("no deadline to lift", "err", err)
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Trailer", FaultTrailer)
	if err := s.o.Backup(r.Context(), w); err != nil {
		s.log.Warn("backup broke off", "remote", r.RemoteAddr, "err", err)
		w.Header().Set(FaultTrailer, err.Error())
	}
}

// command pauses, resumes or drains a bridge.
func (s *Server) command(w http.ResponseWriter, r *http.Request) {
	what := r.PathValue("what")
	switch {
	case r.Header.Get(CommandHeader) == "":
		http.Error(w, "the header "+CommandHeader+" is missing", http.StatusForbidden)
		return
	case s.o.Command == nil || what != "pause" && what != "resume" && what != "drain":
		http.NotFound(w, r)
		return
	}
	if what == "drain" { // takes as long as it takes
		if err := http.NewResponseController(w).SetWriteDeadline(noDeadline); err != nil {
			s.log.Debug("no deadline to lift", "err", err)
		}
	}
	switch err := s.o.Command(r.Context(), r.PathValue("name"), what); {
	case errors.Is(err, ErrNoBridge):
		http.Error(w, err.Error(), http.StatusNotFound)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}
