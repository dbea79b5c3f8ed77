package controller

import (
	"slices"

	"github.com/go-logr/logr"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/gpunodes"
)

// recallCosts lets nodes know from the ledger how long changes of layouts took. Where that
// does not go, they are assumed to take what the configuration says: nobody waits for it.
func recallCosts(nodes *gpunodes.Nodes, book gpunodes.Book, log logr.Logger) {
	if err := nodes.Recall(book); err != nil {
		log.Error(err, "How long reshapes took is not known from the ledger")
	}
}

// gpusMatter tells whether an update of a GPUNode can change a decision. Most are
// heartbeats, and how busy GPUs are.
func gpusMatter(old, new *v1alpha1.GPUNode) bool {
	return old.Generation != new.Generation || reshapesCame(old, new) ||
		!apiequality.Semantic.DeepEqual(old.Status.Boards, new.Status.Boards) ||
		!slices.EqualFunc(old.Status.Conditions, new.Status.Conditions, func(a, b metav1.Condition) bool {
			return a.Type == b.Type && a.Status == b.Status && a.Reason == b.Reason
		}) ||
		!slices.EqualFunc(old.Status.GPUs, new.Status.GPUs, func(a, b v1alpha1.GPUStatus) bool {
			return a.UUID == b.UUID && a.MIG == b.MIG && a.Healthy == b.Healthy && a.Fingerprint == b.Fingerprint &&
				slices.EqualFunc(a.Instances, b.Instances, sameInstance)
		})
}

// sameInstance tells whether nothing has changed about an instance but how busy it is.
func sameInstance(a, b v1alpha1.MIGInstance) bool {
	return a.MIGPlacement == b.MIGPlacement && a.State == b.State &&
		apiequality.Semantic.DeepEqual(a.Holder, b.Holder) &&
		(a.Processes == nil) == (b.Processes == nil) && (a.Processes == nil || (*a.Processes > 0) == (*b.Processes > 0))
}

// reshapesCame tells whether a change of a layout has come further.
func reshapesCame(old, new *v1alpha1.GPUNode) bool {
	return !slices.EqualFunc(old.Status.Reshapes, new.Status.Reshapes, func(a, b v1alpha1.ReshapeStatus) bool {
		return a.ID == b.ID && a.State == b.State
	})
}
