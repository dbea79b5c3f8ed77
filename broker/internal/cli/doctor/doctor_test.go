package doctor

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	extensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/cli/access"
)

func TestHealthy(t *testing.T) {
	found := healthy(t).examine(t)
	for name, f := range found {
		if f.Status != OK {
			t.Errorf("%s is %s: %s", name, f.Status, f.Found)
		}
	}
	if len(found) != 21 {
		t.Errorf("%d checks", len(found))
	}
}

func TestFindings(t *testing.T) {
	type policy = v1alpha1.LendingPolicy
	tests := map[string]struct {
		change func(*sick)
		check  string
		status Status
		found  string
	}{
		"old server":                   {func(s *sick) { s.minor = "34+" }, "kubernetes", Fail, "Kubernetes v1.34"},
		"new server":                   {func(s *sick) { s.minor = "37" }, "kubernetes", Warn, "not tested"},
		"a clock behind":               {func(s *sick) { s.ahead = 3 * time.Minute }, "clock", Warn, "yours is 3m0s behind"},
		"a clock ahead":                {func(s *sick) { s.ahead = -3 * time.Minute }, "clock", Warn, "yours is 3m0s ahead"},
		"a clock that is nearly right": {func(s *sick) { s.ahead = 4 * time.Second }, "clock", OK, "less than 5s apart"},
		"no clock":                     {func(s *sick) { s.mute = true }, "clock", Unknown, "does not say"},
		// Ages are told by the server's clock, whatever the caller's.
		"a broker that leads, by a clock ahead": {func(s *sick) { s.ahead = -3 * time.Minute }, "broker", OK, "leads"},
		"a young decision, by a clock ahead":    {func(s *sick) { s.ahead = -3 * time.Minute }, "decisions", OK, "3s old"},
		"an agent heard, by a clock ahead": {func(s *sick) {
			s.ahead = -3 * time.Minute
			s.objects = append(s.objects, &v1alpha1.GPUNode{ObjectMeta: metav1.ObjectMeta{Name: "gpu-0"}, Status: v1alpha1.GPUNodeStatus{Heartbeat: metav1.NewMicroTime(now)}})
		}, "agents", OK, "heard on 1 node"},
		"an agent silent, by a clock behind": {func(s *sick) {
			s.ahead = 3 * time.Minute
			s.objects = append(s.objects, &v1alpha1.GPUNode{ObjectMeta: metav1.ObjectMeta{Name: "gpu-0"}, Status: v1alpha1.GPUNodeStatus{Heartbeat: metav1.NewMicroTime(now.Add(-150 * time.Second))}})
		}, "agents", Fail, "gpu-0"},
		"no definition": {func(s *sick) { without[*extensionsv1.CustomResourceDefinition](s, "loans.ebbtide.dev") }, "definitions", Fail, "missing: loans.ebbtide.dev"},
		"old schema": {func(s *sick) {
			with(s, "loans.ebbtide.dev", func(c *extensionsv1.CustomResourceDefinition) { c.Spec.Versions[0].Schema = nil })
		}, "definitions", Warn, "loans.ebbtide.dev"},
		"not established": {func(s *sick) {
			with(s, "loans.ebbtide.dev", func(c *extensionsv1.CustomResourceDefinition) { c.Status.Conditions = nil })
		}, "definitions", Fail, "not served"},
		"definitions hidden": {func(s *sick) { s.forbidden["CustomResourceDefinition"] = true }, "definitions", Unknown, "may not list"},
		"no policy":          {func(s *sick) { without[*admissionv1.ValidatingAdmissionPolicy](s, "ebbtide-pods") }, "admission-policies", Fail, "ebbtide-pods is gone"},
		"changed policy": {func(s *sick) {
			with(s, "ebbtide-pods", func(p *admissionv1.ValidatingAdmissionPolicy) { p.Spec.Validations = nil })
		}, "admission-policies", Warn, "ebbtide-pods is changed (sha256:"},
		"policies hidden":        {func(s *sick) { s.forbidden["ValidatingAdmissionPolicy"] = true }, "admission-policies", Unknown, "may not list"},
		"no class":               {func(s *sick) { without[*schedulingv1.PriorityClass](s, "ebbtide-online") }, "priority-classes", Fail, "ebbtide-online is missing"},
		"another value":          {func(s *sick) { with(s, "ebbtide-borrower", func(c *schedulingv1.PriorityClass) { c.Value = 5 }) }, "priority-classes", Fail, "has the value 5, not -100"},
		"broker has no right":    {func(s *sick) { s.refused["list lendingpolicies"] = true }, "broker-account", Fail, "may not list lendingpolicies of ebbtide.dev"},
		"scheduler has no right": {func(s *sick) { s.refused["patch jobs"] = true }, "scheduler-account", Fail, "may not patch jobs of batch"},
		"rights hidden":          {func(s *sick) { s.forbidden["SubjectAccessReview"] = true }, "broker-account", Unknown, "you may not ask"},
		"two versions": {func(s *sick) {
			with(s, "ebbtide-broker-0", func(p *corev1.Pod) { p.Spec.Containers[0].Image = "ebbtide-broker:v2" })
		}, "versions", Warn, "v1 (ebbtide-scheduler), v2 (ebbtide-broker)"},
		"no programs": {func(s *sick) {
			without[*corev1.Pod](s, "ebbtide-broker-0")
			without[*corev1.Pod](s, "ebbtide-scheduler-0")
		}, "versions", Warn, "no pod"},
		"no scheduler": {func(s *sick) { without[*coordinationv1.Lease](s, "ebbtide-scheduler") }, "scheduler", Fail, "has ever led"},
		"instead of the default": {func(s *sick) {
			without[*coordinationv1.Lease](s, "ebbtide-scheduler")
			s.objects = append(s.objects, lease("kube-system", "kube-scheduler", "ebbtide-scheduler-7"))
		}, "scheduler", OK, "ebbtide-scheduler-7 leads"},
		"beside the default": {func(s *sick) {
			without[*coordinationv1.Lease](s, "ebbtide-scheduler")
			s.objects = append(s.objects, lease("kube-system", "kube-scheduler", "master-0"))
		}, "scheduler", Fail, "has ever led"},
		"scheduler stopped": {func(s *sick) {
			with(s, "ebbtide-scheduler", func(l *coordinationv1.Lease) { l.Spec.RenewTime = ptr.To(metav1.NewMicroTime(now.Add(-time.Minute))) })
		}, "scheduler", Fail, "nobody leads"},
		"broker crashes": {func(s *sick) {
			with(s, "ebbtide-broker-0", func(p *corev1.Pod) {
				p.Status = corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}}}}
			})
		}, "broker", Warn, "ebbtide-broker-0 is in CrashLoopBackOff"},
		"broker gone":        {func(s *sick) { without[*coordinationv1.Lease](s, "ebbtide-broker") }, "broker", Fail, "no broker has ever led"},
		"leases hidden":      {func(s *sick) { s.forbidden["Lease"] = true }, "broker", Unknown, "may not list leases"},
		"broker unreachable": {func(s *sick) { s.broker = fmt.Errorf("%w: nobody listens", access.ErrUnreachable) }, "decisions", Fail, "nobody listens"},
		"broker refuses":     {func(s *sick) { s.broker = fmt.Errorf("%w: who are you", access.ErrRefused) }, "decisions", Unknown, "who are you"},
		"old decision":       {func(s *sick) { s.decided = now.Add(-2 * time.Minute) }, "decisions", Fail, "2m0s old"},
		"no GPUs":            {func(s *sick) { with(s, "gpu-0", func(n *corev1.Node) { n.Status.Allocatable = nil }) }, "gpu-nodes", Fail, "no node has GPUs"},
		"no labels":          {func(s *sick) { with(s, "gpu-0", func(n *corev1.Node) { n.Labels = nil }) }, "gpu-nodes", Warn, "gpu-0"},
		"nodes hidden":       {func(s *sick) { s.forbidden["Node"] = true }, "capacity", Unknown, "may not list nodes"},
		"no device plugin": {func(s *sick) {
			with(s, "cpu-0", func(n *corev1.Node) { n.Labels = map[string]string{labelPresent: "true"} })
		}, "device-plugin", Fail, "cpu-0"},
		"a GPU is ill": {func(s *sick) { with(s, "gpu-0", func(n *corev1.Node) { n.Status.Allocatable = gpus(7) }) }, "device-plugin", Warn, "gpu-0 (7 of 8)"},
		"cut without agent": {func(s *sick) {
			with(s, "gpu-0", func(n *corev1.Node) { n.Status.Allocatable["nvidia.com/mig-1g.5gb"] = resource.MustParse("7") })
		}, "agents", Warn, "gpu-0"},
		"agent silent": {func(s *sick) {
			s.objects = append(s.objects, &v1alpha1.GPUNode{ObjectMeta: metav1.ObjectMeta{Name: "gpu-0"}})
		}, "agents", Fail, "2m0s ago on gpu-0"},
		"agent refuses": {func(s *sick) {
			s.objects = append(s.objects, &v1alpha1.GPUNode{ObjectMeta: metav1.ObjectMeta{Name: "gpu-0"}, Status: v1alpha1.GPUNodeStatus{Heartbeat: metav1.NewMicroTime(now), Conditions: condition("Lendable", "False", "an old toolkit")}})
		}, "agents", Warn, "an old toolkit"},
		"no tenants": {func(s *sick) { without[*v1alpha1.TenantQuota](s, "") }, "quotas", Fail, "no tenant"},
		"quota refused": {func(s *sick) {
			with(s, "research", func(q *v1alpha1.TenantQuota) { q.Status.Conditions = condition("Accepted", "False", "h100 differs") })
		}, "quotas", Fail, "research: h100 differs"},
		"quota new":         {func(s *sick) { with(s, "research", func(q *v1alpha1.TenantQuota) { q.Status.Conditions = nil }) }, "quotas", Warn, "research"},
		"promised too much": {func(s *sick) { with(s, "research", func(q *v1alpha1.TenantQuota) { q.Spec.Flavors[0].Nominal = 5 }) }, "capacity", Warn, "h100: 9 promised, 8 there"},
		"no such node":      {func(s *sick) { with(s, "gpu-0", func(n *corev1.Node) { n.Labels[labelProduct] = "A100" }) }, "capacity", Fail, "h100 (nvidia.com/gpu on nodes with nvidia.com/gpu.product=H100)"},
		"of no tenant":      {func(s *sick) { s.objects = append(s.objects, pod("stray", "x", v1alpha1.SchedulerName)) }, "namespaces", Warn, "stray"},
		"of two tenants": {func(s *sick) {
			with(s, "serving", func(q *v1alpha1.TenantQuota) { q.Spec.Namespaces = &metav1.LabelSelector{} })
		}, "namespaces", Fail, "research (research and serving)"},
		"namespaces hidden": {func(s *sick) { s.forbidden["Namespace"] = true }, "namespaces", Unknown, "may not list namespaces"},
		"queue without quota": {func(s *sick) {
			s.objects = append(s.objects, &v1alpha1.TrainingQueue{ObjectMeta: metav1.ObjectMeta{Namespace: "stray", Name: "q"}})
		}, "queues", Fail, "stray/q"},
		"queue paused": {func(s *sick) { with(s, "default", func(q *v1alpha1.TrainingQueue) { q.Spec.Paused = true }) }, "queues", Warn, "research/default"},
		"no queue":     {func(s *sick) { without[*v1alpha1.TrainingQueue](s, "") }, "queues", Warn, "no queue"},
		"lender refused": {func(s *sick) {
			with(s, "chat", func(p *policy) { p.Status.Conditions[0].Status, p.Status.Conditions[0].Message = "False", "no target" })
		}, "lenders", Fail, "serving/chat: no target"},
		"lender new":    {func(s *sick) { with(s, "chat", func(p *policy) { p.Status.Conditions = nil }) }, "lenders", Warn, "serving/chat"},
		"lender paused": {func(s *sick) { with(s, "chat", func(p *policy) { p.Spec.Paused = true }) }, "lenders", Warn, "serving/chat"},
		"recall over": {func(s *sick) {
			with(s, "chat", func(p *policy) { p.Spec.Recall = &v1alpha1.Recall{Until: metav1.NewTime(now)} })
		}, "lenders", OK, "1 lender"},
		"no lender": {func(s *sick) { without[*policy](s, "") }, "lenders", Warn, "no service lends"},
		"load unknown": {func(s *sick) {
			with(s, "chat", func(p *policy) { p.Status.Conditions[1].Status, p.Status.Conditions[1].Message = "False", "no sample" })
		}, "load", Fail, "serving/chat: no sample"},
		"another scheduler's pod": {func(s *sick) { with(s, "chat-0", func(p *corev1.Pod) { p.Spec.SchedulerName = "default-scheduler" }) }, "other-schedulers", Warn, "serving/chat-0 (default-scheduler)"},
		"which has ended": {func(s *sick) {
			with(s, "chat-0", func(p *corev1.Pod) { p.Spec.SchedulerName, p.Status.Phase = "default-scheduler", corev1.PodSucceeded })
		}, "other-schedulers", OK, "1 pod"},
		"pods hidden": {func(s *sick) { s.forbidden["Pod"] = true }, "other-schedulers", Unknown, "may not list pods"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := healthy(t)
			tt.change(s)
			got := s.examine(t)[tt.check]
			if got.Status != tt.status || !strings.Contains(got.Found, tt.found) {
				t.Errorf("%s is %s: %s; want %s with %q", tt.check, got.Status, got.Found, tt.status, tt.found)
			}
		})
	}
}

