package scenarios

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/e2e/faults/proxy"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

// An API server that refuses a third of all calls slows lending and taking back, and
// changes nothing about what comes of them.
func TestAPIRefuses(t *testing.T) {
	nightly(t)
	t.Parallel()
	w := newAPITown(t)
	w.playCalm()
	for _, row := range []struct {
		name string
		rule proxy.Rule
	}{
		{"conflicts", proxy.Rule{Verbs: []string{proxy.Writes}, Share: 0.3, Fault: proxy.Status, Status: http.StatusConflict}},
		{"too many requests", proxy.Rule{Share: 0.3, Fault: proxy.Status, Status: http.StatusTooManyRequests, For: time.Second}},
		{"internal errors", proxy.Rule{Share: 0.3, Fault: proxy.Status, Status: http.StatusInternalServerError}},
	} {
		w.row(t, row.name, func() {
			w.faults(row.rule)
			tide := w.newTide()
			tide.submit()
			tide.lent()
			tide.turn()
			tide.end()
		})
	}
	w.close()
}

// A reply that is lost after the API server has done what it was asked for leaves nothing
// undone and does nothing twice, whatever it was about.
func TestRepliesAreLost(t *testing.T) {
	t.Parallel()
	w := newAPITown(t)
	w.playCalm()
	wrote := w.wrote()
	w.row(t, "each thing that is written", func() {
		var rules []proxy.Rule
		for _, what := range wrote {
			for nth := 1; nth <= 2; nth++ {
				rules = append(rules, proxy.Rule{
					Client: what.client, Verbs: []string{what.verb}, Resources: []string{what.resource},
					Nth: nth, Fault: proxy.DropReply,
				})
			}
		}
		// What lending, binding and taking back are made of.
		musts := []written{
			{lab.Broker, "create", "loans"}, {lab.Broker, "update", "loans/status"}, {lab.Broker, "delete", "loans"},
			{lab.Broker, "update", "lendingpolicies/status"}, {lab.Scheduler, "create", "pods/binding"},
		}
		from := w.rig.Struck()
		lost := func() map[written]int {
			n := map[written]int{}
			for _, e := range w.rig.Log()[from:] {
				if e.Answer >= 200 && e.Answer < 300 {
					n[written{e.Client, e.Verb, e.Resource}]++
				}
			}
			return n
		}
		w.faults(rules...)
		tide := w.newTide()
		tide.submit()
		w.boundWithin(patience, trainingNamespace, 3) // these faults come to an end by themselves
		w.scale(2)
		w.boundWithin(patience, onlineNamespace, 2)
		w.scale(1)
		w.within(patience, func(context.Context) bool {
			n := lost()
			return !slices.ContainsFunc(musts, func(must written) bool { return n[must] == 0 })
		})
		tide.end()
		n := lost()
		w.t.Logf("lost after they were done: %v", n)
		for _, must := range musts {
			if n[must] == 0 {
				w.t.Errorf("no reply was lost after %s of %s by %s was done", must.verb, must.resource, must.client)
			}
		}
	})
	for _, row := range []struct {
		name string
		rule proxy.Rule
	}{
		{"a third of the broker's", proxy.Rule{Client: lab.Broker, Verbs: []string{proxy.Writes}, Share: 0.3, Fault: proxy.DropReply}},
		{"half of the bindings", proxy.Rule{Client: lab.Scheduler, Resources: []string{"pods/binding"}, Share: 0.5, Fault: proxy.DropReply}},
		{"a third of the scheduler's", proxy.Rule{Client: lab.Scheduler, Verbs: []string{proxy.Writes}, Share: 0.3, Fault: proxy.DropReply}},
	} {
		w.row(t, row.name, func() {
			w.faults(row.rule)
			tide := w.newTide()
			tide.submit()
			tide.lent()
			tide.turn()
			tide.end()
		})
	}
	w.close()
}

