package scenarios

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/deploy"
	"github.com/ebbtide/ebbtide/e2e/faults/proxy"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

const (
	// converge is how long after the last fault everything may take to be as it would have
	// been without.
	converge = 30 * time.Second
	// under is how long a step waits for what it wants while there are faults. It goes on
	// in any case.
	under = 12 * time.Second
)

// apiTown is a town in the night whose broker and scheduler reach the API server through a
// proxy that fails by rule.
type apiTown struct {
	*town
	rig *proxy.Rig
	// calm is what a tide without faults ended with.
	calm standing
	// played tides, and how long they took to converge.
	played int
	took   []time.Duration
}

func newAPITown(t *testing.T) *apiTown {
	t.Helper()
	w := &apiTown{rig: proxy.NewRig(seed(t), nil)}
	t.Cleanup(func() {
		if err := w.rig.Close(); err != nil {
			t.Error(err)
		}
	})
	broker := brokerProgram()
	broker.Through = w.rig.Through
	d := newDial(t)
	w.town = raise(t, 2, lab.Options{
		SDURL: d.server.URL + "/targets", Broker: broker,
		Scheduler: &lab.Program{
			Config:  func(lab.Env) ([]byte, error) { return deploy.SchedulerConfig(), nil },
			Through: w.rig.Through, Restart: true,
		},
	})
	w.dial = d
	d.follow(w.Client())
	w.late, w.apart = 2*under, converge // while there are faults, and after
	w.audit()
	w.settle(16)
	w.dial.set(2, 0)
	w.serve(1, 8, 16)
	w.awaitBound(onlineNamespace, 1)
	return w
}

// nightly passes a test over unless LONG is set.
func nightly(t *testing.T) {
	t.Helper()
	if os.Getenv("LONG") == "" {
		t.Skip("LONG=1 runs it: it takes minutes")
	}
}

// seed of all chance: 1, or SEED from the environment.
func seed(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv("SEED")
	if text == "" {
		return 1
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("SEED: %v", err)
	}
	return n
}

// standing is what two tides are compared by.
type standing struct {
	// Loans are the units on loan by job, Pods the bound pods by namespace.
	Loans map[string]int64
	Pods  map[string]int
	// Lent is what the service's policy says.
	Lent int64
	// Open loans in the books, and jobs that have more grants there than ends and one.
	Open    int
	Doubled []string
}

// stands reads the present one, of a tide whose jobs' names have the prefix.
func (w *apiTown) stands(ctx context.Context, prefix string) (standing, error) {
	s := standing{Loans: map[string]int64{}, Pods: map[string]int{}}
	loans, err := w.loans(ctx)
	if err != nil {
		return s, err
	}
	for job, loan := range loans {
		for _, g := range loan.Spec.Grants {
			s.Loans[strings.TrimPrefix(job, prefix)] += g.Count
		}
	}
	for _, namespace := range []string{onlineNamespace, trainingNamespace} {
		if s.Pods[namespace], err = w.bound(ctx, namespace); err != nil {
			return s, err
		}
	}
	var policy v1alpha1.LendingPolicy
	if err := w.api.Get(ctx, client.ObjectKey{Namespace: onlineNamespace, Name: "chat"}, &policy); err != nil {
		return s, err
	}
	s.Lent = policy.Status.Lent
	open, err := w.openInLedger(ctx)
	if err != nil {
		return s, err
	}
	s.Open = len(open)
	entries, err := w.entries(ctx)
	if err != nil {
		return s, err
	}
	s.Doubled = doubled(entries)
	return s, nil
}

// doubled are the loans that were granted while they were open, or ended while they were
// not.
func doubled(entries []ledgerEntry) []string {
	open, twice := map[string]bool{}, map[string]bool{}
	for _, e := range entries {
		switch e.Kind {
		case "LEND_GRANTED":
			twice[e.Loan] = twice[e.Loan] || open[e.Loan]
			open[e.Loan] = true
		case "RECLAIM_DONE", "RELEASED", "PREEMPTED", "LOST":
			twice[e.Loan] = twice[e.Loan] || !open[e.Loan]
			open[e.Loan] = false
		case "RECOVERED":
			open[e.Loan] = true
		}
	}
	maps.DeleteFunc(twice, func(_ string, is bool) bool { return !is })
	return slices.Sorted(maps.Keys(twice))
}

