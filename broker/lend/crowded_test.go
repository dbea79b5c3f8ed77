package lend

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A loan whose units somebody else got before its own pods did is asked back, once that is
// no passing impression, and only as long as the node is over-held.
func TestCrowdedOut(t *testing.T) {
	late := []LoanState{{Name: "small", WaitingSince: noon.Add(-time.Second)}, {Name: "other", WaitingSince: noon.Add(-time.Second)}}
	for name, tc := range map[string]struct {
		change func(in *Snapshot)
		loans  []LoanState
		want   []string
	}{
		"its node is full":              {func(in *Snapshot) {}, late, nil},
		"others came first":             {func(in *Snapshot) { in.Nodes[0].Units[0].Online = 8 }, late, []string{"small CrowdedOut"}},
		"they are not online":           {func(in *Snapshot) { in.Nodes[0].Units[0].Other = 1 }, late, []string{"small CrowdedOut"}},
		"for the first time":            {func(in *Snapshot) { in.Nodes[0].Units[0].Online = 8 }, nil, nil},
		"it has what it needs":          {func(in *Snapshot) { in.Nodes[0].Units[0].Online = 8; in.Loans[1].Bound = 1 }, late, nil},
		"they go":                       {func(in *Snapshot) { in.Nodes[0].Units[0].Online, in.Nodes[0].Units[0].Leaving = 8, 4 }, late, nil},
		"it was asked back before that": {func(in *Snapshot) { in.Nodes[0].Units[0].Online, in.Loans[1].Reclaiming = 8, true }, late, nil},
		"units broke":                   {func(in *Snapshot) { in.Nodes[0].Units[0].Capacity, in.Nodes[0].Units[0].Broken = 4, 4 }, late, nil},
		"one of two is enough": {func(in *Snapshot) {
			other := in.Loans[1]
			other.Name, other.Job, other.JobUID, other.Grants = "other", "other", "other", []Grant{{"code", "a", "h100", 4}}
			in.Loans = append(in.Loans, other)
		}, late, []string{"other CrowdedOut"}},
	} {
		t.Run(name, func(t *testing.T) {
			in := four()
			in.Loans[0].Bound = 1
			tc.change(&in)
			plan, next := Decide(in, State{Loans: tc.loans}, DefaultPolicy())
			if diff := cmp.Diff(tc.want, reclaimed(plan)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for _, j := range next.Jobs {
				if !j.NotStarted.IsZero() || len(j.Evictions) > 0 {
					t.Errorf("job %s is to pay for what others did: %+v", j.UID, j)
				}
			}
		})
	}
}
