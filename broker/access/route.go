package access

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/go-logr/logr"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/ebbtide/ebbtide/broker/access/terms"
)

// Rule says who may use a route. There is no route without one.
type Rule int

// The rules.
const (
	// Probe: anybody, for kubelets, which show nothing. What it serves must say no more
	// than whether the process lives and is ready.
	Probe Rule = iota + 1
	// Path: who may the method, in small letters, on the URL's path, which is a
	// non-resource URL to RBAC.
	Path
	// Rows: who is known. What it serves asks CallerOf what he may see, and shows
	// no more than that.
	Rows
	// Files: anybody. What it serves stands in the program and is the same for all: a page
	// that has nothing to show until somebody is known.
	Files
)

// String is the rule's name.
func (r Rule) String() string {
	switch r {
	case Probe:
		return "Probe"
	case Path:
		return "Path"
	case Rows:
		return "Rows"
	case Files:
		return "Files"
	}
	return "none"
}

// Route is what is served, and to whom.
type Route struct {
	// Pattern is one of http.ServeMux, with its method: "GET /ledger".
	Pattern string
	Rule    Rule
	Handler http.Handler
}

// maxBody bounds what is read of a request.
const maxBody = 64 << 10

// Guard knows who asks and what he may. New makes one that asks the API server.
type Guard struct {
	Authenticator authenticator.Request
	Authorizer    authorizer.Authorizer
	Log           logr.Logger
}

// Handler serves the routes, each by its rule. A route without a rule, or that does not say
// its method, is an error, and nothing is served then.
func (g *Guard) Handler(routes []Route) (http.Handler, error) {
	mux := http.NewServeMux()
	for _, r := range routes {
		method, _, found := strings.Cut(r.Pattern, " ")
		if !found || method != strings.ToUpper(method) {
			return nil, fmt.Errorf("route %q: the pattern must begin with a method", r.Pattern)
		}
		if r.Handler == nil {
			return nil, fmt.Errorf("route %q: there is nothing to serve", r.Pattern)
		}
		var served http.Handler
		switch r.Rule {
		case Probe, Files:
			served = r.Handler
		case Path:
			served = g.known(g.allowed(r.Handler))
		case Rows:
			served = g.known(r.Handler)
		default:
			return nil, fmt.Errorf("route %q: there is no rule who may use it", r.Pattern)
		}
		mux.Handle(r.Pattern, served)
	}
	return http.MaxBytesHandler(literal(mux), maxBody), nil
}

// literal has no answer taken for anything else than it says that it is.
func literal(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}

// known serves who shows who he is.
func (g *Guard) known(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name := range r.Header {
			if strings.HasPrefix(name, "Impersonate-") {
				terms.Refuse(w, http.StatusBadRequest, "nobody can be impersonated here: ask as yourself")
				return
			}
		}
		token := r.Header.Get("Authorization")
		who, known, err := g.Authenticator.AuthenticateRequest(r)
		if errors.Is(err, errUnanswered) {
			g.Log.Error(err, "The API server does not say who asks", "path", r.URL.Path)
			terms.Refuse(w, http.StatusServiceUnavailable, "the API server does not say who asks; ask again in a moment")
			return
		}
		if err != nil || !known {
			if err != nil {
				g.Log.V(1).Info("A caller was not recognized", "path", r.URL.Path, "from", r.RemoteAddr, "reason", err.Error())
			}
			w.Header().Set("WWW-Authenticate", "Bearer")
			terms.Refuse(w, http.StatusUnauthorized, "who asks is not known: show a token or a client certificate that the API server accepts")
			return
		}
		// Whoever serves must not see, nor pass on, what somebody shows of himself.
		r.Header.Del("Authorization")
		caller := &Caller{user: who.User, authorizer: g.Authorizer}
		caller.again = func(ctx context.Context) error { return g.again(r.Clone(ctx), token, caller.Name()) }
		next.ServeHTTP(w, r.WithContext(with(r.Context(), caller)))
	})
}

// again reports whether a request would still be one's, by the name that he had.
func (g *Guard) again(r *http.Request, token, name string) error {
	if token != "" {
		r.Header.Set("Authorization", token)
	}
	who, known, err := g.Authenticator.AuthenticateRequest(r)
	switch {
	case err != nil:
		return fmt.Errorf("ask the API server who %s is: %w", name, err)
	case !known || who.User.GetName() != name:
		return fmt.Errorf("%s is not known any more", name)
	}
	return nil
}

// allowed serves who may the request's method on its path.
func (g *Guard) allowed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller := CallerOf(r.Context())
		may, err := caller.mayPath(r.Context(), strings.ToLower(r.Method), r.URL.Path)
		switch {
		case err != nil:
			g.Log.Error(err, "The API server does not say who may ask", "path", r.URL.Path)
			terms.Refuse(w, http.StatusServiceUnavailable, "the API server does not say who may ask; ask again in a moment")
		case !may:
			terms.Refuse(w, http.StatusForbidden, fmt.Sprintf("user %q may not %s %s", caller.Name(), strings.ToLower(r.Method), r.URL.Path))
		default:
			next.ServeHTTP(w, r)
		}
	})
}
