package ebbtide

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// city is a small world of which one thing changes.
type city struct {
	*world
	rt       *rapid.T
	loansNow []*v1alpha1.Loan
	bound    []*corev1.Pod
	pending  []*corev1.Pod
	// children are Jobs between JobSets and pods that the plugin has yet to be told of.
	children map[string]*batchv1.Job
	// placed are those that found a place. They do not take it: only one thing changes.
	placed map[types.UID]bool
}

// event is one change as its two listeners hear of it, either of them first. What is in the
// informers' stores is there by then.
type event struct {
	name string
	// queue is the scheduler's own: its snapshot changes, and it asks whom that may help.
	queue func()
	hint  func(*corev1.Pod) (fwk.QueueingHint, error)
	// plugin is the plugin's.
	plugin func()
}

// Whatever changes, a pod that was refused before and would find a place now is tried again,
// after all that decides about it is known.
func TestNobodyWaitsWhoFindsAPlace(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := drawCity(t, rt)
		for i := range rapid.IntRange(1, 8).Draw(rt, "events") {
			for _, p := range c.pending {
				if !c.placed[p.UID] && i > 0 {
					continue // it was refused, and sleeps
				}
				c.tries(p)
			}
			c.triesWoken(nil)
			c.happens(c.drawEvent(i))
		}
	})
}

// happens lets both hear of the event, and then nobody may sleep who finds a place.
func (c *city) happens(e event) {
	heard := []func(){
		func() { c.hears(e.queue); c.triesWoken(e.hint) },
		func() { c.hears(e.plugin); c.triesWoken(nil) },
	}
	if rapid.Bool().Draw(c.rt, "the plugin is first") {
		slices.Reverse(heard)
	}
	for _, hear := range heard {
		hear()
	}
	for _, p := range c.pending {
		if c.placed[p.UID] {
			continue
		}
		if c.tries(p); c.placed[p.UID] {
			c.rt.Fatalf("%s: pod %s finds a place, and nobody tries it", e.name, p.Name)
		}
	}
}

func (c *city) hears(listener func()) {
	if listener != nil {
		listener()
	}
}

// finds reports whether the pod finds a place; refused is why not.
func (c *city) finds(state *state, p *corev1.Pod, refused statuses) bool {
	ctx := c.t.Context()
	if !c.Ebbtide.PreEnqueue(ctx, p).IsSuccess() {
		return false
	}
	named, s := c.Ebbtide.PreFilter(ctx, state, p, c.infos())
	for _, n := range c.nodes {
		switch {
		case !s.IsSuccess():
			refused[n.node.Name] = s
		case !named.AllNodes() && !named.NodeNames.Has(n.node.Name):
			refused[n.node.Name] = fwk.NewStatus(fwk.UnschedulableAndUnresolvable, "not named")
		default:
			if refused[n.node.Name] = c.handle.RunFilterPluginsWithNominatedPods(ctx, state, p, n); refused[n.node.Name].IsSuccess() {
				return true
			}
		}
	}
	return false
}

// tries runs a cycle of the pod.
func (c *city) tries(p *corev1.Pod) {
	state, refused := newState(), statuses{}
	if c.placed[p.UID] = c.finds(state, p, refused); !c.placed[p.UID] && len(refused) > 0 {
		c.makeRoom(state, p, refused)
	}
}

// triesWoken tries the pods that were woken, and those whom these wake.
func (c *city) triesWoken(hint func(*corev1.Pod) (fwk.QueueingHint, error)) {
	for round := 0; ; round++ {
		must(c.t, c.sweep(c.t.Context()))
		woken := map[string]bool{}
		for _, name := range c.activated {
			woken[name] = true
		}
		c.activated = nil
		for _, p := range c.pending {
			if hint != nil && !c.placed[p.UID] {
				if h, err := hint(p); err != nil || h == fwk.Queue {
					woken[p.Namespace+"/"+p.Name] = true
				}
			}
		}
		hint = nil
		if len(woken) == 0 {
			return
		}
		if round > 20 {
			c.rt.Fatalf("they wake each other without end: %v", slices.Sorted(maps.Keys(woken)))
		}
		for _, p := range c.pending {
			if woken[p.Namespace+"/"+p.Name] && !c.placed[p.UID] {
				c.tries(p)
			}
		}
	}
}

