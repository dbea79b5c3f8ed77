package account

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/lineage"
)

const (
	gpu = "nvidia.com/gpu"
	mig = "nvidia.com/mig-1g.10gb"
)

// cluster is an account and, beside it, the facts that it was told.
type cluster struct {
	*Account
	chains *lineage.Lineage
	quotas map[string]*v1alpha1.TenantQuota
	spaces map[string]*corev1.Namespace
	nodes  map[string]*corev1.Node
	loans  map[types.UID]*v1alpha1.Loan
	pods   map[types.UID]*Placed
}

func newCluster() *cluster {
	chains := &lineage.Lineage{}
	return &cluster{New(chains), chains, map[string]*v1alpha1.TenantQuota{}, map[string]*corev1.Namespace{}, map[string]*corev1.Node{}, map[types.UID]*v1alpha1.Loan{}, map[types.UID]*Placed{}}
}

func (c *cluster) facts() Facts {
	f := Facts{
		Quotas: slices.Collect(maps.Values(c.quotas)), Namespaces: slices.Collect(maps.Values(c.spaces)),
		Nodes: slices.Collect(maps.Values(c.nodes)), Loans: slices.Collect(maps.Values(c.loans)), Chains: c.chains,
	}
	for _, p := range c.pods {
		f.Pods = append(f.Pods, *p)
	}
	return f
}

func quotaOf(name, team string, flavors ...v1alpha1.FlavorQuota) *v1alpha1.TenantQuota {
	return &v1alpha1.TenantQuota{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.TenantQuotaSpec{
		Namespaces: &metav1.LabelSelector{MatchLabels: map[string]string{"team": team}}, Flavors: flavors,
	}}
}

func gpus(name, product string, nominal int64) v1alpha1.FlavorQuota {
	return v1alpha1.FlavorQuota{Name: name, Resource: gpu, NodeSelector: map[string]string{"gpu": product}, Nominal: nominal}
}

func slicesOf(name, of string, compute, memory int64) v1alpha1.FlavorQuota {
	return v1alpha1.FlavorQuota{Name: name, Resource: mig, SliceOf: of, Slices: &v1alpha1.GPUSlices{Compute: compute, Memory: memory}}
}

func podOf(uid, namespace, job string, priority int32, asks map[corev1.ResourceName]int64) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: uid, Namespace: namespace, UID: types.UID(uid)},
		Spec:       corev1.PodSpec{Priority: &priority, Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{}}}}},
	}
	for name, units := range asks {
		p.Spec.Containers[0].Resources.Requests[name] = *resource.NewQuantity(units, resource.DecimalSI)
	}
	if job != "" {
		controller := true
		p.Labels = map[string]string{v1alpha1.LabelQueue: "q"}
		p.OwnerReferences = []metav1.OwnerReference{{UID: types.UID(job), APIVersion: "batch/v1", Kind: "Job", Controller: &controller}}
	}
	return p
}

// check compares what the account says of every tenant with the recount.
func (c *cluster) check(t interface{ Fatalf(string, ...any) }, step string) {
	facts := c.facts()
	c.rlock()
	c.mu.RUnlock()
	for name := range c.quotas {
		for _, priority := range []int32{-1, 0, 5, 10} {
			tenant := c.tenants[name]
			got, want := map[string]Slices{}, Recount(facts, name, priority)
			for i, s := range c.Used(tenant, "", priority) {
				got[tenant.pools[i].name] = s
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("after %s, what tenant %s uses against priority %d (-recount +account):\n%s", step, name, priority, diff)
			}
		}
	}
	again := newCluster()
	again.Account = New(c.chains)
	for _, q := range facts.Quotas {
		again.SetQuota(q)
	}
	for _, ns := range facts.Namespaces {
		again.SetNamespace(ns)
	}
	for _, l := range facts.Loans {
		again.SetLoan(l)
	}
	for _, p := range facts.Pods { // a loan has what a pod takes on some nodes only
		again.SetPod(nil, p.Pod)
		if p.Assumed != "" {
			again.Assume(p.Pod, p.Assumed)
		}
		again.Nominate(p.UID, p.Nominated)
	}
	for _, r := range []corev1.ResourceName{gpu, mig} {
		if diff := cmp.Diff(again.Shapes(r), c.Shapes(r)); diff != "" {
			t.Fatalf("after %s, the shapes of %s (-anew +account):\n%s", step, r, diff)
		}
	}
	if diff := cmp.Diff(again.Resources(), c.Resources()); diff != "" {
		t.Fatalf("after %s, the resources (-anew +account):\n%s", step, diff)
	}
}

