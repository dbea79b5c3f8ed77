package quota

import (
	"testing"

	"pgregory.net/rapid"
)

// A node would borrow for a claim exactly if using it takes the node further above
// its subtree's quota, in some dimension that the claim draws on.
func TestBorrowsWithIsWhatUseDoes(t *testing.T) {
	yes, no := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		r := seeded(t)
		w := drawWorld(r)
		w.fill(r, rapid.IntRange(0, 30).Draw(t, "steps"))
		n, f, units := w.tenant(r), w.flavor(r), Amount(r.IntN(9))
		with := w.tree.Clone()
		with.Use(n, f, units)
		got := w.tree.BorrowsWith(n, f, units, nil)
		for i := 0; n != None; i, n = i+1, w.tree.Parent(n) {
			want := false
			for d := range w.tree.dims {
				before, after := w.tree.cell(n, d), with.cell(n, d)
				want = want || after.usage > before.usage && after.usage > after.subtree
			}
			if len(got) <= i || got[i] != want {
				t.Fatalf("%s borrows for %d more: %v says %v\n%s", w.tree.nodes[n].name, units, got, want, w.tree)
			}
			if want {
				yes++
			} else {
				no++
			}
		}
	})
	if yes == 0 || no == 0 {
		t.Errorf("%d nodes would borrow and %d not", yes, no)
	}
}
