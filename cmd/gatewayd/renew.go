package main

import (
	"context"
	"time"
)

// renewEvery is how often the certificate files of listeners are looked at.
const renewEvery = 10 * time.Second

// renew has listeners use certificates that were renewed, without a signal: an
// expired one that goes on being served for weeks is what happens else
// (mosquitto#2038, home-assistant/addons#3499). Bridges read theirs for every
// connection.
func (g *gateway) renew(ctx context.Context) error {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	said := map[int]string{} // by listener: the fault that was told last
	for {
		for i, s := range g.secure {
			changed, err := s.Renewed()
			switch {
			case err != nil && said[i] != err.Error():
				said[i] = err.Error()
				g.logs.Warn("changed certificates are not in use yet", "err", err)
			case changed:
				delete(said, i)
				g.logs.Info("changed certificates are in use", "subject", s.Leaf().Subject.CommonName, "until", s.Leaf().NotAfter.UTC().Format(time.DateOnly))
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
