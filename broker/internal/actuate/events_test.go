package actuate_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/actuate"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// TestEventTypes: what somebody has to do something about is a warning; what
// lending does by design is not.
func TestEventTypes(t *testing.T) {
	recorder := events.NewFakeRecorder(100)
	e := &actuate.Events{Recorder: recorder}
	want := map[string]string{}
	for kind, reasons := range map[string][]string{
		"Warning": {
			"UnknownQueue", "UnknownTenant", "UnknownFlavor", "UnknownTarget", "DuplicateTarget", "OwnedUnknown", "NoUnits",
			"InvalidPolicy", "LoadUnknown", "LoadSampleStale", "LoadCoverageLow", "LenderUnknownTooLong", "EvictionBudgetSpent",
			"GraceExpired", "NodeUnhealthy", "LendAborted", "PriorityClassTooHigh", "NotStarted", "OwnedOverNominal",
			"SeveralSlicesInPod", "OtherScheduler",
		},
		"Normal": {
			lend.ReasonBelowLowWater, lend.ReasonDwellNotMet, lend.ReasonNoLendableUnits, lend.ReasonNoRoomForGang, lend.ReasonLent,
			lend.ReasonWithinNominal, lend.ReasonReclaiming, lend.ReasonReturned, lend.ReasonPreempted, lend.ReasonQueuePaused,
		},
	} {
		for _, reason := range reasons {
			want[reason] = kind + " " + reason + " was done: said"
		}
	}
	got := map[string]string{}
	for reason := range want {
		e.Verdict(&corev1.ObjectReference{Kind: "Job"}, &lend.Verdict{Kind: lend.SubjectJob, Subject: "research/tune", Reason: reason, Message: "said"}, "was done")
		got[reason] = <-recorder.Events
	}
	e.Job(&v1alpha1.Loan{}, lend.ReasonGraceExpired, "Evict", "over")
	got["Evict"], want["Evict"] = <-recorder.Events, "Warning GraceExpired over"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}
