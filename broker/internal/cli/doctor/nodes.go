package doctor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// Labels that NVIDIA's discovery puts on nodes.
const (
	labelProduct = "nvidia.com/gpu.product"
	labelPresent = "nvidia.com/gpu.present"
)

// every resource passes.
func every(corev1.ResourceName) bool { return true }

func (c *Cluster) gpuNodes(context.Context) Finding {
	if c.seen.nodes.err != nil {
		return unread("nodes", c.seen.nodes.err)
	}
	var with, unlabelled []string
	total := int64(0)
	for i := range c.seen.nodes.items {
		n := &c.seen.nodes.items[i]
		if have := allocatable(n, every); have > 0 {
			with, total = append(with, n.Name), total+have
			if n.Labels[labelProduct] == "" {
				unlabelled = append(unlabelled, n.Name)
			}
		}
	}
	switch {
	case len(with) == 0:
		return fail("install NVIDIA's device plugin (or the GPU operator) on the GPU nodes", "no node has GPUs to allocate")
	case len(unlabelled) > 0 && c.selects(labelProduct):
		return warn("install NVIDIA's GPU feature discovery, or label the nodes yourself: quotas choose nodes by "+labelProduct,
			"%s of %d without the label %s: %s", count(len(unlabelled), "node"), len(with), labelProduct, some(unlabelled))
	}
	return ok("%s with %d units", count(len(with), "node"), total)
}

// selects tells whether any quota chooses nodes by a label.
func (c *Cluster) selects(label string) bool {
	for i := range c.seen.quotas.items {
		for _, f := range c.seen.quotas.items[i].Spec.Flavors {
			if _, found := f.NodeSelector[label]; found {
				return true
			}
		}
	}
	return false
}

// devicePlugin must run wherever there are GPUs.
func (c *Cluster) devicePlugin(context.Context) Finding {
	if c.seen.nodes.err != nil {
		return unread("nodes", c.seen.nodes.err)
	}
	var without, partly []string
	there := 0
	for i := range c.seen.nodes.items {
		n := &c.seen.nodes.items[i]
		capacity := int64(0)
		for name, quantity := range n.Status.Capacity {
			if v1alpha1.GPU(name) {
				capacity += quantity.Value()
			}
		}
		have := allocatable(n, every)
		switch {
		case have > 0 && have < capacity:
			partly = append(partly, fmt.Sprintf("%s (%d of %d)", n.Name, have, capacity))
		case have > 0:
			there++
		case n.Labels[labelPresent] == "true" || n.Labels[labelProduct] != "" || capacity > 0:
			without = append(without, n.Name)
		}
	}
	switch {
	case len(without) > 0:
		return fail("see the device plugin's pods on these nodes: kubectl get pods -A -o wide --field-selector spec.nodeName=NODE", "GPUs are there and none can be allocated on %s", some(without))
	case len(partly) > 0:
		return warn("see the device plugin's log for GPUs that it calls unhealthy", "fewer can be allocated than there are on %s", some(partly))
	case there == 0:
		return unknown("see the check gpu-nodes", "no node is known to have GPUs")
	}
	return ok("all GPUs of %s can be allocated", count(there, "node"))
}

