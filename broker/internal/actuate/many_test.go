package actuate_test

import (
	"context"
	"fmt"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/lineage"
)

// stored lists jobs as an informer's store does.
type stored []any

func (s stored) List() []any { return s }

// BenchmarkApply is a round about 100,000 jobs that wait for what they waited for
// before, and one in which ten of them wait for something else.
func BenchmarkApply(b *testing.B) {
	const n = 100_000
	for _, changed := range []int{0, 10} {
		b.Run(fmt.Sprintf("%d changed", changed), func(b *testing.B) {
			w := newWorld(b)
			broker := w.teller(&fuse{left: -1})
			list := make(stored, n)
			plan := &lend.Plan{Verdicts: make([]lend.Verdict, n), Waiting: make([]lend.Place, n)}
			for i := range list {
				j := w.job().DeepCopy()
				j.Name, j.UID, j.ResourceVersion = fmt.Sprintf("job-%06d", i), types.UID(fmt.Sprintf("uid-%06d", i)), "1"
				j.Status.Conditions = []batchv1.JobCondition{{Type: "ebbtide.dev/Admitted", Status: "False", Reason: lend.ReasonNoLendableUnits, Message: "3 are lendable"}}
				list[i] = j
				plan.Verdicts[i] = lend.Verdict{Kind: lend.SubjectJob, Subject: "research/" + j.Name, UID: string(j.UID), Reason: lend.ReasonNoLendableUnits, Message: "3 are lendable"}
				plan.Waiting[i] = lend.Place{UID: string(j.UID), Position: int32(i + 1), Ahead: int64(i)}
			}
			broker.gatherer.Jobs = w.adapters(w.api, &lineage.Lineage{}, list)
			apply := func(plan *lend.Plan, view *gather.View) {
				if err := broker.actuator.Apply(context.Background(), view, plan); err != nil {
					b.Fatal(err)
				}
			}
			apply(plan, broker.gather())
			round := 0
			for b.Loop() {
				b.StopTimer()
				view := broker.gather()
				round++
				next := *plan
				next.Verdicts = append([]lend.Verdict(nil), plan.Verdicts...)
				for i := range changed {
					next.Verdicts[(i*9973+round)%n].Message = fmt.Sprint(round, " are lendable")
				}
				b.StartTimer()
				apply(&next, view)
			}
		})
	}
}
