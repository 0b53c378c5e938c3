package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"gatewayd/test/peer"
)

// natsChild is the first argument that turns this program into a nats-server with an MQTT listener: a process of its
// own, so that its CPU and memory can be read like any broker's.
const natsChild = "serve-nats"

func natsVersion() string { return server.VERSION }

func startNATS(dir string, _ startOptions) (*peer.Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	port, err := peer.FreePort()
	if err != nil {
		return nil, err
	}
	return peer.Start("nats", fmt.Sprintf("127.0.0.1:%d", port), filepath.Join(dir, "nats.log"),
		self, natsChild, "-port", fmt.Sprint(port), "-dir", filepath.Join(dir, "jetstream"))
}

func serveNATS(args []string) error {
	fs := flag.NewFlagSet(natsChild, flag.ContinueOnError)
	port := fs.Int("port", 0, "MQTT port on 127.0.0.1")
	dir := fs.String("dir", "", "JetStream folder")
	if err := fs.Parse(args); err != nil {
		return err
	}
	o := &server.Options{
		ServerName: "bench",
		Host:       "127.0.0.1",
		Port:       server.RANDOM_PORT,
		JetStream:  true,
		StoreDir:   *dir,
		NoSigs:     true,
		MaxConn:    65536,
		MQTT:       server.MQTTOpts{Host: "127.0.0.1", Port: *port},
	}
	s, err := server.NewServer(o)
	if err != nil {
		return err
	}
	s.ConfigureLogger()
	s.Start()
	if !s.ReadyForConnections(20 * time.Second) {
		return fmt.Errorf("nats-server is not ready after 20 s")
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	<-stop
	s.Shutdown()
	return nil
}
