// Package auth decides who a client is and what it may do.
//
//   - Passwords is a password file: Mosquitto's $6$ (SHA-512), $7$ (PBKDF2) and
//     $argon2id$ entries are verified, new ones are argon2id. SetPassword and
//     DeleteUser change a file atomically.
//   - Credentials is a file of SCRAM credentials (RFC 5802, RFC 7677), with which a
//     client proves its password in a ScramExchange and never sends it.
//     SetCredentials and DeleteCredentials change one atomically.
//   - Rules is an ACL file in Mosquitto's format and with its semantics.
//   - Authority holds one of each, decides on logins and rights, and re-reads
//     the files while clients are connected.
//   - ServerTLS is a listener's side of TLS, with client certificates, revocation
//     lists and re-reading; CertName gets a user name out of a certificate.
//
// Verifying a password is expensive on purpose. Authority bounds how many run
// at once and how many wait, so that a storm of logins can take neither the CPU
// nor the memory of a small board. Rights are answered without allocation, from
// any goroutine.
package auth
