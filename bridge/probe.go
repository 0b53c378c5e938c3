package bridge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatewayd/mqtt"
)

// goBack returns to the first address while the bridge is on another: only
// after a probe of it went all the way to an answer of its broker. An address
// that merely accepts connections is not left for.
func (c *conn) goBack(ctx context.Context) error {
	b := c.b
	first := b.addresses.list[0]
	if b.o.RoundRobin || len(b.addresses.list) == 1 || c.addr == first {
		return nil
	}
	tick := time.NewTicker(b.o.ReturnInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if _, err := probe(ctx, first, &b.o, c.level); err != nil {
			b.log.Debug("first address is still away", "remote", first.text, "err", err)
			continue
		}
		return fmt.Errorf("%w: %s is back", errLeave, first.text)
	}
}

// probe connects as another client and leaves again. A broker that answers,
// even to refuse the strange client, is there.
func probe(ctx context.Context, a address, o *Options, l level) (limits, error) {
	ctx, cancel := context.WithTimeout(ctx, o.ConnectTimeout)
	defer cancel()
	nc, err := dial(ctx, a, o)
	if err != nil {
		return limits{}, err
	}
	defer nc.Close()
	as := *o
	as.ClientID += "-probe"
	as.CleanSession, as.NoNotifications = true, true
	lim, _, err := shake(ctx, nc, &as, l)
	var refused *refusedError
	if errors.As(err, &refused) {
		switch refused.code {
		case mqtt.ClientIDNotValid, mqtt.NotAuthorized, mqtt.BadUsernameOrPassword, mqtt.UnsupportedProtocolVersion:
			return limits{}, nil
		}
	}
	if err != nil {
		return limits{}, err
	}
	nc.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = nc.Write((&mqtt.Disconnect{}).Append(nil, l.version)) // goodbye is a courtesy
	return lim, nil
}

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
	TopicAliases   int           `json:"topic_aliases"`
	Keepalive      time.Duration `json:"keepalive"`
	SessionExpiry  uint32        `json:"session_expiry"`
	CertDays       *float64      `json:"certificate_days,omitempty"`
}

// Test connects to every address as the configuration says, under a client id
// of its own so that a running bridge is not disturbed, and reports what the
// centre grants.
func Test(ctx context.Context, o Options) ([]Report, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	o.ClientID += "-test"
	o.CleanSession, o.NoNotifications = true, true
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
	for _, l := range o.ladder() {
		lim, days, err := grants(ctx, a, o, l)
		r.Took = time.Since(start)
		if err != nil {
			r.Err = err.Error()
			var refused *refusedError
			if errors.Is(err, errHungUp) || errors.As(err, &refused) && refused.code == mqtt.UnsupportedProtocolVersion {
				continue
			}
			return r
		}
		r.Err, r.Protocol, r.CertDays = "", l.String(), days
		r.ReceiveMaximum, r.MaximumQoS, r.MaximumPacket = lim.receiveMaximum, int(lim.maxQoS), lim.maxPacket
		r.Retain, r.Wildcards, r.TopicAliases = lim.retain, lim.wildcards, int(lim.aliases)
		r.Keepalive, r.SessionExpiry = lim.keepalive, lim.sessionExpiry
		return r
	}
	return r
}

func grants(ctx context.Context, a address, o *Options, l level) (lim limits, days *float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, o.ConnectTimeout)
	defer cancel()
	nc, err := dial(ctx, a, o)
	if err != nil {
		return lim, nil, err
	}
	defer nc.Close()
	if lim, _, err = shake(ctx, nc, o, l); err != nil {
		return lim, nil, err
	}
	if d, ok := certificateDays(nc, time.Now()); ok {
		days = &d
	}
	nc.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = nc.Write((&mqtt.Disconnect{}).Append(nil, l.version)) // goodbye is a courtesy
	return lim, days, nil
}
