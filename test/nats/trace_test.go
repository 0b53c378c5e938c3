package nats

import (
	"net"
	"sync"
	"testing"

	"gatewayd/mqtt"
)

// trace is what went over the wires between the gateways and the nodes: which
// QoS 2 message the centre confirmed, and whether one was published again after
// that, which would be our fault.
type trace struct {
	mu        sync.Mutex
	pids      map[string]string // client id and packet id: the message under it
	confirmed map[string]bool   // PUBREC came
	completed map[string]bool   // PUBCOMP came
	repeated  []string          // published again after PUBREC
}

func newTrace() *trace {
	return &trace{pids: map[string]string{}, confirmed: map[string]bool{}, completed: map[string]bool{}}
}

// relay puts the trace in front of an address.
func (r *trace) relay(t *testing.T, to string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer in.Close()
				out, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				defer out.Close()
				id := new(string)
				var ends sync.WaitGroup
				ends.Go(func() { r.copy(out, in, id, r.up); out.Close(); in.Close() })
				ends.Go(func() { r.copy(in, out, id, r.down); out.Close(); in.Close() })
				ends.Wait()
			}()
		}
	}()
	return l.Addr().String()
}

// copy passes whole packets on, each noted before it leaves.
func (r *trace) copy(to, from net.Conn, id *string, note func(*string, mqtt.Packet)) {
	var buf []byte
	chunk := make([]byte, 64<<10)
	for {
		n, err := from.Read(chunk)
		buf = append(buf, chunk[:n]...)
		used := 0
		for {
			size, bad := mqtt.Split(buf[used:], 0)
			if bad != nil || size == 0 {
				break
			}
			if p, err := mqtt.Decode(mqtt.V311, buf[used:used+size]); err == nil {
				r.mu.Lock()
				note(id, p)
				r.mu.Unlock()
			}
			used += size
		}
		if used > 0 {
			if _, err := to.Write(buf[:used]); err != nil {
				return
			}
			buf = append(buf[:0], buf[used:]...)
		}
		if err != nil {
			return
		}
	}
}

func key(id string, pid mqtt.PacketID) string {
	return id + string([]byte{'/', byte(pid >> 8), byte(pid)})
}

// up notes what a gateway sends.
func (r *trace) up(id *string, p mqtt.Packet) {
	switch p := p.(type) {
	case *mqtt.Connect:
		*id = string([]byte(p.ClientID))
	case *mqtt.Publish:
		if p.QoS == 2 {
			m := p.Topic + " " + string(p.Payload)
			if r.confirmed[m] {
				r.repeated = append(r.repeated, m)
			}
			r.pids[key(*id, p.ID)] = m
		}
	}
}

// down notes what the centre answers.
func (r *trace) down(id *string, p mqtt.Packet) {
	switch p := p.(type) {
	case *mqtt.Pubrec:
		r.confirmed[r.pids[key(*id, p.ID)]] = true
	case *mqtt.Pubcomp:
		r.completed[r.pids[key(*id, p.ID)]] = true
	}
}
