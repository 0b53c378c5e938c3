package main

import (
	"errors"
	"log/slog"

	"gatewayd/auth"
	"gatewayd/broker"
	"gatewayd/config"
	"gatewayd/mqtt"
)

func serverTLS(t *config.TLS) auth.TLSOptions {
	return auth.TLSOptions{Cert: t.Cert, Key: t.Key, Chain: t.Chain, ClientCA: t.ClientCA, RequireClientCert: t.RequireClientCert,
		CRL: t.CRL, MinVersion: t.MinVersion, Ciphers: t.Ciphers, Now: trusted.Now}
}

// authority lets package auth decide for the broker.
type authority struct {
	*auth.Authority
	gate *gate
}

func newAuthority(c *config.Config, log *slog.Logger, door *gate) (authority, error) {
	a, err := auth.New(auth.Options{PasswordFile: c.Auth.PasswordFile, ACLFile: c.Auth.ACLFile, Log: log})
	if err == nil {
		door.latest.Store(a)
	}
	return authority{a, door}, err
}

// Connect asks for the login; the answer may come later.
func (a authority) Connect(r *broker.ConnectRequest, answer func(broker.ConnectResult)) {
	a.gate.pass(func() {
		if latest := a.gate.latest.Load(); latest != nil { // other files may be named by now
			a.Authority = latest
		}
		a.login(r, answer)
	})
}

func (a authority) login(r *broker.ConnectRequest, answer func(broker.ConnectResult)) {
	a.Login(r.Username, r.Password, r.CertName != "", r.Anonymous, func(err error) {
		switch {
		case err == nil:
			answer(broker.ConnectResult{Code: mqtt.Success})
		case errors.Is(err, auth.ErrBusy):
			answer(broker.ConnectResult{Code: mqtt.ServerBusy, Reason: err.Error()})
		case errors.Is(err, auth.ErrNoName):
			answer(broker.ConnectResult{Code: mqtt.NotAuthorized, Reason: err.Error()})
		default:
			// Not authorized, as Mosquitto: it does not tell a wrong name from a wrong
			// password, nor either from a lack of rights.
			answer(broker.ConnectResult{Code: mqtt.NotAuthorized, Reason: err.Error()})
		}
	})
}

func (a authority) Publish(c *broker.Client, topic string, _ mqtt.QoS, _ bool) bool {
	return a.MayPublish(c.ID, c.Username, topic)
}

func (a authority) Subscribe(c *broker.Client, filter string, _ mqtt.QoS) bool {
	return a.MaySubscribe(c.ID, c.Username, filter)
}

func (a authority) Deliver(c *broker.Client, topic string) bool {
	return a.MayReceive(c.ID, c.Username, topic)
}
