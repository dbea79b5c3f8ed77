package ebbtide

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/account"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/outrank"
)

// mostCleared bounds how many nodes are looked at for victims that stand there.
const mostCleared = 100

// makeWay finds room for a pod in flavors of which its tenant's nominal quota is full:
//
//  1. What is on its way out may be enough; then nobody else goes.
//  2. Else pods and jobs of the tenant on its own quota make way, those of the lowest
//     priority first, and no more than the quota takes.
//  3. If no node has room for the pod even so, they are chosen where they stand.
func (p *Ebbtide) makeWay(ctx context.Context, state fwk.CycleState, pod *corev1.Pod, c *cycle) (*fwk.PostFilterResult, *fwk.Status) {
	nodes, err := p.handle.SnapshotSharedLister().NodeInfos().List()
	if err != nil {
		return nil, fwk.AsStatus(fmt.Errorf("list nodes for pod %s: %w", klog.KObj(pod), err))
	}
	h := p.survey(c, p.clock.Now())
	used := c.used.Plus(-1, h.frees)
	grounds := groundsOf(c, nodes).full(c)
	dry := dryRun(state)
	if coming := grounds.within(c, used); len(coming) > 0 {
		result, status := p.awaitQuota(ctx, dry, pod, c, h, coming)
		if !status.IsSuccess() {
			p.blocked.lacksRoom(pod.UID)
		}
		return result, status
	}
	best, at := []junior(nil), ""
	for _, g := range grounds {
		victims, node := p.victimsOn(ctx, dry, pod, c, h, g, used)
		if node != "" && (at == "" || outrank.Worse(ranks(best), ranks(victims))) {
			best, at = victims, node
		}
	}
	if at == "" {
		if grounds.haveQuota(c, used, h.juniors) {
			p.blocked.lacksRoom(pod.UID)
		}
		return p.denied(ctx, pod, fmt.Sprintf("the pod would not fit if all loans were taken back, nor if all pods and jobs of tenant %s with a lower priority made way", c.tenant.Name))
	}
	for _, j := range best {
		p.end(ctx, j)
	}
	p.waiting.see(pod, c.requests, p.clock.Now())
	return p.promise(ctx, pod, at)
}

// end makes a junior go.
func (p *Ebbtide) end(ctx context.Context, j junior) {
	switch {
	case j.lent:
		p.reclaim(ctx, j.loan, lentMessage)
	case j.loan != nil:
		p.reclaim(ctx, j.loan, outrankedJob)
	default:
		for _, pod := range j.pods {
			if p.taken.addPod(pod, outrankedPod) {
				outrankedPodsTotal.Inc()
			}
		}
	}
}

// awaitQuota promises a node for when what is leaving has left. If nodes lack room
// then, it is loans that are in the way.
func (p *Ebbtide) awaitQuota(ctx context.Context, dry fwk.CycleState, pod *corev1.Pod, c *cycle, h *house, coming grounds) (*fwk.PostFilterResult, *fwk.Status) {
	for _, loan := range h.stalled {
		p.reclaim(ctx, loan, outrankedJob)
	}
	var nodes []fwk.NodeInfo
	for _, g := range coming {
		if node := p.firstFit(ctx, dry, pod, g.nodes, h.without(nil)); node != "" {
			p.waiting.see(pod, c.requests, p.clock.Now())
			return p.promise(ctx, pod, node)
		}
		nodes = append(nodes, g.nodes...)
	}
	return p.takeBackFor(ctx, dry, pod, c, nodes)
}

// dryRun returns a copy of the state in which quota is no matter: it is reckoned
// with beside it.
func dryRun(state fwk.CycleState) fwk.CycleState {
	dry := state.Clone()
	if c, ok := readCycle(dry); ok {
		c.roomOnly = true
	}
	return dry
}

// ground is the nodes on which the pod would take the same of its tenant's pools.
type ground struct {
	need  account.Use
	nodes []fwk.NodeInfo
}

