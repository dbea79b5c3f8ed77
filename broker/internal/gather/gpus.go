package gather

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/gpunodes"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// GPUs is what the agents say of the nodes' GPUs.
type GPUs interface {
	List(ctx context.Context, now time.Time) ([]*gpunodes.Node, error)
	// Costs is how long changes of layouts and their undoing take, as measured; else as
	// given.
	Costs(change, undo time.Duration) (time.Duration, time.Duration)
}

// ReshapeCosts are how long a change of a GPU's layout and its undoing are assumed to take
// while none was measured.
type ReshapeCosts struct {
	Change, Undo time.Duration
}

const (
	// defaultMinTrough is that of a policy that says nothing.
	defaultMinTrough = 30 * time.Minute
	// FloorPinned is the name of the floor of slices that are never lent.
	FloorPinned = "mig.pinned"

	migPrefix = "nvidia.com/mig-"
)

// Slices is what a LendingPolicy with spec.mig makes of the GPUs that its flavor is on.
type Slices struct {
	gpunodes.Pins
	// Pinned is how many the policy wants of each GPU.
	Pinned int
	// Unseen are nodes of the flavor without a GPUNode: nothing is kept there.
	Unseen int
}

// profileOf is the MIG profile that a resource names; empty if it names none. Resources
// have a point where names have a plus sign: mig-1g.5gb.me is 1g.5gb+me.
func profileOf(resource corev1.ResourceName) string {
	name, is := strings.CutPrefix(string(resource), migPrefix)
	if !is {
		return ""
	}
	return strings.Replace(name, "gb.", "gb+", 1)
}

// slices takes over the policy's spec.mig.
func (l *lender) slices(flavor *Flavor) {
	spec := l.policy.Spec.MIG
	if spec == nil {
		return
	}
	profile := profileOf(flavor.Resource)
	switch {
	case profile == "":
		l.problem(ReasonInvalidPolicy, "spec.mig: flavor %s is %s, which is no slice of a GPU", flavor.Name, flavor.Resource)
		return
	case spec.Profile != "" && spec.Profile != profile:
		l.problem(ReasonInvalidPolicy, "spec.mig.profile: %s is not the profile of flavor %s, which is %s (%s)", spec.Profile, flavor.Name, profile, flavor.Resource)
		return
	case spec.Reshape == v1alpha1.ReshapeIdle && flavor.SliceOf == "":
		l.notes = append(l.notes, fmt.Sprintf("spec.mig.reshape: nothing is reshaped, since no TenantQuota says what flavor %s is a slice of (sliceOf)", flavor.Name))
	}
	l.pinned, l.profile = int(spec.Pinned), profile
}

// reshaping says how the lender's slices may be made into others. Where they may not be any
// more, and some still are, it says how long the way back takes.
func (g *Gatherer) reshaping(l *lender) {
	spec := l.policy.Spec.MIG
	may := spec != nil && spec.Reshape == v1alpha1.ReshapeIdle && l.Problem == nil
	if g.GPUs == nil || !may && !l.reshaped {
		return
	}
	rules := &lend.MIGRules{Reshape: may, MinTrough: defaultMinTrough}
	if may && spec.MinTrough != nil {
		rules.MinTrough = spec.MinTrough.Duration
	}
	rules.Change, rules.Undo = g.GPUs.Costs(g.Reshapes.Change, g.Reshapes.Undo)
	if may && l.MaxGrace <= rules.Undo {
		l.notes = append(l.notes, fmt.Sprintf("spec.mig.reshape: nothing is reshaped, since spec.reclaim.maxGrace is %s, and undoing takes %s of it", l.MaxGrace, rules.Undo))
	}
	l.MIG = rules
}

// gpus looks at the GPUs of nodes.
type gpus struct {
	nodes    map[string]*gpunodes.Node
	holdings map[string]gpunodes.Holdings // by node
	sights   map[string]*gpunodes.Sight
	boards   gpunodes.Boards
}

func (g *Gatherer) readGPUs(ctx context.Context, now time.Time) (*gpus, error) {
	s := &gpus{nodes: map[string]*gpunodes.Node{}, holdings: map[string]gpunodes.Holdings{}, sights: map[string]*gpunodes.Sight{}}
	if g.GPUs == nil {
		return s, nil
	}
	list, err := g.GPUs.List(ctx, now)
	if err != nil {
		return nil, err
	}
	for _, n := range list {
		s.nodes[n.Object.Name], s.holdings[n.Object.Name] = n, gpunodes.Holdings{}
	}
	return s, nil
}

