package scenarios

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

// twoTeams have 8 GPUs each of a cluster of 16, in one cohort, and a queue each. No
// service lends anything: what one leaves unused, the other borrows by quota alone.
func twoTeams(t *testing.T) *town {
	t.Helper()
	w := newCluster(t, 2)
	for _, name := range []string{"physics", "biology"} {
		w.team(name, "lab", 8)
		w.create(&v1alpha1.TrainingQueue{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "default"}})
	}
	return w
}

// A team borrows what the other leaves, and gives it back, whole and once, to the
// job that has a right to it. Then it waits in its old place, and starts again.
func TestOwnerTakesItsQuotaBack(t *testing.T) {
	t.Parallel()
	w := twoTeams(t)

	w.submitIn("biology", "large", 2, 8, nil)
	w.awaitBound("biology", 2)
	loans, err := w.loans(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := lenders(loans["large"]), []string{"", "cohort:lab"}; !slices.Equal(got, want) {
		t.Errorf("the job of 16 has units of %q, want 8 of its own and 8 of the cohort's", got)
	}
	w.submitIn("biology", "later", 1, 1, nil)
	w.awaitWaiting("biology", "later")

	w.submitIn("physics", "mine", 1, 8, nil)
	w.awaitBound("physics", 1)
	w.awaitEntryOf("biology/large", "RECLAIM_DONE")
	entries, err := w.entries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	asked := slices.DeleteFunc(entries, func(e ledgerEntry) bool { return e.Kind != "RECLAIM_INTENT" })
	if len(asked) != 1 || asked[0].Reason != "OwnerWantsQuota" {
		t.Errorf("asked back: %+v, want the one loan, for its owner", asked)
	}
	// What is left of its own is too little for the large job, and enough for the
	// later one, which may pass it.
	w.awaitLoans("mine", "later")
	w.awaitVerdictIn("Job/biology/large", "OverBorrowingLimit", "NoLendableUnits", "NoRoomForGang", "LendingLimitReached")

	background := metav1.DeletePropagationBackground
	for team, job := range map[string]string{"physics": "mine", "biology": "later"} {
		if err := w.Client().BatchV1().Jobs(team).Delete(t.Context(), job, metav1.DeleteOptions{PropagationPolicy: &background}); err != nil {
			t.Fatal(err)
		}
	}
	w.awaitLoans("large")
	w.awaitBound("biology", 2)
	w.closeTheBooks()
}

// A pod that is in no queue runs within its tenant's nominal quota, takes lent units
// back for that, and waits with a reason beyond it.
func TestBarePodsAreHeldToTheQuota(t *testing.T) {
	t.Parallel()
	w := twoTeams(t)
	w.submitIn("biology", "large", 2, 8, nil)
	w.awaitBound("biology", 2)

	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "physics", Name: "notebook"}, Spec: podSpec("", 8, 1)}
	w.create(pod)
	w.awaitBound("physics", 1)
	w.awaitEntryOf("biology/large", "PREEMPTED")

	second := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "physics", Name: "second"}, Spec: podSpec("", 1, 1)}
	w.create(second)
	labtest.Eventually(t, patience, func(ctx context.Context) (bool, string) {
		if err := w.api.Get(ctx, client.ObjectKeyFromObject(second), second); err != nil {
			return false, err.Error()
		}
		message := ""
		for _, c := range second.Status.Conditions {
			if c.Type == corev1.PodScheduled {
				message = c.Message
			}
		}
		return strings.Contains(message, "physics") && strings.Contains(message, "h100"), fmt.Sprintf("the pod says %q", message)
	})
	w.judge()
}

// Queues say who is next and why nobody is; limits, pauses and a ResourceQuota hold
// jobs back with their names, and a drained queue gives back what it has.
func TestQueues(t *testing.T) {
	t.Parallel()
	w := twoTeams(t)
	// The broker may hear of it and of a job in any order: of jobs that come much later, it knows.
	w.create(&corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: "biology", Name: "small"},
		Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{
			"requests." + gpu: resource.MustParse("2"),
		}},
	})
	queue := &v1alpha1.TrainingQueue{
		ObjectMeta: metav1.ObjectMeta{Namespace: "physics", Name: "narrow"},
		Spec:       v1alpha1.TrainingQueueSpec{Limits: &v1alpha1.QueueLimits{Jobs: ptr.To[int32](1)}},
	}
	w.create(queue)
	w.queue = "narrow"
	w.submitIn("physics", "first", 1, 1, nil)
	w.awaitLoans("first")
	w.submitIn("physics", "second", 1, 1, nil)
	w.submitIn("physics", "third", 1, 1, nil)
	if message := w.awaitVerdict("Job/physics/second", "LimitReached"); !strings.Contains(message, "narrow") {
		t.Errorf("the verdict does not name the queue: %q", message)
	}
	labtest.Eventually(t, patience, func(ctx context.Context) (bool, string) {
		if err := w.api.Get(ctx, client.ObjectKeyFromObject(queue), queue); err != nil {
			return false, err.Error()
		}
		s := queue.Status
		ok := s.Admitted == 1 && s.Pending == 2 && len(s.Waiting) == 2 &&
			s.Waiting[0].Name == "second" && s.Waiting[0].Position == 1 && s.Waiting[1].Name == "third"
		return ok, fmt.Sprintf("the queue's status is %+v", s)
	})

	// The broker writes its status meanwhile.
	drain := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"limits":null,"drain":true}}`))
	if err := w.api.Patch(t.Context(), queue, drain); err != nil {
		t.Fatal(err)
	}
	w.awaitLoans()
	w.awaitVerdict("Job/physics/first", "QueueDraining")

	w.queue = "default"
	w.submitIn("biology", "wide", 1, 4, nil)
	if message := w.awaitVerdict("Job/biology/wide", "ResourceQuotaExceeded"); !strings.Contains(message, "small") {
		t.Errorf("the verdict does not name the ResourceQuota: %q", message)
	}
	w.submitIn("biology", "slim", 1, 2, nil)
	w.awaitLoans("slim")
	w.closeTheBooks()
}

// lenders of a loan, each once.
func lenders(loan v1alpha1.Loan) []string {
	var names []string
	for _, g := range loan.Spec.Grants {
		names = append(names, g.Lender)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// awaitWaiting waits until the broker says that a job waits, for whatever reason.
func (w *town) awaitWaiting(namespace, job string) {
	w.t.Helper()
	w.awaitVerdictIn("Job/"+namespace+"/"+job, "OverBorrowingLimit", "NoLendableUnits", "NoRoomForGang", "LendingLimitReached", "WaitingForReturn")
}

// awaitVerdictIn waits until the broker gives one of the reasons for a subject.
func (w *town) awaitVerdictIn(subject string, reasons ...string) {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		var answer struct {
			Verdicts []struct{ Subject, Reason, Message string }
		}
		if err := w.ask(ctx, "/verdicts?subject="+subject, &answer); err != nil {
			return false, err.Error()
		}
		ok := len(answer.Verdicts) == 1 && slices.Contains(reasons, answer.Verdicts[0].Reason)
		return ok, fmt.Sprintf("%s: %+v, want one of %v", subject, answer.Verdicts, reasons)
	})
}
