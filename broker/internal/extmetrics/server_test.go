package extmetrics

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/rest"
	"k8s.io/metrics/pkg/client/external_metrics"
	clocktesting "k8s.io/utils/clock/testing"
)

// delegate is as much of an API server as the server asks: it knows one token, hpa,
// which may list what the allowed function says.
func delegate(t *testing.T, allowed func(a *authorizationv1.ResourceAttributes) bool) (kubeconfig string) {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /apis/authentication.k8s.io/v1/tokenreviews", func(w http.ResponseWriter, r *http.Request) {
		var review authenticationv1.TokenReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			t.Error(err)
		}
		if review.Spec.Token == "hpa" {
			review.Status = authenticationv1.TokenReviewStatus{Authenticated: true, User: authenticationv1.UserInfo{Username: "hpa"}}
		}
		answer(t, w, review)
	})
	mux.HandleFunc("POST /apis/authorization.k8s.io/v1/subjectaccessreviews", func(w http.ResponseWriter, r *http.Request) {
		var review authorizationv1.SubjectAccessReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			t.Error(err)
		}
		a := review.Spec.ResourceAttributes
		review.Status.Allowed = review.Spec.User == "hpa" && (a == nil || allowed(a))
		answer(t, w, review)
	})
	mux.HandleFunc("GET /api/v1/namespaces/kube-system/configmaps", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Query().Get("watch") != "" {
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return
		}
		fmt.Fprint(w, `{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[]}`)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`)
	})
	s := httptest.NewServer(mux)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: c, clusters: [{name: c, cluster: {server: %q}}],
contexts: [{name: c, context: {cluster: c, user: u}}], users: [{name: u, user: {token: broker}}]}`, s.URL)
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return kubeconfig
}

func answer(t *testing.T, w http.ResponseWriter, review any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	if err := json.NewEncoder(w).Encode(review); err != nil {
		t.Error(err)
	}
}

// start serves a board on a free port until the test ends.
func start(t *testing.T, board *Board, allowed func(a *authorizationv1.ResourceAttributes) bool) (url string) {
	t.Helper()
	kubeconfig := delegate(t, allowed)
	// The port is only said to be one, so that there is a certificate; the listener counts.
	o, err := Config{BindAddress: "127.0.0.1:1"}.options(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	if o.SecureServing.Listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	url = "https://" + o.SecureServing.Listener.Addr().String()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- newServer(o, kubeconfig, board).Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	waitReady(t, url, done)
	return url
}

// waitReady polls until the server says that it is ready.
func waitReady(t *testing.T, url string, done chan error) {
	t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	timeout := time.After(time.Minute)
	for {
		if code, _ := get(t, url+"/readyz", "hpa"); code == http.StatusOK {
			return
		}
		select {
		case err := <-done:
			done <- err
			t.Fatalf("the server ended: %v", err)
		case <-timeout:
			t.Fatal("not ready within a minute")
		case <-ticker.C:
		}
	}
}

func get(t *testing.T, url, token string) (code int, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // self-signed, made at the start
	}}
	response, err := client.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(content)
}

const api = "/apis/external.metrics.k8s.io/v1beta1"

