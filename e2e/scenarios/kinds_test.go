package scenarios

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/kubelet"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

// A job of every kind goes the whole way under its own operator: created, suspended by
// admission, waiting, admitted, running where its loan says, smaller where it is elastic,
// stopped because the service needs its units, waiting and admitted again, finished. It
// never has a failure or a restart counted. Then the scheduler takes some of them back
// while there is no broker.
func TestEveryKindOfJob(t *testing.T) {
	t.Parallel()
	w := newArchipelago(t)
	t.Run("with a broker", func(t *testing.T) {
		for _, kind := range kindsOfJobs {
			t.Run(kind.name, func(t *testing.T) {
				t.Parallel()
				i := w.on(t, kind)
				i.settle()
				i.course()
			})
		}
	})
	if !t.Failed() {
		t.Run("a broken group", func(t *testing.T) { w.on(t, kindNamed("podgroup")).broken() })
		t.Run("without a broker", func(t *testing.T) { w.orphaned(t, "jobset", "raycluster", "podgroup") })
	}
	w.closeTheBooks()
}

// course is the whole way of a job.
func (i *island) course() {
	i.submit()
	i.waits()
	i.want(0)
	before := i.runs(i.kind.pods)
	attempt := i.lentWhereTheyRun(before, 1)[0].Spec.Attempt
	if i.kind.least > 0 {
		i.want(1)
		i.online(1)
		i.shrunk(before, i.runs(i.kind.least), attempt)
	}
	i.want(2)
	i.online(2)
	i.returned()
	i.noRetries()
	if i.kind.forGood {
		i.submit()
	}
	i.waits()
	i.want(0)
	after := i.runs(i.kind.pods)
	for _, p := range after {
		if slices.ContainsFunc(before, func(b corev1.Pod) bool { return b.UID == p.UID }) {
			i.t.Errorf("pod %s was never stopped", p.Name)
		}
	}
	i.lentWhereTheyRun(after, attempt+1)
	i.finish()
}

// broken: when the pod ends that stands for a group, the others end with it.
func (i *island) broken() {
	i.remove()
	i.submit()
	loans := i.lentWhereTheyRun(i.runs(i.kind.pods), 1)
	if err := i.Client().CoreV1().Pods(i.kind.name).Delete(i.t.Context(), loans[0].Spec.Job.Name, metav1.DeleteOptions{}); err != nil {
		i.t.Fatal(err)
	}
	i.gone()
}

// waits: nothing of the job holds units, it has no loan, and says that it waits.
func (i *island) waits() {
	i.t.Helper()
	labtest.Eventually(i.t, patience, func(ctx context.Context) (bool, string) {
		if i.kind.suspend == nil {
			pods, err := i.pods(ctx)
			return err == nil && i.podsWait(pods), fmt.Sprintf("%v\n%s", err, i.story(ctx))
		}
		object, err := i.object(ctx)
		if err != nil {
			return false, err.Error()
		}
		if suspended, _, _ := unstructured.NestedBool(object.Object, i.kind.suspend...); !suspended {
			return false, "it is not suspended"
		}
		admitted, says := saysAdmitted(object)
		hold, err := i.holders(ctx)
		return err == nil && len(hold) == 0 && says && !admitted, fmt.Sprintf("admitted %t (%t), %d pods hold units (%v)\n%s", admitted, says, len(hold), err, i.story(ctx))
	})
}

// podsWait: none has a node, and who stands for them says that they are not admitted.
func (i *island) podsWait(pods []corev1.Pod) bool {
	var said, waiting int
	for _, p := range pods {
		if p.DeletionTimestamp != nil || podEnded(&p) {
			continue
		}
		if p.Spec.NodeName != "" && unitsIn(&p) > 0 {
			return false
		}
		if unitsIn(&p) > 0 {
			waiting++
		}
		for _, c := range p.Status.Conditions {
			if string(c.Type) == v1alpha1.ConditionAdmitted && c.Status == corev1.ConditionFalse {
				said++
			}
		}
	}
	return waiting == i.kind.pods && said > 0
}

