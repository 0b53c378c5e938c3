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
)

// brokerOptions turns the configuration into the broker's options, without
// its listeners.
func brokerOptions(c *config.Config, log *slog.Logger) broker.Options {
	m := c.MQTT
	o := broker.Options{
		Log:                log,
		ConnectTimeout:     m.ConnectTimeout.D(),
		MaxConnections:     m.MaxConnections,
		MaxOutbox:          int(m.MaxOutbox),
		MaxInflight:        m.MaxInflightMessages,
		MaxInflightBytes:   int(m.MaxInflightBytes),
		QueueQoS0:          m.QueueQoS0Messages,
		UpgradeOutgoingQoS: m.UpgradeOutgoingQoS,
		AllowDuplicates:    m.AllowDuplicateMessages,
		CheckRetainSource:  m.CheckRetainSource,
		SessionExpiryMax:   m.PersistentClientExpiration.D(),
		RetainExpiry:       m.RetainExpiryInterval.D(),
		MaxRetained:        m.MaxRetainedMessages,
		RetainLazy:         c.Store.RetainedClass == "lazy",
		RetainMemory:       c.Store.RetainedClass == "memory",
		SysInterval:        m.SysInterval.D(),
		MaxTopicLevels:     m.MaxTopicLevels,
		MaxSubscriptions:   m.MaxSubscriptions,
		Version:            "gatewayd version " + version,
		Queue: broker.QueueLimits{Messages: m.MaxQueuedMessages, Bytes: int64(m.MaxQueuedBytes), Age: m.MaxQueuedAge.D(),
			OnFull: onFull(m.QueueFull)},
	}
	if m.SysInterval == 0 {
		o.SysInterval = -1 // none
	}
	return o
}

func onFull(policy string) broker.OnFull {
	return map[string]broker.OnFull{"reject": broker.Reject, "drop_oldest": broker.DropOldest, "drop_newest": broker.DropNewest,
		"latest_per_topic": broker.LatestPerTopic}[policy]
}

// brokerListeners joins the configuration's listeners with their open sockets.
// What they need to be read again is returned too.
func brokerListeners(c *config.Config, open []net.Listener) ([]broker.Listener, []*auth.ServerTLS, error) {
	var out []broker.Listener
	var secure []*auth.ServerTLS
	for i, l := range c.Listeners {
		b := broker.Listener{
			Name: l.Address, Address: l.Address, Opened: open[i], WebSocket: l.WebSocket, Path: l.Path, Origins: l.Origins,
			Proxy: l.ProxyProtocol, Delay: !l.SetTCPNoDelay,
			Settings: broker.Settings{
				Anonymous: l.Anonymous, MaxConnections: l.MaxConnections, MountPoint: l.MountPoint,
				MaxQoS: new(mqtt.QoS(l.MaxQoS)), MaxKeepAlive: uint16(l.MaxKeepalive), MaxPacketSize: int(l.MaxPacketSize),
				MaxTopicAlias: new(uint16(l.MaxTopicAlias)), MaxTopicAliasBroker: new(uint16(l.MaxTopicAliasBroker)),
				NoRetain: !l.RetainAvailable, RefuseEmptyClientID: !l.AllowZeroLengthClientID, AutoIDPrefix: l.AutoIDPrefix,
				UsernameAsClientID: l.UseUsernameAsClientID, Versions: protocols(l.AcceptProtocolVersions),
			},
		}
		if l.TLS != nil {
			s, err := auth.NewServerTLS(serverTLS(l.TLS))
			if err != nil {
				return nil, nil, c.Errorf(fmt.Sprintf("listeners[%d].tls", i), "correct the file or the path", "%s", err)
			}
			b.TLS = s.Config()
			b.Identity = map[string]broker.Identity{"cn": broker.IdentityCN, "subject": broker.IdentitySubject}[l.TLS.Identity]
			if by := map[string]auth.Identity{"cn": auth.ByCN, "subject": auth.BySubject}[l.TLS.Identity]; by != 0 {
				b.CertName = func(cert *x509.Certificate) (string, error) { return auth.CertName(cert, by) }
			}
			secure = append(secure, s)
		}
		out = append(out, b)
	}
	return out, secure, nil
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
