package queue

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ebbtide/ebbtide/quota"
)

// A pass offers exactly what the plain rules offer, in their order, and tells of
// everything else once, with a reason that holds.
func TestOrderIsThatOfTheRules(t *testing.T) {
	offers, kinds := 0, map[Kind]int{}
	rapid.Check(t, func(t *rapid.T) {
		r := roll(t)
		w := drawWorld(r, rapid.IntRange(0, 40).Draw(t, "jobs"), false)
		tree := w.tree()
		s := newSpec(w, tree.Clone())
		p := index(w.queues, w.jobs).Begin(tree, w.now, w.after, CouldTakeUpTo(w.upTo))
		seen := map[string]bool{}
		said := map[string]answer{}
		for {
			want, more := s.next()
			got, ok := p.Next()
			if ok != more || got != want {
				t.Fatalf("after %v: offered %+v, want %+v\n%s", said, got, want, tree)
			}
			if !ok {
				break
			}
			if seen[got.UID] {
				t.Fatalf("%s is offered twice", got.UID)
			}
			offers++
			a := w.judge(tree, &got)
			seen[got.UID], said[got.UID] = true, a
			if a == admitted {
				s.tree.Use(w.queues[got.Queue].Tenant, got.Flavor, got.Units())
				tree.Use(w.queues[got.Queue].Tenant, got.Flavor, got.Units())
			}
			if r.IntN(4) == 0 { // more than the job takes, or though it takes nothing
				s.tree.Use(w.queues[got.Queue].Tenant, 0, 1)
				tree.Use(w.queues[got.Queue].Tenant, 0, 1)
			}
			s.say(a)
			say(p, a)
		}
		eachPassed(p, func(j Job, b reason) {
			if seen[j.UID] {
				t.Fatalf("%s was offered, and passed over, or that twice", j.UID)
			}
			seen[j.UID] = true
			kinds[b.Kind]++
			if why := s.unfounded(j, b, said); why != "" {
				t.Fatalf("%s was passed over as %v because of %s: %s", j.UID, b.Kind, b.Job.UID, why)
			}
		})
		if len(seen) != len(w.jobs) {
			t.Fatalf("%d of %d jobs were offered or passed over", len(seen), len(w.jobs))
		}
	})
	if offers == 0 || len(kinds) != 4 {
		t.Errorf("the worlds showed %d offers and only the reasons %v", offers, kinds)
	}
}

// unfounded says what is wrong with the reason for which a job was passed over.
func (s *spec) unfounded(j Job, b reason, said map[string]answer) string {
	q := s.queues[j.Queue]
	a, offered := said[b.Job.UID]
	switch b.Kind {
	case NoQuota:
		if j.Flavor < 0 || j.Units() <= s.tree.Available(q.Tenant, j.Flavor) || j.Units() <= s.upTo(q.Tenant, j.Flavor) {
			return "there is quota"
		}
	case Alike:
		if !offered || a != refusedAlike && a != refusedInQueue {
			return fmt.Sprintf("which was answered %v", a)
		}
		if s.queues[b.Job.Queue].Tenant != q.Tenant || a == refusedInQueue && b.Job.Queue != j.Queue || b.Job.Priority < j.Priority {
			return "which says nothing about it"
		}
		if b.Job.Flavor != j.Flavor || b.Job.Pods != j.Pods || b.Job.UnitsPerPod != j.UnitsPerPod {
			return "which is of another shape"
		}
	case Behind:
		if q.Backfill || b.Job.Queue != j.Queue || s.held[j.Queue] < 0 || s.jobs[s.held[j.Queue]].UID != b.Job.UID {
			return "which does not hold it up"
		}
	case Closed:
		if !q.Closed && q.Tenant >= 0 && j.Flavor >= 0 {
			return "the queue is open"
		}
	}
	return ""
}

// An index that grew and shrank answers as one made anew, in whatever order it was
// filled.
func TestIndexHasNoPast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := roll(t)
		w := drawWorld(r, rapid.IntRange(0, 60).Draw(t, "jobs"), false)
		x, in := New(w.queues), map[string]bool{}
		for range 3 * len(w.jobs) {
			j := w.jobs[r.IntN(len(w.jobs))]
			if r.IntN(3) == 0 {
				if x.Remove(j.UID) != in[j.UID] {
					t.Fatalf("removing %s, of which there is one: %v", j.UID, in[j.UID])
				}
				delete(in, j.UID)
			} else {
				x.Add(j)
				in[j.UID] = true
			}
			if r.IntN(5) == 0 {
				w.run(x)
			}
		}
		if x.Len() != len(in) {
			t.Fatalf("it has %d jobs, not %d", x.Len(), len(in))
		}
		fresh := New(w.queues)
		for _, j := range w.jobs {
			if in[j.UID] {
				fresh.Add(j)
			}
		}
		for range 2 {
			if diff := cmp.Diff(trace(w, fresh), trace(w, x)); diff != "" {
				t.Fatalf("one made anew (-), this (+):\n%s", diff)
			}
		}
	})
}

