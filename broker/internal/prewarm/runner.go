package prewarm

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// Runner runs hooks. Its fields are set before the first call; it is to be used from
// one goroutine.
type Runner struct {
	// Client creates and deletes; Live reads around the caches, so that no kind is
	// watched for a hook.
	Client client.Client
	Live   client.Reader
	// Recorder sends events; nil: none.
	Recorder events.EventRecorder
	Clock    clock.PassiveClock
	// Kinds of which objects may be created.
	Kinds []Kind
	// Budget is how long one Reconcile may take, since the next decision waits for it; 0
	// is a second.
	Budget time.Duration

	policies map[types.UID]*memory
	// next is whose turn did not come the last time; empty: everybody's did.
	next string
}

// memory is what is known of one policy's runs.
type memory struct {
	policy *v1alpha1.LendingPolicy
	// read: what earlier brokers created has been looked up.
	read bool
	// runs that have an object, the oldest first.
	runs []*run
	// lending is the BeforeLend of this time of lending; nil before it has begun.
	lending *run
	// asked is what a BeforeReturn that has yet to begin is for; empty: none has.
	asked string
	// returned is when the last BeforeReturn began, window what the last one for a
	// window was for.
	returned time.Time
	window   string
	// tried is since when it has been tried in vain to create an object.
	tried map[Purpose]time.Time
}

func (m *memory) name() string { return m.policy.Namespace + "/" + m.policy.Name }

// State is what the policy's BeforeLend has come to; nil if it has none.
func (r *Runner) State(policy *v1alpha1.LendingPolicy) *lend.Preparation {
	hook := hookOf(policy, BeforeLend)
	if hook == nil {
		return nil
	}
	m := r.policies[policy.UID]
	switch {
	case m == nil || !m.read && m.lending == nil:
		// What was lent before this broker began was prepared by another.
		return &lend.Preparation{Done: policy.Status.Lent > 0, Message: "the hook before-lend has yet to run"}
	case m.lending == nil:
		return &lend.Preparation{Message: "the hook before-lend has yet to run"}
	case m.lending.done():
		return &lend.Preparation{Done: true}
	}
	return &lend.Preparation{Message: "the hook before-lend waits for " + m.lending.String() + ": " + wanted(&hook.Until)}
}

// Reconcile does what a decision makes due, and looks after what runs. It is called
// after each decision was carried out, with all policies by namespace/name. What fails
// is tried again the next time; the errors are joined. It takes no longer than the Budget:
// whose turn did not come is first the next time.
func (r *Runner) Reconcile(ctx context.Context, policies map[string]*v1alpha1.LendingPolicy, s *lend.Snapshot, plan *lend.Plan) error {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(r.Budget, time.Second))
	defer cancel()
	known := map[types.UID]*memory{}
	var errs []error
	late := ""
	for _, name := range r.inTurn(policies) {
		policy := policies[name]
		m := r.policies[policy.UID]
		if m == nil && policy.Spec.Hooks == nil {
			continue
		}
		if m == nil {
			m = &memory{tried: map[Purpose]time.Time{}}
		}
		m.policy = policy
		switch {
		case ctx.Err() == nil:
			if err := r.policy(ctx, m, newTide(name, s, plan)); err != nil {
				errs = append(errs, err)
			}
		case late == "":
			late = name
		}
		if len(m.runs) > 0 || policy.Spec.Hooks != nil {
			known[policy.UID] = m
		}
	}
	r.policies, r.next = known, late
	return errors.Join(errs...)
}

// inTurn lists the policies by name, beginning with the one whose turn it is.
func (r *Runner) inTurn(policies map[string]*v1alpha1.LendingPolicy) []string {
	names := slices.Sorted(maps.Keys(policies))
	at, _ := slices.BinarySearch(names, r.next)
	return slices.Concat(names[at:], names[:at])
}

// policy is one policy's part of Reconcile.
func (r *Runner) policy(ctx context.Context, m *memory, t *tide) error {
	var errs []error
	if !m.read {
		if err := r.read(ctx, m); err != nil {
			return err
		}
	}
	for _, a := range m.runs {
		if !a.done() {
			errs = append(errs, r.watch(ctx, m, a))
		}
	}
	errs = append(errs, r.beforeLend(ctx, m, t), r.beforeReturn(ctx, m, t), r.clean(ctx, m))
	return errors.Join(errs...)
}

// beforeLend runs the hook once for each time of lending.
func (r *Runner) beforeLend(ctx context.Context, m *memory, t *tide) (err error) {
	switch {
	case hookOf(m.policy, BeforeLend) == nil || t.over():
		if m.lending != nil && !m.lending.done() {
			m.lending.finished = r.Clock.Now()
		}
		m.lending = nil
		delete(m.tried, BeforeLend)
	case m.lending != nil:
	case t.lent > 0: // a hook that is younger than what is lent
		m.lending = &run{purpose: BeforeLend, finished: r.Clock.Now()}
	case t.prepares():
		m.lending, err = r.begin(ctx, m, BeforeLend, "")
	}
	return err
}

// beforeReturn runs the hook once for each tide and for each window.
func (r *Runner) beforeReturn(ctx context.Context, m *memory, t *tide) error {
	hook := hookOf(m.policy, BeforeReturn)
	if hook == nil {
		m.asked = ""
		delete(m.tried, BeforeReturn)
		return nil
	}
	if m.asked == "" {
		if slices.ContainsFunc(m.runs, func(a *run) bool { return a.purpose == BeforeReturn && !a.done() }) {
			return nil
		}
		if window := t.window(timeout(hook)); window != "" && window != m.window {
			m.asked = window
		} else if t.asksBack(m.returned) {
			m.asked = forReclaim
		}
	}
	if m.asked == "" {
		return nil
	}
	begun, err := r.begin(ctx, m, BeforeReturn, m.asked)
	if err != nil {
		return err
	}
	m.remember(begun)
	m.asked = ""
	return nil
}

// remember what the last BeforeReturn was for.
func (m *memory) remember(a *run) {
	if a.began.After(m.returned) {
		m.returned = a.began
	}
	if a.why != forReclaim && a.why > m.window { // they sort as they come
		m.window = a.why
	}
}
