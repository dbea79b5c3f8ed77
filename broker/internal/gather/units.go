package gather

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
)

// Flavor is one kind of unit: a resource on the nodes that a selector chooses.
type Flavor struct {
	Name         string
	Resource     corev1.ResourceName
	NodeSelector map[string]string
	// SliceOf is the flavor whose GPUs it is a part of, and Slices how much of one.
	SliceOf string
	Slices  v1alpha1.GPUSlices
}

func newFlavor(q *v1alpha1.FlavorQuota) *Flavor {
	return &Flavor{
		Name: q.Name, Resource: corev1.ResourceName(q.Resource), NodeSelector: q.NodeSelector,
		SliceOf: q.SliceOf, Slices: ptr.Deref(q.Slices, v1alpha1.GPUSlices{}),
	}
}

// differs is the field in which two definitions of a flavor differ; empty if they
// agree.
func (f *Flavor) differs(g *Flavor) string {
	switch {
	case f.Resource != g.Resource:
		return "resource"
	case !maps.Equal(f.NodeSelector, g.NodeSelector):
		return "nodeSelector"
	case f.SliceOf != g.SliceOf:
		return "sliceOf"
	case f.Slices != g.Slices:
		return "slices"
	}
	return ""
}

// fits tells whether the node's units of the resource are of this flavor. So they
// are while all of them are broken, or a kubelet that starts anew reports none yet:
// pods may still hold them.
func (f *Flavor) fits(node *corev1.Node) bool {
	_, usable := node.Status.Allocatable[f.Resource]
	_, had := node.Status.Capacity[f.Resource]
	return (usable || had) && selects(f.NodeSelector, node.Labels)
}

func selects(selector, labels map[string]string) bool {
	for k, v := range selector {
		if has, known := labels[k]; !known || has != v {
			return false
		}
	}
	return true
}

// otherGPU is another resource of GPUs that the pods ask for; empty if there is none.
func otherGPU(spec *corev1.PodSpec, resource corev1.ResourceName) corev1.ResourceName {
	var others []corev1.ResourceName
	for _, containers := range [][]corev1.Container{spec.Containers, spec.InitContainers} {
		for i := range containers {
			for name, quantity := range containers[i].Resources.Limits {
				if name != resource && v1alpha1.GPU(name) && !quantity.IsZero() {
					others = append(others, name)
				}
			}
		}
	}
	for _, name := range v1alpha1.ClaimedResources(spec) {
		if name != resource {
			others = append(others, name)
		}
	}
	if len(others) == 0 {
		return ""
	}
	return slices.Min(others)
}

// asked returns the flavors whose resource the pod template asks for and whose
// nodes it may run on. A template that names the selector of some of them means
// those.
func asked(template *corev1.PodTemplateSpec, flavors []*Flavor) []*Flavor {
	var possible, named []*Flavor
	for _, f := range flavors {
		if jobs.UnitsOf(&template.Spec, f.Resource) == 0 || contradicts(template.Spec.NodeSelector, f.NodeSelector) {
			continue
		}
		possible = append(possible, f)
		if len(f.NodeSelector) > 0 && selects(f.NodeSelector, template.Spec.NodeSelector) {
			named = append(named, f)
		}
	}
	if len(named) > 0 {
		return named
	}
	return possible
}

func contradicts(a, b map[string]string) bool {
	for k, v := range a {
		if w, both := b[k]; both && v != w {
			return true
		}
	}
	return false
}

// flavorTable knows all flavors and which of them a node's resource is of.
type flavorTable struct {
	byName map[string]*Flavor
	sorted []*Flavor
	nodes  map[string]map[corev1.ResourceName]string
	// overlaps says of a flavor on which nodes another one has its units.
	overlaps map[string]*overlap
}

// overlap is one flavor's loss to another that is first by name.
type overlap struct {
	to    string
	node  string // the first by name
	nodes int
}

func (o *overlap) String() string {
	where := "node " + o.node
	if o.nodes > 1 {
		where = fmt.Sprintf("%s and %d more", where, o.nodes-1)
	}
	return fmt.Sprintf("flavor %s, whose name comes first, has the same resource on %s: its units count as %s", o.to, where, o.to)
}

func newFlavorTable(byName map[string]*Flavor, nodes []corev1.Node, loans []*loan) *flavorTable {
	t := &flavorTable{
		byName: byName, nodes: make(map[string]map[corev1.ResourceName]string, len(nodes)), overlaps: map[string]*overlap{},
	}
	for _, f := range byName {
		t.sorted = append(t.sorted, f)
	}
	slices.SortFunc(t.sorted, func(a, b *Flavor) int { return cmp.Compare(a.Name, b.Name) })
	for i := range nodes {
		node := &nodes[i]
		of := map[corev1.ResourceName]string{}
		for _, f := range t.sorted {
			// Where selectors overlap, the first flavor by name has the units: counting
			// them in both would promise them twice.
			switch first, taken := of[f.Resource]; {
			case !f.fits(node):
			case taken:
				t.overlap(f.Name, first, node.Name)
			default:
				of[f.Resource] = f.Name
			}
		}
		t.nodes[node.Name] = of
	}
	t.granted(loans)
	return t
}

func (t *flavorTable) overlap(flavor, to, node string) {
	o := t.overlaps[flavor]
	switch {
	case o == nil:
		t.overlaps[flavor] = &overlap{to, node, 1}
	case o.node > node:
		o.to, o.node, o.nodes = to, node, o.nodes+1
	default:
		o.nodes++
	}
}

// granted adds what loans have on nodes that no longer say that they have it.
func (t *flavorTable) granted(loans []*loan) {
	for _, l := range loans {
		for _, g := range l.Grants {
			of, exists := t.nodes[g.Node]
			f := t.byName[g.Flavor]
			if !exists || f == nil {
				continue
			}
			if _, taken := of[f.Resource]; !taken {
				of[f.Resource] = f.Name
			}
		}
	}
}

// held returns what a pod bound to a node holds there, by flavor.
func (t *flavorTable) held(pod *corev1.Pod) map[string]int64 {
	var held map[string]int64
	for resource, flavor := range t.nodes[pod.Spec.NodeName] {
		if n := jobs.UnitsOf(&pod.Spec, resource); n > 0 {
			if held == nil {
				held = map[string]int64{}
			}
			held[flavor] += n
		}
	}
	return held
}

func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// readySince is when a ready pod became so; ready is false for any other.
func readySince(pod *corev1.Pod) (since time.Time, ready bool) {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.LastTransitionTime.Time, c.Status == corev1.ConditionTrue
		}
	}
	return time.Time{}, false
}

// startSlack: conditions have whole seconds.
const startSlack = 2 * time.Second

// failing tells a pod that was ready and is not any more from one that starts. A
// kubelet writes the condition Ready for the first time when it takes the pod, at
// its startTime, and again only when it changes: one that has changed since was
// True in between. How long a start takes does not matter; a replica that never
// gets ready serves nothing and misses nothing.
func failing(pod *corev1.Pod) bool {
	if ended(pod) {
		return false
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status != corev1.ConditionTrue {
			start := pod.Status.StartTime
			return start == nil || c.LastTransitionTime.After(start.Add(startSlack))
		}
	}
	return false
}
