package main

import (
	"errors"
	"log/slog"
	"slices"

	"gatewayd/auth"
	"gatewayd/broker"
	"gatewayd/config"
	"gatewayd/mqtt"
)

func serverTLS(t *config.TLS) auth.TLSOptions {
	return auth.TLSOptions{Cert: t.Cert, Key: t.Key, Chain: t.Chain, ClientCA: t.ClientCA, RequireClientCert: t.RequireClientCert,
		CRL: t.CRL, MinVersion: t.MinVersion, Ciphers: t.Ciphers, Now: trusted.Now}
}

// users are those of all listeners: most share one set of files, and some have
// their own.
type users struct {
	shared *auth.Authority
	own    map[string]*auth.Authority // by the listener's address
}

func newUsers(c *config.Config, log *slog.Logger) (*users, error) {
	shared, err := auth.New(auth.Options{PasswordFile: c.Auth.PasswordFile, ScramFile: c.Auth.ScramFile, ACLFile: c.Auth.ACLFile, Log: log})
	if err != nil {
		return nil, err
	}
	u := &users{shared: shared, own: map[string]*auth.Authority{}}
	for _, l := range c.Listeners {
		if l.PasswordFile == "" && l.ACLFile == "" {
			continue
		}
		u.own[l.Address], err = auth.New(auth.Options{PasswordFile: c.UsersOf(l), ScramFile: c.Auth.ScramFile, ACLFile: c.RightsOf(l),
			Log: log.With("listener", l.Address)})
		if err != nil {
			return nil, err
		}
	}
	return u, nil
}

// of are the users of a listener.
func (u *users) of(listener string) *auth.Authority {
	if a := u.own[listener]; a != nil {
		return a
	}
	return u.shared
}

// stale says whether a file was changed and not read since.
func (u *users) stale() bool {
	if u.shared.Stale() {
		return true
	}
	for _, a := range u.own {
		if a.Stale() {
			return true
		}
	}
	return false
}

// reload reads all files again.
func (u *users) reload() error {
	err := u.shared.Reload()
	for _, a := range u.own {
		err = errors.Join(err, a.Reload())
	}
	return err
}

// sameUsers reports whether two configurations name the same files.
func sameUsers(a, b *config.Config) bool {
	if a.Auth != b.Auth || len(a.Listeners) != len(b.Listeners) {
		return false
	}
	for i := range a.Listeners {
		x, y := &a.Listeners[i], &b.Listeners[i]
		if x.Address != y.Address || x.PasswordFile != y.PasswordFile || x.ACLFile != y.ACLFile {
			return false
		}
	}
	return true
}

// authority lets package auth decide for the broker.
type authority struct {
	*users
	gate *gate
}

func newAuthority(c *config.Config, log *slog.Logger, door *gate) (authority, error) {
	u, err := newUsers(c, log)
	if err == nil {
		door.latest.Store(u)
	}
	return authority{u, door}, err
}

// Connect asks for the login; the answer may come later.
func (a authority) Connect(r *broker.ConnectRequest, answer func(broker.ConnectResult)) {
	a.gate.pass(func() {
		if latest := a.gate.latest.Load(); latest != nil { // other files may be named by now
			a.users = latest
		}
		a.login(r, answer)
	})
}

func (a authority) login(r *broker.ConnectRequest, answer func(broker.ConnectResult)) {
	a.of(r.Listener).Login(r.Username, r.Password, r.CertName != "", r.Anonymous, func(err error) {
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

// Exchange steps an authentication method of MQTT 5; its state is the exchange.
func (a authority) Exchange(r *broker.ConnectRequest, method string, data []byte, state any, answer func(broker.AuthStep)) {
	a.gate.pass(func() {
		if latest := a.gate.latest.Load(); latest != nil { // other files may be named by now
			a.users = latest
		}
		answer(a.step(r, method, data, state))
	})
}

func (a authority) step(r *broker.ConnectRequest, method string, data []byte, state any) broker.AuthStep {
	x, under := state.(*auth.ScramExchange)
	if !under {
		if !slices.Contains(r.Methods, method) {
			return broker.AuthStep{Code: mqtt.BadAuthenticationMethod, Reason: "the listener does not have this authentication method"}
		}
		var err error
		if x, err = a.of(r.Listener).Scram(method); err != nil {
			return broker.AuthStep{Code: mqtt.BadAuthenticationMethod, Reason: err.Error()}
		}
		if len(data) == 0 { // SASL lets the client wait for an empty challenge
			return broker.AuthStep{Code: mqtt.ContinueAuthentication, State: x}
		}
	}
	out, done, err := x.Step(data)
	switch {
	case err != nil:
		return broker.AuthStep{Code: mqtt.NotAuthorized, Reason: err.Error()}
	case !done:
		return broker.AuthStep{Code: mqtt.ContinueAuthentication, Data: out, State: x}
	case r.Username != "" && r.Username != x.User():
		return broker.AuthStep{Code: mqtt.NotAuthorized, Reason: "the user name is not the one that was proved"}
	}
	return broker.AuthStep{Code: mqtt.Success, Data: out, Result: broker.ConnectResult{Username: x.User()}}
}

// stillLetIn says whether a connected client could still connect.
func (a authority) stillLetIn(c *broker.Client, l config.Listener) bool {
	if c.Method != "" {
		return slices.Contains(l.AuthMethods, c.Method) && a.of(c.Listener).StillProvable(c.Method, c.Username)
	}
	return a.of(c.Listener).StillKnown(c.Username, c.CertName != "", l.Anonymous)
}

func (a authority) Publish(c *broker.Client, topic string, _ mqtt.QoS, _ bool) bool {
	return a.of(c.Listener).MayPublish(c.ID, c.Username, topic)
}

func (a authority) Subscribe(c *broker.Client, filter string, _ mqtt.QoS) bool {
	return a.of(c.Listener).MaySubscribe(c.ID, c.Username, filter)
}

func (a authority) Deliver(c *broker.Client, topic string) bool {
	return a.of(c.Listener).MayReceive(c.ID, c.Username, topic)
}
