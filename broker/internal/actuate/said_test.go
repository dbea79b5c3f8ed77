package actuate_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/actuate"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/reasons"
)

// listener keeps events with what they are about.
type listener struct {
	mu   sync.Mutex
	list []string // Kind namespace/name: Type Reason note
}

func (h *listener) Eventf(on, _ runtime.Object, kind, reason, _, note string, args ...any) {
	ref := on.(*corev1.ObjectReference)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.list = append(h.list, fmt.Sprintf("%s %s/%s: %s %s %s", ref.Kind, ref.Namespace, ref.Name, kind, reason, fmt.Sprintf(note, args...)))
}

// of are the events on objects of one kind, and with the reason unless that is empty.
func (h *listener) of(kind, reason string) (list []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.list {
		_, said, _ := strings.Cut(e, ": ")
		if strings.HasPrefix(e, kind+" ") && (reason == "" || strings.Fields(said)[1] == reason) {
			list = append(list, e)
		}
	}
	return list
}

// borrowers is all that people of the namespace research can read of why something is so:
// events, and conditions of the Job, the Loan, the pods and the queue.
func (w *world) borrowers(h *listener) string {
	w.t.Helper()
	var b strings.Builder
	for _, e := range h.list {
		if strings.Contains(e, " research/") {
			b.WriteString(e + "\n")
		}
	}
	b.WriteString("condition of the job: " + w.says() + "\n")
	conditions := w.queue().Status.Conditions
	for _, l := range w.loans() {
		conditions = append(conditions, l.Status.Conditions...)
	}
	for _, c := range conditions {
		b.WriteString("condition " + c.Type + " " + c.Reason + ": " + c.Message + "\n")
	}
	for _, p := range w.pods() {
		for _, c := range p.Status.Conditions {
			b.WriteString("condition of a pod: " + c.Reason + " " + c.Message + "\n")
		}
	}
	return b.String()
}

// foreign is what nobody in research may read: the other tenant's namespace, service, pods,
// and how loaded they are.
var foreign = regexp.MustCompile(`serving|\bchat|87%`)

// TestNobodyElseIsNamed: whatever the reason, what a borrower reads names nothing of the
// tenant that lent, and nothing of its load where units are taken back for it.
func TestNobodyElseIsNamed(t *testing.T) {
	waits := reasons.Groups[0]
	for _, row := range waits.Rows {
		w := newWorld(t)
		h := &listener{}
		b := w.teller(&fuse{left: -1})
		b.actuator.Events.Recorder = h
		b.waits(row.Reason, "when units of serving/chat are asked back its pods get 10s; lent by serving/chat")
		text := w.borrowers(h)
		if foreign.MatchString(text) || !strings.Contains(text, "a service of another tenant") {
			t.Errorf("%s: a borrower reads\n%s", row.Reason, text)
		}
		if len(h.of("Job", row.Reason)) != 1 || len(h.of("TrainingQueue", row.Reason)) != 1 {
			t.Errorf("%s: events %q", row.Reason, h.list)
		}
	}
	taken := []string{
		lend.ReasonLenderPodPending, lend.ReasonAboveHighWater, lend.ReasonNeedRose, lend.ReasonLenderUnknownTooLong, lend.ReasonOwnerWants,
		lend.ReasonFairShare, lend.ReasonNodeUnhealthy, lend.ReasonCrowdedOut, lend.ReasonSlicesUndone, lend.ReasonNotStarted,
	}
	for _, reason := range taken {
		w := newWorld(t)
		h := &listener{}
		b := w.teller(&fuse{left: -1})
		b.actuator.Events.Recorder = h
		action := w.lending()
		action.Message = "4 units of h100 on 1 node, lent by serving/chat"
		if err := b.apply(action); err != nil {
			t.Fatal(err)
		}
		w.jobController()
		back := reclaiming("research/tune-1")
		back.Reason, back.Message = reason, "online pods of serving/chat wait for the units; serving/chat is at 87%"
		w.deaf = true
		if err := b.apply(back); err != nil {
			t.Fatal(err)
		}
		w.clock.SetTime(now.Add(11 * time.Second))
		evict := back
		evict.Kind = lend.ActionEvict
		if err := b.apply(evict); err != nil {
			t.Fatal(err)
		}
		text := w.borrowers(h)
		if foreign.MatchString(text) || !strings.Contains(text, reason) || !strings.Contains(text, "lent by a service of another tenant") {
			t.Errorf("%s: a borrower reads\n%s", reason, text)
		}
		for _, kind := range []string{"Job", "Loan"} {
			if len(h.of(kind, lend.ReasonReclaiming)) != 1 {
				t.Errorf("%s: events on the %s: %q", reason, kind, h.of(kind, ""))
			}
		}
	}
}