// saysAdmitted reads what the broker wrote on the object: a condition, or an annotation.
func saysAdmitted(object *unstructured.Unstructured) (admitted, says bool) {
	if text := object.GetAnnotations()["ebbtide.dev/admission"]; text != "" {
		var note struct{ Admitted bool }
		err := json.Unmarshal([]byte(text), &note)
		return note.Admitted, err == nil
	}
	conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	for _, c := range conditions {
		if condition, ok := c.(map[string]any); ok && condition["type"] == v1alpha1.ConditionAdmitted {
			return condition["status"] == "True", true
		}
	}
	return false, false
}

// lentWhereTheyRun waits until the open loans are on the nodes of the pods and hold what the
// pods do, and returns them. Their attempt is the given one, or a later one: it comes to
// nothing where the job was written by its controller meanwhile.
func (i *island) lentWhereTheyRun(pods []corev1.Pod, least int32) (loans []v1alpha1.Loan) {
	i.t.Helper()
	labtest.Eventually(i.t, patience, func(ctx context.Context) (bool, string) {
		var err error
		if loans, err = i.openLoans(ctx); err != nil {
			return false, err.Error()
		}
		wrong := i.lentElsewhere(loans, pods)
		return wrong == "", wrong + "\n" + i.story(ctx)
	})
	for _, l := range loans {
		// Where nobody suspends them, other pods are another job.
		if i.kind.suspend != nil && l.Spec.Attempt < least {
			i.t.Errorf("loan %s is of attempt %d, want %d or later", l.Name, l.Spec.Attempt, least)
		}
	}
	return loans
}

// lentElsewhere says in what the loans differ from what the pods hold; empty: in nothing.
func (i *island) lentElsewhere(loans []v1alpha1.Loan, pods []corev1.Pod) string {
	want := 1
	if i.kind.each {
		want = len(pods)
	}
	if len(loans) != want {
		return fmt.Sprintf("%d loans, want %d", len(loans), want)
	}
	granted := map[string]int64{}
	for _, l := range loans {
		for _, g := range l.Held() {
			granted[g.Node] += g.Count
		}
	}
	for _, p := range pods {
		granted[p.Spec.NodeName] -= unitsIn(&p)
	}
	for node, n := range granted {
		if n != 0 {
			return fmt.Sprintf("on node %s the loans hold %d units more than the pods", node, n)
		}
	}
	return ""
}

// shrunk: the job goes on with some of its pods, of which none was stopped beside those
// that had to go, and its loan holds as much.
func (i *island) shrunk(before, now []corev1.Pod, attempt int32) {
	i.t.Helper()
	stayed := map[types.UID]bool{}
	for _, p := range before {
		stayed[p.UID] = true
	}
	replaced := 0
	for _, p := range now {
		if !stayed[p.UID] {
			replaced++
			i.t.Logf("pod %s was made while the job shrank", p.Name)
		}
		if number, err := strconv.Atoi(p.Labels[i.kind.index]); i.kind.index != "" && (err != nil || number >= i.kind.least) {
			i.t.Errorf("pod %s goes on, whose number is %q", p.Name, p.Labels[i.kind.index])
		}
	}
	if replaced > i.kind.replaces {
		i.t.Errorf("%d pods were made while the job shrank, want %d at most", replaced, i.kind.replaces)
	}
	if !i.kind.each {
		i.ledgerHas("SHED")
	}
	labtest.Eventually(i.t, patience, func(ctx context.Context) (bool, string) {
		loans, err := i.openLoans(ctx)
		var held int64
		for _, l := range loans {
			held += v1alpha1.Units(l.Held())
		}
		return err == nil && len(loans) == 1 && held == i.kind.island()/2, fmt.Sprintf("the loans hold %d units (%v)\n%s", held, err, i.story(ctx))
	})
	if i.kind.suspend == nil {
		return
	}
	object, err := i.object(i.t.Context())
	if err != nil {
		i.t.Fatal(err)
	}
	if suspended, _, _ := unstructured.NestedBool(object.Object, i.kind.suspend...); suspended || object.GetAnnotations()[v1alpha1.AnnotationAttempt] != strconv.Itoa(int(attempt)) {
		i.t.Errorf("suspended %t, at attempt %s of %d; want that it goes on", suspended, object.GetAnnotations()[v1alpha1.AnnotationAttempt], attempt)
	}
	i.noRetries()
}

