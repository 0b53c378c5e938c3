package bridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"gatewayd/mqtt"
)

// limits are what the centre granted in CONNACK.
type limits struct {
	sessionPresent bool
	receiveMaximum int
	maxQoS         mqtt.QoS
	maxPacket      int // 0: no bound
	retain         bool
	aliases        uint16
	wildcards      bool
	keepalive      time.Duration
	sessionExpiry  uint32 // seconds
	shared, subIDs bool
	told           []string // the properties that CONNACK had
}

// refusedError is a CONNACK that says no.
type refusedError struct {
	code   mqtt.ReasonCode
	reason string // the centre's own words
}

func (e *refusedError) Error() string {
	s := "the centre refused the connection: " + e.code.String()
	if e.reason != "" {
		s += " (" + e.reason + ")"
	}
	return s
}

// errHungUp is a connection that was closed before CONNACK: what brokers do
// that do not know the protocol level, and networks that are down.
var errHungUp = errors.New("the centre hung up without an answer to CONNECT")

// connectPacket is the CONNECT of this bridge.
func (o *Options) connectPacket(l level) *mqtt.Connect {
	p := &mqtt.Connect{
		Version:    l.version,
		Bridge:     l.bridge,
		CleanStart: o.CleanSession,
		KeepAlive:  uint16(min(o.Keepalive/time.Second, 65535)),
		ClientID:   o.ClientID,
	}
	if o.Username != "" {
		p.HasUsername, p.Username = true, o.Username
	}
	if o.Password != nil {
		p.HasPassword, p.Password = true, o.Password
	}
	if o.notifiesRemotely() {
		p.Will = &mqtt.Will{Topic: o.NotificationTopic, Payload: []byte("0"), QoS: min(1, o.Profile.demands().maxQoS), Retain: true}
	}
	if o.Will != nil {
		if w := o.Will(); w != nil {
			w.QoS = min(w.QoS, o.Profile.demands().maxQoS)
			p.Will = w
		}
	}
	if l.version == mqtt.V5 {
		p.Properties = &mqtt.Properties{
			ReceiveMaximum:    uint16(o.ReceiveMaximum),
			MaximumPacketSize: uint32(o.MaxPacketSize),
			TopicAliasMaximum: o.MaxTopicAlias,
		}
		if !o.CleanSession {
			p.Properties.SessionExpiry = 0xFFFFFFFF
			if o.SessionExpiry > 0 {
				p.Properties.SessionExpiry = uint32(min(o.SessionExpiry/time.Second, 0xFFFFFFFF))
			}
		}
	}
	return p
}

func (o *Options) notifiesRemotely() bool { return !o.NoNotifications && !o.NotificationsLocalOnly }

// shake sends CONNECT and reads CONNACK. rest is what came behind it.
func shake(ctx context.Context, conn net.Conn, o *Options, l level) (lim limits, rest []byte, err error) {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		if !stop() && err == nil {
			err = context.Cause(ctx)
		}
	}()
	if _, err := conn.Write(o.connectPacket(l).Append(nil, l.version)); err != nil {
		return lim, nil, err
	}
	var buf []byte
	chunk := make([]byte, 4096)
	for {
		n, err := conn.Read(chunk)
		buf = append(buf, chunk[:n]...)
		size, bad := mqtt.Split(buf, o.MaxPacketSize)
		if bad != nil {
			return lim, nil, bad
		}
		if size > 0 {
			lim, err := readConnack(buf[:size], o, l)
			return lim, buf[size:], err
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return lim, nil, errors.New("no answer to CONNECT in time")
		case errors.Is(err, io.EOF):
			return lim, nil, errHungUp
		case err != nil:
			return lim, nil, fmt.Errorf("%w: %w", errHungUp, err)
		}
	}
}

func readConnack(b []byte, o *Options, l level) (limits, error) {
	var p mqtt.Connack
	if mqtt.TypeOf(b[0]) != mqtt.CONNACK {
		return limits{}, fmt.Errorf("the centre answered CONNECT with %v", mqtt.TypeOf(b[0]))
	}
	if err := p.Decode(l.version, b); err != nil {
		if l.version == mqtt.V5 && len(b) == 4 {
			// A broker that does not know 5.0 answers in 3.1.1's form.
			return limits{}, &refusedError{code: mqtt.UnsupportedProtocolVersion}
		}
		return limits{}, err
	}
	props := p.Properties
	if props == nil {
		props = new(mqtt.Properties)
	}
	if p.Code != mqtt.Success {
		return limits{}, &refusedError{p.Code, props.ReasonString}
	}
	lim := limits{
		sessionPresent: p.SessionPresent,
		receiveMaximum: 65535,
		maxQoS:         min(2, o.Profile.demands().maxQoS),
		retain:         !o.Profile.demands().noRetain,
		wildcards:      true,
		shared:         l.version == mqtt.V5,
		subIDs:         l.version == mqtt.V5,
		keepalive:      o.Keepalive,
		maxPacket:      o.Profile.demands().maxPacket,
		aliases:        min(props.TopicAliasMaximum, o.MaxTopicAlias),
		sessionExpiry:  0xFFFFFFFF,
	}
	if l.version != mqtt.V5 {
		return lim, nil
	}
	if props.Has(mqtt.PropReceiveMaximum) {
		lim.receiveMaximum = int(props.ReceiveMaximum)
	}
	if props.Has(mqtt.PropMaximumQoS) {
		lim.maxQoS = min(lim.maxQoS, mqtt.QoS(props.MaximumQoS))
	}
	if props.Has(mqtt.PropMaximumPacketSize) && (lim.maxPacket == 0 || int(props.MaximumPacketSize) < lim.maxPacket) {
		lim.maxPacket = int(props.MaximumPacketSize)
	}
	if props.Has(mqtt.PropRetainAvailable) {
		lim.retain = lim.retain && props.RetainAvailable == 1
	}
	if props.Has(mqtt.PropWildcardSubAvailable) {
		lim.wildcards = props.WildcardAvailable == 1
	}
	if props.Has(mqtt.PropServerKeepAlive) { // [MQTT-3.1.2-21]
		lim.keepalive = time.Duration(props.ServerKeepAlive) * time.Second
	}
	if props.Has(mqtt.PropSessionExpiry) {
		lim.sessionExpiry = props.SessionExpiry
	}
	if props.Has(mqtt.PropSharedSubAvailable) {
		lim.shared = props.SharedAvailable == 1
	}
	if props.Has(mqtt.PropSubIDsAvailable) {
		lim.subIDs = props.SubIDsAvailable == 1
	}
	lim.told = told(props)
	return lim, nil
}
