package baseline

import (
	"cmp"
	"slices"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// stockPreemption chooses as kube-scheduler's plugin DefaultPreemption does, one pod that
// waits after the other. On each node all pods of training would go; those are spared that
// need not, the oldest first. Of the nodes the one is taken
//
//   - whose most important victim is the least important,
//   - then whose victims' priorities have the least sum, and then who has fewest victims:
//     all training has one class, so that both are fewest pods,
//   - then whose oldest victim is the newest,
//   - then the first.
//
// Disruption budgets, which come before all of these, are none. A job of which a pod goes
// stops whole, but what it holds elsewhere does not count for the next pod: the scheduler
// knows pods, not jobs.
//
// Source: the comments of pickOneNodeForPreemption and SelectVictimsOnNode in Kubernetes
// 1.36, and "Pod Priority and Preemption" in its documentation.
func stockPreemption(rooms []lend.Room, owed lend.Owed, candidates []lend.Candidate) ([]lend.Victim, bool) {
	in := newInstance(rooms, owed, candidates)
	s := &scheduler{instance: in, candidates: candidates, pods: make([][]podsOf, len(rooms))}
	for i := range candidates {
		for _, h := range in.holds[i] {
			s.pods[h.node] = append(s.pods[h.node], podsOf{i, h.units / candidates[i].UnitsPerPod})
		}
	}
	broken := map[int]bool{}
	for range owed.Pods {
		node, victims := s.pick()
		if node < 0 {
			break
		}
		s.evict(node, victims)
		for _, v := range victims {
			broken[v.candidate] = true
		}
	}
	var list []int
	for i := range candidates {
		if broken[i] {
			list = append(list, i)
		}
	}
	return stopped(list), len(list) > 0
}

// podsOf are pods of one candidate on one node.
type podsOf struct {
	candidate int
	pods      int64
}

type scheduler struct {
	*instance
	candidates []lend.Candidate
	pods       [][]podsOf // by node
}

// pick is the node for one pod, and who must go from it; -1 if no node can give room.
func (s *scheduler) pick() (node int, victims []podsOf) {
	node = -1
	for i := range s.pods {
		v, ok := s.victims(i)
		if ok && (node < 0 || s.compare(v, victims) < 0) {
			node, victims = i, v
		}
	}
	return node, victims
}

// victims are the pods that must go from a node for one more pod.
func (s *scheduler) victims(node int) (victims []podsOf, ok bool) {
	free := s.free[node]
	for _, p := range s.pods[node] {
		free += p.pods * s.candidates[p.candidate].UnitsPerPod
	}
	if free < s.units {
		return nil, false
	}
	oldest := slices.Clone(s.pods[node])
	slices.SortStableFunc(oldest, func(a, b podsOf) int {
		return s.candidates[a.candidate].Since.Compare(s.candidates[b.candidate].Since)
	})
	for _, p := range oldest {
		per := s.candidates[p.candidate].UnitsPerPod
		spared := min(p.pods, (free-s.units)/per)
		free -= spared * per
		if p.pods -= spared; p.pods > 0 {
			victims = append(victims, p)
		}
	}
	return victims, true
}

// compare is negative if the first victims are preferred. Both are the oldest first.
func (s *scheduler) compare(a, b []podsOf) int {
	if len(a) == 0 || len(b) == 0 {
		return cmp.Compare(len(a), len(b))
	}
	return cmp.Or(cmp.Compare(count(a), count(b)), s.candidates[b[0].candidate].Since.Compare(s.candidates[a[0].candidate].Since))
}

func count(list []podsOf) (n int64) {
	for _, p := range list {
		n += p.pods
	}
	return n
}

// evict has the victims go from a node, and one more pod come.
func (s *scheduler) evict(node int, victims []podsOf) {
	s.free[node] -= s.units
	for _, v := range victims {
		s.free[node] += v.pods * s.candidates[v.candidate].UnitsPerPod
		for i := range s.pods[node] {
			if p := &s.pods[node][i]; p.candidate == v.candidate {
				p.pods -= v.pods
			}
		}
	}
	s.pods[node] = slices.DeleteFunc(s.pods[node], func(p podsOf) bool { return p.pods == 0 })
}
