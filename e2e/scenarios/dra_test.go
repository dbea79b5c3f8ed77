package scenarios

import (
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig/simgpu"
)

// The reference example without a device plugin: the same pods and jobs, which ask for the
// same resources, get their slices by claims that the scheduler makes. Lent slices come
// back with their claims, and instances come and go with them.
func TestClaimsForExtendedResources(t *testing.T) {
	t.Parallel()
	w := newClaimedTown(t)
	w.dial.set(5, 0)
	w.openOnceKnown(v1alpha1.ReshapeNever)
	w.awaitDevices(onlineNamespace, "1g5gb-19-4", "1g5gb-19-5", "1g5gb-19-6")

	workers := []string{"worker-0", "worker-1", "worker-2", "worker-3"}
	for _, name := range workers {
		w.create(slicedJob(name, oneG))
	}
	w.dial.set(2, 0)
	w.awaitLoans(workers...)
	w.awaitBound(trainingNamespace, 4)
	w.awaitDevices(trainingNamespace, "1g5gb-19-0", "1g5gb-19-1", "1g5gb-19-2", "1g5gb-19-3")

	// Dawn: two more replicas, then all.
	w.scale(5)
	w.awaitBound(onlineNamespace, 5) // how soon, the auditor judges
	w.awaitBound(trainingNamespace, 2)
	w.dial.set(5, 0)
	w.scale(7)
	w.awaitReady(7)
	w.awaitLoans()
	w.awaitDevices(trainingNamespace)
	w.closeTheBooks()
}

// In a long trough the layout is made into one with a slice of four, for a job that claims
// one, and back before the service needs it, by the load. Claims get what the layout has, and end with their pods.
func TestClaimsInALongTrough(t *testing.T) {
	t.Parallel()
	w := newClaimedTown(t)
	w.dial.set(5, 0)
	w.openOnceKnown(v1alpha1.ReshapeIdle)
	w.awaitDevices(onlineNamespace, "1g5gb-19-4", "1g5gb-19-5", "1g5gb-19-6")
	before := len(w.cardWrites()) // instances are made for claims
	w.claim("big", "mig-4g.20gb.ebbtide.dev")

	// Night: the job gets a slice that was not there.
	w.dial.set(2, 0)
	w.lendMade("big")
	w.awaitDevices(trainingNamespace, "4g20gb-5-0")
	w.awaitInstances("3@0 0@4 0@5 0@6")
	w.morning()
	w.awaitDevices(trainingNamespace)
	w.awaitInstances("0@0 0@1 0@2 0@3 0@4 0@5 0@6")
	writes := w.cardWrites()[before:]
	if len(writes) == 0 {
		t.Error("nothing was written to the card, which was made into another and back")
	}
	for _, x := range writes {
		if x.Start >= 4 {
			t.Errorf("%s of profile %d at %d by %s, want what is pinned untouched", x.Op, x.Profile, x.Start, x.By)
		}
	}
	w.closeTheBooks()
}

// Without a broker the scheduler takes a claimed slice back for an online pod, which waits
// no longer than the grace.
func TestClaimsTakenBackByTheScheduler(t *testing.T) {
	t.Parallel()
	w := newClaimedTown(t)
	w.dial.set(2, 0)
	w.openOnceKnown(v1alpha1.ReshapeIdle)
	w.claim("big", "mig-4g.20gb.ebbtide.dev")
	w.lendMade("big")
	w.growAlone()
	w.closeTheBooks()
}

// cardWrites returns all that was written to the card.
func (w *town) cardWrites() []simgpu.Write {
	w.t.Helper()
	all, err := w.card.Writes()
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// claim has a job of one pod claim a slice of a class.
func (w *town) claim(job, class string) {
	w.t.Helper()
	w.create(template(class))
	w.create(claimingJob(job, class))
}

// template is for one device of the class whose name it has.
func template(class string) *resourcev1.ResourceClaimTemplate {
	return &resourcev1.ResourceClaimTemplate{
		ObjectMeta: metav1.ObjectMeta{Namespace: trainingNamespace, Name: class},
		Spec: resourcev1.ResourceClaimTemplateSpec{Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{
			Requests: []resourcev1.DeviceRequest{{Name: "slice", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: class}}},
		}}},
	}
}

// claimingJob is a job of one pod that claims a slice.
func claimingJob(name, class string) *batchv1.Job {
	job := slicedJob(name, oneG)
	spec := &job.Spec.Template.Spec
	spec.Containers[0].Resources = corev1.ResourceRequirements{Claims: []corev1.ResourceClaim{{Name: "slice"}}}
	spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "slice", ResourceClaimTemplateName: &class}}
	return job
}
