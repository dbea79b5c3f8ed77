package mig_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/mig"
)

// only is a board with some of its profiles.
func only(t testing.TB, name string, profiles ...mig.ProfileID) mig.Geometry {
	t.Helper()
	g, ok := mig.Board(name)
	if !ok {
		t.Fatalf("there is no board %s", name)
	}
	if profiles != nil {
		g.Profiles = slices.DeleteFunc(g.Profiles, func(p mig.Profile) bool { return !slices.Contains(profiles, p.ID) })
	}
	return g
}

// sets are all sets that a board allows.
func sets(g *mig.Geometry, fixed ...mig.Placed) [][]mig.Placed {
	var all [][]mig.Placed
	g.Enumerate(fixed, func(set []mig.Placed) bool {
		all = append(all, slices.Clone(set))
		return true
	})
	return all
}

func isMaximal(g *mig.Geometry, set []mig.Placed) bool {
	n := 0
	g.Enumerate(set, func([]mig.Placed) bool { n++; return n < 2 })
	return n == 1
}

// kinds is how many sets differ in how many instances they have of which profile.
func kinds(all [][]mig.Placed) int {
	seen := map[string]bool{}
	for _, set := range all {
		var ids []int
		for _, at := range set {
			ids = append(ids, int(at.Profile))
		}
		slices.Sort(ids)
		seen[fmt.Sprint(ids)] = true
	}
	return len(seen)
}

func TestCounts(t *testing.T) {
	five := []mig.ProfileID{0, 1, 2, 3, 4}
	unlimited := func(g mig.Geometry) mig.Geometry { g.Engines = mig.Engines{}; return g }
	for name, tc := range map[string]struct {
		board                              mig.Geometry
		sets, maximal, kinds, maximalKinds int // -1: not known from elsewhere
	}{
		"seven slices, 1g 2g 3g 4g 7g":    {only(t, "A100-40GB", five...), 298, 19, 38, 14},
		"the same before R510":            {only(t, "A100-40GB", five...).BeforeR510(), -1, 18, -1, -1},
		"and 1g with double memory":       {only(t, "A100-40GB", 0, 1, 2, 3, 4, 9), 723, 78, 78, -1},
		"all seven":                       {only(t, "A100-40GB"), 2319, 239, 128, -1},
		"H100, all seven":                 {only(t, "H100-80GB"), 2319, 239, 128, -1},
		"A30, 1g 2g 4g":                   {only(t, "A30-24GB", 0, 1, 3), 26, 5, 10, -1},
		"A30, all five":                   {only(t, "A30-24GB"), 76, -1, -1, -1},
		"A30 with engines for all":        {unlimited(only(t, "A30-24GB")), 84, -1, -1, -1},
		"RTX PRO 6000, 1g 2g 4g":          {only(t, "RTX-PRO-6000-96GB", 0, 1, 3), 26, 5, 10, -1},
		"RTX PRO 6000, all eleven":        {only(t, "RTX-PRO-6000-96GB"), 717, -1, -1, -1},
		"a board that offers nothing yet": {mig.Geometry{Slots: 8}, 1, 1, 1, 1},
	} {
		all := sets(&tc.board)
		most := slices.DeleteFunc(slices.Clone(all), func(set []mig.Placed) bool { return !isMaximal(&tc.board, set) })
		for what, n := range map[string][2]int{
			"sets": {len(all), tc.sets}, "maximal sets": {len(most), tc.maximal},
			"kinds": {kinds(all), tc.kinds}, "maximal kinds": {kinds(most), tc.maximalKinds},
		} {
			if n[1] >= 0 && n[0] != n[1] {
				t.Errorf("%s: %d %s, want %d", name, n[0], what, n[1])
			}
		}
	}
}