// change does one random thing to the cluster and says what.
func (c *cluster) change(t *rapid.T) string {
	pick := func(what string, of ...string) string { return rapid.SampledFrom(of).Draw(t, what) }
	switch what := pick("what", "quota", "no quota", "namespace", "no namespace", "node", "no node", "loan", "shed", "returned", "released", "no loan",
		"link", "link", "unlink", "pod", "pod", "pod", "bind", "no pod", "ended", "assume", "assume", "forget", "nominate", "withdraw"); what {
	case "quota":
		q := quotaOf(pick("tenant", "a", "b"), pick("team", "x", "y"))
		for _, f := range []v1alpha1.FlavorQuota{gpus("h100", "h100", 4), gpus("any", "a100", 2), slicesOf("small", "h100", 1, 1), slicesOf("lost", "nothing", 2, 2)} {
			if rapid.Bool().Draw(t, f.Name) {
				q.Spec.Flavors = append(q.Spec.Flavors, f)
			}
		}
		c.quotas[q.Name] = q
		c.SetQuota(q)
		return what
	case "no quota":
		name := pick("tenant", "a", "b")
		delete(c.quotas, name)
		c.DropQuota(name)
		return what
	case "namespace":
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: pick("name", "m", "n"), Labels: map[string]string{"team": pick("team", "x", "y", "z")}}}
		c.spaces[ns.Name] = ns
		c.SetNamespace(ns)
		return what
	case "no namespace":
		name := pick("name", "m", "n")
		delete(c.spaces, name)
		c.DropNamespace(name)
		return what
	case "node":
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: pick("name", "1", "2"), Labels: map[string]string{"gpu": pick("gpu", "h100", "a100", "none")}}}
		c.nodes[n.Name] = n
		c.SetNode(n)
		return what
	case "no node":
		name := pick("name", "1", "2")
		delete(c.nodes, name)
		c.DropNode(name)
		return what
	case "link", "unlink":
		c.changeChain(t, what, pick)
		return what
	case "loan", "shed", "returned", "released", "no loan":
		return c.changeLoan(t, what, pick)
	default:
		return c.changePod(t, what, pick)
	}
}

// changeChain tells of an object between jobs and pods. As the plugin does, it has only
// those pods traced anew that such objects control.
func (c *cluster) changeChain(t *rapid.T, what string, pick func(string, ...string) string) {
	o := &metav1.ObjectMeta{Namespace: pick("namespace", "m", "n"), UID: types.UID(pick("object", "j1", "j2", "s1", "s2"))}
	if what == "unlink" {
		c.chains.Delete(o.Namespace, o.UID)
		return
	}
	if owner := types.UID(pick("owner", "", "s1", "s2", "other")); owner != "" {
		controller := true
		o.OwnerReferences = []metav1.OwnerReference{{UID: owner, APIVersion: "jobset.x-k8s.io/v1alpha2", Kind: "JobSet", Controller: &controller}}
	}
	if !c.chains.Put(o) {
		return
	}
	below := append(c.chains.Below(o.Namespace, o.UID), o.UID)
	for uid, p := range c.pods {
		if ref := metav1.GetControllerOf(p.Pod); ref != nil && p.Namespace == o.Namespace && slices.Contains(below, ref.UID) {
			c.Retrace(uid)
		}
	}
}

