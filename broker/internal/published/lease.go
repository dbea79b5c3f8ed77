package published

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// LeaseName is the Lease in whose annotations the head is. Nobody is elected by it.
const LeaseName = "ebbtide-ledger"

// The annotations.
const (
	AnnotationHead  = "ebbtide.dev/ledger-head" // SEQ:HASH
	AnnotationID    = "ebbtide.dev/ledger-id"
	AnnotationEpoch = "ebbtide.dev/ledger-epoch"
)

// interval is how often the head is published at most.
const interval = time.Second

// ErrUnreadable: what is in the Lease is no head. Somebody else has written into it.
var ErrUnreadable = errors.New("what was published cannot be read")

// ErrOvertaken: a leader of a higher epoch has published.
var ErrOvertaken = errors.New("another leader has published the ledger's head")

// Lease publishes. Its exported fields are set before the first call; it is to be used from
// one goroutine.
type Lease struct {
	Client    client.Client
	Live      client.Reader // around the caches
	Namespace string
	Clock     clock.PassiveClock

	last    *coordinationv1.Lease // as it was read or written; nil: not known
	when    time.Time
	written Head
}

// Read is what was published last; its ID is empty if nothing was. The error is
// ErrUnreadable if the Lease is there and says nothing that was published.
func (l *Lease) Read(ctx context.Context) (Head, error) {
	if err := l.get(ctx); err != nil || l.last == nil {
		return Head{}, err
	}
	h, err := parse(l.last.Annotations)
	if err != nil {
		return Head{}, fmt.Errorf("%w: lease %s: %w", ErrUnreadable, l.key(), err)
	}
	return h, nil
}

func (l *Lease) key() types.NamespacedName {
	return types.NamespacedName{Namespace: l.Namespace, Name: LeaseName}
}

func (l *Lease) get(ctx context.Context) error {
	var lease coordinationv1.Lease
	err := l.Live.Get(ctx, l.key(), &lease)
	switch {
	case apierrors.IsNotFound(err):
		l.last = nil
	case err != nil:
		return fmt.Errorf("read lease %s: %w", l.key(), err)
	default:
		l.last = &lease
	}
	return nil
}

func parse(annotations map[string]string) (h Head, err error) {
	text, is := annotations[AnnotationHead]
	if !is {
		return Head{}, nil
	}
	seq, hash, _ := strings.Cut(text, ":")
	if h.Seq, err = strconv.ParseUint(seq, 10, 64); err != nil {
		return Head{}, fmt.Errorf("annotation %s: %q is not of the form SEQ:HASH", AnnotationHead, text)
	}
	if err := h.Hash.UnmarshalText([]byte(hash)); err != nil {
		return Head{}, fmt.Errorf("annotation %s: %w", AnnotationHead, err)
	}
	if h.ID = annotations[AnnotationID]; h.ID == "" {
		return Head{}, fmt.Errorf("annotation %s is missing", AnnotationID)
	}
	if h.Epoch, err = strconv.ParseInt(annotations[AnnotationEpoch], 10, 64); err != nil {
		return Head{}, fmt.Errorf("annotation %s: %q is no number", AnnotationEpoch, annotations[AnnotationEpoch])
	}
	return h, nil
}

// Publish publishes the head, unless it did so within the last second or knows it to be
// there. ErrOvertaken means that whoever calls does not lead any more.
func (l *Lease) Publish(ctx context.Context, h Head) error {
	now := l.Clock.Now()
	if h == l.written || !l.when.IsZero() && now.Sub(l.when) < interval {
		return nil
	}
	err := l.put(ctx, h)
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) {
		// Somebody else wrote: who?
		if err = l.get(ctx); err == nil {
			err = l.put(ctx, h)
		}
	}
	if err != nil {
		return err
	}
	l.when, l.written = now, h
	return nil
}

func (l *Lease) put(ctx context.Context, h Head) error {
	if l.last == nil {
		lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: l.Namespace, Name: LeaseName, Annotations: annotations(nil, h)}}
		if err := l.Client.Create(ctx, lease); err != nil {
			return fmt.Errorf("make lease %s: %w", l.key(), err)
		}
		l.last = lease
		return nil
	}
	before, err := parse(l.last.Annotations)
	if err == nil && before.Epoch > h.Epoch {
		return fmt.Errorf("%w: lease %s has epoch %d, and this is %d", ErrOvertaken, l.key(), before.Epoch, h.Epoch)
	}
	if err == nil && before.ID == h.ID && before.Epoch == h.Epoch && before.Seq > h.Seq {
		return fmt.Errorf("lease %s has entry %d already", l.key(), before.Seq)
	}
	lease := l.last.DeepCopy()
	lease.Annotations = annotations(lease.Annotations, h)
	if err := l.Client.Update(ctx, lease); err != nil {
		return fmt.Errorf("write lease %s: %w", l.key(), err)
	}
	l.last = lease
	return nil
}

func annotations(others map[string]string, h Head) map[string]string {
	if others == nil {
		others = map[string]string{}
	}
	others[AnnotationHead], others[AnnotationID], others[AnnotationEpoch] = h.String(), h.ID, strconv.FormatInt(h.Epoch, 10)
	return others
}
