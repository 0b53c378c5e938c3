package powercut

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"gatewayd/test/peer"
	"gatewayd/test/rig"
	"gatewayd/test/rig/plan"
)

// number is an environment variable's number.
func number(t *testing.T, name string, otherwise int) int {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// standin runs the stand-in broker, which syncs as mode says.
func standin(t *testing.T, mode string, cuts int) Report {
	rig.Need(t, "qemu-system-aarch64", "mkfs.ext4")
	binary := rig.Build(t, filepath.Join(rig.Root(), "test"), "./powercut/standin", "arm64")
	r := Run(t, cuts, Options{
		Files: rig.Files{"/bin/standin": binary},
		Steps: []plan.Step{
			{Name: "verify", Args: []string{"/bin/standin", "-sync", mode, "verify"}},
			{Name: "run", Args: []string{"/bin/standin", "-sync", mode}},
		},
		Seed:   uint64(number(t, "SEED", 1)),
		DiskMB: 256,
		Log:    t.Output(),
	})
	t.Log(r)
	return r
}

// A broker that syncs everything before it answers passes, or the rig blames
// the innocent.
func TestPassesABrokerThatSyncs(t *testing.T) {
	rig.Enabled(t, "powercut")
	r := standin(t, "all", 3)
	if !r.Good() {
		t.Error(r.Findings())
	}
	if r.Acknowledged == 0 || r.InFlight == 0 {
		t.Error("the cuts hit nothing")
	}
}

// A broker that never syncs loses what it acknowledged.
func TestCatchesABrokerThatForgetsToSync(t *testing.T) {
	rig.Enabled(t, "powercut")
	if r := standin(t, "none", 3); len(r.Missing) == 0 {
		t.Error("the rig saw nothing missing")
	}
}

// A broker that syncs messages but not the packet ids of QoS 2 delivers twice.
func TestCatchesABrokerThatForgetsPacketIDs(t *testing.T) {
	rig.Enabled(t, "powercut")
	if r := standin(t, "messages", 5); len(r.Twice) == 0 {
		t.Error("the rig saw nothing twice")
	}
}

// gatewayd's configuration in the guest: open to the host, no hardware.
const configuration = `
gateway: {id: gw-cut, data_dir: /data/gw}
listeners: [{address: ":1883"}]
auth: {anonymous: true}
http: {address: "off"}
board: none
log: {level: info}
`

// bridge leads to a broker on the host, which QEMU shows the guest as
// 10.0.2.2, and back.
const bridge = `
bridges:
  - name: centre
    addresses: ["10.0.2.2:%d"]
    restart_timeout: {base: 100ms, cap: 1s}
    topics:
      - {filter: "both/#", direction: out, qos: 2}
      - {filter: "down/#", direction: in, qos: 2}
`

// The gateway itself: CUTS cuts (make powercut CUTS=200), SEED for another
// sequence.
func TestGatewayd(t *testing.T) {
	rig.Enabled(t, "powercut")
	rig.Need(t, "qemu-system-aarch64", "mkfs.ext4")
	text, centre := configuration, ""
	if _, err := peer.MosquittoPath(); err != nil {
		t.Logf("without a bridge: %v", err)
	} else {
		port := rig.FreePort(t)
		// Without a bound written as 0, with which Mosquitto closes the connection
		// of whoever sends it one message too many.
		m, err := peer.StartMosquitto(t.TempDir(), port, "max_queued_messages 10000000")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.Stop() })
		text, centre = text+fmt.Sprintf(bridge, port), m.Addr
	}
	file := filepath.Join(t.TempDir(), "gatewayd.yaml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	r := Run(t, number(t, "CUTS", 12), Options{
		Files: rig.Files{"/bin/gatewayd": rig.Gatewayd(t, "arm64"), "/etc/gatewayd/gatewayd.yaml": file},
		Steps: []plan.Step{
			{Name: "verify", Args: []string{"/bin/gatewayd", "store", "verify"}},
			{Name: "run", Args: []string{"/bin/gatewayd", "run"}},
		},
		Seed:   uint64(number(t, "SEED", 1)),
		DiskMB: 2048,
		Centre: centre,
		Log:    t.Output(),
	})
	t.Log(r)
	if !r.Good() {
		t.Error(r.Findings())
	}
	if r.Acknowledged == 0 {
		t.Error("nothing was acknowledged, so nothing was tested")
	}
}
