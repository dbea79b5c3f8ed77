package scenarios

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// A day in small. Three replicas of eight GPUs serve by day; at night one is
// enough and two nodes are lent, to the job that came first. In the morning the
// nodes come back one by one, and a job that had to stop keeps its place.
func TestADayInSmall(t *testing.T) {
	t.Parallel()
	w := newTown(t, 3)
	w.backfill(false)
	w.dial.set(5, 0)
	w.serve(3, 8, 24)
	w.awaitBound(onlineNamespace, 3)
	// Names in order: Kubernetes dates objects to the second, and equals go by name.
	w.submit("first", 2, 8, nil)
	w.submit("second", 8, 1, nil)
	w.awaitVerdict("Lender/serving/chat", "AboveLowWater")
	w.awaitLoans()

	// Evening: one replica, and little to do for it.
	w.dial.set(2, 0)
	w.scale(1)
	w.awaitLoans("first")
	w.awaitBound(trainingNamespace, 2)
	w.awaitVerdict("Job/research/second", "NoLendableUnits")

	// Dawn: a second replica. The first job holds both nodes and cannot shrink, so
	// it goes whole, and is again the first of its queue.
	w.scale(2)
	w.awaitBound(onlineNamespace, 2) // how soon, the auditor judges
	w.awaitLoans()
	w.awaitVerdict("Job/research/second", "BehindInQueue")

	// What the first job left over is enough for the second one, if it may pass.
	w.backfill(true)
	w.awaitLoans("second")
	w.awaitBound(trainingNamespace, 8)
	w.backfill(false)

	// Morning: everything comes home.
	w.dial.set(5, 0)
	w.scale(3)
	w.awaitBound(onlineNamespace, 3)
	w.awaitLoans()

	// Night again: the first job has kept its place before the second one.
	w.dial.set(2, 0)
	w.scale(1)
	w.awaitLoans("first")
	w.awaitTakenBack("first")
	w.awaitTakenBack("second")
	w.closeTheBooks()
}

// backfill says whether jobs may pass others of the queue that do not fit.
func (w *town) backfill(may bool) {
	w.t.Helper()
	queue := &v1alpha1.TrainingQueue{ObjectMeta: metav1.ObjectMeta{Namespace: trainingNamespace, Name: "default"}}
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"backfill":%t}}`, may))
	if err := w.api.Patch(w.t.Context(), queue, patch); err != nil {
		w.t.Fatal(err)
	}
}

// A job that ends by itself gives its units back, and the next one gets them.
func TestAJobThatFinishesMakesRoom(t *testing.T) {
	t.Parallel()
	w := newTown(t, 2)
	w.dial.set(2, 0)
	w.serve(1, 8, 16)
	w.submit("short", 1, 8, map[string]string{"lab.ebbtide.dev/complete-after": "2s"})
	w.awaitEntry("short", "LEND_GRANTED") // its loan may be over before anybody looks
	w.submit("next", 1, 8, nil)
	w.awaitLoans("next")
	w.awaitEntry("short", "RELEASED")
	w.closeTheBooks()
}
