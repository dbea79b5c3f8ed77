package scenarios

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

// A quota that is deleted is no quota, and not an unlimited one; when it comes back, jobs
// start by it again. One that is cut below its use lets nothing more in, and what runs within
// what it was may end.
func TestQuotaDeletedAndCut(t *testing.T) {
	t.Parallel()
	w := twoTeams(t)
	watch := w.watchQuotas()
	w.submitIn("biology", "mine", 1, 8, nil)
	w.awaitLoans("mine")
	w.awaitBound("biology", 1)

	w.removeQuota("biology")
	w.awaitNominal("biology", -1)
	w.submitIn("biology", "late", 1, 1, nil)
	w.awaitVerdict("Job/biology/late", "UnknownTenant")
	w.team("biology", "lab", 8)
	w.awaitLoans("mine", "late") // one unit of which is borrowed

	w.setQuota("biology", 2, nil)
	w.awaitNominal("biology", 2)
	w.submitIn("biology", "more", 1, 2, nil) // 9 are used of the 10 that both have now
	w.awaitWaiting("biology", "more")
	// What was admitted within its tenant's own quota is nobody else's to take; so the other
	// waits until it ends, and then comes first.
	w.submitIn("physics", "owner", 1, 8, nil)
	w.awaitWaiting("physics", "owner")
	w.awaitLoans("mine", "late")
	w.removeJob("biology", "mine")
	w.awaitLoans("owner", "late")
	w.awaitBound("physics", 1)
	w.awaitWaiting("biology", "more")
	admitted, over := watch.report()
	if slices.Sort(admitted); !slices.Equal(slices.Compact(admitted), []string{"late", "mine", "owner"}) {
		t.Errorf("loans were made for %v, want those of mine, late and owner", admitted)
	}
	for _, text := range over {
		t.Error(text)
	}
	w.closeTheBooks()
}

// 64 jobs that come at once for the last unit of a quota: one has it at a time.
func TestRaceForTheLastUnit(t *testing.T) {
	t.Parallel()
	const racers, turns = 64, 8
	w := newCluster(t, 2)
	w.team("narrow", "", 1)
	w.create(&v1alpha1.TrainingQueue{ObjectMeta: metav1.ObjectMeta{Namespace: "narrow", Name: "default"}})
	watch := w.watchQuotas()
	group := errgroup.Group{}
	for i := range racers {
		group.Go(func() error { return w.api.Create(t.Context(), w.jobIn("narrow", fmt.Sprintf("racer-%02d", i), 1)) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	won := map[string]bool{}
	for range turns {
		winner := w.winner(won)
		won[winner] = true
		w.removeJob("narrow", winner)
	}
	// Nothing moves any more when the next one has the unit.
	w.winner(won)
	w.awaitBound("narrow", 1)
	admitted, over := watch.report()
	t.Logf("%d jobs raced for 1 unit: %d admissions, %d over the quota", racers, len(admitted), len(over))
	if len(admitted) < turns {
		t.Errorf("%d admissions were seen in %d turns", len(admitted), turns)
	}
	for _, text := range over {
		t.Error(text)
	}
	w.judge()
}

// winner waits until a job that has not won yet has a loan.
func (w *town) winner(won map[string]bool) (winner string) {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		loans, err := w.loans(ctx)
		for job := range loans {
			if !won[job] {
				winner = job
			}
		}
		return err == nil && winner != "", fmt.Sprintf("after %d turns nobody has the unit (%v)", len(won), err)
	})
	return winner
}

// edit is a change of a tenant's quota.
type edit struct {
	team    string
	what    string // nominal, limit, delete
	nominal int64
	limit   *int64
	pause   time.Duration
}

// Whatever is written into quotas while jobs come and go, nothing is admitted beyond them,
// and when the quotas are large again, all is used.
func TestQuotaEdits(t *testing.T) {
	nightly(t)
	t.Parallel()
	const steps = 30
	w := twoTeams(t)
	watch := w.watchQuotas()
	jobs := 0
	more := func(team string, n int) {
		for range n {
			jobs++
			w.create(w.jobIn(team, fmt.Sprintf("%s-%03d", team, jobs), []int64{1, 2, 1, 4}[jobs%4]))
		}
	}
	for _, team := range []string{"physics", "biology"} {
		more(team, 10)
	}
	edits := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) edit {
		e := edit{
			team: rapid.SampledFrom([]string{"physics", "biology"}).Draw(t, "team"),
			what: rapid.SampledFrom([]string{"nominal", "nominal", "limit", "delete"}).Draw(t, "what"),
		}
		e.nominal = rapid.Int64Range(0, 8).Draw(t, "nominal")
		if rapid.Bool().Draw(t, "limited") {
			e.limit = ptr.To(rapid.Int64Range(0, 4).Draw(t, "limit"))
		}
		e.pause = time.Duration(rapid.IntRange(100, 1500).Draw(t, "pause")) * time.Millisecond
		return e
	}), steps, steps).Example(int(seed(t)))
	for i, e := range edits {
		w.apply(e)
		// Somebody's job ends, so that there is always something to admit.
		loans, err := w.loans(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var running []v1alpha1.Loan
		for _, loan := range loans {
			running = append(running, loan)
		}
		slices.SortFunc(running, func(a, b v1alpha1.Loan) int { return strings.Compare(a.Spec.Job.Name, b.Spec.Job.Name) })
		if n := len(running); n > 0 {
			loan := running[i%n]
			w.removeJob(loan.Namespace, loan.Spec.Job.Name)
			more(loan.Namespace, 1)
		}
		select {
		case <-t.Context().Done():
			t.Fatal(context.Cause(t.Context()))
		case <-time.After(e.pause):
		}
	}
	for _, team := range []string{"physics", "biology"} {
		w.setQuota(team, 8, nil)
		more(team, 8)
	}
	labtest.Eventually(t, patience, func(ctx context.Context) (bool, string) {
		loans, err := w.loans(ctx)
		units := int64(0)
		for _, loan := range loans {
			units += unitsOf(&loan)
		}
		return err == nil && units == 16, fmt.Sprintf("%d of 16 units are in use (%v)", units, err)
	})
	admitted, over := watch.report()
	t.Logf("%d edits: %d admissions, %d over a quota", steps, len(admitted), len(over))
	if len(admitted) < steps/2 {
		t.Errorf("only %d admissions were seen", len(admitted))
	}
	for _, text := range over {
		t.Error(text)
	}
	w.closeTheBooks()
}

