package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/ebbtide/ebbtide/broker/access"
)

// Every route of the agent's, as nobody, with a bad token, as a tenant, and as Prometheus.
func TestWhoMayReadTheAgent(t *testing.T) {
	people := map[string]string{"tenant": "/apis", "prometheus": "/metrics"}
	guard := &access.Guard{
		Authenticator: authenticator.RequestFunc(func(r *http.Request) (*authenticator.Response, bool, error) {
			name := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
			return &authenticator.Response{User: &user.DefaultInfo{Name: name}}, people[name] != "", nil
		}),
		Authorizer: authorizer.AuthorizerFunc(func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
			if a.GetVerb() == "get" && a.GetPath() == people[a.GetUser().GetName()] {
				return authorizer.DecisionAllow, "", nil
			}
			return authorizer.DecisionNoOpinion, "", nil
		}),
	}
	published := false
	all := routes(prometheus.NewRegistry(), func() bool { return published })
	handler, err := guard.Handler(all)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(path, token string) int {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("Authorization", "Bearer "+token)
		handler.ServeHTTP(w, r)
		return w.Code
	}
	for _, route := range all {
		_, path, _ := strings.Cut(route.Pattern, " ")
		want := map[string]int{"": 401, "bad": 401, "tenant": 403, "prometheus": 200}
		if route.Rule == access.Probe {
			want = map[string]int{"": 200, "bad": 200, "tenant": 200, "prometheus": 200}
		}
		if path == "/readyz" {
			if got := ask(path, ""); got != http.StatusServiceUnavailable {
				t.Errorf("before anything is published, %s: %d", path, got)
			}
			published = true
		}
		for token, status := range want {
			if got := ask(path, token); got != status {
				t.Errorf("%s with the token %q: got %d, want %d", path, token, got, status)
			}
		}
	}
}