// waits carries out a plan by which the job waits as the first of its queue.
func (b *broker) waits(reason, message string) {
	b.t.Helper()
	plan := &lend.Plan{
		Verdicts: []lend.Verdict{{Kind: lend.SubjectJob, Subject: "research/tune", UID: "tune", Reason: reason, Message: message}},
		Waiting:  []lend.Place{{UID: "tune", Position: 1}},
	}
	if err := b.actuator.Apply(b.context(), b.gather(), plan); err != nil {
		b.t.Fatal(err)
	}
}

// TestPodsAreTold: a pod that has to go hears of it, and one that is deleted has an event and
// a condition that say why.
func TestPodsAreTold(t *testing.T) {
	w := newWorld(t)
	h := &listener{}
	b := w.teller(&fuse{left: -1})
	b.actuator.Events.Recorder = h
	if err := admit(b); err != nil {
		t.Fatal(err)
	}
	w.jobController()
	pod := w.pod()
	pod.Finalizers = []string{"example.com/stays"}
	if err := w.api.Update(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	if err := b.apply(reclaiming("research/tune-1")); err != nil {
		t.Fatal(err)
	}
	if got := h.of("Pod", lend.ReasonReclaiming); len(got) != 1 || !strings.Contains(got[0], "was asked to give its units back by 2026-03-01T12:00:10Z") {
		t.Errorf("events on the pod: %q", got)
	}
	w.clock.SetTime(now.Add(11 * time.Second))
	evict := reclaiming("research/tune-1")
	evict.Kind = lend.ActionEvict
	if err := b.apply(evict); err != nil {
		t.Fatal(err)
	}
	if got := h.of("Pod", "EbbtideReclaim"); len(got) == 0 || !strings.HasPrefix(got[0], "Pod research/tune-0: Normal ") {
		t.Errorf("events on the pod: %q", got)
	}
	marked := false
	for _, c := range w.pod().Status.Conditions {
		marked = marked || c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue && c.Reason == "EbbtideReclaim"
	}
	if !marked {
		t.Errorf("conditions of the pod: %+v", w.pod().Status.Conditions)
	}
}

// TestQueueSaysWhyItsHeadWaits, and does not flap: while jobs go on waiting, neither reason
// nor message change more often than every 15 seconds.
func TestQueueSaysWhyItsHeadWaits(t *testing.T) {
	w := newWorld(t)
	h := &listener{}
	b := w.teller(&fuse{left: -1})
	b.actuator.Events.Recorder = h
	at := w.follow([]step{
		{0, "NoLendableUnits", "3 are free", "True NoLendableUnits: 1 job waits; the first, tune: 3 are free"},
		{time.Second, "NoLendableUnits", "2 are free", "True NoLendableUnits: 1 job waits; the first, tune: 2 are free"},
		{time.Second, "NoLendableUnits", "1 are free", "True NoLendableUnits: 1 job waits; the first, tune: 2 are free"},
		{time.Second, "ReservedForEarlier", "kept", "True NoLendableUnits: 1 job waits; the first, tune: 2 are free"},
		{10 * time.Second, "NoLendableUnits", "4 are free", "True NoLendableUnits: 1 job waits; the first, tune: 2 are free"},
		{4 * time.Second, "QueuePaused", "paused", "True QueuePaused: 1 job waits; the first, tune: paused"},
	}, b.waits, w.queueSays)
	if got := h.of("TrainingQueue", "NoLendableUnits"); len(got) != 2 || got[0] != "TrainingQueue research/default: Normal NoLendableUnits did not admit the first job: tune: 3 are free" {
		t.Errorf("events: %q", got)
	}
	if err := w.api.Delete(t.Context(), w.job()); err != nil {
		t.Fatal(err)
	}
	w.clock.SetTime(at.Add(time.Minute))
	if err := b.apply(); err != nil {
		t.Fatal(err)
	}
	if got := w.queueSays(); got != "False NothingWaits: no job waits" {
		t.Errorf("an empty queue says %q", got)
	}
}

func (w *world) queueSays() string {
	w.t.Helper()
	return conditionSays(w.queue().Status.Conditions, "JobsWaiting")
}

// conditionSays is what a condition says; empty without one.
func conditionSays(conditions []metav1.Condition, kind string) string {
	c := meta.FindStatusCondition(conditions, kind)
	if c == nil {
		return ""
	}
	return fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message)
}