// holds notes a pod that may hold instances, or was promised some. loan is nil if it is of
// none.
func (s *gpus) holds(pod *corev1.Pod, loan *loan) {
	on := s.holdings[pod.Spec.NodeName]
	if on == nil {
		return
	}
	h := &gpunodes.Holding{UID: pod.UID, Owner: pod.Namespace + "/" + pod.Name, Leaving: pod.DeletionTimestamp != nil}
	if loan != nil {
		h.Lent, h.Owner = true, loan.Name
	}
	// What cannot be read promises nothing: the agent says who holds what in the end.
	h.Promised, _ = v1alpha1.ParseInstances(pod.Annotations[v1alpha1.AnnotationInstances])
	on[types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}] = h
}

// look sees all GPUs, with what the lenders want to be kept of each, and tells the lenders
// what came of it.
func (c *count) look(nodes []corev1.Node, lenders []*lender) {
	pinned := map[string]int{} // by flavor
	for _, l := range lenders {
		if l.pins() {
			pinned[l.Flavor] += l.pinned
		}
	}
	unseen, reshaped := map[string]int{}, map[string]bool{}
	sums := map[string]gpunodes.Pins{}
	// By name, so that a board has the same name in every decision.
	for _, node := range byName(nodes) {
		name, flavors := node.Name, c.flavors.offered(node)
		seen := c.gpus.nodes[name]
		if seen == nil {
			for _, flavor := range c.flavors.nodes[name] {
				unseen[flavor]++
			}
			continue
		}
		wants := map[string]int{}
		for resource, flavor := range flavors {
			if pinned[flavor] > 0 {
				wants[string(resource)] = pinned[flavor]
			}
		}
		sight := seen.Look(c.gpus.holdings[name], wants, &c.gpus.boards)
		c.gpus.sights[name] = &sight
		for i := range sight.Reshapes {
			reshaped[sight.Reshapes[i].Lender] = true
		}
		for resource, pins := range sight.Pins {
			flavor := flavors[corev1.ResourceName(resource)]
			sums[flavor] = sums[flavor].Plus(pins)
			if u := c.units[place{name, flavor}]; u != nil {
				u.Pinned = pins.Units
			}
		}
	}
	for _, l := range lenders {
		l.reshaped = reshaped[l.Name]
		if l.pinned > 0 && l.pins() {
			l.keeps(Slices{Pins: sums[l.Flavor], Unseen: unseen[l.Flavor]})
		}
	}
}

// pins reports whether slices are kept for the sake of the policy: one that lends nothing
// keeps nothing from those that others lend.
func (l *lender) pins() bool { return !l.Advise && l.Problem == nil }

// byName are the nodes in the order of their names.
func byName(nodes []corev1.Node) []*corev1.Node {
	sorted := make([]*corev1.Node, 0, len(nodes))
	for i := range nodes {
		sorted = append(sorted, &nodes[i])
	}
	slices.SortFunc(sorted, func(a, b *corev1.Node) int { return cmp.Compare(a.Name, b.Name) })
	return sorted
}

// offered are the flavors that a node's units of a resource are or would be of, whatever it
// has at the moment.
func (t *flavorTable) offered(node *corev1.Node) map[corev1.ResourceName]string {
	of := map[corev1.ResourceName]string{}
	for _, f := range t.sorted {
		if _, taken := of[f.Resource]; !taken && selects(f.NodeSelector, node.Labels) {
			of[f.Resource] = f.Name
		}
	}
	return of
}

// always and never bound a window that does not end.
var (
	always = time.Unix(0, 0).UTC()
	never  = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
)

// keeps says what the lender keeps of all GPUs.
func (l *lender) keeps(s Slices) {
	s.Pinned = l.pinned
	l.sliced = &s
	if s.Cards == 0 {
		return
	}
	if l.pinned > s.Most {
		l.problem(ReasonInvalidPolicy, "spec.mig.pinned: a GPU has room for %d of %s at most", s.Most, l.profile)
	}
	l.Floors = append(l.Floors, lend.Floor{
		Name: FloorPinned, Units: product(int64(min(l.pinned, s.Most)), int64(s.Cards)), From: always, Until: never,
	})
}

// gpus puts what was seen of GPUs into the view.
func (v *View) gpus(g *gpus) {
	v.Snapshot.Boards = g.boards.List()
	for name, node := range g.nodes {
		v.GPUNodes[name] = node.Object
		if sight := g.sights[name]; sight != nil && !node.Keeps(sight.Pinned) {
			v.Pins[name] = sight.Pinned
		}
	}
}
