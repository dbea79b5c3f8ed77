package ebbtide

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	scheduling "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/account"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
)

// stock is what a node has free for a group, once what is leaving has left.
type stock struct {
	node  *corev1.Node
	scene *scene // nil where nothing is leaving or can be taken back
	free  map[corev1.ResourceName]int64
	// lent is what comes free besides, by loan.
	lent map[types.UID]map[corev1.ResourceName]int64
}

// member is a pod of the group that has yet to be placed.
type member struct {
	pod      *corev1.Pod
	requests []book.Request
	ask      map[corev1.ResourceName]int64
	// alike: it fits the same nodes as the pod that room is made for.
	alike bool
	// promised is the node that is kept for it.
	promised string
}

// company is the pods of a group that must find room together, and where they may.
// What they ask for is reckoned with; whether more than that stands in their way is
// asked only for the pod that room is made for.
type company struct {
	tenant  *account.Tenant
	used    account.Use
	pod     *corev1.Pod
	members []member
	stocks  []stock
	lacking int64
}

// lacking returns how many pods of its group must be placed before this one runs,
// itself included; 1 if it is of none.
func (p *Ebbtide) lacking(c *cycle) int64 {
	if c.group == nil {
		return 1
	}
	return max(1, c.group.minCount-countMembers(p.membersOf(c.group), p.placedOf(c.group)))
}

// takeBackForGroup is takeBackFor for a pod that cannot run without others that have
// no place either: loans are taken back if all of them fit then, else none.
func (p *Ebbtide) takeBackForGroup(ctx context.Context, state fwk.CycleState, pod *corev1.Pod, c *cycle, lacking int64) (*fwk.PostFilterResult, *fwk.Status) {
	now := p.clock.Now()
	p.waiting.see(pod, c.requests, now)
	nodes, err := p.handle.SnapshotSharedLister().NodeInfos().List()
	if err != nil {
		return nil, fwk.AsStatus(fmt.Errorf("list nodes for pod %s: %w", klog.KObj(pod), err))
	}
	scenes, err := p.scenes(ctx, state, pod, nodes, now)
	if err != nil {
		return nil, fwk.AsStatus(fmt.Errorf("look for units to take back for pod %s: %w", klog.KObj(pod), err))
	}
	g := p.companyOf(pod, c, lacking, nodes, scenes)
	if s := p.seat(ctx, g, nil); s != nil {
		return p.awaitScene(ctx, pod, s)
	}
	if left := p.patience(pod); left > 0 {
		p.wakeIn(ctx, pod, left)
		return p.denied(ctx, pod, fmt.Sprintf("loans are taken back for the pod when it has waited for %s", p.args.TakeBackAfter))
	}
	victims, s := p.chooseForGroup(ctx, g, scenes, now)
	if s == nil {
		return p.denied(ctx, pod, fmt.Sprintf("the %d pods that PodGroup %s still needs would not all fit if all loans were taken back", lacking, c.group.name))
	}
	p.takeBackAll(ctx, victims, scenes)
	return p.awaitScene(ctx, pod, s)
}

// chooseForGroup returns loans whose end lets all of the company in, and the scene
// that its pod will get: all are taken off, and then spared one by one, those of
// other lenders and the dearest first, as long as the rest suffice.
func (p *Ebbtide) chooseForGroup(ctx context.Context, g *company, scenes []*scene, now time.Time) ([]*v1alpha1.Loan, *scene) {
	loans, costs, gone := loansIn(scenes), map[types.UID]float64{}, map[types.UID]bool{}
	for _, loan := range loans {
		costs[loan.UID], gone[loan.UID] = p.lostWork(loan, now), true
	}
	at := p.seat(ctx, g, gone)
	if at == nil { // no loan helps
		return nil, nil
	}
	slices.SortStableFunc(loans, func(a, b *v1alpha1.Loan) int {
		if x, y := lentBy(a, g.pod.Namespace), lentBy(b, g.pod.Namespace); x != y {
			if y {
				return -1
			}
			return 1
		}
		return cmp.Compare(costs[b.UID], costs[a.UID])
	})
	for _, spared := range loans {
		delete(gone, spared.UID)
		if s := p.seat(ctx, g, gone); s != nil {
			at = s
		} else {
			gone[spared.UID] = true
		}
	}
	return slices.DeleteFunc(loans, func(l *v1alpha1.Loan) bool { return !gone[l.UID] }), at
}

