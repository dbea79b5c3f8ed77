package access

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/access/terms"
)

const (
	// tokenSeconds is how long a token that is made for brokers is good for, the shortest there is.
	tokenSeconds = 600
	// serverName is what a broker's certificate is for.
	serverName = "ebbtide-broker.ebbtide-system.svc"
)

// Identity is as whom a broker is asked, and how it is known.
type Identity struct {
	// Config is the user's connection to the API server. A broker is shown the same client
	// certificate, or token.
	Config *rest.Config
	// Account, namespace/name of a service account, is shown instead, by a token that only
	// brokers accept. It takes the verb create on the account's token.
	Account string
	// Authority is a PEM file by which a broker's certificate is verified.
	Authority string
	// Nobody is shown to a broker: Config leads there, and requests have what they bring
	// themselves.
	Nobody bool
}

type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// transport shows who asks to an HTTPS server. Through a tunnel it need not be verified: then
// the API server, which is, says which pod is at its end. Nothing is ever sent to a server
// that is neither.
func (i *Identity) transport(ctx context.Context, tunnel dialer) (http.RoundTripper, error) {
	config, err := i.shown(ctx)
	if err != nil {
		return nil, err
	}
	c, err := config.TransportConfig()
	if err != nil {
		return nil, fmt.Errorf("read who you are from the kubeconfig: %w", err)
	}
	// What is about the API server is not about the broker.
	c.TLS.CAData, c.TLS.CAFile, c.TLS.ServerName, c.TLS.Insecure, c.TLS.NextProtos = nil, i.Authority, "", false, []string{"http/1.1"}
	c.Transport, c.UserAgent, c.DialHolder = nil, "", nil
	if tunnel != nil {
		c.TLS.ServerName, c.TLS.Insecure = serverName, i.Authority == ""
		c.DialHolder = &transport.DialHolder{Dial: tunnel}
		c.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
	}
	t, err := transport.New(c)
	if err != nil {
		return nil, fmt.Errorf("prepare to ask the broker: %w", err)
	}
	return t, nil
}

// shown is the connection whose credentials a broker is to see.
func (i *Identity) shown(ctx context.Context) (*rest.Config, error) {
	if i.Config == nil || i.Nobody {
		return &rest.Config{}, nil
	}
	if i.Account != "" {
		token, err := i.accountToken(ctx)
		return &rest.Config{BearerToken: token}, err
	}
	if as := i.Config.Impersonate; as.UserName != "" || as.UID != "" || len(as.Groups) > 0 {
		return nil, errors.New("--as: the broker cannot be asked as somebody else; ask as a service account, with --broker-account")
	}
	config := rest.CopyConfig(i.Config)
	config.Dial, config.Proxy = nil, nil
	return config, nil
}

func (i *Identity) accountToken(ctx context.Context) (string, error) {
	namespace, name, found := strings.Cut(i.Account, "/")
	if !found || namespace == "" || name == "" || strings.Contains(name, "/") {
		return "", fmt.Errorf("--broker-account: %q must be namespace/name", i.Account)
	}
	client, err := kubernetes.NewForConfig(i.Config)
	if err != nil {
		return "", fmt.Errorf("make a client: %w", err)
	}
	token, err := client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{Audiences: []string{terms.Audience}, ExpirationSeconds: ptr.To[int64](tokenSeconds)},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("--broker-account: request a token for service account %s: %w", i.Account, err)
	}
	return token.Status.Token, nil
}

// late makes its transport with the first request.
type late struct {
	make func(ctx context.Context) (http.RoundTripper, error)
	mu   sync.Mutex
	made http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (l *late) RoundTrip(r *http.Request) (*http.Response, error) {
	made, err := l.transport(r.Context())
	if err != nil {
		return nil, &identityError{err}
	}
	return made.RoundTrip(r)
}

func (l *late) transport(ctx context.Context) (http.RoundTripper, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.made != nil {
		return l.made, nil
	}
	made, err := l.make(ctx)
	if err == nil {
		l.made = made
	}
	return made, err
}

// CloseIdleConnections is for http.Client.
func (l *late) CloseIdleConnections() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.made != nil {
		utilnet.CloseIdleConnectionsFor(l.made)
	}
}

// identityError is what keeps a user from showing who he is.
type identityError struct{ error }

// Unwrap returns the cause.
func (e *identityError) Unwrap() error { return e.error }
