package web

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"gatewayd/bridge"
	"gatewayd/sensors"
)

func metricsHandler(s *Server) http.Handler {
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), &collector{s: s})
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}

// collector reads the rooms when Prometheus asks.
type collector struct{ s *Server }

// Describe tells nothing beforehand: what there is depends on the rooms.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect asks every room.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	e := emitter{ch}
	e.gauge("info", "Version of the gateway.", 1, "version", c.s.o.Version, "gateway", c.s.o.Gateway)
	ready := 1.0
	if c.s.o.Ready != nil && c.s.o.Ready() != nil {
		ready = 0
	}
	e.gauge("ready", "1 when the store is recovered and the listeners are open.", ready)
	c.broker(e)
	c.store(e)
	c.sensors(e)
	c.bridges(e)
}

func (c *collector) broker(e emitter) {
	if c.s.o.Broker == nil {
		return
	}
	b := c.s.o.Broker()
	e.gauge("broker_clients_connected", "Clients that are connected.", float64(b.Connected))
	e.gauge("broker_clients_disconnected", "Persistent clients that are away.", float64(b.Disconnected))
	e.gauge("broker_sockets", "Open connections.", float64(b.Sockets))
	e.gauge("broker_subscriptions", "Subscriptions.", float64(b.Subscriptions))
	e.gauge("broker_retained_messages", "Retained messages.", float64(b.Retained))
	e.gauge("broker_retained_bytes", "Payload bytes of retained messages.", float64(b.RetainedBytes))
	e.counter("broker_connections_total", "Clients that have connected.", b.Connections)
	e.counter("broker_connections_refused_total", "Connections and logins refused.", b.Refused)
	e.counter("broker_takeovers_total", "Connections taken over by one with the same client id.", b.Takeovers)
	e.counter("broker_clients_expired_total", "Sessions that expired.", uint64(b.Expired))
	e.counter("broker_received_bytes_total", "Bytes received.", b.BytesReceived)
	e.counter("broker_sent_bytes_total", "Bytes sent.", b.BytesSent)
	e.counter("broker_received_packets_total", "Packets received.", b.MessagesReceived)
	e.counter("broker_sent_packets_total", "Packets sent.", b.MessagesSent)
	e.counter("broker_received_publishes_total", "PUBLISH packets received.", b.PublishesReceived)
	e.counter("broker_sent_publishes_total", "PUBLISH packets sent.", b.PublishesSent)
	e.counter("broker_dropped_publishes_total", "Messages dropped, by reason.", b.PublishesDropped, "reason", "full")
	e.counter("broker_dropped_publishes_total", "Messages dropped, by reason.", b.PublishesExpired, "reason", "expired")
	e.counter("broker_dropped_publishes_total", "Messages dropped, by reason.", b.PublishesRefused, "reason", "refused")
}

func (c *collector) store(e emitter) {
	if c.s.o.Health != nil {
		healthy := 0.0
		if c.s.o.Health().OK {
			healthy = 1
		}
		e.gauge("store_healthy", "1 while the store takes writes.", healthy)
	}
	if c.s.o.Store == nil {
		return
	}
	t := c.s.o.Store()
	e.gauge("store_sessions", "Persistent sessions.", float64(t.Sessions))
	e.gauge("store_queued_messages", "Messages that wait for persistent sessions.", float64(t.Messages))
	e.gauge("store_queued_bytes", "Bytes of messages that wait.", float64(t.MessageBytes))
	e.gauge("store_body_bytes", "Bytes of packed groups on disk.", float64(t.BodyBytes))
	e.gauge("store_pending_bytes", "Bytes that wait for the card.", float64(t.PendingBytes))
	e.gauge("store_lazy_values", "Values of class lazy that wait to be written.", float64(t.Lazy))
	e.gauge("store_commit_seconds", "Duration of recent commits.", t.CommitP50.Seconds(), "quantile", "0.5")
	e.gauge("store_commit_seconds", "Duration of recent commits.", t.CommitP99.Seconds(), "quantile", "0.99")
	e.gauge("store_disk_free_bytes", "Free bytes of the store's disk.", float64(t.DiskFree))
	e.gauge("store_write_budget_used", "Share of the write budget used, of what it allows by now.", t.BudgetUsed)
	e.gauge("store_disk_size_bytes", "Size of the disk.", float64(t.DiskSize))
	e.gauge("store_written_bytes_per_day", "What the disk is given to write at the rate since the start; 0 in the first minutes.", float64(t.BytesPerDay))
	e.gauge("store_card_years", "Estimate of the disk's life at that rate; 0: not known.", t.CardYears)
	e.counter("store_disk_written_bytes_total", "Bytes this process made the kernel write, compactions included.", t.DiskWritten)
	e.counter("store_device_written_bytes_total", "Bytes written to the block device by everyone.", t.DeviceWritten)
	e.counter("store_commits_total", "Commits, each with one sync.", t.Commits)
	e.counter("store_submitted_total", "Batches submitted.", t.Submitted)
	e.counter("store_elided_total", "Batches with messages that never had to be written.", t.Elided)
	for reason, n := range map[string]uint64{"oldest": t.DroppedOldest, "newest": t.DroppedNewest, "topic": t.DroppedTopic, "age": t.DroppedAge,
		"expired": t.DroppedExpired, "rejected": t.Rejected, "lost": t.Lost} {
		e.counter("store_dropped_messages_total", "Messages dropped or refused, by reason.", n, "reason", reason)
	}
	for subsystem, n := range t.Written {
		e.counter("store_written_bytes_total", "Bytes written, by subsystem.", n, "subsystem", subsystem)
	}
}