// within waits for something as long as the step may take, and reports whether it came.
func (w *apiTown) within(limit time.Duration, condition func(context.Context) bool) bool {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if condition(ctx) {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
}

func (w *apiTown) boundWithin(limit time.Duration, namespace string, n int) bool {
	w.t.Helper()
	return w.within(limit, func(ctx context.Context) bool {
		got, err := w.bound(ctx, namespace)
		return err == nil && got == n
	})
}

// revision is the API server's present one.
func (w *apiTown) revision() string {
	w.t.Helper()
	list, err := w.Client().CoreV1().Namespaces().List(w.t.Context(), metav1.ListOptions{Limit: 1})
	if err != nil {
		w.t.Fatal(err)
	}
	return list.ResourceVersion
}

// tide is one play of the same piece: two jobs borrow what a service does not need, it
// needs it, and it does not any more.
type tide struct {
	w      *apiTown
	prefix string
	// before is the revision when the jobs did not exist, struck how many calls had been
	// struck then.
	before string
	struck int
}

func (w *apiTown) newTide() *tide {
	w.t.Helper()
	w.played++
	return &tide{w: w, prefix: fmt.Sprintf("t%02d-", w.played), before: w.revision(), struck: w.rig.Struck()}
}

func (t *tide) submit() {
	t.w.t.Helper()
	t.w.submit(t.prefix+"one", 1, 4, nil)
	t.w.submit(t.prefix+"gang", 2, 2, nil)
}

func (t *tide) lent() bool { return t.w.boundWithin(under, trainingNamespace, 3) }

// turn lets the service need everything, and then no more.
func (t *tide) turn() {
	t.w.scale(2)
	t.w.boundWithin(under, onlineNamespace, 2)
	t.w.scale(1)
	t.w.boundWithin(under/2, trainingNamespace, 3)
}

// end takes the faults away and waits until all is as after the calm tide, then ends it.
func (t *tide) end() {
	w := t.w
	w.t.Helper()
	w.rig.Clear()
	cleared := time.Now()
	last := ""
	ok := w.within(patience, func(ctx context.Context) bool {
		if err := w.agree(ctx); err != nil {
			last = err.Error()
			return false
		}
		s, err := w.stands(ctx, t.prefix)
		if err != nil {
			last = err.Error()
			return false
		}
		last = cmp.Diff(w.calm, s)
		return last == ""
	})
	took := time.Since(cleared)
	if !ok {
		w.t.Fatalf("after %s all is not as without faults (-calm +now): %s", took.Round(time.Second), last)
	}
	if took > converge {
		w.t.Errorf("it took %s after the last fault until all was as without any, more than %s", took, converge)
	}
	w.took = append(w.took, took)
	w.t.Logf("struck %d calls; as without faults %s after the last", w.rig.Struck()-t.struck, took.Round(10*time.Millisecond))
	t.clean()
}

// clean ends the jobs.
func (t *tide) clean() {
	w := t.w
	w.t.Helper()
	w.deleteJob(t.prefix + "one")
	w.deleteJob(t.prefix + "gang")
	w.awaitLoans()
	w.awaitBound(trainingNamespace, 0)
}

func (w *apiTown) deleteJob(name string) {
	w.t.Helper()
	background := metav1.DeletePropagationBackground
	err := w.Client().BatchV1().Jobs(trainingNamespace).Delete(w.t.Context(), name, metav1.DeleteOptions{PropagationPolicy: &background})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *apiTown) jobExists(ctx context.Context, name string) bool {
	_, err := w.Client().BatchV1().Jobs(trainingNamespace).Get(ctx, name, metav1.GetOptions{})
	return !apierrors.IsNotFound(err)
}

// playCalm plays a tide without faults, which all others are compared with.
func (w *apiTown) playCalm() {
	w.t.Helper()
	t := w.newTide()
	t.submit()
	if !t.lent() {
		w.t.Fatal("without faults, the jobs did not start")
	}
	t.turn()
	w.awaitBound(trainingNamespace, 3)
	w.awaitBound(onlineNamespace, 1)
	w.awaitAgreement()
	var err error
	if w.calm, err = w.stands(w.t.Context(), t.prefix); err != nil {
		w.t.Fatal(err)
	}
	want := standing{
		Loans: map[string]int64{"one": 4, "gang": 4}, Lent: 8, Open: 2,
		Pods: map[string]int{onlineNamespace: 1, trainingNamespace: 3},
	}
	if diff := cmp.Diff(want, w.calm); diff != "" {
		w.t.Fatalf("without faults (-want +got):\n%s", diff)
	}
	t.clean()
}

// row runs a part of a test, and shows what was struck if it fails.
func (w *apiTown) row(t *testing.T, name string, play func()) {
	t.Run(name, func(t *testing.T) {
		outer := w.t
		w.t = t
		defer func() { w.t = outer; w.rig.Clear() }()
		from := w.rig.Struck()
		t.Cleanup(func() {
			if !t.Failed() {
				return
			}
			log := w.rig.Log()[from:]
			for _, e := range log[max(0, len(log)-60):] {
				t.Log(e)
			}
		})
		play()
	})
}

// close is what each such test ends with.
func (w *apiTown) close() {
	w.t.Helper()
	report := w.final(w.auditor)
	for _, v := range report.Violations {
		w.t.Errorf("the auditor saw: %s", v)
	}
	for _, needless := range report.Needless {
		w.t.Logf("a needless eviction, which nobody promises not to happen under faults: %s", needless)
	}
	if report.Loans < w.played*2 {
		w.t.Errorf("the auditor saw %d loans in %d tides", report.Loans, w.played)
	}
	w.closeBooks()
	if len(w.took) > 0 {
		w.t.Logf("%d tides with faults: as without them at most %s after the last fault", len(w.took), slices.Max(w.took).Round(10*time.Millisecond))
	}
}
