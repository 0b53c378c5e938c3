package bridge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"gatewayd/mqtt"
)

// Report is what a test of a bridge's configuration found at one address.
type Report struct {
	Address        string        `json:"address"`
	Err            string        `json:"error,omitempty"`
	Took           time.Duration `json:"took"`
	Protocol       string        `json:"protocol,omitempty"`
	ReceiveMaximum int           `json:"receive_maximum,omitempty"`
	MaximumQoS     int           `json:"maximum_qos"`
	MaximumPacket  int           `json:"maximum_packet_size,omitempty"`
	Retain         bool          `json:"retain_available"`
	Wildcards      bool          `json:"wildcards_available"`
	Shared         bool          `json:"shared_available"`
	SubIDs         bool          `json:"subscription_ids_available"`
	TopicAliases   int           `json:"topic_aliases"`
	Keepalive      time.Duration `json:"keepalive"`
	SessionExpiry  uint32        `json:"session_expiry"`
	// Told are the properties of CONNACK that the centre sent, by their names.
	Told []string `json:"connack,omitempty"`
	// Filters say what the centre answered to each inward topic.
	Filters        []Granted `json:"subscriptions,omitempty"`
	CertDays       *float64  `json:"certificate_days,omitempty"`
	ClientCertDays *float64  `json:"client_certificate_days,omitempty"`
	CADays         *float64  `json:"ca_days,omitempty"`
}

// Granted is the answer to one subscription.
type Granted struct {
	Filter string `json:"filter"`
	Asked  byte   `json:"asked"`           // QoS
	Answer string `json:"answer"`          // "QoS 1", or the reason
	Less   bool   `json:"less,omitempty"`  // than asked for
	Error  bool   `json:"error,omitempty"` // refused
}

// Test connects to every address as the configuration says, under a client id
// of its own so that a running bridge is not disturbed, subscribes to what is to
// come in, and reports what the centre grants.
func Test(ctx context.Context, o Options) ([]Report, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	o.ClientID += "-test"
	o.CleanSession, o.NoNotifications, o.Will = true, true, nil
	var out []Report
	for _, text := range o.Addresses {
		a, err := parseAddress(text, o)
		if err != nil {
			return nil, err
		}
		out = append(out, testAddress(ctx, a, &o))
	}
	return out, nil
}

func testAddress(ctx context.Context, a address, o *Options) Report {
	r := Report{Address: a.text}
	start := time.Now()
	var certs certificates
	o.seen = func(c certificates) { certs = c }
	defer func() { r.CertDays, r.ClientCertDays, r.CADays = certs.days(time.Now()) }()
	for _, l := range o.ladder() {
		lim, filters, err := grants(ctx, a, o, l)
		r.Took = time.Since(start)
		if err != nil {
			r.Err = err.Error()
			var refused *refusedError
			if errors.Is(err, errHungUp) || errors.As(err, &refused) && refused.code == mqtt.UnsupportedProtocolVersion {
				continue
			}
			r.CertDays, r.ClientCertDays, r.CADays = certs.days(time.Now())
			return r
		}
		r.Err, r.Protocol, r.Filters = "", l.String(), filters
		r.ReceiveMaximum, r.MaximumQoS, r.MaximumPacket = lim.receiveMaximum, int(lim.maxQoS), lim.maxPacket
		r.Retain, r.Wildcards, r.TopicAliases = lim.retain, lim.wildcards, int(lim.aliases)
		r.Shared, r.SubIDs = lim.shared, lim.subIDs
		r.Keepalive, r.SessionExpiry, r.Told = lim.keepalive, lim.sessionExpiry, lim.told
		r.CertDays, r.ClientCertDays, r.CADays = certs.days(time.Now())
		return r
	}
	r.CertDays, r.ClientCertDays, r.CADays = certs.days(time.Now())
	return r
}

func grants(ctx context.Context, a address, o *Options, l level) (lim limits, filters []Granted, err error) {
	ctx, cancel := context.WithTimeout(ctx, o.ConnectTimeout)
	defer cancel()
	nc, err := dial(ctx, a, o)
	if err != nil {
		return lim, nil, err
	}
	defer nc.Close()
	lim, rest, err := shake(ctx, nc, o, l)
	if err != nil {
		return lim, nil, err
	}
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	filters, err = trySubscriptions(nc, rest, o, l, lim)
	nc.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = nc.Write((&mqtt.Disconnect{}).Append(nil, l.version)) // goodbye is a courtesy
	return lim, filters, err
}