// returned: the units came back, by the broker's hand, and within the grace.
func (i *island) returned() {
	i.t.Helper()
	i.gone()
	i.ledgerHas("RECLAIM_DONE")
	entries := i.ledger(i.t.Context())
	for at, done := range entries {
		if done.Kind == "PREEMPTED" {
			i.t.Errorf("the scheduler took loan %s back by itself", done.Loan)
		}
		if done.Kind != "RECLAIM_DONE" {
			continue
		}
		asked := slices.IndexFunc(entries[:at], func(e ledgerEntry) bool { return e.Kind == "RECLAIM_INTENT" && e.Loan == done.Loan })
		if asked < 0 {
			i.t.Errorf("loan %s was returned and never asked back", done.Loan)
		} else if took := done.Time.Sub(entries[asked].Time); took > maxGrace+slack {
			i.t.Errorf("loan %s took %s to return, with a grace of %s", done.Loan, took, maxGrace)
		}
	}
}

// ledger has the entries about the island's jobs.
func (i *island) ledger(ctx context.Context) []ledgerEntry {
	entries, err := i.entries(ctx)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(entries, func(e ledgerEntry) bool { return !strings.HasPrefix(e.Loan, i.kind.name+"/") })
}

func (i *island) ledgerHas(kind string) {
	i.t.Helper()
	labtest.Eventually(i.t, patience, func(ctx context.Context) (bool, string) {
		entries := i.ledger(ctx)
		return slices.ContainsFunc(entries, func(e ledgerEntry) bool { return e.Kind == kind }), fmt.Sprintf("the ledger has no %s: %v\n%s", kind, entries, i.story(ctx))
	})
}

// closed: the ledger says how the loan ended that was taken back without a broker. What
// pods were marked with is gone with them; of those that nobody suspends it says no more
// than that they have ended.
func (i *island) closed(loan string) {
	i.t.Helper()
	want := "PREEMPTED"
	if i.kind.suspend == nil {
		want = "RELEASED"
	}
	entries := i.ledger(i.t.Context())
	if !slices.ContainsFunc(entries, func(e ledgerEntry) bool { return e.Loan == loan && e.Kind == want }) {
		i.t.Errorf("the ledger does not say %s of loan %s: %v", want, loan, entries)
	}
}

// noRetries: nobody has counted a failure or a restart: neither the job, nor a Job that it
// made, nor a container. What a controller counts of the pods that there are, it counts
// anew when they are gone.
func (i *island) noRetries() {
	i.t.Helper()
	labtest.Eventually(i.t, patience, func(ctx context.Context) (bool, string) {
		counted, err := i.retries(ctx)
		return err == nil && len(counted) == 0, fmt.Sprintf("%s (%v)", strings.Join(counted, ", "), err)
	})
}

