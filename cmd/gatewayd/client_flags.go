package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"gatewayd/mqtt"
	"gatewayd/topic"
)

// clientFlags are what pub, sub and bench have in common, named as
// mosquitto_pub and mosquitto_sub name them.
type clientFlags struct {
	host, unixSocket   string
	port               int
	id, user, password string
	version            string
	keepAlive          int
	qos                int
	keepSession        bool
	sessionExpiry      int64
	debug              bool

	cafile, capath, cert, key string
	insecure, useTLS          bool

	willTopic, willPayload string
	willQoS                int
	willRetain             bool
}

// add adds everything.
func (f *clientFlags) add(cmd *cobra.Command) {
	f.addConnection(cmd)
	fl := cmd.Flags()
	fl.StringVarP(&f.id, "id", "i", "", "client id (default: made here)")
	fl.BoolVarP(&f.keepSession, "disable-clean-session", "c", false, "keep the session when the connection ends (needs -i)")
	fl.Int64VarP(&f.sessionExpiry, "session-expiry-interval", "x", -1, "MQTT 5: seconds the session is kept")
	fl.BoolVarP(&f.debug, "debug", "d", false, "say what happens on standard error")
	fl.StringVar(&f.willTopic, "will-topic", "", "will: topic")
	fl.StringVar(&f.willPayload, "will-payload", "", "will: payload")
	fl.IntVar(&f.willQoS, "will-qos", 0, "will: quality of service")
	fl.BoolVar(&f.willRetain, "will-retain", false, "will: retain")
}

// addConnection adds where to connect and as whom.
func (f *clientFlags) addConnection(cmd *cobra.Command) {
	f.sessionExpiry = -1
	fl := cmd.Flags()
	fl.Bool("help", false, "show this") // without -h, which is the host here
	fl.StringVarP(&f.host, "host", "h", "localhost", "host to connect to")
	fl.IntVarP(&f.port, "port", "p", 0, "port (default 1883, with TLS 8883)")
	fl.StringVar(&f.unixSocket, "unix", "", "connect to this Unix socket instead")
	fl.StringVarP(&f.user, "username", "u", "", "user name")
	fl.StringVarP(&f.password, "pw", "P", "", "password")
	fl.StringVarP(&f.version, "protocol-version", "V", "mqttv311", "mqttv31, mqttv311 or mqttv5 (31, 311, 5)")
	fl.IntVarP(&f.keepAlive, "keepalive", "k", 60, "keep alive in seconds")
	fl.IntVarP(&f.qos, "qos", "q", 0, "quality of service")
	fl.StringVar(&f.cafile, "cafile", "", "TLS: authorities, PEM file")
	fl.StringVar(&f.capath, "capath", "", "TLS: authorities, folder of PEM files")
	fl.StringVar(&f.cert, "cert", "", "TLS: client certificate, PEM")
	fl.StringVar(&f.key, "key", "", "TLS: key of the client certificate, PEM")
	fl.BoolVar(&f.insecure, "insecure", false, "TLS: do not compare the server's name with its certificate")
	fl.BoolVar(&f.useTLS, "tls-use-os-certs", false, "TLS: trust the system's authorities")
}

func usage(format string, args ...any) error { return &exit{exitUsage, fmt.Errorf(format, args...)} }

var protocolVersions = map[string]mqtt.Version{
	"mqttv31": mqtt.V31, "31": mqtt.V31, "mqttv311": mqtt.V311, "311": mqtt.V311, "mqttv5": mqtt.V5, "5": mqtt.V5,
}

