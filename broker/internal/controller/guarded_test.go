package controller

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	registration "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/ebbtide/ebbtide/broker/internal/guard"
	"github.com/ebbtide/ebbtide/broker/ledger"
)

// pages is a ledger that may be full.
type pages struct {
	entries []ledger.Entry
	full    bool
}

func (p *pages) Append(e ledger.Entry) (ledger.Entry, error) {
	if p.full {
		return e, errors.New("full")
	}
	p.entries = append(p.entries, e)
	return e, nil
}

// A policy that is gone, and that is back, stands in the ledger and is an event.
func TestPolicyNotes(t *testing.T) {
	said := events.NewFakeRecorder(10)
	book := &pages{full: true}
	n := &policyNotes{book: book, epoch: 7, events: said}
	missing := []guard.Missing{{Name: "ValidatingAdmissionPolicyBinding ebbtide-pods", Why: "gone"}}
	if err := n.note(missing); err == nil {
		t.Error("what the ledger did not take counts as said")
	}
	book.full = false
	for _, m := range [][]guard.Missing{missing, nil} {
		if err := n.note(m); err != nil {
			t.Fatal(err)
		}
	}
	want := []ledger.Entry{
		{Kind: ledger.PolicyMissing, Epoch: 7, OpID: "policies-7-1", Reason: "PolicyMissing",
			Message: "ValidatingAdmissionPolicyBinding ebbtide-pods is gone: nothing new is lent",
			Payload: []byte(`{"missing":[{"name":"ValidatingAdmissionPolicyBinding ebbtide-pods","why":"gone"}]}`)},
		{Kind: ledger.PolicyBack, Epoch: 7, OpID: "policies-7-2", Reason: "PolicyBack", Message: "all admission policies are in place again"},
	}
	if diff := cmp.Diff(want, book.entries, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	for _, words := range []string{"Warning PolicyMissing Stopped lending: ValidatingAdmissionPolicyBinding ebbtide-pods is gone", "Normal PolicyBack Went on lending: "} {
		if got := <-said.Events; !strings.HasPrefix(got, words) {
			t.Errorf("the event is %q, want %q", got, words)
		}
	}
}

// A ledger takes both entries.
func TestLedgerTakesPolicyNotes(t *testing.T) {
	book, err := ledger.Open(t.TempDir()+"/ledger.db", ledger.Options{ClusterUID: "c"})
	if err != nil {
		t.Fatal(err)
	}
	defer book.Close()
	if _, err := book.Append(ledger.Entry{Kind: ledger.EpochStart, Epoch: 1, OpID: "epoch-1"}); err != nil {
		t.Fatal(err)
	}
	n := &policyNotes{book: book, epoch: 1, events: events.NewFakeRecorder(10)}
	for _, m := range [][]guard.Missing{{{Name: "MutatingAdmissionPolicy ebbtide-job-defaults", Why: "gone"}}, nil} {
		if err := n.note(m); err != nil {
			t.Error(err)
		}
	}
	if seq, _ := book.Head(); seq != 3 {
		t.Errorf("the ledger has %d entries, want 3", seq)
	}
}

// The metric is absent while nobody knows.
func TestPolicyMetric(t *testing.T) {
	registry := prometheus.NewRegistry()
	clk := clocktesting.NewFakeClock(time.Unix(1e9, 0))
	m := NewMetrics(registry, clk, time.Second)
	const name = "ebbtide_broker_admission_policies_missing"
	count := func() int {
		n, err := testutil.GatherAndCount(registry, name)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if count() != 0 {
		t.Error("it is there before anybody has looked")
	}
	scheme := runtime.NewScheme()
	if err := registration.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	g := &guard.Guard{Live: fake.NewClientBuilder().WithScheme(scheme).Build(), Clock: clk}
	m.policies.Store(g)
	if count() != 0 {
		t.Error("it is there before the first look")
	}
	if err := g.Look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, known := g.Count(); !known || n != len(guard.Shipped()) {
		t.Errorf("%d are missing (%t), want all %d", n, known, len(guard.Shipped()))
	}
	if count() != 1 {
		t.Error("it is not there after a look")
	}
	clk.Step(guard.Believe + time.Second)
	if count() != 0 {
		t.Error("it is there when nobody knows any more")
	}
}

func TestAcceptedPolicies(t *testing.T) {
	const head = "apiVersion: ebbtide.dev/v1alpha1\nkind: BrokerConfiguration\n"
	digest := "sha256:" + strings.Repeat("0a", 32)
	for text, want := range map[string]string{
		"{ValidatingAdmissionPolicy ebbtide-pods: " + digest + "}": "",
		"{ValidatingAdmissionPolicy ebbtide-pods: sha256:12}":      "admissionPolicies.accept[ValidatingAdmissionPolicy ebbtide-pods]: Invalid value",
		"{ebbtide-pods: " + digest + "}":                           "admissionPolicies.accept: Unsupported value: \"ebbtide-pods\"",
	} {
		_, err := ParseConfig([]byte(head + "admissionPolicies: {accept: " + text + "}\n"))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
