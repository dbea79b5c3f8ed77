package deploy_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TestEpochs: what a broker writes that was overtaken is refused by the API server, as
// Forbidden, whatever it is about; that a Loan's spec changes is Invalid before that.
func TestEpochs(t *testing.T) {
	c := testCluster(t)
	namespace := c.namespace(t)
	loans := c.ebbtide(t, broker, "loans", true, namespace)
	if _, err := loans.Create(t.Context(), ebbtideObject(t, "Loan", "made", "spec: "+loanSpec), metav1.CreateOptions{}); err != nil {
		t.Fatalf("create as the broker: %v", err)
	}
	// change writes the status as it is then, or a patch of the rest.
	change := func(status map[string]any, rest string) func() error {
		return func() error {
			if rest != "" {
				_, err := loans.Patch(t.Context(), "made", types.MergePatchType, []byte(rest), metav1.PatchOptions{})
				return err
			}
			now, err := loans.Get(t.Context(), "made", metav1.GetOptions{})
			if err != nil {
				return err
			}
			if now.Object["status"] = status; status == nil {
				delete(now.Object, "status")
			}
			_, err = loans.UpdateStatus(t.Context(), now, metav1.UpdateOptions{})
			return err
		}
	}
	status := func(seq, epoch int64) map[string]any {
		out := map[string]any{"ledgerSeq": seq}
		if epoch > 0 {
			out["epoch"] = epoch
		}
		return out
	}
	const overtaken = "a broker of a later epoch has written"
	for _, test := range []struct {
		name   string
		do     func() error
		reason metav1.StatusReason
		want   string
	}{
		{"a status without an epoch", change(status(6, 0), ""), "", ""},
		{"the first epoch", change(status(7, 3), ""), "", ""},
		{"the same", change(status(8, 3), ""), "", ""},
		{"a later one", change(status(9, 4), ""), "", ""},
		{"an earlier one", change(status(10, 3), ""), metav1.StatusReasonForbidden, overtaken},
		{"none any more", change(status(10, 0), ""), metav1.StatusReasonForbidden, overtaken},
		{"no status any more", change(nil, ""), metav1.StatusReasonForbidden, overtaken},
		{"a Loan's epoch, higher", change(nil, `{"spec": {"epoch": 5}}`), metav1.StatusReasonInvalid, "immutable"},
		{"a Loan's epoch, lower", change(nil, `{"spec": {"epoch": 0}}`), metav1.StatusReasonInvalid, "immutable"},
		{"an annotation", change(nil, `{"metadata": {"annotations": {"a": "b"}}}`), "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.do()
			if reason := apierrors.ReasonForError(err); (err != nil || test.reason != "") && reason != test.reason {
				t.Errorf("got %v (%s), want %q", err, reason, test.reason)
			}
			wantOutcome(t, err, test.want)
		})
	}
	now, err := loans.Get(t.Context(), "made", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(status(9, 4), now.Object["status"]); diff != "" {
		t.Errorf("the status (-epoch 4 +got):\n%s", diff)
	}
}

// TestUnquarantineIsTheAdministrators: on a real server the word is the only thing that an
// administrator may write on a Loan.
func TestUnquarantineIsTheAdministrators(t *testing.T) {
	c := testCluster(t)
	namespace := c.namespace(t)
	if _, err := c.ebbtide(t, broker, "loans", true, namespace).Create(t.Context(),
		ebbtideObject(t, "Loan", "held", "spec: "+loanSpec), metav1.CreateOptions{}); err != nil {
		t.Fatalf("create as the broker: %v", err)
	}
	const (
		word  = `{"metadata": {"annotations": {"ebbtide.dev/unquarantine": "reset by hand"}}}`
		other = `{"metadata": {"annotations": {"ebbtide.dev/unquarantine": "x", "a": "b"}}}`
		label = `{"metadata": {"labels": {"a": "b"}}}`
		rule  = "loans.ebbtide.dev: only the broker writes Loans"
	)
	for _, test := range []struct{ name, user, patch, want string }{
		{"a tenant", tenant, word, `cannot patch resource "loans"`},
		{"the scheduler", scheduler, word, `cannot patch resource "loans"`},
		{"another annotation besides", administrator, other, rule},
		{"a label", administrator, label, rule},
		{"the word", administrator, word, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := c.ebbtide(t, test.user, "loans", true, namespace).Patch(t.Context(), "held", types.MergePatchType, []byte(test.patch), metav1.PatchOptions{})
			wantOutcome(t, err, test.want)
		})
	}
}

// TestLiveReads: the scheduler may read a Loan before it binds a pod to it. What that costs
// a bind is printed.
func TestLiveReads(t *testing.T) {
	c := testCluster(t)
	namespace := c.namespace(t)
	if _, err := c.ebbtide(t, broker, "loans", true, namespace).Create(t.Context(),
		ebbtideObject(t, "Loan", "read", "spec: "+loanSpec), metav1.CreateOptions{}); err != nil {
		t.Fatalf("create as the broker: %v", err)
	}
	loans := c.ebbtide(t, scheduler, "loans", true, namespace)
	took := make([]time.Duration, 200)
	for i := range took {
		began := time.Now()
		if _, err := loans.Get(t.Context(), "read", metav1.GetOptions{}); err != nil {
			t.Fatal(err)
		}
		took[i] = time.Since(began)
	}
	slices.Sort(took)
	t.Logf("a live read of a Loan takes %s at the median, %s at the 99th percentile", took[len(took)/2], took[len(took)*99/100])
}
