package ebbtide

import (
	"context"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
)

// livePatience bounds how long a bind waits for the API server to say how its loan stands.
const livePatience = 2 * time.Second

// getLoan reads a Loan from the API server.
type getLoan func(ctx context.Context, namespace, name string) (*v1alpha1.Loan, error)

// live reads Loans around the caches. Of the pods of one loan that ask at the same time all
// get the answer to one question, which was not asked before they did: a gang of any size
// costs two.
type live struct {
	get getLoan

	mu sync.Mutex
	// next are the questions that are not asked yet, busy the loans of which one is on its
	// way.
	next map[types.NamespacedName]*answer
	busy map[types.NamespacedName]bool
}

// answer is there when done is closed.
type answer struct {
	done chan struct{}
	loan *v1alpha1.Loan
	err  error
}

func newLive(get getLoan) *live {
	return &live{get: get, next: map[types.NamespacedName]*answer{}, busy: map[types.NamespacedName]bool{}}
}

// read returns the Loan as it is at some moment after the call; the error is NotFound if
// there is none of that name.
func (l *live) read(ctx context.Context, name types.NamespacedName) (*v1alpha1.Loan, error) {
	l.mu.Lock()
	a := l.next[name]
	if a == nil {
		a = &answer{done: make(chan struct{})}
		l.next[name] = a
		if !l.busy[name] {
			l.busy[name] = true
			go l.ask(name)
		}
	}
	l.mu.Unlock()
	select {
	case <-a.done:
		return a.loan, a.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// ask asks one question after the other about a Loan while there are any. Whoever has left
// does not end a question that others wait for.
func (l *live) ask(name types.NamespacedName) {
	for {
		l.mu.Lock()
		a := l.next[name]
		delete(l.next, name)
		if a == nil {
			delete(l.busy, name)
		}
		l.mu.Unlock()
		if a == nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), livePatience)
		a.loan, a.err = l.get(ctx, name.Namespace, name.Name)
		cancel()
		close(a.done)
	}
}

// stillLent refuses the bind of a pod whose loan is not open any more: the cache may not
// have heard yet that it was asked back, or is gone. A loan of which nobody can say how it
// stands is as good as none.
func (p *Ebbtide) stillLent(ctx context.Context, loan *v1alpha1.Loan, node string) *fwk.Status {
	ctx, cancel := context.WithTimeout(ctx, livePatience)
	defer cancel()
	now, err := p.live.read(ctx, types.NamespacedName{Namespace: loan.Namespace, Name: loan.Name})
	if err != nil && !apierrors.IsNotFound(err) {
		return fwk.AsStatus(fmt.Errorf("read the pod's loan %s/%s before the bind: %w", loan.Namespace, loan.Name, err))
	}
	return unless(whyNotStillLent(loan, now, node))
}

// whyNotStillLent says what has become of a loan, as it is now, nil if it is gone, that a pod
// was placed by; empty if nothing that matters.
func whyNotStillLent(loan, now *v1alpha1.Loan, node string) string {
	switch {
	case now == nil || now.UID != loan.UID:
		return "the loan of the job that controls this pod is gone; the job waits to be admitted again"
	case now.Spec.Epoch != loan.Spec.Epoch || now.Status.Epoch < loan.Status.Epoch:
		return "the loan of the job that controls this pod is of another epoch of the broker"
	case !book.Open(now):
		return "the loan of the job that controls this pod is not open any more; the job waits to be admitted again"
	case book.GrantedOn(now, node) < now.Spec.UnitsPerPod:
		return "the loan of the job that controls this pod has nothing left on node " + node
	}
	return ""
}
