package broker

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"gatewayd/mqtt"
	"gatewayd/store"
	"gatewayd/topic"
)

// handshake is what a conn keeps while its CONNECT is being decided on, and
// while it authenticates again.
type handshake struct {
	p           *mqtt.Connect // cloned out of the read buffer
	req         *ConnectRequest
	assigned    bool // the client id is ours
	method      string
	state       any  // of the Authorizer, between two steps
	clientsTurn bool // AUTH is expected
	again       bool // re-authentication of a connected client
	result      ConnectResult
	authData    []byte       // goes with CONNACK
	present     bool         // session present
	limits      bool         // the store has to learn the bounds of the session's queue
	dropped     bool         // the connection is gone
	waits       atomic.Int32 // what CONNACK waits for: the store, the connection taken over
}

func (h *handshake) drop() { h.dropped = true }

// onConnect handles CONNECT [MQTT5 3.1].
func (c *conn) onConnect(b []byte, t *turn) error {
	p := new(mqtt.Connect)
	// What is kept of the packet outlives the read buffer.
	if err := p.Decode(0, bytes.Clone(b)); err != nil {
		if p.Version != 0 {
			c.version = p.Version
		}
		return err
	}
	c.version, c.bridge = p.Version, p.Bridge
	c.problems = p.Properties == nil || !p.Properties.Present.Has(mqtt.PropRequestProblemInfo) || p.Properties.RequestProblemInfo != 0
	if p.Properties != nil {
		c.maxPacket = p.Properties.MaximumPacketSize // a refusal keeps to it too [MQTT-3.2.2-19]
	}
	c.state = connecting
	h := &handshake{p: p}
	c.hs = h
	if v := c.set.Versions; len(v) > 0 && !slices.Contains(v, p.Version) {
		return reasonError(mqtt.UnsupportedProtocolVersion, "%v is not accepted here", p.Version)
	}
	if c.b.memory.refuseConnections() {
		return reasonError(mqtt.ServerBusy, "memory is short")
	}
	if err := c.identify(h); err != nil {
		return err
	}
	if err := c.checkWill(p.Will); err != nil {
		return err
	}
	if p.Properties != nil {
		h.method = p.Properties.AuthMethod
	}
	return c.authenticate(t)
}

// identify settles client id and user name.
func (c *conn) identify(h *handshake) error {
	p, ln := h.p, c.ln
	set := c.set
	id, username, hasUsername := p.ClientID, p.Username, p.HasUsername
	if ln.Identity != IdentityNone {
		if c.peer.CertName == "" {
			return reasonError(mqtt.BadUsernameOrPassword, "no client certificate to take the user name from")
		}
		username, hasUsername = c.peer.CertName, true
	}
	if max := set.MaxKeepAlive; max > 0 && p.Version != mqtt.V5 && (p.KeepAlive == 0 || p.KeepAlive > max) {
		return reasonError(mqtt.ClientIDNotValid, "keep alive %d: at most %d s are allowed here", p.KeepAlive, max)
	}
	switch {
	case p.Version == mqtt.V31 && (id == "" || len([]rune(id)) > 23 && !p.Bridge && set.RefuseEmptyClientID):
		return reasonError(mqtt.ClientIDNotValid, "client id of MQTT 3.1 is empty or too long")
	case set.UsernameAsClientID:
		if username == "" {
			return reasonError(mqtt.ClientIDNotValid, "no user name to use as client id")
		}
		id = username
	case id == "" && set.RefuseEmptyClientID:
		return reasonError(mqtt.ClientIDNotValid, "client id is empty")
	case id == "" && p.Version == mqtt.V311 && !p.CleanStart: // [MQTT-3.1.3-8]
		return reasonError(mqtt.ClientIDNotValid, "client id is empty and the session is not clean")
	case id == "": // [MQTT-3.1.3-6]
		id, h.assigned = set.AutoIDPrefix+randomID(), true
	}
	if strings.ContainsAny(id, "+#") && c.b.auth() != nil {
		// Rights may be given by %c: such an id would widen them.
		return reasonError(mqtt.ClientIDNotValid, "client id contains a wildcard")
	}
	h.req = &ConnectRequest{
		Client: Client{
			ID: id, Username: username, Listener: ln.Name, Remote: c.peer.Remote,
			Version: p.Version, TLS: c.peer.TLS, CertName: c.peer.CertName,
		},
		Password: p.Password, HasUsername: hasUsername, HasPassword: p.HasPassword, Anonymous: set.Anonymous, Methods: set.Methods,
	}
	return nil
}

// randomID is a UUID of version 4 in the form Mosquitto gives its ids.
func randomID() string {
	var r [16]byte
	rand.Read(r[:])
	r[6], r[8] = r[6]&0x0f|0x40, r[8]&0x3f|0x80
	return fmt.Sprintf("%X-%X-%X-%X-%X", r[:4], r[4:6], r[6:8], r[8:10], r[10:])
}

