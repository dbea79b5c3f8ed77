package gpunodes

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig/boards"
)

// Nodes reads GPUNodes. Its methods may be called from any goroutine, but List not beside
// a write.
type Nodes struct {
	// Cache has all GPUNodes, as of some time ago. What it returns is not copied.
	Cache client.Reader
	// Live reads the API server.
	Live client.Reader

	mu sync.Mutex
	// began: the API server was asked once, so that the cache is not believed before it has
	// what another leader may have written.
	began bool
	// known are the newest objects that were written or read live, by name; nil: nobody
	// knows whether a write was carried out.
	known   map[string]*v1alpha1.GPUNode
	heard   map[types.UID]v1alpha1.Heard
	settled map[types.UID]v1alpha1.Settled
	costs   costs
	boards  boards.Known
}

// List reads all GPUNodes as they are at now, by name. They are not to be changed.
func (n *Nodes) List(ctx context.Context, now time.Time) ([]*Node, error) {
	var list v1alpha1.GPUNodeList
	if err := n.Cache.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list the cached GPUNodes: %w", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.begin(ctx); err != nil {
		return nil, err
	}
	nodes := make([]*Node, 0, len(list.Items))
	seen := make(map[types.UID]bool, len(list.Items))
	for i := range list.Items {
		object, err := n.newest(ctx, &list.Items[i])
		if err != nil {
			return nil, err
		}
		if object == nil {
			continue
		}
		seen[object.UID] = true
		nodes = append(nodes, &Node{Object: object, Stale: n.stale(object, now), Settling: n.settling(object, now), nodes: n})
		n.costs.learn(object, now)
	}
	for uid := range n.heard {
		if !seen[uid] {
			delete(n.heard, uid)
			delete(n.settled, uid)
		}
	}
	n.costs.forget(now)
	n.costs.refusals.keep(seen)
	slices.SortFunc(nodes, func(a, b *Node) int { return cmp.Compare(a.Object.Name, b.Object.Name) })
	return nodes, nil
}

func (n *Nodes) begin(ctx context.Context) error {
	if n.began {
		return nil
	}
	var live v1alpha1.GPUNodeList
	if err := n.Live.List(ctx, &live); err != nil {
		return fmt.Errorf("list the GPUNodes: %w", err)
	}
	n.began, n.known = true, map[string]*v1alpha1.GPUNode{}
	n.heard, n.settled = map[types.UID]v1alpha1.Heard{}, map[types.UID]v1alpha1.Settled{}
	for i := range live.Items {
		n.known[live.Items[i].Name] = &live.Items[i]
	}
	return nil
}

// newest is the cached object, or the known one while the cache is behind it; nil if there
// is none any more.
func (n *Nodes) newest(ctx context.Context, cached *v1alpha1.GPUNode) (*v1alpha1.GPUNode, error) {
	known, uncertain := n.known[cached.Name]
	switch {
	case !uncertain:
		return cached, nil
	case known == nil:
		var live v1alpha1.GPUNode
		if err := n.Live.Get(ctx, types.NamespacedName{Name: cached.Name}, &live); err != nil {
			if apierrors.IsNotFound(err) {
				return nil, nil
			}
			return nil, fmt.Errorf("read GPUNode %s: %w", cached.Name, err)
		}
		n.known[cached.Name] = &live
		return &live, nil
	case known.UID != cached.UID || !later(known.ResourceVersion, cached.ResourceVersion):
		delete(n.known, cached.Name)
		return cached, nil
	}
	return known, nil
}

// later tells whether one resourceVersion is later than another. Those that cannot be
// compared are, unless they are the same.
func later(a, b string) bool {
	if a == b {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err != nil || order > 0
}

// Wrote remembers a write of a GPUNode and its outcome.
func (n *Nodes) Wrote(object *v1alpha1.GPUNode, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case !n.began:
	case err == nil:
		n.known[object.Name] = object.DeepCopy()
	case refused(err):
	default:
		n.known[object.Name] = nil
	}
}

// refused tells whether the API server has answered that it did nothing.
func refused(err error) bool {
	return apierrors.IsNotFound(err) || apierrors.IsConflict(err) || apierrors.IsInvalid(err) ||
		apierrors.IsForbidden(err) || apierrors.IsBadRequest(err)
}

// stale: the agent's last reading is too old.
func (n *Nodes) stale(object *v1alpha1.GPUNode, now time.Time) bool {
	h := n.heard[object.UID].Hear(object.Status.Heartbeat.Time, now)
	n.heard[object.UID] = h
	return h.Silent(now)
}

// settling: a change of its cards is under way, or was a moment ago.
func (n *Nodes) settling(object *v1alpha1.GPUNode, now time.Time) bool {
	s := n.settled[object.UID].See(object.Settling(), now)
	n.settled[object.UID] = s
	return s.Lately(now)
}

// Node is one GPUNode.
type Node struct {
	Object *v1alpha1.GPUNode
	// Stale: the agent has not been heard from for v1alpha1.SilentAfter.
	Stale bool
	// Settling: what the agent sees counts where the node offers less (v1alpha1.GPUNode.
	// Settling), now or within v1alpha1.JustSettled.
	Settling bool

	nodes *Nodes
}
