package ebbtide

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	batchlisters "k8s.io/client-go/listers/batch/v1"
	policylisters "k8s.io/client-go/listers/policy/v1"
	schedulinglisters "k8s.io/client-go/listers/scheduling/v1"
	metadatafake "k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/lineage"
	config "github.com/ebbtide/ebbtide/scheduler-plugin/config/v1alpha1"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/account"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/kin"
)

const gpu = "nvidia.com/gpu"

var epoch = time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)

// world is a cluster in memory, and the plugin over it. The scheduler's queue is
// the list of pods it was asked to activate.
type world struct {
	*Ebbtide
	t           testing.TB
	time        *clocktesting.FakeClock
	nodes       []*node
	loans       cache.Indexer
	policyStore cache.Indexer
	quotas      cache.Store
	spaces      cache.Indexer
	classes     cache.Indexer
	jobStore    cache.Indexer
	client      *fake.Clientset
	nominated   map[string][]fwk.PodInfo
	permits     map[types.UID]*permit
	activated   []string

	// dynamic has the jobs, of whatever kind; metadata reads the same.
	dynamic  *dynamicfake.FakeDynamicClient
	metadata *metadatafake.FakeMetadataClient
	// links are the objects between jobs and pods that the plugin was told of.
	links []metav1.Object
	calls []clienttesting.Action

	// gpuNodes are what the agents of nodes said last.
	gpuNodes []*v1alpha1.GPUNode

	// server has Loans as they are, where the cache is late; nil: there are none any more.
	server map[string]*v1alpha1.Loan
	// asked counts how often the API server was asked for a Loan.
	asked   atomic.Int64
	failing error

	budgetStore             cache.Indexer
	podsSynced, loansSynced map[types.UID]bool
}

func newWorld(t testing.TB) *world {
	t.Helper()
	byName := cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc}
	w := &world{
		t:           t,
		time:        clocktesting.NewFakeClock(epoch),
		loans:       cache.NewIndexer(cache.MetaNamespaceKeyFunc, book.LoanIndexers()),
		policyStore: cache.NewIndexer(cache.MetaNamespaceKeyFunc, book.PolicyIndexers()),
		quotas:      cache.NewStore(cache.MetaNamespaceKeyFunc),
		spaces:      cache.NewIndexer(cache.MetaNamespaceKeyFunc, byName),
		classes:     cache.NewIndexer(cache.MetaNamespaceKeyFunc, byName),
		jobStore:    cache.NewIndexer(cache.MetaNamespaceKeyFunc, byName),
		client:      fake.NewClientset(),
		nominated:   map[string][]fwk.PodInfo{},
		permits:     map[types.UID]*permit{},

		budgetStore: cache.NewIndexer(cache.MetaNamespaceKeyFunc, byName),
	}
	w.Ebbtide = &Ebbtide{
		handle: &handle{w: w},
		args:   config.Default(),
		pods:   cache.NewIndexer(cache.MetaNamespaceKeyFunc, podIndexers()),

		succeeded: cache.NewIndexer(cache.MetaNamespaceKeyFunc, kinIndexers()),
	}
	must(t, w.pods.AddIndexers(byName))
	w.newClients()
	w.restart()
	must(t, w.classes.Add(&schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "ebbtide-online"}, Value: v1alpha1.PriorityOnline}))
	w.tenant("serving", 64)
	w.tenant("research", 0)
	return w
}

// restart makes a new plugin over the same objects.
func (w *world) restart() {
	chains := &lineage.Lineage{}
	for _, o := range w.links {
		chains.Put(o)
	}
	w.Ebbtide = &Ebbtide{
		handle:    w.handle,
		args:      w.args,
		clock:     w.time,
		book:      book.New(w.loans, schedulinglisters.NewPriorityClassLister(w.classes), chains),
		account:   account.New(chains),
		chains:    chains,
		objects:   &objects{dynamic: w.dynamic, metadata: w.metadata, api: w.client.Discovery()},
		said:      newSaid(),
		pods:      w.pods,
		succeeded: w.succeeded,
		policies:  w.policyStore,
		jobs:      batchlisters.NewJobLister(w.jobStore),
		budgets:   policylisters.NewPodDisruptionBudgetLister(w.budgetStore),
		gangs:     newGangs(),
		waiting:   newWaiting(),
		blocked:   newBlocked(),
		taken:     newTaken(),
		holds:     newHolds(),
		cards:     newCards(),
		live:      newLive(w.getLoan),
		undos:     newUndos(),
		gaps:      newGaps(),
		stirs:     newStirs(),
	}
	w.kin = &kin.Kin{Resources: kinResources(), Client: w.metadata, API: w.client.Discovery(), Clock: w.time, Changed: w.onKin(klog.Background())}
	w.kin.Look(w.t.Context())
	w.ready.Store(true)
	for _, gn := range w.gpuNodes {
		w.onGPUNode(klog.Background()).OnAdd(gn, true)
	}
}

