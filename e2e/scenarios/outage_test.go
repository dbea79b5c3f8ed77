package scenarios

import (
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/e2e/lab"
)

// The outage is of 10 minutes, and everything is 20 times as fast as by default.
const (
	outageSpeed = 20
	outage      = 10 * time.Minute / outageSpeed
	blindGrace  = 5 * time.Minute / outageSpeed
	blindStep   = time.Minute / outageSpeed
	quarantine  = time.Minute / outageSpeed // a stable window
)

// Prometheus hangs for ten minutes. Meanwhile nothing new is lent; an online pod that
// starts gets its units at once; and when the broker has been blind for five minutes,
// units come back step by step. After Prometheus is back a whole stable window passes
// before anything is lent again.
func TestPrometheusHangs(t *testing.T) {
	t.Parallel()
	d := newDial(t)
	w := raise(t, 6, lab.Options{SDURL: d.server.URL + "/targets", Broker: brokerWith(
		"{youngReplica: 1s, stableWindow: 3s, panicWindow: 1s, forecast: false}",
		"{staleAfter: 3s, unknownGrace: 15s, unknownStep: 3s, minimumLoan: 1s, evictionBudget: 100, flapBudget: 100}",
	)})
	w.dial = d
	d.follow(w.Client())
	w.settle(48)
	w.dial.set(2, 0)
	w.serve(1, 8, 48)
	w.awaitBound(onlineNamespace, 1)
	for _, job := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		w.submit(job, 1, 8, nil)
	}
	w.awaitBound(trainingNamespace, 5)
	w.awaitAgreement()

	prometheus := w.Part(lab.Prometheus)
	if err := prometheus.Freeze(); err != nil {
		t.Fatal(err)
	}
	dark := time.Now()
	end := time.After(outage)
	w.awaitUnknown()
	w.scale(2)
	w.awaitBound(onlineNamespace, 2) // how soon, the auditor judges
	select {
	case <-end:
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
	if err := prometheus.Thaw(); err != nil {
		t.Fatal(err)
	}
	light := time.Now()
	w.awaitBound(trainingNamespace, 4)
	w.judgeOutage(dark, light)
	w.closeTheBooks()
}

// judgeOutage reads in the ledger what happened between dark and light, and since.
func (w *town) judgeOutage(dark, light time.Time) {
	w.t.Helper()
	entries, err := w.entries(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	gradual, relent := 0, time.Time{}
	for _, e := range entries {
		switch {
		case e.Time.Before(dark):
		case e.Kind == "LEND_GRANTED" && e.Time.Before(light.Add(quarantine)):
			w.t.Errorf("%s was lent %s after Prometheus was lost and %s after it came back; want nothing before %s after that",
				e.Job, e.Time.Sub(dark), e.Time.Sub(light), quarantine)
		case e.Kind == "LEND_GRANTED" && relent.IsZero():
			relent = e.Time
		case e.Kind == "RECLAIM_INTENT" && e.Reason == "LenderUnknownTooLong":
			// A broker that a busy machine stops for a while takes the steps that it has missed
			// at once, and none before its time.
			due := blindGrace + time.Duration(gradual)*blindStep
			if since := e.Time.Sub(dark); since < due {
				w.t.Errorf("%s was asked back after only %s of not knowing, as number %d, want %s and steps of %s: %s",
					e.Job, since, gradual+1, blindGrace, blindStep, due)
			}
			gradual++
		}
	}
	if gradual < 2 {
		w.t.Errorf("%d loans came back because nothing was known for so long, want some, step by step", gradual)
	}
	w.t.Logf("dark for %s: %d loans came back by steps of at least %s; lent again %s after the light",
		light.Sub(dark).Round(time.Millisecond), gradual, blindStep, relent.Sub(light).Round(time.Millisecond))
}
