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
