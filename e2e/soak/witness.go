package soak

import (
	"context"
	"fmt"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

// witness watches the API, and remembers what a judge needs. It asks nobody why.
type witness struct {
	tide *tide

	mu   sync.Mutex
	jobs map[types.UID]*watched
	// waits of online pods, by UID; open while to is zero.
	waits map[types.UID]*wait
	loans map[types.UID]bool
	taken []taken
	// started counts jobs that were let run, once for each time.
	started int
}

// watched is a job as it was last seen.
type watched struct {
	flavor    string
	suspended bool
}

// wait is an online pod's, until it had a node or was gone. Made is when the API server made
// it, cut to the second: others may know of it before it is seen here.
type wait struct {
	span
	made         time.Time
	name, flavor string
}

// taken is a job that ran and was suspended.
type taken struct {
	job    types.UID
	flavor string
	at     time.Time
}

func newWitness(t *tide) *witness {
	return &witness{tide: t, jobs: map[types.UID]*watched{}, waits: map[types.UID]*wait{}, loans: map[types.UID]bool{}}
}

// start watches until ctx ends; the returned function waits for that.
func (w *witness) start(ctx context.Context, client kubernetes.Interface, dyn dynamic.Interface) (func(), error) {
	typed := informers.NewSharedInformerFactory(client, 0)
	untyped := dynamicinformer.NewDynamicSharedInformerFactory(dyn, 0)
	stop := func() { typed.Shutdown(); untyped.Shutdown() }
	var synced []cache.InformerSynced
	for _, informer := range []cache.SharedIndexInformer{
		typed.Batch().V1().Jobs().Informer(), typed.Core().V1().Pods().Informer(),
		untyped.ForResource(v1alpha1.GroupVersion.WithResource("loans")).Informer(),
	} {
		registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(obj any) { w.see(obj, false) },
			UpdateFunc: func(_, obj any) { w.see(obj, false) },
			DeleteFunc: func(obj any) {
				if last, ok := obj.(cache.DeletedFinalStateUnknown); ok {
					obj = last.Obj
				}
				w.see(obj, true)
			},
		})
		if err != nil {
			return nil, fmt.Errorf("watch as a witness: %w", err)
		}
		synced = append(synced, registration.HasSynced)
	}
	typed.Start(ctx.Done())
	untyped.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		stop()
		return nil, fmt.Errorf("fill the witness's caches: %w", context.Cause(ctx))
	}
	return stop, nil
}

func (w *witness) see(obj any, gone bool) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	switch o := obj.(type) {
	case *batchv1.Job:
		w.seeJob(o, now)
	case *corev1.Pod:
		w.seePod(o, gone, now)
	case *unstructured.Unstructured:
		w.seeLoan(o, now)
	}
}

// seeJob notes that a job was let run, or that one that ran was suspended: nobody but
// Ebbtide does either here.
func (w *witness) seeJob(job *batchv1.Job, now time.Time) {
	suspended := ptr.Deref(job.Spec.Suspend, false)
	before := w.jobs[job.UID]
	if before == nil {
		before = &watched{flavor: flavorOf(&job.Spec.Template.Spec), suspended: true}
		w.jobs[job.UID] = before
	}
	switch {
	case before.suspended && !suspended:
		w.started++
	case !before.suspended && suspended:
		w.taken = append(w.taken, taken{job.UID, before.flavor, now})
	}
	before.suspended = suspended
}

func (w *witness) seePod(pod *corev1.Pod, gone bool, now time.Time) {
	if pod.Labels[labelService] == "" {
		return
	}
	known := w.waits[pod.UID]
	if known == nil {
		known = &wait{span: span{from: now}, made: pod.CreationTimestamp.Time, name: pod.Namespace + "/" + pod.Name, flavor: flavorOf(&pod.Spec)}
		w.waits[pod.UID] = known
	}
	if known.to.IsZero() && (gone || pod.Spec.NodeName != "" || pod.DeletionTimestamp != nil) {
		known.to = now
	}
}

// seeLoan lets the adversary answer a loan that a service has just made.
func (w *witness) seeLoan(object *unstructured.Unstructured, now time.Time) {
	if w.loans[object.GetUID()] {
		return
	}
	w.loans[object.GetUID()] = true
	var loan v1alpha1.Loan
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &loan); err != nil {
		return // the API server checks them against their schema
	}
	for i, s := range services {
		for _, g := range loan.Spec.Grants {
			if g.Lender == s.name+"/"+s.name {
				w.tide.answer(i, now)
				break
			}
		}
	}
}

func flavorOf(spec *corev1.PodSpec) string {
	for flavor, product := range flavors {
		if spec.NodeSelector[lab.LabelProduct] == product {
			return flavor
		}
	}
	return ""
}

// waited reports whether an online pod waited for units of the flavor at some time within.
func (w *witness) waited(flavor string, within span) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.waits {
		if p.flavor == flavor && p.made.Before(within.to) && (p.to.IsZero() || p.to.After(within.from)) {
			return true
		}
	}
	return false
}

// stopped is when the job was last suspended before a time, the time itself if it never
// was: somebody may have deleted it first.
func (w *witness) stopped(uid string, before time.Time) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := before
	for _, t := range w.taken {
		if string(t.job) == uid && t.at.Before(before) {
			at = t.at
		}
	}
	return at
}

// flavorOfJob is what the job asks for, empty for one that was never seen.
func (w *witness) flavorOfJob(uid string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if job := w.jobs[types.UID(uid)]; job != nil {
		return job.flavor
	}
	return ""
}
