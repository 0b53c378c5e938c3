package broker

import (
	"crypto/tls"
	"errors"
	"sync/atomic"
	"time"

	"gatewayd/mqtt"
)

// transport carries a conn's bytes. Its reader is the one goroutine at a time
// that feeds the conn; what is not said to be safe for anyone is the reader's.
type transport interface {
	// flush writes what the outbox holds, without blocking. Anyone may call it,
	// with no lock held.
	flush()
	// post has the reader run fn soon, also while the conn is parked, and go on
	// reading if fn ended that. Anyone may call it; fn does not run any more once
	// the connection is lost.
	post(fn func(t *turn))
	// always is post for what must run even if the connection is lost by then.
	always(fn func(t *turn))
	// finish closes the connection once the outbox is written.
	finish(t *turn)
	// abort closes the connection at once.
	abort(t *turn)
}

// Peer is what a transport knows of the other end.
type Peer struct {
	Remote   string // address and port, as a PROXY header or X-Forwarded-For tells it if trusted
	TLS      *tls.ConnectionState
	CertName string // user name by Listener.Identity
}

var (
	errPeerClosed = errors.New("connection closed by the client")
	errShutdown   = errors.New("broker shuts down")
	errAborted    = errors.New("connection closed by the broker")
)

type connState uint8

const (
	waiting    connState = iota // for CONNECT
	connecting                  // CONNECT is being decided on
	connected
	ended // nothing is read or written any more; the transport closes
)

// conn is the protocol side of one network connection.
type conn struct {
	b    *Broker
	tr   transport
	ln   *listener
	set  *Settings // the listener's when the connection came
	peer *Peer

	// The reader's own.
	state      connState
	version    mqtt.Version
	parked     bool // feed keeps what it is given, the transport stops reading
	problems   bool // MQTT 5: the client wants reason strings
	bridge     bool // 3.x: the client is a bridge
	client     *Client
	method     string     // authentication method of CONNECT
	hs         *handshake // while connecting, and for re-authentication
	partial    []byte     // the beginning of a packet, or what came while parked
	large      *largeIn   // a packet that is not gathered there
	ours       bool       // the packet being stepped is in memory that nobody else uses
	in         *inbound   // lazily: what the client has under way
	counted    int        // of partial and the aliases, see account
	aliasBytes int        // names of the client's topic aliases
	lastPub    *route     // the route that this client was last allowed to publish to
	stays      bool       // the last publish went where the one before it had gone

	// full says that the client leaves more unread of what it is answered than
	// it may: nothing is read from it until it has. Set under the session's
	// mutex by anyone, cleared by the reader.
	full atomic.Bool

	keepAlive  uint32 // ms after which the client is taken for dead; 0: never
	lastPacket atomic.Int64

	place wheelPlace // guarded by the wheel

	// Guarded by the session's mutex; before there is a session it is the
	// reader's.
	sess      *session
	out       *outbox // lazily
	waiting   int     // bytes in outboxes that the kernel has not taken
	touched   bool    // is in the list of a turn
	wantDrain bool    // something waits for room in the outbox
	maxPacket uint32  // what the client accepts; 0: anything
	aliases   *outAliases
}

func (c *conn) init(b *Broker, tr transport, ln *listener, p *Peer) {
	c.b, c.tr, c.ln, c.set, c.peer = b, tr, ln, ln.now(), p
}

// opened makes the broker know the connection. Call it before the first feed.
func (c *conn) opened() {
	c.b.stats.sockets.Add(1)
	c.b.stats.connectionsNow.Add(1)
	c.lastPacket.Store(c.b.clock.Now())
	c.b.wheel.schedule(c, c.set.Rules.ConnectTimeout)
}

// discard undoes init for a connection that was never opened.
func (c *conn) discard() { c.ln.leave() }

// lock guards what deliveries and the reader share.
func (c *conn) lock() {
	if s := c.sess; s != nil {
		s.mu.Lock()
	}
}

func (c *conn) unlock() {
	if s := c.sess; s != nil {
		s.mu.Unlock()
	}
}

// feed takes bytes the client sent; b is only borrowed.
func (c *conn) feed(b []byte, t *turn) {
	if c.state == ended {
		return
	}
	if len(c.partial) > 0 {
		c.gather(b)
		if mqtt.Length(c.partial)-len(c.partial) > 1000 {
			c.lastPacket.Store(t.now) // a long packet on a slow line is no silence
		}
		c.again(t)
		return
	}
	if used := c.process(b, t); used < len(b) && c.state != ended {
		c.partial = append([]byte(nil), b[used:]...)
	}
	c.account(t)
}