// TestLenderDoesNotFlap: numbers in the messages of a lender's conditions are brought up to
// date now and then, another reason at once.
func TestLenderDoesNotFlap(t *testing.T) {
	w := newWorld(t)
	b := w.teller(&fuse{left: -1})
	w.follow([]step{
		{0, "BelowLowWater", "load 10%", "True BelowLowWater: load 10%"},
		{time.Second, "BelowLowWater", "load 11%", "True BelowLowWater: load 11%"},
		{time.Second, "BelowLowWater", "load 12%", "True BelowLowWater: load 11%"},
		{8 * time.Second, "BelowLowWater", "load 13%", "True BelowLowWater: load 11%"},
		{time.Second, "BelowLowWater", "load 14%", "True BelowLowWater: load 14%"},
		{time.Second, "AboveLowWater", "load 40%", "False AboveLowWater: load 40%"},
	}, func(reason, message string) {
		verdict := lend.Verdict{Kind: lend.SubjectLender, Subject: "serving/chat", Reason: reason, Message: message}
		if err := b.actuator.Apply(b.context(), b.gather(), &lend.Plan{Verdicts: []lend.Verdict{verdict}}); err != nil {
			t.Fatal(err)
		}
	}, func() string {
		var p v1alpha1.LendingPolicy
		if err := w.api.Get(t.Context(), client.ObjectKey{Namespace: "serving", Name: "chat"}, &p); err != nil {
			t.Fatal(err)
		}
		return conditionSays(p.Status.Conditions, v1alpha1.ConditionLending)
	})
}

// TestEventsCount: the same reason on the same object is one event that counts.
func TestEventsCount(t *testing.T) {
	api := fake.NewClientset()
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: api.EventsV1()})
	defer broadcaster.Shutdown()
	if err := broadcaster.StartRecordingToSinkWithContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	e := &actuate.Events{Recorder: broadcaster.NewRecorder(scheme, "ebbtide-broker")}
	loan := &v1alpha1.Loan{ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: "tune-1"}}
	loan.Spec.Job.APIVersion, loan.Spec.Job.Kind, loan.Spec.Job.Name = "batch/v1", "Job", "tune"
	for range 3 {
		e.Job(loan, lend.ReasonGraceExpired, "Evict", "its pods were killed")
	}
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		list, err := api.EventsV1().Events("research").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(list.Items) == 1 && list.Items[0].Series != nil && list.Items[0].Series.Count >= 2 {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("events: %+v", list.Items)
		}
	}
}

// past is how a text begins, or goes on, that says what happened.
var past = regexp.MustCompile(`\b(was|were|did|began|ran|gave|went|got|created|became|waited|passed|ended|asked|Scaled|Stopped|Went|lent|Found|returned)\b`)

// TestEventsAreInThePastTense: what stands in the programs as an event's text does.
func TestEventsAreInThePastTense(t *testing.T) {
	// Methods that write events, and which argument is the text.
	writers := map[string]int{"Loan": 3, "Job": 3, "Pod": 3, "write": 3, "tellLender": 3, "tellEnd": 3, "Verdict": 2, "say": 3, "Eventf": 5}
	seen := 0
	for _, folder := range []string{".", "../prewarm", "../controller"} {
		packages, err := parser.ParseDir(token.NewFileSet(), folder, nil, 0) //nolint:staticcheck // types are not needed
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range packages {
			for file, tree := range p.Files {
				if strings.HasSuffix(file, "_test.go") {
					continue
				}
				ast.Inspect(tree, func(n ast.Node) bool {
					call, is := n.(*ast.CallExpr)
					if !is {
						return true
					}
					method, is := call.Fun.(*ast.SelectorExpr)
					if !is || writers[method.Sel.Name] == 0 || len(call.Args) <= writers[method.Sel.Name] {
						return true
					}
					literal, is := call.Args[writers[method.Sel.Name]].(*ast.BasicLit)
					if !is {
						return true // it is passed on
					}
					text, err := strconv.Unquote(literal.Value)
					if err != nil || text == "%s" {
						return true // so is that
					}
					seen++
					if !past.MatchString(text) {
						t.Errorf("%s: %q does not say what happened", file, text)
					}
					return true
				})
			}
		}
	}
	if seen < 20 {
		t.Errorf("%d texts were read, want at least 20", seen)
	}
}
