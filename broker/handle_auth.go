package broker

import (
	"bytes"
	"errors"

	"gatewayd/mqtt"
)

// exchange hands the client's authentication data to the Authorizer
// [MQTT5 4.12]. The conn is parked until the answer.
func (c *conn) exchange(t *turn, data []byte) error {
	h := c.hs
	a, ok := c.b.auth().(EnhancedAuthorizer)
	if !ok {
		return reasonError(mqtt.BadAuthenticationMethod, "authentication method %q is not known", h.method)
	}
	h.clientsTurn = false
	c.parked = true
	a.Exchange(h.req, h.method, data, h.state, func(step AuthStep) {
		c.tr.post(func(t *turn) {
			if !h.dropped && c.hs == h && c.state != ended {
				c.exchanged(t, step)
			}
		})
	})
	return nil
}

// exchanged acts on the Authorizer's answer.
func (c *conn) exchanged(t *turn, step AuthStep) {
	h := c.hs
	h.state = step.State
	switch {
	case step.Code == mqtt.ContinueAuthentication:
		c.send(t, &mqtt.Auth{Code: mqtt.ContinueAuthentication, Properties: h.authProperties(c, step)})
		h.clientsTurn = true
		c.parked = false
		if c.state == connecting {
			c.b.wheel.schedule(c, c.set.Rules.ConnectTimeout)
		}
		c.unpark(t)
	case step.Code.Failed():
		err := errors.New("authentication failed")
		if h.again { // [MQTT-4.12.1-2]
			c.hs = nil
			c.bye(t, step.Code, step.Reason, err)
			return
		}
		h.result.Reason = step.Reason
		c.refuse(t, step.Code, err)
	case h.again:
		c.send(t, &mqtt.Auth{Code: mqtt.Success, Properties: h.authProperties(c, step)})
		c.hs = nil
		c.unpark(t)
	default:
		h.authData = step.Data // [MQTT-4.12.0-6]
		r := step.Result
		r.Code = mqtt.Success
		c.authenticated(t, r)
	}
}

func (h *handshake) authProperties(c *conn, step AuthStep) *mqtt.Properties {
	p := &mqtt.Properties{AuthMethod: h.method, AuthData: step.Data}
	if c.problems {
		p.ReasonString = step.Reason
	}
	return p
}

// stepAuthenticating handles what comes between CONNECT and CONNACK: only AUTH
// and DISCONNECT may [MQTT-3.1.2-30].
func (c *conn) stepAuthenticating(b []byte, t *turn) error {
	switch mqtt.TypeOf(b[0]) {
	case mqtt.AUTH:
		return c.onAuth(b, t)
	case mqtt.DISCONNECT:
		c.end(t, errDisconnected)
		c.tr.finish(t)
		return nil
	}
	return protocolError("only AUTH may come before the authentication is complete")
}

// onAuth handles AUTH [MQTT5 3.15].
func (c *conn) onAuth(b []byte, t *turn) error {
	var p mqtt.Auth
	if c.version != mqtt.V5 {
		return protocolError("AUTH in a version that has none")
	}
	if err := p.Decode(c.version, bytes.Clone(b)); err != nil {
		return err
	}
	var method string
	var data []byte
	if p.Properties != nil {
		method, data = p.Properties.AuthMethod, p.Properties.AuthData
	}
	if c.state == connecting {
		if c.hs == nil || !c.hs.clientsTurn || p.Code != mqtt.ContinueAuthentication || method != c.hs.method { // [MQTT-4.12.0-5]
			return protocolError("unexpected AUTH")
		}
		return c.exchange(t, data)
	}
	switch {
	case c.method == "" || method != c.method: // [MQTT-4.12.1-1] [MQTT-4.12.0-7]
		return protocolError("AUTH for another authentication method than CONNECT's")
	case p.Code == mqtt.ReAuthenticate && c.hs == nil:
		c.hs = &handshake{req: &ConnectRequest{Client: *c.client, Methods: c.set.Methods}, method: method, again: true}
	case p.Code == mqtt.ContinueAuthentication && c.hs != nil && c.hs.clientsTurn:
	default:
		return protocolError("unexpected AUTH")
	}
	return c.exchange(t, data)
}