// trySubscriptions asks for the inward topics. A shared subscription is left
// out: what came to it would be missing at the bridge that runs.
func trySubscriptions(nc net.Conn, buf []byte, o *Options, l level, lim limits) ([]Granted, error) {
	var all []mqtt.Request
	for _, q := range inwardRequests(o.Rules, l.version, lim.maxQoS) {
		if isShared(q.Filter) {
			continue
		}
		if l.version == mqtt.V5 {
			q.Options = q.Options.WithRetainHandling(2) // none of what is retained
		}
		all = append(all, q)
	}
	buf = append([]byte(nil), buf...)
	chunk := make([]byte, 4096)
	var out []Granted
	id := mqtt.PacketID(0)
	for batch := range fitting(all, subscribeBytes, filtersAtOnce(o.Profile.demands()), lim.maxPacket) {
		id++
		if _, err := nc.Write((&mqtt.Subscribe{ID: id, Requests: batch}).Append(nil, l.version)); err != nil {
			return out, fmt.Errorf("subscribe: %w", err)
		}
		codes, rest, err := readSuback(nc, buf, chunk, o, l)
		if err != nil {
			return out, fmt.Errorf("subscribe: %w", err)
		}
		buf = rest
		for i, q := range batch {
			if i < len(codes) {
				out = append(out, granted(q, codes[i]))
			}
		}
	}
	return out, nil
}

func granted(q mqtt.Request, code mqtt.ReasonCode) Granted {
	g := Granted{Filter: q.Filter, Asked: byte(q.Options.QoS())}
	if code.Failed() {
		g.Answer, g.Error = code.String(), true
		return g
	}
	g.Answer, g.Less = fmt.Sprintf("QoS %d", byte(code)), mqtt.QoS(code) < q.Options.QoS()
	return g
}

// readSuback reads up to the next SUBACK; messages that come meanwhile are for
// the session that ends with this connection.
func readSuback(nc net.Conn, buf, chunk []byte, o *Options, l level) (codes []mqtt.ReasonCode, rest []byte, err error) {
	for {
		size, err := mqtt.Split(buf, o.MaxPacketSize)
		if err != nil {
			return nil, nil, err
		}
		if size > 0 {
			p, err := mqtt.Decode(l.version, buf[:size])
			if err != nil {
				return nil, nil, err
			}
			buf = buf[size:]
			switch p := p.(type) {
			case *mqtt.Suback:
				return p.Codes, buf, nil
			case *mqtt.Disconnect:
				return nil, nil, fmt.Errorf("the centre disconnected: %v", p.Code)
			}
			continue
		}
		n, err := nc.Read(chunk)
		buf = append(buf, chunk[:n]...)
		if n == 0 && err != nil {
			return nil, nil, fmt.Errorf("no answer: %w", err)
		}
	}
}

// told lists the properties of a CONNACK.
func told(p *mqtt.Properties) (list []string) {
	for _, x := range []struct {
		id    mqtt.PropertyID
		value any
	}{
		{mqtt.PropReceiveMaximum, p.ReceiveMaximum},
		{mqtt.PropMaximumQoS, p.MaximumQoS},
		{mqtt.PropMaximumPacketSize, p.MaximumPacketSize},
		{mqtt.PropRetainAvailable, p.RetainAvailable},
		{mqtt.PropTopicAliasMaximum, p.TopicAliasMaximum},
		{mqtt.PropSessionExpiry, p.SessionExpiry},
		{mqtt.PropServerKeepAlive, p.ServerKeepAlive},
		{mqtt.PropAssignedClientID, p.AssignedClientID},
		{mqtt.PropWildcardSubAvailable, p.WildcardAvailable},
		{mqtt.PropSubIDsAvailable, p.SubIDsAvailable},
		{mqtt.PropSharedSubAvailable, p.SharedAvailable},
		{mqtt.PropResponseInfo, p.ResponseInfo},
		{mqtt.PropServerReference, p.ServerReference},
		{mqtt.PropReasonString, p.ReasonString},
		{mqtt.PropAuthMethod, p.AuthMethod},
	} {
		if p.Has(x.id) {
			list = append(list, fmt.Sprintf("%v %v", x.id, x.value))
		}
	}
	for _, u := range p.User {
		list = append(list, fmt.Sprintf("%v %s=%s", mqtt.PropUser, u.Name, u.Value))
	}
	return list
}
