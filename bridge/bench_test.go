package bridge

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"gatewayd/broker"
	"gatewayd/mqtt"
)

// sink is a centre that costs next to nothing: it acknowledges what it reads,
// one write for each read, and counts.
type sink struct {
	l     net.Listener
	count atomic.Int64
}

func newSink(t testing.TB) *sink {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &sink{l: l}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(c)
		}
	}()
	return s
}

func (s *sink) serve(c net.Conn) {
	defer c.Close()
	buf := make([]byte, 256<<10)
	var out []byte
	have, v := 0, mqtt.V311
	var p mqtt.Publish
	for {
		n, err := c.Read(buf[have:])
		if err != nil {
			return
		}
		have += n
		used, got := 0, int64(0)
		for {
			n, _ := mqtt.Split(buf[used:have], 0)
			if n == 0 {
				break
			}
			b := buf[used : used+n]
			used += n
			switch mqtt.TypeOf(b[0]) {
			case mqtt.PUBLISH:
				if p.Decode(v, b) != nil {
					return
				}
				if p.QoS == 1 {
					out = mqtt.AppendAck(out, v, mqtt.PUBACK, p.ID, 0)
				} else if p.QoS == 2 {
					out = mqtt.AppendAck(out, v, mqtt.PUBREC, p.ID, 0)
				}
				if len(p.Payload) == 64 {
					got++
				}
			case mqtt.PUBREL:
				out = mqtt.AppendAck(out, v, mqtt.PUBCOMP, mqtt.PacketID(b[2])<<8|mqtt.PacketID(b[3]), 0)
			case mqtt.CONNECT:
				var p mqtt.Connect
				if p.Decode(0, b) != nil {
					return
				}
				v = p.Version
				out = (&mqtt.Connack{}).Append(out, v)
			case mqtt.SUBSCRIBE:
				out = (&mqtt.Suback{ID: mqtt.PacketID(b[2])<<8 | mqtt.PacketID(b[3]), Codes: []mqtt.ReasonCode{0}}).Append(out, v)
			case mqtt.PINGREQ:
				out = (&mqtt.Pingresp{}).Append(out, v)
			}
		}
		have = copy(buf, buf[used:have])
		s.count.Add(got)
		if len(out) > 0 {
			if _, err := c.Write(out); err != nil {
				return
			}
			out = out[:0]
		}
	}
}

// pour publishes n messages of 64 bytes to a broker with a window of 500.
func pour(b *testing.B, addr string, qos mqtt.QoS, n int) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write((&mqtt.Connect{Version: mqtt.V311, CleanStart: true, ClientID: "pour"}).Append(nil, mqtt.V311)); err != nil {
		b.Fatal(err)
	}
	room := make(chan struct{}, 500)
	go func() {
		buf := make([]byte, 64<<10)
		have := 0
		var out []byte
		for {
			k, err := c.Read(buf[have:])
			if err != nil {
				return
			}
			have += k
			used := 0
			for {
				n, _ := mqtt.Split(buf[used:have], 0)
				if n == 0 {
					break
				}
				p := buf[used : used+n]
				used += n
				switch mqtt.TypeOf(p[0]) {
				case mqtt.PUBACK, mqtt.PUBCOMP:
					<-room
				case mqtt.PUBREC:
					out = append(out, 0x62, 2, p[2], p[3])
				}
			}
			have = copy(buf, buf[used:have])
			if len(out) > 0 {
				_, _ = c.Write(out)
				out = out[:0]
			}
		}
	}()
	p := mqtt.Publish{Topic: "a/temperature", Payload: make([]byte, 64), QoS: qos}
	var out []byte
	for i := range n {
		if qos > 0 {
			select {
			case room <- struct{}{}:
			default:
				if _, err := c.Write(out); err != nil {
					b.Error(err)
				}
				out = out[:0]
				room <- struct{}{}
			}
			p.ID = mqtt.PacketID(i%60000 + 1)
		}
		if out = p.Append(out, mqtt.V311); len(out) > 16<<10 {
			if _, err := c.Write(out); err != nil {
				b.Error(err)
			}
			out = out[:0]
		}
	}
	if _, err := c.Write(out); err != nil {
		b.Error(err)
	}
	for range cap(room) { // until everything is acknowledged
		if qos > 0 {
			room <- struct{}{}
		}
	}
	time.Sleep(20 * time.Millisecond)
}

