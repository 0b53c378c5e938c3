package broker

import (
	"errors"

	"gatewayd/mqtt"
)

var (
	errDisconnected = errors.New("client disconnected")
	errWithWill     = errors.New("client disconnected and asked for its will")
	errKeepAlive    = errors.New("keep alive timeout")
)

// onDisconnect handles DISCONNECT [MQTT5 3.14].
func (c *conn) onDisconnect(b []byte, t *turn) error {
	var p mqtt.Disconnect
	if err := p.Decode(c.version, b); err != nil {
		return err
	}
	s := c.sess
	if p.Properties.Has(mqtt.PropSessionExpiry) {
		if err := c.changeExpiry(p.Properties.SessionExpiry); err != nil {
			return err
		}
	}
	why := errDisconnected
	if c.version == mqtt.V5 && p.Code != mqtt.Success { // [MQTT-3.14.4-3]
		why = errWithWill
		if p.Code != mqtt.DisconnectWithWill {
			why = errors.New("client disconnected: " + p.Code.String())
		}
	} else {
		s.mu.Lock()
		s.will = nil
		s.mu.Unlock()
	}
	c.end(t, why)
	c.tr.finish(t)
	return nil
}

// changeExpiry takes the session expiry that DISCONNECT brings.
func (c *conn) changeExpiry(asked uint32) error {
	s := c.sess
	s.mu.Lock()
	if s.expiry == 0 && asked != 0 { // [MQTT5 3.14.2.2.2]
		s.mu.Unlock()
		return protocolError("a session that ends with its connection cannot be made to last")
	}
	expiry := c.set.Rules.expiryGranted(asked)
	if s.expiry == expiry {
		s.mu.Unlock()
		return nil
	}
	s.expiry = expiry
	s.keeps.Store(expiry > 0)
	if expiry == 0 { // it ends with this connection
		s.mu.Unlock()
		return nil
	}
	op := c.b.newOp()
	op.batch.PutSession(s.recordLocked())
	if s.saveLocked(&op.batch) {
		op.saves = s
	}
	s.mu.Unlock()
	c.b.submitOrRetry(op)
	return nil
}
