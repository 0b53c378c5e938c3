package sensors

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"periph.io/x/conn/v3/gpio"
)

// newLine checks one entry of `lines:`.
func (s *Scheduler) newLine(i int, c LineConfig, names map[string]bool) error {
	wrong := func(field, format string, args ...any) error {
		return &ConfigError{List: "lines", Index: i, Name: c.Name, Field: field, Err: fmt.Errorf(format, args...)}
	}
	switch {
	case c.Name == "" || strings.ContainsAny(c.Name, "/+#"):
		return wrong("name", "a line needs a name without / + #")
	case names[c.Name]:
		return wrong("name", "this name is taken")
	case c.Line == "":
		return wrong("line", "which line? such as GPIO17 or gpiochip0:17")
	case c.Topic == "":
		return wrong("topic", "a line needs a topic")
	case strings.ContainsAny(c.Topic, "+#"):
		return wrong("topic", "%q has a wildcard", c.Topic)
	case strings.ContainsAny(c.CommandTopic, "+#"):
		return wrong("command_topic", "%q has a wildcard", c.CommandTopic)
	case c.QoS > 2:
		return wrong("qos", "%d is not 0, 1 or 2", c.QoS)
	case c.Debounce < 0 || c.Debounce > 10*time.Second:
		return wrong("debounce", "%v is not between 0 and 10s", c.Debounce)
	case c.Active != "" && c.Active != "high" && c.Active != "low":
		return wrong("active", "%q is neither high nor low", c.Active)
	}
	names[c.Name] = true
	pull, ok := map[string]gpio.Pull{"": gpio.PullNoChange, "none": gpio.Float, "up": gpio.PullUp, "down": gpio.PullDown}[c.Pull]
	if !ok {
		return wrong("pull", "%q is not up, down or none", c.Pull)
	}
	if c.On == "" {
		c.On = "on"
	}
	if c.Off == "" {
		c.Off = "off"
	}
	if c.On == c.Off {
		return wrong("off", "on and off have the same payload")
	}
	switch c.Direction {
	case "in", "":
		if c.CommandTopic != "" {
			return wrong("command_topic", "an input takes no commands")
		}
		switch c.Count {
		case "", "rising", "falling", "both":
		default:
			return wrong("count", "%q is not rising, falling or both", c.Count)
		}
		if c.Every == 0 {
			c.Every = 10 * time.Second
		}
		if c.PerUnit == 0 {
			c.PerUnit = 1
		}
		s.ins = append(s.ins, &inputLine{cfg: c, pull: pull, sched: s})
		return nil
	case "out":
		if c.Count != "" {
			return wrong("count", "an output does not count")
		}
		return s.newOutput(c, wrong)
	}
	return wrong("direction", "%q is neither in nor out", c.Direction)
}

func (c LineConfig) retain() bool    { return c.Retain == nil || *c.Retain }
func (c LineConfig) activeLow() bool { return c.Active == "low" }

// statePayload is the payload for a line that is on or off.
func (c LineConfig) statePayload(on bool, at time.Time, seq uint64) []byte {
	text := c.Off
	if on {
		text = c.On
	}
	if c.Format != FormatJSON {
		return []byte(text)
	}
	b, _ := json.Marshal(struct {
		State    string `json:"state"`
		Time     string `json:"time"`
		Sequence uint64 `json:"sequence"`
	}{text, formatTime(at), seq}) // strings and numbers always encode
	return b
}

// keepState tells observers and the history what a line has become.
func (s *Scheduler) keepState(name string, on bool, at time.Time, seq uint64) {
	s.observeState(name, on, at)
	if s.o.History == nil {
		return
	}
	r := Reading{Probe: name, Quantity: stateQuantity, At: at, Seq: seq}
	if on {
		r.Value = 1
	}
	if !s.o.Clock().Synchronised {
		r.Source = TimeUnknown
	}
	s.o.History.Append(r)
}

// lastState is the number of a line's last change that is kept: the numbers go
// on after a restart.
func (s *Scheduler) lastState(name string) uint64 {
	if h, ok := s.o.History.(interface {
		LastSeq(probe, quantity string) uint64
	}); ok {
		return h.LastSeq(name, stateQuantity)
	}
	return 0
}

// availability is the topic that says whether a sensor or line works.
func (s *Scheduler) availability(name string) string {
	return "gateway/" + s.o.Gateway + "/" + name + "/availability"
}

// lineOnline publishes whether a line works.
func (s *Scheduler) lineOnline(name string, online bool) {
	state := "offline"
	if online {
		state = "online"
	}
	s.observeOnline(name, online)
	s.out.push(Message{Topic: s.availability(name), Payload: []byte(state), QoS: 1, Retain: true}, true)
}
