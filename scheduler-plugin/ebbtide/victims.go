package ebbtide

import (
	"context"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
)

// choose returns the loans to take back for the pod and those alike, and the
// scene that the pod will get; a nil scene if nothing helps.
func (p *Ebbtide) choose(ctx context.Context, pod *corev1.Pod, c *cycle, scenes []*scene, now time.Time) ([]*v1alpha1.Loan, *scene) {
	scenes = slices.DeleteFunc(slices.Clone(scenes), func(s *scene) bool { return !s.fitsWithout })
	if len(scenes) == 0 {
		return nil, nil
	}
	loans := loansIn(scenes)
	costs := map[types.UID]float64{}
	for _, loan := range loans {
		costs[loan.UID] = p.lostWork(loan, now)
	}
	// Loans from the pod's own side go first, as with the broker: a service gets
	// its own units back, if that makes the room.
	own := slices.DeleteFunc(slices.Clone(loans), func(loan *v1alpha1.Loan) bool { return !lentBy(loan, pod.Namespace) })
	wide := p.wideOnes(ctx, pod, c.requests[0], scenes)
	for pods := p.owed(pod, c, now); pods > 0; pods-- {
		for _, where := range [][]*scene{scenes, wide} {
			for _, from := range [][]*v1alpha1.Loan{own, loans} {
				victims, ok := p.solve(pod, c.requests[0], pods, where, p.candidatesOf(from, where, c.requests[0].Resource, costs), from)
				if !ok {
					continue
				}
				if s, room := p.roomWithout(ctx, pod, where, victims); room >= pods {
					return victims, s
				}
			}
		}
	}
	// Units are not all that the pod lacks (processors or memory, say).
	return p.leastOnOneNode(ctx, pod, scenes, costs)
}

// roomWithout returns the first scene on which the pod fits without the victims, and
// how many pods like it fit on all of them: their filters say whether one does, and
// what is left of every resource how many.
func (p *Ebbtide) roomWithout(ctx context.Context, pod *corev1.Pod, scenes []*scene, victims []*v1alpha1.Loan) (first *scene, room int64) {
	ask := asks(pod)
	for _, s := range scenes {
		after, ok, err := p.fitsWithout(ctx, pod, s, func(loan *v1alpha1.Loan) bool { return slices.Contains(victims, loan) })
		if err != nil {
			klog.FromContext(ctx).Error(err, "Cannot look at a node without the victims", "node", s.name())
			continue
		}
		if !ok {
			continue
		}
		if first == nil {
			first = s
		}
		room += max(1, p.holdsMore(pod, after, ask))
	}
	return first, room
}

// wideOnes returns the scenes on which nothing but units is short for pods like this
// one, once all loans are gone.
func (p *Ebbtide) wideOnes(ctx context.Context, pod *corev1.Pod, r book.Request, scenes []*scene) []*scene {
	ask := asks(pod)
	return slices.DeleteFunc(slices.Clone(scenes), func(s *scene) bool {
		after, ok, err := p.fitsWithout(ctx, pod, s, func(*v1alpha1.Loan) bool { return true })
		return err != nil || !ok || p.holdsMore(pod, after, ask) < (p.freeUnits(after.info, r.Resource)-p.heldIn(after, r.Resource))/r.Units
	})
}

// holdsMore returns how many pods that ask for so much the free resources of the
// scene's node hold, beside those nominated to it before.
func (p *Ebbtide) holdsMore(pod *corev1.Pod, s *scene, ask map[corev1.ResourceName]int64) int64 {
	free := freeOf(s.info)
	for name := range ask {
		free[name] -= p.heldIn(s, name)
	}
	for _, other := range p.nominatedBefore(pod, s.name()) {
		for name, quantity := range asks(other.GetPod()) {
			free[name] -= quantity
		}
		free[corev1.ResourcePods]--
	}
	room := free[corev1.ResourcePods]
	for name, quantity := range ask {
		if quantity > 0 {
			room = min(room, free[name]/quantity)
		}
	}
	return room
}

// freeOf returns what no pod on the node holds; processors in thousandths.
func freeOf(info fwk.NodeInfo) map[corev1.ResourceName]int64 {
	all, used := info.GetAllocatable(), info.GetRequested()
	free := map[corev1.ResourceName]int64{
		corev1.ResourceCPU:              all.GetMilliCPU() - used.GetMilliCPU(),
		corev1.ResourceMemory:           all.GetMemory() - used.GetMemory(),
		corev1.ResourceEphemeralStorage: all.GetEphemeralStorage() - used.GetEphemeralStorage(),
		corev1.ResourcePods:             int64(all.GetAllowedPodNumber() - len(info.GetPods())),
	}
	for name, units := range all.GetScalarResources() {
		free[name] = units - heldUnits(info, name)
	}
	return free
}

// nominatedBefore returns the pods that are promised a place on the node and go
// before this one.
func (p *Ebbtide) nominatedBefore(pod *corev1.Pod, node string) []fwk.PodInfo {
	var before []fwk.PodInfo
	for _, info := range p.handle.NominatedPodsForNode(node) {
		other := info.GetPod()
		if other.UID != pod.UID && book.Priority(other) >= book.Priority(pod) {
			before = append(before, info)
		}
	}
	return before
}

