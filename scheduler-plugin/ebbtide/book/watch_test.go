package book

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/lineage"
)

func start(t *testing.T, config *rest.Config, patience time.Duration) (*Watches, error) {
	t.Helper()
	w, err := NewWatches(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return w, w.Start(ctx, patience)
}

func TestWatchesReadEverythingAsJSON(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if accept := r.Header.Get("Accept"); strings.Contains(accept, "protobuf") {
			t.Errorf("asked for %s: custom resources are JSON", accept)
		}
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Query().Get("watch") != "" {
			// A server that cannot stream lists makes the client list instead.
			w.WriteHeader(http.StatusBadRequest)
			_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: "Failure", Reason: metav1.StatusReasonInvalid, Code: http.StatusUnprocessableEntity})
			return
		}
		switch r.URL.Path {
		case "/apis/ebbtide.dev/v1alpha1/loans":
			_ = json.NewEncoder(w).Encode(v1alpha1.LoanList{
				TypeMeta: metav1.TypeMeta{APIVersion: "ebbtide.dev/v1alpha1", Kind: "LoanList"}, ListMeta: metav1.ListMeta{ResourceVersion: "1"},
				Items: []v1alpha1.Loan{{ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: "a-1"}, Spec: v1alpha1.LoanSpec{Job: v1alpha1.JobRef{UID: "job-a"}}}},
			})
		case "/apis/ebbtide.dev/v1alpha1/tenantquotas":
			_ = json.NewEncoder(w).Encode(v1alpha1.TenantQuotaList{
				TypeMeta: metav1.TypeMeta{APIVersion: "ebbtide.dev/v1alpha1", Kind: "TenantQuotaList"}, ListMeta: metav1.ListMeta{ResourceVersion: "1"},
			})
		case "/apis/ebbtide.dev/v1alpha1/gpunodes":
			_ = json.NewEncoder(w).Encode(v1alpha1.GPUNodeList{
				TypeMeta: metav1.TypeMeta{APIVersion: "ebbtide.dev/v1alpha1", Kind: "GPUNodeList"}, ListMeta: metav1.ListMeta{ResourceVersion: "1"},
				Items: []v1alpha1.GPUNode{{ObjectMeta: metav1.ObjectMeta{Name: "n"}}},
			})
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	config := &rest.Config{Host: server.URL}
	config.ContentType = "application/vnd.kubernetes.protobuf"
	w, err := start(t, config, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if got := New(w.Loans.GetIndexer(), nil, &lineage.Lineage{}).LoanOfJob("research", "job-a"); got == nil || got.Name != "a-1" {
		t.Errorf("loan = %v", got)
	}
	if got := w.GPUNodes.GetStore().ListKeys(); len(got) != 1 || got[0] != "n" {
		t.Errorf("GPU nodes = %v", got)
	}
}

func TestWatchesGiveUpWithAReason(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	_, err := start(t, &rest.Config{Host: server.URL}, 100*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "not done within 100ms; are Ebbtide's CustomResourceDefinitions installed") {
		t.Errorf("error = %v", err)
	}
}
