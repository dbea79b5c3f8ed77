package access

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	certutil "k8s.io/client-go/util/cert"

	"github.com/ebbtide/ebbtide/broker/access/terms"
)

// shownTo is a broker over TLS that tells what it was shown.
func shownTo(t *testing.T) (server *httptest.Server, shown func() string) {
	t.Helper()
	var last string
	server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		last = r.Header.Get("Authorization")
		if len(r.TLS.PeerCertificates) > 0 {
			last = "certificate of " + r.TLS.PeerCertificates[0].Subject.CommonName
		}
		_, _ = w.Write([]byte("{}"))
	}))
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server, func() string { return last }
}

func authorityOf(t *testing.T, server *httptest.Server) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Who has a token shows it, and who has a certificate shows that; neither to somebody who
// cannot show who he is himself, nor without TLS.
func TestWhoIsShown(t *testing.T) {
	server, shown := shownTo(t)
	cert, key, err := certutil.GenerateSelfSignedCertKey("ann", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	token := &rest.Config{BearerToken: "secret"}
	pair := &rest.Config{TLSClientConfig: rest.TLSClientConfig{CertData: cert, KeyData: key, CAData: cert}}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("mounted"), 0o600); err != nil {
		t.Fatal(err)
	}
	pod := &rest.Config{BearerTokenFile: file}
	plugin := func(status string) *rest.Config {
		credential := `{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":` + status + `}`
		return &rest.Config{Host: "https://127.0.0.1:1", ExecProvider: &clientcmdapi.ExecConfig{
			APIVersion: "client.authentication.k8s.io/v1", Command: "echo", Args: []string{credential}, InteractiveMode: clientcmdapi.NeverExecInteractiveMode,
		}}
	}
	pairOf, err := json.Marshal(map[string]string{"clientCertificateData": string(cert), "clientKeyData": string(key)})
	if err != nil {
		t.Fatal(err)
	}
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("a token went over plain HTTP")
		}
		_, _ = w.Write([]byte("{}"))
	}))
	t.Cleanup(plain.Close)
	for name, test := range map[string]struct {
		who  Identity
		at   string
		want string
		err  error
	}{
		"a token":                       {Identity{Config: token, Authority: authorityOf(t, server)}, server.URL, "Bearer secret", nil},
		"a certificate":                 {Identity{Config: pair, Authority: authorityOf(t, server)}, server.URL, "certificate of ann", nil},
		"in a pod":                      {Identity{Config: pod, Authority: authorityOf(t, server)}, server.URL, "Bearer mounted", nil},
		"a plugin's token":              {Identity{Config: plugin(`{"token":"fresh"}`), Authority: authorityOf(t, server)}, server.URL, "Bearer fresh", nil},
		"a plugin's certificate":        {Identity{Config: plugin(string(pairOf)), Authority: authorityOf(t, server)}, server.URL, "certificate of ann", nil},
		"a plugin, nobody verified":     {Identity{Config: plugin(`{"token":"fresh"}`)}, server.URL, "", ErrUnreachable},
		"a server that nobody verified": {Identity{Config: token}, server.URL, "", ErrUnreachable},
		"plain HTTP":                    {Identity{Config: token}, plain.URL, "", nil},
	} {
		b, err := NewBrokerAt(test.at, &test.who)
		if err != nil {
			t.Fatal(err)
		}
		_, err = b.Queue(context.Background())
		if !errors.Is(err, test.err) {
			t.Errorf("%s: %v, want %v", name, err, test.err)
		}
		if test.want != "" && !strings.HasPrefix(shown(), test.want) {
			t.Errorf("%s: the broker was shown %q, want %q", name, shown(), test.want)
		}
	}
}