// getLoan is the API server's answer.
func (w *world) getLoan(_ context.Context, namespace, name string) (*v1alpha1.Loan, error) {
	w.asked.Add(1)
	key := namespace + "/" + name
	loan, other := w.server[key]
	if !other {
		if cached, is, err := w.loans.GetByKey(key); err == nil && is {
			loan = cached.(*v1alpha1.Loan)
		}
	}
	if w.failing == nil && loan == nil {
		return nil, apierrors.NewNotFound(v1alpha1.GroupVersion.WithResource("loans").GroupResource(), name)
	}
	return loan, w.failing
}

// know tells the plugin of an object between jobs and pods.
func (w *world) know(o metav1.Object) {
	w.links = append(w.links, o)
	w.linked(klog.Background(), o)
}

// sync tells the account what there is, as events would.
func (w *world) sync() {
	for _, obj := range w.quotas.List() {
		w.account.SetQuota(obj.(*v1alpha1.TenantQuota))
	}
	for _, obj := range w.spaces.List() {
		w.account.SetNamespace(obj.(*corev1.Namespace))
	}
	for _, n := range w.nodes {
		w.account.SetNode(n.node)
	}
	for uid := range w.loansSynced {
		w.account.DropLoan(uid)
	}
	w.loansSynced = map[types.UID]bool{}
	for _, obj := range w.loans.List() {
		l := obj.(*v1alpha1.Loan)
		w.loansSynced[l.UID] = true
		w.account.SetLoan(l)
	}
	nominated, podsNow := map[types.UID]string{}, map[types.UID]bool{}
	for n, infos := range w.nominated {
		for _, i := range infos {
			nominated[i.GetPod().UID] = n
		}
	}
	for _, obj := range w.pods.List() {
		p := obj.(*corev1.Pod)
		podsNow[p.UID] = true
		w.account.SetPod(nil, p)
		w.account.Nominate(p.UID, nominated[p.UID])
	}
	for uid := range w.podsSynced {
		if !podsNow[uid] {
			w.account.DropPod(uid)
		}
	}
	w.podsSynced = podsNow
}

// shown lets the API show the pod as the scheduler's queue has it.
func (w *world) shown(p *corev1.Pod) {
	if _, exists := w.current(p); exists {
		must(w.t, w.pods.Update(p.DeepCopy()))
	}
}

func (w *world) PreEnqueue(ctx context.Context, p *corev1.Pod) *fwk.Status {
	w.shown(p)
	w.sync()
	return w.Ebbtide.PreEnqueue(ctx, p)
}

func (w *world) PreFilter(ctx context.Context, state fwk.CycleState, p *corev1.Pod, nodes []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	w.shown(p)
	w.sync()
	return w.Ebbtide.PreFilter(ctx, state, p, nodes)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tenant adds a tenant with one namespace of its name.
func (w *world) tenant(name string, nominal int64) *v1alpha1.TenantQuota {
	must(w.t, w.spaces.Add(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"team": name}}}))
	q := &v1alpha1.TenantQuota{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.TenantQuotaSpec{
		Namespaces: &metav1.LabelSelector{MatchLabels: map[string]string{"team": name}},
		Flavors:    []v1alpha1.FlavorQuota{{Name: "h100", Resource: gpu, NodeSelector: map[string]string{"gpu": "h100"}, Nominal: nominal}},
	}}
	must(w.t, w.quotas.Add(q))
	return q
}

func (w *world) node(name string, gpus, cpus int64) *node {
	n := &node{
		node:        &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"gpu": "h100"}}},
		allocatable: map[corev1.ResourceName]int64{gpu: gpus, corev1.ResourceCPU: cpus},
	}
	w.nodes = append(w.nodes, n)
	return n
}

