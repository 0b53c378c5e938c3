package store

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const killEnv = "GATEWAYD_STORE_KILL_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killEnv); dir != "" {
		killChild(dir)
		return
	}
	if dir := os.Getenv(diskEnv); dir != "" {
		diskChild(dir)
		return
	}
	os.Exit(m.Run())
}

// TestKill runs a child that loads a store and kills it at a random moment. What
// the child was told is durable must be there afterwards; what it said it was
// about to undo may be there or not.
func TestKill(t *testing.T) {
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	if v, err := strconv.Atoi(os.Getenv("KILL_ROUNDS")); err == nil {
		rounds = v
	}
	dir := t.TempDir()
	want := killWant{acked: map[string]bool{}, began: map[string]bool{}}
	for round := range rounds {
		cmd := self()
		cmd.Env = append(os.Environ(), killEnv+"="+dir, "KILL_ROUND="+strconv.Itoa(round))
		cmd.Stderr = t.Output()
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		said := bufio.NewReader(out)
		if os.Getenv(runnerEnv) != "" { // an emulated child takes long to begin
			said.Peek(1)
		}
		wg.Go(func() { want.read(bufio.NewScanner(said)) })
		time.Sleep(time.Duration(150+rand.IntN(900)) * time.Millisecond)
		cmd.Process.Kill()
		wg.Wait()
		cmd.Wait()
		verifyKilled(t, dir, &want)
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
	t.Logf("%d kills, %d acknowledgements", rounds, len(want.acked))
	if len(want.acked) == 0 {
		t.Fatal("the children did nothing")
	}
}

// runnerEnv names the emulator that runs this program, if one does.
const runnerEnv = "STORE_TEST_RUNNER"

// self is this program as a command.
func self() *exec.Cmd {
	if runner := os.Getenv(runnerEnv); runner != "" {
		return exec.Command(runner, os.Args[0])
	}
	return exec.Command(os.Args[0])
}

// killWant is what the children said: "+key" when it is durable, "-key" before
// it is undone, "=key" when that is durable.
type killWant struct{ acked, began map[string]bool }

func (w *killWant) read(in *bufio.Scanner) {
	for in.Scan() {
		line := in.Text()
		switch line[0] {
		case '+':
			w.acked[line[1:]] = true
		case '-':
			w.began[line[1:]] = true
		case '=':
			w.acked["no "+line[1:]] = true
		}
	}
}

// verifyKilled opens the store and compares. Keys are "client kind number":
// kind q is a queued message, h a hold, b a bound packet id, r a released one.
func verifyKilled(t *testing.T, dir string, w *killWant) {
	t.Helper()
	s, stop := running(t, dir, Options{})
	defer stop()
	check(t, s)
	has := map[string]bool{}
	clients := map[SessionID]string{}
	err := s.Load(Loader{
		Session: func(s Session, _ uint16) error { clients[s.ID] = s.ClientID; return nil },
		Hold: func(id SessionID, pid uint16, _ uint64) error {
			has[fmt.Sprint(clients[id], " h ", pid)] = true
			return nil
		},
		Flight: func(id SessionID, f Flight) error {
			kind := " b "
			if f.Released {
				kind = " r "
			}
			has[fmt.Sprint(clients[id], kind, f.PacketID)] = true
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for id, client := range clients {
		_, payloads := queue(t, s, id)
		last := -1
		for _, p := range payloads {
			n, err := strconv.Atoi(p)
			if err != nil || n <= last {
				t.Errorf("%s: message %q after %d", client, p, last)
			}
			last = n
			has[fmt.Sprint(client, " q ", n)] = true
		}
	}
	for key := range w.acked {
		if gone, ok := strings.CutPrefix(key, "no "); ok {
			if has[gone] {
				t.Errorf("%s is back", gone)
			}
		} else if !has[key] && !w.began[key] {
			t.Errorf("%s is lost", key)
		}
	}
	// A hold without its message would swallow the client's repeat.
	for key := range has {
		if strings.Contains(key, " h ") {
			m := strings.Replace(key, " h ", " q ", 1)
			if !has[m] && !w.began[m] {
				t.Errorf("%s without its message", key)
			}
		}
	}
}

// killChild is what runs until it is killed.
func killChild(dir string) {
	round, _ := strconv.Atoi(os.Getenv("KILL_ROUND"))
	s, err := Open(dir, Options{MaxGroup: 40 << 10, CommitDelay: time.Millisecond, eager: round%2 == 1})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	go s.Run(context.Background())
	var mu sync.Mutex
	say := func(format string, a ...any) {
		var b bytes.Buffer
		fmt.Fprintf(&b, format+"\n", a...)
		mu.Lock()
		os.Stdout.Write(b.Bytes()) // one write: what is in the pipe survives the kill
		mu.Unlock()
	}
	for c := range 6 {
		go (&killClient{s: s, say: say, name: fmt.Sprint("r", os.Getenv("KILL_ROUND"), "c", c), kind: c % 3}).run()
	}
	time.Sleep(time.Minute)
}

type killClient struct {
	s    *Store
	say  func(string, ...any)
	name string
	kind int
	id   SessionID
}

// do submits and runs then with the receipt.
func (c *killClient) do(b *Batch, then func()) {
	err := c.s.Submit(context.Background(), b, func(r Receipt) {
		if r.Err != nil {
			fmt.Fprintln(os.Stderr, r.Err)
			os.Exit(1)
		}
		if then != nil {
			then()
		}
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func (c *killClient) run() {
	var b Batch
	c.id = c.s.NewSessionID()
	b.PutSession(Session{ID: c.id, ClientID: c.name})
	c.do(&b, nil)
	r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), uint64(c.kind)))
	free := make(chan struct{}, 30)
	var steps sync.Map
	ids := make(map[int]MessageID)
	for n := 1; n < 60000; n++ {
		free <- struct{}{}
		size := 200
		if r.IntN(500) == 0 {
			size = 400_000
		}
		m := &Message{Topic: "t" + strings.Repeat("x", r.IntN(9)), Payload: []byte(fmt.Sprintf("%0*d", 6+r.IntN(size), n)), QoS: 1}
		switch c.kind {
		case 0: // QoS 1, drained now and then
			b.AddMessage(m, []Recipient{{Session: c.id, QoS: 1, Sent: r.IntN(2) == 0}})
			c.do(&b, func() { c.say("+%s q %d", c.name, n); <-free })
			steps.Store(n, b.ID(0))
			if k := n - r.IntN(40); r.IntN(3) > 0 {
				if id, ok := steps.LoadAndDelete(k); ok {
					c.say("-%s q %d", c.name, k)
					b.Done(c.id, id.(MessageID))
					c.do(&b, nil)
				}
			}
		case 1: // QoS 2 in
			b.Hold(c.id, uint16(n), 1)
			b.AddMessage(m, []Recipient{{Session: c.id, QoS: 1}})
			c.do(&b, func() { c.say("+%s h %d", c.name, n); c.say("+%s q %d", c.name, n); <-free })
			if k := n - 1 - r.IntN(40); k > 0 && r.IntN(3) > 0 {
				c.say("-%s h %d", c.name, k)
				b.Release(c.id, uint16(k))
				c.do(&b, func() { c.say("=%s h %d", c.name, k) })
			}
		case 2: // QoS 2 out: bound with the message, released, completed
			b.AddMessage(m, []Recipient{{Session: c.id, QoS: 2, PacketID: uint16(n), Sent: true}})
			c.do(&b, func() {
				c.say("+%s b %d", c.name, n)
				c.say("+%s q %d", c.name, n)
				steps.Store(n, true)
				<-free
			})
			ids[n] = b.ID(0)
			k := n - r.IntN(40)
			switch step, ok := steps.Load(k); {
			case ok && step == true:
				steps.Store(k, false)
				c.say("-%s b %d", c.name, k)
				c.say("-%s q %d", c.name, k)
				b.Released(c.id, uint16(k))
				c.do(&b, func() {
					c.say("=%s b %d", c.name, k)
					c.say("=%s q %d", c.name, k)
					c.say("+%s r %d", c.name, k)
				})
			case ok:
				steps.Delete(k)
				c.say("-%s r %d", c.name, k)
				b.DonePacket(c.id, uint16(k), ids[k])
				c.do(&b, func() { c.say("=%s r %d", c.name, k) })
			}
		}
	}
}
