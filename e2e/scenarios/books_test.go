package scenarios

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/e2e/audit"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

// closeTheBooks stops the broker and asks what every scenario ends with: is each
// unit in one hand, does the ledger know exactly the loans that exist, and does
// its own check say ok?
func (w *town) closeTheBooks() {
	w.t.Helper()
	w.awaitAgreement()
	w.judge()
	w.closeBooks()
}

// closeBooks stops the broker and lets the ledger check itself.
func (w *town) closeBooks() {
	w.t.Helper()
	if err := w.Part(w.leading()).Stop(); err != nil {
		w.t.Fatalf("stop the broker: %v", err)
	}
	report, err := ledger.Check(w.ledgerPath())
	if err != nil {
		w.t.Fatalf("check the ledger: %v", err)
	}
	if !report.OK() {
		w.t.Errorf("the ledger's own check: %v", report.Faults)
	}
}

// final is what an auditor saw in the end.
func (w *town) final(auditor *audit.Auditor) audit.Report {
	w.t.Helper()
	report, err := auditor.Final(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return report
}

// judge asks the auditor outside, and the broker's own count.
func (w *town) judge() {
	w.t.Helper()
	loans := 0
	for _, auditor := range append([]*audit.Auditor{w.auditor}, w.others...) {
		report := w.final(auditor)
		for _, v := range report.Violations {
			w.t.Errorf("the auditor saw: %s", v)
		}
		for _, needless := range report.Needless {
			w.t.Errorf("a needless eviction: %s", needless)
		}
		loans += report.Loans
	}
	if loans == 0 {
		w.t.Error("the auditor saw no loan")
	}
	metrics, err := w.read(w.t.Context(), "/metrics")
	if err != nil {
		w.t.Fatal(err)
	}
	counters := 0
	for line := range strings.Lines(string(metrics)) {
		if strings.HasPrefix(line, "ebbtide_broker_law_violations_total{") {
			counters++
			if !strings.HasSuffix(line, " 0\n") {
				w.t.Errorf("the broker counts a broken law: %s", line)
			}
		}
	}
	if counters == 0 {
		w.t.Error("the broker does not export ebbtide_broker_law_violations_total")
	}
	w.boundMetrics(string(metrics))
}

func (w *town) ledgerPath() string {
	w.t.Helper()
	env, err := w.Env(w.leading())
	if err != nil {
		w.t.Fatal(err)
	}
	return env.Dir + "/ledger.db"
}

// awaitAgreement waits until API and books agree, which they must once nothing
// moves: every Loan's job runs, every running job of a queue has a Loan, and no
// node holds more than it has.
func (w *town) awaitAgreement() {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		if err := w.agree(ctx); err != nil {
			return false, err.Error()
		}
		return true, ""
	})
}

func (w *town) agree(ctx context.Context) error {
	if err := w.noOvercommit(ctx); err != nil {
		// A unit in two hands is never a passing state.
		w.t.Errorf("law 1: %v", err)
		return err
	}
	loans, err := w.loans(ctx)
	if err != nil {
		return err
	}
	jobs, err := w.Client().BatchV1().Jobs("").List(ctx, metav1.ListOptions{LabelSelector: v1alpha1.LabelQueue})
	if err != nil {
		return err
	}
	for _, job := range jobs.Items {
		_, lent := loans[job.Name]
		if started := !*job.Spec.Suspend && !finished(&job); started != lent {
			return fmt.Errorf("job %s: started=%t, on loan=%t", job.Name, started, lent)
		}
	}
	open, err := w.openInLedger(ctx)
	if err != nil {
		return err
	}
	if len(open) != len(loans) {
		return fmt.Errorf("%d loans are open in the ledger, %d in the API", len(open), len(loans))
	}
	for _, loan := range loans {
		if !open[loan.Namespace+"/"+loan.Name] {
			return fmt.Errorf("loan %s is not open in the ledger", loan.Name)
		}
	}
	return nil
}

