package quota

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// In 1,000 random clusters in which nothing arrives, whatever is taken back and
// admitted again comes to rest: soon, with as many fair decisions as jobs at most, and
// without the victims of one decision taking anything in the next.
func TestNoFlapping(t *testing.T) {
	var fairDecisions, most int
	for seed := range uint64(1000) {
		r := rand.New(rand.NewPCG(seed, 7))
		s := drawCluster(r, 60)
		order := s.fair
		if seed%4 == 0 { // in any order at all
			place := r.Perm(len(s.jobs))
			order = func(a, b *job) int { return place[slices.Index(s.jobs, a)] - place[slices.Index(s.jobs, b)] }
		}
		// Some tenants come first and take what they can get.
		for _, i := range r.Perm(len(s.jobs)) {
			if j := s.jobs[i]; j.Tenant%3 != NodeID(seed%3) && j.Units <= s.tree.Available(j.Tenant, j.Flavor) {
				s.admit(j)
			}
		}
		var log []decision
		for {
			s.fitting(order)
			d, moved := s.takeBack(bothRules, order)
			if !moved {
				break
			}
			log = append(log, d)
			if d.fair() {
				s.restsAfter(t, seed, d)
			}
			if len(log) > 4*len(s.jobs) {
				for _, d := range log {
					t.Log(d)
				}
				t.Fatalf("seed %d: no end with %d jobs\n%s", seed, len(s.jobs), s.tree)
			}
		}
		fair := len(slices.DeleteFunc(slices.Clone(log), func(d decision) bool { return !d.fair() }))
		if fair > len(s.jobs) {
			t.Fatalf("seed %d: %d fair decisions with %d jobs", seed, fair, len(s.jobs))
		}
		fairDecisions += fair
		for _, j := range s.jobs {
			most = max(most, j.taken)
			if j.taken > mostTaken {
				t.Errorf("seed %d: %s was taken back %d times", seed, j.Name, j.taken)
			}
		}
	}
	t.Logf("%d fair decisions; no job was taken back more than %d times", fairDecisions, most)
	if fairDecisions < 300 {
		t.Errorf("only %d fair decisions: the clusters are too easy", fairDecisions)
	}
}

// mostTaken is how often one job is taken back at most in these clusters.
const mostTaken = 6

// restsAfter checks that a decision about the job that took and its victims takes
// nothing back from other tenants. In these clusters not even victims that nobody
// remembers to have been taken back take from who took.
func (s *cluster) restsAfter(t *testing.T, seed uint64, d decision) {
	t.Helper()
	held, whose := s.held()
	for _, v := range d.victims {
		victims, causes, ok := s.tree.TakeBack(v.claim(), held, bothRules, always)
		if ok && slices.ContainsFunc(causes, func(c Cause) bool { return c != Outranked }) {
			t.Fatalf("seed %d: %s; then %s takes %v %v\n%s", seed, d, v.Name, whose[victims[0]].Name, causes, s.tree)
		}
		claim := v.claim()
		claim.TakenBack = false
		victims, causes, ok = s.tree.TakeBack(claim, held, bothRules, always)
		for i, o := range victims {
			if ok && whose[o] == d.job && causes[i] != Outranked {
				t.Fatalf("seed %d: %s; then %s takes it back from it\n%s", seed, d, v.Name, s.tree)
			}
		}
	}
}
