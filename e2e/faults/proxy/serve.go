package proxy

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// front is the proxy of one client.
type front struct {
	rig       *Rig
	client    string
	to        *url.URL
	transport *http.Transport
}

func discard() *log.Logger { return log.New(io.Discard, "", 0) }

// ServeHTTP passes a call on, or does to it what the rules say.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := f.call(r)
	hit := f.rig.arrive(c)
	if hit == nil {
		f.pass(w, r, c, nil)
		return
	}
	if hit.Fault != DropReply {
		f.rig.journal.add(hit.entry)
	}
	switch hit.Fault {
	case Delay:
		if wait(r, hit.For) {
			f.pass(w, r, c, nil)
		}
	case Status:
		refuse(w, hit.Status, hit.For)
	case Refuse:
		hangUp(w)
	case DropReply:
		f.drop(w, r, hit)
	case OldList:
		f.oldList(w, r, c, hit.Revision)
	case ReplayWatch:
		query := r.URL.Query()
		query.Set("resourceVersion", hit.Revision)
		query.Del("sendInitialEvents")
		query.Del("resourceVersionMatch")
		r.URL.RawQuery = query.Encode()
		f.pass(w, r, c, nil)
	case CutWatch, HoldWatch:
		f.pass(w, r, c, &hit.Rule)
	}
}

// call tells what a request is about.
func (f *front) call(r *http.Request) call {
	c := call{client: f.client, verb: r.Method, resource: r.URL.Path}
	info, err := f.rig.resolve.NewRequestInfo(r)
	if err != nil || !info.IsResourceRequest {
		return c
	}
	c.verb, c.resource, c.name = info.Verb, info.Resource, info.Name
	query := r.URL.Query()
	c.streams = c.verb == "watch" && query.Get("sendInitialEvents") == "true"
	c.lenient = c.verb == "list" && query.Get("resourceVersion") == "0"
	if info.Subresource != "" {
		c.resource += "/" + info.Subresource
	}
	if info.Namespace != "" && info.Name != "" {
		c.name = info.Namespace + "/" + info.Name
	}
	return c
}

// ask puts the request to the API server.
func (f *front) ask(r *http.Request) (*http.Response, error) {
	out := r.Clone(r.Context())
	out.URL.Scheme, out.URL.Host = f.to.Scheme, f.to.Host
	out.RequestURI, out.Host = "", f.to.Host
	for _, hop := range []string{"Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade"} {
		out.Header.Del(hop)
	}
	return f.transport.RoundTrip(out)
}

// pass passes a call on, and its answer back. Rule strikes a watch from its beginning.
func (f *front) pass(w http.ResponseWriter, r *http.Request, c call, rule *Rule) {
	answer, err := f.ask(r)
	if err != nil {
		hangUp(w) // as the API server's own absence would look
		return
	}
	defer answer.Body.Close()
	head := w.Header()
	for name, values := range answer.Header {
		head[name] = values
	}
	w.WriteHeader(answer.StatusCode)
	if c.verb == "watch" && answer.StatusCode == http.StatusOK {
		f.rig.stream(w, answer.Body, c, rule)
		return
	}
	if _, err := io.Copy(w, answer.Body); err != nil {
		panic(http.ErrAbortHandler) // half an answer must not look like a whole one
	}
}

// drop lets the API server answer, to nobody.
func (f *front) drop(w http.ResponseWriter, r *http.Request, hit *hit) {
	defer hangUp(w)
	answer, err := f.ask(r)
	if err != nil {
		f.rig.journal.add(hit.entry)
		return
	}
	defer answer.Body.Close()
	if hit.entry.Verb != "watch" { // a watch's answer never ends
		_, _ = io.Copy(io.Discard, answer.Body) // only that it was given counts
	}
	hit.entry.Answer = answer.StatusCode
	f.rig.journal.add(hit.entry)
}

// oldList asks for a list as it was. One that is streamed comes from what the API server
// has now; it refuses those, and the client asks for a list of the older kind.
func (f *front) oldList(w http.ResponseWriter, r *http.Request, c call, revision string) {
	if c.streams {
		refuse(w, http.StatusUnprocessableEntity, 0)
		return
	}
	query := r.URL.Query()
	query.Set("resourceVersion", revision)
	query.Set("resourceVersionMatch", string(metav1.ResourceVersionMatchExact))
	r.URL.RawQuery = query.Encode()
	f.pass(w, r, c, nil)
}

// refuse answers as the API server does when it says no.
func refuse(w http.ResponseWriter, code int, after time.Duration) {
	status := metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
		Status:   metav1.StatusFailure, Code: int32(code), Reason: metav1.StatusReason(reasons[code]),
		Message: fmt.Sprintf("the fault proxy answers %d", code),
	}
	if code == http.StatusTooManyRequests {
		seconds := max(1, int(after.Round(time.Second)/time.Second))
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
		status.Details = &metav1.StatusDetails{RetryAfterSeconds: int32(seconds)}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(status) // to whoever still listens
}

// hangUp ends the connection without a word.
func hangUp(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	_ = conn.Close()
}

// wait reports whether the caller is still there after d.
func wait(r *http.Request, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.Context().Done():
		return false
	}
}
