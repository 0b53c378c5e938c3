package bridge

import (
	"context"
	"time"

	"gatewayd/mqtt"
)

// heralded says whether the state at the centre has a connection of its own: a
// connection leaves one will, and that of this bridge is somebody else's.
func (o *Options) heralded() bool { return o.Will != nil && o.notifiesRemotely() }

// herald keeps the bridge's state at the centre on a connection of its own, as
// long as the bridge's is there: 1, and 0 at an orderly end or as its will. Its
// client id is the bridge's with "-state" behind it, so that one that comes back
// before the centre has noticed the end of the last one makes it publish that will
// first.
func (c *conn) herald(ctx context.Context) error {
	o := c.b.o
	o.ClientID += "-state"
	o.CleanSession, o.Will = true, nil
	told := false
	for ctx.Err() == nil {
		err := c.announce(ctx, &o)
		if err != nil && ctx.Err() == nil && !told {
			told = true
			c.b.log.Warn("the bridge's state is not published at the centre", "client", o.ClientID, "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(o.RestartBase):
		}
	}
	return nil
}

// announce runs one connection until ctx or the connection ends.
func (c *conn) announce(ctx context.Context, o *Options) error {
	limited, cancel := context.WithTimeout(ctx, o.ConnectTimeout)
	defer cancel()
	nc, err := c.b.dial(limited, c.addr, o)
	if err != nil {
		return err
	}
	defer nc.Close()
	lim, _, err := shake(limited, nc, o, c.level)
	if err != nil {
		return err
	}
	say := func(packets ...mqtt.Packet) error {
		var buf []byte
		for _, p := range packets {
			buf = p.Append(buf, c.level.version)
		}
		if err := nc.SetWriteDeadline(time.Now().Add(o.WriteTimeout)); err != nil {
			return err
		}
		_, err := nc.Write(buf)
		return err
	}
	state := func(s string) mqtt.Packet {
		return &mqtt.Publish{Topic: o.NotificationTopic, Payload: []byte(s), Retain: lim.retain}
	}
	if err := say(state("1")); err != nil {
		return err
	}
	lost := make(chan error, 1)
	alive := max(lim.keepalive, time.Second)
	go func() { // what comes are answers to our pings
		buf := make([]byte, 512)
		for {
			if lim.keepalive > 0 {
				_ = nc.SetReadDeadline(time.Now().Add(2 * alive)) // a closed connection says so at Read
			}
			if _, err := nc.Read(buf); err != nil {
				lost <- err
				return
			}
		}
	}()
	ping := time.NewTicker(alive * 3 / 4)
	defer ping.Stop()
	for {
		select {
		case <-ctx.Done():
			return say(state("0"), &mqtt.Disconnect{})
		case err := <-lost:
			return err
		case <-ping.C:
			if lim.keepalive == 0 {
				continue
			}
			if err := say(&mqtt.Pingreq{}); err != nil {
				return err
			}
		}
	}
}
