package quota

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// busy makes a cluster in which some hold units, some of them for a short time only.
func busy(t *rapid.T) (*rand.Rand, *cluster) {
	r := seeded(t)
	s := drawCluster(r, rapid.IntRange(10, 50).Draw(t, "jobs"))
	s.fitting(func(a, b *job) int { return 0 })
	for _, j := range s.jobs {
		j.Young = r.IntN(6) == 0
		if j.running && r.IntN(4) == 0 {
			s.stop(j)
		}
	}
	return r, s
}

// claimer is a job that asks for something, every third within its tenant's quota.
func (s *cluster) claimer(r *rand.Rand) *job {
	c := &job{takenBack: r.IntN(4) == 0, Held: Held{Name: "claim", Tenant: s.tenant(r), Flavor: s.flavor(r), Units: Amount(1 + r.IntN(12)), Priority: int32(r.IntN(3))}}
	if room := s.tree.NominalRoom(c.Tenant, c.Flavor); room > 0 && r.IntN(3) == 0 {
		c.Units = 1 + Amount(r.Int64N(int64(room)))
	}
	return c
}

// Whatever is taken is enough, allowed, and no victim could be spared; the tree is as
// it was; and if it is not enough nothing is taken.
func TestTakeBackTakesWhatItMayAndNeeds(t *testing.T) {
	seen := map[Cause]int{}
	rapid.Check(t, func(t *rapid.T) {
		r, s := busy(t)
		held, _ := s.held()
		for range 20 {
			for _, cause := range takesRightly(t, r, s, held) {
				seen[cause]++
			}
		}
	})
	t.Logf("victims by cause: %v", seen)
	for _, cause := range []Cause{OwnerWants, FairShare, Outranked} {
		if seen[cause] == 0 {
			t.Errorf("no victim with cause %s was seen", cause)
		}
	}
}

func takesRightly(t *rapid.T, r *rand.Rand, s *cluster, held []Held) []Cause {
	// Nodes: some units of what is held give room, and so much of it is needed.
	room, need := make([]int, len(held)), max(0, r.IntN(5)-2)
	for i := range room {
		room[i] = r.IntN(2)
	}
	fits := func(victims []int) bool {
		sum := 0
		for _, v := range victims {
			sum += room[v]
		}
		return sum >= need
	}
	before, claim := s.tree.Clone(), s.claimer(r).claim()
	victims, causes, ok := s.tree.TakeBack(claim, held, bothRules, fits)
	if diff := cmp.Diff(answers(s.world, before), answers(s.world, s.tree)); diff != "" {
		t.Fatalf("the tree is not as it was (-want +got):\n%s", diff)
	}
	if len(victims) != len(causes) || !ok && len(victims) > 0 {
		t.Fatalf("ok is %v, and there are %d victims and %d causes", ok, len(victims), len(causes))
	}
	if !ok {
		return nil
	}
	w := &want{s.tree.Clone(), claim, held, victims, causes, fits}
	w.enough(t)
	for at, i := range victims {
		w.allowed(t, at)
		if w.without(at) {
			t.Fatalf("victim %d of %v (%v) could be spared", i, victims, causes)
		}
	}
	return causes
}

// want checks one answer by the rules.
type want struct {
	tree    *Tree
	claim   Claim
	held    []Held
	victims []int
	causes  []Cause
	fits    func([]int) bool
}

// after is the tree without these victims, and with the claim.
func (w *want) after(victims []int, claim bool) *Tree {
	t := w.tree.Clone()
	for _, i := range victims {
		t.Use(w.held[i].Tenant, w.held[i].Flavor, -w.held[i].Units)
	}
	if claim {
		t.Use(w.claim.Tenant, w.claim.Flavor, w.claim.Units)
	}
	return t
}

func (w *want) enough(t *rapid.T) {
	left := w.after(w.victims, false)
	if room := left.Available(w.claim.Tenant, w.claim.Flavor); w.claim.Units > room || !w.fits(w.victims) {
		t.Fatalf("%d units with room for %d after %v", w.claim.Units, room, w.victims)
	}
}

// sides are the nodes under the lowest common ancestor of the claim's tenant and
// another, found by listing both ways up.
func (w *want) sides(tenant NodeID) (claims, victims NodeID) {
	up := func(n NodeID) (out []NodeID) {
		for ; n != None; n = w.tree.Parent(n) {
			out = append(out, n)
		}
		slices.Reverse(out)
		return out
	}
	a, b := up(w.claim.Tenant), up(tenant)
	i := 0
	for a[i] == b[i] {
		i++
	}
	return a[i], b[i]
}

// borrows lists the dimensions of the claim's flavor in which the node borrows.
func (w *want) borrows(t *Tree, n NodeID) (dims []int) {
	for _, d := range t.flavors[w.claim.Flavor].draws {
		if c := t.cell(n, d.dim); c.usage > c.subtree {
			dims = append(dims, d.dim)
		}
	}
	return dims
}