// loan lends units of serving/chat on nodes to a new job of research.
func (w *world) loan(name string, pods int32, per int64, grants ...v1alpha1.Grant) *v1alpha1.Loan {
	for i := range grants {
		grants[i].Flavor = "h100"
	}
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{
		Name: name, Namespace: "research", UID: types.UID("job-" + name),
		Labels: map[string]string{v1alpha1.LabelQueue: "default"}, Annotations: map[string]string{v1alpha1.AnnotationAttempt: "1"},
	}}
	w.putJob(job)
	w.know(job)
	l := &v1alpha1.Loan{
		ObjectMeta: metav1.ObjectMeta{Name: name + "-1", Namespace: "research", UID: types.UID("loan-" + name), CreationTimestamp: metav1.NewTime(w.time.Now())},
		Spec: v1alpha1.LoanSpec{
			Job: v1alpha1.JobRef{Name: name, UID: job.UID}, Attempt: 1, Borrower: "research", Resource: gpu,
			Pods: pods, UnitsPerPod: per, Grants: grants, MaxGrace: metav1.Duration{Duration: 20 * time.Second},
		},
	}
	must(w.t, w.loans.Add(l))
	return l
}

func lent(node string, count int64) v1alpha1.Grant {
	return v1alpha1.Grant{Lender: "serving/chat", Node: node, Count: count}
}

func own(node string, count int64) v1alpha1.Grant { return v1alpha1.Grant{Node: node, Count: count} }

// pod makes a pod; on a node ("" for none) unless that is nil.
func (w *world) pod(name, namespace string, priority int32, units int64, on *node) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, UID: types.UID(namespace + "-" + name), CreationTimestamp: metav1.NewTime(w.time.Now())},
		Spec:       corev1.PodSpec{SchedulerName: "ebbtide", Priority: &priority, Containers: []corev1.Container{{Name: "main"}}},
	}
	request(p, gpu, units)
	if on != nil {
		p.Spec.NodeName = on.node.Name
		on.pods = append(on.pods, podInfo{pod: p})
	}
	w.put(p)
	return p
}

// put stores the pod's present state where the plugin and the API see it.
func (w *world) put(p *corev1.Pod) {
	must(w.t, w.pods.Add(p.DeepCopy()))
	_ = w.client.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("pods"), p.Namespace, p.Name)
	must(w.t, w.client.Tracker().Add(p.DeepCopy()))
}

func request(p *corev1.Pod, resourceName corev1.ResourceName, units int64) {
	r := &p.Spec.Containers[0].Resources
	if r.Requests == nil {
		r.Requests = corev1.ResourceList{}
	}
	r.Requests[resourceName] = *resource.NewQuantity(units, resource.DecimalSI)
}

func (w *world) online(name string, units int64, on *node) *corev1.Pod {
	return w.pod(name, "serving", v1alpha1.PriorityOnline, units, on)
}

// borrowed makes a pod of the loan's job.
func (w *world) borrowed(l *v1alpha1.Loan, name string, on *node) *corev1.Pod {
	p := w.pod(name, "research", -100, l.Spec.UnitsPerPod, on)
	p.Labels = map[string]string{v1alpha1.LabelQueue: "default"}
	ownedBy(p, l.Spec.Job.Name, l.Spec.Job.UID)
	w.put(p)
	return p
}

func ownedBy(p *corev1.Pod, name string, uid types.UID) {
	controller := true
	p.OwnerReferences = []metav1.OwnerReference{{Name: name, UID: uid, APIVersion: "batch/v1", Kind: "Job", Controller: &controller}}
}

func (w *world) infos() []fwk.NodeInfo {
	out := make([]fwk.NodeInfo, 0, len(w.nodes))
	for _, n := range w.nodes {
		out = append(out, n)
	}
	return out
}

// schedule runs a cycle like the framework's: it returns the node, or what
// PostFilter said.
func (w *world) schedule(p *corev1.Pod) (placed string, result *fwk.PostFilterResult, status *fwk.Status) {
	w.t.Helper()
	ctx, state := w.t.Context(), newState()
	refused := statuses{}
	named, s := w.PreFilter(ctx, state, p, w.infos())
	if !s.IsSuccess() && !s.IsSkip() {
		for _, n := range w.nodes {
			refused[n.node.Name] = s
		}
		result, status = w.makeRoom(state, p, refused)
		return "", result, status
	}
	for _, n := range w.nodes {
		if !named.AllNodes() && !named.NodeNames.Has(n.node.Name) {
			refused[n.node.Name] = fwk.NewStatus(fwk.UnschedulableAndUnresolvable, "not named")
			continue
		}
		s := w.handle.RunFilterPluginsWithNominatedPods(ctx, state, p, n)
		if s.IsSuccess() {
			p.Spec.NodeName = n.node.Name
			n.pods = append(n.pods, podInfo{pod: p})
			w.put(p)
			w.onPod(klog.Background()).OnUpdate(nil, p)
			return n.node.Name, nil, nil
		}
		refused[n.node.Name] = s
	}
	result, status = w.makeRoom(state, p, refused)
	return "", result, status
}

