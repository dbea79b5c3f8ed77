package kubemetrics

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/signal"
)

var _ signal.ValueReader = (*Reader)(nil)

var now = time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)

// apiServer is as much of an API server as the clients ask: answers by path and query,
// and a status of 404 for all else.
type apiServer struct {
	*httptest.Server
	mu      sync.Mutex
	answers map[string]answer
	asked   []string
}

type answer struct {
	code int
	body string
}

func serve(t *testing.T) *apiServer {
	t.Helper()
	s := &apiServer{answers: map[string]answer{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		query := r.URL.Query()
		query.Del("timeout")
		url := r.URL.Path
		if encoded := query.Encode(); encoded != "" {
			url += "?" + encoded
		}
		s.asked = append(s.asked, url)
		a, ok := s.answers[url]
		if !ok {
			a = answer{404, status(404, "NotFound", "the server could not find the requested resource")}
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(a.code)
		fmt.Fprint(w, a.body)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *apiServer) set(url string, code int, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[url] = answer{code, body}
}

func status(code int, reason, message string) string {
	return fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","status":"Failure","code":%d,"reason":%q,"message":%q}`, code, reason, message)
}

// groups serves discovery of both metrics APIs, the custom one at the given version.
func (s *apiServer) groups(version string) {
	s.set("/api", 200, `{"kind":"APIVersions","versions":["v1"]}`)
	s.set("/apis", 200, fmt.Sprintf(`{"kind":"APIGroupList","apiVersion":"v1","groups":[
		{"name":"custom.metrics.k8s.io","versions":[{"groupVersion":"custom.metrics.k8s.io/%s","version":"%[1]s"}],"preferredVersion":{"groupVersion":"custom.metrics.k8s.io/%[1]s","version":"%[1]s"}},
		{"name":"external.metrics.k8s.io","versions":[{"groupVersion":"external.metrics.k8s.io/v1beta1","version":"v1beta1"}],"preferredVersion":{"groupVersion":"external.metrics.k8s.io/v1beta1","version":"v1beta1"}}]}`, version))
}

func reader(t *testing.T, s *apiServer) *Reader {
	t.Helper()
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{{Version: "v1"}, {Group: "apps", Version: "v1"}})
	mapper.Add(schema.GroupVersionKind{Version: "v1", Kind: "Pod"}, meta.RESTScopeNamespace)
	mapper.Add(schema.GroupVersionKind{Version: "v1", Kind: "Service"}, meta.RESTScopeNamespace)
	mapper.Add(schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}, meta.RESTScopeRoot)
	mapper.Add(schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}, meta.RESTScopeNamespace)
	r, err := New(&rest.Config{Host: s.URL}, mapper, time.Minute, clocktesting.NewFakePassiveClock(now))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// value is one item of an answer; age is how old it is.
func value(object, v string, age time.Duration) string {
	return fmt.Sprintf(`{"describedObject":{"kind":"Pod","namespace":"serving","name":%q},"metric":{"name":"m"},"metricName":"m","timestamp":%q,"value":%q}`,
		object, now.Add(-age).Format(time.RFC3339), v)
}

func list(kind, version string, items ...string) string {
	return fmt.Sprintf(`{"kind":%q,"apiVersion":%q,"items":[%s]}`, kind, version, strings.Join(items, ","))
}

const customURL = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/serving/"

func TestPods(t *testing.T) {
	const url = customURL + "pods/%2A/gpu_utilization"
	ten := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"}
	var nine []string
	for _, pod := range ten[:9] {
		nine = append(nine, value(pod, "10", time.Second))
	}
	for name, test := range map[string]struct {
		pods  []string
		items []string
		want  signal.Reading
		err   string
	}{
		"the mean, as old as the oldest": {
			pods:  []string{"a", "b"},
			items: []string{value("a", "500m", 9*time.Second), value("b", "2", time.Second)},
			want:  signal.Reading{Value: 1.25, At: now.Add(-9 * time.Second)},
		},
		"pods of others do not count": {
			pods:  []string{"a"},
			items: []string{value("a", "3", 0), value("borrower", "100", time.Hour)},
			want:  signal.Reading{Value: 3, At: now},
		},
		"two series of a pod: the highest": {
			pods:  []string{"a"},
			items: []string{value("a", "3", 0), value("a", "1", time.Second)},
			want:  signal.Reading{Value: 3, At: now.Add(-time.Second)},
		},
		"at the quorum the missing one counts as the highest": {
			pods:  ten,
			items: append(nine[1:9:9], value("a", "100", time.Second)),
			want:  signal.Reading{Value: (8*10 + 100 + 100) / 10.0, At: now.Add(-time.Second), Silent: 1},
		},
		"below the quorum": {
			pods: ten, items: nine[:8],
			err: `metric "gpu_utilization": only 8 of 10 ready pods have a value`,
		},
		"none has a value": {
			pods: []string{"a"}, items: nil,
			err: `metric "gpu_utilization": none of 1 ready pods has a value`,
		},
		"what cannot be true is missing": {
			pods:  []string{"a", "b", "c", "d"},
			items: []string{value("a", "-1", 0), value("b", "2P", 0), value("c", "1", -time.Minute), value("d", "1", 0)},
			err:   `metric "gpu_utilization": only 1 of 4 ready pods have a value`,
		},
		"no pod": {err: `metric "gpu_utilization": no pod of the target is ready`},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			s.groups("v1beta2")
			s.set(strings.ReplaceAll(url, "%2A", "*"), 200, list("MetricValueList", "custom.metrics.k8s.io/v1beta2", test.items...))
			got, err := reader(t, s).Read(t.Context(), "serving",
				signal.Spec{Name: "spec.signals[0]", Kind: signal.KindPods, Metric: "gpu_utilization", Pods: test.pods})
			check(t, got, err, test.want, test.err)
		})
	}
}

