package scenarios

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

// Bad input becomes a reason, never a crash: the API server names the field and
// the rule, and what only the cluster can answer becomes a condition and an event.
func TestBadInput(t *testing.T) {
	t.Parallel()
	w := night(t, 2)

	t.Run("low water above high water", func(t *testing.T) {
		err := w.api.Create(t.Context(), &v1alpha1.LendingPolicy{
			ObjectMeta: metav1.ObjectMeta{Namespace: onlineNamespace, Name: "upside-down"},
			Spec: v1alpha1.LendingPolicySpec{
				TargetRef: v1alpha1.TargetRef{APIVersion: "apps/v1", Kind: "Deployment", Name: "chat"},
				Signals:   []v1alpha1.Signal{{Profile: "vllm"}},
				LowWater:  "80%", HighWater: "30%",
			},
		})
		if err == nil || !strings.Contains(err.Error(), "lowWater must be below highWater") {
			t.Errorf("the API server says %v, want that lowWater must be below highWater", err)
		}
	})

	t.Run("unknown queue", func(t *testing.T) {
		w.submit("lost", 1, 1, nil)
		w.awaitLoans("lost")
		w.submitTo("nowhere", "stray", 1, 1)
		message := w.awaitVerdict("Job/research/stray", "UnknownQueue")
		if !strings.Contains(message, "nowhere") {
			t.Errorf("the verdict does not name the queue: %q", message)
		}
		labtest.Eventually(t, patience, func(ctx context.Context) (bool, string) {
			events, err := w.events(ctx, trainingNamespace, "Job", "stray")
			return events["UnknownQueue"] != "", fmt.Sprintf("events %v (%v)", events, err)
		})
		// The queue appears, and the job is admitted.
		w.create(&v1alpha1.TrainingQueue{ObjectMeta: metav1.ObjectMeta{Namespace: trainingNamespace, Name: "nowhere"}})
		w.awaitLoans("lost", "stray")
	})

	for _, c := range []struct{ name, target, flavor, reason string }{
		{"unknown target", "ghost", "", "UnknownTarget"},
		{"unknown flavor", "chat", "gold", "UnknownFlavor"},
	} {
		t.Run(c.name, func(t *testing.T) { w.refusesPolicy(t, c.target, c.flavor, c.reason) })
	}
	w.closeTheBooks()
}

// refusesPolicy makes a policy that only the cluster can find fault with, and
// expects the reason as a condition and as an event.
func (w *town) refusesPolicy(t *testing.T, target, flavor, reason string) {
	policy := &v1alpha1.LendingPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: onlineNamespace, Name: strings.ToLower(reason)},
		Spec: v1alpha1.LendingPolicySpec{
			TargetRef: v1alpha1.TargetRef{APIVersion: "apps/v1", Kind: "Deployment", Name: target},
			Flavor:    flavor,
			Owned:     ptr.To[int64](8),
		},
	}
	w.create(policy)
	labtest.Eventually(t, patience, func(ctx context.Context) (bool, string) {
		if err := w.api.Get(ctx, client.ObjectKeyFromObject(policy), policy); err != nil {
			return false, err.Error()
		}
		c := meta.FindStatusCondition(policy.Status.Conditions, v1alpha1.ConditionAccepted)
		if c == nil || c.Status != metav1.ConditionFalse || c.Reason != reason {
			return false, fmt.Sprintf("conditions %+v", policy.Status.Conditions)
		}
		events, err := w.events(ctx, onlineNamespace, "LendingPolicy", policy.Name)
		return events[reason] != "", fmt.Sprintf("events %v (%v)", events, err)
	})
	if err := w.api.Delete(t.Context(), policy); err != nil {
		t.Fatal(err)
	}
}

// submitTo queues a job in a queue other than the default one.
func (w *town) submitTo(queue, name string, pods int32, gpus int64) {
	w.t.Helper()
	w.queue = queue
	defer func() { w.queue = "default" }()
	w.submit(name, pods, gpus, nil)
}

// A ledger that fails its check stops the broker at start, with what to do.
func TestBrokerRefusesABadLedger(t *testing.T) {
	t.Parallel()
	w := night(t, 2)
	w.submit("one", 1, 1, nil)
	w.awaitLoans("one")
	w.awaitAgreement()

	if err := w.Part(lab.Broker).Stop(); err != nil {
		t.Fatal(err)
	}
	t.Run("locked", func(t *testing.T) {
		held, err := ledger.Open(w.ledgerPath(), ledger.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := held.Close(); err != nil {
				t.Error(err)
			}
		}()
		if got := w.runBroker(t); !strings.Contains(got, "lock") {
			t.Errorf("a broker whose ledger another process holds says:\n%s\nwant that it is locked", got)
		}
	})
	t.Run("tampered", func(t *testing.T) {
		tamper(t, w.ledgerPath(), "research/one", "research/0ne")
		if report, err := ledger.Check(w.ledgerPath()); err == nil && report.OK() {
			t.Error("the ledger's check says ok of a record that was changed")
		}
		got := w.runBroker(t)
		for _, want := range []string{"ledger", "restore"} {
			if !strings.Contains(got, want) {
				t.Errorf("the broker does not say %q:\n%s", want, got)
			}
		}
	})
}

// tamper replaces one occurrence of a text in a file by another of the same length.
func tamper(t *testing.T, path, from, to string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.ReplaceAll(string(raw), from, to)
	if changed == string(raw) || len(from) != len(to) {
		t.Fatalf("%q does not occur in the ledger", from)
	}
	if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
}

// runBroker starts a second broker on the same configuration, which must give up
// by itself, and returns what it said.
func (w *town) runBroker(t *testing.T) string {
	t.Helper()
	kubeconfig, err := w.KubeconfigFor(t.Context(), lab.SystemNamespace, lab.Broker)
	if err != nil {
		t.Fatal(err)
	}
	bin, err := lab.Programs(t.Context(), lab.Options{Broker: &lab.Program{}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, filepath.Join(bin, lab.Broker),
		"--kubeconfig", kubeconfig, "--config", filepath.Join(w.Dir(), "config", lab.Broker+".yaml"))
	out, err := command.CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("the broker goes on:\n%s", out)
	}
	if err == nil {
		t.Errorf("the broker ended without an error")
	}
	return string(out)
}