// makeRoom runs PostFilter, and keeps the promise that it makes.
func (w *world) makeRoom(state fwk.CycleState, p *corev1.Pod, refused statuses) (*fwk.PostFilterResult, *fwk.Status) {
	result, status := w.PostFilter(w.t.Context(), state, p, refused)
	w.nominated = without(w.nominated, p)
	if result != nil {
		p.Status.NominatedNodeName = result.NominatedNodeName
	}
	if node := p.Status.NominatedNodeName; node != "" {
		w.nominated[node] = append(w.nominated[node], podInfo{pod: p})
	}
	return result, status
}

func (w *world) takenNames() []string {
	var out []string
	for _, t := range w.taken.all() {
		out = append(out, t.loan.Name)
	}
	slices.Sort(out)
	return out
}

// handle is the part of the framework that the plugin uses. Any other call is a
// nil dereference, and fails the test.
type handle struct {
	fwk.Handle
	w *world
}

func (h *handle) ProfileName() string                         { return "ebbtide" }
func (h *handle) ClientSet() clientset.Interface              { return h.w.client }
func (h *handle) EventRecorder() events.EventRecorderLogger   { return &recorder{} }
func (h *handle) SnapshotSharedLister() fwk.SharedLister      { return lister{w: h.w} }
func (h *handle) NominatedPodsForNode(n string) []fwk.PodInfo { return h.w.nominated[n] }
func (h *handle) GetPodInPreBind(types.UID) fwk.PodInPreBind  { return nil }

func (h *handle) Activate(_ klog.Logger, pods map[string]*corev1.Pod) {
	for name := range pods {
		h.w.activated = append(h.w.activated, name)
	}
	slices.Sort(h.w.activated)
}

func (h *handle) GetWaitingPod(uid types.UID) fwk.WaitingPod {
	if p := h.w.permits[uid]; p != nil && p.verdict == "" {
		return p
	}
	return nil
}

func (h *handle) RunPreFilterExtensionRemovePod(ctx context.Context, state fwk.CycleState, p *corev1.Pod, gone fwk.PodInfo, info fwk.NodeInfo) *fwk.Status {
	return h.w.RemovePod(ctx, state, p, gone, info)
}

// RunFilterPluginsWithNominatedPods runs NodeResourcesFit's rule and the plugin's
// Filter.
func (h *handle) RunFilterPluginsWithNominatedPods(ctx context.Context, state fwk.CycleState, p *corev1.Pod, info fwk.NodeInfo) *fwk.Status {
	n, own := info.Snapshot().(*node), state.Clone()
	for _, other := range h.w.nominated[n.node.Name] {
		if q := other.GetPod(); q.UID != p.UID && q.Spec.NodeName == "" && book.Priority(q) >= book.Priority(p) {
			n.AddPodInfo(other)
			if s := h.w.AddPod(ctx, own, p, other, n); !s.IsSuccess() {
				return s
			}
		}
	}
	if only := p.Spec.NodeSelector["only"]; only != "" && only != n.node.Name {
		return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, "another node")
	}
	for name, quantity := range p.Spec.Containers[0].Resources.Requests {
		if n.scalar(name) > n.allocatable[name]-quantity.Value() {
			return fwk.NewStatus(fwk.Unschedulable, "Insufficient "+string(name))
		}
	}
	return h.w.Filter(ctx, own, p, n)
}

type recorder struct{ events.EventRecorderLogger }

func (*recorder) Eventf(_, _ runtime.Object, _, _, _, _ string, _ ...any) {}

type lister struct {
	fwk.SharedLister
	fwk.NodeInfoLister
	w *world
}