// TestServer: an HPA's client gets the numbers of its namespace, with the decision's
// time; nobody gets any without leave of the API server.
func TestServer(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(now)
	board := &Board{Clock: clock, Interval: 30 * time.Second}
	url := start(t, board, func(a *authorizationv1.ResourceAttributes) bool {
		return a.Group == "external.metrics.k8s.io" && a.Verb == "list" && a.Namespace != "secret"
	})
	client, err := external_metrics.NewForConfig(&rest.Config{
		Host: url, BearerToken: "hpa", TLSClientConfig: rest.TLSClientConfig{Insecure: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.NamespacedMetrics("research").List(LendableUnits, labels.Everything()); err == nil || !strings.Contains(err.Error(), "the broker has not made a decision yet") {
		t.Errorf("before the first decision: got %v", err)
	}

	in, plan := town()
	board.Publish(now, Demand(in, plan))
	values := func(namespace, metric, selector string) map[string]int64 {
		t.Helper()
		parsed, err := labels.Parse(selector)
		if err != nil {
			t.Fatal(err)
		}
		list, err := client.NamespacedMetrics(namespace).List(metric, parsed)
		if err != nil {
			t.Fatalf("%s of %s: %v", metric, namespace, err)
		}
		got := map[string]int64{}
		for _, item := range list.Items {
			if item.MetricName != metric || !item.Timestamp.Time.Equal(now) {
				t.Errorf("got %s at %s", item.MetricName, item.Timestamp)
			}
			got[labels.Set(item.MetricLabels).String()] = item.Value.Value()
		}
		return got
	}
	for _, test := range []struct {
		namespace, metric, selector string
		want                        map[string]int64
	}{
		{"research", LendableUnits, "", map[string]int64{"flavor=h100": 4}},
		{"robotics", LendableUnits, "flavor=h100", map[string]int64{"flavor=h100": 5}},
		{"robotics", LendableUnits, "flavor=a100", map[string]int64{}},
		{"research", LoanUnits, "", map[string]int64{"flavor=h100,state=Active": 4, "flavor=h100,state=Reclaiming": 0}},
		{"research", LoanUnits, "state=Active", map[string]int64{"flavor=h100,state=Active": 4}},
		{"research", WaitingJobs, "queue=default", map[string]int64{"queue=default": 1}},
		{"research", WaitingUnits, "", map[string]int64{"flavor=h100,queue=default": 8, "flavor=h100,queue=night": 0}},
		{"elsewhere", WaitingJobs, "", map[string]int64{}},
	} {
		if diff := cmp.Diff(test.want, values(test.namespace, test.metric, test.selector)); diff != "" {
			t.Errorf("%s{%s} of %s (-want +got):\n%s", test.metric, test.selector, test.namespace, diff)
		}
	}

	// Decisions have stopped.
	for _, later := range []time.Duration{90 * time.Second, 90*time.Second + 1} {
		clock.SetTime(now.Add(later))
		list, err := client.NamespacedMetrics("research").List(LendableUnits, labels.Everything())
		if later == 90*time.Second && (err != nil || len(list.Items) != 1) {
			t.Errorf("after %s: got %v, %v", later, list, err)
		}
		if later > 90*time.Second && (!apierrors.IsServiceUnavailable(err) || !strings.Contains(err.Error(), "the broker's last decision is of 2026-11-21T09:00:00Z, more than 1m30s ago")) {
			t.Errorf("after %s: got %v, %v", later, list, err)
		}
	}

	for _, test := range []struct {
		name, path, token string
		code              int
		body              string
	}{
		{"an unknown metric", api + "/namespaces/research/other", "hpa", 404, "other"},
		{"nobody", api + "/namespaces/research/" + LendableUnits, "", 403, "forbidden"},
		{"a stranger", api + "/namespaces/research/" + LendableUnits, "guess", 401, "Unauthorized"},
		{"not one's namespace", api + "/namespaces/secret/" + LendableUnits, "hpa", 403, "forbidden"},
		{"discovery", api, "hpa", 200, LendableUnits},
	} {
		if code, body := get(t, url+test.path, test.token); code != test.code || !strings.Contains(body, test.body) {
			t.Errorf("%s: got %d %s, want %d with %q", test.name, code, body, test.code, test.body)
		}
	}
}

func TestConfig(t *testing.T) {
	for _, test := range []struct {
		config Config
		want   string
	}{
		{Config{}, ""},
		{Config{BindAddress: ":6443"}, ""},
		{Config{BindAddress: "[::]:6443", CertFile: "/c", KeyFile: "/k"}, ""},
		{Config{CertFile: "/c"}, `externalMetrics.certFile: Invalid value: "/c": must be set together with keyFile`},
		{Config{BindAddress: "6443"}, `externalMetrics.bindAddress: Invalid value: "6443": must be host:port`},
		{Config{BindAddress: ":0"}, `externalMetrics.bindAddress: Invalid value: ":0": must have a port from 1 to 65535`},
		{Config{BindAddress: ":https"}, `externalMetrics.bindAddress: Invalid value: ":https": must have a port from 1 to 65535`},
		{Config{BindAddress: "localhost:6443"}, `externalMetrics.bindAddress: Invalid value: "localhost:6443": must have an IP address as its host, or none`},
	} {
		got := ""
		if err := test.config.Validate(field.NewPath("externalMetrics")).ToAggregate(); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%+v: got %q, want %q", test.config, got, test.want)
		}
	}
	if _, err := NewServer(Config{}, "", &Board{}); err == nil {
		t.Error("a server without an address")
	}
	s, err := NewServer(Config{BindAddress: "127.0.0.1:6443"}, "", &Board{})
	if err != nil || s == nil {
		t.Errorf("got %v, %v", s, err)
	}
}
