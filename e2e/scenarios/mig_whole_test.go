package scenarios

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

const (
	wholeNode = "whole-0"
	// wholes are the GPUs that are not cut: six of the node with slices, and all of the other.
	wholes = 6 + 8
)

// Whole GPUs and slices of one tenant are lent side by side: on a node of which two GPUs
// are cut, and on one that has none of these. A gang on whole GPUs spans both, while
// slices are lent in the shape that they have, and one card is reshaped. What one service
// needs is taken from those who have the like, and in the morning both get all of theirs.
func TestMIGBesideWholeGPUs(t *testing.T) {
	t.Parallel()
	w := newMixedTown(t)
	w.dial.set(1, 0)
	w.serveOnSlices(0, v1alpha1.ReshapeIdle)
	w.serveOnGPUs()
	w.awaitPins()
	w.scale(2 * pinnedEach)
	w.scaleService("search", 1)
	w.awaitBound(onlineNamespace, 2*pinnedEach+1)

	// Night: everything that is idle is lent.
	w.create(slicedJob("big", fourG))
	w.lendMade("big")
	workers := []string{"worker-0", "worker-1", "worker-2", "worker-3"}
	for _, name := range workers {
		w.create(slicedJob(name, oneG))
	}
	w.submit("gang", 6, 2, nil)
	w.awaitLoans(append(workers, "big", "gang")...)
	w.submit("lone", 1, 1, nil)
	w.awaitLoans(append(workers, "big", "gang", "lone")...)
	w.awaitBound(trainingNamespace, 4+1+6+1)
	w.wantOnBothNodes("gang")
	w.awaitWholeHeld(6)
	w.awaitAgreement()
	w.awaitOld("lone") // a younger loan is spared, and the gang would go in its place

	// One more replica on a GPU takes one GPU back, and no slice; one on a slice no GPU.
	w.scaleService("search", 2)
	w.wantSoon("one more on a GPU", 2*pinnedEach+2)
	w.awaitLoans(append(workers, "big", "gang")...)
	w.scale(2*pinnedEach + 1)
	w.wantSoon("one more on a slice", 2*pinnedEach+3)
	w.awaitBound(trainingNamespace, 3+1+6)
	w.awaitLent("gang", "big")
	w.wantOnBothNodes("gang")

	// Morning: all of both, at once.
	w.dial.set(5, 0)
	w.scale(14)
	w.scaleService("search", wholes)
	w.awaitReady(14)
	w.awaitReadyOf("search", wholes)
	w.awaitLoans()
	w.awaitReshapes()
	w.awaitWholeHeld(6)
	w.wantPinnedUntouched()
	w.closeTheBooks()
	w.wantBooked(wholeFlavor, oneGFlavor, fourGFlavor)
}

// newMixedTown is a town of a node with two cards that are cut in seven beside six whole
// ones, and of one with eight whole GPUs; all are the online services' tenant's.
func newMixedTown(t *testing.T) *town {
	t.Helper()
	node := cutInSeven(migNode, 2)
	node.Cards.Whole = 6
	d := newDial(t)
	w := raise(t, 0, lab.Options{
		SDURL: d.server.URL + "/targets", Broker: slicingBroker(), Agent: &lab.Program{Restart: true},
		Nodes: []lab.NodeSpec{node, {Name: wholeNode, GPUs: 8, Labels: map[string]string{lab.LabelProduct: node.Cards.Product()}}},
	})
	w.dial = d
	d.follow(w.Client())
	w.settleSliced(2, wholes)
	w.others = append(w.others, w.auditorOf(gpu, wholeFlavor))
	return w
}

// serveOnGPUs makes a second service, whose replicas take one whole GPU each.
func (w *town) serveOnGPUs() {
	w.t.Helper()
	deployment, policy := service(0, 1), lends(wholes)
	labels := map[string]string{"app": "search"}
	deployment.Name, deployment.Spec.Selector.MatchLabels, deployment.Spec.Template.Labels = "search", labels, labels
	policy.Name, policy.Spec.TargetRef.Name = "search", "search"
	w.create(deployment)
	w.create(policy)
}

// wantOnBothNodes checks that pods of the job run on both nodes.
func (w *town) wantOnBothNodes(job string) {
	w.t.Helper()
	pods, err := w.Client().CoreV1().Pods(trainingNamespace).List(w.t.Context(), metav1.ListOptions{LabelSelector: "job-name=" + job})
	if err != nil {
		w.t.Fatal(err)
	}
	on := map[string]int{}
	for _, p := range pods.Items {
		on[p.Spec.NodeName]++
	}
	if on[migNode] == 0 || on[wholeNode] == 0 || len(pods.Items) != 6 {
		w.t.Errorf("the pods of %s are on %v, want six on both nodes", job, on)
	}
}

// awaitWholeHeld waits until pods hold so many whole GPUs of the node with slices, and each
// GPU one of them: of a pod that is bound the kubelet may not have heard.
func (w *town) awaitWholeHeld(want int) {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(context.Context) (bool, string) {
		var held []string
		for _, devices := range w.Devices(migNode).Holding() {
			for _, d := range devices {
				if d.Whole {
					held = append(held, d.GPU)
				}
			}
		}
		slices.Sort(held)
		n := len(slices.Compact(slices.Clone(held)))
		return n == want && len(held) == want, fmt.Sprintf("pods hold the whole GPUs %v, want %d, each one once", held, want)
	})
}

// awaitOld waits until the job's loan is older than quick's least loan, of a second; when it
// was made is known to the second.
func (w *town) awaitOld(job string) {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		loans, err := w.loans(ctx)
		loan, found := loans[job]
		return found && time.Since(loan.CreationTimestamp.Time) > 2*time.Second, fmt.Sprintf("the loan of %s is too young (%v)", job, err)
	})
}

// awaitLent waits until at least these jobs have a loan.
func (w *town) awaitLent(jobs ...string) {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		loans, err := w.loans(ctx)
		for _, job := range jobs {
			if _, found := loans[job]; !found {
				return false, fmt.Sprintf("%d loans, none of %s (%v)", len(loans), job, err)
			}
		}
		return true, ""
	})
}

// wantBooked checks, when the broker has stopped, that the ledger has booked what was lent
// of these flavors and of no other, and that each comes out even.
func (w *town) wantBooked(flavors ...string) {
	w.t.Helper()
	report, err := ledger.Check(w.ledgerPath())
	if err != nil {
		w.t.Fatal(err)
	}
	sums, booked := map[string]int64{}, map[string]bool{}
	for _, b := range report.Balances {
		sums[b.Flavor] += b.UnitMS
		booked[b.Flavor] = booked[b.Flavor] || b.Account.Side == ledger.LenderAccount && b.UnitMS != 0
	}
	for flavor, sum := range sums {
		if sum != 0 {
			w.t.Errorf("the balances of %s add up to %d unit-milliseconds, want 0", flavor, sum)
		}
		if booked[flavor] != slices.Contains(flavors, flavor) {
			w.t.Errorf("is anything lent of %s in the ledger: %t, want of %v", flavor, booked[flavor], flavors)
		}
	}
	if len(sums) < len(flavors) {
		w.t.Errorf("the ledger has balances of %v, want of %v", sums, flavors)
	}
}