// retries are the failures and restarts that are counted.
func (i *island) retries(ctx context.Context) (counted []string, err error) {
	if object, err := i.object(ctx); err == nil {
		status, _, _ := unstructured.NestedMap(object.Object, "status")
		for _, path := range i.kind.counters {
			if n, _, _ := unstructured.NestedInt64(status, path...); n != 0 {
				counted = append(counted, fmt.Sprintf("status.%s counts %d", strings.Join(path, "."), n))
			}
		}
	}
	jobs, err := i.Client().BatchV1().Jobs(i.kind.name).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for _, job := range jobs.Items {
		if job.Status.Failed > 0 {
			counted = append(counted, fmt.Sprintf("Job %s counts %d failed pods", job.Name, job.Status.Failed))
		}
	}
	pods, err := i.pods(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range pods {
		for _, c := range p.Status.ContainerStatuses {
			if c.RestartCount > 0 {
				counted = append(counted, fmt.Sprintf("container %s of pod %s was restarted %d times", c.Name, p.Name, c.RestartCount))
			}
		}
	}
	return counted, nil
}

// finish lets the job succeed, or removes what never does, and sees its units returned.
func (i *island) finish() {
	i.t.Helper()
	if i.kind.ended == nil {
		i.remove()
	} else {
		i.complete()
		labtest.Eventually(i.t, patience, func(ctx context.Context) (bool, string) {
			object, err := i.object(ctx)
			if err != nil {
				return false, err.Error()
			}
			status, _, _ := unstructured.NestedMap(object.Object, "status")
			return i.kind.ended(status), fmt.Sprintf("it has not ended: %v", status)
		})
	}
	i.ledgerHas("RELEASED")
	i.gone()
	i.noRetries()
}

// complete lets the pods succeed on which the job waits.
func (i *island) complete() {
	i.t.Helper()
	var last []corev1.Pod
	labtest.Eventually(i.t, patience, func(ctx context.Context) (bool, string) {
		list, err := i.Client().CoreV1().Pods(i.kind.name).List(ctx, metav1.ListOptions{LabelSelector: i.kind.last})
		if err != nil {
			return false, err.Error()
		}
		last = list.Items
		run := len(last) > 0
		for _, p := range last {
			run = run && p.Status.Phase == corev1.PodRunning
		}
		return run, "not all of those run whose end is the job's\n" + i.story(ctx)
	})
	for _, p := range last {
		patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:"0s"}}}`, kubelet.AnnotationCompleteAfter)
		_, err := i.Client().CoreV1().Pods(i.kind.name).Patch(i.t.Context(), p.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		if err != nil {
			i.t.Fatal(err)
		}
	}
}

// remove deletes the kind's objects, and waits until they are gone.
func (i *island) remove() {
	i.t.Helper()
	background := metav1.DeletePropagationBackground
	objects := i.Dynamic().Resource(i.kind.resource).Namespace(i.kind.name)
	if err := objects.DeleteCollection(i.t.Context(), metav1.DeleteOptions{PropagationPolicy: &background}, metav1.ListOptions{}); err != nil {
		i.t.Fatal(err)
	}
	labtest.Eventually(i.t, patience, func(ctx context.Context) (bool, string) {
		list, err := objects.List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err.Error()
		}
		return len(list.Items) == 0, fmt.Sprintf("%d objects are left", len(list.Items))
	})
}

// orphaned: online pods get the units of these kinds also while there is no broker; when
// it is back, it finds what was done, and the jobs wait and are admitted again.
func (w *town) orphaned(t *testing.T, names ...string) {
	var islands []*island
	for _, name := range names {
		i := w.on(t, kindNamed(name))
		islands = append(islands, i)
		i.remove()
		i.submit()
	}
	lent := map[string]string{}
	attempt := map[string]int32{}
	for _, i := range islands {
		loans := i.lentWhereTheyRun(i.runs(i.kind.pods), 1)
		lent[i.kind.name], attempt[i.kind.name] = i.kind.name+"/"+loans[0].Name, loans[0].Spec.Attempt
	}
	if err := w.Part(lab.Broker).Stop(); err != nil {
		t.Fatal(err)
	}
	for _, i := range islands {
		i.want(1)
	}
	for _, i := range islands {
		i.online(1)
		i.runs(0) // whole loans alone are taken
		if i.kind.suspend == nil {
			continue
		}
		object, err := i.object(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		suspended, _, _ := unstructured.NestedBool(object.Object, i.kind.suspend...)
		if mark := object.GetAnnotations()[v1alpha1.AnnotationTakenBack]; !suspended || mark != strconv.Itoa(int(attempt[i.kind.name])) {
			t.Errorf("%s: suspended %t, and marked as taken back at attempt %q", i.kind.name, suspended, mark)
		}
	}
	if err := w.Part(lab.Broker).Start(); err != nil {
		t.Fatal(err)
	}
	for _, i := range islands {
		i.gone()
		i.closed(lent[i.kind.name])
		i.noRetries()
		if i.kind.forGood {
			i.submit()
		}
		i.waits()
		i.want(0)
		i.lentWhereTheyRun(i.runs(i.kind.pods), attempt[i.kind.name]+1)
		i.finish()
	}
}
