package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"gatewayd/test/load"
	"gatewayd/test/peer"
)

// startOptions is what a scenario wants of every broker, said in each one's own configuration.
type startOptions struct {
	persistent bool           // sessions and queues survive the process (gatewayd: always)
	retained   string         // gatewayd's class of retained values: memory, lazy, commit
	board      string         // gatewayd's board: none unless set
	transport  load.Transport // of a second listener, which the scenario uses
	bridgeTo   string         // a bridge carries bench/bridge/# there
	bridgeQoS  byte
	debug      bool  // gatewayd serves profiles
	memory     int64 // of the control group it runs in, 0: none
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
	var alt, second string
	if o.transport != load.TCP {
		at, cert, key, err := secondListener(dir, o.transport)
		if err != nil {
			return nil, err
		}
		second = at
		alt = fmt.Sprintf("  - {address: %q, websocket: %v", at, o.transport.WebSocket())
		if o.transport.Secure() {
			alt += fmt.Sprintf(", tls: {cert: %q, key: %q}", cert, key)
		}
		alt += "}\n"
	}
	conf := fmt.Sprintf(`gateway: {id: bench, data_dir: %q}
listeners:
  - address: %q
%shttp: {address: "127.0.0.1:%d", debug: %v}
board: %s
`, filepath.Join(dir, "data"), addr, alt, web, o.debug, board)
	if o.bridgeTo != "" {
		conf += fmt.Sprintf("bridges: [{name: centre, addresses: [%q], protocol: mqttv311, topics: [{filter: bench/bridge/#, qos: %d}]}]\n", o.bridgeTo, o.bridgeQoS)
	}
	if o.retained != "" {
		conf += fmt.Sprintf("store: {retained_class: %s}\n", o.retained)
	}
	conf += os.Getenv("BENCH_GATEWAYD_CONFIG")
	if o.memory > 0 {
		if bin, err = confined(bin, dir, o.memory); err != nil {
			return nil, err
		}
	}
	p, err := peer.StartGatewayd(bin, dir, addr, conf)
	if err == nil {
		p.Alt, p.Web = second, fmt.Sprintf("127.0.0.1:%d", web)
	}
	return p, err
}

// confined is a program that enters a control group with so much memory and becomes bin there.
func confined(bin, dir string, memory int64) (string, error) {
	group, err := memoryGroup(memory)
	if err != nil {
		return "", err
	}
	script := filepath.Join(dir, "confined.sh")
	text := fmt.Sprintf("#!/bin/sh\necho $$ > %q/cgroup.procs && exec %q \"$@\"\n", group, bin)
	return script, os.WriteFile(script, []byte(text), 0o755)
}

// secondListener prepares a listener for TLS or WebSocket: its address and, for TLS, a fresh certificate.
func secondListener(dir string, tr load.Transport) (addr, cert, key string, err error) {
	port, err := peer.FreePort()
	if err != nil {
		return "", "", "", err
	}
	if tr.Secure() {
		cert, key, err = peer.SelfSigned(dir)
	}
	return fmt.Sprintf("127.0.0.1:%d", port), cert, key, err
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
	if o.bridgeTo != "" {
		extra += fmt.Sprintf("connection centre\naddress %s\nbridge_protocol_version mqttv311\ntopic bench/bridge/# out %d\n", o.bridgeTo, o.bridgeQoS)
	}
	if o.transport == load.TCP {
		return peer.StartMosquitto(dir, port, extra)
	}
	second, cert, key, err := secondListener(dir, o.transport)
	if err != nil {
		return nil, err
	}
	_, at, _ := strings.Cut(second, ":")
	extra += fmt.Sprintf("listener %s 127.0.0.1\n", at)
	if o.transport.Secure() {
		extra += fmt.Sprintf("certfile %s\nkeyfile %s\n", cert, key)
	}
	if o.transport.WebSocket() {
		extra += "protocol websockets\n"
	}
	p, err := peer.StartMosquitto(dir, port, extra)
	if err == nil {
		p.Alt = second
	}
	return p, err
}
