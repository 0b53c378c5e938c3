package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"gatewayd/config"
	"gatewayd/topic"
)

// explainConfig says in sentences what the gateway would do.
func explainConfig(out io.Writer, c *config.Config) {
	p := func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) }
	if len(c.Files()) == 0 {
		p("There is no configuration file, so this is the built-in default.")
	}
	if c.Store.Persistence {
		p("Data is kept in %s; acknowledgements wait for the card (at most %s of gathering).", c.Gateway.DataDir, c.Store.CommitDelay)
		if c.Store.MaxMessages > 0 {
			p("All queues together hold at most %d messages, then publishers are refused.", c.Store.MaxMessages)
		}
		if c.Store.MaxAge > 0 {
			p("No message waits in a queue for longer than %s.", c.Store.MaxAge)
		}
		for _, d := range c.Store.Durability {
			switch d.Class {
			case "lazy":
				p("Messages under %s are acknowledged before they are on the card: a power cut may lose those of the last %s.", d.Filter, c.Store.LazyInterval)
			case "memory":
				p("Messages under %s are acknowledged and never written: a restart loses those that wait.", d.Filter)
			}
		}
		switch c.Store.RetainedClass {
		case "lazy":
			p("Retained messages are acknowledged before they are on the card: a power cut may lose those of the last %s.", c.Store.LazyInterval)
		case "memory":
			p("Retained messages are never written: they are gone after a restart.")
		}
	} else {
		p("Nothing is kept on disk: everything is gone at a restart.")
	}
	for _, l := range c.Listeners {
		what := "MQTT"
		if l.WebSocket {
			what = "MQTT over WebSocket (path " + l.Path + ")"
		}
		if l.TLS != nil {
			what += " with TLS"
			if l.TLS.RequireClientCert {
				what += " and client certificates"
			}
		}
		if l.ProxyProtocol {
			what += " behind a proxy that tells the client's address"
		}
		who := "with a user name and password"
		if l.ProxyIdentity != "none" {
			who = "with a client certificate that the proxy has verified"
		}
		if len(l.AuthMethods) > 0 {
			who += " or by " + strings.Join(l.AuthMethods, " or ")
		}
		if l.Anonymous {
			who = "without a password"
		}
		p("%s on %s, %s.", what, l.Address, who)
	}
	if c.HTTP.Enabled() {
		p("Health, metrics and status on http://%s.", c.HTTP.Address)
	}
	switch c.Board.Kind {
	case "auto":
		p("Sensors and lines are those of this board, or simulated where it has none.")
	case "sim":
		p("Sensors and lines are simulated.")
	case "none":
		p("Sensors and lines are off.")
	}
	for _, s := range c.Sensors {
		kept := ""
		if s.Retain {
			kept = ", retained"
		}
		p("Sensor %s (%s) is read every %s and published on %s with QoS %d%s.", s.Name, s.Driver, s.Every,
			strings.ReplaceAll(s.Topic, "{name}", s.Name), s.QoS, kept)
	}
	for _, l := range c.Lines {
		if l.Direction == "out" {
			p("Output %s (%s) is commanded on %s and tells its state on %s.", l.Name, l.Line, l.CommandTopic, l.Topic)
			continue
		}
		p("Input %s (%s) is published on %s.", l.Name, l.Line, l.Topic)
	}
	for _, b := range c.Bridges {
		p("Bridge %s goes to %s.", b.Name, strings.Join(b.Addresses, ", else "))
		p("  While that is away messages of QoS 1 and 2 wait: %s.", explainQueue(b.Queue))
		p("  What exceeds its limits: packets are %s, a higher QoS is %s, the retain flag is %s.", excessWords[b.Limits.PacketSize],
			excessWords[b.Limits.QoS], excessWords[b.Limits.Retain])
		for _, t := range b.Topics {
			r := topic.Remap{Pattern: t.Filter, Local: t.LocalPrefix, Remote: t.RemotePrefix}
			if t.Direction != "in" {
				p("  %s here becomes %s there, up to QoS %d.", r.LocalFilter(), r.RemoteFilter(), t.QoS)
				if t.Queue != nil {
					p("    It waits in a queue of its own: %s.", explainQueue(*t.Queue))
				}
			}
			if t.Direction != "out" {
				p("  %s there becomes %s here, up to QoS %d.", r.RemoteFilter(), r.LocalFilter(), t.QoS)
			}
		}
	}
	if s := c.Sparkplug; s.Enabled {
		node, where := cmp.Or(s.Node, c.Gateway.ID, "<the gateway's id>"), "for hosts that connect here"
		if s.Bridge != "" {
			where = "while bridge " + s.Bridge + " is connected"
		}
		p("Sensors and lines are a Sparkplug B edge node too, spBv1.0/%s/…/%s, %s.", s.Group, node, where)
	}
	p("The log goes to %s from level %s on.", strings.Join(c.Log.To, " and "), c.Log.Level)
}

var excessWords = map[string]string{"park": "parked", "drop": "dropped", "lower": "lowered", "strip": "taken off"}

// explainQueue says what bounds a queue and what happens there.
func explainQueue(q config.Queue) string {
	var bounds []string
	if q.MaxMessages > 0 {
		bounds = append(bounds, fmt.Sprintf("%d messages", q.MaxMessages))
	}
	if q.MaxBytes > 0 {
		bounds = append(bounds, q.MaxBytes.String())
	}
	full := map[string]string{
		"reject": "then publishers are refused", "close": "then publishers are disconnected", "drop_oldest": "then the oldest goes", "drop_newest": "then the new one is not kept",
		"latest_per_topic": "then an older one of its topic goes, else the oldest",
	}[q.OnFull]
	said := "as many as the store has room for"
	if len(bounds) > 0 {
		said = "at most " + strings.Join(bounds, " or ") + ", " + full
	}
	if q.MaxAge > 0 {
		said += fmt.Sprintf("; at most %s long", q.MaxAge)
	}
	return said
}
