package sensing

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	mqtt3 "github.com/eclipse/paho.mqtt.golang"

	"github.com/eclipse/paho.golang/paho"
)

const room = `board: sim
sensors:
  - {name: room1, driver: bme280, every: 100ms, topic: "room1/{quantity}", format: json}
lines:
  - {name: lamp, line: GPIO27, direction: out, topic: hall/lamp}
`

// What a consumer missed while it was away is asked for by the last sequence number it has, arrives marked as history
// on MQTT 5's response topic with the correlation data, and joins what it sees live without a gap. It is there after a
// restart of the gateway too.
func TestMissedReadingsOverMQTT5(t *testing.T) {
	t.Parallel()
	g := start(t, room)
	a := g.client("before", "room1/temperature")
	a.until("three readings", func() bool { return len(a.on("room1/temperature")) >= 3 })
	var seen answer
	if err := json.Unmarshal([]byte(a.on("room1/temperature")[2]), &seen); err != nil {
		t.Fatal(err)
	}
	_ = a.c.Disconnect(&paho.Disconnect{})

	// Whoever watches the pressure sees when much has been missed.
	w := g.client("watch", "room1/pressure")
	w.until("20 readings", func() bool { return len(w.on("room1/pressure")) >= 20 })
	missed(t, g, "first", seen.Sequence)

	g.stop()
	g.run()
	again := missed(t, g, "second", seen.Sequence)
	if again[0].Sequence != seen.Sequence+1 {
		t.Errorf("after the restart the first missed reading is %d, want %d", again[0].Sequence, seen.Sequence+1)
	}
}

// missed asks for what came after a sequence number and compares it with what comes live.
func missed(t *testing.T, g *gateway, id string, after uint64) []answer {
	t.Helper()
	c := g.client(id, "room1/temperature", "my/answers")
	c.until("a live reading", func() bool { return len(c.on("room1/temperature")) >= 2 }) // the retained one and a live one
	c.publish("gateway/gw/history/get", fmt.Sprintf(`{"sensor":"room1","quantity":"temperature","after_sequence":%d}`, after),
		&paho.PublishProperties{ResponseTopic: "my/answers", CorrelationData: []byte("q7")})
	got := c.answers("my/answers")
	end := got[len(got)-1]
	got = got[:len(got)-1]
	if end.Error != "" || end.Count != len(got) || len(got) < 10 {
		t.Fatalf("%d answers, the end is %+v", len(got), end)
	}
	for i, r := range got {
		if !r.History || r.Value == nil || r.Sequence != after+1+uint64(i) || r.Quality != "good" {
			t.Fatalf("answer %d is %+v, want number %d marked as history", i, r, after+1+uint64(i))
		}
	}
	live := map[uint64]float64{}
	for _, p := range c.messages() {
		switch p.Topic {
		case "my/answers":
			if string(p.Properties.CorrelationData) != "q7" || p.Properties.ContentType != "application/json" || p.Retain {
				t.Fatalf("an answer without its correlation, or retained: %+v", p)
			}
		case "room1/temperature":
			var r answer
			if err := json.Unmarshal(p.Payload, &r); err != nil || r.History {
				t.Fatalf("%s: %v", p.Payload, err)
			}
			live[r.Sequence] = *r.Value
		}
	}
	joined := false
	for _, r := range got {
		if v, ok := live[r.Sequence]; ok {
			joined = true
			if d := v - *r.Value; d > 0.01 || d < -0.01 {
				t.Errorf("number %d was %v live and is %v in the history", r.Sequence, v, *r.Value)
			}
		}
	}
	if !joined {
		t.Errorf("the history %d–%d does not reach what came live", got[0].Sequence, got[len(got)-1].Sequence)
	}
	return got
}

// By time, page by page, with an MQTT 3.1.1 client that names the reply topic in the request; the changes of a line too.
func TestHistoryByTimeOverMQTT311(t *testing.T) {
	t.Parallel()
	begun := time.Now().UTC()
	g := start(t, room)
	w := g.client("watch", "room1/pressure", "hall/lamp", "page", "changes", "nothing")
	w.until("20 readings", func() bool { return len(w.on("room1/pressure")) >= 20 })
	w.last("hall/lamp", "off") // commands are heard
	for _, state := range []string{"on", "off", "on"} {
		w.publish("hall/lamp/set", state, nil)
		w.last("hall/lamp", state)
	}

	c := mqtt3.NewClient(mqtt3.NewClientOptions().AddBroker("tcp://" + g.addr).SetClientID("three").SetProtocolVersion(4))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	wait := func(token mqtt3.Token) {
		t.Helper()
		select {
		case <-token.Done():
		case <-ctx.Done():
			t.Fatal("no answer in time")
		}
		if token.Error() != nil {
			t.Fatal(token.Error())
		}
	}
	wait(c.Connect())
	defer c.Disconnect(100)

	ask := func(reply, more string) {
		wait(c.Publish("gateway/gw/history/get", 1, false, fmt.Sprintf(`{"sensor":"room1","quantity":"humidity","reply":%q%s}`, reply, more)))
	}
	ask("page", fmt.Sprintf(`,"from":%q,"to":%q,"limit":5`, begun.Format(time.RFC3339Nano), time.Now().UTC().Format(time.RFC3339Nano)))
	page := w.answers("page")
	if len(page) != 6 || !page[5].More || page[5].Count != 5 {
		t.Fatalf("the first page is %+v", page)
	}
	for i, r := range page[:5] {
		if !r.History || r.Sequence != uint64(i+1) || r.Time.Before(begun.Truncate(time.Millisecond)) || r.Time.After(time.Now()) {
			t.Errorf("entry %d of the page is %+v", i, r)
		}
	}
	wait(c.Publish("gateway/gw/history/get", 1, false, `{"sensor":"lamp","quantity":"state","reply":"changes"}`))
	changes := w.answers("changes")
	var states []float64
	for _, r := range changes[:len(changes)-1] {
		states = append(states, *r.Value)
	}
	if fmt.Sprint(states) != "[0 1 0 1]" {
		t.Errorf("the lamp's changes are %v", states)
	}
	ask("nothing", `,"from":"yesterday"`)
	if got := w.answers("nothing"); len(got) != 1 || got[0].Error == "" {
		t.Errorf("a request with a bad time was answered by %+v", got)
	}
}
