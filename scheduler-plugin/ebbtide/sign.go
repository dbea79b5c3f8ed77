package ebbtide

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
)

var _ fwk.SignPlugin = &Ebbtide{}

// signature is what the plugin's verdicts and ranking of nodes depend on, beside
// the state of the cluster.
type signature struct {
	Namespace string
	Priority  int32
	Requests  []book.Request
}

// SignPod lets the scheduler try, for a bare pod, the next-best node that it found
// for an equal one just before, instead of ranking all nodes again. That is safe:
// PreFilter counts the quota for every pod, and Filter judges that node; only the
// ranking is reused, and only once the first node is full. Pods on a loan have their
// own few nodes and are left out. Pods that ask for no units are none of the
// plugin's business and add nothing to the signature.
func (p *Ebbtide) SignPod(_ context.Context, pod *corev1.Pod) ([]fwk.SignFragment, *fwk.Status) {
	requests := book.Requests(pod, p.account.Resources())
	if len(requests) == 0 {
		return nil, nil
	}
	if needs, known := p.queued(pod); needs || !known || p.account.OnLoan(pod) {
		return nil, fwk.NewStatus(fwk.Unschedulable, "the pod has its own nodes")
	}
	return []fwk.SignFragment{{
		Key:   "ebbtide.dev/" + Name,
		Value: signature{pod.Namespace, book.Priority(pod), requests},
	}}, nil
}