func (c *city) pick(what string, of ...string) string { return rapid.SampledFrom(of).Draw(c.rt, what) }

func (c *city) upTo(what string, n int) int64 { return int64(rapid.IntRange(0, n).Draw(c.rt, what)) }

func (c *city) some(what string, of ...int64) int64 { return rapid.SampledFrom(of).Draw(c.rt, what) }

// drawCity has three nodes of two flavors, loans of lent and of own units, and pods of all
// kinds. Nobody makes way or is taken back for anybody, which would be a change too.
func drawCity(t *testing.T, rt *rapid.T) *city {
	c := &city{world: newWorld(t), rt: rt, children: map[string]*batchv1.Job{}, placed: map[types.UID]bool{}}
	for name, units := range map[string]int64{"h1": 4, "h2": 3, "a1": 1} {
		n := c.node(name, 4, 64)
		n.node.Labels["gpu"] = name[:1] + "100"
		c.offers(n, units)
	}
	slices.SortFunc(c.nodes, func(a, b *node) int { return cmp.Compare(a.node.Name, b.node.Name) })
	for _, name := range []string{"serving", "research"} {
		c.quota(name, c.some("h100 of "+name, 8, 4, 2), c.some("a100 of "+name, 4, 1))
	}
	for i := range rapid.IntRange(0, 3).Draw(rt, "loans") {
		c.drawLoan(fmt.Sprint("l", i))
	}
	for i := range rapid.IntRange(0, 6).Draw(rt, "pods on nodes") {
		n := c.nodes[rapid.IntRange(0, 2).Draw(rt, "node")]
		if n.scalar(gpu) < n.allocatable[gpu] {
			c.bound = append(c.bound, c.drawPod(fmt.Sprint("b", i), n))
		}
	}
	for i := range rapid.IntRange(1, 5).Draw(rt, "pods that wait") {
		c.pending = append(c.pending, c.drawPod(fmt.Sprint("p", i), nil))
	}
	c.sync()
	for _, l := range c.loansNow {
		c.noteHolds(klog.Background(), l, false)
	}
	c.taken = newTaken()
	if len(c.loansNow) > 0 && rapid.IntRange(0, 3).Draw(rt, "one is taken back") == 0 {
		c.taken.add(c.loansNow[0], lentMessage)
	}
	c.activated = nil
	return c
}

// offers sets what the node has.
func (c *city) offers(n *node, units int64) {
	n.allocatable[gpu] = units
	n.node = offering(n.node, units)
}

// quota sets what the tenant has of either flavor.
func (c *city) quota(name string, h100, a100 int64) (old, now *v1alpha1.TenantQuota) {
	obj, _, err := c.quotas.GetByKey(name)
	must(c.t, err)
	old = obj.(*v1alpha1.TenantQuota)
	now = old.DeepCopy()
	now.Generation++
	now.Spec.Flavors = []v1alpha1.FlavorQuota{
		{Name: "a100", Resource: gpu, NodeSelector: map[string]string{"gpu": "a100"}, Nominal: a100},
		{Name: "h100", Resource: gpu, NodeSelector: map[string]string{"gpu": "h100"}, Nominal: h100},
	}
	must(c.t, c.quotas.Update(now))
	return old, now
}

func (c *city) drawLoan(name string) *v1alpha1.Loan {
	c.time.Step(time.Second)
	lender := c.pick("lender", "", "serving/chat", "serving/chat")
	var grants []v1alpha1.Grant
	for _, node := range []string{"h1", "h2"} {
		if count := c.upTo("granted on "+node, 4); count > 0 {
			grants = append(grants, v1alpha1.Grant{Lender: lender, Node: node, Count: count})
		}
	}
	if len(grants) == 0 {
		grants = []v1alpha1.Grant{{Lender: lender, Node: "h1", Count: 1}}
	}
	l := c.loan(name, int32(v1alpha1.Units(grants)), 1, grants...)
	if c.pick("kind", "Job", "JobSet") == "JobSet" {
		c.forJob(l, v1alpha1.JobRef{APIVersion: kindJobSet.GroupVersion().String(), Kind: kindJobSet.Kind, Name: name, UID: types.UID("JobSet-" + name), SuspendPath: "/spec/suspend"})
		child := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: l.Namespace, Name: name + "-workers-0", UID: types.UID("child-" + name)}}
		controlledBy(child, kindJobSet, name, l.Spec.Job.UID)
		if c.children[name] = child; rapid.IntRange(0, 3).Draw(c.rt, "the child is known") == 0 {
			c.know(child)
		}
	}
	if rapid.Bool().Draw(c.rt, "it has another state") {
		l = c.drawState(l)
		must(c.t, c.loans.Update(l))
	}
	c.loansNow = append(c.loansNow, l)
	return l
}