// companyOf gathers the pod, as many of its group as must start with it, those that
// ask for the least first, and what there is for them.
func (p *Ebbtide) companyOf(pod *corev1.Pod, c *cycle, lacking int64, nodes []fwk.NodeInfo, scenes []*scene) *company {
	g := &company{tenant: c.tenant, used: c.used, pod: pod, lacking: lacking}
	promised := map[types.UID]string{}
	at := map[string]*scene{}
	for _, s := range scenes {
		at[s.name()] = s
	}
	for _, node := range nodes {
		s := stock{node: node.Node(), scene: at[node.Node().Name]}
		if s.scene != nil {
			node = s.scene.info
			s.lent = lentOn(s.scene)
		}
		s.free = freeOf(node)
		for _, info := range p.handle.NominatedPodsForNode(s.node.Name) {
			other := info.GetPod()
			if groupName(other) == c.group.name {
				promised[other.UID] = s.node.Name
			} else if book.Priority(other) >= c.priority {
				take(s.free, asks(other), -1)
			}
		}
		g.stocks = append(g.stocks, s)
	}
	g.members = p.lackingMembers(pod, c, lacking, promised)
	return g
}

func (p *Ebbtide) lackingMembers(pod *corev1.Pod, c *cycle, lacking int64, promised map[types.UID]string) []member {
	placed, resources := p.placedOf(c.group), p.account.Resources()
	var others []member
	for _, other := range p.membersOf(c.group) {
		if other.UID == pod.UID || !waits(other) || !exists(other) || placed[other.UID] {
			continue
		}
		m := member{pod: other, requests: book.Requests(other, resources), ask: asks(other), promised: promised[other.UID]}
		m.alike = slices.Equal(m.requests, c.requests) && sameShape(other, pod)
		others = append(others, m)
	}
	size := func(m member) (units int64) {
		for _, r := range m.requests {
			units += r.Units
		}
		return units
	}
	slices.SortFunc(others, func(a, b member) int {
		return cmp.Or(cmp.Compare(size(a), size(b)), cmp.Compare(a.pod.UID, b.pod.UID))
	})
	all := append([]member{{pod: pod, requests: c.requests, ask: asks(pod), alike: true}}, others[:min(lacking-1, int64(len(others)))]...)
	// Who has a promise is where it is; of the rest the largest is seated first.
	slices.SortStableFunc(all, func(a, b member) int {
		if (a.promised != "") != (b.promised != "") {
			if a.promised != "" {
				return -1
			}
			return 1
		}
		return cmp.Compare(size(b), size(a))
	})
	return all
}

func lentOn(s *scene) map[types.UID]map[corev1.ResourceName]int64 {
	out := map[types.UID]map[corev1.ResourceName]int64{}
	for _, t := range s.takeable {
		out[t.loan.UID] = map[corev1.ResourceName]int64{}
		for _, info := range t.pods {
			take(out[t.loan.UID], asks(info.GetPod()), 1)
		}
		for name, units := range s.bringsBack(t.loan) {
			out[t.loan.UID][name] += units
		}
	}
	return out
}

// take adds what one pod asks for to what is free, or takes it off.
func take(free, ask map[corev1.ResourceName]int64, sign int64) {
	for name, quantity := range ask {
		free[name] += sign * quantity
	}
	free[corev1.ResourcePods] += sign
}

