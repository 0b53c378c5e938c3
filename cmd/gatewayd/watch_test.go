package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatewayd/board"
	"gatewayd/bridge"
)

func TestLEDState(t *testing.T) {
	up, away, trying := bridge.Status{State: bridge.Connected}, bridge.Status{State: bridge.Waiting, LastError: "refused"}, bridge.Status{State: bridge.Connecting}
	lazy := bridge.Status{State: bridge.Waiting} // starts when there is something to send
	for _, tc := range []struct {
		well    bool
		bridges []bridge.Status
		want    board.LEDState
	}{
		{true, nil, board.LEDHealthy},
		{true, []bridge.Status{up, lazy}, board.LEDHealthy},
		{true, []bridge.Status{up, away}, board.LEDUplinkDown},
		{true, []bridge.Status{trying}, board.LEDUplinkDown},
		{false, []bridge.Status{up, away}, board.LEDFault},
	} {
		if got := ledStateOf(tc.well, tc.bridges); got != tc.want {
			t.Errorf("well %v, bridges %v: %s, want %s", tc.well, tc.bridges, got, tc.want)
		}
	}
}

// TestFirstStuck: the room that stands still is named, also one that does not answer at all.
func TestFirstStuck(t *testing.T) {
	fine := func() error { return nil }
	for _, tc := range []struct {
		name  string
		rooms []func() error
		want  string
	}{
		{"all turn", []func() error{fine, fine, fine}, ""},
		{"the commit loop", []func() error{func() error { return errors.New("the store's commit loop") }, fine, fine}, "commit loop"},
		{"a bus", []func() error{fine, fine, func() error { return errors.New("the sensors of i2c-1") }}, "i2c-1"},
	} {
		err := firstStuck(t.Context(), tc.rooms...)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		block := make(chan struct{})
		defer close(block)
		err := firstStuck(t.Context(), fine, func() error { <-block; return nil }, fine)
		if err == nil || !strings.Contains(err.Error(), "broker") {
			t.Errorf("a broker that does not answer: %v", err)
		}
	})
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if err := firstStuck(stopped, fine, fine, fine); err != nil {
		t.Errorf("a gateway that stops stands still: %v", err)
	}
}

// TestStarve: without a watchdog of others the gateway ends only when it was stuck for as long as was configured.
func TestStarve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &watchdogs{self: time.Minute, fed: time.Now()}
		time.Sleep(50 * time.Second)
		if d.starve() {
			t.Error("it ends too early")
		}
		if err := d.feed(); err != nil {
			t.Error(err)
		}
		time.Sleep(59 * time.Second)
		if d.starve() {
			t.Error("it ends although it was fed")
		}
		time.Sleep(2 * time.Second)
		if !d.starve() {
			t.Error("it does not end")
		}
		if (&watchdogs{fed: time.Now().Add(-time.Hour)}).starve() {
			t.Error("it ends although nobody asked for a watchdog")
		}
	})
}
