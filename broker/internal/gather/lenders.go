package gather

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/autoscaler"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
	"github.com/ebbtide/ebbtide/broker/internal/signal"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// lender is a LendingPolicy on its way into the snapshot.
type lender struct {
	lend.Lender
	policy *v1alpha1.LendingPolicy
	target types.UID // empty if unknown
	specs  []signal.Spec
	// serving are the pods that can be read: those that are ready or were.
	serving []signal.Pod
	// ready has since when each ready pod serves, by name; failing are the names of
	// those that served and do not now.
	ready   map[string]time.Time
	failing []string
	// opinion is what the target's autoscalers say.
	opinion autoscaler.Opinion
	// missing says why what they look at cannot be read, by signal.
	missing signal.Missing
	// refused says why the target is not scaled although the policy wants it.
	refused *lend.Problem
	// starts are how the ready pods began to serve.
	starts []start
	// notes are what the policy's owner should know, though nothing is decided by it.
	notes []string
	// stuck are the pods without a node that could not run if all units were free.
	stuck []string
	// pinned slices of each GPU, of the profile, are kept by spec.mig, and sliced is what
	// came of it.
	pinned  int
	profile string
	sliced  *Slices
	// reshaped: some of its slices are made into others now, or are to be.
	reshaped bool
}

// problem keeps a lender's first problem.
func (l *lender) problem(reason, format string, args ...any) {
	if l.Problem == nil {
		l.Problem = &lend.Problem{Reason: reason, Message: fmt.Sprintf(format, args...)}
	}
}

// lenders resolves all policies, by name.
func (g *Gatherer) lenders(ctx context.Context, in *inputs, t *tenancy) ([]*lender, error) {
	lenders := make([]*lender, 0, len(in.policies.Items))
	for i := range in.policies.Items {
		l, err := g.lender(ctx, &in.policies.Items[i], in, t)
		if err != nil {
			return nil, err
		}
		lenders = append(lenders, l)
	}
	slices.SortFunc(lenders, func(a, b *lender) int { return cmp.Compare(a.Name, b.Name) })
	seen := map[types.UID]string{}
	for _, l := range lenders {
		if l.target == "" {
			continue
		}
		if first := seen[l.target]; first != "" {
			l.problem(ReasonDuplicateTarget, "spec.targetRef: LendingPolicy %s has the same target", first)
			l.target = "" // its pods are counted once, for the first
			continue
		}
		seen[l.target] = l.Name
	}
	return lenders, nil
}

func (g *Gatherer) lender(ctx context.Context, p *v1alpha1.LendingPolicy, in *inputs, t *tenancy) (*lender, error) {
	l := &lender{policy: p, ready: map[string]time.Time{}}
	l.Name = p.Namespace + "/" + p.Name
	l.Advise = p.Spec.Mode == v1alpha1.ModeAdvise
	l.rules(&p.Spec)
	l.Tenant = t.ofNamespace[p.Namespace]
	if l.Tenant == "" {
		l.problem(lend.ReasonUnknownTenant, "namespace %s belongs to no single TenantQuota", p.Namespace)
	}
	target, problem, err := g.target(ctx, p.Namespace, p.Spec.TargetRef, in.found)
	if err != nil {
		return nil, err
	}
	if problem != nil {
		l.problem(problem.Reason, "%s", problem.Message)
		return l, nil
	}
	l.target = target.uid
	l.opinion = in.autoscalers.Of(refOf(p))
	l.notes = append(l.notes, l.opinion.Notes...)
	if !target.scalable && l.opinion.None() {
		l.opinion.Blind = "nothing says how many replicas " + p.Spec.TargetRef.Kind + " " + p.Spec.TargetRef.Name + " should have: no PodAutoscaler of its Revisions was found"
	}
	l.Desired = max(target.replicas, l.opinion.Desired)
	unread := unreadAutoscalers(in.found)
	l.holds(target.rolling, unread)
	l.scaling(target, unread)
	if flavor := l.flavor(t.own[l.Tenant], &target.template); flavor != nil {
		l.Flavor = flavor.Name
		l.UnitsPerPod = jobs.UnitsOf(&target.template.Spec, flavor.Resource)
		l.slices(flavor)
	}
	switch {
	case p.Spec.Owned != nil:
		l.Owned = *p.Spec.Owned
	case l.opinion.Max > 0:
		l.Owned = product(l.opinion.Max, l.UnitsPerPod)
	case l.Scale != nil:
		l.Owned = product(l.Scale.Max, l.UnitsPerPod)
	default:
		l.problem(ReasonOwnedUnknown, "spec.owned is not set, and no autoscaler of %s %s says how many replicas it may have", p.Spec.TargetRef.Kind, p.Spec.TargetRef.Name)
	}
	return l, nil
}