func (c *cluster) changeLoan(t *rapid.T, what string, pick func(string, ...string) string) string {
	uid := types.UID(pick("loan", "l1", "l2", "l3"))
	l := c.loans[uid]
	switch {
	case what == "loan" && l == nil:
		l = &v1alpha1.Loan{ObjectMeta: metav1.ObjectMeta{Namespace: pick("namespace", "m", "n"), UID: uid}, Spec: v1alpha1.LoanSpec{
			Borrower: pick("borrower", "a", "b"), Resource: pick("resource", gpu, mig), Pods: 2, UnitsPerPod: rapid.Int64Range(1, 2).Draw(t, "per"),
			Job: v1alpha1.JobRef{UID: types.UID(pick("job", "j1", "j2", "s1", "p1", "p2")), PodGroup: pick("group", "", "", "g")},
		}}
		for range 2 {
			l.Spec.Grants = append(l.Spec.Grants, v1alpha1.Grant{Lender: pick("lender", "", "s/c", "cohort:lab"), Node: "1", Flavor: pick("flavor", "h100", "any", "small"), Count: 1})
		}
		c.loans[uid] = l
		c.SetLoan(l)
	case l == nil:
	case what == "returned":
		l = l.DeepCopy()
		l.Status.Conditions = []metav1.Condition{{Type: v1alpha1.LoanReturned, Status: metav1.ConditionTrue}}
		c.loans[uid] = l
		c.SetLoan(l)
	case what == "shed":
		l = l.DeepCopy()
		l.Status.Shed = append(l.Status.Shed, l.Held()[:min(1, len(l.Held())-1)]...) // never all
		c.loans[uid] = l
		c.SetLoan(l)
	case what == "released": // the account is told before the API
		c.Release(uid)
		c.SetLoan(l)
		l = l.DeepCopy()
		l.Status.Conditions = []metav1.Condition{{Type: v1alpha1.LoanReturned, Status: metav1.ConditionTrue}}
		c.loans[uid] = l
	case what == "no loan":
		delete(c.loans, uid)
		c.DropLoan(uid)
	}
	return what
}

func (c *cluster) changePod(t *rapid.T, what string, pick func(string, ...string) string) string {
	uid := pick("pod", "p1", "p2", "p3", "p4")
	p := c.pods[types.UID(uid)]
	if what == "pod" && p == nil {
		p = &Placed{Pod: podOf(uid, pick("namespace", "m", "n"), pick("job", "", "j1", "j2"), rapid.Int32Range(0, 9).Draw(t, "priority"),
			map[corev1.ResourceName]int64{gpu: rapid.Int64Range(0, 2).Draw(t, "gpus"), mig: rapid.Int64Range(0, 2).Draw(t, "migs")})}
		p.Spec.NodeName = pick("bound", "", "", "1")
		p.Labels = map[string]string{v1alpha1.LabelPodGroup: pick("group", "", "", "g", "h"), v1alpha1.LabelQueue: pick("queue", "q", "q", "")}
		c.pods[p.UID] = p
		c.SetPod(nil, p.Pod)
		return what
	}
	if p == nil {
		return "nothing"
	}
	node, now := pick("node", "1", "2"), p.DeepCopy()
	bound := p.Spec.NodeName != "" || ended(p.Pod)
	switch {
	case what == "no pod":
		delete(c.pods, p.UID)
		c.DropPod(p.UID)
	case what == "ended":
		now.Status.Phase = corev1.PodFailed
		c.SetPod(p.Pod, now)
		p.Pod, p.Assumed, p.Nominated = now, "", ""
	case bound:
	case what == "bind":
		now.Spec.NodeName = node
		c.SetPod(p.Pod, now)
		p.Pod, p.Assumed, p.Nominated = now, "", ""
	case what == "assume":
		p.Assumed = node
		c.Assume(p.Pod, node)
	case what == "forget":
		p.Assumed = ""
		c.Forget(p.UID)
	case what == "nominate":
		p.Nominated = node
		if c.Nominate(p.UID, node); rapid.Bool().Draw(t, "shown") {
			now.Status.NominatedNodeName = node
			c.SetPod(p.Pod, now)
			p.Pod = now
		}
	case what == "withdraw" && p.Status.NominatedNodeName == p.Nominated:
		now.Status.NominatedNodeName, p.Nominated = "", ""
		c.SetPod(p.Pod, now)
		p.Pod = now
	}
	return what
}

