package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"gatewayd/bridge"
)

// Parked is the answer about the messages that a bridge keeps aside.
type Parked struct {
	Count    int             `json:"count"` // listed, released or dropped
	Messages []bridge.Parked `json:"messages,omitempty"`
}

// parked lists, releases or drops what a bridge keeps aside. Who may list it may
// read messages, so both are guarded as commands are.
func (s *Server) parked(w http.ResponseWriter, r *http.Request) {
	what := r.PathValue("what")
	if r.Method == http.MethodGet {
		what = "list"
	}
	switch {
	case r.Header.Get(CommandHeader) == "":
		http.Error(w, "the header "+CommandHeader+" is missing", http.StatusForbidden)
		return
	case s.o.Parked == nil || what != "list" && what != "release" && what != "drop":
		http.NotFound(w, r)
		return
	}
	var ids []uint64
	for _, text := range r.URL.Query()["id"] {
		id, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			http.Error(w, fmt.Sprintf("%q is no number of a message", text), http.StatusBadRequest)
			return
		}
		ids = append(ids, id)
	}
	answer, err := s.o.Parked(r.Context(), r.PathValue("name"), what, ids)
	switch {
	case errors.Is(err, ErrNoBridge):
		http.Error(w, err.Error(), http.StatusNotFound)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	default:
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			s.log.Debug("answer not written", "remote", r.RemoteAddr, "err", err)
		}
	}
}
