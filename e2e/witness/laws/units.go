package laws

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/witness/history"
)

type node struct {
	object *corev1.Node
	// has of each resource that only some nodes have.
	has map[string]*levels
}

type pod struct {
	object *corev1.Pod
	units  map[string]int64
	job    types.UID
}

// holds tells whether a pod has what it asks for.
func (p *pod) holds() bool {
	phase := p.object.Status.Phase
	return p.object.Spec.NodeName != "" && phase != corev1.PodSucceeded && phase != corev1.PodFailed
}

func (p *pod) name() string { return p.object.Namespace + "/" + p.object.Name }

// device tells whether a resource is one that only some nodes have.
func device(name corev1.ResourceName) bool {
	domain, _, others := strings.Cut(string(name), "/")
	return others && domain != "kubernetes.io" && !strings.HasSuffix(domain, ".kubernetes.io")
}

// slice tells whether a resource is of slices of GPUs.
func slice(resource string) bool { return strings.Contains(resource, "/mig-") }

// unitsOf is what a pod asks for: all its containers at once, or one that prepares it, if that
// asks for more.
func unitsOf(spec *corev1.PodSpec) map[string]int64 {
	units := map[string]int64{}
	add := func(c *corev1.Container) {
		for name, q := range c.Resources.Limits {
			if device(name) {
				units[string(name)] += q.Value()
			}
		}
	}
	for i := range spec.Containers {
		add(&spec.Containers[i])
	}
	for i := range spec.InitContainers {
		c := &spec.InitContainers[i]
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			add(c)
		}
	}
	for i := range spec.InitContainers {
		for name, q := range spec.InitContainers[i].Resources.Limits {
			if device(name) {
				units[string(name)] = max(units[string(name)], q.Value())
			}
		}
	}
	return units
}

func (w *World) applyNode(o *corev1.Node, e history.Event) {
	if e.Deleted {
		delete(w.nodes, o.Name)
		return
	}
	n := w.nodes[o.Name]
	if n == nil {
		n = &node{has: map[string]*levels{}}
		w.nodes[o.Name] = n
	}
	n.object = o
	for name, q := range o.Status.Capacity {
		if allocatable := o.Status.Allocatable[name]; device(name) {
			if n.has[string(name)] == nil {
				n.has[string(name)] = &levels{}
			}
			has, at := max(q.Value(), allocatable.Value()), place{o.Name, string(name)}
			n.has[string(name)].set(has, e.At)
			w.most[at] = max(w.most[at], has)
		}
	}
}

// had is the most that a node had of a resource lately.
func (n *node) had(resource string, now time.Time) int64 {
	l := n.has[resource]
	switch {
	case l == nil:
		return 0
	case slice(resource):
		return l.most(time.Time{})
	}
	return l.most(now.Add(-Lag))
}

func (w *World) applyPod(o *corev1.Pod, e history.Event) {
	before := w.pods[o.UID]
	if e.Deleted {
		delete(w.pods, o.UID)
		return
	}
	units := unitsOf(&o.Spec)
	if len(units) == 0 {
		return
	}
	p := &pod{object: o, units: units, job: jobOf(o.OwnerReferences)}
	w.pods[o.UID] = p
	if p.holds() && (before == nil || !before.holds()) && !e.Unseen {
		w.judgeNode(o.Spec.NodeName, units, e)
		w.judgeSlices(p, e)
	}
}

// judgeAll compares all that exists, after a time in which states were skipped.
func (w *World) judgeAll(e history.Event) {
	for name, n := range w.nodes {
		units := map[string]int64{}
		for resource := range n.has {
			units[resource] = 0
		}
		w.judgeNode(name, units, e)
	}
	for _, l := range w.loans {
		if l.open() {
			w.judgeJob(l, e)
			w.judgeLenders(l, e)
		}
	}
}

// slices are the places on GPUs that a pod was given, as GPU and memory slot: what is made
// there is one slice at a time.
func (p *pod) slices() []string {
	var places []string
	for ref := range strings.SplitSeq(p.object.Annotations[v1alpha1.AnnotationInstances], ",") {
		gpu, rest, ok := strings.Cut(ref, "/")
		_, at, started := strings.Cut(rest, "@")
		if start, _, generation := strings.Cut(at, "#"); ok && started && generation {
			places = append(places, gpu+"@"+start)
		}
	}
	return places
}

// judgeSlices looks for other pods on the slices that a pod was given.
func (w *World) judgeSlices(p *pod, e history.Event) {
	for _, place := range p.slices() {
		for _, other := range w.pods {
			if other != p && other.holds() && slices.Contains(other.slices(), place) {
				w.broken(OneHolder, e, "the slice at %s is pod %s's and pod %s's", place, other.name(), p.name())
			}
		}
	}
}

// jobOf is the batch Job that made a pod.
func jobOf(owners []metav1.OwnerReference) types.UID {
	for i := range owners {
		if owners[i].Kind == "Job" {
			return owners[i].UID
		}
	}
	return ""
}

// judgeNode adds up what a node's pods hold of what a new one asks for.
func (w *World) judgeNode(name string, units map[string]int64, e history.Event) {
	n := w.nodes[name]
	if n == nil {
		return
	}
	for resource := range units {
		held, holders := int64(0), []string(nil)
		for _, p := range w.pods {
			if p.object.Spec.NodeName == name && p.holds() && p.units[resource] > 0 {
				held += p.units[resource]
				holders = append(holders, p.name())
			}
		}
		if had := n.had(resource, e.At); held > had {
			slices.Sort(holders)
			w.broken(OneHolder, e, "node %s has %d of %s, its pods hold %d: %s", name, had, resource, held, strings.Join(holders, " "))
		}
	}
}
