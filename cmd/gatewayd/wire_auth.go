package main

import (
	"gatewayd/auth"
	"gatewayd/config"
)

func serverTLS(t *config.TLS) auth.TLSOptions {
	return auth.TLSOptions{Cert: t.Cert, Key: t.Key, ClientCA: t.ClientCA, RequireClientCert: t.RequireClientCert,
		CRL: t.CRL, MinVersion: t.MinVersion, Ciphers: t.Ciphers}
}
