package gather

import (
	"context"
	"fmt"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// Resting is a cluster without a moment: what its rules say, and how large its lenders
// are. There are no pods, loads, jobs or loans in it.
type Resting struct {
	// Lenders by name. Of those with a Problem, what could not be resolved is missing.
	Lenders []lend.Lender
	// Quantiles of the lenders' forecasts, by name; 0 is the default.
	Quantiles map[string]float64
	Cohorts   []lend.Cohort
	Tenants   []lend.Tenant
	Queues    []lend.Queue
	// TenantOf each namespace that has one.
	TenantOf map[string]string
	// Problems of TenantQuotas, by name.
	Problems map[string]*lend.Problem
}

// Rest reads the rules as Gather does, and nothing else: for what is decided about a
// cluster that is thought up. It needs no more than Cache and Live.
func (g *Gatherer) Rest(ctx context.Context, now time.Time) (*Resting, error) {
	in := &inputs{}
	if err := g.readPolicies(ctx, &in.policies); err != nil {
		return nil, err
	}
	var hpas autoscalingv2.HorizontalPodAutoscalerList
	for _, q := range []struct {
		from client.Reader
		into client.ObjectList
	}{{g.Cache, &in.namespaces}, {g.Cache, &in.quotas}, {g.Cache, &in.queues}, {g.Cache, &hpas}} {
		if err := q.from.List(ctx, q.into); err != nil {
			return nil, fmt.Errorf("list %T: %w", q.into, err)
		}
	}
	if err := g.readAutoscalers(ctx, in, hpas.Items); err != nil {
		return nil, err
	}
	tenants := newRules(nil, in).tenants
	lenders, err := g.lenders(ctx, in, tenants)
	if err != nil {
		return nil, err
	}
	r := &Resting{
		Quantiles: map[string]float64{}, Cohorts: tenants.cohorts, Tenants: tenants.tenants,
		Queues: queues(in.queues.Items, tenants, nil), TenantOf: tenants.ofNamespace, Problems: tenants.problems,
	}
	g.windows.begin()
	for _, l := range lenders {
		l.steps(l.policy.Spec.Behavior)
		g.floors(l, now)
		g.reshaping(l)
		l.Desired, l.Hold = 0, nil // of the moment
		r.Quantiles[l.Name] = l.quantile()
		r.Lenders = append(r.Lenders, l.Lender)
	}
	return r, nil
}
