package ebbtide

import (
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
)

// stirs are where units may be for others now although no pod has left them: a loan keeps
// fewer, or it is known now whose a pod is. The next sweep wakes the pods that wait for
// such units, all at once: at a start, or when many loans shrink together, one look at all
// pods that wait is enough.
type stirs struct {
	mu sync.Mutex
	at map[corev1.ResourceName]map[string]bool
}

func newStirs() *stirs { return &stirs{at: map[corev1.ResourceName]map[string]bool{}} }

func (s *stirs) note(node string, resource corev1.ResourceName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at[resource] == nil {
		s.at[resource] = map[string]bool{}
	}
	s.at[resource][node] = true
}

// take returns the nodes by resource, and forgets them.
func (s *stirs) take() map[corev1.ResourceName]map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.at
	s.at = map[corev1.ResourceName]map[string]bool{}
	return at
}

// stir notes that the loan keeps nothing from others any more, wherever it may have.
func (p *Ebbtide) stir(loan *v1alpha1.Loan) {
	for _, node := range book.Nodes(loan) {
		p.stirs.note(node, corev1.ResourceName(loan.Spec.Resource))
	}
}

// wakeStirred wakes the pods that may use what was stirred. Those that wait for quota are
// not helped by units.
func (p *Ebbtide) wakeStirred(logger klog.Logger) {
	stirred := p.stirs.take()
	if len(stirred) == 0 {
		return
	}
	known := map[string]bool{} // what was found for others of the same loan or namespace
	p.activate(logger, slices.DeleteFunc(p.pending(), func(pod *corev1.Pod) bool {
		return p.blocked.has(pod.UID) || !slices.ContainsFunc(book.Requests(pod, nil), func(r book.Request) bool {
			return len(stirred[r.Resource]) > 0 && p.mayUseAny(pod, r.Resource, stirred[r.Resource], known)
		})
	}))
}

func (p *Ebbtide) mayUseAny(pod *corev1.Pod, resource corev1.ResourceName, nodes map[string]bool, known map[string]bool) bool {
	key := "in/" + pod.Namespace
	switch loan := p.book.LoanOf(pod); {
	case loan != nil:
		key = "on/" + string(loan.UID)
	case book.Queued(pod):
		return false // it waits for a loan
	}
	key += "/" + string(resource)
	if _, asked := known[key]; !asked {
		for node := range nodes {
			if known[key] = p.mayUse(pod, node, []corev1.ResourceName{resource}); known[key] {
				break
			}
		}
	}
	return known[key]
}