// connect makes the CONNECT packet that the flags ask for.
func (f *clientFlags) connect() (*mqtt.Connect, error) {
	v, ok := protocolVersions[f.version]
	if !ok {
		return nil, usage("-V %s is no protocol version; write mqttv5, mqttv311 or mqttv31", f.version)
	}
	switch {
	case f.qos < 0 || f.qos > 2 || f.willQoS < 0 || f.willQoS > 2:
		return nil, usage("quality of service is 0, 1 or 2")
	case f.keepAlive < 0 || f.keepAlive > 65535:
		return nil, usage("-k %d is out of range; write 0 to 65535 seconds", f.keepAlive)
	case f.keepSession && f.id == "":
		return nil, usage("-c needs a client id; add -i")
	case f.password != "" && f.user == "" && v != mqtt.V5: // [MQTT-3.1.2-22]
		return nil, usage("-P needs a user name; add -u")
	case f.willTopic == "" && (f.willPayload != "" || f.willRetain || f.willQoS != 0):
		return nil, usage("a will needs a topic; add --will-topic")
	}
	p := &mqtt.Connect{Version: v, CleanStart: !f.keepSession, KeepAlive: uint16(f.keepAlive), ClientID: f.id,
		HasUsername: f.user != "", Username: f.user, HasPassword: f.password != "", Password: []byte(f.password)}
	if p.ClientID == "" && v == mqtt.V31 { // which has no empty client id
		p.ClientID = "gatewayd" + strconv.Itoa(os.Getpid())
	}
	if f.willTopic != "" {
		if err := topic.ValidName(f.willTopic); err != nil {
			return nil, usage("--will-topic %s: %v", f.willTopic, err)
		}
		p.Will = &mqtt.Will{Topic: f.willTopic, Payload: []byte(f.willPayload), QoS: mqtt.QoS(f.willQoS), Retain: f.willRetain}
	}
	if v == mqtt.V5 {
		switch {
		case f.sessionExpiry >= 0:
			p.Properties = &mqtt.Properties{SessionExpiry: uint32(min(f.sessionExpiry, 1<<32-1))}
		case f.keepSession: // as long as 3.1.1 would keep it
			p.Properties = &mqtt.Properties{SessionExpiry: 1<<32 - 1}
		}
	}
	return p, nil
}

// address is where the flags lead, and with which TLS.
func (f *clientFlags) address() (network, address string, secure *tls.Config, err error) {
	if secure, err = f.tls(); err != nil {
		return "", "", nil, err
	}
	if f.unixSocket != "" {
		return "unix", f.unixSocket, secure, nil
	}
	port := f.port
	switch {
	case port < 0 || port > 65535:
		return "", "", nil, usage("-p %d is not a port; ports go from 1 to 65535", port)
	case port == 0 && secure != nil:
		port = 8883
	case port == 0:
		port = 1883
	}
	return "tcp", net.JoinHostPort(strings.Trim(f.host, "[]"), strconv.Itoa(port)), secure, nil
}

func (f *clientFlags) tls() (*tls.Config, error) {
	if f.cafile == "" && f.capath == "" && f.cert == "" && !f.useTLS && !f.insecure {
		return nil, nil
	}
	c := &tls.Config{ServerName: f.host, MinVersion: tls.VersionTLS12}
	if f.cafile != "" || f.capath != "" {
		c.RootCAs = x509.NewCertPool()
		if err := addAuthorities(c.RootCAs, f.cafile, f.capath); err != nil {
			return nil, usage("%v", err)
		}
	}
	if (f.cert == "") != (f.key == "") {
		return nil, usage("--cert and --key need each other")
	}
	if f.cert != "" {
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return nil, usage("client certificate: %v", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	if f.insecure {
		// As in Mosquitto's tools: only the name is not compared; with
		// authorities given, the chain still has to lead to one of them.
		c.InsecureSkipVerify = true
		if c.RootCAs != nil {
			c.VerifyConnection = func(s tls.ConnectionState) error { return verifyChain(s, c.RootCAs) }
		}
	}
	return c, nil
}

func verifyChain(s tls.ConnectionState, roots *x509.CertPool) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("the server has no certificate")
	}
	between := x509.NewCertPool()
	for _, cert := range s.PeerCertificates[1:] {
		between.AddCert(cert)
	}
	_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between})
	return err
}

func addAuthorities(pool *x509.CertPool, file, dir string) error {
	files := []string{}
	if file != "" {
		files = append(files, file)
	}
	if dir != "" {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if !e.IsDir() {
				files = append(files, dir+"/"+e.Name())
			}
		}
	}
	added := false
	for _, name := range files {
		pem, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		added = pool.AppendCertsFromPEM(pem) || added
	}
	if !added {
		return fmt.Errorf("no certificate in %s", strings.Join(files, ", "))
	}
	return nil
}
