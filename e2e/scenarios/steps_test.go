package scenarios

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/ledger/course"
	"github.com/ebbtide/ebbtide/e2e/lab/kubelet"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

// Each step of a reclaim is in the ledger with its latency, that of a whole loan as that of
// a part: told, stopped, and given back within the bound.
func TestStepsOfReclaims(t *testing.T) {
	t.Parallel()
	w := patientNight(t, 2)
	job := elastic("slow", 1, 0)
	job.Annotations = nil
	job.Spec.Template.Annotations = map[string]string{kubelet.AnnotationExitAfter: "1h"} // stays until it is killed
	job.Spec.Template.Spec.TerminationGracePeriodSeconds = new(int64(600))
	w.create(job)
	w.awaitLoans("slow")
	w.awaitBound(trainingNamespace, 1)
	w.awaitTold("slow", "its pods get "+maxGrace.String()+", not their grace of 10m0s")
	w.scale(2)
	w.awaitEntry("slow", "RECLAIM_DONE")
	w.wantSteps("slow", "RECLAIM_DONE", 1)
	w.awaitBound(onlineNamespace, 2)
	w.closeTheBooks()
}

func TestStepsOfShedding(t *testing.T) {
	t.Parallel()
	w := newPatientTown(t, 2)
	w.dial.set(1, 0)
	w.serve(1, 4, 16)
	w.awaitBound(onlineNamespace, 1)
	w.create(elastic("grow", 12, 2))
	w.awaitLoans("grow")
	w.awaitBound(trainingNamespace, 12)
	w.scale(2)
	w.awaitEntry("grow", "SHED")
	w.wantSteps("grow", "SHED", 4)
	w.awaitBound(onlineNamespace, 2)
	w.closeTheBooks()
}

// awaitTold waits until a job's condition says something.
func (w *town) awaitTold(name, text string) {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		job, err := w.Client().BatchV1().Jobs(trainingNamespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		said := ""
		for _, c := range job.Status.Conditions {
			if c.Type == v1alpha1.ConditionAdmitted {
				said = c.Message
			}
		}
		return strings.Contains(said, text), fmt.Sprintf("the job was told %q, want %q in it", said, text)
	})
}

// lastReclaim waits until the last reclaim of a job's loan has ended, and returns it.
func (w *town) lastReclaim(job string) (last *course.Reclaim) {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		var body struct{ Reclaims []course.Reclaim }
		err := w.ask(ctx, "/ledger/reclaims", &body)
		for i := range body.Reclaims {
			if body.Reclaims[i].Job == trainingNamespace+"/"+job {
				last = &body.Reclaims[i]
			}
		}
		return err == nil && last != nil && last.End != "", fmt.Sprintf("reclaims: %+v (%v)", body.Reclaims, err)
	})
	return last
}

// wantSteps checks the last reclaim of a job's loan.
func (w *town) wantSteps(job, end string, pods int) {
	w.t.Helper()
	last := w.lastReclaim(job)
	if last.End != end || last.Told == nil || last.Stopped == nil || last.ReclaimID == "" || last.Reason == "" {
		w.t.Fatalf("the reclaim of %s was %+v, want all steps and %s", job, last, end)
	}
	w.t.Logf("%s: %d pods told after %.3gs, stopped after %.3gs, %s after %.4gs of %.4gs",
		job, last.Told.Pods, last.Told.Seconds, last.Stopped.Seconds, last.End, last.Ended.Seconds, last.BoundSeconds)
	if last.Told.Pods != pods || last.Untold != 0 || last.Told.Seconds > last.Stopped.Seconds || last.Stopped.Seconds > last.Ended.Seconds {
		w.t.Errorf("the steps were told %+v, %d untold, stopped %+v, ended %+v; want %d pods told, and one after the other",
			last.Told, last.Untold, last.Stopped, last.Ended, pods)
	}
	if most := last.BoundSeconds + (time.Second + slack).Seconds(); last.BoundSeconds <= 0 || last.Ended.Seconds > most {
		w.t.Errorf("it took %gs, want at most %gs", last.Ended.Seconds, most)
	}
}
