package backlog

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/ebbtide/ebbtide/broker/internal/signal"
)

// Kind is what a backend is. The set is closed.
type Kind string

const (
	// Redis is a Redis server, or with several addresses a Redis Cluster.
	Redis Kind = "Redis"
	// Kafka is a cluster of Kafka brokers.
	Kafka Kind = "Kafka"
)

// Mechanism is how a password is shown to Kafka.
type Mechanism string

// The mechanisms of SASL. Plain sends the password itself, so it needs TLS.
const (
	Plain       Mechanism = "PLAIN"
	ScramSHA256 Mechanism = "SCRAM-SHA-256"
	ScramSHA512 Mechanism = "SCRAM-SHA-512"
)

// Backends are the servers that policies may name. The zero value is none.
type Backends []Backend

// Backend is one server, or one cluster of them.
type Backend struct {
	// Name as in a policy's signal.
	Name string `json:"name"`
	Kind Kind   `json:"kind"`
	// Addresses as host:port. Several of a Redis are nodes of one Redis Cluster; of a
	// Kafka any of its brokers suffice.
	Addresses []string `json:"addresses"`
	// Username, and the file that holds the password. It is read for each connection, so
	// a changed password needs no restart. Kafka needs both or neither.
	Username     string `json:"username,omitempty"`
	PasswordFile string `json:"passwordFile,omitempty"`
	// Mechanism of Kafka's SASL. Absent: SCRAM-SHA-512.
	Mechanism Mechanism `json:"mechanism,omitempty"`
	// Database is the number of a Redis database. A Redis Cluster has only 0.
	Database int `json:"database,omitempty"`
	// TLS absent: the connection is not encrypted.
	TLS *TLS `json:"tls,omitempty"`
}

// TLS is how a server is known, and the broker to it.
type TLS struct {
	// CAFile holds the certificates, as PEM, that may have signed the server's. Absent:
	// those of the system.
	CAFile string `json:"caFile,omitempty"`
	// ServerName is the name in the server's certificate. Absent: the host it was reached at.
	ServerName string `json:"serverName,omitempty"`
	// CertFile and KeyFile are the broker's own certificate and key, as PEM.
	CertFile string `json:"certFile,omitempty"`
	KeyFile  string `json:"keyFile,omitempty"`
}

var name = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)

// Validate returns what is wrong with the backends, by field below path. It reads no
// file.
func (b Backends) Validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for i := range b {
		at := path.Index(i)
		errs = append(errs, b[i].validate(at)...)
		if seen[b[i].Name] {
			errs = append(errs, field.Duplicate(at.Child("name"), b[i].Name))
		}
		seen[b[i].Name] = true
	}
	return errs
}

// Named is the name of the backend of a kind that has one of the addresses, which are
// separated by commas, and of a Redis with the database; empty if there is none. A list of
// another database would look empty. An autoscaler names servers by address, and
// the broker connects to those only that its configuration names.
func (b Backends) Named(kind signal.Kind, addresses string, database int) string {
	want := map[signal.Kind]Kind{signal.KindRedis: Redis, signal.KindKafka: Kafka}[kind]
	for address := range strings.SplitSeq(addresses, ",") {
		for i := range b {
			if b[i].Kind == want && (want != Redis || b[i].Database == database) && slices.Contains(b[i].Addresses, strings.TrimSpace(address)) {
				return b[i].Name
			}
		}
	}
	return ""
}

func (b *Backend) validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	want := func(ok bool, child string, value any, rule string) {
		if !ok {
			errs = append(errs, field.Invalid(path.Child(child), value, rule))
		}
	}
	want(len(b.Name) <= 63 && name.MatchString(b.Name), "name", b.Name, "must be 1 to 63 lower-case letters, digits and dashes, with no dash at its ends")
	want(b.Kind == Redis || b.Kind == Kafka, "kind", string(b.Kind), "must be Redis or Kafka")
	want(len(b.Addresses) > 0, "addresses", b.Addresses, "must have at least one host:port")
	for i, address := range b.Addresses {
		if !validAddress(address) {
			errs = append(errs, field.Invalid(path.Child("addresses").Index(i), address, "must be host:port"))
		}
	}
	want(b.Username == "" || b.PasswordFile != "", "passwordFile", b.PasswordFile, "must be set where username is")
	switch b.Kind {
	case Kafka:
		want(b.Username != "" || b.PasswordFile == "", "username", b.Username, "must be set where passwordFile is")
		want(b.Database == 0, "database", b.Database, "belongs to a Redis")
	case Redis:
		want(b.Mechanism == "", "mechanism", string(b.Mechanism), "belongs to a Kafka")
		want(b.Database >= 0, "database", b.Database, "must not be negative")
		want(b.Database == 0 || len(b.Addresses) == 1, "database", b.Database, "must be 0 in a Redis Cluster, which several addresses are")
	}
	return append(append(errs, b.validateMechanism(path)...), b.TLS.validate(path.Child("tls"))...)
}

func validAddress(text string) bool {
	host, port, err := net.SplitHostPort(text)
	return err == nil && host != "" && port != ""
}

func (t *TLS) validate(path *field.Path) field.ErrorList {
	if t == nil || (t.CertFile == "") == (t.KeyFile == "") {
		return nil
	}
	return field.ErrorList{field.Invalid(path, *t, "certFile and keyFile must be set together")}
}

func (b *Backend) validateMechanism(path *field.Path) field.ErrorList {
	at := path.Child("mechanism")
	switch b.Mechanism {
	case "", ScramSHA256, ScramSHA512:
		return nil
	case Plain:
		if b.TLS == nil && b.Kind == Kafka {
			return field.ErrorList{field.Invalid(at, string(b.Mechanism), "needs tls: it sends the password as it is")}
		}
		return nil
	}
	return field.ErrorList{field.NotSupported(at, b.Mechanism, []Mechanism{Plain, ScramSHA256, ScramSHA512})}
}

// password reads the file anew, so that a rotated secret is used.
func (b *Backend) password() (string, error) {
	if b.PasswordFile == "" {
		return "", nil
	}
	content, err := os.ReadFile(b.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("read the password of backend %s: %w", b.Name, err)
	}
	return strings.TrimRight(string(content), "\r\n"), nil
}

// config returns nil for a nil TLS.
func (t *TLS) config() (*tls.Config, error) {
	if t == nil {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read tls.caFile: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls.caFile: %s has no certificate in it", t.CAFile)
		}
	}
	if t.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read tls.certFile and tls.keyFile: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
