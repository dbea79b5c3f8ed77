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
	// Budget is how long one Reconcile begins requests, since the next decision waits
	// for it; 0 is a second. One that has begun may take a second.
	Budget time.Duration

	policies map[types.UID]*memory
	// next is whose turn was cut off the last time; empty: nobody's was.
	next string
	// spent: this Reconcile's Budget is used up, and cutOff: so a request was not made.
	spent  func() bool
	cutOff bool
}

// memory is what is known of one policy's runs.
type memory struct {
	policy *v1alpha1.LendingPolicy
	// unread is why it is not known what earlier brokers created, errNotNow while it was
	// not looked up; nil: it is known. Of the kinds that may be created, seen were looked at.
	unread error
	seen   int
	// runs that have an object, the oldest first.
	runs []*run
	// lending is the BeforeLend of this time of lending; nil before it has begun.
	lending *run
	// asked is what a BeforeReturn that has yet to begin is for; empty: none has.
	asked string
	// back is when the youngest unit was lent that has been asked back: a decision says
	// so once, and perhaps when there is no time for hooks.
	back time.Time
	// returned is when the last BeforeReturn began, window what the last one for a
	// window was for.
	returned time.Time
	window   string
	// tried is since when it has been tried in vain to create an object; what failed is
	// not tried again before rest.
	tried map[Purpose]time.Time
	rest  time.Time
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
	case m == nil || m.unread != nil && m.lending == nil:
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
// is tried again the next time, but not within five seconds; the errors are joined. Once
// the Budget is used up no request is begun: whose turn that cuts off is first the next
// time, unless it was first already and so had all of the Budget.
func (r *Runner) Reconcile(ctx context.Context, policies map[string]*v1alpha1.LendingPolicy, s *lend.Snapshot, plan *lend.Plan) error {
	budget, cancel := context.WithTimeout(ctx, cmp.Or(r.Budget, time.Second))
	defer cancel()
	r.spent = func() bool { return budget.Err() != nil }
	known := map[types.UID]*memory{}
	var errs []error
	var late []string
	first := ""
	for _, name := range r.inTurn(policies) {
		policy := policies[name]
		m := r.policies[policy.UID]
		if m == nil && policy.Spec.Hooks == nil {
			continue
		}
		if m == nil {
			m = &memory{unread: errNotNow, tried: map[Purpose]time.Time{}}
		}
		m.policy = policy
		first = cmp.Or(first, name)
		r.cutOff = false
		errs = append(errs, r.policy(ctx, m, newTide(name, s, plan)))
		if r.cutOff {
			late = append(late, name)
		}
		if len(m.runs) > 0 || policy.Spec.Hooks != nil {
			known[policy.UID] = m
		}
	}
	r.policies, r.next = known, ""
	if len(late) > 1 && late[0] == first {
		late = late[1:]
	}
	if len(late) > 0 {
		r.next = late[0]
	}
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
	now := r.Clock.Now()
	if last := t.lentLast(); last.After(m.back) {
		m.back = last
	}
	var looks []error
	for _, a := range m.runs {
		if a.due(now, hookOf(m.policy, a.purpose)) {
			looks = append(looks, r.watch(ctx, m, a))
		}
	}
	failed := failures(r.read(ctx, m), r.beforeLend(ctx, m, t), r.beforeReturn(ctx, m, t), r.clean(ctx, m))
	if failed != nil {
		m.rest = now.Add(lookEvery)
	}
	return errors.Join(failures(looks...), failed)
}

// resting: something failed a moment ago. A clock that was far ahead does not count.
func (r *Runner) resting(m *memory) bool {
	left := m.rest.Sub(r.Clock.Now())
	return left > 0 && left <= lookEvery
}

// failures joins what failed; what was not tried did not.
func failures(errs ...error) error {
	return errors.Join(slices.DeleteFunc(errs, func(err error) bool { return errors.Is(err, errNotNow) })...)
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
		m.asked, m.back = "", time.Time{}
		delete(m.tried, BeforeReturn)
		return nil
	}
	if slices.ContainsFunc(m.runs, func(a *run) bool { return a.purpose == BeforeReturn && !a.done() }) {
		return nil // what is asked back meanwhile comes after it
	}
	if m.asked == "" {
		if window := t.window(timeout(hook)); window != "" && window != m.window {
			m.asked = window
		} else if m.back.After(m.returned) {
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