func (c *collector) sensors(e emitter) {
	if c.s.o.Pending != nil {
		waiting, dropped := c.s.o.Pending()
		e.gauge("sensor_pending_messages", "Sensor messages on their way to the broker.", float64(waiting))
		e.counter("sensor_dropped_messages_total", "Sensor messages dropped because too many waited.", dropped)
	}
	if c.s.o.Sensors != nil {
		for _, p := range c.s.o.Sensors() {
			e.gauge("sensor_up", "1 while the sensor is read.", truth(p.Online), "sensor", p.Name)
			e.counter("sensor_reads_total", "Readings tried.", p.Reads, "sensor", p.Name)
			e.counter("sensor_errors_total", "Readings that failed.", p.Errors, "sensor", p.Name)
			e.counter("sensor_late_total", "Readings that were late.", p.Late, "sensor", p.Name)
			if !p.LastGood.IsZero() {
				e.gauge("sensor_last_good_timestamp_seconds", "When it was last read well.", float64(p.LastGood.UnixNano())/float64(time.Second), "sensor", p.Name)
			}
			for _, r := range p.Readings {
				if r.Quality != sensors.Bad {
					e.gauge("sensor_value", "The latest value.", r.Value, "sensor", p.Name, "quantity", r.Quantity, "unit", r.Unit)
				}
			}
		}
	}
	if c.s.o.Lines != nil {
		for _, l := range c.s.o.Lines() {
			e.gauge("line_up", "1 while the line works.", truth(l.Online), "line", l.Name)
			e.counter("line_edges_total", "Edges seen.", l.Edges, "line", l.Name)
			e.counter("line_lost_edges_total", "Edges lost.", l.Lost, "line", l.Name)
		}
	}
}

