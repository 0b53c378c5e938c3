package nats

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// TestDeployed reads the ready configurations as nats-server does; only the
// certificates are left out, they are made where it is deployed.
func TestDeployed(t *testing.T) {
	t.Setenv("GATEWAY_PASSWORD", "secret")
	for i := 1; i <= 3; i++ {
		b, err := os.ReadFile(fmt.Sprintf("../../deploy/nats/n%d.conf", i))
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, l := range strings.Split(string(b), "\n") {
			if !strings.Contains(l, "tls {") {
				lines = append(lines, l)
			}
		}
		file := filepath.Join(t.TempDir(), "n.conf")
		if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		o, err := server.ProcessConfigFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if o.ServerName != fmt.Sprintf("n%d", i) || o.MQTT.Port != 8883 || !o.JetStream || len(o.Routes) != 3 {
			t.Errorf("node %d: %+v", i, o.MQTT)
		}
	}
}
