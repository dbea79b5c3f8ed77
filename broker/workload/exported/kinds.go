package exported

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// job reads a Kubernetes Job.
func (k *kube) job(o *object) error {
	var spec batchv1.JobSpec
	var status batchv1.JobStatus
	if err := o.parts(&spec, &status); err != nil {
		return err
	}
	var units gpus
	units.add(orOne(spec.Parallelism), &spec.Template, nil)
	from, to, ended := at(status.StartTime), at(status.CompletionTime), status.CompletionTime != nil
	for _, c := range status.Conditions {
		if c.Type == batchv1.JobFailed && c.Status == corev1.ConditionTrue {
			to, ended = c.LastTransitionTime.Time, true
		}
	}
	k.lived(k.run(o, units), from, to, ended)
	return nil
}

// workload reads a Kueue Workload, of the versions v1beta1 and v1beta2. It is work from
// when it was last admitted until it finished; what it ran before it was evicted is told
// apart from that.
func (k *kube) workload(o *object) error {
	var spec struct {
		PodSets []struct {
			Name     string                 `json:"name"`
			Count    int32                  `json:"count"`
			MinCount *int32                 `json:"minCount"`
			Template corev1.PodTemplateSpec `json:"template"`
		} `json:"podSets"`
		Priority *int32 `json:"priority"`
	}
	var status struct {
		Admission struct {
			PodSetAssignments []struct {
				Name    string                         `json:"name"`
				Flavors map[corev1.ResourceName]string `json:"flavors"`
			} `json:"podSetAssignments"`
		} `json:"admission"`
		Conditions []metav1.Condition `json:"conditions"`
		// The field was misspelt until v1beta2.
		Past      int64 `json:"accumulatedPastExecutionTimeSeconds"`
		PastBeta1 int64 `json:"accumulatedPastExexcutionTimeSeconds"`
	}
	if err := o.parts(&spec, &status); err != nil {
		return err
	}
	var units gpus
	least := int64(0)
	for _, set := range spec.PodSets {
		var flavors map[corev1.ResourceName]string
		for _, a := range status.Admission.PodSetAssignments {
			if a.Name == set.Name {
				flavors = a.Flavors
			}
		}
		if set.MinCount != nil {
			least = int64(*set.MinCount)
		}
		units.add(int64(set.Count), &set.Template, flavors)
	}
	one := k.run(o, units)
	if len(spec.PodSets) == 1 && least < units.pods {
		one.MinPods = least
	}
	if spec.Priority != nil {
		one.Priority = *spec.Priority
	}
	one.before = time.Duration(min(max(status.Past+status.PastBeta1, 0), most*3600)) * time.Second
	var from, to time.Time
	for _, c := range status.Conditions {
		k.speaks(c.LastTransitionTime.Time)
		switch is := c.Status == metav1.ConditionTrue; {
		case c.Type == "Admitted" && is:
			from = c.LastTransitionTime.Time
		case c.Type == "Finished" && is:
			to = c.LastTransitionTime.Time
		}
	}
	k.lived(one, from, to, !to.IsZero())
	return nil
}

// volcanoEnds are the phases after which a Volcano job goes on no more.
var volcanoEnds = map[string]bool{"Completed": true, "Failed": true, "Aborted": true, "Terminated": true}

// volcanoJob reads a Volcano job, which is work from when it last became Running.
func (k *kube) volcanoJob(o *object) error {
	var spec struct {
		MinAvailable int32 `json:"minAvailable"`
		Tasks        []struct {
			Replicas int32                  `json:"replicas"`
			Template corev1.PodTemplateSpec `json:"template"`
		} `json:"tasks"`
	}
	var status struct {
		State struct {
			Phase              string      `json:"phase"`
			LastTransitionTime metav1.Time `json:"lastTransitionTime"`
		} `json:"state"`
		Conditions []struct {
			Status             string      `json:"status"`
			LastTransitionTime metav1.Time `json:"lastTransitionTime"`
		} `json:"conditions"`
	}
	if err := o.parts(&spec, &status); err != nil {
		return err
	}
	var units gpus
	for _, t := range spec.Tasks {
		units.add(int64(t.Replicas), &t.Template, nil)
	}
	one := k.run(o, units)
	if least := int64(spec.MinAvailable); !units.others && !units.uneven && least < units.pods {
		one.MinPods = least
	}
	var from, to time.Time
	for _, c := range status.Conditions {
		if c.Status == "Running" && c.LastTransitionTime.After(from) {
			from = c.LastTransitionTime.Time
		}
	}
	ended := volcanoEnds[status.State.Phase]
	if ended {
		to = status.State.LastTransitionTime.Time
	}
	k.speaks(status.State.LastTransitionTime.Time)
	k.lived(one, from, to, ended)
	return nil
}

// podGroup reads a PodGroup of Volcano, which says when its gang was scheduled and not when
// it ended.
func (k *kube) podGroup(o *object) error {
	var spec struct {
		MinMember    int32               `json:"minMember"`
		MinResources corev1.ResourceList `json:"minResources"`
	}
	var status struct {
		Phase      string `json:"phase"`
		Conditions []struct {
			Type               string                 `json:"type"`
			Status             corev1.ConditionStatus `json:"status"`
			LastTransitionTime metav1.Time            `json:"lastTransitionTime"`
		} `json:"conditions"`
	}
	if err := o.parts(&spec, &status); err != nil {
		return err
	}
	// What all its members need together, as if one pod did.
	var t corev1.PodTemplateSpec
	t.Spec.Containers = []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: spec.MinResources}}}
	var units gpus
	units.add(1, &t, nil)
	if members := int64(spec.MinMember); members > 1 && units.all%members == 0 {
		units.pods = members
	} else if members > 1 {
		units.uneven = units.all > 0
	}
	var from time.Time
	for _, c := range status.Conditions {
		k.speaks(c.LastTransitionTime.Time)
		if c.Type == "Scheduled" && c.Status == corev1.ConditionTrue {
			from = c.LastTransitionTime.Time
		}
	}
	k.lived(k.run(o, units), from, time.Time{}, status.Phase == "Completed")
	return nil
}

// parts reads the object's spec and status.
func (o *object) parts(spec, status any) error {
	if err := unmarshal("spec", o.Spec, spec); err != nil {
		return err
	}
	return unmarshal("status", o.Status, status)
}

func at(t *metav1.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.Time
}

func orOne(n *int32) int64 {
	if n == nil {
		return 1
	}
	return int64(*n)
}
