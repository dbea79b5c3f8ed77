package replica

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// LeaseName is the Lease in whose annotations the leader says where it serves records.
// Nobody is elected by it.
const LeaseName = "ebbtide-replica"

// The annotations.
const (
	AnnotationName        = "ebbtide.dev/replica-leader"
	AnnotationURL         = "ebbtide.dev/replica-url"
	AnnotationCertificate = "ebbtide.dev/replica-certificate" // its SHA-256
)

// ErrNoLeader: nobody says that it leads.
var ErrNoLeader = errors.New("no leader has said where it serves records")

// Fingerprint is the SHA-256 of a certificate, in hex.
type Fingerprint string

// Rendezvous is where leader and followers meet: a Lease that only brokers may write, so
// that whoever is named there, with that certificate, is a broker.
type Rendezvous struct {
	Client    client.Client
	Live      client.Reader // around the caches
	Namespace string
}

func (r *Rendezvous) key() types.NamespacedName {
	return types.NamespacedName{Namespace: r.Namespace, Name: LeaseName}
}

// Find is who leads.
func (r *Rendezvous) Find(ctx context.Context) (Peer, error) {
	var lease coordinationv1.Lease
	err := r.Live.Get(ctx, r.key(), &lease)
	if apierrors.IsNotFound(err) {
		return Peer{}, ErrNoLeader
	}
	if err != nil {
		return Peer{}, fmt.Errorf("read lease %s: %w", r.key(), err)
	}
	a := lease.Annotations
	p := Peer{Name: a[AnnotationName], URL: a[AnnotationURL], Certificate: Fingerprint(a[AnnotationCertificate])}
	if p.Name == "" || p.URL == "" || p.Certificate == "" {
		return Peer{}, fmt.Errorf("%w: lease %s is incomplete", ErrNoLeader, r.key())
	}
	return p, nil
}

// Announce says that this broker leads.
func (r *Rendezvous) Announce(ctx context.Context, p Peer) error {
	annotations := map[string]string{AnnotationName: p.Name, AnnotationURL: p.URL, AnnotationCertificate: string(p.Certificate)}
	var lease coordinationv1.Lease
	err := r.Live.Get(ctx, r.key(), &lease)
	switch {
	case apierrors.IsNotFound(err):
		err = r.Client.Create(ctx, &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: LeaseName, Annotations: annotations},
		})
	case err == nil:
		// The resource version is in it: whoever read before the last leader wrote is refused.
		lease.Annotations = annotations
		err = r.Client.Update(ctx, &lease)
	}
	if err != nil {
		return fmt.Errorf("say in lease %s where records are served: %w", r.key(), err)
	}
	return nil
}

// lifetime of a certificate. It is made anew by each process, and known by its fingerprint.
const lifetime = 10 * 365 * 24 * time.Hour

// NewCertificate makes a key and a certificate that only its fingerprint vouches for.
func NewCertificate(name string) (tls.Certificate, Fingerprint, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, "", fmt.Errorf("make a key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return tls.Certificate{}, "", fmt.Errorf("make a serial number: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(lifetime),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, "", fmt.Errorf("make a certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, fingerprint(der), nil
}

func fingerprint(der []byte) Fingerprint {
	sum := sha256.Sum256(der)
	return Fingerprint(hex.EncodeToString(sum[:]))
}

// NewClient asks a peer with the bearer token that config has for the API server. It speaks
// to nobody who does not show that certificate: the token goes to no other.
func NewClient(config *rest.Config, p Peer) (*http.Client, error) {
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS12,
			// The fingerprint is compared in place of a chain of authorities.
			InsecureSkipVerify: true,
			VerifyConnection: func(state tls.ConnectionState) error {
				if len(state.PeerCertificates) == 0 || fingerprint(state.PeerCertificates[0].Raw) != p.Certificate {
					return fmt.Errorf("%s shows another certificate than the leader said", p.URL)
				}
				return nil
			},
		},
		TLSHandshakeTimeout: pollTime, IdleConnTimeout: silence, MaxResponseHeaderBytes: mostBody,
	}
	var wrapped http.RoundTripper = transport
	if config != nil {
		var err error
		if wrapped, err = rest.HTTPWrappersForConfig(bearer(config), transport); err != nil {
			return nil, fmt.Errorf("take the API server's token: %w", err)
		}
	}
	return &http.Client{Transport: wrapped, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, nil
}

// bearer has a configuration's token, and nothing else of it.
func bearer(config *rest.Config) *rest.Config {
	return &rest.Config{BearerToken: config.BearerToken, BearerTokenFile: config.BearerTokenFile}
}

// ServerTLS is what the leader listens with.
func ServerTLS(certificate tls.Certificate) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}}
}
