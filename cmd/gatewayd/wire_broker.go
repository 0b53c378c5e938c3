package main

import (
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"

	"gatewayd/auth"
	"gatewayd/broker"
	"gatewayd/config"
	"gatewayd/mqtt"
	"gatewayd/store"
)

// brokerOptions turns the configuration into the broker's options, without
// its listeners.
func brokerOptions(c *config.Config, log *slog.Logger) broker.Options {
	m := c.MQTT
	o := broker.Options{
		Log:               log,
		Rules:             brokerRules(m.Limits),
		MaxConnections:    m.MaxConnections,
		CheckRetainSource: m.CheckRetainSource, MaxVolatile: int64(m.MaxQueuedMemory),
		RetainExpiry:    m.RetainExpiryInterval.D(),
		MaxRetained:     m.MaxRetainedMessages,
		RetainLazy:      c.Store.RetainedClass == "lazy",
		RetainMemory:    c.Store.RetainedClass == "memory",
		Durability:      durability(c),
		SysInterval:     m.SysInterval.D(),
		ResponseInfo:    m.ResponseInformation,
		ServerReference: m.ServerReference,
		Version:         "gatewayd version " + version,
	}
	if m.SysInterval == 0 {
		o.SysInterval = -1 // none
	}
	return o
}

func durability(c *config.Config) (list []broker.Durability) {
	for _, d := range c.Store.Durability {
		class := map[string]store.Class{"commit": store.Commit, "lazy": store.Lazy, "memory": store.Memory}[d.Class]
		list = append(list, broker.Durability{Filter: d.Filter, Class: class})
	}
	return list
}

// brokerRules are what holds for the clients of one listener, or of all that do
// not say otherwise.
func brokerRules(l config.Limits) broker.Rules {
	return broker.Rules{
		ConnectTimeout:     l.ConnectTimeout.D(),
		MaxOutbox:          int(l.MaxOutbox),
		MaxInflight:        l.MaxInflightMessages,
		MaxInflightBytes:   int(l.MaxInflightBytes),
		QueueQoS0:          l.QueueQoS0Messages,
		UpgradeOutgoingQoS: l.UpgradeOutgoingQoS,
		AllowDuplicates:    l.AllowDuplicateMessages,
		SessionExpiryMax:   l.PersistentClientExpiration.D(),
		MaxTopicLevels:     l.MaxTopicLevels,
		MaxSubscriptions:   l.MaxSubscriptions,
		GrantDenied:        l.DeniedSubscriptions == "grant",
		Queue: broker.QueueLimits{Messages: l.MaxQueuedMessages, Bytes: int64(l.MaxQueuedBytes), Age: l.MaxQueuedAge.D(),
			OnFull: onFull(l.QueueFull)},
	}
}

// brokerSettings are a listener's own settings.
func brokerSettings(l config.Listener) broker.Settings {
	return broker.Settings{
		Rules:     new(brokerRules(l.Limits)),
		Anonymous: l.Anonymous, Methods: l.AuthMethods, MaxConnections: l.MaxConnections, MountPoint: l.MountPoint,
		MaxQoS: new(mqtt.QoS(l.MaxQoS)), MaxKeepAlive: uint16(l.MaxKeepalive % 65535), MaxPacketSize: int(l.MaxPacketSize),
		MaxMessageSize: int(l.MaxMessageSize), Terse: l.MosquittoAnswers,
		MaxTopicAlias: new(uint16(l.MaxTopicAlias)), MaxTopicAliasBroker: new(uint16(l.MaxTopicAliasBroker)),
		NoRetain: !l.RetainAvailable, RefuseEmptyClientID: !l.AllowZeroLengthClientID, AutoIDPrefix: l.AutoIDPrefix,
		UsernameAsClientID: l.UseUsernameAsClientID, Versions: protocols(l.AcceptProtocolVersions), Delay: !l.SetTCPNoDelay,
	}
}

// reloadable are the listeners with the settings that a running broker takes.
func reloadable(c *config.Config) []broker.Listener {
	var out []broker.Listener
	for _, l := range c.Listeners {
		out = append(out, broker.Listener{Name: l.Address, Settings: brokerSettings(l)})
	}
	return out
}

func onFull(policy string) broker.OnFull {
	return map[string]broker.OnFull{"reject": broker.Reject, "drop_oldest": broker.DropOldest, "drop_newest": broker.DropNewest,
		"latest_per_topic": broker.LatestPerTopic, "close": broker.RejectClose}[policy]
}

// brokerListeners joins the configuration's listeners with their open sockets.
// What they need to be read again is returned too.
func brokerListeners(c *config.Config, open []net.Listener) ([]broker.Listener, []*auth.ServerTLS, error) {
	var out []broker.Listener
	var secure []*auth.ServerTLS
	for i, l := range c.Listeners {
		b := broker.Listener{
			Name: l.Address, Address: l.Address, Opened: open[i], WebSocket: l.WebSocket, Path: l.Path, Origins: l.Origins,
			Proxy: l.ProxyProtocol, ProxyRequireTLS: l.ProxyRequireTLS, ForwardedFor: l.ForwardedFor,
			Settings: brokerSettings(l),
		}
		if l.TLS == nil {
			identify(&b, l.ProxyIdentity)
		}
		if l.TLS != nil {
			s, err := auth.NewServerTLS(serverTLS(l.TLS))
			if err != nil {
				return nil, nil, c.Errorf(fmt.Sprintf("listeners[%d].tls", i), "correct the file or the path", "%s", err)
			}
			b.TLS = s.Config()
			identify(&b, l.TLS.Identity)
			secure = append(secure, s)
		}
		out = append(out, b)
	}
	return out, secure, nil
}

// identify has the listener take user names from client certificates.
func identify(b *broker.Listener, by string) {
	b.Identity = map[string]broker.Identity{"cn": broker.IdentityCN, "subject": broker.IdentitySubject}[by]
	if by := map[string]auth.Identity{"cn": auth.ByCN, "subject": auth.BySubject}[by]; by != 0 {
		b.CertName = func(cert *x509.Certificate) (string, error) { return auth.CertName(cert, by) }
	}
}

func protocols(words []string) []mqtt.Version {
	var out []mqtt.Version
	for _, w := range words {
		v := map[string]mqtt.Version{"3": mqtt.V31, "3.1": mqtt.V31, "4": mqtt.V311, "3.1.1": mqtt.V311, "5": mqtt.V5, "5.0": mqtt.V5}[strings.TrimSpace(w)]
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}
