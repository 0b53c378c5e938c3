package config

import "cmp"

// Listener is one address where MQTT clients connect. What it does not say of
// Limits and Anonymous it takes from mqtt and auth.
type Listener struct {
	Address         string   `yaml:"address" required:"true" check:"address" doc:"host:port, :port for all interfaces, [v6]:port, or unix:/path/of/socket."`
	Interface       string   `yaml:"interface" doc:"Network interface to bind to, such as eth0."`
	SocketMode      string   `yaml:"socket_mode" default:"0660" check:"mode" doc:"Permissions of a Unix socket."`
	WebSocket       bool     `yaml:"websocket" default:"false" doc:"MQTT over WebSocket instead of plain MQTT."`
	Path            string   `yaml:"path" default:"/mqtt" check:"urlpath" doc:"WebSocket: the path of its URL."`
	Origins         []string `yaml:"origins" doc:"WebSocket: origins browsers may come from, such as https://panel.example; \"*\": any. Empty: the listener's own host only."`
	TLS             *TLS     `yaml:"tls" doc:"Encrypt with TLS."`
	ProxyProtocol   bool     `yaml:"proxy_protocol" default:"false" doc:"Expect HAProxy's PROXY header, version 1 or 2, before anything else: only for listeners that nobody but the proxy can reach."`
	ProxyIdentity   string   `yaml:"proxy_identity" default:"none" enum:"none,cn,subject" doc:"With proxy_protocol where the proxy ends TLS: take the user name from the client certificate that the proxy has verified (HAProxy's send-proxy-v2-ssl-cn): its common name, or its whole subject if the proxy sends the certificate."`
	ProxyRequireTLS bool     `yaml:"proxy_require_tls" default:"false" doc:"With proxy_protocol: refuse clients that did not speak TLS with the proxy, Mosquitto's proxy_protocol_v2_require_tls."`
	ForwardedFor    bool     `yaml:"forwarded_for" default:"false" doc:"WebSocket: the client's address is the last one in X-Forwarded-For: only for listeners that nobody but the proxy can reach."`
	MaxConnections  int      `yaml:"max_connections" default:"0" min:"0" doc:"Connections on this listener; 0: no bound of its own."`
	Anonymous       bool     `yaml:"anonymous" doc:"Let clients in without a user name. Default: auth.anonymous; true on loopback and Unix sockets while there is neither a password_file nor auth_methods."`

	PasswordFile string   `yaml:"password_file" path:"file" doc:"Users of this listener alone, in place of auth.password_file."`
	ACLFile      string   `yaml:"acl_file" path:"file" doc:"Rights of this listener's clients alone, in place of auth.acl_file."`
	AuthMethods  []string `yaml:"auth_methods" enum:"SCRAM-SHA-256,SCRAM-SHA-512" doc:"Authentication methods that MQTT 5 clients may use here (enhanced authentication), for the users of auth.scram_file. Logins by password go on beside them. Empty: none."`

	Limits `yaml:",inline"`

	closed bool // may be one that lets nobody in
}

// TLS is a server's side of TLS.
type TLS struct {
	Cert              string   `yaml:"cert" required:"true" path:"file" doc:"Certificate of the server with its chain, PEM."`
	Key               string   `yaml:"key" required:"true" path:"file" doc:"Private key of the certificate, PEM."`
	Chain             string   `yaml:"chain" path:"file" doc:"PEM file or folder of authorities from which a chain that cert lacks is completed."`
	ClientCA          string   `yaml:"client_ca" path:"file" doc:"Authorities whose client certificates are accepted, PEM file or folder of PEM files."`
	RequireClientCert bool     `yaml:"require_client_cert" default:"false" doc:"Refuse clients without a certificate."`
	CRL               string   `yaml:"crl" path:"file" doc:"Revoked client certificates, PEM."`
	Identity          string   `yaml:"identity" default:"none" enum:"none,cn,subject" doc:"Take the user name from the client certificate: its common name or its whole subject."`
	MinVersion        string   `yaml:"min_version" default:"1.2" enum:"1.2,1.3" doc:"Oldest TLS version accepted."`
	Ciphers           []string `yaml:"ciphers" doc:"Cipher suites of TLS 1.2 by their IANA names; empty: the safe ones."`
}

// inherit lets a listener start from the broker's limits.
func (l *Listener) inherit(c *Config) {
	l.Limits = c.MQTT.Limits
	l.Anonymous = c.Auth.Anonymous
}

// UsersOf is the password file that a listener's clients are in; empty: none.
func (c *Config) UsersOf(l Listener) string { return cmp.Or(l.PasswordFile, c.Auth.PasswordFile) }

// RightsOf is the ACL file that holds for a listener's clients; empty: none.
func (c *Config) RightsOf(l Listener) string { return cmp.Or(l.ACLFile, c.Auth.ACLFile) }