// agents must run on nodes whose GPUs are cut, if slices are lent or made.
func (c *Cluster) agents(context.Context) Finding {
	w := &c.seen
	switch {
	case w.nodes.err != nil:
		return unread("nodes", w.nodes.err)
	case w.gpuNodes.err != nil:
		return unread("gpunodes", w.gpuNodes.err)
	}
	heard := map[string]*v1alpha1.GPUNode{}
	for i := range w.gpuNodes.items {
		heard[w.gpuNodes.items[i].Name] = &w.gpuNodes.items[i]
	}
	var without, silent, refused []string
	cut := 0
	for i := range w.nodes.items {
		n := &w.nodes.items[i]
		agent := heard[n.Name]
		if agent == nil && allocatable(n, v1alpha1.Slice) == 0 {
			continue
		}
		cut++
		switch {
		case agent == nil:
			without = append(without, n.Name)
		case c.now.Sub(agent.Status.Heartbeat.Time) > v1alpha1.SilentAfter:
			silent = append(silent, n.Name)
		default:
			if said := meta.FindStatusCondition(agent.Status.Conditions, v1alpha1.GPUNodeLendable); said != nil && said.Status == "False" {
				refused = append(refused, n.Name+" ("+or(said.Message, said.Reason)+")")
			}
		}
	}
	switch {
	case len(silent) > 0:
		return fail("see kubectl logs -n "+system+" -l "+program+"=ebbtide-agent; nothing new is lent there until it is heard again", "agents were last heard more than %s ago on %s", v1alpha1.SilentAfter, some(silent))
	case len(without) > 0:
		return warn("install agents there (the overlay with-agent, or agent.enabled=true of the chart): without one, slices are not made into others", "GPUs are cut and no agent runs on %s", some(without))
	case len(refused) > 0:
		return warn("mend what the agent says, or leave these nodes out", "nothing is lent on %s", some(refused))
	case cut == 0:
		return ok("no node's GPUs are cut, so that none is needed")
	}
	return ok("heard on %s", count(cut, "node"))
}

// quotas must be accepted by the broker.
func (c *Cluster) quotas(context.Context) Finding {
	w := &c.seen
	if w.quotas.err != nil {
		return unread("tenantquotas", w.quotas.err)
	}
	var accepted judged
	tenants := 0
	for i := range w.quotas.items {
		q := &w.quotas.items[i]
		if q.Spec.Namespaces != nil {
			tenants++
		}
		accepted.add(q.Name, q.Status.Conditions, v1alpha1.ConditionAccepted)
	}
	switch {
	case tenants == 0:
		return fail("create a TenantQuota for each team: docs/tasks/quickstart.md", "there is no tenant: nobody may use, lend or borrow anything")
	case len(accepted.no) > 0:
		return fail("change them as they say: kubectl describe tenantquota NAME", "not accepted: %s", some(accepted.no))
	case len(accepted.unjudged) > 0:
		return warn("see the check broker", "not looked at by the broker yet: %s", some(accepted.unjudged))
	}
	return ok("%s, all accepted", count(tenants, "tenant"))
}

// capacity must be enough for what was promised, flavor by flavor.
func (c *Cluster) capacity(context.Context) Finding {
	w := &c.seen
	switch {
	case w.quotas.err != nil:
		return unread("tenantquotas", w.quotas.err)
	case w.nodes.err != nil:
		return unread("nodes", w.nodes.err)
	}
	promised, flavors := map[string]int64{}, map[string]v1alpha1.FlavorQuota{}
	for i := range w.quotas.items {
		for _, f := range w.quotas.items[i].Spec.Flavors {
			if f.SliceOf == "" {
				promised[f.Name] += f.Nominal
				flavors[f.Name] = f
			}
		}
	}
	var over, none, said []string
	for _, name := range slices.Sorted(maps.Keys(flavors)) {
		f, have := flavors[name], int64(0)
		for i := range w.nodes.items {
			n := &w.nodes.items[i]
			if labels.SelectorFromSet(f.NodeSelector).Matches(labels.Set(n.Labels)) {
				quantity := n.Status.Allocatable[corev1.ResourceName(f.Resource)]
				have += quantity.Value()
			}
		}
		text := fmt.Sprintf("%s: %d promised, %d there", name, promised[name], have)
		switch {
		case have == 0:
			none = append(none, fmt.Sprintf("%s (%s on nodes with %s)", name, f.Resource, or(labels.FormatLabels(f.NodeSelector), "any labels")))
		case promised[name] > have:
			over = append(over, text)
		}
		said = append(said, text)
	}
	switch {
	case len(none) > 0:
		return fail("correct spec.flavors[].resource and nodeSelector, or the nodes' labels: kubectl get nodes -L "+labelProduct, "no node has any of %s", some(none))
	case len(over) > 0:
		return warn("lower spec.flavors[].nominal of TenantQuotas, or add nodes: what is promised must be there", "%s", strings.Join(over, "; "))
	case len(said) == 0:
		return unknown("see the check quotas", "no flavor is promised to anybody")
	}
	return ok("%s", strings.Join(said, "; "))
}
