package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"sync"
	"time"

	"gatewayd/bridge"
	"gatewayd/broker"
	"gatewayd/config"
	"gatewayd/mqtt"
	"gatewayd/web"
)

// bridgeOptions turns one bridge of the configuration into its room's options.
func bridgeOptions(c *config.Config, i int, gateway string, log *slog.Logger) bridge.Options {
	b := c.Bridges[i]
	o := bridge.Options{
		Name: b.Name, Addresses: b.Addresses, Profile: bridge.Profile(b.Profile), Log: log,
		Protocol: map[string]bridge.Protocol{"mqttv5": bridge.Only5, "mqttv311": bridge.Only311, "mqttv31": bridge.Only31}[b.Protocol],
		ClientID: b.ClientID, Username: b.Username, Keepalive: b.Keepalive.D(), CleanSession: b.CleanSession, SessionExpiry: b.SessionExpiry.D(),
		LocalClientID: b.LocalClientID, LocalVolatile: b.LocalCleanSession,
		Queue:    queueLimits(b.Queue),
		OverSize: excess[b.Limits.PacketSize], OverQoS: excess[b.Limits.QoS], OverRetain: excess[b.Limits.Retain], MaxParked: b.Limits.MaxParked,
		Start:       map[string]bridge.StartType{"lazy": bridge.Lazy, "once": bridge.Once, "manual": bridge.Manual}[b.StartType],
		IdleTimeout: b.IdleTimeout.D(), Threshold: b.Threshold, RoundRobin: b.RoundRobin,
		RestartBase: b.RestartTimeout.Base.D(), RestartCap: b.RestartTimeout.Cap.D(), RestartStable: b.RestartTimeout.Stable.D(),
		ConnectTimeout: b.ConnectTimeout.D(), NoNotifications: !b.Notifications, NotificationsLocalOnly: b.NotificationsLocalOnly,
		NotificationTopic: b.NotificationTopic, NoPrivate: !b.TryPrivate, NoUnsubscribe: !b.AttemptUnsubscribe, StripRetain: !b.OutgoingRetain,
		ReceiveMaximum: b.ReceiveMaximum, MaxPacketSize: int(b.MaxPacketSize), MaxTopicAlias: uint16(b.MaxTopicAlias),
		BindAddress: b.BindAddress, TCPKeepAlive: b.TCPKeepalive.D(), TCPUserTimeout: b.TCPUserTimeout.D(),
		WebSocketPath: b.WebSocketPath, Proxy: b.Proxy,
		Lanes: map[string]bridge.Lanes{"live_first": bridge.LiveFirst, "off": bridge.OneLane}[b.Lanes], NoMark: !b.HistoryMark,
		HistoryRate: float64(b.HistoryRate), PublishRate: float64(b.PublishRate), StormRate: float64(b.StormRate),
	}
	if o.ClientID == "" {
		o.ClientID = gateway + "-" + b.Name
	}
	if b.Password != "" {
		o.Password = []byte(b.Password.Reveal())
	}
	if b.TCPKeepalive == 0 {
		o.TCPKeepAlive = -1 // off
	}
	if o.MaxPacketSize == 0 {
		o.MaxPacketSize = int(c.MQTT.MaxPacketSize)
	}
	if b.TLS != nil {
		o.TLS = func() (*tls.Config, error) { return clientTLS(b.TLS) }
	}
	for _, t := range b.Topics {
		r := bridge.Rule{
			Filter: t.Filter, Direction: map[string]bridge.Direction{"out": bridge.Out, "in": bridge.In, "both": bridge.Both}[t.Direction],
			QoS: mqtt.QoS(t.QoS), LocalPrefix: t.LocalPrefix, RemotePrefix: t.RemotePrefix, StripRetain: t.Retain == "strip",
		}
		if t.Queue != nil {
			q := queueLimits(*t.Queue)
			r.Queue = &q
		}
		o.Rules = append(o.Rules, r)
	}
	return o
}

var excess = map[string]bridge.Excess{"lower": bridge.Adapt, "strip": bridge.Adapt, "park": bridge.Park, "drop": bridge.Drop}

