package deploy_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// trainingJob is what a tenant writes: a Job of two 8-GPU pods for a queue.
func trainingJob(changes ...func(*batchv1.Job)) *batchv1.Job {
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: "train-",
			// Two labels: a Job left without any gets those of its pods.
			Labels: map[string]string{v1alpha1.LabelQueue: "default", "example.com/run": "12"},
		},
		Spec: batchv1.JobSpec{
			Parallelism: ptr.To[int32](2),
			Completions: ptr.To[int32](2),
			Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
				RestartPolicy: corev1.RestartPolicyNever,
				Containers:    []corev1.Container{gpuContainer("8")},
			}},
		},
	}
	for _, change := range changes {
		change(job)
	}
	return job
}

func template(change func(*corev1.PodTemplateSpec)) func(*batchv1.Job) {
	return func(job *batchv1.Job) { change(&job.Spec.Template) }
}

// What the API server makes of a tenant's Job: it waits, for Ebbtide's
// scheduler, as a borrower, and its eviction does not count as its failure.
func TestQueuedJobDefaults(t *testing.T) {
	c := testCluster(t)
	jobs := c.client(t, tenant).BatchV1().Jobs(c.namespace(t))
	ignoreDisruption := &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{
		Action: batchv1.PodFailurePolicyActionIgnore,
		OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue,
		}},
	}}}
	ownPolicy := &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{
		Action: batchv1.PodFailurePolicyActionFailJob,
		OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{
			Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: []int32{42},
		},
	}}}
	type outcome struct {
		Suspend                    bool
		Scheduler, Priority, Queue string
		Replacement                batchv1.PodReplacementPolicy
		Failure                    *batchv1.PodFailurePolicy
		Attempt, TakenBack         string
		Units                      string
	}
	tests := []struct {
		name   string
		change func(*batchv1.Job)
		want   outcome
	}{{
		name:   "short form",
		change: func(*batchv1.Job) {},
		want: outcome{
			Suspend: true, Scheduler: "ebbtide", Priority: "ebbtide-borrower", Queue: "default",
			Replacement: batchv1.Failed, Failure: ignoreDisruption, Units: "8",
		},
	}, {
		name: "its own words for what Ebbtide decides",
		change: func(job *batchv1.Job) {
			job.Spec.Suspend = ptr.To(false)
			job.Spec.Template.Spec.SchedulerName = "default-scheduler"
			job.Spec.Template.Labels = map[string]string{v1alpha1.LabelQueue: "other"}
			job.Annotations = map[string]string{v1alpha1.AnnotationAttempt: "7", v1alpha1.AnnotationTakenBack: "7"}
		},
		want: outcome{
			Suspend: true, Scheduler: "ebbtide", Priority: "ebbtide-borrower", Queue: "default",
			Replacement: batchv1.Failed, Failure: ignoreDisruption, Units: "8",
		},
	}, {
		name: "its own priority class and failure policy",
		change: func(job *batchv1.Job) {
			job.Spec.Template.Spec.PriorityClassName = v1alpha1.PriorityClassTraining
			job.Spec.PodFailurePolicy = ownPolicy
		},
		want: outcome{
			Suspend: true, Scheduler: "ebbtide", Priority: "ebbtide-training", Queue: "default",
			Replacement: batchv1.Failed, Failure: ownPolicy, Units: "8",
		},
	}, {
		name:   "without the label nothing is changed",
		change: func(job *batchv1.Job) { delete(job.Labels, v1alpha1.LabelQueue) },
		want: outcome{
			Scheduler: "default-scheduler", Replacement: batchv1.TerminatingOrFailed, Units: "8",
		},
	}}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			made, err := jobs.Create(t.Context(), trainingJob(test.change), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			if err != nil {
				t.Fatalf("create: %v", err)
			}
			pod := made.Spec.Template
			units := pod.Spec.Containers[0].Resources.Limits["nvidia.com/gpu"]
			got := outcome{
				Suspend:     ptr.Deref(made.Spec.Suspend, false),
				Scheduler:   pod.Spec.SchedulerName,
				Priority:    pod.Spec.PriorityClassName,
				Queue:       pod.Labels[v1alpha1.LabelQueue],
				Replacement: *made.Spec.PodReplacementPolicy,
				Failure:     made.Spec.PodFailurePolicy,
				Attempt:     made.Annotations[v1alpha1.AnnotationAttempt],
				TakenBack:   made.Annotations[v1alpha1.AnnotationTakenBack],
				Units:       units.String(),
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("job as created (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCreatingQueuedJobs(t *testing.T) {
	c := testCluster(t)
	jobs := c.client(t, tenant).BatchV1().Jobs(c.namespace(t))
	tests := []struct {
		name   string
		change func(*batchv1.Job)
		want   string // part of the refusal; empty: accepted
	}{
		{"a plain training job", func(*batchv1.Job) {}, ""},
		{"a queue without a name", func(job *batchv1.Job) { job.Labels[v1alpha1.LabelQueue] = "" },
			"metadata.labels[ebbtide.dev/queue]: must name a TrainingQueue"},
		{"the online class", template(func(pod *corev1.PodTemplateSpec) { pod.Spec.PriorityClassName = "ebbtide-online" }),
			"spec.template.spec.priorityClassName: ebbtide-online is not for jobs in a queue"},
		{"a system class", template(func(pod *corev1.PodTemplateSpec) { pod.Spec.PriorityClassName = "system-node-critical" }),
			"spec.template.spec.priorityClassName: system-node-critical is not for jobs in a queue"},
		{"an hour of grace", template(func(pod *corev1.PodTemplateSpec) { pod.Spec.TerminationGracePeriodSeconds = ptr.To[int64](3600) }), ""},
		{"ten days of grace", template(func(pod *corev1.PodTemplateSpec) { pod.Spec.TerminationGracePeriodSeconds = ptr.To[int64](864000) }),
			"spec.template.spec.terminationGracePeriodSeconds: 864000 is more than 3600"},
		{"pods that restart in place", template(func(pod *corev1.PodTemplateSpec) { pod.Spec.RestartPolicy = corev1.RestartPolicyOnFailure }),
			"spec.template.spec.restartPolicy: must be Never for a job in a queue, not OnFailure"},
		{"pods that restart in place, in no queue", func(job *batchv1.Job) {
			delete(job.Labels, v1alpha1.LabelQueue)
			job.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
		}, ""},
		{"a node of its own choice", template(func(pod *corev1.PodTemplateSpec) { pod.Spec.NodeName = "gpu-7" }),
			"spec.template.spec.nodeName: must not be set"},
		{"a finalizer on its pods", template(func(pod *corev1.PodTemplateSpec) { pod.Finalizers = []string{"example.com/stay"} }),
			"spec.template.metadata.finalizers: must be empty"},
		{"a forged notice on its pods", template(func(pod *corev1.PodTemplateSpec) {
			pod.Annotations = map[string]string{v1alpha1.AnnotationReclaimBy: "2030-01-01T00:00:00Z"}
		}), "spec.template.metadata.annotations: ebbtide.dev/reclaim-by, ebbtide.dev/attempt and ebbtide.dev/taken-back are written by Ebbtide only"},
		{"a forged taking back on its pods", template(func(pod *corev1.PodTemplateSpec) {
			pod.Annotations = map[string]string{v1alpha1.AnnotationTakenBack: "1"}
		}), "ebbtide.dev/taken-back are written by Ebbtide only"},
		{"the queue on its pods only", func(job *batchv1.Job) {
			delete(job.Labels, v1alpha1.LabelQueue)
			job.Spec.Template.Labels = map[string]string{v1alpha1.LabelQueue: "default"}
		}, "spec.template.metadata.labels[ebbtide.dev/queue]: is copied from the Job's own metadata.labels, where it is missing"},
		{"the queue on its pods, and no label of its own", func(job *batchv1.Job) {
			job.Labels = nil // Kubernetes gives it those of its pods
			job.Spec.Template.Labels = map[string]string{v1alpha1.LabelQueue: "default"}
		}, ""},
		{"more units than numbers can add up", template(func(pod *corev1.PodTemplateSpec) {
			pod.Spec.Containers[0] = gpuContainer("9223372036854775807")
		}), "must be at most 1000000 of a GPU resource"},
		{"all devices of its nodes", template(func(pod *corev1.PodTemplateSpec) {
			pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "NVIDIA_VISIBLE_DEVICES", Value: "all"}}
		}), "spec.template.spec.containers[].env[NVIDIA_VISIBLE_DEVICES]: only none, void and the empty value"},
		{"a negative number of units", template(func(pod *corev1.PodTemplateSpec) {
			pod.Spec.Containers[0] = gpuContainer("-1")
		}), "must be greater than or equal to 0"},
		{"no number of least pods", func(job *batchv1.Job) {
			metav1.SetMetaDataAnnotation(&job.ObjectMeta, v1alpha1.AnnotationMinPods, "half")
		}, "metadata.annotations[ebbtide.dev/min-pods]: must be a number of pods, at least 1"},
		{"no pods at least", func(job *batchv1.Job) {
			metav1.SetMetaDataAnnotation(&job.ObjectMeta, v1alpha1.AnnotationMinPods, "0")
		}, "metadata.annotations[ebbtide.dev/min-pods]: must be a number of pods, at least 1"},
		{"one pod at least", func(job *batchv1.Job) {
			metav1.SetMetaDataAnnotation(&job.ObjectMeta, v1alpha1.AnnotationMinPods, "1")
		}, ""},
		{"its own words on its pods", template(func(pod *corev1.PodTemplateSpec) {
			pod.Annotations = map[string]string{"example.com/run": "12"}
			pod.Labels = map[string]string{"team": "vision"}
		}), ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := jobs.Create(t.Context(), trainingJob(test.change), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			wantOutcome(t, err, test.want)
		})
	}
}

