package rig

import (
	"net"
	"testing"
	"time"
)

// pair is a client and the broker's side of its connection.
func pair(t *testing.T, version byte, clean bool) (client, broker *Client, id string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan struct{})
	go func() {
		defer close(accepted)
		conn, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		var gotClean bool
		if broker, id, gotClean, err = Accept(conn); err != nil || gotClean != clean {
			t.Errorf("Accept: clean %v, %v", gotClean, err)
			return
		}
		broker.Answer(!clean)
		broker.Flush()
	}()
	client, present, err := Login(l.Addr().String(), "someone", version, clean, "user", "password")
	if err != nil || present == clean {
		t.Fatalf("Login: present %v, %v", present, err)
	}
	<-accepted
	t.Cleanup(client.Close)
	return client, broker, id
}

func TestClientAndBrokerSideUnderstandEachOther(t *testing.T) {
	for _, version := range []byte{4, 5} {
		c, b, id := pair(t, version, version == 4)
		if id != "someone" {
			t.Errorf("version %d: client id %q", version, id)
		}
		if err := c.SendSubscribe("a/#", 2, 9); err != nil {
			t.Fatal(err)
		}
		if p, err := b.Read(); err != nil || p.Type != SUBSCRIBE || p.Topic != "a/#" || p.QoS != 2 || p.ID != 9 {
			t.Errorf("version %d: SUBSCRIBE came as %+v, %v", version, p, err)
		}
		b.Granted(9, 2)
		b.Publish("a/b", []byte("payload"), 2, true, true, 77)
		b.Ack(PUBREL, 77)
		if err := b.Flush(); err != nil {
			t.Fatal(err)
		}
		if p, err := c.Read(); err != nil || p.Type != SUBACK || p.Code != 2 {
			t.Errorf("version %d: SUBACK came as %+v, %v", version, p, err)
		}
		p, err := c.Read()
		if err != nil || p.Type != PUBLISH || p.Topic != "a/b" || string(p.Payload) != "payload" || p.QoS != 2 || !p.Retain || !p.Dup || p.ID != 77 {
			t.Errorf("version %d: PUBLISH came as %+v, %v", version, p, err)
		}
		if p, err := c.Read(); err != nil || p.Type != PUBREL || p.ID != 77 {
			t.Errorf("version %d: PUBREL came as %+v, %v", version, p, err)
		}
	}
}

func TestWaitingLosesNothing(t *testing.T) {
	c, b, _ := pair(t, 4, true)
	if waiting, err := c.Waiting(10 * time.Millisecond); waiting || err != nil {
		t.Fatalf("Waiting said %v, %v while nothing came", waiting, err)
	}
	b.Publish("a", []byte("x"), 0, false, false, 0)
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	if waiting, err := c.Waiting(10 * time.Second); !waiting || err != nil {
		t.Fatalf("Waiting said %v, %v while a packet came", waiting, err)
	}
	if p, err := c.Read(); err != nil || p.Topic != "a" || string(p.Payload) != "x" {
		t.Errorf("the packet came as %+v, %v", p, err)
	}
}
