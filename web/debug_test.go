package web

import (
	"strings"
	"testing"
)

func TestProfiles(t *testing.T) {
	o := options()
	if code, _ := get(t, New(o), "GET", "/debug/pprof/", nil); code != 404 {
		t.Errorf("without Debug: %d, want 404", code)
	}
	o.Debug = true
	s := New(o)
	if code, body := get(t, s, "GET", "/debug/pprof/", nil); code != 200 || !strings.Contains(body, "goroutine") {
		t.Errorf("index: %d %.100q", code, body)
	}
	if code, body := get(t, s, "GET", "/debug/pprof/heap?debug=1", nil); code != 200 || !strings.HasPrefix(body, "heap profile") {
		t.Errorf("heap: %d %.100q", code, body)
	}
	if code, _ := get(t, s, "POST", "/debug/pprof/profile", nil); code != 405 {
		t.Errorf("POST: %d, want 405", code)
	}
}
