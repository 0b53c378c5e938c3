package sequence_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"gatewayd/test/peer"
	"gatewayd/test/sequence"
)

// TestBooks keeps books over two clean restarts of a broker that is known to keep its word, and then demands that a
// broker which forgets is caught.
func TestBooks(t *testing.T) {
	t.Parallel()
	if _, err := peer.MosquittoPath(); err != nil {
		t.Skip(err)
	}
	for _, keeps := range []bool{true, false} {
		t.Run(fmt.Sprintf("keeps=%v", keeps), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			port, err := peer.FreePort()
			if err != nil {
				t.Fatal(err)
			}
			start := func() *peer.Process {
				p, err := peer.StartMosquitto(dir, port, "max_queued_messages 0\npersistence true\npersistence_location "+dir+"/")
				if err != nil {
					t.Fatal(err)
				}
				if _, err := p.Ready(10 * time.Second); err != nil {
					t.Fatal(err)
				}
				return p
			}
			p := start()
			defer func() { p.Kill() }()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			sub := sequence.NewSubscriber(p.Addr, "sub", 2, "t/#")
			first, leave := context.WithCancel(ctx)
			var away sync.WaitGroup
			away.Go(func() { sub.Run(first) })
			<-sub.Ready()
			leave()
			away.Wait()

			stop := make(chan struct{})
			pubs := []*sequence.Publisher{
				{Addr: p.Addr, ID: "one", Topic: "t/1", QoS: 1, Window: 10},
				{Addr: p.Addr, ID: "two", Topic: "t/2", QoS: 2, Window: 10, Every: time.Millisecond},
			}
			var wg sync.WaitGroup
			for _, pub := range pubs {
				wg.Go(func() { pub.Run(ctx, stop) })
			}
			for range 2 {
				time.Sleep(400 * time.Millisecond)
				if keeps {
					_ = p.Stop()
				} else {
					p.Kill()
				}
				p = start()
			}
			close(stop)
			wg.Wait()
			go sub.Run(ctx)
			for {
				n, since := sub.Settled()
				if n > 0 && since > time.Second || ctx.Err() != nil || !keeps && len(sub.Sessions()) > 1 {
					break
				}
				time.Sleep(20 * time.Millisecond)
			}
			for _, pub := range pubs {
				_, acked, _ := pub.Books()
				if len(acked) < 100 {
					t.Fatalf("%s: only %d acknowledged", pub.ID, len(acked))
				}
				if err := sub.Check(pub); (err == nil) != keeps {
					t.Errorf("%s: the books say %v", pub.ID, err)
				}
			}
		})
	}
}