// drawState returns the loan as it may be next.
func (c *city) drawState(l *v1alpha1.Loan) *v1alpha1.Loan {
	l = l.DeepCopy()
	now := metav1.NewTime(c.time.Now())
	l.Status = v1alpha1.LoanStatus{}
	set := func(name string) {
		l.Status.Conditions = append(l.Status.Conditions, metav1.Condition{Type: name, Status: metav1.ConditionTrue, LastTransitionTime: now})
	}
	switch c.pick("state", "open", "shedding", "shedding", "shed", "reclaiming", "returned") {
	case "shedding":
		l.Status.Shedding = c.drawPart(l)
	case "shed":
		l.Status.Shed = c.drawPart(l)
	case "returned":
		set(v1alpha1.LoanReturned)
		fallthrough
	case "reclaiming":
		set(v1alpha1.LoanReclaiming)
		if l.Status.ReclaimBy = &now; rapid.Bool().Draw(c.rt, "for a job") {
			l.Status.ReclaimedFor = "somebody"
		}
	}
	return l
}

func (c *city) drawPart(l *v1alpha1.Loan) []v1alpha1.Grant {
	part := slices.Clone(l.Spec.Grants)
	for i := range part {
		part[i].Count = c.upTo("shed of a grant", int(part[i].Count))
	}
	return slices.DeleteFunc(part, func(g v1alpha1.Grant) bool { return g.Count == 0 })
}

// drawPod makes a pod of a loan's job, or a bare one.
func (c *city) drawPod(name string, on *node) *corev1.Pod {
	var p *corev1.Pod
	if len(c.loansNow) > 0 && rapid.Bool().Draw(c.rt, "on a loan") {
		l := c.loansNow[rapid.IntRange(0, len(c.loansNow)-1).Draw(c.rt, "loan")]
		if p = c.borrowed(l, name, on); !batch(l) {
			controlledBy(p, kindJob, l.Spec.Job.Name+"-workers-0", types.UID("child-"+l.Spec.Job.Name))
		}
	} else {
		p = c.pod(name, c.pick("namespace", "serving", "research", "nowhere"), -100, 1+c.upTo("units", 2), on)
		if p.Namespace == "serving" && rapid.Bool().Draw(c.rt, "online") {
			p.Spec.Priority = ptr.To[int32](v1alpha1.PriorityOnline)
		}
	}
	p.Spec.PreemptionPolicy = ptr.To(corev1.PreemptNever)
	c.put(p)
	return p
}

// drawEvent changes one thing in the stores, and returns how that is heard of.
func (c *city) drawEvent(i int) event {
	logger := klog.Background()
	what := c.pick("event", "quota", "namespace", "node", "time", "pod goes", "pod is another", "pod is another", "loan is made", "loan changes", "loan changes", "loan changes",
		"loan goes", "loan is another", "loan is another", "chain", "chain", "job", "taken back", "pod changes")
	e := event{name: what}
	switch what {
	case "quota":
		old, now := c.quota(c.pick("whose", "serving", "research"), c.some("h100", 8, 4, 2), c.some("a100", 4, 1))
		e.plugin = func() { c.onQuota(logger).OnUpdate(old, now) }
	case "namespace":
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "nowhere", Labels: map[string]string{"team": c.pick("team", "serving", "research", "none")}}}
		old, known, err := c.spaces.GetByKey(ns.Name)
		must(c.t, err)
		must(c.t, c.spaces.Add(ns))
		if e.plugin = func() { c.onNamespace(logger).OnAdd(ns, false) }; known {
			e.plugin = func() { c.onNamespace(logger).OnUpdate(old, ns) }
		}
	case "node":
		n := c.nodes[rapid.IntRange(0, 2).Draw(c.rt, "node")]
		old, now := n.node, n.node.DeepCopy()
		now.Labels["gpu"] = c.pick("product", "h100", "a100")
		units := n.allocatable[gpu] + c.upTo("more units", 2)
		e.queue = func() { n.node = now; c.offers(n, units); now = n.node }
		e.hint = func(p *corev1.Pod) (fwk.QueueingHint, error) { return c.afterNode(logger, p, old, n.node) }
		e.plugin = func() { c.onNode(logger).OnUpdate(old, now) }
	case "time":
		e.plugin = func() { c.time.Step(time.Minute) }
	default:
		c.drawPodEvent(&e)
		c.drawLoanEvent(&e, i)
	}
	return e
}

