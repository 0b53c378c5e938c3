package sensors

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"
)

// interlock is a group of outputs of which at most one is on, or one output
// alone. One goroutine owns all of the group, so that switching one off and
// another on is one step that nothing comes between.
type interlock struct {
	name     string
	sched    *Scheduler
	outs     []*outputLine
	commands chan command // full: the oldest goes, the latest counts
}

// outputLine is one output. Only its group's goroutine changes it.
type outputLine struct {
	cfg   LineConfig
	group *interlock

	set     func(high bool) error // nil while the line is not ours
	release func() error
	offAt   time.Time // on ends by itself; zero: it does not
	heard   time.Time // last command
	failed  bool      // fail-safe value taken because nobody commands

	bridgeSeen   time.Time // when its bridge was last seen connected, or the line taken
	bridgeFailed bool      // fail-safe value taken because the bridge is away

	mu     sync.Mutex // guards what status reads
	on     bool
	known  bool
	since  time.Time
	reason string
	seq    uint64
}

// command is what came on a command topic.
type command struct {
	out  *outputLine
	on   bool
	dur  time.Duration // on for so long; zero: as configured
	flip bool
}

const commandsWaiting = 64

func (s *Scheduler) newOutput(c LineConfig, wrong func(string, string, ...any) error) error {
	switch c.Initial {
	case "":
		c.Initial = "off"
	case "on", "off", "keep":
	default:
		return wrong("initial", "%q is not on, off or keep", c.Initial)
	}
	switch c.FailSafe {
	case "", "on", "off":
	default:
		return wrong("fail_safe", "%q is neither on nor off", c.FailSafe)
	}
	if c.FailAfter > 0 && c.FailSafe == "" {
		return wrong("fail_after", "needs fail_safe: on or off")
	}
	if c.FailBridge != "" && c.FailSafe == "" {
		return wrong("fail_bridge", "needs fail_safe: on or off")
	}
	if c.BridgeAfter == 0 {
		c.BridgeAfter = time.Minute
	}
	if c.CommandTopic == c.Topic {
		return wrong("command_topic", "is the state's topic too: the output would command itself")
	}
	key := "line:" + c.Name
	if c.Interlock != "" {
		key = "group:" + c.Interlock
	}
	g := s.locks[key]
	if g == nil {
		g = &interlock{name: c.Interlock, sched: s, commands: make(chan command, commandsWaiting)}
		s.locks[key] = g
		s.groups = append(s.groups, g)
	}
	for _, o := range g.outs {
		if c.Initial == "on" && o.cfg.Initial == "on" {
			return wrong("initial", "%q of the same interlock group starts on too", o.cfg.Name)
		}
	}
	o := &outputLine{cfg: c, group: g}
	g.outs = append(g.outs, o)
	s.outs = append(s.outs, o)
	return nil
}

// run owns the group until ctx is done.
func (g *interlock) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	// Commands are heard before any state is published: whoever sees the state
	// may command. They wait until all is open.
	for _, o := range g.outs {
		if o.cfg.CommandTopic == "" {
			continue
		}
		cancel, err := g.sched.o.Sink.Subscribe(o.cfg.CommandTopic, 1, func(m Incoming) { g.heard(o, m.Payload, m.Retained) })
		if err != nil {
			g.sched.log.Error("command topic failed", "line", o.cfg.Name, "topic", o.cfg.CommandTopic, "err", err)
			continue
		}
		defer cancel()
	}
	for _, o := range g.outs {
		o.mu.Lock()
		o.seq = g.sched.lastState(o.cfg.Name)
		o.mu.Unlock()
		if o.cfg.Initial == "keep" {
			g.recall(ctx, o)
		}
		g.open(o)
	}
	for {
		timer.Reset(time.Until(g.nextDeadline()))
		select {
		case <-ctx.Done():
			g.stop()
			return
		case c := <-g.commands:
			g.obey(ctx, c)
		case <-timer.C:
			g.deadlines(ctx)
		}
	}
}

// recallTime is how long the broker has to say what it retains; it is waited for
// only where nothing is.
const recallTime = 2 * time.Second

// recall takes the state an output had when the gateway last ran: what is
// retained on its own topic.
func (g *interlock) recall(ctx context.Context, o *outputLine) {
	was := make(chan bool, 1)
	cancel, err := g.sched.o.Sink.Subscribe(o.topic(), 0, func(m Incoming) {
		if c, err := o.parseCommand(m.Payload); err == nil && m.Retained && !c.flip {
			select {
			case was <- c.on:
			default:
			}
		}
	})
	if err != nil {
		g.sched.log.Warn("last state not known", "line", o.cfg.Name, "topic", o.topic(), "err", err)
		return
	}
	defer cancel()
	timeout := time.NewTimer(recallTime)
	defer timeout.Stop()
	select {
	case <-ctx.Done():
	case <-timeout.C:
	case on := <-was:
		for _, other := range g.outs {
			on = on && (other == o || !other.isOn())
		}
		o.mu.Lock()
		o.on, o.known, o.since = on, true, time.Now()
		o.mu.Unlock()
	}
}

