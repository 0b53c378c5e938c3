package peer

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// MosquittoPath finds Debian's mosquitto, which lives outside an ordinary user's PATH.
func MosquittoPath() (string, error) {
	for _, p := range []string{"mosquitto", "/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"} {
		if path, err := exec.LookPath(p); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("mosquitto is not installed (apt-get install mosquitto)")
}

// MosquittoVersion is the number the program gives itself.
func MosquittoVersion() string {
	path, err := MosquittoPath()
	if err != nil {
		return ""
	}
	out, _ := exec.Command(path, "-h").CombinedOutput() // ends with 3, and says it all the same
	f := strings.Fields(string(out))
	for i := range f {
		if f[i] == "version" && i+1 < len(f) {
			return f[i+1]
		}
	}
	return "unknown"
}

// StartMosquitto runs a mosquitto on 127.0.0.1:port with its files in dir; extra is appended to its configuration.
// It is not waited for.
func StartMosquitto(dir string, port int, extra string) (*Process, error) {
	path, err := MosquittoPath()
	if err != nil {
		return nil, err
	}
	conf := filepath.Join(dir, "mosquitto.conf")
	text := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\n%s\n", port, extra)
	if os.Geteuid() == 0 {
		text = "user root\n" + text
	}
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return nil, err
	}
	return Start("mosquitto", fmt.Sprintf("127.0.0.1:%d", port), filepath.Join(dir, "mosquitto.log"), path, "-c", conf)
}
