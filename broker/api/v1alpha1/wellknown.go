package v1alpha1

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Names that users write, or see, on objects that are not Ebbtide's own.
const (
	// SchedulerName is what a pod names in spec.schedulerName.
	SchedulerName = "ebbtide"

	// LabelQueue on a training job names the TrainingQueue of its namespace that
	// the job waits in. The job's pods carry it too.
	LabelQueue = "ebbtide.dev/queue"

	// AnnotationCheckpointInterval on a job says how often it saves its work, as
	// a Go duration ("15m"). Without it, and without AnnotationLastCheckpoint,
	// all work since the start counts as lost when the job is stopped.
	AnnotationCheckpointInterval = "ebbtide.dev/checkpoint-interval"
	// AnnotationLastCheckpoint on a job is the time of its last checkpoint
	// (RFC 3339), kept fresh by the job itself: on the job, or on any of its pods.
	AnnotationLastCheckpoint = "ebbtide.dev/last-checkpoint"

	// AnnotationAttempt on a job counts how often it has been admitted. Only the
	// broker writes it; the name of the job's Loan is derived from it.
	AnnotationAttempt = "ebbtide.dev/attempt"
	// ConditionAdmitted on a job says whether it may hold units, and if not, why it
	// waits. Only the broker writes it.
	ConditionAdmitted = "ebbtide.dev/Admitted"

	// AnnotationTakenBack on a job is the attempt whose loan the scheduler took back by
	// itself. Only the scheduler writes it, as it suspends the job.
	AnnotationTakenBack = "ebbtide.dev/taken-back"

	// AnnotationReclaimBy on a pod is the early notice: the time (RFC 3339) by
	// which its units will be taken back. Only the broker and the scheduler write
	// it; a pod sees it through the downward API.
	AnnotationReclaimBy = "ebbtide.dev/reclaim-by"
	// AnnotationReclaimHook on a pod is where it is told about a reclaim by HTTP:
	// ":PORT/PATH", always at the pod's own address.
	AnnotationReclaimHook = "ebbtide.dev/reclaim-hook"

	// AnnotationMinPods on an elastic job is the number of pods with which it can go on
	// when others are taken back. Without it a job stops whole.
	AnnotationMinPods = "ebbtide.dev/min-pods"

	// AnnotationWhole on a job that was made smaller says how large it was, by the names of
	// its sets of pods. Only the broker writes it.
	AnnotationWhole = "ebbtide.dev/whole"

	// LabelPodGroup on pods that nothing else holds together names the gang that they
	// are in their namespace; AnnotationPodGroupSize on them is how many pods it has.
	LabelPodGroup          = "ebbtide.dev/pod-group"
	AnnotationPodGroupSize = "ebbtide.dev/pod-group-size"

	// AnnotationUnquarantine on a quarantined Loan is an administrator's word, and why, that
	// its units are free although its pods are still there.
	AnnotationUnquarantine = "ebbtide.dev/unquarantine"

	// AnnotationInstances on a pod are the MIG instances that the scheduler reserved for
	// it, as GPU/PROFILE@START#GENERATION (GPU-…/1g.5gb@4#2), separated by commas. Only
	// the scheduler writes it.
	AnnotationInstances = "ebbtide.dev/mig-instances"
)

// WholeGPU is the resource of GPUs that are not cut.
const WholeGPU corev1.ResourceName = "nvidia.com/gpu"

// GPU tells whether a resource is a GPU or a part of one: what a flavor may count, and
// what the admission policies keep from other schedulers. Ebbtide gives no unit of it
// to a tenant whose quota does not name it.
func GPU(resource corev1.ResourceName) bool {
	name := string(resource)
	return resource == WholeGPU || strings.HasPrefix(name, "nvidia.com/gpu.") || Slice(resource)
}

// Slice tells whether a resource is a slice of a GPU that is cut.
func Slice(resource corev1.ResourceName) bool {
	return strings.HasPrefix(string(resource), "nvidia.com/mig-")
}

// ReasonPreempted of a pod's condition DisruptionTarget says that a scheduler took
// the pod's units for another pod. Drains, taints and evictions through the API
// set the same condition with other reasons.
const ReasonPreempted = corev1.PodReasonPreemptionByScheduler

// Preempted tells whether a scheduler took the pod's units for another pod.
func Preempted(pod *corev1.Pod) bool {
	for i := range pod.Status.Conditions {
		c := &pod.Status.Conditions[i]
		if c.Type == corev1.DisruptionTarget {
			return c.Status == corev1.ConditionTrue && c.Reason == ReasonPreempted
		}
	}
	return false
}

// PriorityClasses that Ebbtide ships.
const (
	// PriorityClassOnline is for online inference. Its pods take units back.
	PriorityClassOnline = "ebbtide-online"
	// PriorityClassTraining is for training on a tenant's own nominal quota.
	PriorityClassTraining = "ebbtide-training"
	// PriorityClassBorrower is what a queued job's pods get by default.
	PriorityClassBorrower = "ebbtide-borrower"

	// PriorityOnline is the value of PriorityClassOnline. A pod at or above it is
	// online.
	PriorityOnline int32 = 1000000
)
