package lend

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// calm is a cluster of 1,250 nodes of 8 GPUs with eight services, one tenant of serving and
// ten of research, whose loans hold all that is lent; 40 of their jobs wait.
func calm() *tide {
	w := &tide{r: roll1(11), ended: map[string]bool{}, decide: new(Decider).Decide}
	w.in = Snapshot{Now: noon, Epoch: 1, Cohorts: []Cohort{{Name: "all"}}}
	for i := range 1250 {
		w.in.Nodes = append(w.in.Nodes, Node{
			Name: fmt.Sprintf("node-%05d", i), Schedulable: true, Units: []Units{{Flavor: "h100", Capacity: 8}},
		})
	}
	const lenders, owned = 8, 1000
	for i := range 11 {
		t := Tenant{Name: fmt.Sprintf("t%02d", i), Cohort: "all", Quotas: []Quota{{Flavor: "h100", Nominal: 200}}}
		if i == 0 {
			t.Quotas[0].Nominal = lenders * owned
		}
		w.in.Tenants = append(w.in.Tenants, t)
		w.in.Queues = append(w.in.Queues, Queue{Name: t.Name + "/q", Tenant: t.Name, Backfill: true})
	}
	for i := range lenders {
		l := Lender{
			Name: fmt.Sprintf("online/s%04d", i), Tenant: "t00", Flavor: "h100", Owned: owned, UnitsPerPod: pick[int64](w.r, 1, 2, 4, 8),
			LowWater: 0.3, HighWater: 0.7, Dwell: time.Second, Cooldown: time.Second, MaxGrace: time.Minute, Warm: 1,
		}
		replicas := owned / l.UnitsPerPod
		l.Desired = replicas * 2 / 5
		l.Running, l.Ready = l.Desired, l.Desired
		for k, units := i*125, l.Running*l.UnitsPerPod; units > 0; k++ {
			w.in.Nodes[k].Units[0].Online = min(units, 8)
			units -= min(units, 8)
		}
		w.in.Lenders = append(w.in.Lenders, l)
		w.load(i, 0.1)
	}
	m := &measured{kinds: map[string][]time.Duration{}}
	for range 14 { // who has just started lends nothing
		w.next(m, "start")
	}
	w.submit(1500)
	for range 3 {
		w.next(m, "fill")
	}
	w.in.Jobs = slices.Clone(w.in.Jobs[:min(len(w.in.Jobs), 40)])
	w.in.Now = w.in.Now.Add(20 * time.Minute)
	for range 20 { // so that those that wait have waited for long
		w.next(m, "wait")
	}
	return w
}

// submit adds jobs of the ten tenants.
func (w *tide) submit(jobs int) {
	in := slices.Clone(w.in.Jobs)
	for range jobs {
		w.jobs++
		j := w.job(w.jobs)
		t := 1 + w.r.IntN(10)
		j.Tenant = fmt.Sprintf("t%02d", t)
		j.Name, j.Queue, j.Flavor = fmt.Sprintf("%s/job-%06d", j.Tenant, w.jobs), j.Tenant+"/q", "h100"
		j.UID, j.Created = fmt.Sprintf("uid-%06d", w.jobs), w.in.Now
		in = append(in, j)
	}
	w.in.Jobs = in
}

// moment is what one decision starts from.
type tideMoment struct {
	in    Snapshot
	state State
}

// moments are so many decisions, one thing happening between two of them.
func (w *tide) moments(n int, happen func(i int)) []tideMoment {
	m := &measured{kinds: map[string][]time.Duration{}}
	var out []tideMoment
	for i := range n {
		happen(i)
		w.step()
		in := w.in
		in.Nodes, in.Lenders, in.Loans = slices.Clone(in.Nodes), slices.Clone(in.Lenders), slices.Clone(in.Loans)
		out = append(out, tideMoment{in, w.state})
		w.in.Now = w.in.Now.Add(-5 * time.Second)
		w.next(m, "")
	}
	return out
}

// BenchmarkDecideQuiet measures decisions between which little happens, by one that has
// decided before: nothing but new samples, a job that comes, or a loan that ends.
func BenchmarkDecideQuiet(b *testing.B) {
	cases := []struct {
		name   string
		happen func(w *tide, i int)
	}{
		{"samples", func(*tide, int) {}},
		{"arrival", func(w *tide, i int) { w.submit(1) }},
		{"end", func(w *tide, i int) { w.end(1) }},
	}
	for _, c := range cases {
		b.Run(c.name, func(b *testing.B) {
			w := calm()
			moments := w.moments(64, func(i int) { c.happen(w, i) })
			k := new(Decider)
			i, used := 0, processor()
			var did int
			for b.Loop() {
				at := &moments[i%len(moments)]
				plan, _ := k.Decide(at.in, at.state, DefaultPolicy())
				did += len(plan.Actions)
				i++
			}
			b.ReportMetric(float64((processor()-used).Nanoseconds())/float64(i), "cpu-ns/op")
			b.ReportMetric(float64(len(w.in.Loans)), "loans")
			b.ReportMetric(float64(len(w.in.Jobs)), "jobs")
			b.ReportMetric(float64(did)/float64(i), "actions")
		})
	}
}
