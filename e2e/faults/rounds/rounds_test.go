package rounds

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/e2e/faults/stage"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/build"
)

// The seed alone says what is broken in which round, and every fault comes before any comes
// again.
func TestDraw(t *testing.T) {
	seen := map[string]bool{}
	for round := range 2 * max(len(ebbing), len(flooding)) {
		f, again := draw(7, round), draw(7, round)
		if f.String() != again.String() {
			t.Errorf("round %d is %q and then %q", round, f.String(), again.String())
		}
		if (f.tide == ebb) != (round%2 == 0) {
			t.Errorf("round %d is %q: ebb and flood must follow each other", round, f.String())
		}
		f.starts = nil
		seen[f.String()] = true
	}
	for _, f := range slices.Concat(ebbing, flooding) {
		f.starts = nil
		if !seen[f.String()] {
			t.Errorf("%q was never drawn", f.String())
		}
	}
	same := 0
	for round := range 20 {
		a, b := draw(1, round), draw(2, round)
		if a.String() == b.String() {
			same++
		}
	}
	if same > 10 {
		t.Errorf("two seeds have %d of 20 rounds in common", same)
	}
}

// Starts are killed up to three deep.
func TestDrawNestedStarts(t *testing.T) {
	deepest, missing := 0, false
	for round := range 400 {
		f := draw(3, round)
		deepest = max(deepest, len(f.starts))
		if len(f.starts) > 0 && (f.part != lab.Broker || f.how != kill && f.how != wipe) {
			t.Errorf("%q has starts", f.String())
		}
		missing = missing || slices.Contains(f.starts, "missingClosed")
	}
	if deepest != 3 || !missing {
		t.Errorf("the deepest start is %d deep, want 3; closing what has no Loan was tried: %v", deepest, missing)
	}
}

// neverReached are failpoints that no round aims at, because nothing that is broken leads
// there for sure.
var neverReached = []string{"lendUndone", "lendAborted"}

// Every failpoint of the product is aimed at, and no other.
func TestEveryFailpointIsAimedAt(t *testing.T) {
	root, err := build.Root()
	if err != nil {
		t.Fatal(err)
	}
	there, err := build.Failpoints(root)
	if err != nil {
		t.Fatal(err)
	}
	aimed := slices.Concat(neverReached, startPoints, []string{"missingClosed"})
	for _, f := range slices.Concat(ebbing, flooding) {
		if f.point != "" {
			aimed = append(aimed, f.point)
		}
		aimed = append(aimed, f.starts...)
	}
	for _, name := range there {
		if !slices.Contains(aimed, name) {
			t.Errorf("no round aims at failpoint %s", name)
		}
	}
	for _, name := range aimed {
		if !slices.Contains(there, name) {
			t.Errorf("there is no failpoint %s", name)
		}
	}
}

// sound is a state in which one job of two pods runs on a loan.
func sound() *state {
	units := corev1.ResourceList{stage.GPU: resource.MustParse("4")}
	pod := func(name string) corev1.Pod {
		return corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: stage.Training, Name: name, OwnerReferences: []metav1.OwnerReference{{UID: "u", Controller: ptr.To(true)}}},
			Spec:       corev1.PodSpec{NodeName: "gpu-0", Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: units}}}},
			Status:     corev1.PodStatus{Phase: corev1.PodRunning},
		}
	}
	s := &state{}
	s.pods.Items = []corev1.Pod{pod("a"), pod("b")}
	s.jobs.Items = []batchv1.Job{{
		ObjectMeta: metav1.ObjectMeta{Name: "tune", UID: "u", Labels: map[string]string{v1alpha1.LabelQueue: "default"}},
		Spec:       batchv1.JobSpec{Suspend: ptr.To(false)},
	}}
	s.loans.Items = []v1alpha1.Loan{{
		ObjectMeta: metav1.ObjectMeta{Name: "tune-1", UID: "l"},
		Spec: v1alpha1.LoanSpec{
			Job: v1alpha1.JobRef{Name: "tune", UID: "u"}, Pods: 2,
			Grants: []v1alpha1.Grant{{Lender: "serving/chat", Node: "gpu-0", Flavor: "h100", Count: 8}},
		},
		Status: v1alpha1.LoanStatus{Conditions: []metav1.Condition{{Type: v1alpha1.LoanActive, Status: metav1.ConditionTrue}}},
	}}
	s.policies.Items = []v1alpha1.LendingPolicy{{
		ObjectMeta: metav1.ObjectMeta{Namespace: stage.Online, Name: stage.Service}, Status: v1alpha1.LendingPolicyStatus{Lent: 8},
	}}
	s.nodes.Items = []corev1.Node{{
		ObjectMeta: metav1.ObjectMeta{Name: "gpu-0"},
		Status:     corev1.NodeStatus{Capacity: corev1.ResourceList{stage.GPU: resource.MustParse("8")}},
	}}
	return s
}