func finished(job *batchv1.Job) bool {
	for _, c := range job.Status.Conditions {
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return true
		}
	}
	return false
}

// noOvercommit checks that no node holds more GPUs or slices than it has.
func (w *town) noOvercommit(ctx context.Context) error {
	before, err := w.capacities(ctx)
	if err != nil {
		return err
	}
	pods, err := w.Client().CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	after, err := w.capacities(ctx) // the pods are as they were in between, when a card may have been changed
	if err != nil {
		return err
	}
	used := map[string]map[corev1.ResourceName]int64{}
	for _, pod := range pods.Items {
		if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			continue
		}
		if used[pod.Spec.NodeName] == nil {
			used[pod.Spec.NodeName] = map[corev1.ResourceName]int64{}
		}
		for _, c := range pod.Spec.Containers {
			for name, q := range c.Resources.Requests {
				if v1alpha1.GPU(name) {
					used[pod.Spec.NodeName][name] += q.Value()
				}
			}
		}
	}
	for node := range before {
		for name, n := range used[node] {
			// What cannot be given away at the moment is still held by who has it.
			was, is := before[node][name], after[node][name]
			if have := max(was.Value(), is.Value()); n > max(have, w.claimed[name]) {
				return fmt.Errorf("node %s holds %d %s of %d", node, n, name, have)
			}
		}
	}
	return nil
}

// capacities of the nodes.
func (w *town) capacities(ctx context.Context) (map[string]corev1.ResourceList, error) {
	nodes, err := w.Client().CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	out := map[string]corev1.ResourceList{}
	for _, node := range nodes.Items {
		out[node.Name] = node.Status.Capacity
	}
	return out, nil
}

// openInLedger replays the ledger's entries and returns the loans left open.
func (w *town) openInLedger(ctx context.Context) (map[string]bool, error) {
	entries, err := w.entries(ctx)
	if err != nil {
		return nil, err
	}
	open := map[string]bool{}
	for _, e := range entries {
		switch e.Kind {
		case "LEND_GRANTED", "RECOVERED":
			open[e.Loan] = true
		case "RECLAIM_DONE", "RELEASED", "PREEMPTED", "LOST", "LEND_ABORTED", "UNQUARANTINED":
			delete(open, e.Loan)
		}
	}
	return open, nil
}

type ledgerEntry struct {
	Seq    uint64
	Kind   string
	Loan   string
	Job    string
	Reason string
	Time   time.Time
}

// entries reads the whole ledger from the broker.
func (w *town) entries(ctx context.Context) ([]ledgerEntry, error) {
	var all []ledgerEntry
	for from := uint64(1); from > 0; {
		var page struct {
			Entries []ledgerEntry
			Next    uint64
		}
		if err := w.ask(ctx, fmt.Sprintf("/ledger?limit=1000&from=%d", from), &page); err != nil {
			return nil, err
		}
		all = append(all, page.Entries...)
		from = page.Next
	}
	return all, nil
}

// awaitEntry waits until the ledger has an entry of the kind about a job of the
// training namespace.
func (w *town) awaitEntry(job, kind string) {
	w.t.Helper()
	w.awaitEntryOf(trainingNamespace+"/"+job, kind)
}

// awaitTakenBack waits until the ledger says that a loan of the job was taken back, by the
// broker or, where that was busy for too long, by the scheduler.
func (w *town) awaitTakenBack(job string) {
	w.t.Helper()
	w.awaitEntryOf(trainingNamespace+"/"+job, "RECLAIM_DONE", "PREEMPTED")
}

// awaitEntryOf waits for an entry of one of the kinds about a job by namespace/name.
func (w *town) awaitEntryOf(job string, kinds ...string) {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		entries, err := w.entries(ctx)
		seen := ""
		for _, e := range entries {
			if e.Job != job {
				continue
			}
			seen += " " + e.Kind
			if slices.Contains(kinds, e.Kind) {
				return true, ""
			}
		}
		return false, fmt.Sprintf("the ledger says of %s:%s; want %v (%v)", job, seen, kinds, err)
	})
}
