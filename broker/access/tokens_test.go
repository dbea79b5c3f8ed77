package access

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/client-go/rest"

	"github.com/ebbtide/ebbtide/broker/access/terms"
)

// reviews is an API server that knows two tokens, and answers nothing else but by status.
type reviews struct {
	mu     sync.Mutex
	status int
	asked  int
}

func (v *reviews) answerWith(status int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.status = status
}

func (v *reviews) questions() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.asked
}

func (v *reviews) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasSuffix(r.URL.Path, "/tokenreviews") {
		http.Error(w, "{}", http.StatusForbidden)
		return
	}
	v.mu.Lock()
	status := v.status
	v.asked++
	v.mu.Unlock()
	if status != http.StatusOK {
		http.Error(w, "{}", status)
		return
	}
	var review authenticationv1.TokenReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	said := &review.Status
	switch ours := slices.Contains(review.Spec.Audiences, terms.Audience); {
	case review.Spec.Token == "for-ebbtide" && ours:
		said.Authenticated, said.Audiences = true, review.Spec.Audiences
	case review.Spec.Token == "for-the-api-server" && len(review.Spec.Audiences) == 0:
		said.Authenticated = true
	case review.Spec.Token == "of-any-audience":
		said.Authenticated = true // as of an API server that knows nothing of audiences
	default:
		said.Error = "invalid bearer token"
	}
	said.User = authenticationv1.UserInfo{Username: "ann", UID: "1", Groups: []string{"people"}, Extra: map[string]authenticationv1.ExtraValue{"scopes": {"a"}}}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(&review)
}

// known is a route of a Guard that asks an API server of that kind.
func known(t *testing.T) (*reviews, func(token string) *httptest.ResponseRecorder) {
	t.Helper()
	v := &reviews{status: http.StatusOK}
	api := httptest.NewServer(v)
	t.Cleanup(api.Close)
	g, err := New(t.Context(), &rest.Config{Host: api.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}}, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	handler, err := g.Handler([]Route{{Pattern: "GET /rows", Rule: Rows, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := CallerOf(r.Context()).user
		_, _ = w.Write([]byte(who.GetName() + " " + who.GetUID() + " " + strings.Join(who.GetGroups(), ",") + " " + strings.Join(who.GetExtra()["scopes"], ",")))
	})}})
	if err != nil {
		t.Fatal(err)
	}
	return v, func(token string) *httptest.ResponseRecorder {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/rows", nil)
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		handler.ServeHTTP(w, r)
		return w
	}
}

// A token is good for the API server or for Ebbtide. Who shows another is told so; and where
// the API server says nothing, that is said, and not that the token is bad.
func TestTokens(t *testing.T) {
	api, ask := known(t)
	for _, test := range []struct {
		token  string
		api    int
		status int
		body   string
	}{
		{"for-ebbtide", 200, 200, "ann 1 people,system:authenticated a"},
		{"for-the-api-server", 200, 200, "ann 1 people,system:authenticated a"},
		{"of-any-audience", 200, 200, "ann"},
		{"", 200, 401, "is not known"},
		{"another", 200, 401, "is not known"},
		{"another", 500, 503, "does not say who asks"},
		{"another", 429, 503, "does not say who asks"},
		{"another", 403, 503, "does not say who asks"},
		{"another", 200, 401, "is not known"},
		{"", 500, 401, "is not known"},
		{"for-ebbtide", 500, 200, "ann"},
	} {
		api.answerWith(test.api)
		w := ask(test.token)
		if w.Code != test.status || !strings.Contains(w.Body.String(), test.body) {
			t.Errorf("%q where the API server answers %d: %d %s, want %d %s", test.token, test.api, w.Code, w.Body, test.status, test.body)
		}
		if w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%q: a browser may take the answer for something else", test.token)
		}
		if unknown := w.Header().Get("WWW-Authenticate") != ""; unknown != (test.status == http.StatusUnauthorized) {
			t.Errorf("%q where the API server answers %d: a browser is asked for another token: %t", test.token, test.api, unknown)
		}
	}
}

// An API server that is not there is asked no more often than it is to be, and nothing of it is
// remembered.
func TestTokensOfAnAPIServerThatIsAway(t *testing.T) {
	api, ask := known(t)
	api.answerWith(http.StatusInternalServerError)
	if w := ask("for-ebbtide"); w.Code != http.StatusServiceUnavailable {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if n := api.questions(); n > 2*reviewTries {
		t.Errorf("it was asked %d times", n)
	}
	api.answerWith(http.StatusOK)
	if w := ask("for-ebbtide"); w.Code != http.StatusOK {
		t.Errorf("when it is back: %d %s", w.Code, w.Body)
	}
	before := api.questions()
	if w := ask("for-ebbtide"); w.Code != http.StatusOK || api.questions() > before+1 {
		t.Errorf("who is known is asked for again: %d, %d questions", w.Code, api.questions()-before)
	}
}
