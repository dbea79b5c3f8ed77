package scenarios

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

const (
	// What one tenant may do to another at most: be admitted in twice the time, and within
	// this; and to the broker.
	noisyRatio  = 2
	noisyLimit  = 2 * time.Second
	brokerBytes = 512 << 20
	// flooding is how long one tenant submits jobs, at most.
	flooding = 3 * time.Minute
)

// noise is what TestNoisyTenant measures; the last line of `make bench-noisy`.
type noise struct {
	// Jobs wait in one tenant's queue, which it submitted at so many a second.
	Jobs             int64   `json:"jobs"`
	CreatedPerSecond float64 `json:"createdPerSecond"`
	// From the creation of another tenant's job to its Loan: without them, while they come,
	// and while they wait.
	QuietP50 float64 `json:"quietP50Milliseconds"`
	QuietP99 float64 `json:"quietP99Milliseconds"`
	FloodP99 float64 `json:"floodP99Milliseconds"`
	NoisyP50 float64 `json:"noisyP50Milliseconds"`
	NoisyP99 float64 `json:"noisyP99Milliseconds"`
	Ratio    float64 `json:"ratio"`
	// BrokerPeakMiB is the most memory that the broker had.
	BrokerPeakMiB float64 `json:"brokerPeakMiB"`
	Samples       int     `json:"samples"`
}

// A tenant that queues as many jobs as it can, up to 100,000 within three minutes, does not
// keep another's from starting, nor eat the broker's memory.
func TestNoisyTenant(t *testing.T) {
	nightly(t)
	const jobs, samples = int64(100_000), 200
	w := newCluster(t, 3)
	for name, nominal := range map[string]int64{"loud": 4, "calm": 16} {
		w.team(name, "", nominal)
		w.create(&v1alpha1.TrainingQueue{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "default"}})
	}
	for i := range 4 {
		w.submitIn("loud", fmt.Sprintf("runs-%d", i), 1, 1, nil)
	}
	w.awaitBound("loud", 4)
	a := w.watchAdmissions()
	var n noise
	quiet := w.admit(a, "quiet", samples)

	began := time.Now()
	var during []time.Duration
	made := w.flood("loud", jobs, func(ctx context.Context) {
		for i := 0; ctx.Err() == nil; i++ {
			during = append(during, w.admit(a, fmt.Sprintf("flood-%d", i), 1)...)
		}
	})
	n.Jobs, n.CreatedPerSecond = made, float64(made)/time.Since(began).Seconds()
	noisy := w.admit(a, "noisy", samples)
	peak, err := peakMemory(w.Part(lab.Broker).PID())
	if err != nil {
		t.Fatal(err)
	}
	n.Samples, n.BrokerPeakMiB = samples, float64(peak)/(1<<20)
	n.QuietP50, n.QuietP99 = milliseconds(quiet, 0.5), milliseconds(quiet, 0.99)
	n.NoisyP50, n.NoisyP99 = milliseconds(noisy, 0.5), milliseconds(noisy, 0.99)
	n.FloodP99, n.Ratio = milliseconds(during, 0.99), n.NoisyP99/n.QuietP99
	line, err := json.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("%s\n", line)

	if n.Jobs < 1000 {
		t.Errorf("only %d jobs were queued: nothing was tried", n.Jobs)
	}
	if n.NoisyP99 > float64(noisyLimit.Milliseconds()) {
		t.Errorf("the other tenant's p99 is %.0f ms, more than %s", n.NoisyP99, noisyLimit)
	}
	if n.Ratio > noisyRatio {
		t.Errorf("the other tenant's p99 is %.2f times as long as without the noise, more than %d", n.Ratio, noisyRatio)
	}
	if peak > brokerBytes {
		t.Errorf("the broker had %.0f MiB, more than %d", n.BrokerPeakMiB, brokerBytes>>20)
	}
}

// milliseconds is a quantile.
func milliseconds(took []time.Duration, q float64) float64 {
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	i := min(len(took)-1, int(q*float64(len(took))))
	return float64(took[i].Microseconds()) / 1000
}