func TestAccountIsTheRecountAfterAnyEvents(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCluster()
		for i := range rapid.IntRange(1, 40).Draw(t, "steps") {
			if what := c.change(t); rapid.Bool().Draw(t, "look") {
				c.check(t, fmt.Sprintf("step %d (%s)", i, what))
			}
		}
	})
}

func TestEveryChargeIsTakenOff(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCluster()
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			c.change(t)
		}
		for uid := range c.pods {
			c.DropPod(uid)
		}
		for uid := range c.loans {
			c.DropLoan(uid)
		}
		for name, s := range c.used {
			for _, use := range append(slices.Collect(maps.Values(s.nominated)), s.firm) {
				for _, left := range use {
					if left != (Slices{}) {
						t.Fatalf("tenant %s still uses %+v", name, left)
					}
				}
			}
		}
		if len(c.refs) != 0 || len(c.jobs) != 0 || len(c.onNode) != 0 || len(c.Shapes(gpu)) != 0 {
			t.Fatalf("left over: refs %v, jobs %v, nodes %v, shapes %v", c.refs, c.jobs, c.onNode, c.Shapes(gpu))
		}
	})
}

// small is a cluster of one tenant with 4 GPUs, of which 1g.10gb slices are cut.
func small() *cluster {
	c := newCluster()
	c.SetQuota(quotaOf("a", "x", gpus("h100", "h100", 4), slicesOf("small", "h100", 1, 1)))
	c.SetNamespace(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "m", Labels: map[string]string{"team": "x"}}})
	c.SetNode(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "1", Labels: map[string]string{"gpu": "h100"}}})
	return c
}

func TestSlicesAndGPUsDrawOnOnePool(t *testing.T) {
	c := small()
	c.Assume(podOf("p", "m", "", 0, map[corev1.ResourceName]int64{gpu: 3, mig: 1}), "1")
	tenant, _ := c.Tenant("m")
	use := c.Used(tenant, "", 0)
	// Of 28 compute and 32 memory slices, 22 and 25 are used.
	whole, slice := tenant.Flavors(gpu)[0], tenant.Flavors(mig)[0]
	if got := tenant.Left(whole, use); got != 0 {
		t.Errorf("%d GPUs are left, want 0: one slice breaks the fourth", got)
	}
	if got := tenant.Left(slice, use); got != 6 {
		t.Errorf("%d slices are left, want 6", got)
	}
}

func TestWhoCountsAgainstWhom(t *testing.T) {
	c := small()
	one := map[corev1.ResourceName]int64{gpu: 1}
	for i, nominated := range []int32{0, 5, 9} {
		p := podOf(fmt.Sprint("n", i), "m", "", nominated, one)
		c.SetPod(nil, p)
		c.Nominate(p.UID, "1")
	}
	c.Assume(podOf("assumed", "m", "", 0, one), "1")
	tenant, _ := c.Tenant("m")
	for name, tc := range map[string]struct {
		uid      types.UID
		priority int32
		want     int64
	}{
		"nominated pods of at least its priority": {uid: "new", priority: 5, want: 3},
		"not itself":                     {uid: "n1", priority: 5, want: 2},
		"above all, only what is placed": {uid: "new", priority: 10, want: 1},
	} {
		if got := 4 - tenant.Left(0, c.Used(tenant, tc.uid, tc.priority)); got != tc.want {
			t.Errorf("%s: %d used, want %d", name, got, tc.want)
		}
	}
}