// apply changes a quota as the edit says. What does not exist is made.
func (w *town) apply(e edit) {
	w.t.Helper()
	switch e.what {
	case "delete":
		w.removeQuota(e.team)
	case "limit":
		w.setQuota(e.team, e.nominal, e.limit)
	default:
		w.setQuota(e.team, e.nominal, nil)
	}
}

func (w *town) removeQuota(team string) {
	w.t.Helper()
	err := w.api.Delete(w.t.Context(), &v1alpha1.TenantQuota{ObjectMeta: metav1.ObjectMeta{Name: team}})
	if client.IgnoreNotFound(err) != nil {
		w.t.Fatal(err)
	}
}

// setQuota writes a team's quota anew, or makes it.
func (w *town) setQuota(team string, nominal int64, limit *int64) {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		var q v1alpha1.TenantQuota
		err := w.api.Get(ctx, client.ObjectKey{Name: team}, &q)
		if apierrors.IsNotFound(err) {
			q = v1alpha1.TenantQuota{ObjectMeta: metav1.ObjectMeta{Name: team}, Spec: v1alpha1.TenantQuotaSpec{
				Namespaces: &metav1.LabelSelector{MatchLabels: map[string]string{"team": team}}, Cohort: "lab",
				Flavors: []v1alpha1.FlavorQuota{{Name: "h100", Resource: gpu, Nominal: nominal, BorrowingLimit: limit}},
			}}
			err = w.api.Create(ctx, &q)
		} else if err == nil {
			q.Spec.Flavors[0].Nominal, q.Spec.Flavors[0].BorrowingLimit = nominal, limit
			err = w.api.Update(ctx, &q)
		}
		return err == nil, fmt.Sprint(err)
	})
}

// awaitNominal waits until the broker decides by a team's nominal quota of so many units,
// below 0: by none. Of a quota and of a job it may hear in any order.
func (w *town) awaitNominal(team string, want int64) {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		var answer struct {
			Rows []struct {
				Kind, Name string
				Flavors    []struct{ Nominal int64 }
			}
		}
		if err := w.ask(ctx, "/quota", &answer); err != nil {
			return false, err.Error()
		}
		got := int64(-1)
		for _, row := range answer.Rows {
			if row.Name == team && row.Kind == "Tenant" && len(row.Flavors) > 0 {
				got = row.Flavors[0].Nominal
			}
		}
		return got == want && len(answer.Rows) > 0, fmt.Sprintf("the broker decides by %d units for %s, want %d: %+v", got, team, want, answer.Rows)
	})
}

func (w *town) removeJob(namespace, name string) {
	w.t.Helper()
	background := metav1.DeletePropagationBackground
	err := w.Client().BatchV1().Jobs(namespace).Delete(w.t.Context(), name, metav1.DeleteOptions{PropagationPolicy: &background})
	if client.IgnoreNotFound(err) != nil {
		w.t.Fatal(err)
	}
}

// jobIn is a job of one pod.
func (w *town) jobIn(namespace, name string, gpus int64) *batchv1.Job {
	spec := podSpec("", gpus, 2)
	spec.SchedulerName, spec.RestartPolicy = "", corev1.RestartPolicyNever // the admission policy sets the first
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{v1alpha1.LabelQueue: w.queue}},
		Spec:       batchv1.JobSpec{Parallelism: ptr.To[int32](1), Completions: ptr.To[int32](1), Template: corev1.PodTemplateSpec{Spec: spec}},
	}
}

func unitsOf(loan *v1alpha1.Loan) (n int64) {
	for _, g := range loan.Spec.Grants {
		n += g.Count
	}
	return n
}
