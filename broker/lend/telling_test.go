package lend

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// Plans that say the same of the jobs share their lists, and none changes a list that
// somebody holds.
func TestPlansShareWhatStays(t *testing.T) {
	in := Snapshot{
		Now: noon, Tenants: []Tenant{{Name: "t", Quotas: []Quota{{Flavor: "h100"}}}},
		Queues: []Queue{{Name: "t/q", Tenant: "t", Backfill: true}},
	}
	for i := range 50 {
		in.Jobs = append(in.Jobs, Job{
			Name: fmt.Sprintf("t/j-%02d", i), UID: fmt.Sprintf("u-%02d", i), Tenant: "t", Queue: "t/q", Flavor: "h100", Pods: 1, UnitsPerPod: 1,
		})
	}
	kept := new(Decider)
	first, state := kept.Decide(in, State{}, DefaultPolicy())
	before := encode(first)
	second, state := kept.Decide(in, state, DefaultPolicy())
	if &first.Verdicts[0] != &second.Verdicts[0] || &first.Waiting[0] != &second.Waiting[0] {
		t.Error("nothing changed, and the lists were made anew")
	}
	in.Queues[0].Paused = true
	third, state := kept.Decide(in, state, DefaultPolicy())
	if third.Verdicts[0].Reason != ReasonQueuePaused || &third.Verdicts[0] == &first.Verdicts[0] {
		t.Errorf("the queue is paused, and the verdict is %+v", third.Verdicts[0])
	}
	in.Jobs = in.Jobs[:40]
	fourth, _ := kept.Decide(in, state, DefaultPolicy())
	if len(fourth.Verdicts) != 40 || cap(fourth.Verdicts) != 40 || len(fourth.Waiting) != 40 || cap(fourth.Waiting) != 40 {
		t.Errorf("of 40 jobs there are %d verdicts with room for %d, and %d places with room for %d",
			len(fourth.Verdicts), cap(fourth.Verdicts), len(fourth.Waiting), cap(fourth.Waiting))
	}
	if after := encode(first); after != before || len(third.Verdicts) != 50 {
		t.Errorf("the first plan was\n%s\nand is now\n%s", before, after)
	}
}

// Whatever a plan's lists share with earlier ones, a plan stays as it was made.
func TestPlansStayAsTheyWereMade(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var lists told[Place]
		var made [][]Place
		var were []string
		for range rapid.IntRange(1, 12).Draw(t, "lists") {
			want := rapid.SliceOfN(rapid.Int64Range(0, 1), 0, 6).Draw(t, "list")
			out := lists.begin(len(want))
			for _, ahead := range want {
				out.add(&Place{Ahead: ahead})
			}
			list := out.end()
			if len(list) != len(want) {
				t.Fatalf("%d of %d entries", len(list), len(want))
			}
			for i := range want {
				if list[i].Ahead != want[i] {
					t.Fatalf("%v, want %v", list, want)
				}
			}
			made, were = append(made, list), append(were, fmt.Sprint(list))
			for i := range made {
				if is := fmt.Sprint(made[i]); is != were[i] {
					t.Fatalf("list %d was %s and is %s", i, were[i], is)
				}
			}
		}
	})
}
