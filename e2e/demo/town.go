package demo

import (
	"context"
	"fmt"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/demo/stage"
	"github.com/ebbtide/ebbtide/e2e/engine"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

const (
	resourceGPU = "nvidia.com/gpu"
	flavor      = "h100"
)

// borrowers are the research teams, and the share of the cluster that each may
// borrow.
var borrowers = []struct {
	team  string
	share float64
}{{"language", 0.6}, {"vision", 0.5}, {"speech", 0.4}}

// model is that of the service, whose replicas take a whole node each.
func model() engine.Model { return engine.DefaultModel("deepseek-r1") }

// newTown starts the lab and makes the tenants, their queues and users, and the service.
func newTown(ctx context.Context, c Config, targetsURL string) (*stage.Town, error) {
	nodes := make([]lab.NodeSpec, c.Nodes)
	for i := range nodes {
		nodes[i] = lab.NodeSpec{Name: fmt.Sprintf("gpu-%03d", i), GPUs: gpusPerNode}
	}
	t, err := stage.NewTown(ctx, c.Config, lab.Options{Nodes: nodes, SDURL: targetsURL}, "")
	if err != nil {
		return t, err
	}
	if err := t.Tenant(ctx, stage.ServingTeam, quota(c.units(), nil)); err != nil {
		return t, err
	}
	for _, b := range borrowers {
		limit := int64(b.share * float64(c.units()))
		if err := t.Borrower(ctx, b.team, quota(0, &limit)); err != nil {
			return t, err
		}
	}
	return t, t.Serve(ctx, resourceGPU, gpusPerNode, c.Policy(c.units(), model().Slots))
}

func quota(nominal int64, limit *int64) v1alpha1.FlavorQuota {
	q := stage.Whole(flavor, nominal, limit)
	q.NodeSelector = map[string]string{lab.LabelProduct: lab.DefaultProduct}
	return q
}
