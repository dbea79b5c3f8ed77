package lineage

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

func TestKeys(t *testing.T) {
	var l Lineage
	l.PutOwner("research", "job", Owner{UID: "jobset", Kind: kindJobSet})
	pod := &metav1.ObjectMeta{
		Namespace: "research", UID: "pod", Labels: map[string]string{v1alpha1.LabelPodGroup: "gang", v1alpha1.LabelQueue: "default"},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "Job", UID: "job", Controller: ptr.To(true)}},
	}
	keys, complete := l.Keys(pod)
	if complete {
		t.Error("the JobSet has not been seen: somebody may be above it")
	}
	if diff := cmp.Diff([]Key{"uid/pod", "uid/job", "uid/jobset", "group/gang"}, keys); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	l.PutOwner("research", "jobset", Owner{})
	if _, complete := l.Keys(pod); !complete {
		t.Error("nobody is above the JobSet")
	}
	bare := pod.DeepCopy()
	delete(bare.Labels, v1alpha1.LabelQueue)
	if keys, _ := l.Keys(bare); len(keys) != 3 {
		t.Errorf("a pod in no queue is of a group: %v", keys)
	}
	elsewhere := pod.DeepCopy()
	elsewhere.Namespace = "other"
	if keys, _ := l.Keys(elsewhere); len(keys) != 3 {
		t.Errorf("a chain of another namespace: %v", keys)
	}
}

func TestLoanKeys(t *testing.T) {
	if diff := cmp.Diff([]Key{"uid/job"}, LoanKeys(&v1alpha1.JobRef{UID: "job"})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Key{"uid/pod", "group/gang"}, LoanKeys(&v1alpha1.JobRef{UID: "pod", PodGroup: "gang"})); diff != "" {
		t.Error(diff)
	}
}