// Programs that see an old picture for a while destroy nothing by it.
func TestAPIShowsOldPictures(t *testing.T) {
	nightly(t)
	t.Parallel()
	w := newAPITown(t)
	w.playCalm()
	w.row(t, "held watches while units are taken back", func() {
		const held = time.Minute
		tide := w.newTide()
		tide.submit()
		w.awaitBound(trainingNamespace, 3)
		w.awaitAgreement()
		began := time.Now()
		w.faults(proxy.Rule{Client: lab.Broker, Verbs: []string{"watch"}, Share: 1, Fault: proxy.HoldWatch, For: held})
		w.scale(2)
		// The broker does not see the pod that waits. The scheduler does.
		if waited := w.awaitBound(onlineNamespace, 2); waited > maxGrace+slack {
			t.Errorf("the online pod waited %s, more than %s", waited, maxGrace+slack)
		}
		w.scale(1)
		// And it does not see that its loans have ended, and lends nothing by that.
		for time.Since(began) < held-time.Second {
			w.boundWithin(time.Second, onlineNamespace, -1)
			if err := w.noOvercommit(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		tide.end()
	})
	w.row(t, "missed events", func() {
		tide := w.newTide()
		tide.submit()
		w.awaitBound(trainingNamespace, 3)
		w.awaitAgreement()
		w.faults(proxy.Rule{Verbs: []string{"watch", "list"}, Share: 1, Fault: proxy.Refuse})
		// A job ends and comes again under the same name, and nobody sees it.
		tide.replace("one")
		tide.turn()
		tide.end()
	})
	w.row(t, "a broker that starts with an old list", func() {
		tide := w.newTide()
		tide.submit()
		w.awaitBound(trainingNamespace, 3)
		w.awaitAgreement()
		if err := w.Part(lab.Broker).Kill(); err != nil {
			t.Fatal(err)
		}
		w.faults(
			proxy.Rule{Client: lab.Broker, Share: 1, Fault: proxy.OldList, Revision: tide.before},
			proxy.Rule{Client: lab.Broker, Verbs: []string{"watch"}, Share: 1, Fault: proxy.HoldWatch, For: under},
		)
		w.startBroker()
		if w.within(under, func(ctx context.Context) bool {
			n, err := w.bound(ctx, trainingNamespace)
			return err == nil && n != 3
		}) {
			w.t.Error("pods were stopped that were there all the time")
		}
		lists := 0
		for _, e := range w.rig.Log()[tide.struck:] {
			if e.Rule.Fault == proxy.OldList && e.Verb == "list" {
				lists++
			}
		}
		if lists == 0 {
			w.t.Error("no list was answered from the past: nothing was tried")
		}
		tide.end()
	})
	w.row(t, "watches that begin again in the past", func() {
		tide := w.newTide()
		tide.submit()
		w.awaitBound(trainingNamespace, 3)
		w.awaitAgreement()
		w.faults(
			proxy.Rule{Client: lab.Broker, Share: 1, Fault: proxy.CutWatch, For: time.Second},
		)
		w.faults(proxy.Rule{Client: lab.Broker, Share: 1, Fault: proxy.ReplayWatch, Revision: tide.before})
		tide.turn()
		tide.end()
	})
	w.close()
}

func (w *apiTown) faults(rules ...proxy.Rule) {
	w.t.Helper()
	if err := w.rig.Set(rules...); err != nil {
		w.t.Fatal(err)
	}
}

// replace ends a job and submits it anew.
func (t *tide) replace(job string) {
	w := t.w
	w.t.Helper()
	w.deleteJob(t.prefix + job)
	gone := w.within(patience, func(ctx context.Context) bool { return !w.jobExists(ctx, t.prefix+job) })
	if !gone {
		w.t.Fatalf("job %s does not go", job)
	}
	w.submit(t.prefix+job, 1, 4, nil)
}

// written is a kind of write.
type written struct{ client, verb, resource string }

// wrote are the kinds of writes that the two programs have made so far, in order.
func (w *apiTown) wrote() []written {
	var kinds []written
	for _, what := range slices.Sorted(maps.Keys(w.rig.Calls())) {
		f := strings.Fields(what)
		switch f[1] {
		case "create", "update", "patch", "delete":
			// A Lease and an Event are not about units.
			if f[2] != "leases" && f[2] != "events" {
				kinds = append(kinds, written{f[0], f[1], f[2]})
			}
		}
	}
	return kinds
}
