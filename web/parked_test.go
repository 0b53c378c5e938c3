package web

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"gatewayd/bridge"
)

func TestParked(t *testing.T) {
	o := options()
	var got []string
	o.Parked = func(_ context.Context, name, what string, ids []uint64) (Parked, error) {
		if name != "centre" {
			return Parked{}, ErrNoBridge
		}
		got = append(got, fmt.Sprint(what, ids))
		return Parked{Count: 1, Messages: []bridge.Parked{{ID: 7, Topic: "a"}}}, nil
	}
	s := New(o)
	ours := func(r *http.Request) { r.Header.Set(CommandHeader, "1") }
	for _, tc := range []struct {
		method, path string
		edit         func(*http.Request)
		want         int
	}{
		{"GET", "/api/v1/bridges/centre/parked", nil, 403},
		{"GET", "/api/v1/bridges/centre/parked", ours, 200},
		{"GET", "/api/v1/bridges/nowhere/parked", ours, 404},
		{"POST", "/api/v1/bridges/centre/parked/release?id=7&id=9", ours, 200},
		{"POST", "/api/v1/bridges/centre/parked/drop", nil, 403},
		{"POST", "/api/v1/bridges/centre/parked/drop?id=x", ours, 400},
		{"POST", "/api/v1/bridges/centre/parked/eat", ours, 404},
	} {
		code, body := get(t, s, tc.method, tc.path, tc.edit)
		if code != tc.want || code == 200 && !strings.Contains(body, `{"count":1,"messages":[{"id":7,"topic":"a"`) {
			t.Errorf("%s %s: %d %q, want %d", tc.method, tc.path, code, body, tc.want)
		}
	}
	if fmt.Sprint(got) != "[list[] release[7 9]]" {
		t.Error(got)
	}
}
