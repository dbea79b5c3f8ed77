package past

import (
	"regexp"
	"strings"

	"github.com/ebbtide/ebbtide/broker/workload/gang"
)

// gpuResources matches the resources that are GPUs or slices of them, as kube-state-metrics
// writes them: as v1alpha1.GPU, with _ for all that is no letter or digit.
const gpuResources = "nvidia_com_gpu|nvidia_com_gpu_.+|nvidia_com_mig_.+"

// productLabel says which GPUs a node has, as GPU feature discovery labels it.
const productLabel = "label_nvidia_com_gpu_product"

var (
	foreign = regexp.MustCompile(`[^a-zA-Z0-9_]`)
	humps   = regexp.MustCompile(`([a-z0-9])([A-Z])`)
)

// resourceName is what kube-state-metrics calls a resource.
func resourceName(resource string) string { return foreign.ReplaceAllString(resource, "_") }

// labelName is what kube-state-metrics calls a label of an object.
func labelName(label string) string {
	return "label_" + strings.ToLower(humps.ReplaceAllString(foreign.ReplaceAllString(label, "_"), "${1}_${2}"))
}

// flavor of a resource on a node with labels: the first of those asked for that fits; else
// the GPU's product, or the slice's profile.
func (w *Window) flavor(resource string, labels map[string]string) string {
	for _, f := range w.Flavors {
		if resourceName(string(f.Resource)) == resource && fits(f.NodeSelector, labels) {
			return f.Name
		}
	}
	slice, is := strings.CutPrefix(resource, "nvidia_com_mig_")
	switch {
	case is:
		return "mig-" + strings.ReplaceAll(slice, "_", ".")
	case resource != "nvidia_com_gpu":
		return strings.ReplaceAll(strings.TrimPrefix(resource, "nvidia_com_"), "_", ".")
	case labels[productLabel] != "":
		return labels[productLabel]
	}
	return gang.DefaultFlavor
}

func fits(selector, labels map[string]string) bool {
	for label, value := range selector {
		if labels[labelName(label)] != value {
			return false
		}
	}
	return true
}
