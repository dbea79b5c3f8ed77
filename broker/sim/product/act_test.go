package product

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
)

// shown is a policy that has seen two nodes of 16 units and two services.
func shown(t *testing.T) *policy {
	t.Helper()
	s := town(2, 0)
	for i := range s.Nodes {
		s.Nodes[i].Units[0].Count = 16
	}
	second := s.Services[0]
	second.Lender.Name = "serving/code"
	s.Services = append(s.Services, second)
	s.Length, s.Points = 1, 0
	p := New(lend.DefaultPolicy(), Defaults())
	play(t, s, p)
	return p.(*policy)
}

func grant(lender, node string, count int64) lend.Grant {
	return lend.Grant{Lender: lender, Node: node, Flavor: "gpu", Count: count}
}

func at(spot, lender int32, pods int64) sim.Place {
	return sim.Place{Spot: spot, Lender: lender, Pods: pods}
}

// A pod whose units are of several lenders is counted as one's, and none is lost.
func TestPlaces(t *testing.T) {
	const chat, code, a, b = "serving/chat", "serving/code", "node-0000", "node-0001"
	p := shown(t)
	for name, tc := range map[string]struct {
		size   int64
		grants []lend.Grant
		want   []sim.Place
	}{
		"own quota":      {4, []lend.Grant{grant("", a, 8)}, []sim.Place{at(0, sim.Nobody, 2)}},
		"a cohort's":     {4, []lend.Grant{grant("cohort:all", b, 4)}, []sim.Place{at(1, sim.Nobody, 1)}},
		"two lenders":    {1, []lend.Grant{grant(chat, a, 3), grant(code, a, 2)}, []sim.Place{at(0, 0, 3), at(0, 1, 2)}},
		"two nodes":      {2, []lend.Grant{grant(chat, a, 2), grant(chat, b, 4)}, []sim.Place{at(0, 0, 1), at(1, 0, 2)}},
		"a pod of two":   {8, []lend.Grant{grant("", a, 6), grant(chat, a, 10)}, []sim.Place{at(0, 0, 1), at(0, sim.Nobody, 1)}},
		"mostly lent":    {8, []lend.Grant{grant("", a, 1), grant(chat, a, 7)}, []sim.Place{at(0, 0, 1)}},
		"three of them":  {8, []lend.Grant{grant("", a, 9), grant(chat, a, 15)}, []sim.Place{at(0, sim.Nobody, 1), at(0, 0, 2)}},
		"the larger due": {8, []lend.Grant{grant(chat, a, 3), grant(code, a, 5)}, []sim.Place{at(0, 1, 1)}},
		"a pod of three": {8, []lend.Grant{grant("", a, 3), grant(chat, a, 2), grant(code, a, 3)}, []sim.Place{at(0, sim.Nobody, 1)}},
		"on both nodes":  {8, []lend.Grant{grant("", a, 4), grant(chat, a, 4), grant(chat, b, 8)}, []sim.Place{at(1, 0, 1), at(0, sim.Nobody, 1)}},
	} {
		t.Run(name, func(t *testing.T) {
			j := &sim.JobState{Job: sim.Job{UnitsPerPod: tc.size}}
			if diff := cmp.Diff(tc.want, p.places(j, tc.grants)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What is shed is taken from the pods of the lenders that are named, then from any that stay
// on the node.
func TestShedPlaces(t *testing.T) {
	const chat, a = "serving/chat", "node-0000"
	p := shown(t)
	for name, tc := range map[string]struct {
		places, going []sim.Place
		shed          []lend.Grant
		want          []sim.Place
	}{
		"the lender's":       {[]sim.Place{at(0, sim.Nobody, 2), at(0, 0, 2)}, nil, []lend.Grant{grant(chat, a, 4)}, []sim.Place{at(0, 0, 2)}},
		"more than that":     {[]sim.Place{at(0, sim.Nobody, 2), at(0, 0, 1)}, nil, []lend.Grant{grant(chat, a, 4)}, []sim.Place{at(0, 0, 1), at(0, sim.Nobody, 1)}},
		"not what goes":      {[]sim.Place{at(0, sim.Nobody, 2), at(0, 0, 2)}, []sim.Place{at(0, 0, 1)}, []lend.Grant{grant(chat, a, 4)}, []sim.Place{at(0, 0, 1), at(0, sim.Nobody, 1)}},
		"a pod of two":       {[]sim.Place{at(0, sim.Nobody, 3)}, nil, []lend.Grant{grant("", a, 1), grant(chat, a, 1)}, []sim.Place{at(0, sim.Nobody, 1)}},
		"nothing is on node": {[]sim.Place{at(1, 0, 3)}, nil, []lend.Grant{grant(chat, a, 2)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			j := &sim.JobState{Job: sim.Job{UnitsPerPod: 2}, Places: tc.places, Going: tc.going}
			if diff := cmp.Diff(tc.want, p.shedPlaces(j, tc.shed)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
