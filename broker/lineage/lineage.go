// Package lineage knows whose pod a pod is: the chain of controllers from the pod up
// to the job that it was made for.
//
// It follows controller references alone, by UID and within one namespace: a label
// buys nothing, and neither does a reference into another namespace. It promises to
// tell an ancestor that is not known yet from one that there is not, and that a chain
// outlives its links: an object that was deleted before its pods had ended still
// stands between them and their job. It refuses to judge what a job is.
//
// It keeps no clock and does no I/O. A Lineage may be used from several goroutines.
package lineage

import (
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// mostLinks bounds a chain. The longest of the kinds that are known is four: worker,
// StatefulSet, leader, StatefulSet, LeaderWorkerSet. What is above is not looked at,
// and counts as none: whoever makes a chain that long hides his own pod from his own
// job, whose loan it then cannot use.
const mostLinks = 8

// Kind of an object, without its version.
type Kind = schema.GroupKind

// The kinds between a pod and its job. An object of any other kind ends the chain: it
// is a job, or nothing that a job has made.
var (
	kindPod         = Kind{Kind: "Pod"}
	kindJob         = Kind{Group: "batch", Kind: "Job"}
	kindStatefulSet = Kind{Group: "apps", Kind: "StatefulSet"}
	kindJobSet      = Kind{Group: "jobset.x-k8s.io", Kind: "JobSet"}
	kindRayCluster  = Kind{Group: "ray.io", Kind: "RayCluster"}
)

// between has those kinds with their resources.
var between = []struct {
	kind     Kind
	resource schema.GroupVersionResource
}{
	{kindPod, schema.GroupVersionResource{Version: "v1", Resource: "pods"}},
	{kindStatefulSet, schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "statefulsets"}},
	{kindJob, schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "jobs"}},
	{kindJobSet, schema.GroupVersionResource{Group: "jobset.x-k8s.io", Version: "v1alpha2", Resource: "jobsets"}},
	{kindRayCluster, schema.GroupVersionResource{Group: "ray.io", Version: "v1", Resource: "rayclusters"}},
}

// Resource is what objects of a kind are read as; followed, whether they may have a job
// above them: of no other kind the resource is known.
func Resource(k Kind) (resource schema.GroupVersionResource, followed bool) {
	for i := range between {
		if between[i].kind == k {
			return between[i].resource, true
		}
	}
	return resource, false
}

// Kinds are the resources whose objects are to be Put, all of them, whoever has
// created them: of each the metadata is enough. Pods are not among them, because they
// are watched anyway; of these the leaders of groups (see Leads) are to be Put.
//
// Jobs of other kinds (TrainJob, PyTorchJob, MPIJob, RayJob, LeaderWorkerSet) need not
// be watched for this: a chain ends at them, and they are named by what they control.
func Kinds() []schema.GroupVersionResource {
	var kinds []schema.GroupVersionResource
	for i := range between {
		if between[i].kind != kindPod {
			kinds = append(kinds, between[i].resource)
		}
	}
	return kinds
}

// Leads tells whether a pod may control others: one that a StatefulSet made. Putting
// more pods than these does no harm.
func Leads(pod metav1.Object) bool { return ownerOf(pod).Kind == kindStatefulSet }

// Owner is an object that controls another. The zero Owner is none.
type Owner struct {
	UID  types.UID
	Kind Kind
}

// Lineage is what is known of the objects between pods and jobs. The zero Lineage is
// ready to use, and knows nothing.
type Lineage struct {
	mu    sync.RWMutex
	links map[key]link
	// below are the links, from above.
	below map[key]map[types.UID]bool
	// gone counts the links that are kept though their object is not there any more.
	gone int
}

type key struct {
	namespace string
	uid       types.UID
}

// link says who controls an object.
type link struct {
	owner Owner
	// queued: the object carries the label of a queue.
	queued bool
	// gone: the object was deleted; the link is kept for what it has made.
	gone bool
}

// Put takes over an object as it is now. It tells whether that is news, so that what was
// said of chains with it in them may not hold any more.
func (l *Lineage) Put(object metav1.Object) (changed bool) {
	return l.put(key{object.GetNamespace(), object.GetUID()}, link{owner: ownerOf(object), queued: hasQueue(object)})
}

// PutOwner is Put for whoever has no object at hand: the object of that UID is
// controlled by owner.
func (l *Lineage) PutOwner(namespace string, uid types.UID, owner Owner) {
	l.put(key{namespace, uid}, link{owner: owner})
}

func (l *Lineage) put(at key, now link) (changed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.links == nil {
		l.links = map[key]link{}
	}
	before, known := l.links[at]
	if before.gone {
		l.gone--
		before.gone = false
	}
	if known && before.owner != now.owner {
		l.orphan(at, before.owner)
	}
	l.adopt(at, now.owner)
	l.links[at] = now
	return !known || before != now
}

// Delete notes that an object is gone. Its place in the chains of what it has made
// stays, until Forget.
func (l *Lineage) Delete(namespace string, uid types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := key{namespace, uid}
	if known, is := l.links[at]; is && !known.gone {
		known.gone = true
		l.links[at] = known
		l.gone++
	}
}

// Gone is how many deleted objects are remembered.
func (l *Lineage) Gone() int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.gone
}

// Forget drops the deleted objects that are above none of the given pods and above no
// object that is there. To be called once in a while, with all pods: its time grows
// with their number.
func (l *Lineage) Forget(pods func(yield func(metav1.Object) bool)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone == 0 {
		return
	}
	keep := map[key]bool{}
	mark := func(namespace string, owner Owner) {
		chain, _ := l.climb(namespace, owner)
		for _, o := range chain {
			keep[key{namespace, o.UID}] = true
		}
	}
	for pod := range pods {
		mark(pod.GetNamespace(), ownerOf(pod))
	}
	for at, known := range l.links {
		if !known.gone {
			mark(at.namespace, known.owner)
		}
	}
	for at, known := range l.links {
		if known.gone && !keep[at] {
			delete(l.links, at)
			l.orphan(at, known.owner)
			l.gone--
		}
	}
}

// Chain is who controls a pod, who controls that, and so on up. complete is false if
// the last of them is of a kind that may have somebody above it and has not been seen
// yet: then nobody may say that the pod belongs to no job. A chain that comes back to
// one of its members ends before that.
func (l *Lineage) Chain(pod metav1.Object) (chain []Owner, complete bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.climb(pod.GetNamespace(), ownerOf(pod))
}

// climb is the chain that begins with an owner; the caller holds the lock.
func (l *Lineage) climb(namespace string, owner Owner) (chain []Owner, complete bool) {
	for owner.UID != "" && len(chain) < mostLinks {
		for _, seen := range chain {
			if seen.UID == owner.UID {
				return chain, true
			}
		}
		chain = append(chain, owner)
		if _, followed := Resource(owner.Kind); !followed {
			return chain, true
		}
		known, is := l.links[key{namespace, owner.UID}]
		if !is {
			return chain, false
		}
		owner = known.owner
	}
	return chain, true
}

// ownerOf is the object's controller.
func ownerOf(object metav1.Object) Owner {
	ref := metav1.GetControllerOfNoCopy(object)
	if ref == nil {
		return Owner{}
	}
	return Owner{UID: ref.UID, Kind: schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind).GroupKind()}
}
