package scenarios

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/build"
	"github.com/ebbtide/ebbtide/e2e/lab/host"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
	"github.com/ebbtide/ebbtide/e2e/sample"
)

const (
	ranks = 2
	// fitSteps of stepTime each are what a rank has to do: longer than the jobs may start apart,
	// and the broker may take to hear of their checkpoints and of the load.
	fitSteps = 2000
	stepTime = 20 * time.Millisecond
	// fitGrace is the jobs' own, and what their pods get: the lender's is longer.
	fitGrace = 2 * time.Second
	// between two checkpoints.
	checkpointEvery = 3 * time.Second
	// hearing is how long it may take until the broker has heard what a program told.
	hearing = 2 * time.Second
)

// Training programs, as real processes on lent units, are taken back in the middle of
// their work. The one that does what it should loses nothing that it had done; one that
// goes on after SIGTERM until it is killed loses what it did since its last checkpoint.
// Both end with the model of a run that nobody stopped. What the books say was lost is
// what the programs had told of their checkpoints.
func TestTrainerLosesNoMoreThanItsGrace(t *testing.T) {
	t.Parallel()
	w := newTrainingTown(t)
	good, deaf := w.train("good"), w.train("deaf", "--ignore-sigterm")
	w.awaitLoans("good", "deaf")
	w.awaitBound(trainingNamespace, 2*ranks)
	for _, r := range slices.Concat(good, deaf) {
		r.awaitTold()
	}
	w.checkOwnPodOnly()

	// The load rises: the broker asks both jobs' units back.
	asked := w.watchReclaim("deaf")
	w.dial.set(9, 0)
	status := asked()
	w.awaitLoans()
	w.awaitBound(trainingNamespace, 0)
	for _, r := range good {
		r.checkStopped()
	}
	for _, r := range deaf {
		r.checkKilled()
	}
	w.checkLost("good", good)
	if lost := w.checkLost("deaf", deaf); status.LostWorkSeconds != int64(lost) {
		t.Errorf("the Loan said that %d unit-seconds are lost, the ledger %.3f", status.LostWorkSeconds, lost)
	}
	w.scale(2)
	w.awaitBound(onlineNamespace, 2)

	// It falls again, and the jobs go on.
	w.dial.set(1, 0)
	w.scale(1)
	for _, r := range slices.Concat(good, deaf) {
		r.checkModel()
	}
	for _, job := range []string{"good", "deaf"} {
		w.awaitComplete(job)
	}
	w.closeTheBooks()
}

// newTrainingTown is a town in whose pods the sample trainer runs. A service uses 4 of
// its 8 GPUs.
func newTrainingTown(t *testing.T) *town {
	t.Helper()
	bin, err := build.Programs(t.Context(), t.Logf, build.SampleTrainer)
	if err != nil {
		t.Fatal(err)
	}
	rights, err := os.ReadFile("../sample/rights.yaml")
	if err != nil {
		t.Fatal(err)
	}
	d := newDial(t)
	w := raise(t, 1, lab.Options{
		SDURL: d.server.URL + "/targets", Broker: brokerProgram(),
		Programs: map[string]string{sampleJob(t).Spec.Template.Spec.Containers[0].Image: filepath.Join(bin, build.SampleTrainer)},
	})
	w.dial = d
	d.follow(w.Client())
	w.settle(8)
	if err := w.Apply(t.Context(), rights); err != nil {
		t.Fatal(err)
	}
	w.dial.set(1, 0)
	w.serve(1, 4, 8)
	w.awaitBound(onlineNamespace, 1)
	return w
}