// The scheduler promises a node before the API shows it. An update that was on its
// way meanwhile does not take the promise back.
func TestANominationHoldsUntilItIsSeenToEnd(t *testing.T) {
	c := small()
	tenant, _ := c.Tenant("m")
	used := func() int64 { return 4 - tenant.Left(0, c.Used(tenant, "", 0)) }
	p := podOf("p", "m", "", 0, map[corev1.ResourceName]int64{gpu: 1})
	c.SetPod(nil, p)
	c.Nominate(p.UID, "1")
	late := p.DeepCopy()
	late.Labels = map[string]string{"x": "y"}
	if c.SetPod(p, late); used() != 1 {
		t.Fatal("an older update took the promise back")
	}
	shown := late.DeepCopy()
	shown.Status.NominatedNodeName = "1"
	c.SetPod(late, shown)
	withdrawn := shown.DeepCopy()
	withdrawn.Status.NominatedNodeName = ""
	if c.SetPod(shown, withdrawn); used() != 0 {
		t.Error("the promise outlives its withdrawal")
	}
}

func TestFreedNamesTheTenant(t *testing.T) {
	c := small()
	if _, err := c.Tenant("m"); err != nil { // counts what small changed
		t.Fatal(err)
	}
	p := podOf("p", "m", "", 0, map[corev1.ResourceName]int64{gpu: 1})
	p.Spec.NodeName = "1"
	if got := c.SetPod(nil, p); got != nil {
		t.Errorf("a new pod frees %v", got)
	}
	if got := c.SetPod(p, p); got != nil {
		t.Errorf("a pod without change frees %v", got)
	}
	if diff := cmp.Diff([]string{"a"}, c.DropPod("p")); diff != "" {
		t.Errorf("freed (-want +got):\n%s", diff)
	}
}

func TestTenantOfANamespace(t *testing.T) {
	c := newCluster()
	broken := quotaOf("broken", "x")
	broken.Spec.Namespaces = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "team", Operator: "Like"}}}
	cohort := quotaOf("cohort", "x")
	cohort.Spec.Namespaces = nil
	for _, q := range []*v1alpha1.TenantQuota{broken, cohort, quotaOf("a", "x"), quotaOf("b", "y"), quotaOf("c", "y")} {
		c.SetQuota(q)
	}
	for name, want := range map[string]string{
		"x": "a",
		"y": "namespace y belongs to no tenant: the TenantQuotas b, c all select it",
		"z": "namespace z belongs to no tenant: no TenantQuota selects it",
		"w": "namespace w is not known yet",
	} {
		if name != "w" {
			c.SetNamespace(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"team": name}}})
		}
		tenant, err := c.Tenant(name)
		got := fmt.Sprint(err)
		if err == nil {
			got = tenant.Name
		}
		if got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestFlavor(t *testing.T) {
	tenant := Read(quotaOf("a", "x",
		v1alpha1.FlavorQuota{Name: "mig", Resource: mig},
		v1alpha1.FlavorQuota{Name: "zone", Resource: gpu, NodeSelector: map[string]string{"zone": "z"}},
		gpus("h100", "h100", 1),
	))
	for name, tc := range map[string]struct {
		resource corev1.ResourceName
		labels   map[string]string
		want     string
	}{
		"by selector":           {resource: gpu, labels: map[string]string{"gpu": "h100"}, want: "h100"},
		"the first by name":     {resource: gpu, labels: map[string]string{"gpu": "h100", "zone": "z"}, want: "h100"},
		"the other one":         {resource: gpu, labels: map[string]string{"zone": "z"}, want: "zone"},
		"without selector":      {resource: mig, want: "mig"},
		"no node of it":         {resource: gpu, labels: map[string]string{"gpu": "a100"}},
		"no such resource":      {resource: "amd.com/gpu"},
		"an empty label is one": {resource: gpu, labels: map[string]string{"gpu": ""}},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if f := tenant.Flavor(tc.resource, tc.labels); f >= 0 {
				got = tenant.FlavorName(f)
			}
			if got != tc.want {
				t.Errorf("flavor = %q, want %q", got, tc.want)
			}
		})
	}
}

