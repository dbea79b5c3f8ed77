package actuate_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// TestMixedGrants: only a LendingPolicy counts what it lends; own quota and a
// cohort's are on the Loan and in the ledger, and hold nothing up.
func TestMixedGrants(t *testing.T) {
	for name, test := range map[string]struct {
		lenders []string
		lent    int64
		tenants string
	}{
		"all kinds": {[]string{"", "cohort:lab", "serving/chat", "serving/chat"}, 2, `,"lenders":{"serving/chat":"serving"}`},
		"no lender": {[]string{"", "", "cohort:lab", "cohort:lab"}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			b := alive(w)
			action := w.lending()
			action.Grants = nil
			for _, lender := range test.lenders {
				action.Grants = append(action.Grants, lend.Grant{Lender: lender, Node: "gpu-1", Flavor: "h100", Count: 1})
			}
			if err := b.apply(action); err != nil {
				t.Fatal(err)
			}
			w.jobController()
			if got := w.lent(); got != test.lent {
				t.Errorf("%d units are lent, want %d", got, test.lent)
			}
			entries, err := w.book.ByLoan("research/tune-1")
			if err != nil || string(entries[0].Payload) != `{"queue":"research/default"`+test.tenants+`}` || len(entries[0].Grants) != 4 {
				t.Errorf("the ledger has %+v, %v", entries, err)
			}
			if err := b.apply(reclaiming("research/tune-1")); err != nil {
				t.Fatal(err)
			}
			w.jobController()
			back := lend.Action{Kind: lend.ActionReturn, Loan: "research/tune-1", Reason: lend.ReasonReturned, Message: "free"}
			if err := errors.Join(b.apply(back), b.apply()); err != nil {
				t.Fatal(err)
			}
			if n, lent := len(w.loans()), w.lent(); n != 0 || lent != 0 {
				t.Errorf("%d loans and %d units lent are left", n, lent)
			}
			report, err := w.book.Verify()
			if err != nil || len(report.Faults) > 0 {
				t.Errorf("the ledger: %+v, %v", report, err)
			}
		})
	}
}

// TestReclaimedFor: the Loan and the ledger say for whom and why, and the victim's
// owner reads the rule.
func TestReclaimedFor(t *testing.T) {
	for reason, rule := range map[string]string{
		lend.ReasonOwnerWants:    "a tenant wants what is within its nominal quota (OwnerWantsQuota)",
		lend.ReasonFairShare:     "a tenant that borrows less for its weight wants them (FairShare)",
		lend.ReasonOutranked:     "a job of the same tenant with a higher priority wants them (OutrankedInTenant)",
		lend.ReasonQueueDraining: "the job's queue is being drained (QueueDraining)",
	} {
		w := newWorld(t)
		b := alive(w)
		if err := admit(b); err != nil {
			t.Fatal(err)
		}
		recorder := events.NewFakeRecorder(100)
		b.actuator.Events.Recorder = recorder
		action := reclaiming("research/tune-1")
		action.Reason, action.ReclaimedFor = reason, "uid-of-bert"
		if err := b.apply(action); err != nil {
			t.Fatal(err)
		}
		if got := b.gather().Snapshot.Loans[0]; got.ReclaimedFor != "uid-of-bert" || !got.Reclaiming {
			t.Errorf("%s: the next snapshot has %+v", reason, got)
		}
		entries, err := w.book.ByLoan("research/tune-1")
		if err != nil {
			t.Fatal(err)
		}
		last := entries[slices.IndexFunc(entries, func(e ledger.Entry) bool { return e.Kind == ledger.ReclaimIntent })]
		var payload struct{ ReclaimedFor string }
		if err := json.Unmarshal(last.Payload, &payload); err != nil || last.Reason != reason || payload.ReclaimedFor != "uid-of-bert" {
			t.Errorf("%s: the ledger has %+v, %v", reason, last, err)
		}
		var said []string
		for len(recorder.Events) > 0 {
			said = append(said, <-recorder.Events)
		}
		want := "Normal Reclaiming the units of Loan tune-1 were asked back until 2026-03-01T12:00:10Z: " + rule
		if text := strings.Join(said, "\n"); !strings.Contains(text, want) || strings.Contains(text, "bert") {
			t.Errorf("%s: events:\n%s", reason, text)
		}
	}
}

func (w *world) queue() *v1alpha1.TrainingQueue {
	w.t.Helper()
	var q v1alpha1.TrainingQueue
	if err := w.api.Get(w.t.Context(), client.ObjectKey{Namespace: "research", Name: "default"}, &q); err != nil {
		w.t.Fatal(err)
	}
	return &q
}

func (w *world) tenant(name string) *v1alpha1.TenantQuota {
	w.t.Helper()
	var q v1alpha1.TenantQuota
	if err := w.api.Get(w.t.Context(), client.ObjectKey{Name: name}, &q); err != nil {
		w.t.Fatal(err)
	}
	return &q
}