// seat finds room for all of the company once the loans are gone. It returns the
// scene that its pod gets; nil if not all have room.
func (p *Ebbtide) seat(ctx context.Context, g *company, gone map[types.UID]bool) *scene {
	if int64(len(g.members)) < g.lacking {
		return nil // one was deleted just now
	}
	free := g.freeWithout(gone)
	used, crowded := slices.Clone(g.used), map[int]bool{}
	var mine *scene
	for _, m := range g.members {
		at := slices.IndexFunc(g.stocks, func(s stock) bool { return s.node.Name == m.promised })
		if at < 0 || !holdsAll(free[at], m.ask) {
			apart, itself, i := keepsApart(m.pod), m.pod.UID == g.pod.UID, -1
			at = slices.IndexFunc(g.stocks, func(s stock) bool {
				i++
				return holdsAll(free[i], m.ask) && !(apart && crowded[i]) && g.allows(m, s) && g.quotaHolds(m, s.node, used) &&
					(!itself || p.passes(ctx, g.pod, s.scene, gone))
			})
		}
		if at < 0 {
			return nil
		}
		take(free[at], m.ask, -1)
		crowded[at] = true
		if m.promised == "" || book.Priority(m.pod) < book.Priority(g.pod) { // else it is counted
			g.charge(m, g.stocks[at].node, used)
		}
		if m.pod.UID == g.pod.UID {
			mine = g.stocks[at].scene
		}
	}
	return mine
}

// freeWithout returns what each node has free once the loans are gone.
func (g *company) freeWithout(gone map[types.UID]bool) []map[corev1.ResourceName]int64 {
	free := make([]map[corev1.ResourceName]int64, len(g.stocks))
	for i, s := range g.stocks {
		free[i] = maps.Clone(s.free)
		for loan, more := range s.lent {
			if gone[loan] {
				for name, quantity := range more {
					free[i][name] += quantity
				}
			}
		}
	}
	return free
}

func holdsAll(free, ask map[corev1.ResourceName]int64) bool {
	for name, quantity := range ask {
		if quantity > free[name] {
			return false
		}
	}
	return free[corev1.ResourcePods] > 0
}

// passes asks all filters whether the pod fits on the scene without the loans.
func (p *Ebbtide) passes(ctx context.Context, pod *corev1.Pod, s *scene, gone map[types.UID]bool) bool {
	_, ok, err := p.fitsWithout(ctx, pod, s, func(loan *v1alpha1.Loan) bool { return gone[loan.UID] })
	if err != nil {
		klog.FromContext(ctx).Error(err, "Cannot look at a node without the victims", "node", s.name())
	}
	return err == nil && ok
}

// allows reports whether the node is one for the pod at all. Those that are alike
// find none but where something comes free: else this one would fit now.
func (g *company) allows(m member, s stock) bool {
	if m.alike {
		return s.scene != nil && (s.scene.fits || s.scene.fitsWithout)
	}
	if s.node.Spec.Unschedulable {
		return false
	}
	if ok, err := nodeaffinity.GetRequiredNodeAffinity(m.pod).Match(s.node); err != nil || !ok {
		return false
	}
	_, untolerated := scheduling.FindMatchingUntoleratedTaint(logr.Discard(), s.node.Spec.Taints, m.pod.Spec.Tolerations,
		func(t *corev1.Taint) bool { return t.Effect != corev1.TaintEffectPreferNoSchedule }, false)
	return !untolerated
}

func (g *company) quotaHolds(m member, node *corev1.Node, used account.Use) bool {
	return !slices.ContainsFunc(m.requests, func(r book.Request) bool {
		f := g.tenant.Flavor(r.Resource, node.Labels)
		return f < 0 || g.tenant.Left(f, used) < r.Units
	})
}

func (g *company) charge(m member, node *corev1.Node, used account.Use) {
	for _, r := range m.requests {
		if f := g.tenant.Flavor(r.Resource, node.Labels); f >= 0 {
			pool := g.tenant.Pool(f)
			used[pool] = used[pool].Plus(1, g.tenant.Cost(f, r.Units))
		}
	}
}

// keepsApart reports whether the pod may not share a node with others of its group.
func keepsApart(pod *corev1.Pod) bool {
	if a := pod.Spec.Affinity; a != nil && a.PodAntiAffinity != nil && len(a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution) > 0 {
		return true
	}
	return slices.ContainsFunc(pod.Spec.Containers, func(c corev1.Container) bool {
		return slices.ContainsFunc(c.Ports, func(port corev1.ContainerPort) bool { return port.HostPort != 0 })
	})
}