// Each row starts from a job in one of two states, made anew.
func TestChangingQueuedJobs(t *testing.T) {
	c := testCluster(t)
	namespace := c.namespace(t)
	suspend := func(to bool) func(*batchv1.Job) {
		return func(job *batchv1.Job) { job.Spec.Suspend = ptr.To(to) }
	}
	label := func(value string) func(*batchv1.Job) {
		return func(job *batchv1.Job) { job.Labels[v1alpha1.LabelQueue] = value }
	}
	attempt := func(value string) func(*batchv1.Job) {
		return func(job *batchv1.Job) {
			metav1.SetMetaDataAnnotation(&job.ObjectMeta, v1alpha1.AnnotationAttempt, value)
		}
	}
	whole := func(value string) func(*batchv1.Job) {
		return func(job *batchv1.Job) { metav1.SetMetaDataAnnotation(&job.ObjectMeta, v1alpha1.AnnotationWhole, value) }
	}
	takenBack := func(value string) func(*batchv1.Job) {
		return func(job *batchv1.Job) { job.Annotations[v1alpha1.AnnotationTakenBack] = value }
	}
	const onlyScheduler = "metadata.annotations[ebbtide.dev/taken-back]: only the scheduler writes it"
	size := func(pods int32) func(*batchv1.Job) {
		return func(job *batchv1.Job) { job.Spec.Parallelism = ptr.To(pods) }
	}
	tests := []struct {
		state  string
		user   string
		name   string
		change func(*batchv1.Job)
		want   string
	}{
		{"waiting", tenant, "starts it", suspend(false), "spec.suspend: only the broker starts a job"},
		{"waiting", administrator, "starts it", suspend(false), "spec.suspend: only the broker starts a job"},
		{"waiting", broker, "starts it", suspend(false), ""},
		{"running", tenant, "suspends it", suspend(true), ""},
		{"running", broker, "suspends it", suspend(true), ""},

		{"waiting", tenant, "moves it to another queue", label("fast"), "metadata.labels[ebbtide.dev/queue]: is set when the job is created"},
		{"running", tenant, "moves it to another queue", label("fast"), "metadata.labels[ebbtide.dev/queue]: is set when the job is created"},
		{"waiting", tenant, "takes it out of its queue", func(job *batchv1.Job) { delete(job.Labels, v1alpha1.LabelQueue) },
			"metadata.labels[ebbtide.dev/queue]: must name a TrainingQueue, and stays on the job once set"},
		{"unqueued", tenant, "puts it in a queue afterwards", func(job *batchv1.Job) { job.Labels[v1alpha1.LabelQueue] = "default" },
			"metadata.labels[ebbtide.dev/queue]: is set when the job is created"},
		{"waiting", tenant, "takes its pods out of the queue",
			template(func(pod *corev1.PodTemplateSpec) { delete(pod.Labels, v1alpha1.LabelQueue) }),
			"spec.template.metadata.labels[ebbtide.dev/queue]: must be the job's own queue"},
		{"waiting", tenant, "labels it otherwise", func(job *batchv1.Job) { job.Labels["team"] = "vision" }, ""},

		{"waiting", tenant, "counts an attempt", attempt("1"), "metadata.annotations[ebbtide.dev/attempt]: only the broker writes it"},
		{"running", tenant, "changes the attempt", attempt("2"), "metadata.annotations[ebbtide.dev/attempt]: only the broker writes it"},
		{"running", tenant, "removes the attempt", func(job *batchv1.Job) { job.Annotations = nil },
			"metadata.annotations[ebbtide.dev/attempt]: only the broker writes it"},
		{"waiting", broker, "counts an attempt", attempt("1"), ""},
		{"running", tenant, "reports a checkpoint", func(job *batchv1.Job) {
			job.Annotations[v1alpha1.AnnotationLastCheckpoint] = "2030-01-01T00:00:00Z"
		}, ""},

		{"running", tenant, "says with how few it can do", func(job *batchv1.Job) {
			metav1.SetMetaDataAnnotation(&job.ObjectMeta, v1alpha1.AnnotationMinPods, "2")
		}, "metadata.annotations[ebbtide.dev/min-pods]: cannot change while the job holds units"},
		{"waiting", tenant, "says with how few it can do", func(job *batchv1.Job) {
			metav1.SetMetaDataAnnotation(&job.ObjectMeta, v1alpha1.AnnotationMinPods, "2")
		}, ""},
		{"running", tenant, "says how large it was", whole(`{"pods":64}`), "metadata.annotations[ebbtide.dev/whole]: only the broker writes it"},
		{"running", broker, "makes it smaller", func(job *batchv1.Job) { whole(`{"pods":2}`)(job); size(1)(job) }, ""},

		{"running", tenant, "forges a taking back", takenBack("1"), onlyScheduler},
		{"running", administrator, "forges a taking back", takenBack("1"), onlyScheduler},
		{"running", broker, "forges a taking back", takenBack("1"), onlyScheduler},
		{"running", scheduler, "takes it back", func(job *batchv1.Job) { suspend(true)(job); takenBack("1")(job) }, ""},
		{"taken back", tenant, "hides the taking back", func(job *batchv1.Job) { delete(job.Annotations, v1alpha1.AnnotationTakenBack) }, onlyScheduler},
		{"taken back", tenant, "labels it otherwise", func(job *batchv1.Job) { job.Labels["team"] = "vision" }, ""},
		{"taken back", broker, "acknowledges the taking back", func(job *batchv1.Job) { delete(job.Annotations, v1alpha1.AnnotationTakenBack) }, ""},
		{"taken back", broker, "starts it again", func(job *batchv1.Job) {
			suspend(false)(job)
			attempt("2")(job)
		}, ""},
		{"taken back", scheduler, "takes it back again", func(job *batchv1.Job) { job.Annotations[v1alpha1.AnnotationTakenBack] = "2" }, ""},
		{"waiting", scheduler, "starts it", suspend(false), "only the broker starts"},
		{"unqueued", scheduler, "suspends it", suspend(true), "the scheduler changes no other jobs than those in a queue"},
		{"running", scheduler, "makes it smaller", func(job *batchv1.Job) { suspend(true)(job); size(1)(job) }, "spec: the scheduler changes nothing of a job but spec.suspend"},
		{"running", scheduler, "gives it another deadline", func(job *batchv1.Job) { job.Spec.ActiveDeadlineSeconds = ptr.To[int64](1) },
			"spec: the scheduler changes nothing of a job but spec.suspend"},
		{"waiting", scheduler, "changes its pods", template(func(pod *corev1.PodTemplateSpec) { pod.Annotations = map[string]string{"a": "b"} }),
			"spec: the scheduler changes nothing of a job but spec.suspend"},
		{"running", scheduler, "counts an attempt", attempt("2"), "metadata.annotations"},
		{"running", scheduler, "reports a checkpoint", func(job *batchv1.Job) {
			job.Annotations[v1alpha1.AnnotationLastCheckpoint] = "2030-01-01T00:00:00Z"
		}, "metadata.annotations: the scheduler writes ebbtide.dev/taken-back only"},
		{"running", scheduler, "labels it", func(job *batchv1.Job) { job.Labels["team"] = "vision" },
			"metadata: the scheduler writes the annotation ebbtide.dev/taken-back only"},
		{"running", scheduler, "keeps it from going", func(job *batchv1.Job) { job.Finalizers = []string{"example.com/stay"} },
			"metadata: the scheduler writes the annotation ebbtide.dev/taken-back only"},

		{"waiting", tenant, "makes it bigger", size(3), ""},
		{"running", tenant, "makes it bigger", size(3), "spec.parallelism: cannot change while the job holds units"},
		{"running", tenant, "makes it smaller", size(1), "spec.parallelism: cannot change while the job holds units"},
		{"running", tenant, "suspends it and makes it bigger", func(job *batchv1.Job) { suspend(true)(job); size(3)(job) }, ""},
		{"running", broker, "makes it smaller", size(1), ""},
		{"unqueued", tenant, "makes it bigger", size(3), ""},
		{"unqueued", tenant, "suspends it", suspend(true), ""},
		{"waiting", tenant, "gives its pods a finalizer",
			template(func(pod *corev1.PodTemplateSpec) { pod.Finalizers = []string{"example.com/stay"} }),
			"spec.template.metadata.finalizers: must be empty"},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%s job: %s %s", test.state, who(test.user), test.name), func(t *testing.T) {
			job := c.job(t, namespace, test.state)
			changed := job.DeepCopy()
			test.change(changed)
			_, err := c.client(t, test.user).BatchV1().Jobs(namespace).Patch(t.Context(), job.Name,
				types.StrategicMergePatchType, difference(t, job, changed), metav1.PatchOptions{})
			wantOutcome(t, err, test.want)
		})
	}
}