// BenchmarkOutward: messages a second from a publisher through the broker and
// the bridge to a centre, beside mosquitto's own bridge on the same path.
func BenchmarkOutward(b *testing.B) {
	for qos := mqtt.QoS(0); qos <= 2; qos++ {
		b.Run(fmt.Sprintf("gatewayd/qos%d", qos), func(b *testing.B) {
			s := newSink(b)
			g, _ := newGateway(b, "", broker.Options{Listeners: []broker.Listener{{Address: "127.0.0.1:0"}}, SysInterval: -1, Rules: broker.Rules{MaxInflight: 500}})
			br, stop := g.bridge(Options{Log: quiet, ReceiveMaximum: 500, Addresses: []string{s.l.Addr().String()}, Rules: []Rule{{Filter: "a/#", Direction: Out, QoS: qos}}})
			waitConnected(b, br)
			measure(b, s, g.Addr(0).String(), qos)
			stop()
		})
		b.Run(fmt.Sprintf("mosquitto/qos%d", qos), func(b *testing.B) {
			s := newSink(b)
			addr := mosquittoBridge(b, s.l.Addr().String(), qos)
			time.Sleep(time.Second)
			measure(b, s, addr, qos)
		})
	}
}

func measure(b *testing.B, s *sink, addr string, qos mqtt.QoS) {
	b.ResetTimer()
	start := s.count.Load()
	pour(b, addr, qos, b.N)
	for last, at := s.count.Load(), time.Now(); s.count.Load()-start < int64(b.N); time.Sleep(time.Millisecond) {
		if n := s.count.Load(); n != last {
			last, at = n, time.Now()
		} else if time.Since(at) > time.Second {
			b.ReportMetric(float64(int64(b.N)-(n-start))/float64(b.N)*100, "%lost")
			break
		}
	}
	b.ReportMetric(float64(s.count.Load()-start)/b.Elapsed().Seconds(), "msg/s")
}

// mosquittoBridge starts a mosquitto with a bridge to the sink.
func mosquittoBridge(b *testing.B, to string, qos mqtt.QoS) string {
	addr := freePort(b)
	_, port, _ := net.SplitHostPort(addr)
	conf := filepath.Join(b.TempDir(), "mosquitto.conf")
	text := fmt.Sprintf("listener %s 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 500\n"+
		"connection sink\naddress %s\ntopic a/# out %d\nnotifications false\n", port, to, qos)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(mosquittoPath(b), "-c", conf)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	eventually(b, 5*time.Second, "mosquitto listens", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return addr
}

// BenchmarkDrain: how fast what waited on disk through an outage reaches the
// centre.
func BenchmarkDrain(b *testing.B) {
	for qos := mqtt.QoS(1); qos <= 2; qos++ {
		b.Run(fmt.Sprintf("qos%d", qos), func(b *testing.B) {
			s := newSink(b)
			g, _ := newGateway(b, b.TempDir(), broker.Options{Listeners: []broker.Listener{{Address: "127.0.0.1:0"}}, SysInterval: -1, Rules: broker.Rules{MaxInflight: 500}})
			br, stop := g.bridge(Options{Log: quiet, Start: Manual, ReceiveMaximum: 500, Addresses: []string{s.l.Addr().String()}, Rules: []Rule{{Filter: "a/#", Direction: Out, QoS: qos}}})
			eventually(b, 5*time.Second, "waits", func() bool { return br.Status().State == Waiting })
			pour(b, g.Addr(0).String(), qos, b.N)
			b.ResetTimer()
			br.Resume()
			eventually(b, 120*time.Second, "drained", func() bool { return s.count.Load() >= int64(b.N) })
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
			b.StopTimer()
			if s.count.Load() != int64(b.N) {
				b.Errorf("%d of %d messages", s.count.Load(), b.N)
			}
			stop()
		})
	}
}