// What stands at the broker's address cannot have somebody shown elsewhere.
func TestNobodyIsShownElsewhere(t *testing.T) {
	asked := false
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked = true
		if r.Header.Get("Authorization") != "" {
			t.Error("a token went to another server, over plain HTTP")
		}
	}))
	t.Cleanup(elsewhere.Close)
	sends := httptest.NewTLSServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	t.Cleanup(sends.Close)
	b, err := NewBrokerAt(sends.URL, &Identity{Config: &rest.Config{BearerToken: "secret"}, Authority: authorityOf(t, sends)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Queue(t.Context()); !errors.Is(err, ErrUnreachable) || asked {
		t.Errorf("a redirect was followed: %v", err)
	}
}

// Through a tunnel, the API server says who is at its end, and a file may say so again.
func TestWhoIsShownThroughATunnel(t *testing.T) {
	server, shown := shownTo(t)
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", server.Listener.Addr().String())
	}
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1") // no proxy stands before a tunnel
	ask := func(who *Identity) error {
		transport, err := who.transport(t.Context(), dial)
		if err != nil {
			return err
		}
		response, err := (&http.Client{Transport: transport}).Get("https://ebbtide-broker/")
		if err != nil {
			return err
		}
		return response.Body.Close()
	}
	if err := ask(&Identity{Config: &rest.Config{BearerToken: "secret"}}); err != nil || shown() != "Bearer secret" {
		t.Errorf("the broker was shown %q: %v", shown(), err)
	}
	err := ask(&Identity{Config: &rest.Config{BearerToken: "other"}, Authority: authorityOf(t, server)})
	if err == nil || !strings.Contains(err.Error(), serverName) || shown() == "Bearer other" {
		t.Errorf("a certificate for other names than %s: %v, and the broker was shown %q", serverName, err, shown())
	}
}

// Nobody is asked as somebody else, since the broker would answer for who asks in truth.
func TestImpersonationIsRefused(t *testing.T) {
	who := &Identity{Config: &rest.Config{BearerToken: "secret", Impersonate: rest.ImpersonationConfig{UserName: "ann"}}}
	b, err := NewBrokerAt("https://127.0.0.1:1", who)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Queue(t.Context()); err == nil || errors.Is(err, ErrUnreachable) || !strings.HasPrefix(err.Error(), "--as: ") {
		t.Errorf("got %v", err)
	}
	for _, bad := range []string{"name", "/name", "ns/", "a/b/c"} {
		who := &Identity{Config: &rest.Config{}, Account: bad}
		if _, err := who.transport(t.Context(), nil); err == nil || !strings.HasPrefix(err.Error(), "--broker-account: ") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// A service account is shown by a token for brokers alone.
func TestAsAServiceAccount(t *testing.T) {
	server, shown := shownTo(t)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := make([]byte, 1<<12)
		n, _ := r.Body.Read(body)
		if r.URL.Path != "/api/v1/namespaces/research/serviceaccounts/finance/token" || !strings.Contains(string(body[:n]), terms.Audience) {
			http.Error(w, "unexpected", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","status":{"token":"narrow"}}`))
	}))
	t.Cleanup(api.Close)
	config := &rest.Config{Host: api.URL, BearerToken: "wide", ContentConfig: rest.ContentConfig{ContentType: "application/json"}}
	b, err := NewBrokerAt(server.URL, &Identity{Config: config, Account: "research/finance", Authority: authorityOf(t, server)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Queue(t.Context()); err != nil || shown() != "Bearer narrow" {
		t.Errorf("the broker was shown %q: %v", shown(), err)
	}
}

// Where nobody is to be shown, a request has what it brings, on whatever way it goes.
func TestNobodyIsShown(t *testing.T) {
	server, shown := shownTo(t)
	cert, key, err := certutil.GenerateSelfSignedCertKey("ann", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", server.Listener.Addr().String())
	}
	for name, config := range map[string]*rest.Config{
		"a token":       {BearerToken: "secret"},
		"a certificate": {TLSClientConfig: rest.TLSClientConfig{CertData: cert, KeyData: key}},
		"a user":        {Username: "ann", Password: "secret"},
	} {
		for nobody, want := range map[bool]string{true: "", false: "Ba Be ce"} {
			transport, err := (&Identity{Config: config, Nobody: nobody}).transport(t.Context(), dial)
			if err != nil {
				t.Fatal(err)
			}
			b := &Broker{base: "https://ebbtide-broker", tunneled: true, client: &http.Client{Transport: transport}}
			if err := b.HasPage(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := shown(); (got == "") != (want == "") || got != "" && !strings.Contains(want, got[:2]) {
				t.Errorf("%s, nobody %t: the broker was shown %q", name, nobody, got)
			}
		}
	}
}
