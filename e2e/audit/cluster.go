package audit

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	ebbtidev1 "github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// cluster is what the auditor counts with.
type cluster struct {
	resource corev1.ResourceName
	claimed  map[string]int64
	flavor   string           // of loans that count; empty: all
	nodes    map[string]int64 // allocatable units of schedulable nodes
	// capacity of each node in units: what it has, if not all of it can be given away.
	capacity map[string]capacity
	labels   map[string]map[string]string
	pods     map[types.UID]*pod
	onNode   map[string]map[types.UID]*pod // bound and not ended
	loans    map[string]*loan              // open ones, by namespace/name
	byJob    map[types.UID]*loan
	// lent is the sum of open loans' lent units.
	lent int64
	// held is what the bound training pods of a job hold.
	held    map[types.UID]int64
	tenants tenants
	// makers are what was ever seen to stand between jobs and pods.
	makers map[types.UID]maker
}

// capacity is what a node has, and had before it lost some.
type capacity struct {
	now, before int64
	lost        time.Time
}

// change notes what a node has from now on.
func (c capacity) change(units int64, now time.Time) capacity {
	if units < c.now {
		c.before, c.lost = c.now, now
	}
	c.now = units
	return c
}

// within is the most that the node had in the time until now: who binds a pod to a node
// may not have seen yet that it has lost some.
func (c capacity) within(d time.Duration, now time.Time) int64 {
	if !c.lost.IsZero() && now.Sub(c.lost) <= d {
		return max(c.now, c.before)
	}
	return c.now
}

// pod is a pod that asks for units.
type pod struct {
	uid         types.UID
	name        string
	namespace   string
	node        string
	units       int64
	selector    map[string]string // of nodes
	online      bool
	job         types.UID
	queued      bool // of a job that waits in a queue for a loan
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
	borrower  string
	grants    []ebbtidev1.Grant
	pods      int
	units     int64 // of all grants
	lent      int64 // of those that have a lender
	reclaimed bool  // asked back, or its pods are being taken back
	counted   bool  // in Report.Reclaimed
	asked     bool  // in Report.Asked
}

// What an event changed.
type (
	podChange  struct{ before, after *pod } // nil: was or is not there
	loanChange struct {
		loan   *loan
		opened bool
		// asked: the broker has just asked it back.
		asked bool
		// other is a second open loan of the same job.
		other string
	}
	nodeChange struct{ name string }
)

func newCluster(resource, flavor string, claimed map[string]int64) cluster {
	return cluster{
		resource: corev1.ResourceName(resource),
		flavor:   flavor,
		claimed:  claimed,
		nodes:    map[string]int64{},
		capacity: map[string]capacity{},
		labels:   map[string]map[string]string{},
		pods:     map[types.UID]*pod{},
		onNode:   map[string]map[types.UID]*pod{},
		loans:    map[string]*loan{},
		byJob:    map[types.UID]*loan{},
		held:     map[types.UID]int64{},
		makers:   map[types.UID]maker{},
		tenants:  newTenants(),
	}
}

// apply returns a podChange, loanChange or nodeChange, or nil.
func (c *cluster) apply(e event) any {
	switch obj := e.object.(type) {
	case *corev1.Node:
		if e.deleted {
			delete(c.nodes, obj.Name)
			delete(c.capacity, obj.Name)
		} else {
			q, all := obj.Status.Allocatable[c.resource], obj.Status.Capacity[c.resource]
			claimed := c.claimed[obj.Name]
			c.nodes[obj.Name], c.labels[obj.Name] = max(q.Value(), claimed), obj.Labels
			c.capacity[obj.Name] = c.capacity[obj.Name].change(max(q.Value(), all.Value(), claimed), e.received)
		}
		return nodeChange{obj.Name}
	case *corev1.Pod:
		if by := madeBy(obj.OwnerReferences); by != nil && by.Kind == "StatefulSet" {
			c.makers[obj.UID] = maker{obj.UID, by} // it may lead others
		}
		return c.applyPod(obj, e)
	case maker:
		c.makers[obj.uid] = obj
	case *ebbtidev1.Loan:
		return c.applyLoan(obj, e.deleted)
	case *ebbtidev1.TenantQuota:
		c.tenants.applyQuota(obj, c.resource, e.deleted)
	case *corev1.Namespace:
		c.tenants.applyNamespace(obj, e.deleted)
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
		c.hold(before, -before.units)
	}
	if e.deleted {
		delete(c.pods, obj.UID)
		return podChange{before, nil}
	}
	after := &pod{
		uid: obj.UID, name: obj.Namespace + "/" + obj.Name, namespace: obj.Namespace, node: obj.Spec.NodeName, units: units, selector: obj.Spec.NodeSelector,
		online:      obj.Spec.Priority != nil && *obj.Spec.Priority >= ebbtidev1.PriorityOnline,
		created:     firstSeen(obj, e),
		initial:     e.initial,
		ended:       obj.Status.Phase == corev1.PodSucceeded || obj.Status.Phase == corev1.PodFailed,
		succeeded:   obj.Status.Phase == corev1.PodSucceeded,
		terminating: obj.DeletionTimestamp != nil,
		disrupted:   disrupted(obj),
		queued:      obj.Labels[ebbtidev1.LabelQueue] != "",
	}
	after.job = c.jobOf(obj)
	if before != nil {
		after.created, after.initial = before.created, before.initial
	}
	c.pods[obj.UID] = after
	if after.holds() {
		if c.onNode[after.node] == nil {
			c.onNode[after.node] = map[types.UID]*pod{}
		}
		c.onNode[after.node][obj.UID] = after
		c.hold(after, after.units)
	}
	return podChange{before, after}
}