// The largest layouts of a board of seven slices: one of six left halves with one of three
// right ones, or the whole.
func TestMaximalLayouts(t *testing.T) {
	g := only(t, "A100-40GB", 0, 1, 2, 3, 4)
	var got []string
	for _, set := range sets(&g) {
		if isMaximal(&g, set) {
			var text []string
			for _, at := range set {
				p, _ := g.Profile(at.Profile)
				text = append(text, fmt.Sprintf("%dg@%d", p.Compute, at.Start))
			}
			got = append(got, strings.Join(text, " "))
		}
	}
	want := []string{"7g@0"}
	for _, left := range []string{"4g@0", "3g@0", "2g@0 2g@2", "2g@0 1g@2 1g@3", "1g@0 1g@1 2g@2", "1g@0 1g@1 1g@2 1g@3"} {
		for _, right := range []string{"3g@4", "2g@4 1g@6", "1g@4 1g@5 1g@6"} {
			want = append(want, left+" "+right)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestBoards(t *testing.T) {
	boards, origins := mig.Boards(), mig.Origins()
	if len(boards) != 13 || len(origins) != len(boards) {
		t.Fatalf("%d boards with %d origins", len(boards), len(origins))
	}
	for i, g := range boards {
		if err := g.Validate(); err != nil {
			t.Error(err)
		}
		o := origins[i]
		if o.Board != g.Board || len(o.Sources) == 0 || o.Confidence == "" || len(o.PCIDevices) == 0 {
			t.Errorf("%s: its origin is %+v", g.Board, o)
		}
		if !slices.IsSortedFunc(g.Profiles, func(a, b mig.Profile) int { return int(a.ID - b.ID) }) {
			t.Errorf("%s: profiles are not by ID", g.Board)
		}
		for _, id := range o.PCIDevices {
			for _, text := range []string{id, "0x" + id, "0x" + strings.ToLower(id) + "10de", id + "10DE"} {
				if found, ok := mig.BoardFor(text); !ok || found.Board != g.Board {
					t.Errorf("%s is %s, %v; want %s", text, found.Board, ok, g.Board)
				}
			}
		}
		unknown := 0
		for _, p := range g.Profiles {
			if p.MemoryMiB == 0 || p.SMs == 0 {
				unknown++
			}
			if q, ok := g.ProfileOf(p.Resource()); !ok || q.ID != p.ID {
				t.Errorf("%s: %s is profile %d, %v", g.Board, p.Resource(), q.ID, ok)
			}
		}
		if unknown > 0 != (len(o.Unknown) > 0) {
			t.Errorf("%s: %d profiles are not fully known, and the origin says %v", g.Board, unknown, o.Unknown)
		}
		if mig.NewTable(&g).Strict() {
			t.Errorf("%s: pairs do not say all about what it allows, so that plans are slow", g.Board)
		}
	}
	for _, none := range []string{"", "0x", "10DE", "0xFFFF10DE"} {
		if g, ok := mig.BoardFor(none); ok {
			t.Errorf("%q is %s", none, g.Board)
		}
	}
	if _, ok := mig.Board("A100"); ok {
		t.Error("there is a board A100")
	}
}

func TestDifference(t *testing.T) {
	a := only(t, "H100-80GB")
	b := only(t, "H100-80GB")
	b.Board = "NVIDIA H100 PCIe"
	if got := mig.Difference(a, b); got != nil {
		t.Errorf("a board differs from itself: %v", got)
	}
	b.Profiles[0].SMs, b.Profiles[1].SMs = 0, 28
	b.Profiles[2].Starts = []int{4}
	b.Profiles[3].Name, b.Profiles[3].Max = "4g.39gb", 2
	b.Engines.JPEG = 6
	b.Profiles[5].ID, b.Profiles[5].Name = 13, "1g.10gb-me"
	b.Slots = 7
	want := []string{
		"slots: 8, not 7",
		"GPU: jpeg: 7, not 6",
		"profile 1 (2g.20gb): sms: 32, not 28",
		"profile 2 (3g.40gb): starts: [0 4], not [4]",
		"profile 3 (4g.40gb): name: 4g.40gb, not 4g.39gb",
		"profile 3 (4g.40gb): max: 1, not 2",
		"profile 7 (1g.10gb+me): only the first has it",
		"profile 13 (1g.10gb-me): only the second has it",
	}
	if diff := cmp.Diff(want, mig.Difference(a, b)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