// What is not as it should be is told, and what may never be is told as that.
func TestStateSeesWhatIsWrong(t *testing.T) {
	tests := []struct {
		name   string
		change func(s *state)
		want   string // empty: nothing is wrong
		double bool
	}{
		{"sound", func(*state) {}, "", false},
		{"too many on a node", func(s *state) { s.nodes.Items[0].Status.Capacity[stage.GPU] = resource.MustParse("7") }, "hold 8 GPUs of 7", true},
		{"two loans of a job", func(s *state) { s.loans.Items = append(s.loans.Items, s.loans.Items[0]) }, "has the loans", true},
		{"asked back", func(s *state) {
			s.loans.Items[0].Status.Conditions = append(s.loans.Items[0].Status.Conditions, metav1.Condition{Type: v1alpha1.LoanReclaiming, Status: metav1.ConditionTrue})
		}, "asked back", false},
		{"not active", func(s *state) { s.loans.Items[0].Status.Conditions = nil }, "not active", false},
		{"deleted", func(s *state) { s.loans.Items[0].DeletionTimestamp = &metav1.Time{} }, "is going", false},
		{"runs without a loan", func(s *state) { s.loans.Items = nil }, "runs: true, has a loan: false", false},
		{"a loan and suspended", func(s *state) { s.jobs.Items[0].Spec.Suspend = ptr.To(true) }, "runs: false, has a loan: true", false},
		{"a loan of no job", func(s *state) { s.jobs.Items = nil }, "of a job that is gone", false},
		{"a pod too few", func(s *state) { s.pods.Items = s.pods.Items[:1] }, "1 pods of 2", false},
		{"a pod waits", func(s *state) { s.pods.Items[0].Spec.NodeName = "" }, "pod a waits", false},
		{"a pod goes", func(s *state) { s.pods.Items[0].DeletionTimestamp = &metav1.Time{} }, "pod a goes", false},
		{"the lender counts other", func(s *state) { s.policies.Items[0].Status.Lent = 4 }, "counts 4 as lent, its loans are 8", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := sound()
			test.change(s)
			wrong, double := s.wrong()
			if test.want == "" && wrong != "" || !strings.Contains(wrong, test.want) || (double != "") != test.double {
				t.Errorf("wrong is %q, double %q; want %q, double: %v", wrong, double, test.want, test.double)
			}
		})
	}
}

// An entry that was shown and is not there, or is another, is lost; a ledger that takes the
// place of one that was destroyed has to say so.
func TestAcksSeeWhatIsLost(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	book, err := ledger.Open(path, ledger.Options{ClusterUID: "c", Clock: clock.RealClock{}})
	if err != nil {
		t.Fatal(err)
	}
	written, err := book.Append(ledger.Entry{Kind: ledger.EpochStart, OpID: "epoch-1", Epoch: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []ledger.Entry{
		{Kind: ledger.Gap, OpID: "gap", Epoch: 1, Payload: []byte(`{"from": 1, "to": 4, "why": "lost"}`)},
		{
			Kind: ledger.Recovered, OpID: "a/b", Loan: "a/b", Job: "a/b", JobUID: "u", Borrower: "a", Epoch: 1,
			Grants: []ledger.Grant{{Lender: "serving/chat", Node: "gpu-0", Flavor: "h100", Count: 1}}, Payload: []byte(`{"records": [{"seq": 6}]}`),
		},
	} {
		if _, err := book.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := book.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	hash := hex.EncodeToString(written.Hash[:])
	for _, test := range []struct {
		name    string
		a       acks
		settled bool
		want    tally
	}{
		{"is there", acks{shown: map[uint64]string{1: hash}}, true, tally{}},
		{"is missing", acks{shown: map[uint64]string{1: hash, 4: hash}}, true, tally{AckedLost: 1}},
		{"is another", acks{shown: map[uint64]string{1: strings.Repeat("0", 64)}}, false, tally{AckedLost: 1}},
		{"destroyed without a word", acks{owed: map[uint64]bool{5: true}}, true, tally{SilentGaps: 1}},
		{"destroyed, and a GAP says so", acks{owed: map[uint64]bool{2: true, 4: true}}, true, tally{}},
		{"destroyed, and a RECOVERED says so", acks{owed: map[uint64]bool{4: true, 6: true}}, true, tally{}},
		{"destroyed, and one is left out", acks{owed: map[uint64]bool{4: true, 7: true}}, true, tally{SilentGaps: 1}},
		{"destroyed, and no leader has begun", acks{owed: map[uint64]bool{5: true}}, false, tally{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := test.a.judge(file, test.settled)
			if findings := len(got.findings); findings != test.want.AckedLost+test.want.SilentGaps {
				t.Errorf("%d findings: %v", findings, got.findings)
			}
			got.findings = nil
			if got.AckedLost != test.want.AckedLost || got.SilentGaps != test.want.SilentGaps || got.ChainBreaks != 0 {
				t.Errorf("found %+v, want %+v", got, test.want)
			}
		})
	}
	file[bytes.Index(file, []byte("epoch-1"))] ^= 1
	if got := (&acks{}).judge(file, true); got.ChainBreaks == 0 {
		t.Error("a damaged file is found sound")
	}
}

func TestP99(t *testing.T) {
	r := Result{}
	if r.P99() != 0 {
		t.Error("of nothing it is not 0")
	}
	for i := 100; i > 0; i-- {
		r.Converge = append(r.Converge, time.Duration(i))
	}
	if r.P99() != 99 {
		t.Errorf("of 1 to 100 it is %d", r.P99())
	}
	r.Converge = []time.Duration{3, 1}
	if r.P99() != 3 {
		t.Errorf("of 1 and 3 it is %d", r.P99())
	}
}

// Rounds in which nothing came about are no rounds in which nothing was found.
func TestNothingTried(t *testing.T) {
	for name, test := range map[string]struct {
		r    Result
		want string
	}{
		"no rounds":           {Result{}, ""},
		"all well":            {Result{Rounds: 1, Loans: 1, Entries: 1, Reached: map[string]int{"a": 1}, Missed: map[string]int{"b": 1}}, ""},
		"nothing was lent":    {Result{Rounds: 1, Entries: 1}, "0 loans"},
		"nothing was written": {Result{Rounds: 1, Loans: 1}, "0 entries"},
		"no step was reached": {Result{Rounds: 1, Loans: 1, Entries: 1, Reached: map[string]int{"a": 1}, Missed: map[string]int{"a": 1, "b": 1}}, "only 1 of 3"},
	} {
		if err := test.r.Tried(); (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}
