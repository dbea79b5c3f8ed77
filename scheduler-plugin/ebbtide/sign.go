package ebbtide

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
)

var _ fwk.SignPlugin = &Ebbtide{}

// SignPod keeps pods that ask for units out of the scheduler's reuse of results
// between equal pods: what they may use changes with every placement. Other pods
// are none of the plugin's business and add nothing to the signature.
func (p *Ebbtide) SignPod(_ context.Context, pod *corev1.Pod) ([]fwk.SignFragment, *fwk.Status) {
	if len(book.Requests(pod, p.book.Resources())) > 0 {
		return nil, fwk.NewStatus(fwk.Unschedulable, "the pod asks for units that are counted")
	}
	return nil, nil
}