// gather appends to what was kept. Once a quarter of a large packet is there it
// gets the room it needs, and no more.
func (c *conn) gather(b []byte) {
	if need := len(c.partial) + len(b); need > cap(c.partial) {
		if total := mqtt.Length(c.partial); total >= need && total <= 4*need {
			c.partial = append(make([]byte, 0, total), c.partial...)
		}
	}
	c.partial = append(c.partial, b...)
}

// again processes what was kept. Opening a session may end in another call of it
// from below, which must not find the same bytes.
func (c *conn) again(t *turn) {
	b := c.partial
	c.partial = nil
	was := c.ours
	c.ours = true
	used := c.process(b, t)
	c.ours = was
	switch {
	case c.state == ended || used == len(b):
	case used == 0:
		c.partial = b // a packet that comes byte by byte must not be copied as often
	default:
		c.partial = append([]byte(nil), b[used:]...)
	}
	c.account(t)
}

// process steps every whole packet in b and returns how much it used.
func (c *conn) process(b []byte, t *turn) (used int) {
	if c.state == waiting && len(b) > 0 && mqtt.TypeOf(b[0]) != mqtt.CONNECT {
		// Whoever speaks something else need not finish his sentence.
		c.fail(t, protocolError("the first packet is not CONNECT")) // [MQTT-3.1.0-1]
		return 0
	}
	for c.state != ended && !c.stalled() && used < len(b) {
		if c.large != nil {
			used += c.feedLarge(t, b[used:])
			continue
		}
		if b[used] == byte(mqtt.PUBLISH)<<4 {
			if n := c.publishRun(b[used:], t); n > 0 {
				used += n
				continue
			}
		}
		n, err := mqtt.Split(b[used:], c.maxIn())
		if err != nil {
			c.fail(t, err)
			return used
		}
		if n == 0 {
			n, err := c.beginLarge(t, b[used:])
			if err != nil {
				c.fail(t, err)
			}
			if n == 0 {
				return used
			}
			used += n
			continue
		}
		packet := b[used : used+n]
		used += n
		c.lastPacket.Store(t.now)
		t.counts.packetIn(packet)
		if err := c.step(packet, t); err != nil {
			c.fail(t, err)
		}
	}
	return used
}

// stalled says that nothing is to be taken from the client for now.
func (c *conn) stalled() bool { return c.parked || c.full.Load() }

// maxConnect bounds CONNECT: client id, will topic and payload, user name and
// password of 64 KiB each, and some properties.
const maxConnect = 6 * 64 << 10

// maxIn is the largest packet the client may send. Before CONNECT strangers get
// no more memory than any CONNECT needs.
func (c *conn) maxIn() int {
	if c.state == waiting {
		return min(c.set.MaxPacketSize, maxConnect)
	}
	return c.set.MaxPacketSize
}

// step handles one packet.
func (c *conn) step(b []byte, t *turn) error {
	if c.state == waiting {
		if mqtt.TypeOf(b[0]) != mqtt.CONNECT { // [MQTT-3.1.0-1]
			return protocolError("the first packet is not CONNECT")
		}
		return c.onConnect(b, t)
	}
	if c.state == connecting {
		return c.stepAuthenticating(b, t)
	}
	switch mqtt.TypeOf(b[0]) {
	case mqtt.PUBLISH:
		return c.onPublish(b, t)
	case mqtt.PUBACK:
		return c.onPuback(b, t)
	case mqtt.PUBREC:
		return c.onPubrec(b, t)
	case mqtt.PUBREL:
		return c.onPubrel(b, t)
	case mqtt.PUBCOMP:
		return c.onPubcomp(b, t)
	case mqtt.SUBSCRIBE:
		return c.onSubscribe(b, t)
	case mqtt.UNSUBSCRIBE:
		return c.onUnsubscribe(b, t)
	case mqtt.PINGREQ:
		if err := new(mqtt.Pingreq).Decode(c.version, b); err != nil {
			return err
		}
		c.send(t, &mqtt.Pingresp{}) // [MQTT-3.12.4-1]
		return nil
	case mqtt.DISCONNECT:
		return c.onDisconnect(b, t)
	case mqtt.AUTH:
		return c.onAuth(b, t)
	case mqtt.CONNECT: // [MQTT-3.1.0-2]
		return protocolError("a second CONNECT")
	}
	return protocolError("a client does not send " + mqtt.TypeOf(b[0]).String())
}