func sampleJob(t *testing.T) *batchv1.Job {
	t.Helper()
	text, err := os.ReadFile("../sample/job.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var job batchv1.Job
	if err := yaml.UnmarshalStrict(text, &job); err != nil {
		t.Fatal(err)
	}
	return &job
}

// rank is one pod of a job, over all its attempts.
type rank struct {
	w      *town
	job    string
	seed   uint64
	folder string
}

// train queues the sample's job, in small, and returns its ranks.
func (w *town) train(name string, flags ...string) []rank {
	w.t.Helper()
	job := sampleJob(w.t)
	job.Name = name
	spec := &job.Spec.Template.Spec
	spec.TerminationGracePeriodSeconds = ptr.To(int64(fitGrace.Seconds()))
	spec.Volumes[0].NFS.Path = "/runs/" + name
	port := w.freePort()
	job.Spec.Template.Annotations[v1alpha1.AnnotationReclaimHook] = ":" + port + "/reclaim"
	// The last of equal flags counts.
	main := &spec.Containers[0]
	main.Args = append(main.Args, fmt.Sprintf("--steps=%d", fitSteps), "--step-time="+stepTime.String(),
		"--checkpoint-every="+checkpointEvery.String(), "--poll=20ms",
		"--journal=/store/$(RANK)-journal.jsonl", "--hook=$(POD_IP):"+port)
	main.Args = append(main.Args, flags...)
	folder, err := w.NFS(spec.Volumes[0].NFS.Server, spec.Volumes[0].NFS.Path)
	if err != nil {
		w.t.Fatal(err)
	}
	w.create(job)
	var all []rank
	for i := range ranks {
		all = append(all, rank{w: w, job: name, seed: uint64(10 + i), folder: filepath.Join(folder, strconv.Itoa(i))})
	}
	return all
}

// freePort is one that no lab on this machine is given until the test has ended, and that no
// outgoing connection takes.
func (w *town) freePort() string {
	w.t.Helper()
	var ports host.Ports
	w.t.Cleanup(func() {
		if err := ports.Close(); err != nil {
			w.t.Error(err)
		}
	})
	address, err := ports.Next()
	if err != nil {
		w.t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		w.t.Fatal(err)
	}
	return port
}

func (r rank) String() string { return "job " + r.job + ", " + filepath.Base(r.folder) }

func (r rank) journal() ([]sample.Entry, error) {
	return sample.ReadJournal(r.folder + "-journal.jsonl")
}

// awaitTold waits until the program has told of a checkpoint, and works on for longer than
// it may take until the broker has heard of it.
func (r rank) awaitTold() {
	r.w.t.Helper()
	labtest.Eventually(r.w.t, patience, func(context.Context) (bool, string) {
		entries, err := r.journal()
		told := slices.IndexFunc(entries, func(e sample.Entry) bool { return e.Event == sample.EventTold })
		return err == nil && told >= 0 && len(entries) > told+int(3*hearing/stepTime/2), fmt.Sprintf("%s: %d entries, told at %d (%v)", r, len(entries), told, err)
	})
}

// attempt is what is known of one run of a program.
type attempt struct {
	from, done, saved int64 // steps
	// work is what done is, and savedWork what saved is.
	work, savedWork time.Duration
	events          map[string]int
	lastStep, last  time.Time
	// terminated and heard are the deadlines that it knew, by SIGTERM and by each source.
	terminated time.Time
	heard      map[string]time.Time
}

// attempts reads the journal and the checkpoint: what the last run has saved is what the
// file says, not the program.
func (r rank) attempts() []attempt {
	r.w.t.Helper()
	entries, err := r.journal()
	if err != nil {
		r.w.t.Fatal(err)
	}
	var all []attempt
	for _, e := range entries {
		if e.Event == sample.EventStarted {
			all = append(all, attempt{from: e.Step, saved: e.Step, events: map[string]int{}, heard: map[string]time.Time{}})
		}
		a := &all[len(all)-1]
		a.done, a.last = max(a.done, e.Step), e.At
		a.events[e.Event]++
		switch e.Event {
		case sample.EventStep:
			a.lastStep = e.At
		case sample.EventTerminated:
			a.terminated = e.By
		case sample.EventNotice:
			a.heard[e.Source] = e.By
		}
	}
	c, found, err := sample.ReadCheckpoint(filepath.Join(r.folder, "checkpoint.json"))
	if err != nil || !found {
		r.w.t.Fatalf("%s: found a checkpoint: %t, %v", r, found, err)
	}
	a := &all[len(all)-1]
	a.saved = c.Step
	for i := range all {
		all[i].work, all[i].savedWork = time.Duration(all[i].done)*stepTime, time.Duration(all[i].saved)*stepTime
	}
	return all
}

// checkStopped checks the one run of a program that did as it should: all it had done is
// in its checkpoint.
func (r rank) checkStopped() {
	r.w.t.Helper()
	all := r.attempts()
	a := all[len(all)-1]
	lost := a.work - a.savedWork
	r.w.t.Logf("%s: stopped after %s of work, of which %s is lost, %s after its last step; it heard of it by %v", r, a.work, lost, a.last.Sub(a.lastStep), a.heard)
	if len(all) != 1 || a.done == a.from || a.done >= fitSteps {
		r.w.t.Fatalf("%s: want one run, stopped in the middle; got %+v", r, all)
	}
	if a.events[sample.EventTerminated] != 1 || a.events[sample.EventStopped] != 1 {
		r.w.t.Errorf("%s: it was not stopped by SIGTERM, or did not end by itself: %v", r, a.events)
	}
	if lost > fitGrace {
		r.w.t.Errorf("%s: lost %s of work, more than its grace of %s", r, lost, fitGrace)
	}
	if lost != 0 {
		r.w.t.Errorf("%s: lost %s of work, though it saves on SIGTERM", r, lost)
	}
	// What it could not do while it saved is lost time.
	if idle := a.last.Sub(a.lastStep); idle > fitGrace {
		r.w.t.Errorf("%s: took %s to stop, more than its grace of %s", r, idle, fitGrace)
	}
	if a.terminated.IsZero() {
		r.w.t.Errorf("%s: at SIGTERM it did not know how much time it has", r)
	}
	if a.heard["hook"].IsZero() && a.heard["annotation"].IsZero() {
		r.w.t.Errorf("%s: it was told neither by its annotation nor by its hook", r)
	}
}

// checkKilled checks the one run of a program that does not stop.
func (r rank) checkKilled() {
	r.w.t.Helper()
	all := r.attempts()
	a := all[len(all)-1]
	lost := a.work - a.savedWork
	r.w.t.Logf("%s: killed after %s of work, of which %s is lost; it heard of it by %v", r, a.work, lost, a.heard)
	if len(all) != 1 || a.done == a.from || a.done >= fitSteps {
		r.w.t.Fatalf("%s: want one run, killed in the middle; got %+v", r, all)
	}
	if a.events[sample.EventTerminated]+a.events[sample.EventStopped] != 0 {
		r.w.t.Errorf("%s: it was not killed: %v", r, a.events)
	}
	if lost > checkpointEvery+fitGrace {
		r.w.t.Errorf("%s: lost %s of work, more than between two checkpoints (%s) and the grace (%s)", r, lost, checkpointEvery, fitGrace)
	}
	// It ran on for as long as it was let, and that was its grace.
	heard := a.heard["annotation"]
	if heard.IsZero() {
		heard = a.heard["hook"]
	}
	if late := a.last.Sub(heard); heard.IsZero() || late > slack {
		r.w.t.Errorf("%s: it ran until %s, and was told to end by %s", r, a.last, heard)
	}
}

// checkModel waits for the program's end: the run that goes on from the checkpoint
// gives the same model as one that was never stopped.
func (r rank) checkModel() {
	r.w.t.Helper()
	path := filepath.Join(r.folder, "model.json")
	labtest.Eventually(r.w.t, patience+fitSteps*stepTime, func(context.Context) (bool, string) {
		_, err := os.Stat(path)
		return err == nil, fmt.Sprintf("%s: %v", r, err)
	})
	got, err := os.ReadFile(path)
	if err != nil {
		r.w.t.Fatal(err)
	}
	model := sample.NewModel(r.seed)
	model.Train(fitSteps)
	want, err := json.Marshal(model)
	if err != nil {
		r.w.t.Fatal(err)
	}
	if !bytes.Equal(bytes.TrimSpace(got), want) {
		r.w.t.Errorf("%s: the model is\n%s, that of an uninterrupted run\n%s", r, got, want)
	}
	all := r.attempts()
	if len(all) < 2 {
		r.w.t.Fatalf("%s: it ended in one run", r)
	}
	if saved := all[0].from; saved != 0 || all[1].from == 0 {
		r.w.t.Errorf("%s: its runs began at steps %d and %d, want 0 and a checkpoint's", r, all[0].from, all[1].from)
	}
}

// checkLost compares what the ledger says was lost with what the programs had told: the
// time since the newest of their checkpoints, and what a restart costs, for each unit.
func (w *town) checkLost(job string, of []rank) float64 {
	w.t.Helper()
	asked, lost := w.reclaimOf(job)
	var told []sample.Entry
	started := time.Time{}
	for _, r := range of {
		entries, err := r.journal()
		if err != nil {
			w.t.Fatal(err)
		}
		started = entries[0].At
		for _, e := range entries {
			if e.Event == sample.EventTold && e.At.Before(asked) {
				told = append(told, e)
			}
		}
	}
	newest := func(before time.Time) (at time.Time) {
		for _, e := range told {
			if e.At.Before(before) && e.Saved.After(at) {
				at = e.Saved
			}
		}
		return at
	}
	restart := lend.DefaultPolicy().RestartCost
	since := time.Duration(lost/ranks*float64(time.Second)) - restart
	saved := asked.Add(-since)
	// The decision was a moment before its entry, and what was told a moment before that
	// it may not have known.
	least, most := newest(asked.Add(-hearing)), newest(asked).Add(hearing)
	w.t.Logf("job %s: asked at %s, %.1f unit-seconds lost: a last checkpoint at %s; told: %s", job, asked, lost, saved, newest(asked))
	if least.IsZero() || saved.Before(least) || saved.After(most) {
		w.t.Errorf("job %s: the ledger takes %s for the last checkpoint, which the pods say was between %s and %s (started %s)", job, saved, least, most, started)
	}
	return lost
}

// reclaimOf returns when the ledger says that a job's units were asked back, and what
// was lost by it.
func (w *town) reclaimOf(job string) (asked time.Time, lost float64) {
	w.t.Helper()
	var page struct{ Entries []ledger.Entry }
	if err := w.ask(w.t.Context(), "/ledger?limit=1000", &page); err != nil {
		w.t.Fatal(err)
	}
	for _, e := range page.Entries {
		if e.Kind != ledger.ReclaimIntent || e.Job != trainingNamespace+"/"+job {
			continue
		}
		var said struct {
			LostWorkSeconds float64 `json:"lostWorkSeconds"`
		}
		if err := json.Unmarshal(e.Payload, &said); err != nil {
			w.t.Fatal(err)
		}
		return e.Time, said.LostWorkSeconds
	}
	w.t.Fatalf("the ledger does not know that job %s was asked back", job)
	return asked, lost
}

// watchReclaim watches a job's loan from now on, since it says that it is asked back for a
// moment only. asked waits until it does, and returns what it says then.
func (w *town) watchReclaim(job string) (asked func() v1alpha1.LoanStatus) {
	w.t.Helper()
	api, err := client.NewWithWatch(w.Config(), client.Options{Scheme: w.api.Scheme()})
	if err != nil {
		w.t.Fatal(err)
	}
	loans, err := api.Watch(w.t.Context(), &v1alpha1.LoanList{}, client.InNamespace(trainingNamespace))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(loans.Stop)
	return func() v1alpha1.LoanStatus {
		w.t.Helper()
		end := time.After(patience)
		for {
			select {
			case e := <-loans.ResultChan():
				loan, ok := e.Object.(*v1alpha1.Loan)
				if !ok {
					w.t.Fatalf("the watch of the Loans ended with %v", e.Object)
				}
				if loan.Spec.Job.Name == job && loan.Status.ReclaimBy != nil {
					return loan.Status
				}
			case <-end:
				w.t.Fatalf("the loan of %s is not asked back within %s", job, patience)
			}
		}
	}
}

func (w *town) awaitComplete(job string) {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(context.Context) (bool, string) {
		status := w.job(job).Status
		done := slices.ContainsFunc(status.Conditions, func(c batchv1.JobCondition) bool {
			return c.Type == batchv1.JobComplete && c.Status == corev1.ConditionTrue
		})
		return done && status.Failed == 0, fmt.Sprintf("job %s is %+v, want it complete with no pod failed", job, status)
	})
}

// checkOwnPodOnly checks that the programs' account may write on no pod but their own.
func (w *town) checkOwnPodOnly() {
	w.t.Helper()
	path, err := w.KubeconfigFor(w.t.Context(), trainingNamespace, "trainer")
	if err != nil {
		w.t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		w.t.Fatal(err)
	}
	trainer, err := kubernetes.NewForConfig(config)
	if err != nil {
		w.t.Fatal(err)
	}
	pods, err := w.Client().CoreV1().Pods(trainingNamespace).List(w.t.Context(), metav1.ListOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, pod := range pods.Items {
		if pod.Annotations[v1alpha1.AnnotationLastCheckpoint] == "" {
			w.t.Errorf("pod %s does not say when its work was saved", pod.Name)
		}
		// This token is of the same account, and of no pod.
		_, err := trainer.CoreV1().Pods(trainingNamespace).Patch(w.t.Context(), pod.Name, types.MergePatchType,
			[]byte(`{"metadata":{"annotations":{"ebbtide.dev/last-checkpoint":"2000-01-01T00:00:00Z"}}}`), metav1.PatchOptions{})
		if !apierrors.IsForbidden(err) {
			w.t.Errorf("the account writes on pod %s, which is not its own: %v", pod.Name, err)
		}
	}
}