// heard runs on the broker's side: it only queues.
func (g *interlock) heard(o *outputLine, payload []byte, retained bool) {
	if retained && o.cfg.Initial != "keep" {
		return // an old wish, not a command of this moment
	}
	c, err := o.parseCommand(payload)
	if err != nil {
		g.sched.log.Warn("command not understood", "line", o.cfg.Name, "topic", o.cfg.CommandTopic, "err", err)
		return
	}
	for {
		select {
		case g.commands <- c:
			return
		default:
		}
		select {
		case <-g.commands:
		default:
		}
	}
}

// parseCommand reads on, off, toggle, "on 5s", or {"state":"on","for":"5s"}.
func (o *outputLine) parseCommand(b []byte) (command, error) {
	c := command{out: o}
	if len(b) > 256 {
		return c, fmt.Errorf("payload of %d bytes", len(b))
	}
	text := strings.TrimSpace(string(b))
	var dur string
	if strings.HasPrefix(text, "{") {
		var j struct {
			State string `json:"state"`
			For   string `json:"for"`
		}
		if err := json.Unmarshal(b, &j); err != nil {
			return c, err
		}
		text, dur = j.State, j.For
	}
	if !strings.EqualFold(text, o.cfg.On) && !strings.EqualFold(text, o.cfg.Off) {
		if word, rest, ok := strings.Cut(text, " "); ok {
			text, dur = word, strings.TrimSpace(rest)
		}
	}
	if dur != "" {
		d, err := time.ParseDuration(dur)
		if err != nil || d <= 0 {
			return c, fmt.Errorf("%q is not a duration", dur)
		}
		c.dur = d
	}
	switch {
	case text == o.cfg.On:
		c.on = true
	case text == o.cfg.Off:
	case strings.EqualFold(text, o.cfg.On), strings.EqualFold(text, "on"), strings.EqualFold(text, "true"), text == "1":
		c.on = true
	case strings.EqualFold(text, o.cfg.Off), strings.EqualFold(text, "off"), strings.EqualFold(text, "false"), text == "0":
	case strings.EqualFold(text, "toggle"):
		c.flip = true
	default:
		return c, fmt.Errorf("neither %q nor %q nor toggle", o.cfg.On, o.cfg.Off)
	}
	return c, nil
}

func (g *interlock) obey(ctx context.Context, c command) {
	o := c.out
	o.heard, o.failed = time.Now(), false
	if c.flip {
		c.on = !o.isOn()
	}
	g.switchTo(ctx, o, c.on, c.dur)
}

// switchTo sets one output; turning it on turns the others of its group off
// first and waits until they have settled.
func (g *interlock) switchTo(ctx context.Context, o *outputLine, on bool, dur time.Duration) {
	if on {
		for _, other := range g.outs {
			if other != o && other.isOn() {
				g.apply(other, false)
				other.offAt = time.Time{}
				if !sleep(ctx, other.cfg.Settle) {
					return
				}
			}
		}
	}
	g.apply(o, on)
	o.offAt = time.Time{}
	if on {
		o.offAt = o.ends(dur)
	}
}

// ends is when an output that is switched on now goes off by itself; zero:
// never.
func (o *outputLine) ends(dur time.Duration) time.Time {
	if dur == 0 {
		dur = o.cfg.Pulse
	}
	if o.cfg.MaxOn > 0 && (dur == 0 || dur > o.cfg.MaxOn) {
		dur = o.cfg.MaxOn
	}
	if dur == 0 {
		return time.Time{}
	}
	return time.Now().Add(dur)
}

func (o *outputLine) topic() string {
	return expandTopic(o.cfg.Topic, o.group.sched.o.Gateway, o.cfg.Name, "state")
}

// open takes the line with its initial value.
func (g *interlock) open(o *outputLine) {
	on := o.cfg.Initial == "on"
	if o.known { // recalled, or taken again after a failure: as it was
		on = o.isOn()
	}
	set, release, err := g.sched.o.Buses.Output(o.cfg.Line, on != o.cfg.activeLow())
	if err != nil {
		o.mu.Lock()
		first := o.reason == ""
		o.reason = err.Error()
		o.mu.Unlock()
		if first {
			g.sched.log.Warn("output failed", "line", o.cfg.Name, "err", err)
			g.sched.lineOnline(o.cfg.Name, false)
		}
		return
	}
	g.sched.lineOnline(o.cfg.Name, true)
	o.set, o.release = set, release
	o.heard, o.bridgeSeen = time.Now(), time.Now()
	if on && o.offAt.IsZero() {
		o.offAt = o.ends(0)
	}
	g.publish(o, on)
}

// apply sets the line and publishes what it is.
func (g *interlock) apply(o *outputLine, on bool) {
	if o.set == nil {
		g.open(o)
	}
	if o.set == nil {
		return
	}
	if err := o.set(on != o.cfg.activeLow()); err != nil {
		g.sched.log.Warn("output failed", "line", o.cfg.Name, "err", err)
		g.sched.lineOnline(o.cfg.Name, false)
		_ = o.release() // it is being given up
		o.set, o.release = nil, nil
		o.mu.Lock()
		o.reason = err.Error()
		o.mu.Unlock()
		return
	}
	g.publish(o, on)
}