func (c *collector) bridges(e emitter) {
	if c.s.o.Bridges == nil {
		return
	}
	for _, b := range c.s.o.Bridges() {
		age := 0.0
		if b.Oldest > 0 {
			age = max(time.Since(time.UnixMilli(b.Oldest)).Seconds(), 0)
		}
		e.gauge("bridge_up", "1 while the bridge is connected.", truth(b.State == bridge.Connected), "bridge", b.Name)
		e.gauge("bridge_queue_messages", "Messages that wait for the other broker.", float64(b.QueueMessages), "bridge", b.Name)
		e.gauge("bridge_queue_bytes", "Bytes that wait for the other broker.", float64(b.QueueBytes), "bridge", b.Name)
		e.gauge("bridge_oldest_age_seconds", "Age of the oldest message that waits.", age, "bridge", b.Name)
		e.gauge("bridge_inflight", "Messages sent and not yet acknowledged.", float64(b.Inflight), "bridge", b.Name)
		e.gauge("bridge_messages_per_second", "Messages carried a second over the last seconds, by direction.", b.OutRate, "bridge", b.Name, "direction", "out")
		e.gauge("bridge_messages_per_second", "Messages carried a second over the last seconds, by direction.", b.InRate, "bridge", b.Name, "direction", "in")
		e.gauge("bridge_rtt_seconds", "Round trip of acknowledgements, smoothed.", b.RoundTrip.Seconds(), "bridge", b.Name)
		e.counter("bridge_forwarded_total", "Messages carried, by direction.", b.Out, "bridge", b.Name, "direction", "out")
		e.counter("bridge_forwarded_total", "Messages carried, by direction.", b.In, "bridge", b.Name, "direction", "in")
		e.counter("bridge_acknowledged_total", "Messages the other broker has acknowledged.", b.Acked, "bridge", b.Name)
		e.counter("bridge_retried_total", "Messages sent again.", b.Retried, "bridge", b.Name)
		e.counter("bridge_adapted_total", "Messages carried with less than they had, since the other broker grants no more.", b.QoSLowered, "bridge", b.Name, "reason", "qos")
		e.counter("bridge_adapted_total", "Messages carried with less than they had, since the other broker grants no more.", b.RetainStripped, "bridge", b.Name, "reason", "retain")
		e.counter("bridge_reconnects_total", "Connections made.", b.Connects, "bridge", b.Name)
		if b.CertDays != nil {
			e.gauge("bridge_certificate_days", "Days until the other broker's certificate ends.", *b.CertDays, "bridge", b.Name)
		}
		if b.ClientCertDays != nil {
			e.gauge("bridge_client_certificate_days", "Days until the bridge's own certificate ends.", *b.ClientCertDays, "bridge", b.Name)
		}
		if b.CADays != nil {
			e.gauge("bridge_ca_days", "Days until the first of the authorities that vouch for the other broker ends.", *b.CADays, "bridge", b.Name)
		}
		e.gauge("bridge_parked_messages", "Messages kept aside, since the other broker cannot take them.", float64(b.Parked.Messages), "bridge", b.Name)
		e.gauge("bridge_parked_bytes", "Bytes kept aside.", float64(b.Parked.Bytes), "bridge", b.Name)
		for reason, n := range b.Parked.Total {
			e.counter("bridge_parked_total", "Messages that were put aside, by reason.", n, "bridge", b.Name, "reason", reason)
		}
		seen := map[string]bool{} // a rule that stands there twice is told once
		for _, r := range b.Rules {
			if seen[r.Rule] {
				continue
			}
			seen[r.Rule] = true
			e.counter("bridge_rule_messages_total", "Messages carried by a rule, by direction.", r.Out, "bridge", b.Name, "rule", r.Rule, "direction", "out")
			e.counter("bridge_rule_messages_total", "Messages carried by a rule, by direction.", r.In, "bridge", b.Name, "rule", r.Rule, "direction", "in")
			if r.Own {
				e.gauge("bridge_rule_queue_messages", "Messages of a rule with a queue of its own that wait.", float64(r.Messages), "bridge", b.Name, "rule", r.Rule)
				e.gauge("bridge_rule_queue_bytes", "Bytes of a rule with a queue of its own that wait.", float64(r.Bytes), "bridge", b.Name, "rule", r.Rule)
			}
			for reason, n := range r.Dropped {
				e.counter("bridge_rule_dropped_total", "Messages dropped of a rule, by reason.", n, "bridge", b.Name, "rule", r.Rule, "reason", reason)
			}
		}
		for reason, n := range b.Dropped {
			e.counter("bridge_dropped_total", "Messages dropped, by reason.", n, "bridge", b.Name, "reason", reason)
		}
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// emitter makes metrics with names that begin with gatewayd_.
type emitter struct{ ch chan<- prometheus.Metric }

func (e emitter) gauge(name, help string, v float64, labels ...string) {
	e.emit(prometheus.GaugeValue, name, help, v, labels)
}

func (e emitter) counter(name, help string, v uint64, labels ...string) {
	e.emit(prometheus.CounterValue, name, help, float64(v), labels)
}

// emit takes labels as name, value, name, value.
func (e emitter) emit(kind prometheus.ValueType, name, help string, v float64, labels []string) {
	var names, values []string
	for i := 0; i+1 < len(labels); i += 2 {
		names, values = append(names, labels[i]), append(values, labels[i+1])
	}
	desc := prometheus.NewDesc("gatewayd_"+name, help, names, nil)
	e.ch <- prometheus.MustNewConstMetric(desc, kind, v, values...)
}
