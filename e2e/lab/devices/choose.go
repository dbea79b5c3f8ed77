package devices

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/device"
)

// Device is one thing that the plugin advertises.
type Device struct {
	// Resource that it is counted as, and ID, the UUID of the MIG device or of the GPU.
	Resource corev1.ResourceName
	ID       string
	// GPU is the UUID of the card; Name of the profile and Placed are those of a slice.
	GPU  string
	Name string
	mig.Placed
	// Whole: it is a GPU that is not in MIG mode.
	Whole bool
}

// enumerate is what the plugin finds when it starts: whole instances of healthy GPUs.
func enumerate(gpus []device.GPU) []Device {
	var all []Device
	for _, g := range gpus {
		switch {
		case !g.Healthy:
		case !g.MIG:
			all = append(all, Device{Resource: "nvidia.com/gpu", ID: g.UUID, GPU: g.UUID, Whole: true})
		case g.Geometry != nil:
			for _, i := range g.Instances {
				p, known := g.Geometry.Profile(i.Profile)
				if known && i.Whole && i.UUID != "" {
					all = append(all, Device{
						Resource: corev1.ResourceName(p.Resource()), ID: i.UUID, GPU: g.UUID, Name: p.Name, Placed: i.Placed,
					})
				}
			}
		}
	}
	return all
}

// wished tells what the scheduler wrote down for the pod, as GPU/PROFILE@START.
func wished(pod *corev1.Pod) map[string]bool {
	all := map[string]bool{}
	for one := range strings.SplitSeq(pod.Annotations[v1alpha1.AnnotationInstances], ",") {
		place, _, _ := strings.Cut(one, "#")
		all[place] = place != ""
	}
	return all
}

func (d Device) place() string { return fmt.Sprintf("%s/%s@%d", d.GPU, d.Name, d.Start) }

// choose takes count of the free devices, those wished for first, or last if contrary.
func choose(free []Device, wish map[string]bool, count int64, contrary bool) []Device {
	var first, rest []Device
	for _, d := range free {
		if wish[d.place()] != contrary {
			first = append(first, d)
		} else {
			rest = append(rest, d)
		}
	}
	return append(first, rest...)[:count]
}

// asked is how many devices of each resource the pod asks for, of those that slices and
// GPUs are counted as.
func asked(pod *corev1.Pod) map[corev1.ResourceName]int64 {
	need := map[corev1.ResourceName]int64{}
	for _, c := range pod.Spec.Containers {
		for name, q := range c.Resources.Limits {
			if v1alpha1.GPU(name) && q.Value() > 0 {
				need[name] += q.Value()
			}
		}
	}
	return need
}