// waitingPlan says that n jobs wait, tune at a position.
func waitingPlan(position int32, reason string) *lend.Plan {
	return &lend.Plan{
		Waiting:  []lend.Place{{UID: "tune", Position: position, Ahead: 4 * int64(position)}},
		Verdicts: []lend.Verdict{{Kind: lend.SubjectJob, Subject: "research/tune", UID: "tune", Reason: reason, Message: "m"}},
	}
}

// TestQueueStatus: who is first, why it waits and when it is likely to start. What
// always changes is written now and then, what matters at once.
func TestQueueStatus(t *testing.T) {
	w := newWorld(t)
	f := &fuse{left: -1}
	b := w.broker(f)
	at := now
	for _, step := range []struct {
		after    time.Duration
		position int32
		reason   string
		freed    int64
		want     string
		writes   int
	}{
		{0, 2, lend.ReasonNoLendableUnits, 0, "tune 2 NoLendableUnits", 1},
		{time.Second, 2, lend.ReasonNoLendableUnits, 0, "tune 2 NoLendableUnits", 1},
		{time.Second, 1, lend.ReasonNoLendableUnits, 8, "tune 2 NoLendableUnits", 1},
		{time.Second, 1, lend.ReasonQueuePaused, 8, "tune 1 QueuePaused", 2},
		{time.Second, 2, lend.ReasonQueuePaused, 8, "tune 1 QueuePaused", 2},
		{15 * time.Second, 2, lend.ReasonNoLendableUnits, 8, "tune 2 NoLendableUnits 13:00", 3},
		{15 * time.Second, 17, lend.ReasonNoLendableUnits, 8, "", 4},
	} {
		at = at.Add(step.after)
		w.clock.SetTime(at)
		view := b.gather()
		view.Freed = map[string]int64{"h100": step.freed}
		if err := b.actuator.Apply(b.context(), view, waitingPlan(step.position, step.reason)); err != nil {
			t.Fatal(err)
		}
		status, got := w.queue().Status, ""
		for _, j := range status.Waiting {
			got = fmt.Sprint(j.Name, " ", j.Position, " ", j.Reason)
			if j.EstimatedStart != nil {
				got += j.EstimatedStart.UTC().Format(" 15:04")
			}
		}
		if writes := strings.Count(strings.Join(f.writes, "\n"), "status default"); got != step.want || writes != step.writes || status.Pending != 1 {
			t.Errorf("%s at %d: %q after %d writes, want %q after %d (%+v)", step.reason, step.position, got, writes, step.want, step.writes, status)
		}
	}
}

