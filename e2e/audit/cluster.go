package audit

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	ebbtidev1 "github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// cluster is what the auditor counts with.
type cluster struct {
	resource corev1.ResourceName
	nodes    map[string]int64 // allocatable units of schedulable nodes
	pods     map[types.UID]*pod
	onNode   map[string]map[types.UID]*pod // bound and not ended
	loans    map[string]*loan              // open ones, by namespace/name
	byJob    map[types.UID]*loan
	// lent is the sum of open loans' lent units, bound that of their bound pods.
	lent, bound int64
}

// pod is a pod that asks for units.
type pod struct {
	uid         types.UID
	name        string
	node        string
	units       int64
	online      bool
	job         types.UID
	created     time.Time
	initial     bool
	ended       bool // its containers have: it holds nothing
	succeeded   bool
	terminating bool
	disrupted   bool // marked by the scheduler as a victim
}

// loan is an open Loan.
type loan struct {
	name      string
	job       types.UID
	grants    []ebbtidev1.Grant
	pods      int
	lent      int64
	reclaimed bool // asked back, or its pods are being taken back
	counted   bool // in Report.Reclaimed
}

// What an event changed.
type (
	podChange  struct{ before, after *pod } // nil: was or is not there
	loanChange struct {
		loan   *loan
		opened bool
		// other is a second open loan of the same job.
		other string
	}
	nodeChange struct{ name string }
)

func newCluster(resource string) cluster {
	return cluster{
		resource: corev1.ResourceName(resource),
		nodes:    map[string]int64{},
		pods:     map[types.UID]*pod{},
		onNode:   map[string]map[types.UID]*pod{},
		loans:    map[string]*loan{},
		byJob:    map[types.UID]*loan{},
	}
}

// apply returns a podChange, loanChange or nodeChange, or nil.
func (c *cluster) apply(e event) any {
	switch obj := e.object.(type) {
	case *corev1.Node:
		if e.deleted {
			delete(c.nodes, obj.Name)
		} else {
			q := obj.Status.Allocatable[c.resource]
			c.nodes[obj.Name] = q.Value()
		}
		return nodeChange{obj.Name}
	case *corev1.Pod:
		return c.applyPod(obj, e)
	case *ebbtidev1.Loan:
		return c.applyLoan(obj, e.deleted)
	}
	return nil
}

func (c *cluster) applyPod(obj *corev1.Pod, e event) any {
	units := c.unitsOf(obj)
	if units == 0 {
		return nil
	}
	before := c.pods[obj.UID]
	if before != nil && before.holds() {
		delete(c.onNode[before.node], obj.UID)
		c.bound -= before.lentUnits()
	}
	if e.deleted {
		delete(c.pods, obj.UID)
		return podChange{before, nil}
	}
	after := &pod{
		uid: obj.UID, name: obj.Namespace + "/" + obj.Name, node: obj.Spec.NodeName, units: units,
		online:      obj.Spec.Priority != nil && *obj.Spec.Priority >= ebbtidev1.PriorityOnline,
		created:     e.received,
		initial:     e.initial,
		ended:       obj.Status.Phase == corev1.PodSucceeded || obj.Status.Phase == corev1.PodFailed,
		succeeded:   obj.Status.Phase == corev1.PodSucceeded,
		terminating: obj.DeletionTimestamp != nil,
		disrupted:   disrupted(obj),
	}
	for _, o := range obj.OwnerReferences {
		if o.Kind == "Job" {
			after.job = o.UID
		}
	}
	if before != nil {
		after.created, after.initial = before.created, before.initial
	}
	c.pods[obj.UID] = after
	if after.holds() {
		if c.onNode[after.node] == nil {
			c.onNode[after.node] = map[types.UID]*pod{}
		}
		c.onNode[after.node][obj.UID] = after
		c.bound += after.lentUnits()
	}
	return podChange{before, after}
}

func (c *cluster) unitsOf(obj *corev1.Pod) int64 {
	units := int64(0)
	for _, container := range obj.Spec.Containers {
		q := container.Resources.Limits[c.resource]
		units += q.Value()
	}
	return units
}

func disrupted(obj *corev1.Pod) bool {
	for _, condition := range obj.Status.Conditions {
		if condition.Type == corev1.DisruptionTarget && condition.Status == corev1.ConditionTrue {
			return true
		}
	}
	return false
}

// holds reports whether the pod has units of a node.
func (p *pod) holds() bool { return p.node != "" && !p.ended }

func (p *pod) lentUnits() int64 {
	if p.online {
		return 0
	}
	return p.units
}

func (c *cluster) applyLoan(obj *ebbtidev1.Loan, deleted bool) any {
	name := obj.Namespace + "/" + obj.Name
	l := c.loans[name]
	open := !deleted && !meta.IsStatusConditionTrue(obj.Status.Conditions, ebbtidev1.LoanReturned)
	if !open {
		if l != nil {
			c.lent -= l.lent
			delete(c.loans, name)
			if c.byJob[l.job] == l {
				delete(c.byJob, l.job)
			}
		}
		return loanChange{loan: l}
	}
	change := loanChange{opened: l == nil}
	if l == nil {
		l = &loan{name: name, job: obj.Spec.Job.UID, grants: obj.Spec.Grants, pods: int(obj.Spec.Pods)}
		for _, g := range l.grants {
			if g.Lender != "" {
				l.lent += g.Count
			}
		}
		if other := c.byJob[l.job]; other != nil {
			change.other = other.name
		}
		c.loans[name], c.byJob[l.job] = l, l
		c.lent += l.lent
	}
	l.reclaimed = l.reclaimed || meta.IsStatusConditionTrue(obj.Status.Conditions, ebbtidev1.LoanReclaiming)
	change.loan = l
	return change
}

func (c *cluster) usage() Usage {
	u := Usage{Lent: c.lent, Bound: c.bound, OpenLoans: len(c.loans)}
	for _, p := range c.pods {
		switch {
		case p.online && p.holds():
			u.Online += p.units
		case p.online && p.node == "" && !p.ended:
			u.Waiting++
		}
	}
	for _, l := range c.loans {
		if l.reclaimed {
			u.Reclaiming++
		}
	}
	return u
}