// leastOnOneNode returns the cheapest set of loans whose end lets the pod pass
// all filters on one node: on each node, all are taken off, and then spared one
// by one, the dearest first, as long as the pod still fits.
func (p *Ebbtide) leastOnOneNode(ctx context.Context, pod *corev1.Pod, scenes []*scene, costs map[types.UID]float64) ([]*v1alpha1.Loan, *scene) {
	var best []*v1alpha1.Loan
	var at *scene
	var least float64
	for _, s := range scenes {
		loans := loansIn([]*scene{s})
		slices.SortStableFunc(loans, func(a, b *v1alpha1.Loan) int {
			switch {
			case costs[a.UID] > costs[b.UID]:
				return -1
			case costs[a.UID] < costs[b.UID]:
				return 1
			}
			return 0
		})
		gone := slices.Clone(loans)
		for _, spared := range loans {
			without := slices.DeleteFunc(slices.Clone(gone), func(l *v1alpha1.Loan) bool { return l == spared })
			if first, _ := p.roomWithout(ctx, pod, []*scene{s}, without); first != nil {
				gone = without
			}
		}
		var cost float64
		for _, loan := range gone {
			cost += costs[loan.UID]
		}
		if at == nil || cost < least {
			best, at, least = gone, s, cost
		}
	}
	return best, at
}

// loansIn returns the loans that can be taken back on any of the scenes, each
// once, oldest first.
func loansIn(scenes []*scene) []*v1alpha1.Loan {
	seen := map[types.UID]bool{}
	var loans []*v1alpha1.Loan
	for _, s := range scenes {
		for _, t := range s.takeable {
			if !seen[t.loan.UID] {
				seen[t.loan.UID] = true
				loans = append(loans, t.loan)
			}
		}
	}
	slices.SortFunc(loans, func(a, b *v1alpha1.Loan) int {
		if book.Before(a, b) {
			return -1
		}
		return 1
	})
	return loans
}

// lostWork returns what ending the loan costs, in unit-seconds: all that its
// units did since the last checkpoint, plus the restart.
func (p *Ebbtide) lostWork(loan *v1alpha1.Loan, now time.Time) float64 {
	if _, idle := nobodys(loan); idle {
		return 0
	}
	saved := loan.CreationTimestamp.Time
	job := p.annotationsOf(loan)
	every, at := lend.ReadCheckpoints(job[v1alpha1.AnnotationCheckpointInterval], job[v1alpha1.AnnotationLastCheckpoint])
	said := lend.Checkpoints{Every: every, Last: []time.Time{at}}
	for _, pod := range p.podsOf(loan) {
		_, at := lend.ReadCheckpoints("", pod.Annotations[v1alpha1.AnnotationLastCheckpoint])
		said.Last = append(said.Last, at)
	}
	saved = said.Since(saved, now).At
	units := float64(loan.HeldPods()) * float64(loan.Spec.UnitsPerPod)
	return units * (max(now.Sub(saved), 0) + p.args.RestartCost).Seconds()
}

// lentBy reports whether any of the loan's units are those of a LendingPolicy in
// the namespace.
func lentBy(loan *v1alpha1.Loan, namespace string) bool {
	return slices.ContainsFunc(loan.Spec.Grants, func(g v1alpha1.Grant) bool {
		return strings.HasPrefix(g.Lender, namespace+"/")
	})
}

// flavor stands for all units of the resource on the scenes: the filters already
// left only nodes of the tenant's flavors.
const flavor = "any"

// solve asks the broker's own function for the victims.
func (p *Ebbtide) solve(pod *corev1.Pod, r book.Request, pods int64, scenes []*scene, candidates []lend.Candidate, loans []*v1alpha1.Loan) ([]*v1alpha1.Loan, bool) {
	rooms := make([]lend.Room, len(scenes))
	for i, s := range scenes {
		free := p.freeUnits(s.info, r.Resource) - p.heldIn(s, r.Resource)
		for _, other := range p.nominatedBefore(pod, s.name()) {
			free -= book.Units(other.GetPod(), r.Resource)
		}
		rooms[i] = lend.Room{Node: s.name(), Flavor: flavor, Free: free}
	}
	chosen, ok := lend.ChooseVictims(rooms, []lend.Owed{{Flavor: flavor, UnitsPerPod: r.Units, Pods: pods}}, candidates)
	if !ok {
		return nil, false
	}
	victims := make([]*v1alpha1.Loan, 0, len(chosen))
	for _, i := range chosen {
		victims = append(victims, loans[i])
	}
	return victims, true
}

// candidatesOf states what each loan costs and what its end frees on the scenes: what
// its pods hold or their slices were made of, and what the loan keeps from the pod. Other
// units that are granted but not used are free already, and counted there.
func (p *Ebbtide) candidatesOf(loans []*v1alpha1.Loan, scenes []*scene, resource corev1.ResourceName, costs map[types.UID]float64) []lend.Candidate {
	candidates := make([]lend.Candidate, len(loans))
	for i, loan := range loans {
		candidates[i] = lend.Candidate{
			Name:     loan.Namespace + "/" + loan.Name,
			LostWork: costs[loan.UID],
			Since:    loan.CreationTimestamp.Time,
		}
	}
	for _, s := range scenes {
		for _, t := range s.takeable {
			i := slices.Index(loans, t.loan)
			if i < 0 {
				continue
			}
			var units int64
			for _, info := range t.pods {
				units += book.Units(info.GetPod(), resource)
			}
			units += s.bringsBack(t.loan)[resource]
			if c, ok := readCycle(s.state); ok && !c.online() {
				units += due(t.loan, s.name(), resource, p.usedByJob(s.info, resource))
			}
			candidates[i].Grants = append(candidates[i].Grants, lend.Grant{Node: s.name(), Flavor: flavor, Count: units})
		}
	}
	return candidates
}