func (c *cluster) unitsOf(obj *corev1.Pod) int64 {
	units := int64(0)
	for _, container := range obj.Spec.Containers {
		q := container.Resources.Limits[c.resource]
		units += q.Value()
	}
	for _, claim := range obj.Spec.ResourceClaims {
		if t := claim.ResourceClaimTemplateName; t != nil && "nvidia.com/"+strings.TrimSuffix(*t, ".ebbtide.dev") == string(c.resource) {
			units++
		}
	}
	return units
}

func disrupted(obj *corev1.Pod) bool {
	for _, condition := range obj.Status.Conditions {
		if condition.Type == corev1.DisruptionTarget && condition.Status == corev1.ConditionTrue {
			return condition.Reason == corev1.PodReasonPreemptionByScheduler // not the broker's
		}
	}
	return false
}

// holds reports whether the pod has units of a node.
func (p *pod) holds() bool { return p.node != "" && !p.ended }

// wants reports whether the pod waits for units that it needs no loan for.
func (p *pod) wants() bool {
	return (p.online || !p.queued) && p.node == "" && !p.ended && !p.terminating
}

// waits reports whether an online pod wants units and has none.
func (p *pod) waits() bool { return p.online && p.wants() }

// firstSeen is since when a pod waits. One that is first seen with a node has
// waited before that, by the API server's clock, which cuts times to whole seconds: it has
// waited from the end of that second at the latest.
func firstSeen(obj *corev1.Pod, e event) time.Time {
	created := obj.CreationTimestamp.Add(time.Second)
	if obj.Spec.NodeName != "" && !obj.CreationTimestamp.IsZero() && created.Before(e.received) {
		return created
	}
	return e.received
}

// hold counts what the training pods of a job hold.
func (c *cluster) hold(p *pod, units int64) {
	if p.online || p.job == "" {
		return
	}
	if c.held[p.job] += units; c.held[p.job] == 0 {
		delete(c.held, p.job)
	}
}

// bound is how many lent units are held by pods of the open loans that lent them.
// Of a loan that is partly of the borrower's own quota it is that part.
func (c *cluster) bound() int64 {
	n := int64(0)
	for job, l := range c.byJob {
		if l.lent > 0 {
			n += min(c.held[job], l.units) * l.lent / l.units
		}
	}
	return n
}

func (c *cluster) applyLoan(obj *ebbtidev1.Loan, deleted bool) any {
	name := obj.Namespace + "/" + obj.Name
	if c.flavor != "" && !slices.ContainsFunc(obj.Spec.Grants, func(g ebbtidev1.Grant) bool { return g.Flavor == c.flavor }) {
		return nil
	}
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
		l = &loan{name: name, job: loanJob(obj), borrower: obj.Spec.Borrower}
		if other := c.byJob[l.job]; other != nil {
			change.other = other.name
		}
		c.loans[name], c.byJob[l.job] = l, l
	}
	c.lent -= l.lent
	l.hold(obj, c.flavor)
	c.lent += l.lent
	if meta.IsStatusConditionTrue(obj.Status.Conditions, ebbtidev1.LoanReclaiming) {
		change.asked = !l.asked
		l.reclaimed, l.asked = true, true
	}
	change.loan = l
	return change
}

// hold notes what the loan keeps: an elastic one may give some back.
func (l *loan) hold(obj *ebbtidev1.Loan, flavor string) {
	l.grants, l.pods, l.units, l.lent = obj.Keeps(), int(obj.KeptPods()), 0, 0
	if flavor != "" {
		l.grants = slices.DeleteFunc(slices.Clone(l.grants), func(g ebbtidev1.Grant) bool { return g.Flavor != flavor })
	}
	for _, g := range l.grants {
		l.units += g.Count
		if g.Lender != "" {
			l.lent += g.Count
		}
	}
}

func (c *cluster) usage() Usage {
	u := Usage{Lent: c.lent, Bound: c.bound(), OpenLoans: len(c.loans)}
	for _, p := range c.pods {
		switch {
		case p.online && p.holds():
			u.Online += p.units
		case p.waits():
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