// checkWill checks what can be known of a will before the client is known.
func (c *conn) checkWill(w *mqtt.Will) error {
	switch {
	case w == nil:
		return nil
	case c.set.MaxMessageSize > 0 && len(w.Payload) > c.set.MaxMessageSize:
		if c.version != mqtt.V5 {
			return reasonError(mqtt.NotAuthorized, "will of %d bytes", len(w.Payload))
		}
		return reasonError(mqtt.PacketTooLarge, "will of %d bytes", len(w.Payload))
	case w.QoS > *c.set.MaxQoS: // [MQTT-3.2.2-12]
		return reasonError(mqtt.QoSNotSupported, "will with QoS %d", w.QoS)
	case w.Retain && c.set.NoRetain: // [MQTT-3.2.2-13]
		return reasonError(mqtt.RetainNotSupported, "retained will")
	}
	if err := topic.ValidName(w.Topic); err != nil {
		return &mqtt.ReasonError{Code: mqtt.TopicNameInvalid, Err: err}
	}
	return nil
}

// authenticate asks the Authorizer. The conn is parked until the answer.
func (c *conn) authenticate(t *turn) error {
	h, a := c.hs, c.b.auth()
	switch {
	case h.method != "":
		return c.exchange(t, h.p.Properties.AuthData)
	case a == nil:
		c.authenticated(t, ConnectResult{})
		return nil
	}
	c.parked = true
	a.Connect(h.req, func(r ConnectResult) {
		c.tr.post(func(t *turn) {
			if h.dropped || c.state != connecting {
				return
			}
			c.authenticated(t, r)
		})
	})
	return nil
}

// authenticated goes on once it is known who the client is.
func (c *conn) authenticated(t *turn, r ConnectResult) {
	h := c.hs
	h.result = r
	if r.Code != mqtt.Success {
		c.refuse(t, r.Code, errors.New("not authenticated"))
		return
	}
	client := h.req.Client
	if r.Username != "" {
		client.Username = r.Username
	}
	client.Method = h.method
	if c.set.UsernameAsClientID && r.Username != "" {
		client.ID = r.Username
	}
	c.client = &client
	if w := h.p.Will; w != nil && (!clientTopic(w.Topic) || !c.b.mayPublish(c.client, w.Topic, w.QoS, w.Retain)) {
		c.refuse(t, mqtt.NotAuthorized, errors.New("may not publish the will"))
		return
	}
	c.parked = true
	c.openSession(t)
}

// refuse answers CONNECT with a failure and closes [MQTT-3.2.2-7].
func (c *conn) refuse(t *turn, code mqtt.ReasonCode, err error) {
	if c.state == ended {
		return
	}
	p := &mqtt.Connack{Code: code}
	if !code.AllowedIn(mqtt.CONNACK) {
		p.Code = mqtt.UnspecifiedError
	}
	v := c.version
	var ve *mqtt.VersionError
	switch {
	case errors.As(err, &ve) && ve.V5Form():
		v = mqtt.V5
	case v == 0:
		v = mqtt.V311
	}
	c.version = v
	if v == mqtt.V5 {
		props := mqtt.Properties{}
		if h := c.hs; h != nil {
			props.ServerReference = h.result.ServerReference
			if c.problems && !c.set.Terse {
				props.ReasonString = h.result.Reason
			}
		}
		if props.ReasonString == "" && c.problems && !c.set.Terse {
			props.ReasonString = reasonOf(err)
		}
		if props.ReasonString != "" || props.ServerReference != "" {
			p.Properties = &props
		}
	}
	c.b.stats.refused.Add(1)
	c.b.log.Info("client refused", "client", c.idForLog(), "remote", c.peer.Remote, "listener", c.ln.Name, "code", code.String(), "err", err)
	c.send(t, p)
	c.end(t, err)
	c.tr.finish(t)
}

func (c *conn) idForLog() string {
	switch {
	case c.client != nil:
		return c.client.ID
	case c.hs != nil:
		return c.hs.p.ClientID
	}
	return ""
}

// reasonOf is what the peer may read of an error.
func reasonOf(err error) string {
	var re *mqtt.ReasonError
	if errors.As(err, &re) && re.Err != nil {
		return re.Err.Error()
	}
	return ""
}

