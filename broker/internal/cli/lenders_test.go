package cli

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/cli/access"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// What a lender does is said in one word, by its policy as by the broker.
func TestLenderState(t *testing.T) {
	type recall = struct {
		Keep  int64     `json:"keep"`
		Until time.Time `json:"until"`
	}
	later, before := testNow.Add(time.Hour), testNow.Add(-time.Second)
	policy := func(accepted metav1.ConditionStatus, reason string, lendable int64, change func(*v1alpha1.LendingPolicySpec)) *v1alpha1.LendingPolicy {
		p := &v1alpha1.LendingPolicy{}
		p.Status.Lendable = lendable
		p.Status.Conditions = []metav1.Condition{
			{Type: v1alpha1.ConditionAccepted, Status: accepted, Reason: reason},
			{Type: v1alpha1.ConditionLending, Status: metav1.ConditionFalse, Reason: reason},
		}
		change(&p.Spec)
		return p
	}
	nothing := func(*v1alpha1.LendingPolicySpec) {}
	tests := map[string]struct {
		policy *v1alpha1.LendingPolicy
		row    access.Lender
	}{
		"Lends":   {policy(metav1.ConditionTrue, lend.ReasonBelowLowWater, 4, nothing), access.Lender{LenderView: lend.LenderView{Lendable: 4}}},
		"Holds":   {policy(metav1.ConditionTrue, "AboveLowWater", 0, nothing), access.Lender{}},
		"Refused": {policy(metav1.ConditionFalse, "UnknownTarget", 0, func(s *v1alpha1.LendingPolicySpec) { s.Paused = true }), access.Lender{Refused: true, Paused: true}},
		"Advises": {policy(metav1.ConditionTrue, lend.ReasonAdviseOnly, 4, nothing), access.Lender{Advise: true, LenderView: lend.LenderView{Lendable: 4}}},
		"AskedBack": {policy(metav1.ConditionTrue, "Paused", 0, func(s *v1alpha1.LendingPolicySpec) {
			s.Paused, s.Recall = true, &v1alpha1.Recall{Until: metav1.NewTime(later)}
		}), access.Lender{Paused: true, Recall: &recall{Until: later}}},
		"Paused": {policy(metav1.ConditionTrue, "Paused", 0, func(s *v1alpha1.LendingPolicySpec) {
			s.Paused, s.Recall = true, &v1alpha1.Recall{Until: metav1.NewTime(before)}
		}), access.Lender{Paused: true, Recall: &recall{Until: before}}},
	}
	s := &session{Env: Env{Clock: clocktesting.NewFakePassiveClock(testNow)}}
	for want, tt := range tests {
		t.Run(want, func(t *testing.T) {
			lenders := &lendersOptions{listing{session: s}}
			if got, _ := lenders.state(tt.policy); got != want {
				t.Errorf("by its policy it %s", got)
			}
			table := (&topOptions{session: s}).lenders([]access.Lender{tt.row})
			for i, column := range table.Columns {
				if column.Title == "STATE" && table.Rows[0][i] != want {
					t.Errorf("by the broker it %s", table.Rows[0][i])
				}
			}
		})
	}
}
