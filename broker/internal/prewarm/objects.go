package prewarm

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// keepFor is how long what a hook created is kept after it finished.
	keepFor = time.Hour
	// keepMost is how many objects of one policy are kept.
	keepMost = 3
)

// read finds what was created for the policy and is not known: by brokers before this
// one, or by requests whose answer was lost. It goes on where it had to stop.
func (r *Runner) read(ctx context.Context, m *memory) error {
	if m.unread == nil || r.resting(m) {
		return nil
	}
	for ; m.seen < len(r.Kinds); m.seen++ {
		if m.unread = r.list(ctx, m, r.Kinds[m.seen]); m.unread != nil {
			return m.unread
		}
	}
	slices.SortStableFunc(m.runs, func(a, b *run) int {
		return cmp.Or(a.began.Compare(b.began), cmp.Compare(a.name, b.name))
	})
	for _, a := range m.runs {
		switch {
		case a.purpose == BeforeReturn:
			m.remember(a)
		case !a.done() || m.policy.Status.Lent > 0 && m.lending == nil:
			m.lending = a
		}
	}
	if m.asked == forReclaim && !m.back.After(m.returned) || m.asked != forReclaim && m.asked <= m.window {
		m.asked = "" // it has begun
	}
	m.unread, m.seen = nil, 0
	return nil
}

// list finds those of one kind.
func (r *Runner) list(ctx context.Context, m *memory, kind Kind) error {
	ctx, cancel, err := r.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(schema.FromAPIVersionAndKind(kind.APIVersion, kind.Kind+"List"))
	err = r.Live.List(ctx, list, client.InNamespace(m.policy.Namespace), client.MatchingLabels{LabelPolicy: labelOf(m.policy.Name)})
	if refused(err) {
		return nil // then nothing of this kind can have been created either
	}
	if err != nil {
		return fmt.Errorf("look for %s of the hooks of %s: %w", kind, m.name(), err)
	}
	now := r.Clock.Now()
	for i := range list.Items {
		o := &list.Items[i]
		known := slices.ContainsFunc(m.runs, func(a *run) bool { return a.uid == o.GetUID() })
		if !known && owned(o, m.policy) {
			m.runs = append(m.runs, found(m, o, now))
		}
	}
	return nil
}

// found is the run that an object is of.
func found(m *memory, o *unstructured.Unstructured, now time.Time) *run {
	a := &run{
		purpose: Purpose(o.GetLabels()[LabelHook]), kind: o.GroupVersionKind(), name: o.GetName(), uid: o.GetUID(),
		why: o.GetAnnotations()[AnnotationFor], began: o.GetCreationTimestamp().Time, looked: now,
	}
	hook := hookOf(m.policy, a.purpose)
	if hook == nil || ready(o, &hook.Until) || now.Sub(a.began) >= timeout(hook) {
		a.finished = now // its event has been written
	}
	return a
}

// known: the policy's objects could be listed.
func (m *memory) known() bool { return m.unread == nil }

// clean deletes what is finished for long enough, or is more than is kept.
func (r *Runner) clean(ctx context.Context, m *memory) error {
	if !m.known() || r.resting(m) {
		return nil
	}
	now := r.Clock.Now()
	var errs []error
	tooMany := len(m.runs) - keepMost
	m.runs = slices.DeleteFunc(m.runs, func(a *run) bool {
		if a.name == "" {
			tooMany--
			return true
		}
		old := a.done() && now.Sub(a.finished) >= keepFor
		if !old && !(a.done() && tooMany > 0) {
			return false
		}
		if err := r.delete(ctx, m, a); err != nil {
			errs = append(errs, err)
			return false
		}
		tooMany--
		return true
	})
	if len(errs) > 0 {
		return errs[0] // the others are much the same
	}
	return nil
}

// delete removes an object. One that may not be deleted goes with its policy.
func (r *Runner) delete(ctx context.Context, m *memory, a *run) error {
	ctx, cancel, err := r.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(a.kind)
	o.SetNamespace(m.policy.Namespace)
	o.SetName(a.name)
	err = r.Client.Delete(ctx, o, client.Preconditions{UID: &a.uid}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	if err == nil || refused(err) || apierrors.IsConflict(err) {
		return nil
	}
	return fmt.Errorf("delete %s of the hook %s of %s: %w", a, a.purpose, m.name(), err)
}
