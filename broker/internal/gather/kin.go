package gather

import (
	"context"

	"github.com/go-logr/logr"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/lineage"
)

// relation is what a pod is to a job.
type relation int

const (
	// stranger: it belongs to another, or to none.
	stranger relation = iota
	// unclear: somebody above it is not known yet.
	unclear
	// said: it says so, by an owner that does not control it or by a label. A tenant could
	// take one of these off, and the label outlives a job that is deleted without its
	// pods, so either counts as holding units.
	said
	// own: the job is among its ancestors, or it is of the job's group.
	own
)

// Holds tells whether a pod holds, or may hold, units for the job that a Loan names. Of
// which it is not known whose it is, it may only where the loan has units: the scheduler
// places the pods of a loan nowhere else. nodes are these.
func Holds(chains *lineage.Lineage, pod *corev1.Pod, job *v1alpha1.JobRef, nodes map[string]bool) bool {
	keys, complete := chains.Keys(pod)
	for _, key := range lineage.LoanKeys(job) {
		for _, k := range keys {
			if k == key {
				return true
			}
		}
	}
	for _, uid := range saidJobs(pod) {
		if uid == job.UID {
			return true
		}
	}
	return !complete && nodes[pod.Spec.NodeName]
}

// Waits: nobody has admitted the pod yet, of those that are admitted themselves.
func Waits(pod *corev1.Pod) bool {
	return pod.Spec.NodeName == "" && pod.Annotations[v1alpha1.AnnotationAttempt] == ""
}

// saidJobs are the jobs that a pod says it belongs to, by its owner references or by its
// label.
func saidJobs(pod *corev1.Pod) []types.UID {
	var uids []types.UID
	for _, ref := range pod.OwnerReferences {
		uids = append(uids, ref.UID)
	}
	if label := pod.Labels[batchv1.ControllerUidLabel]; label != "" {
		uids = append(uids, types.UID(label))
	}
	return uids
}

// kin finds the open loans of pods.
type kin struct {
	chains *lineage.Lineage
	// loans are the open ones.
	loans map[loanKey]*loan
	// among are those of a namespace, in order, and near those of it that have units on a
	// node.
	among map[string][]*loan
	near  map[spot][]*loan
	// climb learns who is above a pod that holds units. It reports whether the whole chain
	// is known now, and whether somebody in it is gone without having been seen.
	climb func(pod *corev1.Pod) (complete, gone bool)
}

// spot is where a pod of a namespace may hold units.
type spot struct{ namespace, node string }

// loanKey is a key where it is: a job has pods in its own namespace only.
type loanKey struct {
	namespace string
	key       lineage.Key
}

func (g *Gatherer) kinship(ctx context.Context, open []*loan, flavors *flavorTable) *kin {
	if g.Chains == nil {
		g.Chains = &lineage.Lineage{}
	}
	k := &kin{chains: g.Chains, loans: map[loanKey]*loan{}, among: map[string][]*loan{}, near: map[spot][]*loan{}}
	for _, l := range open {
		namespace := l.object.Namespace
		k.among[namespace] = append(k.among[namespace], l)
		for node := range Nodes(l.object) {
			at := spot{namespace, node}
			k.near[at] = append(k.near[at], l)
		}
		for _, key := range lineage.LoanKeys(&l.object.Spec.Job) {
			k.loans[loanKey{namespace, key}] = l
		}
	}
	up := &climber{Gatherer: g, left: mostClimbs, failed: map[schema.GroupKind]bool{}, were: g.gone, gone: map[types.UID]bool{}}
	g.gone = up.gone
	k.climb = func(pod *corev1.Pod) (complete, gone bool) {
		if len(flavors.held(pod)) == 0 {
			return false, false
		}
		return up.climb(ctx, pod)
	}
	return k
}

