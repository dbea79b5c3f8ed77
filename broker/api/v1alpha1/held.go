package v1alpha1

import "github.com/ebbtide/ebbtide/broker/grants"

// Held returns what the loan holds: its grants without what was shed. What is being
// shed is still held. The result may share memory with the Loan.
func (l *Loan) Held() []Grant {
	if len(l.Status.Shed) == 0 {
		return l.Spec.Grants
	}
	return grants.Without(l.Spec.Grants, l.Status.Shed)
}

// Keeps returns what the job may use from now on: what the loan holds without what is
// being shed.
func (l *Loan) Keeps() []Grant {
	if len(l.Status.Shedding) == 0 {
		return l.Held()
	}
	return grants.Without(l.Held(), l.Status.Shedding)
}

// KeptPods returns how many pods that is enough for, as far as the loan's gang goes.
func (l *Loan) KeptPods() int32 { return l.podsLess(l.Status.Shed, l.Status.Shedding) }

// HeldPods returns how many pods the loan is for now: those of its gang without the
// ones whose units were shed.
func (l *Loan) HeldPods() int32 { return l.podsLess(l.Status.Shed) }

func (l *Loan) podsLess(gone ...[]Grant) int32 {
	var units int64
	for _, some := range gone {
		units += Units(some)
	}
	if units <= 0 || l.Spec.UnitsPerPod <= 0 {
		return l.Spec.Pods
	}
	return l.Spec.Pods - int32(min(units/l.Spec.UnitsPerPod, int64(l.Spec.Pods)))
}

// Units adds up the counts.
func Units(list []Grant) int64 {
	var n int64
	for i := range list {
		n += list[i].Count
	}
	return n
}
