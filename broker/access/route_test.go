package access

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// of is a guard that knows who shows a token "of NAME", and lets them do what may says.
func of(may func(who string, a authorizer.Attributes) (bool, error)) *Guard {
	return &Guard{
		Authenticator: authenticator.RequestFunc(func(r *http.Request) (*authenticator.Response, bool, error) {
			name, known := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer of ")
			if !known {
				return nil, false, errors.New("no such token")
			}
			return &authenticator.Response{User: &user.DefaultInfo{Name: name}}, true, nil
		}),
		Authorizer: authorizer.AuthorizerFunc(func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
			if ok, err := may(a.GetUser().GetName(), a); ok || err != nil {
				return authorizer.DecisionAllow, "", err
			}
			return authorizer.DecisionNoOpinion, "", nil
		}),
		Log: logr.Discard(),
	}
}

// A route without a rule keeps all from being served.
func TestNoRouteWithoutARule(t *testing.T) {
	g, ok := of(nil), http.NotFoundHandler()
	for name, routes := range map[string][]Route{
		"no rule":       {{Pattern: "GET /a", Rule: Probe, Handler: ok}, {Pattern: "GET /b", Handler: ok}},
		"no such rule":  {{Pattern: "GET /b", Rule: 17, Handler: ok}},
		"no method":     {{Pattern: "/b", Rule: Path, Handler: ok}},
		"a method of b": {{Pattern: "get /b", Rule: Path, Handler: ok}},
		"nothing":       {{Pattern: "GET /b", Rule: Path}},
	} {
		if _, err := g.Handler(routes); err == nil || !strings.Contains(err.Error(), "/b") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRules(t *testing.T) {
	asked := ""
	g := of(func(who string, a authorizer.Attributes) (bool, error) {
		asked = a.GetVerb() + " " + a.GetPath() + a.GetNamespace()
		switch who {
		case "unlucky":
			return false, errors.New("no answer")
		case "admin":
			return true, nil
		}
		return a.GetNamespace() == "own", nil
	})
	show := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("what serves a route sees what its caller shows")
		}
		own, err := CallerOf(r.Context()).MayList(r.Context(), "own")
		other, _ := CallerOf(r.Context()).MayList(r.Context(), "other")
		if err != nil {
			http.Error(w, "no answer", http.StatusServiceUnavailable)
			return
		}
		if own {
			_, _ = w.Write([]byte("own "))
		}
		if other {
			_, _ = w.Write([]byte("other "))
		}
	})
	handler, err := g.Handler([]Route{
		{Pattern: "GET /probe", Rule: Probe, Handler: show}, {Pattern: "GET /path", Rule: Path, Handler: show},
		{Pattern: "POST /path", Rule: Path, Handler: show}, {Pattern: "GET /rows", Rule: Rows, Handler: show},
		{Pattern: "GET /files", Rule: Files, Handler: show},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		method, path, token string
		status              int
		body, asked         string
	}{
		{"GET", "/probe", "", 200, "", ""},
		{"GET", "/files", "", 200, "", ""},
		{"GET", "/path", "", 401, "is not known", ""},
		{"GET", "/path", "bad", 401, "is not known", ""},
		{"GET", "/path", "of ann", 403, `user \"ann\" may not get /path`, "get /path"},
		{"POST", "/path", "of ann", 403, `may not post /path`, "post /path"},
		{"GET", "/path", "of unlucky", 503, "does not say", "get /path"},
		{"GET", "/path", "of admin", 200, "own other", ""},
		{"GET", "/rows", "", 401, "is not known", ""},
		{"GET", "/rows", "of ann", 200, "own ", "list other"},
		{"GET", "/rows", "of unlucky", 503, "no answer", ""},
		{"GET", "/rows", "of admin", 200, "own other ", ""},
		{"GET", "/elsewhere", "of admin", 404, "", ""},
		{"DELETE", "/rows", "of admin", 405, "", ""},
	} {
		asked = ""
		w, r := httptest.NewRecorder(), httptest.NewRequest(test.method, test.path, nil)
		if test.token != "" {
			r.Header.Set("Authorization", "Bearer "+test.token)
		}
		handler.ServeHTTP(w, r)
		if w.Code != test.status || !strings.Contains(w.Body.String(), test.body) || test.asked != "" && asked != test.asked {
			t.Errorf("%s %s with %q: got %d %s, asked %q", test.method, test.path, test.token, w.Code, w.Body, asked)
		}
	}
	for _, header := range []string{"Impersonate-User", "Impersonate-Group", "Impersonate-Extra-Scopes"} {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/rows", nil)
		r.Header.Set("Authorization", "Bearer of admin")
		r.Header.Set(header, "somebody")
		if handler.ServeHTTP(w, r); w.Code != http.StatusBadRequest {
			t.Errorf("%s: got %d", header, w.Code)
		}
	}
}

// A caller is asked about once, and who may everywhere may in each.
func TestCallerRemembers(t *testing.T) {
	questions := 0
	g := of(func(_ string, a authorizer.Attributes) (bool, error) {
		questions++
		return a.GetNamespace() == Everywhere && a.GetAPIGroup() == "ebbtide.dev" && a.GetResource() == "loans", nil
	})
	c := &Caller{user: &user.DefaultInfo{Name: "ann"}, authorizer: g.Authorizer}
	for _, step := range []struct {
		namespace string
		may       bool
		questions int
	}{{"a", false, 1}, {"a", false, 1}, {Everywhere, true, 2}, {"a", true, 2}, {"b", true, 2}} {
		may, err := c.MayList(t.Context(), step.namespace)
		if err != nil || may != step.may || questions != step.questions {
			t.Errorf("%q: %t, %d questions, %v; want %t, %d", step.namespace, may, questions, err, step.may, step.questions)
		}
	}
	var nobody *Caller
	if may, err := nobody.MayList(t.Context(), "a"); may || err != nil || nobody.Name() != "" {
		t.Error("nobody may something")
	}
}

// Who asks for long is asked for again, with what he showed; what he may is asked anew.
func TestCallerAgain(t *testing.T) {
	shown, may := "ann", true
	g := of(func(string, authorizer.Attributes) (bool, error) { return may, nil })
	known := g.Authenticator
	g.Authenticator = authenticator.RequestFunc(func(r *http.Request) (*authenticator.Response, bool, error) {
		if shown == "" {
			return nil, false, nil
		}
		who, is, err := known.AuthenticateRequest(r)
		if is {
			r.Header.Del("Authorization") // as those for tokens do
			who.User = &user.DefaultInfo{Name: shown}
		}
		return who, is, err
	})
	handler, err := g.Handler([]Route{{Pattern: "GET /rows", Rule: Rows, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		first := CallerOf(r.Context())
		if ok, _ := first.MayList(r.Context(), "own"); !ok {
			t.Error("the caller may not at first")
		}
		may = false
		second, err := first.Again(r.Context())
		if err != nil {
			t.Fatal(err)
		}
		if ok, _ := second.MayList(r.Context(), "own"); ok || second.Name() != "ann" {
			t.Error("what he might is remembered")
		}
		for _, now := range []string{"", "bob"} {
			shown = now
			if _, err := second.Again(r.Context()); err == nil || !strings.Contains(err.Error(), "ann is not known any more") {
				t.Errorf("as %q: %v", now, err)
			}
		}
	})}})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, "/rows", nil)
	r.Header.Set("Authorization", "Bearer of ann")
	handler.ServeHTTP(httptest.NewRecorder(), r)
	var nobody *Caller
	if _, err := nobody.Again(t.Context()); err == nil {
		t.Error("nobody is known")
	}
}