// What a pod asks for cannot wrap around into room.
func TestAbsurdRequestsDoNotOverflow(t *testing.T) {
	c := small()
	for i := range 100 {
		p := podOf(fmt.Sprint("p", i), "m", "", 0, map[corev1.ResourceName]int64{gpu: 1<<63 - 1})
		p.Spec.NodeName = "1"
		c.SetPod(nil, p)
	}
	tenant, _ := c.Tenant("m")
	if got := tenant.Left(0, c.Used(tenant, "", 0)); got != 0 {
		t.Errorf("%d units are left", got)
	}
	if s := c.Used(tenant, "", 0)[0]; s.Compute < 0 || s.Memory < 0 {
		t.Errorf("used = %+v", s)
	}
}

func TestHolders(t *testing.T) {
	c := small()
	c.SetLoan(lentTo(v1alpha1.JobRef{UID: "j"}, 1))
	one := map[corev1.ResourceName]int64{gpu: 1}
	leaving, grouped, group := podOf("leaving", "m", "", 9, one), podOf("grouped", "m", "", 9, one), "g"
	leaving.DeletionTimestamp = &metav1.Time{}
	grouped.Spec.SchedulingGroup = &corev1.PodSchedulingGroup{PodGroupName: &group}
	for _, p := range []*corev1.Pod{
		podOf("junior", "m", "", 3, one), podOf("peer", "m", "", 5, one), podOf("named", "m", "", 9, one), leaving, grouped,
		podOf("lent", "m", "j", 3, one), podOf("idle", "m", "", 3, nil),
	} {
		p.Spec.NodeName = "1"
		c.SetPod(nil, p)
	}
	c.Assume(podOf("assumed", "m", "", 3, one), "1")
	var names []string
	tenant, _ := c.Tenant("m")
	for _, h := range c.Holders(tenant, 5, map[types.UID]bool{"named": true}) {
		names = append(names, h.Name)
		if want := (Use{{7, 8}}); !slices.Equal(h.Takes, want) {
			t.Errorf("%s takes %v, want %v", h.Name, h.Takes, want)
		}
	}
	if diff := cmp.Diff([]string{"grouped", "junior", "leaving", "named"}, names); diff != "" {
		t.Errorf("holders (-want +got):\n%s", diff)
	}
}

// A pod of whose job it is not known yet whether it has a loan counts on its tenant's
// quota, until that is known.
func TestPodsOfUnknownJobsCount(t *testing.T) {
	c := small()
	tenant, _ := c.Tenant("m")
	used := func() int64 { return 4 - tenant.Left(0, c.Used(tenant, "", 0)) }
	p := podOf("p", "m", "job", 0, map[corev1.ResourceName]int64{gpu: 1})
	p.Spec.NodeName = "1"
	c.SetPod(nil, p)
	c.SetLoan(lentTo(v1alpha1.JobRef{UID: "set"}, 1))
	if used() != 1 {
		t.Errorf("%d units are used before the job is known, want 1", used())
	}
	controller := true
	c.chains.Put(&metav1.ObjectMeta{Namespace: "m", UID: "job", OwnerReferences: []metav1.OwnerReference{
		{UID: "set", APIVersion: "jobset.x-k8s.io/v1alpha2", Kind: "JobSet", Controller: &controller},
	}})
	if diff := cmp.Diff([]string{"a"}, c.Retrace("p", "stranger")); diff != "" {
		t.Errorf("freed (-want +got):\n%s", diff)
	}
	if used() != 0 {
		t.Errorf("%d units are used besides the loan, want none", used())
	}
}

