package gather_test

import (
	"testing"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// TestAdvise: told to advise, no decision and no write sees another mode than Advise; else
// each policy has its own.
func TestAdvise(t *testing.T) {
	for _, test := range []struct {
		told       bool
		mode, want v1alpha1.LendingMode
	}{
		{true, v1alpha1.ModeLend, v1alpha1.ModeAdvise},
		{true, v1alpha1.ModeAdvise, v1alpha1.ModeAdvise},
		{false, v1alpha1.ModeLend, v1alpha1.ModeLend},
		{false, v1alpha1.ModeAdvise, v1alpha1.ModeAdvise},
	} {
		objects := cluster()
		objects[len(objects)-1].(*v1alpha1.LendingPolicy).Spec.Mode = test.mode
		g, _ := newGatherer(objects...)
		g.Advise = test.told
		view, err := g.Gather(t.Context(), now, 7)
		if err != nil {
			t.Fatal(err)
		}
		resting, err := g.Rest(t.Context(), now)
		if err != nil {
			t.Fatal(err)
		}
		if mode := view.Policies["serving/chat"].Spec.Mode; mode != test.want {
			t.Errorf("told %v, a policy of mode %s is seen as %s, want %s", test.told, test.mode, mode, test.want)
		}
		if advises := test.want == v1alpha1.ModeAdvise; view.Snapshot.Lenders[0].Advise != advises || resting.Lenders[0].Advise != advises {
			t.Errorf("told %v, a lender of mode %s advises: %v, and at rest %v", test.told, test.mode, view.Snapshot.Lenders[0].Advise, resting.Lenders[0].Advise)
		}
	}
}