// peakMemory is the most resident memory that a process had, in bytes.
func peakMemory(pid int) (int64, error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	defer file.Close()
	for s := bufio.NewScanner(file); s.Scan(); {
		if text, ok := strings.CutPrefix(s.Text(), "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(text)[0], 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("the process says nothing of its peak")
}

// admissions notes when each job has its Loan.
type admissions struct {
	mu    sync.Mutex
	at    map[string]time.Time
	came  chan struct{} // closed and made anew with each
	inUse int
}

func (w *town) watchAdmissions() *admissions {
	w.t.Helper()
	a := &admissions{at: map[string]time.Time{}, came: make(chan struct{})}
	api := w.Dynamic().Resource(v1alpha1.GroupVersion.WithResource("loans")).Namespace("calm")
	list, err := api.List(w.t.Context(), metav1.ListOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	events, err := api.Watch(w.t.Context(), metav1.ListOptions{ResourceVersion: list.GetResourceVersion()})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(events.Stop)
	go func() {
		for e := range events.ResultChan() {
			a.see(e, time.Now())
		}
	}()
	return a
}

func (a *admissions) see(e watch.Event, now time.Time) {
	object, ok := e.Object.(*unstructured.Unstructured)
	if !ok || e.Type == watch.Modified {
		return
	}
	job, _, _ := unstructured.NestedString(object.Object, "spec", "job", "name")
	a.mu.Lock()
	defer a.mu.Unlock()
	if e.Type == watch.Deleted {
		a.inUse--
	} else if a.inUse++; a.at[job].IsZero() {
		a.at[job] = now
	}
	close(a.came)
	a.came = make(chan struct{})
}

// wait waits until something is so.
func (a *admissions) wait(ctx context.Context, is func() bool) bool {
	for {
		a.mu.Lock()
		ok, came := is(), a.came
		a.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-came:
		case <-ctx.Done():
			return false
		}
	}
}

// admit submits jobs one after the other and returns how long each waited for its Loan.
func (w *town) admit(a *admissions, name string, n int) []time.Duration {
	w.t.Helper()
	var took []time.Duration
	for i := range n {
		ctx, cancel := context.WithTimeout(w.t.Context(), patience)
		job := w.jobIn("calm", fmt.Sprintf("%s-%03d", name, i), 1)
		if !a.wait(ctx, func() bool { return a.inUse < 12 }) {
			w.t.Error("units do not come back")
		}
		if err := w.api.Create(ctx, job); err != nil {
			w.t.Error(err)
		}
		created := time.Now()
		if !a.wait(ctx, func() bool { return !a.at[job.Name].IsZero() }) {
			w.t.Errorf("job %s is not admitted within %s", job.Name, patience)
		}
		cancel()
		a.mu.Lock()
		took = append(took, max(0, a.at[job.Name].Sub(created)))
		a.mu.Unlock()
		if w.t.Failed() {
			return took
		}
		w.removeJob("calm", job.Name)
	}
	return took
}

// flood queues jobs as fast as they are taken, until there are enough or the time is over,
// and returns how many. Meanwhile something else is done, until its context ends.
func (w *town) flood(namespace string, jobs int64, meanwhile func(context.Context)) int64 {
	w.t.Helper()
	ctx, began := w.t.Context(), time.Now()
	other, stop := context.WithCancel(ctx)
	defer stop()
	var beside sync.WaitGroup
	beside.Go(func() { meanwhile(other) })
	var next, made atomic.Int64
	group := errgroup.Group{}
	for range 16 {
		group.Go(func() error {
			for time.Since(began) < flooding {
				i := next.Add(1)
				if i > jobs {
					break
				}
				if err := w.api.Create(ctx, w.jobIn(namespace, fmt.Sprintf("job-%06d", i), 1)); err != nil {
					return err
				}
				made.Add(1)
			}
			return nil
		})
	}
	err := group.Wait()
	stop()
	beside.Wait()
	if err != nil {
		w.t.Fatal(err)
	}
	labtest.Eventually(w.t, flooding, func(ctx context.Context) (bool, string) {
		var queue v1alpha1.TrainingQueue
		err := w.api.Get(ctx, types.NamespacedName{Namespace: namespace, Name: "default"}, &queue)
		return err == nil && int64(queue.Status.Pending) == made.Load(), fmt.Sprintf("the broker knows of %d waiting jobs of %d (%v)", queue.Status.Pending, made.Load(), err)
	})
	return made.Load()
}
