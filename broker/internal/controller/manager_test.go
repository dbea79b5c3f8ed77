package controller

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// apiServer answers as much as an elected manager asks: discovery, a Lease, which it
// renews until it is deaf, and watches, which never end by themselves. All else hangs.
type apiServer struct {
	*httptest.Server
	deaf     atomic.Bool
	renewals atomic.Int32
	lease    atomic.Pointer[coordinationv1.Lease]
	watches  atomic.Int32 // that have begun
	cut      atomic.Int32 // that the client has ended
	ended    chan struct{}
}

func newAPIServer(t *testing.T) *apiServer {
	t.Helper()
	s := &apiServer{ended: make(chan struct{})}
	s.Server = httptest.NewServer(s)
	t.Cleanup(func() {
		close(s.ended)
		s.Close()
	})
	return s
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch path := r.URL.Path; {
	case strings.Contains(path, "/leases") && !s.deaf.Load():
		s.elect(w, r)
	case path == "/api":
		answer(w, metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"}})
	case path == "/apis":
		answer(w, metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}})
	case path == "/api/v1":
		answer(w, metav1.APIResourceList{
			TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: "v1",
			APIResources: []metav1.APIResource{{Name: "pods", Kind: "Pod", Namespaced: true}},
		})
	case r.URL.Query().Get("watch") != "":
		s.watches.Add(1)
		w.Header().Set("Content-Type", "application/json")
		w.(http.Flusher).Flush()
		select {
		case <-r.Context().Done():
			s.cut.Add(1)
		case <-s.ended:
		}
	case path == "/api/v1/pods":
		answer(w, corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}, ListMeta: metav1.ListMeta{ResourceVersion: "1"}})
	default:
		select {
		case <-r.Context().Done():
		case <-s.ended:
		}
	}
}

func (s *apiServer) elect(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		if lease := s.lease.Load(); lease != nil {
			answer(w, lease)
			return
		}
		w.WriteHeader(http.StatusNotFound)
		answer(w, metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Reason: metav1.StatusReasonNotFound, Code: 404})
		return
	}
	var lease coordinationv1.Lease
	if err := json.NewDecoder(r.Body).Decode(&lease); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.lease.Store(&lease)
	s.renewals.Add(1)
	answer(w, lease)
}

func answer(w http.ResponseWriter, what any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(what)
}

func (s *apiServer) manager(t *testing.T, election LeaderElection) manager.Manager {
	t.Helper()
	c := DefaultConfig()
	c.Metrics.BindAddress, c.HealthProbe.BindAddress, c.LeaderElection = "0", "0", election
	config := &rest.Config{Host: s.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}}
	mgr, err := newManager(config, "ebbtide-system", &c)
	if err != nil {
		t.Fatal(err)
	}
	return mgr
}

// TestCallsEnd has an API server that takes requests and answers none: every call ends in
// time, those without a deadline of their own too, and a watch of the caches does not.
func TestCallsEnd(t *testing.T) {
	s := newAPIServer(t)
	const longest = 400 * time.Millisecond
	mgr := s.manager(t, LeaderElection{
		Enabled: true, LeaseDuration: duration(time.Second), RenewDeadline: duration(longest), RetryPeriod: duration(100 * time.Millisecond),
	})
	go func() { _ = mgr.GetCache().Start(t.Context()) }()
	// It is never synced: this API server never ends the list that a watch begins with.
	if _, err := mgr.GetCache().GetInformer(t.Context(), &corev1.Pod{}, cache.BlockUntilSynced(false)); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); s.watches.Load() == 0; { // the cache begins on its own goroutine
		if time.Now().After(end) {
			t.Fatal("nothing is watched after a minute")
		}
		time.Sleep(10 * time.Millisecond)
	}
	pod := func() *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: "a"}}
	}
	live, c := mgr.GetAPIReader(), mgr.GetClient()
	for name, call := range map[string]func() error{
		"get":    func() error { return live.Get(t.Context(), client.ObjectKeyFromObject(pod()), pod()) },
		"list":   func() error { return live.List(t.Context(), &corev1.PodList{}, client.InNamespace("research")) },
		"create": func() error { return c.Create(t.Context(), pod()) },
		"update": func() error { return c.Update(t.Context(), pod()) },
		"status": func() error { return c.Status().Update(t.Context(), pod()) },
		"patch": func() error {
			return c.Patch(t.Context(), pod(), client.RawPatch("application/merge-patch+json", []byte(`{}`)))
		},
		"delete": func() error { return c.Delete(t.Context(), pod()) },
	} {
		ended := make(chan error, 1)
		began := time.Now()
		go func() { ended <- call() }()
		select {
		case err := <-ended:
			if took := time.Since(began); err == nil || took < longest/2 {
				t.Errorf("%s ends after %s with %v; want the timeout", name, took, err)
			}
		case <-time.After(time.Minute):
			t.Errorf("%s has not ended after a minute", name)
		}
	}
	if began, cut := s.watches.Load(), s.cut.Load(); began != 1 || cut != 0 {
		t.Errorf("%d watches were begun and %d cut, want 1 that lasts", began, cut)
	}
}

// TestTimes: the default election leaves room for the longest call, and a plan acts no
// longer than its leader leads.
func TestTimes(t *testing.T) {
	e := DefaultConfig().LeaderElection
	if e.acting() != e.RenewDeadline.Duration || callTimeout >= e.acting() || e.acting() >= e.LeaseDuration.Duration {
		t.Errorf("a call takes %s, a plan %s, the Lease lasts %s", callTimeout, e.acting(), e.LeaseDuration.Duration)
	}
	if e.Enabled = false; e.acting() != alone {
		t.Errorf("without an election a plan takes %s", e.acting())
	}
}

// TestLostLease: a leader that cannot renew its Lease ends, whatever its loop does; the
// command's process ends with it.
func TestLostLease(t *testing.T) {
	s := newAPIServer(t)
	const deadline = 3 * time.Second // which a busy machine may not use up
	mgr := s.manager(t, LeaderElection{
		Enabled: true, LeaseDuration: duration(2 * deadline), RenewDeadline: duration(deadline), RetryPeriod: duration(100 * time.Millisecond),
	})
	led, told, stuck := make(chan struct{}), make(chan struct{}), make(chan struct{})
	defer close(stuck)
	err := mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
		close(led)
		<-ctx.Done()
		close(told)
		<-stuck // in a system call that does not come back
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(t.Context()) }()
	<-led
	before := s.renewals.Load()
	for s.renewals.Load() < before+2 { // it leads, and goes on leading
		select {
		case err := <-ended:
			t.Fatalf("it ended while it led: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	s.deaf.Store(true)
	select {
	case err := <-ended:
		if err == nil || err.Error() != "leader election lost" {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("it leads on without a Lease")
	}
	<-told
}
