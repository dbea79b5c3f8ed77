package ebbtide

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
)

// holdFor is how long units that came free for a job are held for it: time for the
// broker to see that they are free, and to admit it.
const holdFor = 15 * time.Second

// holdList remembers the loans that were taken back for a job which has yet to be
// admitted: their units are not for bare pods below online priority. A hold ends
// when a loan for that job is seen, when its own loan is open again, and in any case
// at the time that holdEnds says. Loans that were deleted before a restart
// are not known after it, and their units are then anybody's.
type holdList struct {
	mu    sync.RWMutex
	loans map[types.UID]*hold
	nodes map[string][]*hold
	// admitted are the open loans, by job.
	admitted map[types.UID]types.UID
	any      atomic.Int64
}

// hold, but for its alarm, never changes once it is put.
type hold struct {
	loan  *v1alpha1.Loan
	gone  bool // returned or deleted
	ends  time.Time
	alarm clock.Timer // nil once it rang
}

func newHolds() *holdList {
	return &holdList{loans: map[types.UID]*hold{}, nodes: map[string][]*hold{}, admitted: map[types.UID]types.UID{}}
}

// holdEnds says when the units of a loan that was taken back for a job are no longer
// held for that job, whatever happens, and whether they are free by now. maxGrace is
// for a loan that does not say itself until when it is asked back. ok is false if
// nothing is held.
func holdEnds(loan *v1alpha1.Loan, maxGrace time.Duration) (ends time.Time, gone, ok bool) {
	if loan.Status.ReclaimedFor == "" {
		return time.Time{}, false, false
	}
	if returned := meta.FindStatusCondition(loan.Status.Conditions, v1alpha1.LoanReturned); book.Returned(loan) {
		return returned.LastTransitionTime.Add(holdFor), true, true
	}
	since, reclaiming := book.ReclaimingSince(loan)
	switch by := loan.Status.ReclaimBy; {
	case !reclaiming:
		return time.Time{}, false, false
	case by != nil:
		return by.Add(holdFor), false, true
	}
	return since.Add(maxGrace + holdFor), false, true
}

// on returns what is held on the node. It is not to be written to.
func (h *holdList) on(node string) []*hold {
	if h.any.Load() == 0 {
		return nil
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.nodes[node]
}

// put begins a hold, in the place of one of the same loan.
func (h *holdList) put(x *hold) {
	h.drop(x.loan.UID)
	h.loans[x.loan.UID] = x
	h.any.Add(1)
	for _, node := range book.Nodes(x.loan) {
		h.nodes[node] = append(slices.Clone(h.nodes[node]), x)
	}
}

// drop ends a hold, and says whether there was one.
func (h *holdList) drop(loan types.UID) bool {
	old := h.loans[loan]
	if old == nil {
		return false
	}
	if old.alarm != nil {
		old.alarm.Stop()
	}
	delete(h.loans, loan)
	h.any.Add(-1)
	for _, node := range book.Nodes(old.loan) {
		left := slices.DeleteFunc(slices.Clone(h.nodes[node]), func(x *hold) bool { return x == old })
		if h.nodes[node] = left; len(left) == 0 {
			delete(h.nodes, node)
		}
	}
	return true
}

// admit notes whether the loan is its job's, and ends what was held for the job. It
// says whether anything was.
func (h *holdList) admit(loan *v1alpha1.Loan, open bool) (ended bool) {
	job := loan.Spec.Job.UID
	if !open {
		if h.admitted[job] == loan.UID {
			delete(h.admitted, job)
		}
		return false
	}
	h.admitted[job] = loan.UID
	for uid, x := range h.loans {
		if x.loan.Status.ReclaimedFor == job {
			ended = h.drop(uid) || ended
		}
	}
	return ended
}

// noteHolds keeps the holds in step with a loan that was made, changed or (deleted)
// removed, and wakes pods when a hold ends.
func (p *Ebbtide) noteHolds(logger klog.Logger, loan *v1alpha1.Loan, deleted bool) {
	if p.updateHolds(logger, loan, deleted) {
		p.wakeHeld(logger)
	}
}

func (p *Ebbtide) updateHolds(logger klog.Logger, loan *v1alpha1.Loan, deleted bool) (ended bool) {
	now, h := p.clock.Now(), p.holds
	h.mu.Lock()
	defer h.mu.Unlock()
	ended = h.admit(loan, !deleted && book.Open(loan))
	ends, gone, held := holdEnds(loan, p.args.MaxGrace)
	old := h.loans[loan.UID]
	if latest := now.Add(holdFor); deleted && held && !gone || gone && ends.After(latest) {
		gone, ends = true, latest
	}
	_, admitted := h.admitted[loan.Status.ReclaimedFor]
	switch {
	case !held || admitted || !ends.After(now):
		return h.drop(loan.UID) || ended
	case old != nil && old.gone == gone && old.ends.Equal(ends) && old.loan.Status.ReclaimedFor == loan.Status.ReclaimedFor:
		return ended
	}
	x := &hold{loan: loan, gone: gone, ends: ends}
	x.alarm = p.clock.AfterFunc(ends.Sub(now), func() { p.expireHold(logger, x) })
	h.put(x)
	return ended
}

// expireHold ends a hold whose time is over. An alarm that was too late to be
// stopped finds another hold, or none.
func (p *Ebbtide) expireHold(logger klog.Logger, x *hold) {
	p.holds.mu.Lock()
	x.alarm = nil
	ended := p.holds.loans[x.loan.UID] == x && p.holds.drop(x.loan.UID)
	p.holds.mu.Unlock()
	if ended {
		p.wakeHeld(logger)
	}
}

// wakeHeld tries the pods again that holds may have kept waiting.
func (p *Ebbtide) wakeHeld(logger klog.Logger) {
	p.activate(logger, slices.DeleteFunc(p.pending(), func(pod *corev1.Pod) bool {
		return book.Online(pod) || book.Queued(pod)
	}))
}
