package pki_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ebbtide/ebbtide/e2e/lab/pki"
)

func authority(t *testing.T, name string) *pki.Authority {
	t.Helper()
	a, err := pki.NewAuthority(name)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func pool(t *testing.T, a *pki.Authority) *x509.CertPool {
	t.Helper()
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(a.CertPEM) {
		t.Fatal("the authority's certificate cannot be read")
	}
	return p
}

func load(t *testing.T, pair pki.Pair, err error) []tls.Certificate {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(pair.CertPEM, pair.KeyPEM)
	if err != nil {
		t.Fatal(err)
	}
	return []tls.Certificate{cert}
}

func TestMutualTLS(t *testing.T) {
	ours, theirs := authority(t, "ours"), authority(t, "theirs")
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		subject := r.TLS.PeerCertificates[0].Subject
		w.Header().Set("User", subject.CommonName+"/"+strings.Join(subject.Organization, "+"))
	}))
	serving, err := ours.Server("server", "kubernetes")
	server.TLS = &tls.Config{
		Certificates: load(t, serving, err),
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: pool(t, ours),
	}
	server.StartTLS()
	defer server.Close()

	get := func(trust *pki.Authority, serverName string, client pki.Pair, err error) (string, error) {
		transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{
			RootCAs: pool(t, trust), ServerName: serverName, Certificates: load(t, client, err),
		}}
		response, err := (&http.Client{Transport: transport}).Get(server.URL)
		if err != nil {
			return "", err
		}
		defer response.Body.Close()
		return response.Header.Get("User"), nil
	}
	alice, aliceErr := ours.Client("alice", "team-a", "team-b")
	for _, name := range []string{"", "localhost", "kubernetes"} {
		user, err := get(ours, name, alice, aliceErr)
		if err != nil || user != "alice/team-a+team-b" {
			t.Errorf("as %q the server saw %q, %v", name, user, err)
		}
	}
	if _, err := get(ours, "example.com", alice, aliceErr); err == nil {
		t.Error("the server's certificate holds for any name")
	}
	if _, err := get(theirs, "", alice, aliceErr); err == nil {
		t.Error("a client trusts a server of another authority")
	}
	mallory, malloryErr := theirs.Client("alice", "team-a")
	if user, err := get(ours, "", mallory, malloryErr); err == nil {
		t.Errorf("a client of another authority got in as %s", user)
	}
	posing, posingErr := ours.Client("localhost")
	if cert := load(t, posing, posingErr)[0]; cert.Leaf.VerifyHostname("localhost") == nil {
		t.Error("a user's certificate can serve as a server's")
	}
}