func (l lister) NodeInfos() fwk.NodeInfoLister { return l }
func (l lister) List() ([]fwk.NodeInfo, error) { return l.w.infos(), nil }
func (l lister) Get(name string) (fwk.NodeInfo, error) {
	for _, n := range l.w.nodes {
		if n.node.Name == name {
			return n, nil
		}
	}
	return nil, fmt.Errorf("no node %s", name)
}

type statuses map[string]*fwk.Status

func (s statuses) Get(name string) *fwk.Status { return s[name] }

func (s statuses) NodesForStatusCode(l fwk.NodeInfoLister, code fwk.Code) ([]fwk.NodeInfo, error) {
	all, err := l.List()
	return slices.DeleteFunc(all, func(n fwk.NodeInfo) bool { return s[n.Node().Name].Code() != code }), err
}

type permit struct {
	fwk.WaitingPod
	pod     *corev1.Pod
	verdict string
}

func (p *permit) GetPod() *corev1.Pod { return p.pod }
func (p *permit) Allow(string)        { p.verdict = "allowed" }
func (p *permit) Reject(_, reason string) bool {
	p.verdict = reason
	return true
}

type state struct {
	fwk.CycleState
	data map[fwk.StateKey]fwk.StateData
	// trying is set while the framework only tries a PodGroup out.
	trying bool
}

func newState() *state { return &state{data: map[fwk.StateKey]fwk.StateData{}} }

func (s *state) IsPodGroupSchedulingCycle() bool { return s.trying }

func (s *state) Write(k fwk.StateKey, d fwk.StateData) { s.data[k] = d }
func (s *state) Clone() fwk.CycleState {
	own := newState()
	for k, d := range s.data {
		own.data[k] = d.Clone()
	}
	return own
}

func (s *state) Read(k fwk.StateKey) (fwk.StateData, error) {
	if d, ok := s.data[k]; ok {
		return d, nil
	}
	return nil, fwk.ErrNotFound
}

type podInfo struct {
	fwk.PodInfo
	pod *corev1.Pod
}

func (p podInfo) GetPod() *corev1.Pod { return p.pod }

type node struct {
	fwk.NodeInfo
	node        *corev1.Node
	allocatable map[corev1.ResourceName]int64
	pods        []fwk.PodInfo
}

func (n *node) Node() *corev1.Node           { return n.node }
func (n *node) GetPods() []fwk.PodInfo       { return n.pods }
func (n *node) AddPodInfo(p fwk.PodInfo)     { n.pods = append(n.pods, p) }
func (n *node) GetAllocatable() fwk.Resource { return units{m: n.allocatable} }
func (n *node) GetRequested() fwk.Resource {
	m := map[corev1.ResourceName]int64{}
	for name := range n.allocatable {
		m[name] = n.scalar(name)
	}
	return units{m: m}
}

func (n *node) Snapshot() fwk.NodeInfo {
	return &node{node: n.node, allocatable: n.allocatable, pods: slices.Clone(n.pods)}
}

func (n *node) SetNode(to *corev1.Node) {
	n.node, n.allocatable = to, maps.Clone(n.allocatable)
	for name, quantity := range to.Status.Allocatable {
		n.allocatable[name] = quantity.Value()
	}
}

func (n *node) RemovePod(_ klog.Logger, p *corev1.Pod) error {
	before := len(n.pods)
	n.pods = slices.DeleteFunc(n.pods, func(i fwk.PodInfo) bool { return i.GetPod().UID == p.UID })
	if len(n.pods) == before {
		return fmt.Errorf("pod %s is not on node %s", p.Name, n.node.Name)
	}
	return nil
}

func (n *node) scalar(name corev1.ResourceName) int64 {
	var sum int64
	for _, p := range n.pods {
		q := p.GetPod().Spec.Containers[0].Resources.Requests[name]
		sum += q.Value()
	}
	return sum
}

type units struct {
	fwk.Resource
	m map[corev1.ResourceName]int64
}

func (u units) GetScalarResources() map[corev1.ResourceName]int64 {
	scalars := maps.Clone(u.m)
	maps.DeleteFunc(scalars, func(name corev1.ResourceName, _ int64) bool { return book.Ordinary(name) })
	return scalars
}
func (u units) GetMilliCPU() int64         { return 1000 * u.m[corev1.ResourceCPU] }
func (u units) GetMemory() int64           { return u.m[corev1.ResourceMemory] }
func (u units) GetEphemeralStorage() int64 { return 0 }
func (u units) GetAllowedPodNumber() int   { return 110 }
