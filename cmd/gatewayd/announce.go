package main

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"strings"
	"time"

	"gatewayd/board"
	"gatewayd/broker"
	"gatewayd/config"
	"gatewayd/mqtt"
)

// gatewayID is what the gateway is called: by configuration, else the board's
// serial number, else the host name.
func gatewayID(c *config.Config, info board.Info) string {
	id := c.Gateway.ID
	if id == "" {
		id = info.Serial
	}
	if id == "" {
		if name, err := os.Hostname(); err == nil {
			id = name
		}
	}
	id = strings.Map(func(r rune) rune {
		if r <= ' ' || r == '/' || r == '+' || r == '#' || r == 0x7f {
			return -1
		}
		return r
	}, id)
	if id == "" {
		return "gateway"
	}
	return id
}

// about is what gateway/<id>/info says.
type about struct {
	Version   string      `json:"version"`
	ID        string      `json:"id"`
	Simulated bool        `json:"simulated"`
	Board     board.Info  `json:"board"`
	Addresses []string    `json:"addresses"` // of MQTT
	HTTP      string      `json:"http,omitempty"`
	Started   string      `json:"started"`
	Listeners []listening `json:"listeners"`
}

type listening struct {
	Address   string `json:"address"`
	WebSocket bool   `json:"websocket,omitempty"`
	TLS       bool   `json:"tls,omitempty"`
}

func newAbout(c *config.Config, id string, info board.Info, open []net.Listener, http net.Listener) about {
	a := about{Version: version, ID: id, Simulated: info.Simulated, Board: info, Addresses: hostAddresses(), Started: time.Now().UTC().Format(time.RFC3339)}
	for i, l := range c.Listeners {
		a.Listeners = append(a.Listeners, listening{open[i].Addr().String(), l.WebSocket, l.TLS != nil})
	}
	if http != nil {
		a.HTTP = http.Addr().String()
	}
	return a
}

// hostAddresses are those under which others may reach this machine.
func hostAddresses() []string {
	out := []string{}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return out
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && !n.IP.IsLinkLocalUnicast() {
			out = append(out, n.IP.String())
		}
	}
	return out
}

// announcer publishes the gateway's own topics.
type announcer struct {
	b   *broker.Broker
	id  string
	off bool // they are not wanted
}

// publish is retained, at QoS 1, and returns once it is kept.
func (a announcer) publish(ctx context.Context, name string, payload []byte) error {
	if a.off {
		return nil
	}
	done := make(chan error, 1)
	err := a.b.Publish(ctx, broker.Publication{
		Topic: "gateway/" + a.id + "/" + name, Payload: payload, QoS: mqtt.QoS(1), Retain: true, Publisher: "gatewayd",
	}, func(err error) { done <- err })
	if err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a announcer) status(ctx context.Context, online bool) error {
	text := "offline"
	if online {
		text = "online"
	}
	return a.publish(ctx, "status", []byte(text))
}

func (a announcer) info(ctx context.Context, about about) error {
	text, err := json.Marshal(about)
	if err != nil {
		return err
	}
	return a.publish(ctx, "info", text)
}