func (c *city) drawPodEvent(e *event) {
	logger := klog.Background()
	if e.name == "pod changes" {
		p := c.pending[rapid.IntRange(0, len(c.pending)-1).Draw(c.rt, "pod")]
		now := p.DeepCopy()
		now.OwnerReferences, now.Labels = nil, nil
		c.put(now)
		e.queue = func() { p.OwnerReferences, p.Labels = nil, nil }
		old := p.DeepCopy()
		e.plugin = func() { c.onPod(logger).OnUpdate(old, now) }
	}
	if len(c.bound) == 0 || e.name != "pod goes" && e.name != "pod is another" {
		return
	}
	at := rapid.IntRange(0, len(c.bound)-1).Draw(c.rt, "pod")
	p := c.bound[at]
	c.bound = slices.Delete(c.bound, at, at+1)
	n := c.nodes[slices.IndexFunc(c.nodes, func(n *node) bool { return n.node.Name == p.Spec.NodeName })]
	must(c.t, c.pods.Delete(p))
	e.queue = func() { must(c.t, n.RemovePod(logger, p)) }
	e.hint = func(waits *corev1.Pod) (fwk.QueueingHint, error) { return c.afterPodDelete(logger, waits, p, nil) }
	e.plugin = func() { c.onPod(logger).OnDelete(p) }
	if e.name == "pod is another" {
		anew := c.pod(p.Name, p.Namespace, -100, 1, nil)
		anew.UID = p.UID + "-anew"
		c.put(anew)
		e.plugin = func() { c.onPod(logger).OnUpdate(p, anew) }
	}
}

func (c *city) drawLoanEvent(e *event, i int) {
	if e.name == "loan is made" {
		l := c.drawLoan(fmt.Sprint("new-", i))
		e.plugin = func() { c.onLoan(klog.Background()).OnAdd(l, false) }
		return
	}
	if len(c.loansNow) == 0 {
		return
	}
	logger := klog.Background()
	at := rapid.IntRange(0, len(c.loansNow)-1).Draw(c.rt, "loan")
	l := c.loansNow[at]
	switch e.name {
	case "loan changes":
		now := c.drawState(l)
		c.loansNow[at] = now
		must(c.t, c.loans.Update(now))
		e.plugin = func() { c.onLoan(logger).OnUpdate(l, now) }
	case "loan is another":
		now := c.drawState(l)
		c.loansNow[at] = now
		now.UID, now.Spec.Grants[0].Node = l.UID+"-anew", c.pick("node", "h1", "h2")
		must(c.t, c.loans.Update(now))
		e.plugin = func() { c.onLoan(logger).OnUpdate(l, now) }
	case "loan goes":
		c.loansNow = slices.Delete(c.loansNow, at, at+1)
		must(c.t, c.loans.Delete(l))
		e.plugin = func() { c.onLoan(logger).OnDelete(l) }
	case "chain":
		if child := c.children[l.Spec.Job.Name]; child != nil {
			e.plugin = func() { c.onJob(logger).OnAdd(child, false) }
		}
	case "job":
		if !batch(l) {
			return
		}
		old := c.jobOf(l)
		now := old.DeepCopy()
		now.Spec.Suspend = ptr.To(!isSuspended(old))
		c.putJob(now)
		e.plugin = func() { c.onJob(logger).OnUpdate(old, now) }
	case "taken back":
		e.plugin = func() { c.reclaim(c.t.Context(), l, lentMessage) }
	}
}