type grounds []*ground

// groundsOf sorts the nodes by what the pod would take there, in the order of the
// flavors' names; nodes within each by name. Those of no flavor are left out.
func groundsOf(c *cycle, nodes []fwk.NodeInfo) grounds {
	at, order := map[string]*ground{}, []string{}
	for _, node := range nodes {
		need, key := c.tenant.Nothing(), ""
		for _, r := range c.requests {
			f := c.tenant.Flavor(r.Resource, node.Node().Labels)
			if f < 0 {
				key = "" // no flavor
				break
			}
			need[c.tenant.Pool(f)] = need[c.tenant.Pool(f)].Plus(1, c.tenant.Cost(f, r.Units))
			key += c.tenant.FlavorName(f) + "/"
		}
		if key == "" {
			continue
		}
		if at[key] == nil {
			at[key], order = &ground{need: need}, append(order, key)
		}
		at[key].nodes = append(at[key].nodes, node)
	}
	slices.Sort(order)
	var out grounds
	for _, key := range order {
		g := at[key]
		slices.SortFunc(g.nodes, func(a, b fwk.NodeInfo) int { return cmp.Compare(a.Node().Name, b.Node().Name) })
		out = append(out, g)
	}
	return out
}

// full returns the grounds that the quota has no room for now.
func (gs grounds) full(c *cycle) grounds {
	return slices.DeleteFunc(gs, func(g *ground) bool { return c.tenant.Fits(g.need, c.used) })
}

// within returns the grounds that the quota has room for on top of the use.
func (gs grounds) within(c *cycle, used account.Use) grounds {
	return slices.DeleteFunc(slices.Clone(gs), func(g *ground) bool { return !c.tenant.Fits(g.need, used) })
}

// haveQuota reports whether the end of juniors leaves room in the quota on any ground.
func (gs grounds) haveQuota(c *cycle, used account.Use, juniors []junior) bool {
	return slices.ContainsFunc(gs, func(g *ground) bool {
		_, ok := forQuota(c, g, used, juniors)
		return ok
	})
}

// victimsOn returns who has to make way for the pod on one of the ground's nodes, and
// the node; none if nobody can.
func (p *Ebbtide) victimsOn(ctx context.Context, dry fwk.CycleState, pod *corev1.Pod, c *cycle, h *house, g *ground, used account.Use) ([]junior, string) {
	victims, ok := forQuota(c, g, used, h.juniors)
	if !ok {
		return nil, ""
	}
	if node := p.firstFit(ctx, dry, pod, g.nodes, h.without(victims)); node != "" {
		return victims, node
	}
	var best []junior
	at, looked := "", 0
	for _, node := range g.nodes {
		on := p.juniorsOn(h, node)
		if len(on) == 0 {
			continue
		}
		if looked++; looked > mostCleared {
			break
		}
		victims, ok := p.clearing(ctx, dry, pod, c, h, g, used, node, on)
		if ok && (at == "" || outrank.Worse(ranks(best), ranks(victims))) {
			best, at = victims, node.Node().Name
		}
	}
	return best, at
}

// forQuota returns the juniors whose end leaves room in the quota.
func forQuota(c *cycle, g *ground, used account.Use, juniors []junior) ([]junior, bool) {
	ended, ok := outrank.Choose(ranks(juniors), func(ended []int) bool {
		left := used
		for _, i := range ended {
			left = left.Plus(-1, juniors[i].frees)
		}
		return c.tenant.Fits(g.need, left)
	})
	return some(juniors, ended), ok
}