// send puts a packet into the outbox.
func (c *conn) send(t *turn, p mqtt.Packet) {
	c.lock()
	c.sendLocked(t, p)
	c.unlock()
}

// sendLocked puts a packet into the outbox, unless it is larger than the client
// accepts [MQTT-3.1.2-24]; see trim for those that can be made smaller.
func (c *conn) sendLocked(t *turn, p mqtt.Packet) {
	if c.out == nil {
		c.out = outboxes.Get().(*outbox)
	}
	before := len(c.out.buf)
	c.out.buf = p.Append(c.out.buf, c.version)
	n := len(c.out.buf) - before
	if c.maxPacket != 0 && n > int(c.maxPacket) {
		c.out.buf = c.out.buf[:before]
		if trim(p) {
			c.sendLocked(t, p)
		}
		return
	}
	c.wrote(t, n)
	t.counts.packetsOut++
}

// answerRoom is what answers may take of the outbox above what messages may:
// a subscriber that is slow with messages is still answered.
const answerRoom = 256 << 10

// wrote accounts for n bytes of an answer put into the outbox.
func (c *conn) wrote(t *turn, n int) {
	c.out.size = c.out.size + n
	c.waiting += n
	if c.waiting > answerRoom && c.waiting > c.set.Rules.MaxOutbox+answerRoom && !c.full.Load() {
		c.full.Store(true)
	}
	t.pending += n
	t.counts.bytesOut += uint64(n)
	t.touch(c)
}

// trim takes what is optional out of a packet that is too large for the client
// [MQTT-3.2.2-19] [MQTT-3.4.2-2]. It reports false when there is nothing.
func trim(p mqtt.Packet) bool {
	var props **mqtt.Properties
	switch p := p.(type) {
	case *mqtt.Connack:
		props = &p.Properties
	case *mqtt.Puback:
		props = &p.Properties
	case *mqtt.Pubrec:
		props = &p.Properties
	case *mqtt.Pubrel:
		props = &p.Properties
	case *mqtt.Pubcomp:
		props = &p.Properties
	case *mqtt.Suback:
		props = &p.Properties
	case *mqtt.Unsuback:
		props = &p.Properties
	case *mqtt.Disconnect:
		props = &p.Properties
	case *mqtt.Auth:
		props = &p.Properties
	}
	if props == nil || *props == nil || (*props).ReasonString == "" && len((*props).User) == 0 {
		return false
	}
	(*props).ReasonString, (*props).User = "", nil
	(*props).Present &^= mqtt.PropertiesOf(mqtt.PropReasonString, mqtt.PropUser)
	return true
}

// fail ends the connection because of err: the peer is told as its version
// allows, and the will is published.
func (c *conn) fail(t *turn, err error) {
	if c.state == ended {
		return
	}
	code := mqtt.CodeOf(err)
	if c.state == connected {
		c.bye(t, code, reasonOf(err), err)
		return
	}
	if c.mayRefuse(code, err) {
		c.refuse(t, code, err)
		return
	}
	c.end(t, err)
	c.tr.abort(t)
}

// mayRefuse says whether CONNACK is the answer before the session is open. What
// is not even a CONNECT of a version that is known, or in 3.x not a valid one, is
// closed without a word [MQTT-3.1.4-1] of 3.1.1.
func (c *conn) mayRefuse(code mqtt.ReasonCode, err error) bool {
	switch {
	case errors.Is(err, mqtt.ErrUnsupportedVersion):
		return true
	case c.version == mqtt.V5:
		return !c.set.Terse || code != mqtt.MalformedPacket && code != mqtt.ProtocolError && code != mqtt.TopicNameInvalid
	case c.version == 0:
		return false
	}
	switch code {
	case mqtt.UnsupportedProtocolVersion, mqtt.ClientIDNotValid, mqtt.BadUsernameOrPassword, mqtt.NotAuthorized,
		mqtt.ServerUnavailable, mqtt.ServerBusy, mqtt.QuotaExceeded, mqtt.Banned:
		return true
	}
	return false
}

