package prewarm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// Reasons of events.
const (
	reasonBegun    = "HookBegun"
	reasonReady    = "HookReady"
	reasonTimedOut = "HookTimedOut"
	reasonFailed   = "HookFailed"
)

const (
	// defaultTimeout is that of a hook without one.
	defaultTimeout = 5 * time.Minute
	// callTimeout bounds one request: decisions wait for it.
	callTimeout = time.Second
	// lookEvery is the least time between two looks at the same object, and between two
	// tries of what failed: decisions can be many in a second.
	lookEvery = 5 * time.Second
)

// errNotNow is why a request is not made in this decision. It is nobody's failure.
var errNotNow = errors.New("there is no time for it in this decision")

// request is the context of one request. There is none once the Budget is used up: a
// request that is begun has all its time, so that what it fails with is its own.
func (r *Runner) request(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if r.spent() {
		r.cutOff = true
		return nil, nil, errNotNow
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	return ctx, cancel, nil
}

// run is one run of a hook. One without a name has no object: it was given up, or
// there was nothing to do.
type run struct {
	purpose Purpose
	kind    schema.GroupVersionKind
	name    string
	uid     types.UID
	why     string
	// began is when the object was created, finished when it was seen that nothing is
	// waited for any more; zero while something is.
	began    time.Time
	finished time.Time
	// looked is when the object was last looked at.
	looked time.Time
}

func (r *run) done() bool { return !r.finished.IsZero() }

// due tells whether the object is to be looked at. At its timeout it always is: somebody
// may wait for that.
func (r *run) due(now time.Time, hook *v1alpha1.Hook) bool {
	since := now.Sub(r.looked)
	return !r.done() && (hook == nil || since < 0 || since >= lookEvery || now.Sub(r.began) >= timeout(hook))
}

func (r *run) String() string { return r.kind.Kind + " " + r.name }

func timeout(hook *v1alpha1.Hook) time.Duration {
	if d := hook.Timeout.Duration; d > 0 {
		return d
	}
	return defaultTimeout
}

func hookOf(policy *v1alpha1.LendingPolicy, purpose Purpose) *v1alpha1.Hook {
	switch hooks := policy.Spec.Hooks; {
	case hooks == nil || policy.Spec.Mode == v1alpha1.ModeAdvise:
		return nil
	case purpose == BeforeLend:
		return hooks.BeforeLend
	default:
		return hooks.BeforeReturn
	}
}

// hopeless wraps errors that trying again will not mend.
type hopeless struct{ error }

// begin runs a hook. It returns nil and an error while it is worth trying again, and a
// run without an object where it is not. What fails for as long as the hook may take is
// given up; not to be tried is no failure.
func (r *Runner) begin(ctx context.Context, m *memory, purpose Purpose, why string) (*run, error) {
	if r.resting(m) {
		return nil, errNotNow
	}
	hook, now := hookOf(m.policy, purpose), r.Clock.Now()
	created, err := (*run)(nil), m.unread
	if err == nil {
		created, err = r.create(ctx, m.policy, purpose, hook, why)
	}
	if errors.Is(err, errNotNow) || err != nil && ctx.Err() != nil { // the broker stops
		return nil, errNotNow
	}
	if err != nil && m.tried[purpose].IsZero() {
		m.tried[purpose] = now
	}
	if err != nil && !errors.As(err, new(hopeless)) && now.Sub(m.tried[purpose]) < timeout(hook) {
		if m.unread != nil {
			return nil, errNotNow // it has been said why
		}
		m.unread = errNotNow // it may have been created although the answer was lost
		return nil, fmt.Errorf("run the hook %s of %s: %w", purpose, m.name(), err)
	}
	delete(m.tried, purpose)
	if err != nil {
		r.say(m.policy, corev1.EventTypeWarning, reasonFailed, "%s: %v; lending went on without", purpose, err)
		return &run{purpose: purpose, why: why, began: now, finished: now}, nil
	}
	r.say(m.policy, corev1.EventTypeNormal, reasonBegun, "%s: created %s", purpose, created)
	created.began, created.looked = now, now
	m.runs = append(m.runs, created)
	return created, nil
}

func (r *Runner) create(ctx context.Context, policy *v1alpha1.LendingPolicy, purpose Purpose, hook *v1alpha1.Hook, why string) (*run, error) {
	o, err := build(policy, purpose, hook, why)
	if err != nil {
		return nil, hopeless{err}
	}
	kind := Kind{o.GetAPIVersion(), o.GetKind()}
	if !slices.Contains(r.Kinds, kind) {
		return nil, hopeless{fmt.Errorf("template: %s is not among hooks.kinds of the broker's configuration", kind)}
	}
	ctx, cancel, err := r.request(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	namespaced, err := r.Client.IsObjectNamespaced(o)
	switch {
	case meta.IsNoMatchError(err):
		return nil, hopeless{fmt.Errorf("template: %s is not installed in the cluster", kind)}
	case err != nil:
		return nil, fmt.Errorf("look up %s: %w", kind, err)
	case !namespaced:
		return nil, hopeless{fmt.Errorf("template: %s is not namespaced", kind)}
	}
	if err := r.Client.Create(ctx, o); err != nil {
		err = fmt.Errorf("create %s: %w", kind, err)
		if refused(err) {
			return nil, hopeless{err}
		}
		return nil, err
	}
	return &run{purpose: purpose, kind: o.GroupVersionKind(), name: o.GetName(), uid: o.GetUID(), why: why}, nil
}

// refused: the API server will say the same again.
func refused(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsNotFound(err) ||
		apierrors.IsMethodNotSupported(err) || apierrors.IsRequestEntityTooLargeError(err) || meta.IsNoMatchError(err)
}

// watch looks whether a run is done.
func (r *Runner) watch(ctx context.Context, m *memory, a *run) error {
	hook, now := hookOf(m.policy, a.purpose), r.Clock.Now()
	if hook == nil { // it is not wanted any more
		a.finished = now
		return nil
	}
	o, err := r.get(ctx, m.policy.Namespace, a)
	if errors.Is(err, errNotNow) {
		return err
	}
	a.looked = now
	switch {
	case err == nil && o.GetUID() == a.uid && ready(o, &hook.Until):
		a.finished = now
		r.say(m.policy, corev1.EventTypeNormal, reasonReady, "%s: %s became ready", a.purpose, a)
	case apierrors.IsNotFound(err) || (err == nil && o.GetUID() != a.uid):
		a.finished = now
		r.say(m.policy, corev1.EventTypeWarning, reasonFailed, "%s: %s was deleted; lending went on without", a.purpose, a)
		a.name = ""
	case now.Sub(a.began) >= timeout(hook):
		a.finished = now
		r.say(m.policy, corev1.EventTypeWarning, reasonTimedOut, "%s: waited %s for %s: %s; lending went on without",
			a.purpose, timeout(hook), a, wanted(&hook.Until))
	case err != nil:
		return fmt.Errorf("read %s of the hook %s of %s: %w", a, a.purpose, m.name(), err)
	}
	return nil
}

func (r *Runner) get(ctx context.Context, namespace string, a *run) (*unstructured.Unstructured, error) {
	ctx, cancel, err := r.request(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(a.kind)
	return o, r.Live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: a.name}, o)
}

// say writes an event on the policy.
func (r *Runner) say(policy *v1alpha1.LendingPolicy, how, reason, note string, args ...any) {
	if r.Recorder == nil {
		return
	}
	on := &corev1.ObjectReference{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: "LendingPolicy",
		Namespace: policy.Namespace, Name: policy.Name, UID: policy.UID,
	}
	text := fmt.Sprintf(note, args...)
	r.Recorder.Eventf(on, nil, how, reason, "Prewarm", "%s", strings.ToValidUTF8(text[:min(len(text), mostOfNote)], ""))
}

// mostOfNote is the API server's bound on an event's note.
const mostOfNote = 1024