func check(t *testing.T, got signal.Reading, err error, want signal.Reading, wantErr string) {
	t.Helper()
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != wantErr {
		t.Errorf("got error %q, want %q", text, wantErr)
	}
	if diff := cmp.Diff(want, got); err == nil && diff != "" {
		t.Errorf("reading (-want +got):\n%s", diff)
	}
}

func TestObject(t *testing.T) {
	service := v1alpha1.TargetRef{APIVersion: "v1", Kind: "Service", Name: "chat"}
	found := func(v string) string {
		return list("MetricValueList", "custom.metrics.k8s.io/v1beta2", value("chat", v, 4*time.Second))
	}
	four := signal.Reading{Value: 4, At: now.Add(-4 * time.Second)}
	for name, test := range map[string]struct {
		object v1alpha1.TargetRef
		url    string
		body   string
		want   signal.Reading
		err    string
	}{
		"of a service": {object: service, url: customURL + "services/chat/rps?metricLabelSelector=code%3D200", body: found("4"), want: four},
		"of a deployment": {
			object: v1alpha1.TargetRef{APIVersion: "apps/v1", Kind: "Deployment", Name: "chat"},
			url:    customURL + "deployments.apps/chat/rps?metricLabelSelector=code%3D200", body: found("4"), want: four,
		},
		"of the namespace": {
			object: v1alpha1.TargetRef{APIVersion: "v1", Kind: "Namespace", Name: "serving"},
			url:    "/apis/custom.metrics.k8s.io/v1beta2/namespaces/serving/metrics/rps?metricLabelSelector=code%3D200", body: found("4"), want: four,
		},
		"of another namespace": {
			object: v1alpha1.TargetRef{APIVersion: "v1", Kind: "Namespace", Name: "secret"},
			err:    "spec.signals[0].object.object.name: must be the policy's namespace, serving",
		},
		"of an unknown kind": {
			object: v1alpha1.TargetRef{APIVersion: "x.io/v1", Kind: "Thing", Name: "chat"},
			err:    `metric "rps": the cluster has no kind Thing.x.io`,
		},
		"a name that leaves the namespace": {
			object: v1alpha1.TargetRef{APIVersion: "v1", Kind: "Service", Name: "../../nodes"},
			err:    "spec.signals[0]: the name \"../../nodes\" may not contain '/'",
		},
		"no value": {object: service, err: `metric "rps": the custom metrics API has no value of it`},
		"a value that cannot be true": {
			object: service, url: customURL + "services/chat/rps?metricLabelSelector=code%3D200", body: found("-1"),
			err: `metric "rps" of Service chat: the value -1 cannot be true`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			s.groups("v1beta2")
			if test.url != "" {
				s.set(test.url, 200, test.body)
			}
			got, err := reader(t, s).Read(t.Context(), "serving", signal.Spec{
				Name: "spec.signals[0]", Kind: signal.KindObject, Metric: "rps", Object: test.object,
				MatchLabels: map[string]string{"code": "200"},
			})
			check(t, got, err, test.want, test.err)
		})
	}
}