// claims reports whether the node borrows for the claim.
func (w *want) claims(without, with *Tree, n NodeID) bool {
	return slices.ContainsFunc(w.borrows(with, n), func(d int) bool {
		return with.cell(n, d).usage > without.cell(n, d).usage
	})
}

func (w *want) allowed(t *rapid.T, at int) {
	h, cause := &w.held[w.victims[at]], w.causes[at]
	if cause == Outranked {
		if h.Tenant != w.claim.Tenant || h.Priority >= w.claim.Priority {
			t.Fatalf("%+v does not outrank %+v", w.claim, h)
		}
		if w.claim.TakenBack && w.claims(w.after(w.victims, false), w.after(w.victims, true), h.Tenant) {
			t.Fatalf("%+v takes %+v in order to borrow", w.claim, h)
		}
		return
	}
	if h.Tenant == w.claim.Tenant || h.Own {
		t.Fatalf("%s takes %+v for %+v", cause, h, w.claim)
	}
	a, b := w.sides(h.Tenant)
	left, end := w.after(w.victims[:at], false), w.after(w.victims, true)
	with := w.after(w.victims[:at], true)
	dims := w.borrows(left, h.Tenant)
	for n := h.Tenant; n != left.Parent(b); n = left.Parent(n) {
		dims = slices.DeleteFunc(dims, func(d int) bool { return !slices.Contains(w.borrows(left, n), d) })
	}
	if len(dims) == 0 {
		t.Fatalf("%s takes %+v, whose side does not borrow\n%s", cause, h, left)
	}
	if cause == OwnerWants && w.claims(w.after(w.victims, false), end, a) {
		t.Fatalf("the owner who wants %+v borrows itself\n%s", h, end)
	}
	if cause != FairShare {
		return
	}
	if h.Young || w.claim.TakenBack {
		t.Fatalf("fair sharing takes %+v", h)
	}
	if !w.claims(left, with, a) {
		t.Fatalf("fair sharing takes %+v for who does not borrow\n%s", h, with)
	}
	if x, y := w.sharesAt(w.victims, at); x >= y {
		t.Fatalf("with share %d it takes %+v from share %d", x, h, y)
	}
	end.Use(h.Tenant, h.Flavor, h.Units)
	if x, y := end.Share(a), end.Share(b); x > y {
		t.Fatalf("victim %+v with share %d could take it back from share %d", h, y, x)
	}
}

// without reports whether all victims but one are enough and allowed.
func (w *want) without(at int) bool {
	rest := slices.Delete(slices.Clone(w.victims), at, at+1)
	if w.claim.Units > w.after(rest, false).Available(w.claim.Tenant, w.claim.Flavor) || !w.fits(rest) {
		return false
	}
	left, end := w.after(rest, false), w.after(rest, true)
	for i, v := range w.victims {
		a := w.claim.Tenant
		switch {
		case i == at || w.causes[i] == FairShare || w.causes[i] == Outranked && !w.claim.TakenBack:
			continue
		case w.causes[i] == OwnerWants:
			a, _ = w.sides(w.held[v].Tenant)
		}
		if w.claims(left, end, a) {
			return false
		}
	}
	for i := at; i < len(rest); i++ {
		if w.causes[i+1] != FairShare {
			continue
		}
		if x, y := w.sharesAt(rest, i); x >= y {
			return false
		}
	}
	return true
}

// sharesAt are the shares of the claim's side, with the claim, and of the victim's when
// the victims before it have gone.
func (w *want) sharesAt(victims []int, at int) (claims, victim Share) {
	a, b := w.sides(w.held[victims[at]].Tenant)
	return w.after(victims[:at], true).Share(a), w.after(victims[:at], false).Share(b)
}

// What is promised can be had, before and after whatever others took: as long as
// tenants hold beyond their quota only what can be taken from them.
func TestGuaranteeHolds(t *testing.T) {
	claims, taken := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		r, s := busy(t)
		c := s.claimer(r)
		for range 2 {
			held, whose := s.held()
			for _, n := range s.tenants {
				for _, f := range s.ids {
					promised := Claim{Tenant: n, Flavor: f, Units: s.tree.NominalRoom(n, f), Priority: -1}
					if promised.Units == 0 || !s.tree.Lists(n, f) {
						continue
					}
					claims++
					victims, _, ok := s.tree.TakeBack(promised, held, nil, always)
					if !ok {
						t.Fatalf("%s was promised %d more %s and cannot have it\n%s", s.tree.nodes[n].name, promised.Units, s.tree.flavors[f].name, s.tree)
					}
					taken += len(victims)
				}
			}
			victims, _, ok := s.tree.TakeBack(c.claim(), held, bothRules, always)
			if !ok {
				return
			}
			for _, v := range victims {
				s.stop(whose[v])
			}
			s.admit(c)
			s.jobs = append(s.jobs, c)
		}
	})
	t.Logf("%d claims took %d", claims, taken)
	if claims == 0 || taken == 0 {
		t.Errorf("%d claims took %d", claims, taken)
	}
}
