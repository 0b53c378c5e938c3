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
	as := *o
	as.ClientID += "-probe"
	as.CleanSession, as.NoNotifications, as.seen = true, true, nil
	nc, err := dial(ctx, a, &as)
	if err != nil {
		return limits{}, err
	}
	defer nc.Close()
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