// bye sends DISCONNECT with the code, where the version has that, and closes.
func (c *conn) bye(t *turn, code mqtt.ReasonCode, reason string, err error) {
	if c.state == ended {
		return
	}
	if c.version == mqtt.V5 && c.state == connected {
		p := &mqtt.Disconnect{Code: code}
		if !code.AllowedIn(mqtt.DISCONNECT) {
			p.Code = mqtt.UnspecifiedError
		}
		if reason != "" && c.problems && !c.set.Terse { // [MQTT-3.14.2-3]
			p.Properties = &mqtt.Properties{ReasonString: reason}
		}
		if ref := c.b.opt().ServerReference; ref != "" && (code == mqtt.UseAnotherServer || code == mqtt.ServerMoved || code == mqtt.ServerShuttingDown) {
			if code == mqtt.ServerShuttingDown {
				p.Code = mqtt.UseAnotherServer
			}
			if p.Properties == nil {
				p.Properties = &mqtt.Properties{}
			}
			p.Properties.ServerReference = ref
		}
		c.send(t, p)
	}
	c.end(t, err)
	c.tr.finish(t)
}

// gone is called by the transport, once, when the connection is lost.
func (c *conn) gone(t *turn, err error) {
	c.end(t, err)
	c.b.wheel.remove(c)
	c.b.stats.connectionsNow.Add(-1)
	c.ln.leave()
}

// end takes the connection off its session. It may be called again.
func (c *conn) end(t *turn, err error) {
	if c.state == ended {
		return
	}
	was := c.state
	c.state = ended
	c.partial = nil
	if c.hs != nil {
		c.hs.drop()
	}
	c.dropInbound()
	c.dropLarge()
	c.account(t)
	if was == connected {
		c.b.stats.connected.Add(-1)
		c.b.clients.remove(c)
	}
	c.logEnd(was, err)
	if s := c.sess; s != nil {
		c.b.detach(t, s, c, err)
	}
}

func (c *conn) logEnd(was connState, err error) {
	switch {
	case was == connected && c.sess != nil && errors.Is(err, errTakenOver):
		// The takeover log speaks of it, once a minute.
	case was == connected:
		c.b.log.Info("client disconnected", "client", c.client.ID, "remote", c.peer.Remote, "reason", err)
	default:
		c.b.log.Debug("connection ended before CONNECT was accepted", "remote", c.peer.Remote, "listener", c.ln.Name, "reason", err)
	}
}

// shutdown says good-bye because the broker stops; wills are not published: the
// store has them and the next start does.
func (c *conn) shutdown(t *turn) {
	c.bye(t, mqtt.ServerShuttingDown, "", errShutdown)
}

// timeout is called when the time the wheel had for the conn has passed.
func (c *conn) timeout(t *turn) {
	switch c.state {
	case ended:
		c.tr.abort(t)
	case waiting:
		c.end(t, errors.New("no CONNECT in time"))
		c.tr.abort(t)
	case connecting:
		// The decision takes long. Ours is not counted, only an exchange that
		// waits for the client.
		if c.hs != nil && c.hs.clientsTurn {
			c.refuse(t, mqtt.NotAuthorized, errors.New("authentication not finished in time"))
			return
		}
		c.b.wheel.schedule(c, c.set.Rules.ConnectTimeout)
	case connected:
		if c.keepAlive == 0 {
			return
		}
		quiet := t.now - c.lastPacket.Load()
		if left := int64(c.keepAlive) - quiet; left > 0 && !c.parked {
			c.b.wheel.schedule(c, time.Duration(left)*time.Millisecond)
			return
		}
		if c.parked { // we did not read: our stall is not the client's silence
			c.lastPacket.Store(t.now)
			c.b.wheel.schedule(c, time.Duration(c.keepAlive)*time.Millisecond)
			return
		}
		c.bye(t, mqtt.KeepAliveTimeout, "", errKeepAlive) // [MQTT-3.1.2-22]
	}
}

// drained is called by the transport when the outbox has room again.
func (c *conn) drained(t *turn) {
	if c.full.Load() {
		c.lastPacket.Store(t.now) // it takes what it is owed: our stall is not its silence
	}
	c.lock()
	room := c.waiting < c.set.Rules.MaxOutbox/2
	want := c.wantDrain && room
	if want {
		c.wantDrain = false
	}
	again := room && c.full.Load()
	if again {
		c.full.Store(false)
	}
	s := c.sess
	c.unlock()
	if want && s != nil {
		c.b.goOn(t, s)
	}
	if again && !c.parked && c.state != ended && len(c.partial) > 0 {
		c.again(t)
	}
}

// unpark goes on with what came while the conn was parked. The reader calls it
// from a posted function.
func (c *conn) unpark(t *turn) {
	c.parked = false
	if c.state != ended && len(c.partial) > 0 {
		c.again(t)
	}
}
