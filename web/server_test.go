package web

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gatewayd/bridge"
	"gatewayd/broker"
	"gatewayd/sensors"
	"gatewayd/store"
)

func options() Options {
	return Options{
		Version: "1.2", Gateway: "gw", Log: slog.New(slog.DiscardHandler),
		Broker: func() broker.Stats { return broker.Stats{Connected: 3, PublishesReceived: 7} },
		Store: func() store.Stats {
			return store.Stats{Commits: 5, Written: map[string]uint64{"queues": 9}, CommitP50: time.Millisecond}
		},
		Health: func() store.Health { return store.Health{OK: true} },
		Sensors: func() []sensors.Status {
			return []sensors.Status{{Name: "room1", Online: true, Readings: []sensors.Reading{{Quantity: "temperature", Unit: "°C", Value: 21.5}, {Quantity: "humidity", Quality: sensors.Bad}}}}
		},
		Bridges: func() []bridge.Status {
			return []bridge.Status{{Name: "centre", State: bridge.Connected, QueueMessages: 4, Dropped: map[string]uint64{"too_large": 2}}}
		},
	}
}

func get(t *testing.T, s *Server, method, path string, edit func(*http.Request)) (int, string) {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	if edit != nil {
		edit(r)
	}
	w := httptest.NewRecorder()
	s.http.Handler.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestHealthAndReadiness(t *testing.T) {
	o := options()
	var fault error
	health := store.Health{OK: true}
	o.Ready = func() error { return fault }
	o.Health = func() store.Health { return health }
	s := New(o)
	if code, body := get(t, s, "GET", "/healthz", nil); code != 200 || body != "ok\n" {
		t.Errorf("healthz %d %q", code, body)
	}
	if code, body := get(t, s, "GET", "/readyz", nil); code != 200 || body != "ready\n" {
		t.Errorf("readyz %d %q", code, body)
	}
	fault = errors.New("starting")
	if code, body := get(t, s, "GET", "/readyz", nil); code != 503 || body != "starting\n" {
		t.Errorf("readyz %d %q", code, body)
	}
	health = store.Health{Reasons: []string{"disk full"}}
	if code, body := get(t, s, "GET", "/healthz", nil); code != 503 || body != "disk full\n" {
		t.Errorf("healthz %d %q", code, body)
	}
}

func TestMetrics(t *testing.T) {
	code, body := get(t, New(options()), "GET", "/metrics", nil)
	if code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	for _, want := range []string{
		`gatewayd_info{gateway="gw",version="1.2"} 1`, "gatewayd_ready 1", "gatewayd_broker_clients_connected 3",
		"gatewayd_broker_received_publishes_total 7", "gatewayd_store_commits_total 5", `gatewayd_store_written_bytes_total{subsystem="queues"} 9`,
		`gatewayd_store_commit_seconds{quantile="0.5"} 0.001`, `gatewayd_sensor_value{quantity="temperature",sensor="room1",unit="°C"} 21.5`,
		`gatewayd_bridge_up{bridge="centre"} 1`, `gatewayd_bridge_dropped_total{bridge="centre",reason="too_large"} 2`, "go_goroutines ",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("%s is not in\n%s", want, body)
		}
	}
	if strings.Contains(body, "humidity") {
		t.Error("a bad reading is shown as a value")
	}
}

func TestStatus(t *testing.T) {
	code, body := get(t, New(options()), "GET", "/api/v1/status", nil)
	var s Status
	if err := json.Unmarshal([]byte(body), &s); err != nil || code != 200 {
		t.Fatalf("%d %v", code, err)
	}
	if s.Gateway != "gw" || !s.Ready || !s.Healthy || s.Broker.Connected != 3 || s.Store.Commits != 5 || s.Sensors[0].Name != "room1" || s.Bridges[0].QueueMessages != 4 {
		t.Errorf("%+v", s)
	}
}

// With a login everything but the health paths is behind it.
func TestLogin(t *testing.T) {
	o := options()
	o.Login = func(_ context.Context, user, password string) bool { return user == "ann" && password == "pw" }
	s := New(o)
	for path, open := range map[string]bool{"/healthz": true, "/readyz": true, "/metrics": false, "/api/v1/status": false, "/": false} {
		want := 401
		if open {
			want = 200
		}
		if code, _ := get(t, s, "GET", path, nil); code != want {
			t.Errorf("%s without a login: %d, want %d", path, code, want)
		}
		if code, _ := get(t, s, "GET", path, func(r *http.Request) { r.SetBasicAuth("ann", "pw") }); code != 200 {
			t.Errorf("%s with the login: %d", path, code)
		}
		if code, _ := get(t, s, "GET", path, func(r *http.Request) { r.SetBasicAuth("ann", "no") }); code != want {
			t.Errorf("%s with a wrong password: %d, want %d", path, code, want)
		}
	}
}

// What changes something cannot be asked for by a page in a browser.
func TestCommands(t *testing.T) {
	o := options()
	var got []string
	o.Command = func(_ context.Context, name, what string) error {
		if name != "centre" {
			return ErrNoBridge
		}
		got = append(got, what)
		return nil
	}
	o.Backup = func(_ context.Context, w io.Writer) error { _, err := io.WriteString(w, "copy"); return err }
	s := New(o)
	ours := func(r *http.Request) { r.Header.Set(CommandHeader, "1") }
	for _, tc := range []struct {
		method, path string
		edit         func(*http.Request)
		want         int
	}{
		{"POST", "/api/v1/bridges/centre/pause", nil, 403},
		{"POST", "/api/v1/bridges/centre/pause", ours, 204},
		{"POST", "/api/v1/bridges/nowhere/pause", ours, 404},
		{"POST", "/api/v1/bridges/centre/explode", ours, 404},
		{"GET", "/api/v1/bridges/centre/pause", ours, 405},
		{"GET", "/api/v1/store/backup", nil, 403},
		{"GET", "/api/v1/store/backup", ours, 200},
		{"GET", "/nowhere", nil, 404},
	} {
		if code, body := get(t, s, tc.method, tc.path, tc.edit); code != tc.want {
			t.Errorf("%s %s: %d %q, want %d", tc.method, tc.path, code, body, tc.want)
		}
	}
	if len(got) != 1 || got[0] != "pause" {
		t.Errorf("commands %v", got)
	}
}

func TestRunEndsCleanly(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- New(options()).Run(ctx, l) }()
	resp, err := http.Get("http://" + l.Addr().String() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