// TestDraining: the condition says whether a drained queue still holds anything.
func TestDraining(t *testing.T) {
	w := newWorld(t)
	b := alive(w)
	draining := func() string {
		for _, c := range w.queue().Status.Conditions {
			if c.Type == "Draining" {
				return string(c.Status) + " " + c.Reason
			}
		}
		return ""
	}
	if err := errors.Join(admit(b), b.apply()); err != nil {
		t.Fatal(err)
	}
	got := []string{draining()}
	q := w.queue()
	q.Spec.Drain = true
	if err := w.api.Update(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	for _, actions := range [][]lend.Action{
		{reclaiming("research/tune-1")},
		{{Kind: lend.ActionReturn, Loan: "research/tune-1", Reason: lend.ReasonReturned}}, nil,
	} {
		w.clock.SetTime(w.clock.Now().Add(time.Minute))
		if err := b.apply(actions...); err != nil {
			t.Fatal(err)
		}
		w.jobController()
		got = append(got, draining())
	}
	if diff := cmp.Diff([]string{"False NotDraining", "True Draining", "True Draining", "False Drained"}, got); diff != "" {
		t.Errorf("draining (-want +got):\n%s", diff)
	}
}

// TestTenantStatus: tenants and cohorts show what the plan counts, and what is lent.
func TestTenantStatus(t *testing.T) {
	w := newWorld(t)
	lab := &v1alpha1.TenantQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "lab"},
		Spec: v1alpha1.TenantQuotaSpec{Flavors: []v1alpha1.FlavorQuota{
			{Name: "h100", Resource: gpu, Nominal: 2},
		}},
	}
	if err := w.api.Create(t.Context(), lab); err != nil {
		t.Fatal(err)
	}
	f := &fuse{left: -1}
	b := w.broker(f)
	action := w.lending()
	action.Grants = []lend.Grant{
		{Node: "gpu-1", Flavor: "h100", Count: 1}, {Lender: "cohort:lab", Node: "gpu-1", Flavor: "h100", Count: 1},
		{Lender: "serving/chat", Node: "gpu-1", Flavor: "h100", Count: 2},
	}
	if err := b.apply(action); err != nil {
		t.Fatal(err)
	}
	w.jobController()
	for range 2 { // the second changes nothing
		w.clock.SetTime(w.clock.Now().Add(time.Minute))
		f.writes = nil
		plan := &lend.Plan{Tenants: []lend.TenantView{
			{Name: "cohort:lab", Flavor: "h100", Used: 16, Available: 1, Share: 9},
			{Name: "research", Flavor: "h100", Used: 4, Available: 5, Share: 250},
			{Name: "serving", Flavor: "h100", Used: 10, Available: 7},
		}}
		if err := b.actuator.Apply(b.context(), b.gather(), plan); err != nil {
			t.Fatal(err)
		}
	}
	if len(f.writes) > 0 {
		t.Errorf("written again: %v", f.writes)
	}
	for name, want := range map[string]v1alpha1.TenantQuotaStatus{
		"lab":      {WeightedShare: 9, Flavors: []v1alpha1.FlavorUsage{{Name: "h100", Used: 16, Borrowed: 2, Lent: 1, Available: 1}}},
		"research": {WeightedShare: 250, Flavors: []v1alpha1.FlavorUsage{{Name: "h100", Used: 4, Borrowed: 3, Available: 5}}},
		"serving":  {Flavors: []v1alpha1.FlavorUsage{{Name: "h100", Used: 10, Lent: 2, Available: 7}}},
	} {
		got := w.tenant(name).Status
		if len(got.Conditions) != 1 || got.Conditions[0].Status != metav1.ConditionTrue {
			t.Errorf("%s: %+v", name, got.Conditions)
		}
		got.Conditions = nil
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestNotes: an overlap is no problem, and a problem says more than an overlap.
func TestNotes(t *testing.T) {
	w := newWorld(t)
	b := alive(w)
	for i, want := range []string{
		"True Accepted: namespaces and flavors agree with all other TenantQuotas", "True FlavorOverlap: on node x", "False CohortCycle: round",
	} {
		view := b.gather()
		if i > 0 {
			view.QuotaNotes = map[string]string{"research": "on node x"}
		}
		if i > 1 {
			view.QuotaProblems = map[string]*lend.Problem{"research": {Reason: gather.ReasonCohortCycle, Message: "round"}}
		}
		w.clock.SetTime(w.clock.Now().Add(time.Minute))
		if err := b.actuator.Apply(b.context(), view, &lend.Plan{}); err != nil {
			t.Fatal(err)
		}
		c := w.tenant("research").Status.Conditions[0]
		if got := fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestUnusedQuota goes through the core: a job gets quota that no service owns and
// nobody uses, at once, and the statuses agree with the plan.
func TestUnusedQuota(t *testing.T) {
	w := newWorld(t)
	b := alive(w)
	for i := range 3 {
		j := w.job()
		j.ResourceVersion, j.UID, j.Name = "", types.UID(fmt.Sprint("big-", i)), fmt.Sprint("big-", i)
		j.Spec.Parallelism = ptr.To[int32](4)
		if err := w.api.Create(t.Context(), j); err != nil {
			t.Fatal(err)
		}
	}
	// The job's pod runs on the other node.
	if err := w.api.Delete(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "gpu-0"}}); err != nil {
		t.Fatal(err)
	}
	var p v1alpha1.LendingPolicy
	if err := w.api.Get(t.Context(), client.ObjectKey{Namespace: "serving", Name: "chat"}, &p); err != nil {
		t.Fatal(err)
	}
	p.Spec.Owned = ptr.To[int64](4)
	if err := w.api.Update(t.Context(), &p); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		b.round()
		w.clock.SetTime(w.clock.Now().Add(time.Minute))
	}
	loans := w.loans()
	if len(loans) != 1 || loans[0].Spec.Job.Name != "tune" || loans[0].Spec.MaxGrace.Duration != lend.DefaultPolicy().QuotaGrace {
		t.Fatalf("loans: %+v", loans)
	}
	for _, g := range loans[0].Spec.Grants {
		if g.Lender != lend.CohortLender("lab") {
			t.Errorf("grant %+v", g)
		}
	}
	status := w.queue().Status
	var places []string
	for _, j := range status.Waiting {
		places = append(places, fmt.Sprint(j.Position, " ", j.Name))
		if j.Reason == "" {
			t.Errorf("%s waits without a reason", j.Name)
		}
	}
	if diff := cmp.Diff([]string{"1 big-0", "2 big-1", "3 big-2"}, places); diff != "" || status.Pending != 3 || status.Admitted != 1 {
		t.Errorf("queue status %+v (-want +got):\n%s", status, diff)
	}
	research := w.tenant("research").Status
	if f := research.Flavors[0]; f.Used != 4 || f.Borrowed != 4 || f.Available != 4 || research.WeightedShare == 0 {
		t.Errorf("research: %+v", research)
	}
}
