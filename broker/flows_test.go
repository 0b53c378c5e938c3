package broker

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"gatewayd/mqtt"
	"gatewayd/mqtt/mqtttest"
	"gatewayd/store"
)

// server is a broker on a store, for tests: it can be stopped and started
// again on the same directory.
type server struct {
	t       testing.TB
	dir     string
	opts    Options
	clock   *Clock
	b       *Broker
	st      *store.Store
	stop    func()
	stopped bool
	hold    func() error // before each of the store's transactions; nil: nothing
}

// newServer starts a broker with one plain TCP listener on a fresh directory;
// edit may change the options.
func newServer(t testing.TB, edit func(*Options)) *server {
	t.Helper()
	s := &server{t: t, dir: t.TempDir()}
	s.opts = Options{Listeners: []Listener{{Address: "127.0.0.1:0"}}, SysInterval: -1, Loops: 2, Version: "gatewayd test"}
	if os.Getenv("BROKER_LOG") != "" {
		s.opts.Log = testLog()
	}
	if edit != nil {
		edit(&s.opts)
	}
	s.start()
	t.Cleanup(s.close)
	return s
}

func (s *server) start() {
	s.t.Helper()
	s.clock = NewClock()
	st, err := store.Open(s.dir, store.Options{Now: s.clock.Now, MaxBytes: 1 << 30, MaxMessage: 64 << 20, BeforeWrite: s.hold})
	if err != nil {
		s.t.Fatal(err)
	}
	o := s.opts
	o.Clock = s.clock
	b, err := New(o, st)
	if err != nil {
		s.t.Fatal(err)
	}
	sctx, sstop := context.WithCancel(context.Background())
	bctx, bstop := context.WithCancel(context.Background())
	sdone, bdone := make(chan error, 1), make(chan error, 1)
	go func() { sdone <- st.Run(sctx) }()
	go func() { bdone <- b.Run(bctx) }()
	select {
	case <-b.Ready():
	case err := <-bdone:
		s.t.Fatalf("broker: %v", err)
	}
	s.b, s.st, s.stopped = b, st, false
	s.stop = func() {
		bstop()
		if err := <-bdone; err != nil {
			s.t.Errorf("broker: %v", err)
		}
		sstop()
		<-sdone
		if err := st.Check(); err != nil {
			s.t.Errorf("store: %v", err)
		}
		if err := st.Close(); err != nil {
			s.t.Errorf("store: %v", err)
		}
	}
}

func (s *server) close() {
	if !s.stopped {
		s.stopped = true
		s.stop()
	}
}

func (s *server) restart() {
	s.close()
	s.start()
}

func (s *server) addr() string { return s.b.Addr(0).String() }

func (s *server) dial() (net.Conn, error) { return net.Dial("tcp", s.addr()) }

// runner runs flows against the server. The hooks: restart; flush (waits until
// the store has written everything); kick ID; reload NAME, with the options the
// test gave that name.
func (s *server) runner() mqtttest.Runner {
	return mqtttest.Runner{
		Dial: s.dial,
		Hook: func(args []string) error {
			switch args[0] {
			case "restart":
				s.restart()
			case "flush":
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				defer cancel()
				return s.st.Flush(ctx)
			case "kick":
				if !s.b.Kick(args[1]) {
					return fmt.Errorf("%s is not connected", args[1])
				}
			default:
				return fmt.Errorf("unknown hook %q", args[0])
			}
			return nil
		},
	}
}

// flowOptions are the options of flows that need others than the default: the
// part of the file's name after the last dash.
var flowOptions = map[string]func(*Options){
	"window2":   func(o *Options) { o.MaxInflight = 2 },
	"mounted":   func(o *Options) { o.Listeners[0].MountPoint = "house/" },
	"maxqos1":   func(o *Options) { o.Listeners[0].MaxQoS = ptr(mqtt.QoS(1)) },
	"noretain":  func(o *Options) { o.Listeners[0].NoRetain = true },
	"queueqos0": func(o *Options) { o.QueueQoS0 = true },
	"upgrade":   func(o *Options) { o.UpgradeOutgoingQoS = true },
	"twice":     func(o *Options) { o.AllowDuplicates = true },
	"keepalive": func(o *Options) { o.Listeners[0].MaxKeepAlive = 10 },
	"small":     func(o *Options) { o.Listeners[0].MaxPacketSize = 200 },
	"queue2":    func(o *Options) { o.Queue = QueueLimits{Messages: 2, OnFull: DropNewest} },
	"reject2":   func(o *Options) { o.Queue = QueueLimits{Messages: 2, OnFull: Reject} },
	"oldest2":   func(o *Options) { o.Queue = QueueLimits{Messages: 2, OnFull: DropOldest} },
	"respinfo":  func(o *Options) { o.ResponseInfo = "answers/%c" },
	"prefix":    func(o *Options) { o.Listeners[0].AutoIDPrefix = "gw-" },
	"noempty":   func(o *Options) { o.Listeners[0].RefuseEmptyClientID = true },
	"v5only":    func(o *Options) { o.Listeners[0].Versions = []mqtt.Version{mqtt.V5} },
	"maxexpiry": func(o *Options) { o.SessionExpiryMax = 100 * time.Second },
	"authuser":  func(o *Options) { o.Auth = testAuth{} },
}

func TestFlows(t *testing.T) {
	mqtttest.Dir(t, "testdata/flows/*.txt", func(t *testing.T) mqtttest.Runner {
		name := strings.Split(t.Name(), "/")[1]
		edit := flowOptions[name[strings.LastIndex(name, "-")+1:]]
		return newServer(t, edit).runner()
	})
}

// TestFlowsOnGoroutines runs the flows the way systems without event loops do.
func TestFlowsOnGoroutines(t *testing.T) {
	if testing.Short() {
		t.Skip("the flows once more")
	}
	mqtttest.Dir(t, "testdata/flows/*.txt", func(t *testing.T) mqtttest.Runner {
		name := strings.Split(t.Name(), "/")[1]
		edit := flowOptions[name[strings.LastIndex(name, "-")+1:]]
		return newServer(t, func(o *Options) {
			o.Loops = -1
			if edit != nil {
				edit(o)
			}
		}).runner()
	})
}
