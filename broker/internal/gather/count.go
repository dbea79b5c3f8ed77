package gather

import (
	"cmp"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/history"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// count attributes every pod's units to a lender, a loan or neither.
type count struct {
	presence *Presence
	flavors  *flavorTable
	tenants  *tenancy
	// owners has the controller of each ReplicaSet and StatefulSet, and of what stands
	// between a Knative Service and its Deployments.
	owners  map[types.UID]types.UID
	lenders map[types.UID]*lender // by target
	*kin
	// asked are the resources of all flavors.
	asked map[corev1.ResourceName]bool

	// targets are the schedulable nodes of each flavor.
	targets map[string][]*corev1.Node

	units map[place]*lend.Units
	// granted units of open loans, and the nodes that have any.
	granted map[place]int64
	named   map[string]bool
	used    map[string]map[string]int64
	// outside is the part of used that is neither a lender's nor within a loan, waits
	// what pods without a node would add to it.
	outside map[string]map[string]int64
	waits   map[string]map[string]int64
	// By tenant and flavor.
	spoken, nominal map[[2]string]int64
	gpus            *gpus
}

func newCount(in *inputs, lenders []*lender, loans []*loan, flavors *flavorTable, tenants *tenancy, presence *Presence) *count {
	c := &count{
		presence: presence,
		flavors:  flavors, tenants: tenants, asked: map[corev1.ResourceName]bool{},
		owners: map[types.UID]types.UID{}, lenders: map[types.UID]*lender{},
		targets: nodesByFlavor(flavors, in.nodes.Items),
		units:   map[place]*lend.Units{}, granted: map[place]int64{}, named: map[string]bool{},
		used: map[string]map[string]int64{}, outside: map[string]map[string]int64{},
		waits: map[string]map[string]int64{}, spoken: spokenFor(lenders, loans), nominal: nominals(tenants.tenants),
	}
	for _, l := range lenders {
		if l.target != "" {
			c.lenders[l.target] = l
		}
	}
	for _, l := range loans {
		l.presence = presence
		for _, g := range l.Grants {
			c.granted[place{g.Node, g.Flavor}] += g.Count
			c.named[g.Node] = true
		}
	}
	for _, f := range tenants.flavors {
		c.asked[f.Resource] = true
	}
	for i := range in.replicaSets.Items {
		c.owner(&in.replicaSets.Items[i])
	}
	for i := range in.sets.Items {
		c.owner(&in.sets.Items[i])
	}
	for i := range in.deployments.Items {
		c.owner(&in.deployments.Items[i])
	}
	maps.Copy(c.owners, in.found.Owners())
	for i := range in.nodes.Items {
		node := &in.nodes.Items[i]
		for resource, flavor := range flavors.nodes[node.Name] {
			usable := node.Status.Allocatable.Name(resource, "").Value()
			c.units[place{node.Name, flavor}] = &lend.Units{
				Flavor: flavor, Capacity: usable,
				Broken: max(0, node.Status.Capacity.Name(resource, "").Value()-usable),
			}
		}
	}
	return c
}

func (c *count) owner(object metav1.Object) {
	if ref := metav1.GetControllerOf(object); ref != nil {
		c.owners[object.GetUID()] = ref.UID
	}
}

// pod counts one pod. Who owns it is told by UIDs, never by labels that a tenant
// could put on anything.
func (c *count) pod(pod *corev1.Pod) {
	loan, kin := c.loanOf(pod)
	if !c.presence.Over(pod) {
		c.gpus.holds(pod, loan)
	}
	switch {
	case loan != nil:
		c.lent(pod, loan, kin)
	case !ended(pod):
		c.unlent(pod, kin)
	}
}

// lent counts a pod of a loan's job.
func (c *count) lent(pod *corev1.Pod, loan *loan, kin relation) {
	over := c.presence.Over(pod)
	switch {
	case !c.asks(pod, loan): // a launcher, or a head: no part of the gang
		if !over {
			loan.beside = append(loan.beside, pod)
		}
		return
	case loan.gated() && Waits(pod): // it is of no admission yet
		return
	case Late(pod, loan.object):
		return
	}
	loan.marked = loan.marked || (kin == own && loan.current(pod) && v1alpha1.Preempted(pod))
	if over {
		loan.count(pod, nil)
		return
	}
	held := c.flavors.held(pod)
	c.use(c.used, pod.Namespace, held)
	beyond := loan.count(pod, held)
	c.use(c.outside, pod.Namespace, beyond)
	for flavor, n := range beyond {
		c.units[place{pod.Spec.NodeName, flavor}].Other += n
	}
}

// unlent counts a pod that is of no loan and has not ended.
func (c *count) unlent(pod *corev1.Pod, kin relation) {
	held := c.flavors.held(pod)
	c.use(c.used, pod.Namespace, held)
	if kin == unclear && len(held) > 0 {
		c.unsure(pod)
	}
	lender := c.lenderOf(pod)
	if lender != nil {
		lender.count(pod, c.targets)
	} else if pod.Spec.NodeName == "" {
		c.comes(pod)
	}
	for flavor, n := range held {
		if lender == nil || lender.Flavor != flavor {
			c.use(c.outside, pod.Namespace, map[string]int64{flavor: n})
		}
		u := c.units[place{pod.Spec.NodeName, flavor}]
		if lender == nil {
			u.Other += n
			continue
		}
		u.Online += n
		if pod.DeletionTimestamp != nil {
			u.Leaving += n
		}
	}
}

// use adds to the sums of the namespace's tenant.
func (c *count) use(sums map[string]map[string]int64, namespace string, held map[string]int64) {
	tenant := c.tenants.ofNamespace[namespace]
	if tenant == "" || len(held) == 0 {
		return
	}
	if sums[tenant] == nil {
		sums[tenant] = map[string]int64{}
	}
	for flavor, n := range held {
		sums[tenant][flavor] += n
	}
}

// holdings are the tenants, with what their pods hold outside lenders and loans, and
// what they borrowed lately.
func (c *count) holdings(lately []history.Borrowed) []lend.Tenant {
	borrowed := c.tenants.borrowed(lately)
	tenants := slices.Clone(c.tenants.tenants)
	for i := range tenants {
		t := &tenants[i]
		t.Quotas = slices.Clone(t.Quotas)
		for j := range t.Quotas {
			q := &t.Quotas[j]
			q.Held = c.outside[t.Name][q.Flavor] + min(c.waits[t.Name][q.Flavor], c.left(t.Name, q))
		}
		t.Borrowed = borrowed[t.Name]
	}
	return tenants
}

// ownerDepth bounds the walk: above a Knative Service's pod are a ReplicaSet, a
// Deployment, a Revision, a Configuration and the Service.
const ownerDepth = 5

func (c *count) lenderOf(pod *corev1.Pod) *lender {
	ref := metav1.GetControllerOf(pod)
	if ref == nil {
		return nil
	}
	uid := ref.UID
	for range ownerDepth {
		if l := c.lenders[uid]; l != nil {
			return l
		}
		if uid = c.owners[uid]; uid == "" {
			return nil
		}
	}
	return nil
}

// asks tells whether the pod asks for units: those of the loan, or of any flavor.
func (c *count) asks(pod *corev1.Pod, l *loan) bool {
	if jobs.UnitsOf(&pod.Spec, corev1.ResourceName(l.object.Spec.Resource)) > 0 {
		return true
	}
	for resource := range c.asked {
		if jobs.UnitsOf(&pod.Spec, resource) > 0 {
			return true
		}
	}
	return false
}

// nodes returns the snapshot's part: the nodes of any flavor, and those that a loan
// names. Only a node that does not exist is missing, since a loan on one that is
// missing is broken.
func (c *count) nodes(list []corev1.Node, policies []v1alpha1.LendingPolicy) []lend.Node {
	pools := newPools(policies)
	nodes := make([]lend.Node, 0, len(list))
	for i := range list {
		node := lend.Node{Name: list[i].Name, Schedulable: schedulable(&list[i]), Silent: !c.presence.Answers(list[i].Name), LendLast: pools.lendLast(list[i].Labels)}
		if sight := c.gpus.sights[node.Name]; sight != nil {
			node.Cards, node.Reshapes, node.Unlendable = sight.Cards, sight.Reshapes, sight.Unlendable
		}
		for _, flavor := range slices.Sorted(maps.Values(c.flavors.nodes[node.Name])) {
			node.Units = append(node.Units, c.unitsAt(place{node.Name, flavor}))
		}
		if !slices.ContainsFunc(node.Units, func(u lend.Units) bool { return u.Capacity > 0 }) {
			node.Schedulable = false
		}
		if len(node.Units) > 0 || c.named[node.Name] {
			nodes = append(nodes, node)
		}
	}
	slices.SortFunc(nodes, func(a, b lend.Node) int { return cmp.Compare(a.Name, b.Name) })
	return nodes
}

// unitsAt is what a node has of a flavor. A node that hands out nothing may not
// even say what it had; what is held there shows it.
func (c *count) unitsAt(at place) lend.Units {
	u := *c.units[at]
	if u.Capacity == 0 {
		u.Broken = max(u.Broken, u.Online+u.Other+c.granted[at])
	}
	return u
}

func schedulable(node *corev1.Node) bool {
	if node.Spec.Unschedulable || node.DeletionTimestamp != nil {
		return false
	}
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
