package broker

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatewayd/mqtt/mqtttest"
	"gatewayd/store"
)

// inBubble runs flows against a broker whose clock is synctest's: keep alives,
// delays and expiries take no time. The store is in memory, the connections are
// pipes.
func inBubble(t *testing.T, edit func(*Options), f func(flow func(text string))) {
	synctest.Test(t, func(t *testing.T) {
		o := Options{SysInterval: -1, Loops: -1, Clock: NewClock()}
		if edit != nil {
			edit(&o)
		}
		st, err := store.Open("", store.Options{Now: o.Clock.Now})
		if err != nil {
			t.Fatal(err)
		}
		b, err := New(o, st)
		if err != nil {
			t.Fatal(err)
		}
		sctx, sstop := context.WithCancel(context.Background())
		bctx, bstop := context.WithCancel(context.Background())
		sdone, bdone := make(chan error, 1), make(chan error, 1)
		go func() { sdone <- st.Run(sctx) }()
		go func() { bdone <- b.Run(bctx) }()
		<-b.Ready()
		l := Listener{Name: "pipe"}
		l.Settings = l.Settings.withDefaults(b.opt().Rules)
		ln := &listener{Listener: l, b: b}
		ln.settings.Store(&l.Settings)
		runner := mqtttest.Runner{Dial: func() (net.Conn, error) {
			client, server := net.Pipe()
			ln.admit()
			go b.serveStream(bctx, ln, server, &Peer{Remote: "pipe"})
			return client, nil
		}, Timeout: time.Second}
		f(func(text string) {
			t.Helper()
			if err := runner.Text(text); err != nil {
				t.Error(err)
			}
		})
		bstop()
		if err := <-bdone; err != nil {
			t.Error(err)
		}
		sstop()
		<-sdone
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestKeepAlive: one and a half times the keep alive without a packet ends the
// connection [MQTT-3.1.2-22]; a packet in time does not.
func TestKeepAlive(t *testing.T) {
	inBubble(t, nil, func(flow func(string)) {
		flow(`
A> CONNECT id=a keepalive=60 will.topic=w will.payload=gone
A< CONNACK
S> CONNECT id=s
S< CONNACK
S> SUBSCRIBE pid=1 filter=w
S< SUBACK ...
wait 80s
A> PINGREQ
A< PINGRESP
wait 88s
A> PINGREQ
A< PINGRESP
S< nothing 88s
wait 4s
A< DISCONNECT code=0x8d
A< closed
S< PUBLISH topic=w payload=gone
`)
	})
}

// TestMessageExpiry: what waits is delivered with what is left of its life, and
// not at all after it [MQTT-3.3.2-5] [MQTT-3.3.2-6].
func TestMessageExpiry(t *testing.T) {
	inBubble(t, nil, func(flow func(string)) {
		flow(`
A> CONNECT id=a clean=0 session-expiry-interval=1000
A< CONNACK
A> SUBSCRIBE pid=1 filter=t qos=1
A< SUBACK ...
A> DISCONNECT
A< closed
B> CONNECT id=b keepalive=0
B< CONNACK
B> PUBLISH topic=t qos=1 pid=1 payload=long message-expiry-interval=100
B< PUBACK ...
B> PUBLISH topic=t qos=1 pid=2 payload=short message-expiry-interval=10
B< PUBACK ...
B> PUBLISH topic=r retain=1 payload=kept message-expiry-interval=50
wait 30s
C> CONNECT id=a clean=0 session-expiry-interval=1000 keepalive=0
C< CONNACK sp=1
C< PUBLISH topic=t qos=1 pid=$p payload=long message-expiry-interval=70
C> PUBACK pid=$p
C< nothing 1s
C> SUBSCRIBE pid=2 filter=r
C< SUBACK ...
C< PUBLISH topic=r retain=1 payload=kept message-expiry-interval=19
wait 30s
C> SUBSCRIBE pid=2 filter=r
C< SUBACK ...
C< nothing 1s
`)
	})
}

// TestSessionExpiry: a session ends when its interval has passed, and its delayed
// will with it at the latest [MQTT-3.1.2-23] [MQTT-3.1.3-9].
func TestSessionExpiry(t *testing.T) {
	inBubble(t, nil, func(flow func(string)) {
		flow(`
S> CONNECT id=s keepalive=0
S< CONNACK
S> SUBSCRIBE pid=1 filter=w/#
S< SUBACK ...
A> CONNECT id=a clean=0 session-expiry-interval=60 will.topic=w/a will.payload=gone will.will-delay-interval=600
A< CONNACK sp=0
A! close
wait 30s
B> CONNECT id=a clean=0 session-expiry-interval=60 will.topic=w/a will.payload=gone will.will-delay-interval=600
B< CONNACK sp=1
B! close
S< nothing 59s
wait 2s
S< PUBLISH topic=w/a payload=gone
C> CONNECT id=a clean=0 session-expiry-interval=60
C< CONNACK sp=0
C> DISCONNECT session-expiry-interval=5
C< closed
wait 4s
D> CONNECT id=a clean=0 session-expiry-interval=5
D< CONNACK sp=1
D> DISCONNECT
D< closed
wait 6s
E> CONNECT id=a clean=0
E< CONNACK sp=0
`)
	})
}

// TestConnectTimeout: who never sends CONNECT, or only half of it, is closed.
func TestConnectTimeout(t *testing.T) {
	inBubble(t, nil, func(flow func(string)) {
		flow(`
A! open
B> hex 10 20 00 04
wait 9s
A< nothing 100ms
B< nothing 100ms
wait 2s
A< closed
B< closed
`)
	})
}

// TestRetainExpiry: retain_expiry_interval drops what nobody renews.
func TestRetainExpiry(t *testing.T) {
	inBubble(t, func(o *Options) { o.RetainExpiry = time.Minute }, func(flow func(string)) {
		flow(`
A> CONNECT id=a keepalive=0
A< CONNACK
A> PUBLISH topic=r/1 retain=1 payload=x
A> PUBLISH topic=r/2 retain=1 payload=x qos=1 pid=1
A< PUBACK ...
wait 40s
A> PUBLISH topic=r/2 retain=1 payload=y qos=1 pid=1
A< PUBACK ...
wait 40s
A> SUBSCRIBE pid=2 filter=r/#
A< SUBACK ...
A< PUBLISH topic=r/2 retain=1 payload=y message-expiry-interval=*
A< nothing 1s
`)
	})
}

// TestQueueFullCloses: at the bound of a queue whose policy is close, a publisher
// of any version is disconnected, and nobody gets its message; with reject MQTT 5
// is told and stays.
func TestQueueFullCloses(t *testing.T) {
	for policy, answer := range map[OnFull]string{RejectClose: "C< DISCONNECT code=0x97 ...\nC< closed\n", Reject: "C< PUBACK pid=2 code=0x97 ...\nC> PINGREQ\nC< PINGRESP\n"} {
		inBubble(t, func(o *Options) { o.Queue.Messages, o.Queue.OnFull = 1, policy }, func(flow func(string)) {
			flow(`
A> CONNECT id=a clean=0 session-expiry-interval=1000
A< CONNACK
A> SUBSCRIBE pid=1 filter=t qos=1
A< SUBACK ...
A> DISCONNECT
A< closed
O> CONNECT id=o keepalive=0
O< CONNACK
O> SUBSCRIBE pid=1 filter=t qos=0
O< SUBACK ...
C> CONNECT id=c keepalive=0
C< CONNACK
C> PUBLISH topic=t qos=1 pid=1 payload=first
C< PUBACK ...
O< PUBLISH topic=t qos=0 payload=first
C> PUBLISH topic=t qos=1 pid=2 payload=second
` + answer + `
O< nothing 1s
`)
		})
	}
}

// TestQueueAge: a message that has waited for longer than max_queued_age is not
// delivered, whether its queue is in the store or in memory and whether the
// store has swept it yet.
func TestQueueAge(t *testing.T) {
	inBubble(t, func(o *Options) { o.Queue.Age, o.MaxInflight = time.Minute, 1 }, func(flow func(string)) {
		flow(`
A> CONNECT id=a clean=0 session-expiry-interval=1000
A< CONNACK
A> SUBSCRIBE pid=1 filter=t qos=1
A< SUBACK ...
A> DISCONNECT
A< closed
C> CONNECT id=c keepalive=0
C< CONNACK
C> SUBSCRIBE pid=1 filter=t qos=1
C< SUBACK ...
B> CONNECT id=b keepalive=0
B< CONNACK
B> PUBLISH topic=t qos=1 pid=1 payload=first
B< PUBACK ...
C< PUBLISH topic=t qos=1 pid=$c payload=first
B> PUBLISH topic=t qos=1 pid=2 payload=old
B< PUBACK ...
wait 50s
B> PUBLISH topic=t qos=1 pid=3 payload=young
B< PUBACK ...
wait 20s
C> PUBACK pid=$c
C< PUBLISH topic=t qos=1 pid=$d payload=young
C> PUBACK pid=$d
D> CONNECT id=a clean=0 session-expiry-interval=1000 keepalive=0
D< CONNACK sp=1
D< PUBLISH topic=t qos=1 pid=$p payload=young
D> PUBACK pid=$p
D< nothing 1s
`)
	})
	// Sooner than the store sweeps.
	inBubble(t, func(o *Options) { o.Queue.Age = 200 * time.Millisecond }, func(flow func(string)) {
		flow(`
A> CONNECT id=a clean=0 session-expiry-interval=1000
A< CONNACK
A> SUBSCRIBE pid=1 filter=t qos=1
A< SUBACK ...
A> DISCONNECT
A< closed
B> CONNECT id=b keepalive=0
B< CONNACK
B> PUBLISH topic=t qos=1 pid=1 payload=old
B< PUBACK ...
wait 300ms
D> CONNECT id=a clean=0 session-expiry-interval=1000 keepalive=0
D< CONNACK sp=1
D< nothing 500ms
`)
	})
}

// TestClockRestore: time off counts only between two readings that can be right.
func TestClockRestore(t *testing.T) {
	hour := time.Hour.Milliseconds()
	synctest.Test(t, func(t *testing.T) { // the wall clock starts in 2000
		old := NewClock()
		time.Sleep(time.Hour)
		record := old.record()[:16] // of another boot
		time.Sleep(time.Hour)
		c := NewClock()
		c.restore(record)
		if got := c.Now(); got < hour || got > hour+10 {
			t.Errorf("boot before time was set: %d ms of uptime, want %d", got, hour)
		}
		time.Sleep(30 * 366 * 24 * time.Hour)
		later := NewClock()
		later.restore(c.record()[:16])
		before := c.Now()
		time.Sleep(time.Hour)
		again := NewClock()
		again.restore(c.record()[:16])
		if got := again.Now(); got < before+hour {
			t.Errorf("uptime %d went back behind %d", got, before+hour)
		}
		kept := c.record()[:16]
		time.Sleep(time.Hour)
		off := NewClock()
		off.restore(kept)
		if d := off.Now() - again.Now(); d < -10 || d > 10 {
			t.Errorf("uptime is %d ms from what it would be without the hour off", d)
		}
	})
}

// TestClockWithinBoot: within one boot the time off is known whatever the wall
// clock says.
func TestClockWithinBoot(t *testing.T) {
	since, boot, ok := sinceBoot()
	if !ok {
		t.Skip("the system does not tell its boot")
	}
	record := NewClock().record()[:8]
	record = binary.BigEndian.AppendUint64(record, 0) // 1970
	record = binary.BigEndian.AppendUint64(record, uint64(since.Milliseconds()-3_600_000))
	c := NewClock()
	c.restore(append(record, boot...))
	if got := c.Now(); got < 3_600_000 || got > 3_660_000 {
		t.Errorf("%d ms of uptime after an hour off", got)
	}
	other := NewClock()
	other.restore(append(record, "another boot"...))
	if got := other.Now(); got > 60_000 {
		t.Errorf("%d ms of uptime after another boot", got)
	}
}

// fight is two clients with one id, each coming back n times: the one that was
// there is told each time, and the session goes on.
func fight(n int) string {
	const connect = "%[1]s> CONNECT id=x clean=0 session-expiry-interval=0xffffffff\n%[1]s< CONNACK sp=1\n%[2]s< DISCONNECT code=0x8e\n%[2]s< closed\n"
	return strings.Repeat(fmt.Sprintf(connect, "B", "A")+fmt.Sprintf(connect, "A", "B"), n)
}

const firstOfFight = "A> CONNECT id=x clean=0 session-expiry-interval=0xffffffff\nA< CONNACK sp=*\n"

// TestTakeoverCostsNoWrite: clients that take a session from each other again and
// again are told so, and write nothing.
func TestTakeoverCostsNoWrite(t *testing.T) {
	s := newServer(t, nil)
	if err := s.runner().Text(firstOfFight); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first is gone", func() bool { return s.b.Stats().Connected == 0 })
	before := s.st.Stats().Submitted
	if err := s.runner().Text(firstOfFight + fight(20)); err != nil {
		t.Fatal(err)
	}
	if after := s.st.Stats().Submitted; after != before {
		t.Errorf("%d batches for nothing", after-before)
	}
	if n := s.b.Stats().Takeovers; n != 40 {
		t.Errorf("%d takeovers are counted", n)
	}
}

// lockedBuffer keeps what a log writes for a test to read meanwhile.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestTakeoverIsLogged: the fight is named once a minute, however often it goes
// back and forth, and not any more when it is over.
func TestTakeoverIsLogged(t *testing.T) {
	var log lockedBuffer
	named := func() int { return strings.Count(log.String(), "client id taken over") }
	inBubble(t, func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) }, func(flow func(string)) {
		flow(firstOfFight + fight(10) + "wait 61s")
		if named() != 1 || !strings.Contains(log.String(), "client=x times=20 from=pipe") {
			t.Errorf("the first minute:\n%s", log.String())
		}
		flow(firstOfFight + fight(10) + "wait 61s")
		if named() != 2 {
			t.Errorf("%d lines after the second minute", named())
		}
		flow("wait 200s")
		if named() != 2 {
			t.Errorf("%d lines after the fight", named())
		}
	})
}
