package witness_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
	"github.com/ebbtide/ebbtide/e2e/witness"
	"github.com/ebbtide/ebbtide/e2e/witness/history"
)

// criminal does to a cluster without Ebbtide what Ebbtide must never do.
type criminal struct {
	t   *testing.T
	api client.Client
}

func (c *criminal) make(o client.Object) {
	c.t.Helper()
	labtest.Create(c.t, c.api, o)
}

// pod puts 8 GPUs' worth of pod on a node, past any scheduler.
func (c *criminal) pod(name string) {
	c.t.Helper()
	q := corev1.ResourceList{"nvidia.com/gpu": *resource.NewQuantity(8, resource.DecimalSI)}
	c.make(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: name},
		Spec: corev1.PodSpec{NodeName: "gpu-0", Containers: []corev1.Container{{
			Name: "main", Image: "registry.invalid/none", Resources: corev1.ResourceRequirements{Limits: q, Requests: q},
		}}},
	})
}

func (c *criminal) loan(name string) *v1alpha1.Loan {
	c.t.Helper()
	l := &v1alpha1.Loan{
		ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: name},
		Spec: v1alpha1.LoanSpec{
			Job:     v1alpha1.JobRef{APIVersion: "batch/v1", Kind: "Job", Name: "job", UID: types.UID("uid-of-" + strings.Split(name, "-")[0])},
			Attempt: 1, Borrower: "research", Queue: "q", Resource: "nvidia.com/gpu", Pods: 1, UnitsPerPod: 8, OpID: name, Epoch: 1,
			Grants: []v1alpha1.Grant{{Lender: "serving/chat", Node: "gpu-0", Flavor: "h100", Count: 8}},
		},
	}
	c.make(l)
	return l
}

// write sets a Loan's condition with an epoch.
func (c *criminal) write(l *v1alpha1.Loan, condition string, status metav1.ConditionStatus, epoch int64) {
	c.t.Helper()
	meta.SetStatusCondition(&l.Status.Conditions, metav1.Condition{Type: condition, Status: status, Reason: "X"})
	l.Status.Epoch = epoch
	if err := c.api.Status().Update(c.t.Context(), l); err != nil {
		c.t.Fatal(err)
	}
}

// bare is a lab with Ebbtide's kinds, and nothing else of Ebbtide.
func bare(t *testing.T) (*lab.Lab, client.Client) {
	t.Helper()
	crds, err := filepath.Glob("../../deploy/crds/ebbtide.dev_*.yaml")
	if err != nil || len(crds) == 0 {
		t.Fatalf("%d definitions of kinds: %v", len(crds), err)
	}
	opts := lab.Options{NoPrometheus: true, Nodes: []lab.NodeSpec{{Name: "gpu-0", GPUs: 8}}}
	for _, path := range crds {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		opts.Manifests = append(opts.Manifests, text)
	}
	l := labtest.New(t, opts)
	if err := l.CreateNamespace(t.Context(), "research", nil); err != nil {
		t.Fatal(err)
	}
	api, err := lab.TypedClient(l.Config())
	if err != nil {
		t.Fatal(err)
	}
	return l, api
}

// On a real API server without Ebbtide and its policies, everything that Ebbtide promises not
// to do is done, and seen.
func TestGuiltyOnARealAPIServer(t *testing.T) {
	l, api := bare(t)
	x, err := witness.Start(t.Context(), witness.Options{
		Config: l.Config(), AuditLog: l.AuditLog(), Actors: []string{"lab-admin"}, Folder: t.TempDir(),
		Books: func() []string { return []string{filepath.Join(l.Dir(), "ledger.db")} },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	if took, err := x.Settle(t.Context(), 2*time.Minute, time.Second); err != nil {
		t.Fatalf("an empty cluster has not settled after %s: %v", took, err)
	}
	if r, err := x.Judge(t.Context()); err != nil || r.Err() != nil {
		t.Fatalf("of an empty cluster: %v, %v", r.Err(), err)
	}
	c := &criminal{t, api}
	c.offend()
	if took, err := x.Settle(t.Context(), 2*time.Second, time.Second); err == nil {
		t.Errorf("it is said to have settled after %s, with two loans that are no job's", took)
	}
	r, err := x.Judge(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d changes, %d writes: %v", r.Events, r.Writes, r.Err())
	guilty(t, &r)
}

// guilty asks for a finding about each of the offences.
func guilty(t *testing.T, r *witness.Report) {
	t.Helper()
	for _, want := range []string{
		"node gpu-0 has 8 of nvidia.com/gpu, its pods hold 16", "node gpu-0 has 8 of nvidia.com/gpu, open loans hold 16",
		"the job of loan research/a-2 has another open loan", "job:uid-of-a: what was asked", "node:gpu-0:nvidia.com/gpu: what was asked",
		"status.epoch of loan research/a-1 falls from 2 to 1", "was accepted with epoch 1, and", "was Reclaiming and is not any more",
		"the name of loan research/b-1 is used again", "of tenant research, which has no quota", "which is in no book", "no entry says so",
	} {
		if !strings.Contains(strings.Join(r.Findings, "\n"), want) {
			t.Errorf("nothing says %q", want)
		}
	}
	if r.DoubleLent < 5 || r.Duplicates == 0 || r.AckedLost == 0 || r.SilentGaps == 0 || r.Others["epochs"] < 2 || len(r.Histories) < 2 {
		t.Errorf("counts: %+v", r)
	}
}

// offend breaks one law after the other.
func (c *criminal) offend() {
	c.t.Helper()
	c.pod("one")
	c.pod("two")
	a := c.loan("a-1")
	c.write(a, v1alpha1.LoanActive, metav1.ConditionTrue, 2)
	c.loan("a-2")
	c.write(a, v1alpha1.LoanReclaiming, metav1.ConditionTrue, 1)
	c.write(a, v1alpha1.LoanReclaiming, metav1.ConditionFalse, 2)
	b := c.loan("b-1")
	if err := c.api.Delete(c.t.Context(), b); err != nil {
		c.t.Fatal(err)
	}
	c.loan("b-1")
	c.make(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: lab.SystemNamespace, Name: history.LedgerLease, Annotations: map[string]string{
		"ebbtide.dev/ledger-head": "7:" + strings.Repeat("ab", 32), "ebbtide.dev/ledger-id": "lost", "ebbtide.dev/ledger-epoch": "2",
	}}})
}
