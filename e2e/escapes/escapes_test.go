package escapes

import (
	"context"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

// way is one way out: what an ordinary user tries, and what comes of it.
type way struct {
	name string
	try  func(ctx context.Context, w *town) (client.Object, error)
	want answer
}

// ways are all that are known.
func ways() []way {
	var all []way
	for _, some := range [][]way{jobWays(), kindWays(), podWays(), queuedPodWays(), deviceWays(), objectWays(), forgeries(), namespaceWays()} {
		all = append(all, some...)
	}
	return all
}

// Law 9: a tenant cannot escape. Nothing a tenant may write buys units beyond its
// quota, or keeps them past a reclaim.
func TestNoWayOut(t *testing.T) {
	if len(ways()) < 25 {
		t.Fatalf("only %d ways out are tried", len(ways()))
	}
	w := newTown(t)
	before := w.standing(t)
	for _, way := range ways() {
		t.Run(way.name, func(t *testing.T) {
			defer w.restore(t)
			made, err := way.try(t.Context(), w)
			way.want(t, w, made, err)
			for _, wrong := range w.overheld(t.Context()) {
				t.Error(wrong)
			}
		})
		if t.Failed() && w.Err() != nil {
			t.Fatal(w.Err())
		}
	}
	// And nothing of all this has changed what anybody has.
	for _, wrong := range w.overheld(t.Context()) {
		t.Error(wrong)
	}
	if after := w.standing(t); !maps.Equal(before, after) {
		t.Errorf("the jobs were on the loans %v and are on %v", before, after)
	}
}

// standing are the loans of the jobs that run all the time, by the job.
func (w *town) standing(t *testing.T) map[string]types.UID {
	t.Helper()
	loans := map[string]types.UID{}
	for namespace, job := range map[string]string{red: "running", blue: "theirs"} {
		loan, err := w.loanOf(t.Context(), namespace, job)
		if err != nil || loan == nil {
			t.Fatalf("job %s/%s has no loan: %v", namespace, job, err)
		}
		loans[namespace+"/"+job] = loan.UID
	}
	return loans
}

// restore takes away whatever an attempt left: all but the two jobs, blue's service
// and their queues.
func (w *town) restore(t *testing.T) {
	t.Helper()
	for _, namespace := range []string{red, second, nobody} {
		w.clear(t, namespace)
	}
	if err := w.scaleChat(t.Context(), 2); err != nil {
		t.Error(err)
	}
	labtest.Eventually(t, patience, func(ctx context.Context) (bool, string) {
		var loans v1alpha1.LoanList
		if err := w.admin.List(ctx, &loans, client.InNamespace(red)); err != nil {
			return false, err.Error()
		}
		ofRed, err := w.pods(ctx, red)
		if err != nil {
			return false, err.Error()
		}
		ofBlue, err := w.pods(ctx, blue)
		return err == nil && len(loans.Items) == 1 && ofRed == 2 && ofBlue == 4,
			fmt.Sprintf("red has %d loans and %d pods, want 1 and 2; blue has %d pods, want 4 (%v)", len(loans.Items), ofRed, ofBlue, err)
	})
}

// clear deletes what is in a namespace, and its pods without waiting for them.
func (w *town) clear(t *testing.T, namespace string) {
	t.Helper()
	var left []client.Object
	lists := []client.ObjectList{&appsv1.DeploymentList{}, &batchv1.JobList{}, &v1alpha1.LendingPolicyList{}, &corev1.PodList{}}
	for _, kind := range otherKinds() {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		lists = append([]client.ObjectList{list}, lists...)
	}
	for _, list := range lists {
		if err := w.admin.List(t.Context(), list, client.InNamespace(namespace)); err != nil {
			t.Fatal(err)
		}
		err := meta.EachListItem(list, func(o runtime.Object) error {
			left = append(left, o.(client.Object))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range left {
		if o.GetName() == "running" || o.GetName() == "waiting" || o.GetLabels()[batchv1.JobNameLabel] == "running" {
			continue
		}
		if err := w.admin.Delete(t.Context(), o, client.PropagationPolicy(metav1.DeletePropagationBackground), client.GracePeriodSeconds(0)); client.IgnoreNotFound(err) != nil {
			t.Error(err)
		}
		if _, pod := o.(*corev1.Pod); !pod {
			err := w.admin.Patch(t.Context(), o, client.RawPatch(types.MergePatchType, []byte(`{"metadata": {"finalizers": null}}`)))
			if client.IgnoreNotFound(err) != nil {
				t.Error(err)
			}
		}
	}
}

// scaleChat sets the replicas of blue's service.
func (w *town) scaleChat(ctx context.Context, replicas int32) error {
	chat := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: blue, Name: "chat"}}
	patch := fmt.Sprintf(`{"spec": {"replicas": %d}}`, replicas)
	if err := w.admin.Patch(ctx, chat, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
		return fmt.Errorf("scale blue's service to %d: %w", replicas, err)
	}
	return nil
}

// pods counts the pods of a namespace that hold a node.
func (w *town) pods(ctx context.Context, namespace string) (int, error) {
	var list corev1.PodList
	err := w.admin.List(ctx, &list, client.InNamespace(namespace))
	n := 0
	for i := range list.Items {
		if list.Items[i].Spec.NodeName != "" {
			n++
		}
	}
	return n, err
}

// Every way has a line in the page for people, and the page has no other.
func TestPageHasEveryWay(t *testing.T) {
	const page = "../../docs/concepts/what-a-tenant-cannot-do.md"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, line := range strings.Split(string(text), "\n") {
		if cells := strings.Split(line, "|"); len(cells) > 3 && strings.TrimSpace(strings.Trim(cells[1], " -")) != "" {
			listed[strings.TrimSpace(cells[1])] = true
		}
	}
	delete(listed, "Attempt")
	for _, way := range ways() {
		if !listed[way.name] {
			t.Errorf("%s has no row %q", page, way.name)
		}
		delete(listed, way.name)
	}
	for name := range listed {
		t.Errorf("%s has a row %q, which is not tried", page, name)
	}
}

// What overheld looks for, it finds.
func TestHoldingsSeeWhatIsWrong(t *testing.T) {
	bound := func(name, node, job string) corev1.Pod {
		pod := gpuPod(red, name, gpu, "3")
		pod.Spec.NodeName = node
		if job != "" {
			pod.Labels = map[string]string{v1alpha1.LabelQueue: "default"}
			pod.OwnerReferences = []metav1.OwnerReference{{Kind: "Job", UID: "u-job", Controller: ptr.To(true)}}
		}
		return *pod
	}
	unqueued := func(pod corev1.Pod) corev1.Pod {
		pod.Labels = nil
		return pod
	}
	quotas := v1alpha1.TenantQuotaList{Items: []v1alpha1.TenantQuota{{
		ObjectMeta: metav1.ObjectMeta{Name: red},
		Spec:       v1alpha1.TenantQuotaSpec{Flavors: []v1alpha1.FlavorQuota{{Name: "h100", Resource: string(gpu), Nominal: 4, BorrowingLimit: ptr.To[int64](2)}}},
	}}}
	loan := func(lender string, count int64) v1alpha1.Loan {
		return v1alpha1.Loan{ObjectMeta: metav1.ObjectMeta{Namespace: red, UID: "l"}, Spec: v1alpha1.LoanSpec{
			Resource: string(gpu), Job: v1alpha1.JobRef{Name: "job", UID: "u-job"},
			Grants: []v1alpha1.Grant{{Lender: lender, Node: "a", Flavor: "h100", Count: count}},
		}}
	}
	tests := []struct {
		name  string
		pods  []corev1.Pod
		loans []v1alpha1.Loan
		want  string // empty: nothing is wrong
	}{
		{"nothing", nil, nil, ""},
		{"within nominal", []corev1.Pod{bound("p", "a", "")}, nil, ""},
		{"beyond nominal", []corev1.Pod{bound("p", "a", ""), bound("q", "b", "")}, nil, "red holds 6 units of nvidia.com/gpu as its own and was promised 4"},
		{"a loan beside it", []corev1.Pod{bound("p", "a", "")}, []v1alpha1.Loan{loan("", 3)}, "red holds 6 units of nvidia.com/gpu as its own"},
		{"in no queue, but controlled by a job with a loan", []corev1.Pod{unqueued(bound("p", "a", "job")), bound("q", "b", "")}, []v1alpha1.Loan{loan("cohort:lab", 2)},
			"red holds 6 units of nvidia.com/gpu as its own"},
		{"on a loan", []corev1.Pod{bound("p", "a", "job")}, []v1alpha1.Loan{loan("", 3)}, ""},
		{"more than the loan", []corev1.Pod{bound("p", "a", "job"), bound("q", "a", "job")}, []v1alpha1.Loan{loan("", 3)}, "a job holds 6 units of nvidia.com/gpu on a and was granted 3"},
		{"another node than the loan's", []corev1.Pod{bound("p", "b", "job")}, []v1alpha1.Loan{loan("", 3)}, "on b and was granted 0"},
		{"borrows too much", nil, []v1alpha1.Loan{loan("cohort:lab", 3)}, "red borrows 3 units of nvidia.com/gpu and may borrow 2"},
		{"two loans", nil, []v1alpha1.Loan{loan("", 1), loan("", 1)}, "has two loans"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := holdings{pods: corev1.PodList{Items: test.pods}, loans: v1alpha1.LoanList{Items: test.loans}, quotas: quotas}
			got := strings.Join(h.wrongs(), "; ")
			if test.want == "" && got != "" || !strings.Contains(got, test.want) {
				t.Errorf("found %q, want %q", got, test.want)
			}
		})
	}
}
