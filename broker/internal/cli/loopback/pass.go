package loopback

import (
	"log"
	"net/http"
	"net/http/httputil"
	"slices"
	"strings"

	"github.com/ebbtide/ebbtide/broker/access/terms"
)

// ours serves what a page from here, or somebody at the address bar, asks for.
func ours(port string, next http.Handler) http.Handler {
	hosts := []string{portOf("127.0.0.1", port), portOf("localhost", port)}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !slices.Contains(hosts, strings.ToLower(r.Host)):
			refuse(w, http.StatusForbidden, "this is not "+r.Host+": open http://"+hosts[0]+"/ui/")
		case foreign(r):
			refuse(w, http.StatusForbidden, "another site asks for this: open http://"+hosts[0]+"/ui/ yourself")
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			refuse(w, http.StatusMethodNotAllowed, "the dashboard only reads")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// portOf is a Host header; browsers leave out the port that is usual.
func portOf(name, port string) string {
	if port == "80" {
		return name
	}
	return name + ":" + port
}

// foreign tells whether another site has the browser ask. What browsers do not say, other
// programs need not say either.
func foreign(r *http.Request) bool {
	for _, origin := range r.Header["Origin"] {
		if !strings.EqualFold(origin, "http://"+r.Host) {
			return true
		}
	}
	for _, site := range r.Header["Sec-Fetch-Site"] {
		if site != "same-origin" && site != "none" { // none is the address bar
			return true
		}
	}
	return false
}

// passed are the headers that the broker gets.
var passed = []string{"Accept", "Accept-Encoding", "Authorization", "If-None-Match"}

// pass asks the broker.
func pass(broker http.RoundTripper, heard *news, quiet *log.Logger) http.Handler {
	return &httputil.ReverseProxy{
		Transport: broker, ErrorLog: quiet,
		FlushInterval: -1, // of what is watched, each line when it comes
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme = "https" // a RoundTripper wants one
			r.Out.URL.Host = r.In.Host
			r.Out.Body, r.Out.ContentLength = http.NoBody, 0
			r.Out.Header = http.Header{"User-Agent": {"kubectl-ebbtide"}}
			for _, name := range passed {
				if values := r.In.Header[name]; len(values) > 0 {
					r.Out.Header[name] = slices.Clone(values)
				}
			}
		},
		ModifyResponse: func(*http.Response) error {
			heard.tell(nil)
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() != nil {
				return // who asked has gone
			}
			heard.tell(err)
			// Others of this machine may ask too: they are not told who may not what.
			refuse(w, http.StatusServiceUnavailable, `the broker cannot be reached; "kubectl ebbtide dashboard" says why where it runs`)
		},
	}
}

// refuse answers as the broker does, and nobody keeps the answer.
func refuse(w http.ResponseWriter, status int, text string) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	terms.Refuse(w, status, text)
}
