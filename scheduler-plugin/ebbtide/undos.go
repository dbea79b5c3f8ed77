package ebbtide

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/klog/v2"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	migslices "github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/slices"
)

// undos are the reshapes that this scheduler wants undone, and those that are being
// undone for whatever reason. After a restart it is empty: what was written stands in
// the GPUNodes, and what was not is chosen again.
type undos struct {
	mu sync.Mutex
	// wanted are those of which it is not seen yet that they are to be undone, and whether
	// it was written.
	wanted map[reshapeKey]bool
	// since is from when on nobody has held what is to go.
	since map[reshapeKey]time.Time
	// changing is from when on those that are not settled have kept pods waiting.
	changing map[reshapeKey]time.Time
}

// reshapeKey names a reshape.
type reshapeKey struct{ node, id string }

func newUndos() *undos {
	return &undos{wanted: map[reshapeKey]bool{}, since: map[reshapeKey]time.Time{}, changing: map[reshapeKey]time.Time{}}
}

// add returns false if the reshape was wanted undone already.
func (u *undos) add(key reshapeKey) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, known := u.wanted[key]; known {
		return false
	}
	u.wanted[key] = false
	return true
}

func (u *undos) has(key reshapeKey) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, known := u.wanted[key]
	return known
}

// written notes that nothing is left to be done but to see it.
func (u *undos) written(key reshapeKey) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, known := u.wanted[key]; known {
		u.wanted[key] = true
	}
}

// unwritten returns what is still to be written.
func (u *undos) unwritten() []reshapeKey {
	u.mu.Lock()
	defer u.mu.Unlock()
	var out []reshapeKey
	for key, written := range u.wanted {
		if !written {
			out = append(out, key)
		}
	}
	slices.SortFunc(out, func(a, b reshapeKey) int { return cmp.Or(cmp.Compare(a.node, b.node), cmp.Compare(a.id, b.id)) })
	return out
}

// unheld returns since when nobody has held what is to go, as far as is known; now, if
// that is new.
func (u *undos) unheld(key reshapeKey, now time.Time) time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	return firstSeen(u.since, key, now)
}

// unsettled returns since when pods have been waiting until the change is settled; now, if
// that is new.
func (u *undos) unsettled(key reshapeKey, now time.Time) time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	return firstSeen(u.changing, key, now)
}

func firstSeen(at map[reshapeKey]time.Time, key reshapeKey, now time.Time) time.Time {
	since, known := at[key]
	if !known {
		since, at[key] = now, now
	}
	return since
}

// seen notes what the node says now: of its reshapes that are over nothing is remembered,
// and of those that say themselves that they are to be undone nothing is wanted.
func (u *undos) seen(node string, reshapes []migslices.Reshape) {
	u.mu.Lock()
	defer u.mu.Unlock()
	lasts, says, settled := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for i := range reshapes {
		id := reshapes[i].ID
		lasts[id], says[id], settled[id] = true, reshapes[i].Undo, reshapes[i].State == v1alpha1.ReshapeMade
	}
	maps.DeleteFunc(u.changing, func(key reshapeKey, _ time.Time) bool {
		return key.node == node && (!lasts[key.id] || settled[key.id])
	})
	maps.DeleteFunc(u.since, func(key reshapeKey, _ time.Time) bool { return key.node == node && !lasts[key.id] })
	maps.DeleteFunc(u.wanted, func(key reshapeKey, _ bool) bool {
		return key.node == node && (!lasts[key.id] || says[key.id])
	})
}

// undo has the reshape undone: as soon as nobody holds what it made, the node's agent
// brings back what was there before, with a broker or without one. The API calls are made
// beside the scheduling cycle.
func (p *Ebbtide) undo(ctx context.Context, key reshapeKey) {
	if p.undos.add(key) {
		undosTotal.Inc()
		klog.FromContext(ctx).Info("Reshape is to be undone", "node", key.node, "reshape", key.id)
		p.taken.wake()
	}
}

// sweepUndos writes which reshapes are to be undone.
func (p *Ebbtide) sweepUndos(ctx context.Context) error {
	var errs []error
	for _, key := range p.undos.unwritten() {
		if err := p.writeUndo(ctx, key); err != nil {
			errs = append(errs, fmt.Errorf("undo reshape %s of node %s: %w", key.id, key.node, err))
			continue
		}
		p.undos.written(key)
	}
	return errors.Join(errs...)
}

// undoTries is how often a write is tried at once when others write too.
const undoTries = 4

// writeUndo sets undo on the reshape in the GPUNode, of which it changes nothing else: it
// is read anew, and written only if nobody has written since. One that is gone is no
// error.
func (p *Ebbtide) writeUndo(ctx context.Context, key reshapeKey) error {
	nodes := p.objects.dynamic.Resource(v1alpha1.GroupVersion.WithResource("gpunodes"))
	var conflict error
	for range undoTries {
		gn, err := nodes.Get(ctx, key.node, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		changed, err := setUndo(gn, key.id)
		if err != nil || !changed {
			return err
		}
		_, err = nodes.Update(ctx, gn, metav1.UpdateOptions{})
		if !apierrors.IsConflict(err) {
			return err
		}
		conflict = err
	}
	return conflict
}

// setUndo changes the object, unless that is what it says or the reshape is not there.
func setUndo(gn *unstructured.Unstructured, id string) (changed bool, err error) {
	list, _, err := unstructured.NestedSlice(gn.Object, "spec", "reshapes")
	if err != nil {
		return false, err
	}
	for i := range list {
		r, ok := list[i].(map[string]any)
		if !ok || r["id"] != id || r["undo"] == true {
			continue
		}
		r["undo"] = true
		return true, unstructured.SetNestedSlice(gn.Object, list, "spec", "reshapes")
	}
	return false, nil
}
