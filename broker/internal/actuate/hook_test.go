package actuate

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

func hooked(ip, at string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: "tune-0", Annotations: map[string]string{v1alpha1.AnnotationReclaimHook: at}},
		Status:     corev1.PodStatus{PodIP: ip},
	}
}

func TestHookCallsThePodAndNobodyElse(t *testing.T) {
	by := time.Date(2026, 3, 1, 12, 0, 30, 0, time.UTC)
	calls := make(chan Notice, 10)
	var elsewhere int
	mux := http.NewServeMux()
	mux.HandleFunc("POST /checkpoint", func(w http.ResponseWriter, r *http.Request) {
		var n Notice
		if err := json.NewDecoder(r.Body).Decode(&n); err != nil {
			t.Error(err)
		}
		calls <- n
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/elsewhere", func(http.ResponseWriter, *http.Request) { elsewhere++ })
	server := httptest.NewServer(mux)
	defer server.Close()
	ip, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	var h Hooks
	h.init()
	h.client.Timeout = 0 // a pod that takes too long is none of this
	h.Call(t.Context(), hooked(ip, ":"+port+"/checkpoint"), by)
	h.Call(t.Context(), hooked(ip, ""), by)
	h.Wait()
	server.Close() // when all calls are answered
	close(calls)
	var got []Notice
	for n := range calls {
		got = append(got, n)
	}
	if diff := cmp.Diff([]Notice{{by, "research", "tune-0"}}, got); diff != "" || elsewhere > 0 {
		t.Errorf("%d calls elsewhere, notices (-want +got):\n%s", elsewhere, diff)
	}
	(*Hooks)(nil).Call(t.Context(), hooked(ip, ":"+port+"/checkpoint"), by)
}

func TestHookURL(t *testing.T) {
	host := hooked("10.0.0.7", ":8080/x")
	host.Spec.HostNetwork = true
	for name, tc := range map[string]struct {
		pod  *corev1.Pod
		want string
	}{
		"a path":            {hooked("10.0.0.7", ":8080/checkpoint/now"), "http://10.0.0.7:8080/checkpoint/now"},
		"no path":           {hooked("fd00::7", ":8080/"), "http://[fd00::7]:8080/"},
		"a host":            {pod: hooked("10.0.0.7", "example.com:80/")},
		"a URL":             {pod: hooked("10.0.0.7", "http://example.com/")},
		"a user":            {pod: hooked("10.0.0.7", ":80@example.com/")},
		"no port":           {pod: hooked("10.0.0.7", ":/x")},
		"port 0":            {pod: hooked("10.0.0.7", ":0/x")},
		"port 65536":        {pod: hooked("10.0.0.7", ":65536/x")},
		"a line break":      {pod: hooked("10.0.0.7", ":80/x\r\nHost: y")},
		"no address":        {pod: hooked("", ":80/x")},
		"the node's own IP": {pod: host},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := hookURL(tc.pod, tc.pod.Annotations[v1alpha1.AnnotationReclaimHook])
			if got != tc.want || (err == nil) != (tc.want != "") {
				t.Errorf("%q, %v, want %q", got, err, tc.want)
			}
		})
	}
}
