package sliced

import (
	"context"
	"fmt"
	"math"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/demo/stage"
	"github.com/ebbtide/ebbtide/e2e/engine"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/mig"
)

// gpuFlavor is that of whole cards.
const gpuFlavor = "a100"

// size is a profile that is lent: its resource, its flavor, and what it takes of a card.
type size struct {
	flavor          string
	resource        corev1.ResourceName
	profile         mig.ProfileID
	compute, memory int64
}

// The slices that serve, and what four of them are made into.
var (
	small = size{flavor: "a100-1g", resource: "nvidia.com/mig-1g.5gb", profile: 0, compute: 1, memory: 1}
	large = size{flavor: "a100-4g", resource: "nvidia.com/mig-4g.20gb", profile: 3, compute: 4, memory: 4}

	sizes = []size{small, large}
)

// share is how much of a whole GPU it is.
func (s size) share() float64 { return float64(s.compute) / slicesPerCard }

// borrowers are the research teams, what slices their jobs ask for, and the share of the
// cards that each may borrow: the team of small jobs would leave nothing idle otherwise.
var borrowers = []borrower{
	{team: "speech", size: small, share: 0.25, waiting: 24},
	{team: "vision", size: large, share: 1, waiting: 16},
}

type borrower struct {
	team  string
	size  size
	share float64
	// waiting is how many jobs wait at any time.
	waiting int
}

// model is a replica that fits on a small slice.
func model() engine.Model {
	m := engine.DefaultModel("small")
	m.Slots = 8
	return m
}

// reshaping is what the broker's configuration says of changes of cards here.
const reshaping = "reshape: {assumedChange: 1s, assumedUndo: 500ms}\n"

// newTown starts the lab, with cards and agents, and makes the tenants, their queues and
// users, and the service.
func newTown(ctx context.Context, c Config, targetsURL string) (*stage.Town, error) {
	nodes := make([]lab.NodeSpec, c.Nodes)
	for i, name := range c.nodes() {
		nodes[i] = lab.NodeSpec{Name: name, Cards: &lab.Cards{Count: cardsPerNode, Board: board, Layout: installed}}
	}
	t, err := stage.NewTown(ctx, c.Config, lab.Options{Nodes: nodes, SDURL: targetsURL, Agent: &lab.Program{Restart: true}}, reshaping)
	if err != nil {
		return t, err
	}
	if err := t.Tenant(ctx, stage.ServingTeam, quota(c.cards(), nil)...); err != nil {
		return t, err
	}
	for _, b := range borrowers {
		limit := int64(math.Ceil(b.share * float64(c.cards())))
		if err := t.Borrower(ctx, b.team, quota(0, &limit)...); err != nil {
			return t, err
		}
	}
	policy := c.Policy(c.slices(), model().Slots)
	policy.Spec.MIG = &v1alpha1.MIGPolicy{
		Pinned: pinnedPerCard, Reshape: v1alpha1.ReshapeIdle,
		MinTrough: &metav1.Duration{Duration: c.Compressed(c.MinTrough)},
	}
	return t, t.Serve(ctx, small.resource, 1, policy)
}

// nodes are the names of all nodes.
func (c Config) nodes() []string {
	names := make([]string, c.Nodes)
	for i := range names {
		names[i] = fmt.Sprintf("mig-%02d", i)
	}
	return names
}

// quota is in whole cards, and both sizes draw on it.
func quota(nominal int64, limit *int64) []v1alpha1.FlavorQuota {
	flavors := []v1alpha1.FlavorQuota{stage.Whole(gpuFlavor, nominal, limit)}
	for _, s := range sizes {
		flavors = append(flavors, v1alpha1.FlavorQuota{
			Name: s.flavor, Resource: string(s.resource), SliceOf: gpuFlavor,
			Slices: &v1alpha1.GPUSlices{Compute: s.compute, Memory: s.memory},
		})
	}
	return flavors
}