// job makes a job as the tenant, and brings it into a state: waiting for the
// broker, running because the broker admitted it, taken back by the scheduler
// afterwards, or in no queue at all.
func (c *cluster) job(t *testing.T, namespace, state string) *batchv1.Job {
	t.Helper()
	unqueue := func(job *batchv1.Job) {
		if state == "unqueued" {
			delete(job.Labels, v1alpha1.LabelQueue)
		}
	}
	waiting, err := c.client(t, tenant).BatchV1().Jobs(namespace).Create(t.Context(), trainingJob(unqueue), metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("create a job as %s: %v", tenant, err)
	}
	if state != "running" && state != "taken back" {
		return waiting
	}
	admit := []byte(`{"metadata": {"annotations": {"ebbtide.dev/attempt": "1"}}, "spec": {"suspend": false}}`)
	running, err := c.client(t, broker).BatchV1().Jobs(namespace).Patch(t.Context(), waiting.Name,
		types.MergePatchType, admit, metav1.PatchOptions{})
	if err != nil {
		t.Fatalf("admit a job as the broker: %v", err)
	}
	if state == "running" {
		return running
	}
	takeBack := []byte(`{"metadata": {"annotations": {"ebbtide.dev/taken-back": "1"}}, "spec": {"suspend": true}}`)
	taken, err := c.client(t, scheduler).BatchV1().Jobs(namespace).Patch(t.Context(), waiting.Name,
		types.MergePatchType, takeBack, metav1.PatchOptions{})
	if err != nil {
		t.Fatalf("take a job back as the scheduler: %v", err)
	}
	return taken
}
