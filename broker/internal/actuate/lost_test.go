package actuate_test

import (
	"encoding/json"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/ledger"
)

// renew is what the kubelet of the loan's node last did.
func (w *world) renew(t *testing.T, after time.Duration) {
	t.Helper()
	at := metav1.NewMicroTime(now.Add(after))
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-node-lease", Name: "gpu-1"}, Spec: coordinationv1.LeaseSpec{RenewTime: &at}}
	if err := w.api.Create(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
}

// heartbeat is what the node said itself of when its kubelet last wrote.
func (w *world) heartbeat(t *testing.T, after time.Duration) {
	t.Helper()
	var node corev1.Node
	if err := w.api.Get(t.Context(), client.ObjectKey{Name: "gpu-1"}, &node); err != nil {
		t.Fatal(err)
	}
	node.Status.Conditions[0].LastHeartbeatTime = metav1.NewTime(now.Add(after))
	if err := w.api.Status().Update(t.Context(), &node); err != nil {
		t.Fatal(err)
	}
}

// lastHeard is what the last entry of the loan says, in seconds after the start.
func (w *world) lastHeard(t *testing.T, kind ledger.Kind) (seconds float64, known bool) {
	t.Helper()
	entries, err := w.book.ByLoan("research/tune-1")
	if err != nil {
		t.Fatal(err)
	}
	last := entries[len(entries)-1]
	if last.Kind != kind {
		t.Fatalf("the last entry is %s (%s), want %s", last.Kind, w.kinds("research/tune-1"), kind)
	}
	var p ledger.LostPayload
	if last.Payload != nil {
		if err := json.Unmarshal(last.Payload, &p); err != nil {
			t.Fatal(err)
		}
	}
	return p.LastHeard.Sub(now).Seconds(), !p.LastHeard.IsZero()
}

// TestLastHeard: what was lent of a node that is lost is the borrower's until the node was
// last heard of, and lost after that: by its kubelet's Lease; where that is gone, by when the
// broker saw it last; where that has not, by what the node says; and all of it the borrower's
// where nobody knows.
func TestLastHeard(t *testing.T) {
	for name, test := range map[string]struct {
		lose    func(t *testing.T, w *world)
		restart bool
		want    float64
		unknown bool
	}{
		"by its Lease": {lose: func(t *testing.T, w *world) {
			w.renew(t, 4*time.Second)
			w.heartbeat(t, -time.Minute)
			w.silence()
		}, want: 4},
		"its clock is ahead": {lose: func(t *testing.T, w *world) {
			w.renew(t, time.Hour)
			w.silence()
		}, want: 11},
		"when the broker saw it last": {lose: func(t *testing.T, w *world) {
			if err := w.api.Delete(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "gpu-1"}}); err != nil {
				t.Fatal(err)
			}
		}, want: 6},
		"as the node says, after a restart": {lose: func(t *testing.T, w *world) {
			w.heartbeat(t, 2*time.Second)
			w.silence()
		}, restart: true, want: 2},
		"nobody knows, after a restart": {lose: func(t *testing.T, w *world) {
			if err := w.api.Delete(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "gpu-1"}}); err != nil {
				t.Fatal(err)
			}
		}, restart: true, unknown: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			b := alive(w)
			if err := admit(b); err != nil {
				t.Fatal(err)
			}
			b.mustDecideAt(6 * time.Second)
			test.lose(t, w)
			if err := b.apply(reclaiming("research/tune-1")); err != nil {
				t.Fatal(err)
			}
			if test.restart {
				b = alive(w)
			}
			b.mustDecideAt(11 * time.Second)
			if p := w.pod(); p != nil { // the garbage collector takes it where the node is gone
				if err := w.api.Delete(t.Context(), p, client.GracePeriodSeconds(0)); err != nil {
					t.Fatal(err)
				}
			}
			b.mustDecideAt(12 * time.Second)
			got, known := w.lastHeard(t, ledger.Lost)
			if known == test.unknown || known && got != test.want {
				t.Errorf("last heard of after %gs, known: %t; want %gs, known: %t", got, known, test.want, !test.unknown)
			}
			ended, used := w.balances()["lender/serving/chat"]/4, int64(test.want)
			if len(w.loans()) != 0 || ended < 11 {
				t.Errorf("%d Loans; the last ended after %d seconds", len(w.loans()), ended)
			}
			if test.unknown {
				used = ended
			}
			want := map[string]int64{"lender/serving/chat": 4 * ended, "borrower/research": -4 * used}
			if used < ended {
				want["lost"] = -4 * (ended - used)
			}
			w.wantBalances(want)
		})
	}
}

// TestShedLastHeard: so it is of a part.
func TestShedLastHeard(t *testing.T) {
	w := newElasticWorld(t)
	if err := admit(alive(w)); err != nil {
		t.Fatal(err)
	}
	w.renew(t, 4*time.Second)
	w.silence()
	b := alive(w)
	if err := b.apply(shrinking(1)); err != nil {
		t.Fatal(err)
	}
	for _, after := range []time.Duration{10, 11, 12} {
		b.mustDecideAt(after * time.Second)
	}
	if got, known := w.lastHeard(t, ledger.ShedLost); !known || got != 4 {
		t.Errorf("last heard of after %gs, known: %t; want 4s", got, known)
	}
}

// TestLastHeardSurvives: what is known when the Loan is returned is on it, for whoever writes
// LOST after a crash.
func TestLastHeardSurvives(t *testing.T) {
	w := newWorld(t)
	if err := admit(alive(w)); err != nil {
		t.Fatal(err)
	}
	w.renew(t, 4*time.Second)
	w.silence()
	b := alive(w)
	if err := b.apply(reclaiming("research/tune-1")); err != nil {
		t.Fatal(err)
	}
	b.mustDecideAt(10 * time.Second)
	f := &fuse{left: 1, after: true} // the Loan is returned, and the broker dies
	dying := w.broker(f)
	dying.state = b.state
	_ = dying.decideAt(11 * time.Second)
	if !f.burnt || len(w.loans()) != 1 || w.loans()[0].Status.LastHeard == nil {
		t.Fatalf("writes: %v; Loans: %+v", f.writes, w.loans())
	}
	if err := w.api.Delete(t.Context(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-node-lease", Name: "gpu-1"}}); err != nil {
		t.Fatal(err)
	}
	alive(w).mustDecideAt(20 * time.Second)
	if got, known := w.lastHeard(t, ledger.Lost); !known || got != 4 {
		t.Errorf("last heard of after %gs, known: %t; want 4s", got, known)
	}
}