func TestExternal(t *testing.T) {
	const url = "/apis/external.metrics.k8s.io/v1beta1/namespaces/serving/queue?labelSelector=name%3Dinference"
	for name, test := range map[string]struct {
		items []string
		want  signal.Reading
		err   string
	}{
		"the sum": {
			items: []string{value("", "3", time.Second), value("", "1500m", 7*time.Second)},
			want:  signal.Reading{Value: 4.5, At: now.Add(-7 * time.Second)},
		},
		"zero is a value":       {items: []string{value("", "0", 0)}, want: signal.Reading{At: now}},
		"no series is no value": {err: `metric "queue": the external metrics API has no value of it`},
		"one cannot be true": {
			items: []string{value("", "3", 0), value("", "9223372036854775794", 0)},
			err:   `metric "queue": the value 9223372036854775794 cannot be true`,
		},
		"the sum cannot be true": {
			items: []string{value("", "900T", 0), value("", "900T", 0)},
			err:   `metric "queue": the sum 1.8e+15 cannot be true`,
		},
		"from the future": {items: []string{value("", "3", -6*time.Second)}, err: `metric "queue": the value is from the future`},
		"without a time": {
			items: []string{`{"metricName":"queue","timestamp":null,"value":"3"}`},
			err:   `metric "queue": the value has no timestamp, so its age is not known`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			s.groups("v1beta2")
			s.set(url, 200, list("ExternalMetricValueList", "external.metrics.k8s.io/v1beta1", test.items...))
			got, err := reader(t, s).Read(t.Context(), "serving", signal.Spec{
				Kind: signal.KindExternal, Metric: "queue", MatchLabels: map[string]string{"name": "inference"},
			})
			check(t, got, err, test.want, test.err)
		})
	}
}

// TestLongAnswer: an adapter's answer is not read without bound, however sound it is.
func TestLongAnswer(t *testing.T) {
	s := serve(t)
	s.groups("v1beta2")
	answer := list("ExternalMetricValueList", "external.metrics.k8s.io/v1beta1", value("", "3", 0))
	s.set("/apis/external.metrics.k8s.io/v1beta1/namespaces/serving/queue", 200, answer+strings.Repeat(" ", 9<<20))
	got, err := reader(t, s).Read(t.Context(), "serving", signal.Spec{Kind: signal.KindExternal, Metric: "queue"})
	check(t, got, err, signal.Reading{}, `metric "queue": the external metrics API does not answer`)
}