// loanOf is the open loan whose job a pod belongs to, nil if there is none that is known.
func (k *kin) loanOf(pod *corev1.Pod) (*loan, relation) {
	if len(k.among[pod.Namespace]) == 0 {
		return nil, stranger
	}
	l, complete := k.byKeys(pod)
	if l != nil {
		return l, own
	}
	for _, uid := range saidJobs(pod) {
		if l := k.loans[loanKey{pod.Namespace, lineage.JobKey(uid)}]; l != nil {
			return l, said
		}
	}
	if complete {
		return nil, stranger
	}
	switch {
	case pod.Spec.NodeName != "" && len(k.around(pod)) == 0:
		return nil, stranger
	case ended(pod):
		return nil, unclear
	}
	complete, gone := k.climb(pod)
	if complete || gone {
		if l, _ := k.byKeys(pod); l != nil {
			return l, own
		}
	}
	switch {
	case complete:
		return nil, stranger
	case gone:
		// Somebody made it who is gone, and was never seen: it counts for who has units
		// where it is. Its end is near, since the cluster collects what has no owner.
		return k.around(pod)[0], said
	}
	return nil, unclear
}

// around are the loans of the pod's namespace that have units where it is, in order.
func (k *kin) around(pod *corev1.Pod) []*loan { return k.near[spot{pod.Namespace, pod.Spec.NodeName}] }

func (k *kin) byKeys(pod *corev1.Pod) (l *loan, complete bool) {
	keys, complete := k.chains.Keys(pod)
	for _, key := range keys {
		if l := k.loans[loanKey{pod.Namespace, key}]; l != nil {
			return l, complete
		}
	}
	return nil, complete
}

// unsure: no loan counts as returned whose units the pod may hold.
func (k *kin) unsure(pod *corev1.Pod) {
	for _, l := range k.around(pod) {
		l.unsure = true
	}
}

const (
	// mostClimbs bounds for how many pods of a snapshot the API server is asked who is
	// above them. Those beyond are looked at next time: what was found out is not asked
	// again, and of a kind that cannot be read only one is asked for.
	mostClimbs = 32
	// mostSteps bounds each such climb.
	mostSteps = 8
)

// climber asks the API server who is above a pod, where the caches did not say: they may
// have the pod before its owner, or the owner's kind may have been installed just now.
type climber struct {
	*Gatherer
	left int
	// failed are the kinds that could not be read.
	failed map[schema.GroupKind]bool
	// were are the owners that an earlier snapshot found gone, gone those that this one did,
	// or met again. Their UIDs never come back.
	were, gone map[types.UID]bool
}

// climb reports whether the whole chain is known now, and whether somebody in it is gone.
// Nobody is above an owner of a kind that is not installed.
func (c *climber) climb(ctx context.Context, pod *corev1.Pod) (complete, gone bool) {
	var object metav1.Object = pod
	asked := false
	for range mostSteps {
		if _, complete := c.Chains.Chain(pod); complete {
			return true, false
		}
		ref := metav1.GetControllerOfNoCopy(object)
		if ref == nil {
			return false, false
		}
		kind := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind).GroupKind()
		if c.were[ref.UID] || c.gone[ref.UID] {
			c.gone[ref.UID] = true
			return false, true
		}
		if c.failed[kind] || !asked && c.left <= 0 {
			return false, false
		}
		if !asked {
			asked = true
			c.left--
		}
		owner := &metav1.PartialObjectMetadata{}
		resource, _ := lineage.Resource(kind) // a chain that is not whole ends at one of these
		owner.SetGroupVersionKind(kind.WithVersion(resource.Version))
		err := c.lookUp(ctx, types.NamespacedName{Namespace: pod.Namespace, Name: ref.Name}, owner)
		switch {
		case meta.IsNoMatchError(err):
			c.Chains.PutOwner(pod.Namespace, ref.UID, lineage.Owner{})
			return true, false
		case apierrors.IsNotFound(err), err == nil && owner.UID != ref.UID:
			c.gone[ref.UID] = true
			return false, true
		case err != nil:
			c.failed[kind] = true
			logr.FromContextOrDiscard(ctx).Error(err, "It is not known whose a pod is; no loan of its namespace with units on its node is over",
				"pod", pod.Namespace+"/"+pod.Name, "kind", kind.String())
			return false, false
		}
		c.Chains.Put(owner)
		object = owner
	}
	return false, false
}

func (c *climber) lookUp(ctx context.Context, key types.NamespacedName, into client.Object) error {
	ctx, cancel := context.WithTimeout(ctx, liveTimeout)
	defer cancel()
	return c.Live.Get(ctx, key, into)
}