func queueLimits(q config.Queue) broker.QueueLimits {
	return broker.QueueLimits{Messages: q.MaxMessages, Bytes: int64(q.MaxBytes), Age: q.MaxAge.D(), OnFull: onFull(q.OnFull)}
}

// clientTLS reads a bridge's files.
func clientTLS(t *config.ClientTLS) (*tls.Config, error) {
	c := &tls.Config{ServerName: t.ServerName, NextProtos: t.ALPN, InsecureSkipVerify: t.Insecure, MinVersion: tls.VersionTLS12, Time: trusted.Now}
	if t.MinVersion == "1.3" {
		c.MinVersion = tls.VersionTLS13
	}
	for _, name := range t.Ciphers {
		i := slices.IndexFunc(tls.CipherSuites(), func(s *tls.CipherSuite) bool { return s.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("cipher suite %q is not known or not safe", name)
		}
		c.CipherSuites = append(c.CipherSuites, tls.CipherSuites()[i].ID)
	}
	if t.CA != "" {
		c.RootCAs = x509.NewCertPool()
		if t.SystemRoots {
			pool, err := x509.SystemCertPool()
			if err != nil {
				return nil, fmt.Errorf("the system's authorities: %w", err)
			}
			c.RootCAs = pool
		}
		file, dir := t.CA, ""
		if info, err := os.Stat(t.CA); err == nil && info.IsDir() {
			file, dir = "", t.CA
		}
		if err := addAuthorities(c.RootCAs, file, dir); err != nil {
			return nil, err
		}
	}
	if t.Cert != "" {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// bridges are the connections to other brokers. A reload changes them one by
// one: those that stay as they are do not notice.
type bridges struct {
	id     string
	broker *broker.Broker
	log    *slog.Logger
	will   func() *mqtt.Will // of the bridge that the Sparkplug edge node is behind

	mu  sync.Mutex // guards the field below, which others read
	all []*running
}

// running is one bridge. Its stage and late belong to the gateway's goroutine.
type running struct {
	config config.Bridge
	node   bool // leaves the edge node's will
	bridge *bridge.Bridge
	stage  *stage
	late   *running // what takes its place once it is not connected
}

func newBridges(c *config.Config, id string, b *broker.Broker, will func() *mqtt.Will, log *slog.Logger) (*bridges, error) {
	bs := &bridges{id: id, broker: b, log: log, will: will}
	all, err := bs.prepare(c)
	bs.all = all
	return bs, err
}

// prepare makes every bridge of the configuration without starting any.
func (bs *bridges) prepare(c *config.Config) ([]*running, error) {
	var all []*running
	for i, b := range c.Bridges {
		o := bridgeOptions(c, i, bs.id, bs.log)
		node := c.Sparkplug.Enabled && c.Sparkplug.Bridge == b.Name
		if node {
			o.Will = bs.will
		}
		br, err := bridge.New(o, bs.broker)
		if err != nil {
			return nil, c.Errorf(fmt.Sprintf("bridges[%d]", i), "correct the bridge", "%s", err)
		}
		all = append(all, &running{config: b, node: node, bridge: br})
	}
	return all, nil
}

// open makes the bridges' sessions at the broker, which does not run yet.
func (bs *bridges) open() error {
	for _, r := range bs.all {
		if err := r.bridge.Open(); err != nil {
			return err
		}
	}
	bs.nameOrphans()
	return nil
}

// nameOrphans says which sessions of bridges that are not configured any more
// are still there, filling up (mosquitto#2224).
func (bs *bridges) nameOrphans() {
	var own []string
	for _, r := range bs.all {
		own = append(own, r.bridge.LocalClientID())
	}
	for _, o := range bridge.Orphans(bs.broker, own) {
		bs.log.Warn("the queue of a bridge that is not configured any more still fills; gatewayd bridge orphans --remove gives it up while the gateway is stopped",
			"client", o.LocalClientID, "messages", o.Messages, "bytes", o.Bytes)
	}
}

// start runs them all.
func (bs *bridges) start(s *stages) {
	for _, r := range bs.all {
		bs.startOne(s, r)
	}
}

// startOne runs a bridge. One that cannot work is said so and takes nothing
// else down.
func (bs *bridges) startOne(s *stages, r *running) {
	r.stage = s.start("bridge "+r.config.Name, func(ctx context.Context) error {
		err := r.bridge.Run(ctx)
		if err != nil && ctx.Err() == nil {
			bs.log.Error("bridge has ended", "bridge", r.config.Name, "err", err)
		}
		<-ctx.Done()
		return ctx.Err()
	})
}

// adopt replaces the bridges that a new configuration changes.
func (bs *bridges) adopt(c *config.Config, s *stages) error {
	next, err := bs.prepare(c)
	if err != nil {
		return err
	}
	var all []*running
	for _, n := range next {
		i := slices.IndexFunc(bs.all, func(r *running) bool { return r.config.Name == n.config.Name })
		switch {
		case i < 0:
			bs.startOne(s, n)
			all = append(all, n)
		case reflect.DeepEqual(bs.all[i].config, n.config) && bs.all[i].node == n.node:
			bs.all[i].late = nil
			all = append(all, bs.all[i])
		case n.config.ReloadType == "lazy" && bs.all[i].bridge.Status().State == bridge.Connected:
			bs.all[i].late = n
			bs.log.Info("bridge changes with its next connection", "bridge", n.config.Name)
			all = append(all, bs.all[i])
		default:
			bs.replace(s, bs.all[i], n)
			all = append(all, n)
		}
	}
	for _, old := range bs.all {
		if !slices.ContainsFunc(all, func(r *running) bool { return r.config.Name == old.config.Name }) {
			bs.log.Info("bridge removed", "bridge", old.config.Name)
			bs.stop(s, old)
		}
	}
	bs.mu.Lock()
	bs.all = all
	bs.mu.Unlock()
	return nil
}

func (bs *bridges) stop(s *stages, r *running) {
	if err := s.stop(r.stage, stopLimit); err != nil {
		bs.log.Warn("bridge did not stop cleanly", "bridge", r.config.Name, "err", err)
	}
}

func (bs *bridges) replace(s *stages, old, next *running) {
	bs.stop(s, old)
	bs.startOne(s, next)
	bs.log.Info("bridge changed", "bridge", next.config.Name)
}

// settle replaces bridges whose change waits for the end of a connection.
func (bs *bridges) settle(s *stages) {
	for i, r := range bs.all {
		if r.late != nil && r.bridge.Status().State != bridge.Connected {
			bs.replace(s, r, r.late)
			bs.mu.Lock()
			bs.all[i] = r.late
			bs.mu.Unlock()
		}
	}
}

// late reports whether a change waits.
func (bs *bridges) late() bool {
	return slices.ContainsFunc(bs.all, func(r *running) bool { return r.late != nil })
}

// list is the bridges that run now.
func (bs *bridges) list() []*running {
	bs.mu.Lock()
	defer bs.mu.Unlock()
	return slices.Clone(bs.all)
}

func (bs *bridges) status() []bridge.Status {
	var out []bridge.Status
	for _, r := range bs.list() {
		out = append(out, r.bridge.Status())
	}
	return out
}

// parked lists, releases or drops the messages that a bridge keeps aside.
func (bs *bridges) parked(ctx context.Context, name, what string, ids []uint64) (web.Parked, error) {
	for _, r := range bs.list() {
		if r.config.Name != name {
			continue
		}
		var p web.Parked
		var err error
		switch what {
		case "release":
			p.Count, err = r.bridge.Release(ids...)
		case "drop":
			p.Count, err = r.bridge.GiveUp(ids...)
		default:
			var content uint64
			if len(ids) > 0 {
				content = ids[0]
			}
			p.Messages, err = r.bridge.Parked(ctx, content)
			p.Count = len(p.Messages)
		}
		return p, err
	}
	return web.Parked{}, web.ErrNoBridge
}

// command pauses, resumes or drains a bridge of the running gateway.
func (bs *bridges) command(ctx context.Context, name, what string) error {
	for _, r := range bs.list() {
		if r.config.Name != name {
			continue
		}
		switch what {
		case "pause":
			r.bridge.Pause()
		case "resume":
			r.bridge.Resume()
		case "drain":
			limited, cancel := context.WithTimeout(ctx, 10*time.Minute)
			defer cancel()
			return r.bridge.Drain(limited)
		}
		return nil
	}
	return web.ErrNoBridge
}