// TestReasons: an API that is not there, one that is down and a metric that nobody has
// are told apart, for both APIs, and no text has an address in it.
func TestReasons(t *testing.T) {
	const podsURL, externalURL = customURL + "pods/*/m", "/apis/external.metrics.k8s.io/v1beta1/namespaces/serving/m"
	none := `{"kind":"APIGroupList","apiVersion":"v1","groups":[{"name":"apps","versions":[{"groupVersion":"apps/v1","version":"v1"}]}]}`
	stale := `{"kind":"APIGroupList","apiVersion":"v1","groups":[{"name":"custom.metrics.k8s.io","versions":[]},{"name":"external.metrics.k8s.io","versions":[]}]}`
	for name, test := range map[string]struct {
		set  func(s *apiServer)
		want string
	}{
		"not served":  {func(s *apiServer) { s.set("/apis", 200, none) }, `metric "m": the %s metrics API is not served: no metrics adapter is installed`},
		"stale":       {func(s *apiServer) { s.set("/apis", 200, stale) }, `metric "m": the %s metrics API does not answer`},
		"no such one": {func(*apiServer) {}, `metric "m": the %s metrics API has no value of it`},
		"down": {func(s *apiServer) {
			s.set(podsURL, 503, status(503, "ServiceUnavailable", "dial tcp 10.0.0.7:443: refused"))
			s.set(externalURL, 503, status(503, "ServiceUnavailable", "dial tcp 10.0.0.7:443: refused"))
		}, `metric "m": the %s metrics API does not answer`},
		"forbidden": {func(s *apiServer) {
			s.set(podsURL, 403, status(403, "Forbidden", "no"))
			s.set(externalURL, 403, status(403, "Forbidden", "no"))
		}, `metric "m": the broker may not read the %s metrics API`},
		"refused": {func(s *apiServer) {
			s.set(podsURL, 400, status(400, "BadRequest", "only equality can be asked for"))
			s.set(externalURL, 400, status(400, "BadRequest", "only equality can be asked for"))
		}, `metric "m": the %s metrics API refuses the question: only equality can be asked for`},
		"the API server is gone": {func(s *apiServer) { s.Close() }, `metric "m": the %s metrics API does not answer`},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			s.groups("v1beta2")
			test.set(s)
			r := reader(t, s)
			for kind, api := range map[signal.Kind]string{signal.KindPods: "custom", signal.KindExternal: "external"} {
				_, err := r.Read(t.Context(), "serving", signal.Spec{Kind: kind, Metric: "m", Pods: []string{"a"}})
				if want := fmt.Sprintf(test.want, api); err == nil || err.Error() != want {
					t.Errorf("%s: got %v, want %s", api, err, want)
				}
			}
		})
	}
}

// TestAdapterOfAnotherVersion: an adapter that comes back with another version of the
// API is asked in that one.
func TestAdapterOfAnotherVersion(t *testing.T) {
	s := serve(t)
	s.groups("v1beta2")
	s.set(customURL+"pods/*/m", 200, list("MetricValueList", "custom.metrics.k8s.io/v1beta2", value("a", "1", 0)))
	r := reader(t, s)
	spec := signal.Spec{Kind: signal.KindPods, Metric: "m", Pods: []string{"a"}}
	if got, err := r.Read(t.Context(), "serving", spec); err != nil || got.Value != 1 {
		t.Fatalf("got %v, %v", got, err)
	}
	s.groups("v1beta1")
	s.set(customURL+"pods/*/m", 404, status(404, "NotFound", "the server could not find the requested resource"))
	s.set("/apis/custom.metrics.k8s.io/v1beta1/namespaces/serving/pods/*/m", 200,
		list("MetricValueList", "custom.metrics.k8s.io/v1beta1", value("a", "2", 0)))
	if _, err := r.Read(t.Context(), "serving", spec); err == nil {
		t.Fatal("the old version has still a value")
	}
	if got, err := r.Read(t.Context(), "serving", spec); err != nil || got.Value != 2 {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestOtherKindsAndEndedContexts(t *testing.T) {
	s := serve(t)
	r := reader(t, s)
	if _, err := r.Read(t.Context(), "serving", signal.Spec{Kind: signal.KindRedis}); err == nil {
		t.Error("a Redis list is in a metrics API")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Read(ctx, "serving", signal.Spec{Kind: signal.KindExternal, Metric: "m"}); err == nil {
		t.Error("read after the context ended")
	}
	if len(s.asked) > 0 {
		t.Errorf("asked %v", s.asked)
	}
	if _, err := New(&rest.Config{Host: s.URL}, nil, 0, nil); err == nil || err.Error() != "read metrics APIs: the timeout must be above 0s, not 0s" {
		t.Errorf("no timeout: got %v", err)
	}
}
