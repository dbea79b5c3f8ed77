package kubelet

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// reasonInvalid fails a pod whose annotations the lab cannot read.
const reasonInvalid = "InvalidLabAnnotation"

// reasonNoDevice is how a kubelet fails a pod that its device manager has nothing for.
const reasonNoDevice = "UnexpectedAdmissionError"

// status returns the part of the pod's status that the step changes, or nil.
func (s step) status(pod *corev1.Pod, now metav1.Time) *corev1.PodStatus {
	switch s.act {
	case actReady:
		return readyStatus(pod, now)
	case actComplete:
		return endedStatus(pod, now, 0, "Completed")
	case actExit:
		if s.exitCode == 0 {
			return endedStatus(pod, now, 0, "Completed")
		}
		return endedStatus(pod, now, s.exitCode, "Error")
	case actKill:
		return endedStatus(pod, now, s.exitCode, "Error")
	case actReject:
		status := endedStatus(pod, now, 1, "Error")
		status.Reason, status.Message = reasonInvalid, s.problem
		return status
	case actRefuse:
		return refusedStatus(s.problem)
	}
	return nil
}

// ends tells whether the pod has ended when the step is done.
func (s step) ends() bool { return s.act == actComplete || s.act == actExit || s.act == actKill }

// refusedStatus is that of a pod that its node did not take.
func refusedStatus(problem string) *corev1.PodStatus {
	return &corev1.PodStatus{Phase: corev1.PodFailed, Reason: reasonNoDevice, Message: problem}
}

// startedStatus is that of a pod whose process runs.
func startedStatus(pod *corev1.Pod, ip string, now metav1.Time) *corev1.PodStatus {
	status := readyStatus(pod, now)
	status.Conditions = append(status.Conditions,
		corev1.PodCondition{Type: corev1.PodInitialized, Status: corev1.ConditionTrue, LastTransitionTime: now})
	status.StartTime = &now
	status.HostIP = "127.0.0.1"
	status.PodIP, status.PodIPs = ip, []corev1.PodIP{{IP: ip}}
	for i := range status.ContainerStatuses {
		status.ContainerStatuses[i].State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}}
	}
	return status
}

func readyStatus(pod *corev1.Pod, now metav1.Time) *corev1.PodStatus {
	return &corev1.PodStatus{
		Phase:      corev1.PodRunning,
		Conditions: conditions(now, corev1.ConditionTrue, ""),
		ContainerStatuses: containers(pod, func(c *corev1.ContainerStatus) {
			started := true
			c.Ready, c.Started = true, &started
		}),
	}
}

func endedStatus(pod *corev1.Pod, now metav1.Time, exitCode int32, reason string) *corev1.PodStatus {
	status := &corev1.PodStatus{
		Phase:      corev1.PodSucceeded,
		Conditions: conditions(now, corev1.ConditionFalse, "PodCompleted"),
	}
	if exitCode != 0 {
		status.Phase = corev1.PodFailed
		status.Conditions = conditions(now, corev1.ConditionFalse, "PodFailed")
	}
	status.ContainerStatuses = containers(pod, func(c *corev1.ContainerStatus) {
		ended := &corev1.ContainerStateTerminated{
			ExitCode: exitCode, Reason: reason, StartedAt: now, FinishedAt: now,
		}
		if c.State.Running != nil {
			ended.StartedAt = c.State.Running.StartedAt
		}
		started := false
		c.Ready, c.Started = false, &started
		c.State = corev1.ContainerState{Terminated: ended}
	})
	return status
}

func conditions(now metav1.Time, ready corev1.ConditionStatus, reason string) []corev1.PodCondition {
	return []corev1.PodCondition{
		{Type: corev1.PodReady, Status: ready, Reason: reason, LastTransitionTime: now},
		{Type: corev1.ContainersReady, Status: ready, Reason: reason, LastTransitionTime: now},
	}
}

// containers returns the statuses of all the pod's containers after change. A
// pod that was deleted before it ran has none yet.
func containers(pod *corev1.Pod, change func(*corev1.ContainerStatus)) []corev1.ContainerStatus {
	known := map[string]corev1.ContainerStatus{}
	for _, c := range pod.Status.ContainerStatuses {
		known[c.Name] = c
	}
	statuses := make([]corev1.ContainerStatus, 0, len(pod.Spec.Containers))
	for _, c := range pod.Spec.Containers {
		status, ok := known[c.Name]
		if !ok {
			status = corev1.ContainerStatus{Name: c.Name, Image: c.Image}
		}
		change(&status)
		statuses = append(statuses, status)
	}
	return statuses
}

// statusPatch is a strategic merge patch that only applies to the pod of that
// UID: conditions are merged by type, container statuses replaced as a list.
func statusPatch(uid types.UID, status *corev1.PodStatus) ([]byte, error) {
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": uid},
		"status":   status,
	})
	if err != nil {
		return nil, fmt.Errorf("encode a pod status: %w", err)
	}
	return patch, nil
}
