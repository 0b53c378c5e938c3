package powercut

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

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
		t.Errorf("missing: %s\ntwice: %s\ndisorder: %s\ndamaged: %s", brief(r.Missing), brief(r.Twice), brief(r.Disorder), brief(r.Damaged))
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

// gatewayd's configuration in the guest: open to the host, no hardware, and a
// debug log would only slow the emulated board down.
const configuration = `
gateway: {id: gw-cut, data_dir: /data/gw}
listeners: [{address: ":1883"}]
auth: {anonymous: true}
http: {address: "off"}
board: none
log: {level: warn}
`

// The gateway itself: CUTS cuts (make powercut CUTS=200), SEED for another
// sequence.
func TestGatewayd(t *testing.T) {
	rig.Enabled(t, "powercut")
	rig.Need(t, "qemu-system-aarch64", "mkfs.ext4")
	file := filepath.Join(t.TempDir(), "gatewayd.yaml")
	if err := os.WriteFile(file, []byte(configuration), 0o644); err != nil {
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
		Log:    t.Output(),
	})
	t.Log(r)
	if !r.Good() {
		t.Errorf("missing: %s\ntwice: %s\nout of order: %s\ndamaged: %s", brief(r.Missing), brief(r.Twice), brief(r.Disorder), brief(r.Damaged))
	}
	if r.Acknowledged == 0 {
		t.Error("nothing was acknowledged, so nothing was tested")
	}
}
