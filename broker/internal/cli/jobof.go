package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
)

// jobOf finds the job that somebody means, also by a pod of it.
func (s *session) jobOf(ctx context.Context, t target) (jobs.Job, error) {
	api, err := s.cluster()
	if err != nil {
		return jobs.Job{}, err
	}
	kind := schema.GroupVersionKind{}
	if t.kind != "" {
		var known bool
		if kind, known = jobKindBy(t.kind); !known {
			return jobs.Job{}, fmt.Errorf("%q is no kind of job: use a job's name, KIND/JOB, or pod/NAME", t.kind)
		}
	}
	if kind == kindPod {
		return s.jobOfPod(ctx, api, t.key)
	}
	job, hidden, err := findJob(ctx, api, kind, t.key)
	if !apierrors.IsNotFound(err) {
		return job, err
	}
	s.noteHidden(hidden)
	return jobs.Job{}, fmt.Errorf("%s %q not found in namespace %q (another namespace: -n)", cmp.Or(strings.ToLower(kind.Kind), "job"), t.key.Name, t.key.Namespace)
}

// errJobless: a pod is there, and is no training.
var errJobless = errors.New("belongs to no job of a queue")

// jobOfPod is the job that a pod belongs to: that which the pod's chain of owners names, or
// the one with the longest name that the pod's begins with, if the pod is gone.
func (s *session) jobOfPod(ctx context.Context, api client.Reader, key client.ObjectKey) (jobs.Job, error) {
	list, err := s.jobs(ctx, api, key.Namespace, false)
	if err != nil {
		return jobs.Job{}, err
	}
	pod := &corev1.Pod{}
	err = api.Get(ctx, key, pod)
	switch {
	case err == nil:
		chain, _ := newChains(ctx, api).Chain(pod)
		for i := range list {
			if list[i].UID == pod.UID || list[i].PodGroup != "" && list[i].PodGroup == pod.Labels[v1alpha1.LabelPodGroup] {
				return list[i], nil
			}
			for _, owner := range chain {
				if list[i].UID == owner.UID {
					return list[i], nil
				}
			}
		}
		return jobs.Job{}, fmt.Errorf("pod %q of namespace %q %w", key.Name, key.Namespace, errJobless)
	case !apierrors.IsNotFound(err):
		return jobs.Job{}, fmt.Errorf("read pod %s: %w", key, err)
	}
	var best *jobs.Job
	for i := range list {
		if strings.HasPrefix(key.Name, list[i].Key.Name+"-") && (best == nil || len(list[i].Key.Name) > len(best.Key.Name)) {
			best = &list[i]
		}
	}
	if best == nil {
		return jobs.Job{}, fmt.Errorf("pod %q is gone, and no job of namespace %q has a name that its begins with", key.Name, key.Namespace)
	}
	s.note("note: pod %s is gone; by its name it was of %s", key.Name, shownName(best))
	return *best, nil
}