// trace is all that an index can be asked.
func trace(w world, x *Index) []string {
	offered, passed := w.run(x)
	out := []string{fmt.Sprint(offered)}
	out = append(out, passed...)
	x.Positions(func(j Job, position int) { out = append(out, fmt.Sprint(j.UID, position)) })
	return out
}

// A job that is taken out and comes back with its time of creation has the place it
// had; only that it is aged starts anew.
func TestRequeuedJobKeepsItsPlace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := roll(t)
		w := drawWorld(r, rapid.IntRange(1, 40).Draw(t, "jobs"), false)
		w.after = 0
		x := index(w.queues, w.jobs)
		want := trace(w, x)
		for range 3 {
			j := w.jobs[r.IntN(len(w.jobs))]
			x.Remove(j.UID)
			j.Queued = moment.Add(-time.Second)
			x.Add(j)
		}
		if diff := cmp.Diff(want, trace(w, x)); diff != "" {
			t.Fatalf("before (-), after (+):\n%s", diff)
		}
	})
}

// A job that comes last in its queue changes no place, and under one cohort nothing
// that is offered before it.
func TestLaterJobsChangeNothingBefore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := roll(t)
		w := drawWorld(r, rapid.IntRange(0, 40).Draw(t, "jobs"), true)
		x := index(w.queues, w.jobs)
		before, _ := w.run(x)
		places := map[string]int{}
		x.Positions(func(j Job, position int) { places[j.UID] = position })
		last := w.job(r, len(w.jobs))
		last.Created, last.Queued, last.Priority = moment.Add(time.Second), moment, -1
		x.Add(last)
		x.Positions(func(j Job, position int) {
			if j.UID != last.UID && places[j.UID] != position {
				t.Fatalf("%s was at %d and is at %d", j.UID, places[j.UID], position)
			}
		})
		after, _ := w.run(x)
		for i, e := range after {
			if e.UID == last.UID {
				break
			}
			if i >= len(before) || before[i] != e {
				t.Fatalf("offered as %d: %v\nwithout the last job: %v", i, after, before)
			}
		}
	})
}

// Silence about a job is a refusal of it alone, and answers nobody asked for do nothing.
func TestSilence(t *testing.T) {
	w := world{
		nodes:  []quota.Node{{Name: "t", Quotas: []quota.Quota{{Flavor: "a100", Nominal: 8}, {Flavor: "h100", Nominal: 8}}}},
		queues: []Queue{{Name: "q", Backfill: true}},
	}
	for i := range 3 {
		w.jobs = append(w.jobs, Job{Pods: 1, UnitsPerPod: 1, Created: moment.Add(time.Duration(i)), UID: fmt.Sprint(i)})
	}
	p := index(w.queues, w.jobs).Begin(w.tree(), moment, 0)
	p.Admitted()
	p.Refused(true)
	p.RefusedInQueue()
	var got []string
	for j, ok := p.Next(); ok; j, ok = p.Next() {
		got = append(got, j.UID)
	}
	if diff := cmp.Diff([]string{"0", "1", "2"}, got); diff != "" {
		t.Error(diff)
	}
}

// For whom the caller could take something back, jobs are offered that exceed what is
// available, and no others; once is enough for all that are alike.
func TestCouldTake(t *testing.T) {
	w := world{
		nodes: []quota.Node{
			{Name: "owner", Parent: "all", Quotas: []quota.Quota{{Flavor: "h100", Nominal: 8}}},
			{Name: "taker", Parent: "all", Quotas: []quota.Quota{{Flavor: "h100"}}},
		},
		queues: []Queue{{Name: "o", Backfill: true}, {Name: "t", Tenant: 1, Backfill: true}},
	}
	for i := range 9 {
		w.jobs = append(w.jobs, Job{
			Queue: i % 2, Pods: 1 << (i % 3), UnitsPerPod: 1, Created: moment.Add(time.Duration(i)), UID: fmt.Sprint(i),
		})
	}
	tree := quota.NewTree(nil, w.nodes)
	tree.Use(1, 0, 8)
	owners := func(tenant quota.NodeID, _ quota.FlavorID) bool { return tenant == 0 }
	upToTwo := func(quota.NodeID, quota.FlavorID) quota.Amount { return 2 }
	for name, c := range map[string]struct {
		option Option
		want   []string
	}{
		"nobody":   {func(*Pass) {}, nil},
		"an owner": {CouldTake(owners), []string{"0", "2", "4"}},
		"a little": {CouldTakeUpTo(upToTwo), []string{"0", "1", "3", "4"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := index(w.queues, w.jobs).Begin(tree, moment, 0, c.option)
			var got []string
			for j, ok := p.Next(); ok; j, ok = p.Next() {
				got = append(got, j.UID)
				p.Refused(true)
			}
			slices.Sort(got)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
