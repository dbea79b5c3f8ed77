package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	"github.com/ray-project/kuberay/ray-operator/controllers/ray/utils"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// completeAfter, on a RayJob that is submitted by HTTP, is how long it computes.
// Without it, it does so until it is stopped.
const completeAfter = "lab.ebbtide.dev/complete-after"

// errNoServe is what the dashboard answers to what only a RayService asks.
var errNoServe = errors.New("the lab's Ray dashboard serves no applications")

// dashboards stands in for the one thing that KubeRay's controllers ask of a Ray
// cluster's containers, which a lab never runs: the API of its dashboard. A job
// there takes the way of the Kubernetes Job that submits it, or, if it is submitted
// by HTTP, ends after the time that its annotation names.
type dashboards struct{}

func (dashboards) GetDashboardClient(mgr manager.Manager) func() utils.RayDashboardClientInterface {
	jobs := &submitted{ends: map[submission]time.Time{}}
	return func() utils.RayDashboardClientInterface {
		return &dashboard{reader: mgr.GetClient(), jobs: jobs}
	}
}

// GetHttpProxyClient is asked by RayServices alone, whose controller does not run.
func (dashboards) GetHttpProxyClient(manager.Manager) func() utils.RayHttpProxyClientInterface {
	return nil
}

// submission names a job by the cluster that runs it: another cluster, though it be
// the same RayJob's, knows nothing of it.
type submission struct {
	cluster types.UID
	job     string
}

// submitted remembers the jobs that came by HTTP.
type submitted struct {
	mu   sync.Mutex
	ends map[submission]time.Time // the zero time: never
}

type dashboard struct {
	reader  client.Reader
	jobs    *submitted
	cluster *rayv1.RayCluster
}

func (d *dashboard) InitClient(_ context.Context, _ string, cluster *rayv1.RayCluster) error {
	d.cluster = cluster
	return nil
}

func (d *dashboard) GetJobInfo(ctx context.Context, id string) (*utils.RayJobInfo, error) {
	d.jobs.mu.Lock()
	end, ok := d.jobs.ends[submission{d.cluster.UID, id}]
	d.jobs.mu.Unlock()
	if ok {
		info := &utils.RayJobInfo{JobId: id, JobStatus: rayv1.JobStatusRunning}
		if !end.IsZero() && time.Now().After(end) {
			info.JobStatus, info.EndTime = rayv1.JobStatusSucceeded, uint64(end.UnixMilli())
		}
		return info, nil
	}
	return d.submitterInfo(ctx, id)
}

// submitterInfo reads a job's state off the Kubernetes Job that submitted it.
func (d *dashboard) submitterInfo(ctx context.Context, id string) (*utils.RayJobInfo, error) {
	owner := metav1.GetControllerOf(d.cluster)
	unknown := apierrors.NewBadRequest("Job " + id + " does not exist on the cluster")
	if owner == nil {
		return nil, unknown
	}
	var job batchv1.Job
	err := d.reader.Get(ctx, types.NamespacedName{Namespace: d.cluster.Namespace, Name: owner.Name}, &job)
	if apierrors.IsNotFound(err) {
		return nil, unknown
	}
	if err != nil {
		return nil, fmt.Errorf("read the submitter of job %s: %w", id, err)
	}
	info := &utils.RayJobInfo{JobId: id, JobStatus: rayv1.JobStatusPending}
	if job.Status.StartTime != nil {
		info.JobStatus, info.StartTime = rayv1.JobStatusRunning, uint64(job.Status.StartTime.UnixMilli())
	}
	for _, c := range job.Status.Conditions {
		if c.Status != corev1.ConditionTrue {
			continue
		}
		switch c.Type {
		case batchv1.JobComplete:
			info.JobStatus, info.EndTime = rayv1.JobStatusSucceeded, uint64(c.LastTransitionTime.UnixMilli())
		case batchv1.JobFailed:
			info.JobStatus, info.EndTime = rayv1.JobStatusFailed, uint64(c.LastTransitionTime.UnixMilli())
		}
	}
	return info, nil
}

func (d *dashboard) SubmitJob(_ context.Context, job *rayv1.RayJob) (string, error) {
	var end time.Time
	if text, ok := job.Annotations[completeAfter]; ok {
		after, err := time.ParseDuration(text)
		if err != nil {
			return "", fmt.Errorf("read the annotation %s of RayJob %s: %w", completeAfter, job.Name, err)
		}
		end = time.Now().Add(after)
	}
	d.jobs.mu.Lock()
	defer d.jobs.mu.Unlock()
	d.jobs.ends[submission{d.cluster.UID, job.Status.JobId}] = end
	return job.Status.JobId, nil
}

func (d *dashboard) StopJob(_ context.Context, id string) error {
	d.jobs.mu.Lock()
	defer d.jobs.mu.Unlock()
	delete(d.jobs.ends, submission{d.cluster.UID, id})
	return nil
}

func (d *dashboard) DeleteJob(ctx context.Context, id string) error { return d.StopJob(ctx, id) }

func (d *dashboard) ListJobs(context.Context) (*[]utils.RayJobInfo, error) {
	d.jobs.mu.Lock()
	defer d.jobs.mu.Unlock()
	infos := []utils.RayJobInfo{}
	for s := range d.jobs.ends {
		if s.cluster == d.cluster.UID {
			infos = append(infos, utils.RayJobInfo{JobId: s.job})
		}
	}
	return &infos, nil
}

func (d *dashboard) SubmitJobReq(context.Context, *utils.RayJobRequest, *string) (string, error) {
	return "", errors.New("the lab's Ray dashboard takes jobs of RayJobs only")
}

func (d *dashboard) GetJobLog(context.Context, string) (*string, error) {
	empty := ""
	return &empty, nil
}

func (d *dashboard) UpdateDeployments(context.Context, []byte) error { return errNoServe }

func (d *dashboard) GetServeDetails(context.Context) (*utils.ServeDetails, error) {
	return nil, errNoServe
}

func (d *dashboard) GetMultiApplicationStatus(context.Context) (map[string]*utils.ServeApplicationStatus, error) {
	return nil, errNoServe
}