// clearing returns who has to go so that the pod fits on this very node, and its
// quota.
func (p *Ebbtide) clearing(ctx context.Context, dry fwk.CycleState, pod *corev1.Pod, c *cycle, h *house, g *ground, used account.Use, node fwk.NodeInfo, on []junior) ([]junior, bool) {
	ended, ok := outrank.Choose(ranks(on), func(ended []int) bool {
		return p.firstFit(ctx, dry, pod, []fwk.NodeInfo{node}, h.without(some(on, ended))) != ""
	})
	if !ok {
		return nil, false
	}
	victims := some(on, ended)
	for _, j := range victims {
		used = used.Plus(-1, j.frees)
	}
	others := slices.DeleteFunc(slices.Clone(h.juniors), func(j junior) bool { return named(victims, j.Name) })
	more, ok := forQuota(c, g, used, others)
	return append(victims, more...), ok
}

// juniorsOn returns those with pods on the node, and the loans that can be taken back
// there.
func (p *Ebbtide) juniorsOn(h *house, node fwk.NodeInfo) []junior {
	here := map[types.UID]bool{}
	for _, info := range node.GetPods() {
		here[info.GetPod().UID] = true
	}
	var out []junior
	for _, j := range h.juniors {
		if slices.ContainsFunc(j.pods, func(pod *corev1.Pod) bool { return here[pod.UID] }) {
			out = append(out, j)
		}
	}
	now := p.clock.Now()
	for _, info := range node.GetPods() {
		loan := p.book.LoanOf(info.GetPod())
		if loan == nil || p.fateOf(info.GetPod(), loan, now) != takeBack {
			continue
		}
		if name := "loan/" + loan.Namespace + "/" + loan.Name; !named(out, name) {
			out = append(out, junior{
				Junior: outrank.Junior{Name: name, Priority: math.MinInt32, Since: loan.CreationTimestamp.Time},
				loan:   loan, pods: p.gangOf(loan), frees: make(account.Use, len(h.frees)), lent: true,
			})
		}
	}
	return out
}

// departed are pods that will be gone, and loans that will keep nothing by then.
type departed struct {
	pods  []*corev1.Pod
	loans []*v1alpha1.Loan
}

// without returns what is leaving the house, and the juniors.
func (h *house) without(juniors []junior) departed {
	out := departed{slices.Clone(h.leaving), slices.Clone(h.stalled)}
	for _, j := range juniors {
		if out.pods = append(out.pods, j.pods...); j.loan != nil {
			out.loans = append(out.loans, j.loan)
		}
	}
	return out
}

// firstFit returns the first of the nodes on which the pod passes all filters once
// some have departed and the changes of its cards are settled: the one it was promised, if
// that is among them. Empty if there is none.
func (p *Ebbtide) firstFit(ctx context.Context, dry fwk.CycleState, pod *corev1.Pod, nodes []fwk.NodeInfo, gone departed) string {
	leaves := map[types.UID]bool{}
	for _, g := range gone.pods {
		leaves[g.UID] = true
	}
	first, now := "", p.clock.Now()
	for _, node := range nodes {
		name := node.Node().Name
		if first != "" && name != pod.Status.NominatedNodeName {
			continue
		}
		here := p.advertised(node, now)
		after := &scene{info: here, state: dry}
		leaving := slices.DeleteFunc(slices.Clone(node.GetPods()), func(info fwk.PodInfo) bool { return !leaves[info.GetPod().UID] })
		over := slices.DeleteFunc(slices.Clone(gone.loans), func(loan *v1alpha1.Loan) bool { return book.GrantedOn(loan, name) == 0 })
		if len(leaving) > 0 || len(over) > 0 {
			after.info, after.state = p.counted(here).Snapshot(), dry.Clone()
			endIn(after.state, over...)
			if err := p.remove(ctx, pod, after, leaving); err != nil {
				klog.FromContext(ctx).Error(err, "Cannot look at a node without some pods", "node", name)
				continue
			}
		}
		p.awaitChanges(after, name, now)
		if !p.handle.RunFilterPluginsWithNominatedPods(ctx, after.state, pod, after.info).IsSuccess() {
			continue
		}
		if name == pod.Status.NominatedNodeName {
			return name
		}
		first = name
	}
	return first
}
