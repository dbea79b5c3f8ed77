package results

import (
	"fmt"
	"slices"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/broker/sim/product"
	"github.com/ebbtide/ebbtide/e2e/results/report"
	"github.com/ebbtide/ebbtide/e2e/results/town"
	"github.com/ebbtide/ebbtide/e2e/results/trial"
)

// rivals are the policies that Ebbtide is compared with in the main experiment, in the
// order in which they are told.
var rivals = []string{"static-split", "quota-cron", "stock-preemption", "random", "fewest-jobs", "lyra", "lyra-ahead", "gfs", "deepboot"}

// main plays the second week under all policies.
func (p *plan) main() error {
	t, err := town.New(p.config())
	if err != nil {
		return fmt.Errorf("making the main town: %w", err)
	}
	// No lending is played with Ebbtide's own scheduler and with a plain one, since one of
	// them may be better at it.
	none := []*trial.Trial{p.add("main: no lending", t, p.alone()), p.add("main: pools-apart", t, theirs("pools-apart"))}
	oracle, ours := p.add("main: oracle", t, theirs("oracle")), p.add("main: ebbtide", t, p.ours())
	ref := trial.Reference{None: none, Oracle: oracle}
	fair := p.add("main: ebbtide, fair preemption", t, p.ours(func(r *lend.Policy, o *product.Options) {
		r.FairPreemption, o.Name = lend.DefaultPolicy().FairPreemption, "ebbtide, fair preemption"
	}))
	order := slices.Clone(none)
	for _, name := range rivals {
		order = append(order, p.add("main: "+name, t, theirs(name)))
	}
	order = append(order, ours, fair, oracle)
	p.then = append(p.then, func(r *report.Report) {
		r.Start = t.Start.Add(t.Warmup)
		r.Series, r.Waits = map[string][]sim.Bin{}, map[string]*sim.Sketch{}
		for _, one := range order {
			row := ref.Row(one)
			r.Main = append(r.Main, row)
			r.Series[row.Policy], r.Waits[row.Policy] = one.Result.Series, &one.Result.Queueing
		}
		r.Town = facts(t, none[0].Result, ours.Result)
	})
	return nil
}

// few are the policies whose results are told of other towns than the main one.
func (p *plan) few(name string, t *town.Town) (rows func() []trial.Row) {
	none, oracle := p.add(name+": pools-apart", t, theirs("pools-apart")), p.add(name+": oracle", t, theirs("oracle"))
	lyra, ours := p.add(name+": lyra", t, theirs("lyra")), p.add(name+": ebbtide", t, p.ours())
	ref := trial.Reference{None: []*trial.Trial{none}, Oracle: oracle}
	return func() (rows []trial.Row) {
		for _, one := range []*trial.Trial{none, lyra, ours, oracle} {
			rows = append(rows, ref.Row(one))
		}
		return rows
	}
}

// pools plays towns with other pools: of all that was chosen, the results depend on that
// the most.
func (p *plan) pools() error {
	for _, share := range []float64{0.4, 0.75, 1} {
		c := p.config()
		c.Pool = share
		t, err := town.New(c)
		if err != nil {
			return fmt.Errorf("making a town with another pool: %w", err)
		}
		name := fmt.Sprintf("pool of %g × demand, %d GPUs", share, t.Pool)
		rows := p.few(name, t)
		p.then = append(p.then, func(r *report.Report) { r.Pools = append(r.Pools, report.Variant{Name: name, Rows: rows()}) })
	}
	return nil
}

// assumptions plays towns in which something that no recording tells is otherwise.
func (p *plan) assumptions() error {
	for _, v := range []struct {
		name   string
		change func(*town.Config)
	}{
		{"all as in the main town", func(*town.Config) {}},
		{"another seed", func(c *town.Config) { c.Seed++ }},
		{"no job is elastic", func(c *town.Config) { c.Costs.Elastic = 0 }},
		{"no job saves when asked to stop", func(c *town.Config) { c.Costs.Saves = 0 }},
		{"holes in the recordings are loads that nobody knows", func(c *town.Config) { c.Holes = true }},
	} {
		c := p.short()
		v.change(&c)
		t, err := town.New(c)
		if err != nil {
			return fmt.Errorf("making a town where %s: %w", v.name, err)
		}
		rows := p.few(v.name, t)
		p.then = append(p.then, func(r *report.Report) { r.Towns = append(r.Towns, report.Variant{Name: v.name, Rows: rows()}) })
	}
	return nil
}

// facts tell of a town what its configuration does not say.
func facts(t *town.Town, none, ours *sim.Result) report.Town {
	out := report.Town{Nodes: len(t.Nodes), GPUs: t.GPUs(), Pool: t.Pool, PoolShare: town.Default().Pool}
	for i, o := range t.Owners {
		hours := float64(o.Owned) * (t.Length - t.Warmup).Hours()
		out.Services = append(out.Services, report.Service{
			Name: o.Name, Recording: o.Recording, Repeats: o.Repeats, Owned: o.Owned, Replica: o.Replica,
			Idle: trial.Six(none.Services[i].Idle / hours), Lent: trial.Six(ours.Services[i].Lent / hours),
			ShortWithout: trial.Six(none.Services[i].ShortShare), Short: trial.Six(ours.Services[i].ShortShare),
		})
	}
	for _, b := range t.Borrowers {
		out.Tenants = append(out.Tenants, report.Tenant{
			Name: b.Name, Nominal: b.Nominal, Jobs: b.Jobs, Demand: [2]float64{trial.Six(b.Demand[0]), trial.Six(b.Demand[1])},
		})
	}
	return out
}
