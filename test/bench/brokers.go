package main

import (
	"fmt"
	"os"
	"path/filepath"

	"gatewayd/test/peer"
)

// startOptions is what a scenario wants of every broker, said in each one's own configuration.
type startOptions struct {
	persistent bool   // sessions and queues survive the process (gatewayd: always)
	retained   string // gatewayd's class of retained values: memory, lazy, commit
	board      string // gatewayd's board: none unless set
}

type broker struct {
	name    string
	version string
	start   func(dir string, o startOptions) (*peer.Process, error)
}

func newBroker(name string) (*broker, error) {
	switch name {
	case "gatewayd":
		bin, err := peer.Gatewayd()
		if err != nil {
			return nil, err
		}
		return &broker{name, peer.GatewaydVersion(bin), func(dir string, o startOptions) (*peer.Process, error) {
			return startGatewayd(bin, dir, o)
		}}, nil
	case "mosquitto":
		if _, err := peer.MosquittoPath(); err != nil {
			return nil, err
		}
		return &broker{name, peer.MosquittoVersion(), startMosquitto}, nil
	case "nats":
		return &broker{name, natsVersion(), startNATS}, nil
	}
	return nil, fmt.Errorf("no broker is called %q (gatewayd, mosquitto, nats)", name)
}

func startGatewayd(bin, dir string, o startOptions) (*peer.Process, error) {
	port, err := peer.FreePort()
	if err != nil {
		return nil, err
	}
	web, err := peer.FreePort()
	if err != nil {
		return nil, err
	}
	board := o.board
	if board == "" {
		board = "none"
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	conf := fmt.Sprintf(`gateway: {id: bench, data_dir: %q}
listeners:
  - address: %q
http: {address: "127.0.0.1:%d"}
board: %s
`, filepath.Join(dir, "data"), addr, web, board)
	if o.retained != "" {
		conf += fmt.Sprintf("store: {durability: [{filter: \"#\", class: %s}]}\n", o.retained)
	}
	conf += os.Getenv("BENCH_GATEWAYD_CONFIG")
	return peer.StartGatewayd(bin, dir, addr, conf)
}

// mosquittoTuning lifts the bounds that would make it drop, so that every broker does the whole work.
const mosquittoTuning = "max_queued_messages 0\nset_tcp_nodelay true\nlog_type error\n"

func startMosquitto(dir string, o startOptions) (*peer.Process, error) {
	port, err := peer.FreePort()
	if err != nil {
		return nil, err
	}
	extra := mosquittoTuning
	if o.persistent {
		extra += fmt.Sprintf("persistence true\npersistence_location %s/\n", dir)
	}
	return peer.StartMosquitto(dir, port, extra)
}
