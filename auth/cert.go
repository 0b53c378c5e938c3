package auth

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Identity is what of a client certificate becomes the user name.
type Identity uint8

// The sources of a user name.
const (
	ByCN      Identity = iota + 1 // the subject's common name
	BySubject                     // the whole subject, in the form of RFC 2253
)

// CertName takes the user name out of a client certificate.
func CertName(cert *x509.Certificate, by Identity) (string, error) {
	if by == BySubject {
		return subject(cert.RawSubject)
	}
	name := cert.Subject.CommonName
	switch {
	case name == "":
		return "", errors.New("the client certificate has no common name")
	case strings.ContainsAny(name, "\x00"):
		return "", errors.New("the client certificate's common name contains a null character")
	}
	return name, nil
}

// attributeNames are OpenSSL's short names, which Mosquitto's ACL files are
// written with (use_subject_as_username).
var attributeNames = map[string]string{
	"2.5.4.3": "CN", "2.5.4.4": "SN", "2.5.4.5": "serialNumber", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST",
	"2.5.4.9": "street", "2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.12": "title", "2.5.4.13": "description",
	"2.5.4.17": "postalCode", "2.5.4.41": "name", "2.5.4.42": "GN", "2.5.4.43": "initials", "2.5.4.46": "dnQualifier",
	"2.5.4.65": "pseudonym", "0.9.2342.19200300.100.1.1": "UID", "0.9.2342.19200300.100.1.25": "DC",
	"1.2.840.113549.1.9.1": "emailAddress",
}

type attribute struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

// subject spells a distinguished name as OpenSSL does with -nameopt RFC2253:
// the last part first, bytes outside ASCII as \xx.
func subject(raw []byte) (string, error) {
	var parts []asn1.RawValue
	if rest, err := asn1.Unmarshal(raw, &parts); err != nil || len(rest) > 0 {
		return "", errors.New("the client certificate's subject cannot be read")
	}
	if len(parts) == 0 {
		return "", errors.New("the client certificate has no subject")
	}
	var b strings.Builder
	for _, part := range slices.Backward(parts) {
		var several []attribute // nearly always one
		for rest := part.Bytes; len(rest) > 0; {
			var a attribute
			var err error
			if rest, err = asn1.Unmarshal(rest, &a); err != nil {
				return "", errors.New("the client certificate's subject cannot be read")
			}
			several = append(several, a)
		}
		for i, a := range slices.Backward(several) {
			switch {
			case i < len(several)-1:
				b.WriteByte('+')
			case b.Len() > 0:
				b.WriteByte(',')
			}
			writeAttribute(&b, a)
		}
	}
	return b.String(), nil
}

func writeAttribute(b *strings.Builder, a attribute) {
	name, known := attributeNames[a.Type.String()]
	var value string
	_, err := asn1.Unmarshal(a.Value.FullBytes, &value)
	if !known || err != nil {
		if !known {
			name = a.Type.String()
		}
		b.WriteString(name + "=#" + strings.ToUpper(hex.EncodeToString(a.Value.FullBytes)))
		return
	}
	b.WriteString(name + "=")
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case strings.IndexByte(`,+"\<>;`, c) >= 0, i == 0 && (c == ' ' || c == '#'), i == len(value)-1 && c == ' ':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c >= 0x7f:
			fmt.Fprintf(b, `\%02X`, c)
		default:
			b.WriteByte(c)
		}
	}
}