// lentTo is a loan of a lender's units on node 1 to a job of namespace m.
func lentTo(job v1alpha1.JobRef, units int64) *v1alpha1.Loan {
	return &v1alpha1.Loan{ObjectMeta: metav1.ObjectMeta{UID: "l", Namespace: "m"}, Spec: v1alpha1.LoanSpec{
		Job: job, Borrower: "a", Resource: gpu, Pods: 1, UnitsPerPod: units, Grants: []v1alpha1.Grant{{Lender: "s/c", Node: "1", Flavor: "h100", Count: units}},
	}}
}

// A pod that runs on its tenant's quota stays there, whatever it says later of whose it
// is, and whenever that gets a loan.
func TestNoPodTakesUpALoan(t *testing.T) {
	controller := true
	job := podOf("job", "m", "", 0, nil)
	for name, tc := range map[string]struct {
		before, after func(*corev1.Pod)
		loan          v1alpha1.JobRef
		later         bool // the loan comes after the pod says so
	}{
		"the label of a group": {
			after: func(p *corev1.Pod) { p.Labels = map[string]string{v1alpha1.LabelPodGroup: "g"} },
			loan:  v1alpha1.JobRef{UID: "lead", PodGroup: "g"},
		},
		"the label of a group before that has a loan": {
			before: func(p *corev1.Pod) { p.Labels = map[string]string{v1alpha1.LabelPodGroup: "g"} },
			loan:   v1alpha1.JobRef{UID: "lead", PodGroup: "g"}, later: true,
		},
		"a controller of a foreign kind": {
			after: func(p *corev1.Pod) {
				p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "example.com/v1", Kind: "Foo", UID: job.UID, Controller: &controller}}
			},
			loan: v1alpha1.JobRef{UID: job.UID},
		},
		"a controller before that has a loan": {
			before: func(p *corev1.Pod) {
				p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "kubeflow.org/v1", Kind: "PyTorchJob", UID: job.UID, Controller: &controller}}
			},
			loan: v1alpha1.JobRef{UID: job.UID}, later: true,
		},
		"more than the loan has": {
			before: func(p *corev1.Pod) {
				p.Labels = map[string]string{v1alpha1.LabelPodGroup: "g", v1alpha1.LabelQueue: "q"}
			},
			loan: v1alpha1.JobRef{UID: "lead", PodGroup: "g"}, later: true,
		},
		"another node than the loan's": {
			before: func(p *corev1.Pod) {
				p.Labels = map[string]string{v1alpha1.LabelPodGroup: "g", v1alpha1.LabelQueue: "q"}
				p.Spec.NodeName, p.Spec.Containers[0].Resources.Requests = "2", podOf("", "", "", 0, map[corev1.ResourceName]int64{gpu: 3}).Spec.Containers[0].Resources.Requests
			},
			loan: v1alpha1.JobRef{UID: "lead", PodGroup: "g"}, later: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := small()
			c.SetNode(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "2", Labels: map[string]string{"gpu": "h100"}}})
			tenant, _ := c.Tenant("m")
			p := podOf("p", "m", "", 0, map[corev1.ResourceName]int64{gpu: 3})
			p.Spec.NodeName = "1"
			if tc.before != nil {
				tc.before(p)
			}
			if !tc.later {
				c.SetLoan(lentTo(tc.loan, 1))
			}
			c.SetPod(nil, p)
			if tc.after != nil {
				now := p.DeepCopy()
				tc.after(now)
				c.SetPod(p, now)
			}
			if tc.later {
				c.SetLoan(lentTo(tc.loan, 1))
			}
			if used := 4 - tenant.Left(0, c.Used(tenant, "", 0)); used != 3 {
				t.Errorf("%d units are used, want the pod's 3", used)
			}
		})
	}
}