func (g *interlock) publish(o *outputLine, on bool) {
	now := time.Now()
	o.mu.Lock()
	if !o.known || o.on != on {
		o.since = now
	}
	o.on, o.known, o.reason = on, true, ""
	o.seq++
	n := o.seq
	o.mu.Unlock()
	g.sched.keepState(o.cfg.Name, on, now, n)
	g.sched.out.push(Message{Topic: o.topic(), Payload: o.cfg.statePayload(on, now, n), QoS: o.cfg.QoS, Retain: o.cfg.retain()}, false)
}

// nextDeadline is when something happens without a command.
func (g *interlock) nextDeadline() time.Time {
	next := time.Now().Add(time.Hour)
	for _, o := range g.outs {
		if o.set == nil {
			next = earlier(next, time.Now().Add(5*time.Second)) // try to take the line again
		}
		if !o.offAt.IsZero() {
			next = earlier(next, o.offAt)
		}
		if o.cfg.FailAfter > 0 && !o.failed {
			next = earlier(next, o.heard.Add(o.cfg.FailAfter))
		}
		if o.watchesBridge() {
			next = earlier(next, time.Now().Add(bridgeLook))
		}
	}
	return next
}

func (g *interlock) deadlines(ctx context.Context) {
	for _, o := range g.outs {
		now := time.Now()
		if o.set == nil {
			g.open(o)
		}
		if !o.offAt.IsZero() && !now.Before(o.offAt) {
			o.offAt = time.Time{}
			g.apply(o, false)
		}
		if o.cfg.FailAfter > 0 && !o.failed && !now.Before(o.heard.Add(o.cfg.FailAfter)) {
			o.failed = true
			g.sched.log.Warn("commander is silent, output takes its fail-safe value",
				"line", o.cfg.Name, "value", o.cfg.FailSafe, "silent_for", o.cfg.FailAfter)
			g.switchTo(ctx, o, o.cfg.FailSafe == "on", 0)
		}
		if o.watchesBridge() {
			g.lookAtBridge(ctx, o, now)
		}
	}
}

// bridgeLook is how often an output sees to the bridge its commander is behind.
const bridgeLook = time.Second

func (o *outputLine) watchesBridge() bool {
	return o.cfg.FailBridge != "" && o.group.sched.o.BridgeUp != nil
}

// lookAtBridge takes the fail-safe value once in each outage: whoever commands
// on this side of the bridge is obeyed after that too.
func (g *interlock) lookAtBridge(ctx context.Context, o *outputLine, now time.Time) {
	switch {
	case g.sched.o.BridgeUp(o.cfg.FailBridge):
		o.bridgeSeen, o.bridgeFailed = now, false
	case !o.bridgeFailed && now.Sub(o.bridgeSeen) >= o.cfg.BridgeAfter:
		o.bridgeFailed = true
		g.sched.log.Warn("bridge is silent, output takes its fail-safe value",
			"line", o.cfg.Name, "value", o.cfg.FailSafe, "bridge", o.cfg.FailBridge, "silent_for", now.Sub(o.bridgeSeen).Round(time.Second))
		g.switchTo(ctx, o, o.cfg.FailSafe == "on", 0)
	}
}

// stop leaves every output at its fail-safe value and gives the lines back:
// first all that go off, then those that go on.
func (g *interlock) stop() {
	for _, on := range []bool{false, true} {
		for _, o := range g.outs {
			if o.set != nil && o.cfg.FailSafe != "" && (o.cfg.FailSafe == "on") == on {
				g.apply(o, on)
			}
		}
	}
	for _, o := range g.outs {
		if o.release != nil {
			if err := o.release(); err != nil {
				g.sched.log.Warn("output not released", "line", o.cfg.Name, "err", err)
			}
			o.set, o.release = nil, nil
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func (o *outputLine) isOn() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.on
}

func (o *outputLine) status() LineStatus {
	o.mu.Lock()
	defer o.mu.Unlock()
	st := LineStatus{Name: o.cfg.Name, Line: o.cfg.Line, Direction: "out", Since: o.since, Reason: o.reason,
		Online: o.reason == "" && o.known, Edges: o.seq}
	if o.known {
		on := o.on
		st.On, st.State = &on, o.cfg.Off
		if o.on {
			st.State = o.cfg.On
		}
	}
	return st
}

func (o *outputLine) entity() Entity {
	e := Entity{Kind: "switch", Probe: o.cfg.Name, Topic: o.topic(),
		Availability: o.group.sched.availability(o.cfg.Name), Command: o.cfg.CommandTopic, On: o.cfg.On, Off: o.cfg.Off, Format: o.cfg.Format, QoS: o.cfg.QoS, Retain: o.cfg.retain()}
	if e.Command == "" {
		e.Kind = "binary_sensor"
	}
	return e
}