// advisory is healthy as the overlay advise-only leaves it, with the broker's configuration.
func advisory(t *testing.T, config string) *sick {
	s := healthy(t)
	without[*admissionv1.ValidatingAdmissionPolicy](s, "")
	without[*admissionv1.ValidatingAdmissionPolicyBinding](s, "")
	without[*admissionv1.MutatingAdmissionPolicy](s, "")
	without[*admissionv1.MutatingAdmissionPolicyBinding](s, "")
	without[*coordinationv1.Lease](s, "ebbtide-scheduler")
	without[*corev1.Pod](s, "ebbtide-scheduler-0")
	s.refused["list podgroups"] = true // which the scheduler's account may
	with(s, "ebbtide-broker-0", func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "ledger"}, {Name: "config", VolumeSource: corev1.VolumeSource{
			ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "ebbtide-broker-config-7h2f"}}}}}
	})
	s.objects = append(s.objects, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "ebbtide-broker-config-7h2f"},
		Data: map[string]string{"broker-config.yaml": config}})
	return s
}

// To advise takes neither scheduler nor policies: what is not there is no failure, and what is
// there must work.
func TestAdviseOnly(t *testing.T) {
	shipped, err := os.ReadFile("../../../../deploy/kustomize/overlays/advise-only/broker-config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	advise := string(shipped)
	of := func(f map[string]Finding) (out [3]Status) {
		return [3]Status{f["admission-policies"].Status, f["scheduler"].Status, f["scheduler-account"].Status}
	}
	for name, tt := range map[string]struct {
		config string
		change func(*sick)
		want   [3]Status
	}{
		"as documented":    {advise, func(*sick) {}, [3]Status{Warn, Warn, Warn}},
		"it lends":         {strings.Replace(advise, "advise: true", "advise: false", 1), func(*sick) {}, [3]Status{Fail, Fail, Fail}},
		"not said":         {strings.Replace(advise, "advise: true", "", 1), func(*sick) {}, [3]Status{Fail, Fail, Fail}},
		"not a config":     {"advise: true", func(*sick) {}, [3]Status{Fail, Fail, Fail}},
		"not to be read":   {advise, func(s *sick) { s.forbidden["ConfigMap"] = true }, [3]Status{Fail, Fail, Fail}},
		"with a scheduler": {advise, func(s *sick) { s.objects = append(s.objects, running("ebbtide-scheduler", "ebbtide-scheduler:v1")) }, [3]Status{Warn, Fail, Fail}},
		"one that stopped": {advise, func(s *sick) {
			old := lease(system, "ebbtide-scheduler", "ebbtide-scheduler-6c5-x1")
			old.Spec.RenewTime = ptr.To(metav1.NewMicroTime(now.Add(-time.Hour)))
			s.objects = append(s.objects, old)
		}, [3]Status{Warn, Fail, Warn}},
	} {
		t.Run(name, func(t *testing.T) {
			s := advisory(t, tt.config)
			tt.change(s)
			found := s.examine(t)
			if got := of(found); got != tt.want {
				t.Errorf("admission-policies, scheduler and its account are %v, want %v: %+v", got, tt.want, found)
			}
		})
	}
	found := advisory(t, advise).examine(t)
	if f := found["lenders"]; f.Status != OK || !strings.Contains(f.Found, "1 of them only advise") {
		t.Errorf("lenders are %s: %s", f.Status, f.Found)
	}
	for name, f := range found {
		if f.Status == Fail {
			t.Errorf("%s fails: %s", name, f.Found)
		}
	}
}

// The API server's time is taken from its answers.
func TestTold(t *testing.T) {
	for name, tt := range map[string]struct {
		date  string
		ahead time.Duration
		known bool
	}{
		"the same":         {now.Format(http.TimeFormat), 0, true},
		"a second's sight": {now.Add(time.Second).Format(http.TimeFormat), 0, true},
		"ahead":            {now.Add(time.Minute).Format(http.TimeFormat), time.Minute, true},
		"behind":           {now.Add(-time.Minute).Format(http.TimeFormat), -time.Minute, true},
		"no date":          {"", 0, false},
		"no time":          {"soon", 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header()["Date"] = []string{tt.date} }))
			defer server.Close()
			listening := &told{clock: clocktesting.NewFakePassiveClock(now.Add(900 * time.Millisecond))}
			answer, err := (&http.Client{Transport: listening.by(http.DefaultTransport)}).Get(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			answer.Body.Close()
			if ahead, known := listening.ahead(); ahead != tt.ahead || known != tt.known {
				t.Errorf("%s ahead, known: %t", ahead, known)
			}
		})
	}
}

func TestFailed(t *testing.T) {
	if Failed([]Finding{{Status: Warn}, {Status: Unknown}, {Status: OK}}) || !Failed([]Finding{{Status: OK}, {Status: Fail}}) {
		t.Error("only a check that fails is a failure")
	}
}
