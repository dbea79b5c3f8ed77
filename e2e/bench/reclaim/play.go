package reclaim

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

const (
	writers = 16
	// batchAfter is the time from when a batch runs to the next one: pods' start times, by
	// which the stock scheduler chooses, are whole seconds.
	batchAfter = time.Second
	// older than what is told of it a loan must be: its start is cut to a whole second.
	older = 2 * time.Second
)

// play plays a trial with one system on a fresh cluster.
func (c Config) play(ctx context.Context, t trial, s system) (rows []row, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := c.start(ctx, t, s)
	if w != nil {
		defer func() {
			cancel() // the watch ends before the API server does
			err = errors.Join(err, w.Stop())
		}()
	}
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := w.fill(ctx); err != nil {
		return nil, fmt.Errorf("fill the cluster: %w", err)
	}
	p := played{full: time.Now()}
	fmt.Fprintf(c.Log, "case %s: %s has filled %d nodes with %d jobs in %.1f s\n", t.name, s, t.nodes, len(t.gangs), p.full.Sub(began).Seconds())
	if err := w.tell(ctx, p.full, true); err != nil {
		return nil, err
	}
	for i, v := range t.waves {
		if err := w.wave(ctx, &p, v); err != nil {
			return nil, fmt.Errorf("wave %d, %s GPUs: %w", i+1, v, err)
		}
	}
	p.pods = w.seen.all()
	return p.rows(t), nil
}

// fill starts the gangs, batch by batch, until all of them run.
func (w *cluster) fill(ctx context.Context) error {
	var want int64
	for i := range w.trial.batches {
		gangs := w.trial.batch(i)
		err := side(ctx, gangs, func(ctx context.Context, g gang) error {
			if err := w.api.Create(ctx, w.job(g)); err != nil {
				return fmt.Errorf("create job %s: %w", g.name, err)
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, g := range gangs {
			want += g.pods
		}
		err = w.await(ctx, fmt.Sprintf("%d training pods run", want), func(c counts) (bool, string) {
			return c.running == want, fmt.Sprintf("%d do", c.running)
		})
		if err != nil {
			return err
		}
		if err := pause(ctx, time.After(batchAfter)); err != nil {
			return err
		}
	}
	return nil
}

// side does something for each gang, several at once.
func side(ctx context.Context, gangs []gang, do func(context.Context, gang) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	for _, g := range gangs {
		group.Go(func() error { return do(ctx, g) })
	}
	return group.Wait()
}

func pause(ctx context.Context, until <-chan time.Time) error {
	select {
	case <-until:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// tell lets the jobs that still run say when they saved last, in Ebbtide's time. The
// first time it waits until the loans are old enough to be believed.
func (w *cluster) tell(ctx context.Context, full time.Time, first bool) error {
	if w.system != ebbtide || !first && len(w.trial.waves) > len(wavesB) {
		return nil // of jobs of one GPU each, time that passes makes all dearer alike
	}
	if first {
		if err := pause(ctx, time.After(w.trial.mostUnsaved()/Speed+older)); err != nil {
			return err
		}
	}
	now := time.Now() // the same for all, so that equal jobs stay equal
	broken := map[string]bool{}
	for _, s := range w.seen.all() {
		broken[s.job] = broken[s.job] || !s.asked.IsZero()
	}
	return side(ctx, w.trial.gangs, func(ctx context.Context, g gang) error {
		if broken[g.name] {
			return nil
		}
		at := now.Add(-g.unsaved(now.Sub(full)) / Speed)
		patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.AnnotationLastCheckpoint, at.UTC().Format(time.RFC3339Nano))
		_, err := w.Client().BatchV1().Jobs(trainingNamespace).Patch(ctx, g.name, types.MergePatchType, patch, metav1.PatchOptions{})
		if err != nil {
			return fmt.Errorf("annotate job %s: %w", g.name, err)
		}
		return nil
	})
}

// wave lets online pods come, and returns when they are bound and all victims are gone.
func (w *cluster) wave(ctx context.Context, p *played, v wave) error {
	if len(p.began) > 0 {
		if err := w.tell(ctx, p.full, false); err != nil {
			return err
		}
	}
	var before int32
	for i := range p.began {
		if w.trial.waves[i].units == v.units {
			before += int32(w.trial.waves[i].pods)
		}
	}
	p.began = append(p.began, time.Now())
	_, err := w.Client().AppsV1().Deployments(onlineNamespace).UpdateScale(ctx, serviceOf(v.units), &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Namespace: onlineNamespace, Name: serviceOf(v.units)},
		Spec:       autoscalingv1.ScaleSpec{Replicas: before + int32(v.pods)},
	}, metav1.UpdateOptions{})
	if err != nil {
		return fmt.Errorf("scale %s: %w", serviceOf(v.units), err)
	}
	var want int64
	for i := range p.began {
		want += w.trial.waves[i].pods
	}
	return w.await(ctx, fmt.Sprintf("all %d online pods are bound and all victims gone", want), func(c counts) (bool, string) {
		return c.bound == want && c.ending == 0, fmt.Sprintf("%d are bound, %d victims are ending", c.bound, c.ending)
	})
}

// await waits for what is to be seen, and says more if it does not come.
func (w *cluster) await(ctx context.Context, what string, done func(counts) (bool, string)) error {
	err := w.seen.await(ctx, w.Lab, what, done)
	if err == nil || ctx.Err() != nil {
		return err
	}
	return fmt.Errorf("%w; %s", err, w.why(ctx))
}

// why tells what is said of one pod, or else one job, that waits.
func (w *cluster) why(ctx context.Context) string {
	list, err := w.pods.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName="})
	if err != nil {
		return err.Error()
	}
	for i := range list.Items {
		for _, c := range list.Items[i].Status.Conditions {
			if c.Type == corev1.PodScheduled && strings.TrimSpace(c.Message) != "" {
				return fmt.Sprintf("of pod %s the scheduler says: %s", list.Items[i].Name, c.Message)
			}
		}
	}
	jobs, err := w.Client().BatchV1().Jobs(trainingNamespace).List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil || len(jobs.Items) == 0 {
		return "nothing is said of any"
	}
	return fmt.Sprintf("of job %s is said: %v", jobs.Items[0].Name, jobs.Items[0].Status.Conditions)
}