// accept sends CONNACK and opens the session for deliveries.
func (c *conn) accept(t *turn) {
	h, s, b := c.hs, c.sess, c.b
	p := h.p
	if h.limits {
		b.store.SetLimits(s.key, c.set.Rules.Queue.toStore())
	}
	ack := &mqtt.Connack{SessionPresent: h.present}
	if c.version == mqtt.V5 {
		ack.Properties = c.connackProperties(h)
	}
	s.mu.Lock()
	if s.conn != c || s.gone {
		s.mu.Unlock()
		return // taken over meanwhile
	}
	c.sendLocked(t, ack)
	s.live = true
	c.state = connected
	c.method = h.method
	c.hs = nil
	c.parked = false
	if f := s.flow; f != nil {
		f.idle, f.lead = len(f.flight), 0
		for i := range f.flight {
			f.flight[i].wire = false
		}
	}
	s.sendIdleLocked(t)
	s.pumpLocked(t, &t.out2)
	refill := s.wantsRefillLocked()
	replay := len(s.replay) > 0
	s.mu.Unlock()
	b.stats.connected.Add(1)
	b.stats.connections.Add(1)
	b.clients.add(c)
	c.lastPacket.Store(t.now)
	if c.keepAlive > 0 {
		b.wheel.schedule(c, msec(int64(c.keepAlive)))
	} else {
		b.wheel.remove(c)
	}
	b.log.Info("client connected", "client", s.id, "remote", c.peer.Remote, "listener", c.ln.Name,
		"version", p.Version.String(), "user", c.client.Username, "clean", p.CleanStart, "present", h.present)
	if refill {
		b.startRefill(s)
	}
	if replay {
		b.replay(t, s)
	}
	b.groupsChanged(t, s)
	c.unpark(t)
}

// connackProperties tells an MQTT 5 client how this server differs from what it
// may assume [MQTT5 3.2.2.3].
func (c *conn) connackProperties(h *handshake) *mqtt.Properties {
	set, o := c.set, c.b.opt()
	p := &mqtt.Properties{
		ReceiveMaximum:    uint16(set.Rules.MaxInflight),
		MaximumPacketSize: uint32(set.MaxPacketSize),
		TopicAliasMaximum: *set.MaxTopicAlias,
		AuthMethod:        h.method,
		AuthData:          h.authData,
	}
	has := func(id mqtt.PropertyID) { p.Present |= mqtt.PropertiesOf(id) }
	if *set.MaxQoS < 2 { // [MQTT-3.2.2-9]
		p.MaximumQoS = byte(*set.MaxQoS)
		has(mqtt.PropMaximumQoS)
	}
	if set.NoRetain {
		has(mqtt.PropRetainAvailable)
	}
	if set.RefuseSharedSubs {
		has(mqtt.PropSharedSubAvailable)
	}
	if set.RefuseWildcardSubs {
		has(mqtt.PropWildcardSubAvailable)
	}
	if set.RefuseSubscriptionID {
		has(mqtt.PropSubIDsAvailable)
	}
	if h.assigned { // [MQTT-3.2.2-16]
		p.AssignedClientID = c.client.ID
	}
	if kept := keepAliveOf(h.p, set); kept != h.p.KeepAlive { // [MQTT-3.2.2-21]
		p.ServerKeepAlive = kept
	}
	if asked := expiryAsked(h.p); c.sess.expiry != asked {
		p.SessionExpiry = c.sess.expiry
		has(mqtt.PropSessionExpiry)
	}
	if req := h.p.Properties; req != nil && req.RequestResponseInfo == 1 && o.ResponseInfo != "" {
		p.ResponseInfo = strings.NewReplacer("%c", c.client.ID, "%u", c.client.Username).Replace(o.ResponseInfo)
	}
	return p
}

// keepAliveOf is the keep alive that holds, in seconds.
func keepAliveOf(p *mqtt.Connect, set *Settings) uint16 {
	if max := set.MaxKeepAlive; max > 0 && p.Version == mqtt.V5 && (p.KeepAlive == 0 || p.KeepAlive > max) {
		return max
	}
	return p.KeepAlive
}

// expiryAsked is the session expiry a client asks for; sessions of 3.x that are
// not clean stay for good [MQTT5 3.1.2.11.2].
func expiryAsked(p *mqtt.Connect) uint32 {
	if p.Version != mqtt.V5 {
		if p.CleanStart {
			return 0
		}
		return neverExpires
	}
	if p.Properties == nil {
		return 0
	}
	return p.Properties.SessionExpiry
}

// expiryGranted bounds what is asked for.
func (r *Rules) expiryGranted(asked uint32) uint32 {
	if max := r.SessionExpiryMax; max > 0 {
		return min(asked, uint32(min(max.Seconds(), neverExpires-1)))
	}
	return asked
}

// connectReceipt is what the receipt of what CONNECT changed leads to.
func (t *turn) connectReceipt(op *pubOp) {
	c, err := op.c, op.err
	op.free()
	c.tr.post(func(t *turn) { c.sessionSaved(t, err) })
}

// sessionSaved goes on once one of the things that CONNACK waits for is on the
// disk.
func (c *conn) sessionSaved(t *turn, err error) {
	if c.state != connecting {
		return
	}
	last := c.hs.waits.Add(-1) == 0
	if err == nil {
		if last {
			c.accept(t)
		}
		return
	}
	s := c.sess
	s.mu.Lock()
	if s.conn == c {
		s.will = nil // of a connection that never was
		if !c.hs.present {
			s.expiry = 0 // the client never had this session
			s.keeps.Store(false)
		}
	}
	s.mu.Unlock()
	code := mqtt.ServerUnavailable
	if errors.Is(err, store.ErrQuota) {
		code = mqtt.QuotaExceeded
	}
	c.refuse(t, code, fmt.Errorf("the session cannot be saved: %w", err))
}