// rules takes over what the spec says without the cluster.
func (l *lender) rules(spec *v1alpha1.LendingPolicySpec) {
	l.LowWater = l.percent("spec.lowWater", spec.LowWater)
	l.HighWater = l.percent("spec.highWater", spec.HighWater)
	// The API server has filled these in; an object without them is as careful as
	// its defaults.
	careful := metav1.Duration{Duration: v1alpha1.DefaultDwell}
	l.Dwell, l.Cooldown = ptr.Deref(spec.Dwell, careful).Duration, ptr.Deref(spec.Cooldown, careful).Duration
	l.MaxGrace, l.Warm = spec.Reclaim.MaxGrace.Duration, ptr.Deref(spec.Headroom.Warm, v1alpha1.DefaultWarm)
	if spec.Headroom.Refill == v1alpha1.RefillWhenUsed {
		l.Refill = lend.RefillWhenUsed
	}
	specs, err := signal.Specs(spec.Signals)
	if err != nil {
		l.problem(ReasonInvalidPolicy, "%v", err)
	}
	l.specs = specs
}

func (l *lender) percent(path, text string) float64 {
	n, err := strconv.Atoi(strings.TrimSuffix(text, "%"))
	if err != nil || n < 0 || n > 100 {
		l.problem(ReasonInvalidPolicy, "%s: %q is not a share from 0%% to 100%%", path, text)
		return 0
	}
	return float64(n) / 100
}

// flavor is the one the policy names, or the only one that the template asks for.
func (l *lender) flavor(own []*Flavor, template *corev1.PodTemplateSpec) *Flavor {
	if name := l.policy.Spec.Flavor; name != "" {
		i := slices.IndexFunc(own, func(f *Flavor) bool { return f.Name == name })
		if i < 0 {
			l.problem(lend.ReasonUnknownFlavor, "spec.flavor: the quota of tenant %s has no flavor %s", l.Tenant, name)
			return nil
		}
		if jobs.UnitsOf(&template.Spec, own[i].Resource) == 0 {
			l.problem(ReasonNoUnits, "the pods of %s ask for no %s", l.policy.Spec.TargetRef.Name, own[i].Resource)
			return nil
		}
		return own[i]
	}
	flavor, why := onlyFlavor(template, own)
	if flavor == nil {
		l.problem(lend.ReasonUnknownFlavor, "the pods of %s %s", l.policy.Spec.TargetRef.Name, why)
	}
	return flavor
}

// onlyFlavor is the one flavor that a template asks for, or why there is none.
func onlyFlavor(template *corev1.PodTemplateSpec, own []*Flavor) (*Flavor, string) {
	switch found := asked(template, own); len(found) {
	case 0:
		return nil, "ask for no flavor of their tenant's quota"
	case 1:
		if other := otherGPU(&template.Spec, found[0].Resource); other != "" {
			return nil, fmt.Sprintf("ask for %s beside %s: a pod has units of one flavor", other, found[0].Resource)
		}
		return found[0], ""
	default:
		return nil, fmt.Sprintf("could be of flavor %s or %s: name its nodeSelector in the pod template", found[0].Name, found[1].Name)
	}
}

// count adds a pod of the lender's target.
func (l *lender) count(pod *corev1.Pod, nodes map[string][]*corev1.Node) {
	switch {
	case pod.DeletionTimestamp != nil:
	case pod.Spec.NodeName != "":
		l.Running++
		switch since, ready := readySince(pod); {
		case ready:
			l.Ready++
			l.ready[pod.Name] = since
			if s, ok := started(pod, since); ok {
				l.starts = append(l.starts, s)
			}
			l.serving = append(l.serving, signal.Pod{Name: pod.Name, IP: pod.Status.PodIP})
		case failing(pod):
			l.failing = append(l.failing, pod.Name)
			l.serving = append(l.serving, signal.Pod{Name: pod.Name, IP: pod.Status.PodIP})
		}
	default:
		l.pending(pod, nodes[l.Flavor])
	}
}

// finish joins the load and what is expected of it, and returns the snapshot's part.
func (g *Gatherer) finish(l *lender, now time.Time) lend.Lender {
	slices.SortFunc(l.Pending, func(a, b lend.PendingPod) int { return cmp.Compare(a.Name, b.Name) })
	if l.target != "" {
		replicas := signal.Replicas{Wanted: l.Desired, Failing: slices.Sorted(slices.Values(l.failing))}
		for _, name := range slices.Sorted(maps.Keys(l.ready)) {
			replicas.Ready = append(replicas.Ready, name)
			if now.Sub(l.ready[name]) < g.YoungReplica {
				replicas.Young = append(replicas.Young, name)
			}
		}
		sample, _ := g.Signals.Latest(l.Name)
		sample = sample.With(nil, l.missing)
		l.Load = signal.Combine(l.specs, sample, replicas, now)
	} else {
		l.Load = lend.Load{Unknown: "the target is not known"}
	}
	g.outlook(l, now)
	g.reshaping(l)
	return l.Lender
}
