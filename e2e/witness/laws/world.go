package laws

import (
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/witness/history"
)

// World is the cluster as the events so far say.
type World struct {
	nodes      map[string]*node
	pods       map[types.UID]*pod
	jobs       map[types.UID]*batchv1.Job
	namespaces map[string]*corev1.Namespace
	quotas     map[string]*quota
	policies   map[string]*v1alpha1.LendingPolicy
	gpuNodes   map[string]*v1alpha1.GPUNode
	queues     map[string]*v1alpha1.TrainingQueue
	loans      map[string]*loan // that exist, by namespace/name
	names      map[string]types.UID
	most       map[place]int64 // that nodes ever had, gone ones too
	head       *coordinationv1.Lease

	// epoch is the highest that anything was written with, and where that was.
	epoch   int64
	epochOf string
	// short are lenders that were found to say less than they lend.
	short map[string]bool

	// stirred is when the status of a queue said last what was new, and which.
	stirred  time.Time
	stirring string

	// unseen is the revision up to which what is applied came by lists, which skip states, so
	// that objects are not compared with each other until all are there; 0: none did.
	unseen   uint64
	revision uint64
	now      time.Time
	late     int
	breaches []Breach
}

// place is a node's units of a resource.
type place struct{ node, resource string }

// NewWorld is empty.
func NewWorld() *World {
	return &World{
		nodes: map[string]*node{}, pods: map[types.UID]*pod{}, jobs: map[types.UID]*batchv1.Job{},
		namespaces: map[string]*corev1.Namespace{}, quotas: map[string]*quota{}, policies: map[string]*v1alpha1.LendingPolicy{},
		gpuNodes: map[string]*v1alpha1.GPUNode{}, loans: map[string]*loan{}, names: map[string]types.UID{}, short: map[string]bool{},
		most: map[place]int64{}, queues: map[string]*v1alpha1.TrainingQueue{},
	}
}

// Late is how many events came after one with a higher revision.
func (w *World) Late() int { return w.late }

// Apply takes an event in, and returns what is broken from it on.
func (w *World) Apply(e history.Event) []Breach {
	if e.Revision < w.revision {
		w.late++
	}
	w.now, w.breaches = e.At, nil
	w.unseen = max(w.unseen, e.Until)
	e.Unseen = e.Unseen || e.Revision <= w.unseen
	switch o := e.Object.(type) {
	case *corev1.Node:
		w.applyNode(o, e)
	case *corev1.Pod:
		w.applyPod(o, e)
	case *corev1.Namespace:
		keep(w.namespaces, o.Name, o, e.Deleted)
	case *batchv1.Job:
		keep(w.jobs, o.UID, o, e.Deleted)
	case *coordinationv1.Lease:
		w.applyHead(o, e)
	case *v1alpha1.TenantQuota:
		w.applyQuota(o, e)
	case *v1alpha1.LendingPolicy:
		w.applyPolicy(o, e)
	case *v1alpha1.GPUNode:
		keep(w.gpuNodes, o.Name, o, e.Deleted)
	case *v1alpha1.TrainingQueue:
		w.applyQueue(o, e)
	case *v1alpha1.Loan:
		w.applyLoan(o, e)
	}
	w.revision = max(w.revision, e.Revision)
	if w.unseen > 0 && e.Revision > w.unseen {
		w.unseen = 0
		w.judgeAll(e)
	}
	return w.breaches
}

func keep[K comparable, V any](all map[K]V, key K, value V, deleted bool) {
	if deleted {
		delete(all, key)
		return
	}
	all[key] = value
}

func (w *World) broken(law Law, e history.Event, text string, args ...any) {
	w.breaches = append(w.breaches, Breach{Law: law, At: e.At, Revision: e.Revision, Text: fmt.Sprintf(text, args...)})
}

// level is a number since some moment.
type level struct {
	since time.Time
	n     int64
}

// levels are a number's course.
type levels []level

func (l *levels) set(n int64, now time.Time) {
	if len(*l) == 0 || (*l)[len(*l)-1].n != n {
		*l = append(*l, level{now, n})
	}
}

// most is the highest in the time from then on.
func (l levels) most(then time.Time) (n int64) {
	for i := len(l) - 1; i >= 0; i-- {
		n = max(n, l[i].n)
		if !l[i].since.After(then) {
			break
		}
	}
	return n
}

// last is what it is now.
func (l levels) last() int64 {
	if len(l) == 0 {
		return 0
	}
	return l[len(l)-1].n
}
