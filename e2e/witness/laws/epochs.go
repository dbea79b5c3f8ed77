package laws

import (
	"reflect"
	"strconv"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/witness/history"
)

// The annotations in which a ledger's head is published.
const (
	headAnnotation  = "ebbtide.dev/ledger-head"
	idAnnotation    = "ebbtide.dev/ledger-id"
	epochAnnotation = "ebbtide.dev/ledger-epoch"
)

// Head is how far a ledger had come, as it was published.
type Head struct {
	ID    string
	Seq   uint64
	Hash  string
	Epoch int64
}

// HeadOf reads a Lease; ok is false if it says nothing.
func HeadOf(l *coordinationv1.Lease) (h Head, ok bool) {
	seq, hash, _ := strings.Cut(l.Annotations[headAnnotation], ":")
	number, err := strconv.ParseUint(seq, 10, 64)
	if err != nil {
		return h, false
	}
	epoch, err := strconv.ParseInt(l.Annotations[epochAnnotation], 10, 64)
	return Head{ID: l.Annotations[idAnnotation], Seq: number, Hash: hash, Epoch: epoch}, err == nil
}

// written judges a write with an epoch: nobody may have written with a higher one before.
func (w *World) written(what string, epoch int64, e history.Event) {
	late := e.Revision < w.revision
	if epoch < w.epoch && !late && !e.Initial {
		w.broken(Epochs, e, "%s is written with epoch %d after %s was with %d", what, epoch, w.epochOf, w.epoch)
	}
	if epoch > w.epoch {
		w.epoch, w.epochOf = epoch, what
	}
}

func (w *World) applyHead(o *coordinationv1.Lease, e history.Event) {
	before := w.head
	if w.head = o; e.Deleted {
		w.head = nil
		return
	}
	h, ok := HeadOf(o)
	if !ok {
		return
	}
	if before != nil {
		old, ok := HeadOf(before)
		if ok && old == h {
			return
		}
		if ok && old.ID == h.ID && old.Epoch == h.Epoch && h.Seq < old.Seq {
			w.broken(Epochs, e, "the published head falls from %d to %d", old.Seq, h.Seq)
		}
	}
	w.written("the published head", h.Epoch, e)
}

// judgeLoanEpoch looks at the epochs of a Loan that was written.
func (w *World) judgeLoanEpoch(a, b *loan, e history.Event) {
	if a == nil {
		w.written("loan "+b.name, max(b.object.Spec.Epoch, b.object.Status.Epoch), e)
		return
	}
	was, is := a.object.Status.Epoch, b.object.Status.Epoch
	if is < was {
		w.broken(Epochs, e, "status.epoch of loan %s falls from %d to %d", b.name, was, is)
		return
	}
	if !reflect.DeepEqual(a.object.Status, b.object.Status) {
		w.written("loan "+b.name, is, e)
	}
}

// applyPolicy looks at a lender's epoch and count.
func (w *World) applyPolicy(o *v1alpha1.LendingPolicy, e history.Event) {
	name := o.Namespace + "/" + o.Name
	before := w.policies[name]
	keep(w.policies, name, o, e.Deleted)
	if e.Deleted {
		return
	}
	if before != nil && before.UID != o.UID {
		before = nil
	}
	switch {
	case before == nil:
		if o.Status.Epoch != 0 {
			w.written("lender "+name, o.Status.Epoch, e)
		}
	case o.Status.Epoch < before.Status.Epoch:
		w.broken(Epochs, e, "status.epoch of lender %s falls from %d to %d", name, before.Status.Epoch, o.Status.Epoch)
	case !reflect.DeepEqual(before.Status, o.Status):
		w.written("lender "+name, o.Status.Epoch, e)
	}
	w.judgeLent(name, e)
}
