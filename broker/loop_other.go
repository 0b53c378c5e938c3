//go:build !linux

package broker

import (
	"context"
	"net"
)

// loops do not exist on this system: every connection has a goroutine.
type loops struct{}

func newLoops(*Broker, int) (*loops, error) { return &loops{}, nil }

func (*loops) accept(context.Context, *listener) (taken bool, err error) { return false, nil }

// adopt takes no connection over.
func (*loops) adopt(net.Conn, *baseConn, net.Conn, *listener, *Peer) bool { return false }

func (*loops) serve(context.Context, func(func() error)) {}

func (*loops) nudge(b *Broker) { b.leftover.Store(false) }
