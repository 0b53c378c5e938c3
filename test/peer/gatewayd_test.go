package peer

import (
	"os/exec"
	"strings"
	"testing"
)

// TestBuiltAsShipped: what the end-to-end tests run has the corrections to the
// database (docs/decisions/0002), and says so.
func TestBuiltAsShipped(t *testing.T) {
	bin, err := Gatewayd()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(RemoveBuilt)
	out, err := exec.Command(bin, "version", "--json").Output()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), `"database_corrected":true`) {
		t.Errorf("gatewayd version --json: %s", out)
	}
}
