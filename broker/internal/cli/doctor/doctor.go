package doctor

import (
	"context"
	"fmt"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	extensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/cli/access"
)

// Status of a check.
type Status string

const (
	// OK: as it must be.
	OK Status = "ok"
	// Warn: it works, and somebody should look at it.
	Warn Status = "warn"
	// Fail: something does not work.
	Fail Status = "fail"
	// Unknown: it could not be looked at.
	Unknown Status = "unknown"
)

// Finding is what one check found.
type Finding struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	// Found is what is there, Mend what to do about it; empty if that is nothing.
	Found string `json:"found"`
	Mend  string `json:"mend,omitempty"`
}

// Broker is what is asked of one.
type Broker interface {
	Lenders(ctx context.Context) ([]access.Lender, time.Time, error)
}

// Cluster is what is looked at.
type Cluster struct {
	API    client.Client
	Broker Broker
	// Version of the API server.
	Version func() (*version.Info, error)
	// Clock is the caller's, and Ahead how far the API server's is ahead of it; false if it
	// has not said.
	Clock clock.PassiveClock
	Ahead func() (time.Duration, bool)

	seen world
	// now is by the API server's clock: the caller's says nothing about the cluster.
	now time.Time
}

// system is the namespace of Ebbtide's programs.
const system = access.SystemNamespace

// New looks at the cluster of a connection.
func New(config *rest.Config, broker Broker, own clock.PassiveClock) (*Cluster, error) {
	config = rest.CopyConfig(config)
	told := &told{clock: own}
	config.Wrap(told.by)
	config.ContentType = runtime.ContentTypeJSON
	config.QPS, config.Burst = 100, 200 // some two hundred small questions
	api, err := client.New(config, client.Options{Scheme: scheme(), Mapper: mapper()})
	if err != nil {
		return nil, fmt.Errorf("make a client for %s: %w", config.Host, err)
	}
	server, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client for %s: %w", config.Host, err)
	}
	return &Cluster{API: api, Broker: broker, Version: server.ServerVersion, Clock: own, Ahead: told.ahead}, nil
}

func scheme() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		admissionv1.AddToScheme, appsv1.AddToScheme, authorizationv1.AddToScheme, coordinationv1.AddToScheme,
		corev1.AddToScheme, schedulingv1.AddToScheme, extensionsv1.AddToScheme, v1alpha1.AddToScheme,
	} {
		if err := add(s); err != nil {
			panic(fmt.Sprintf("register API types: %v", err)) // two types claim one kind: a broken build
		}
	}
	return s
}

// mapper knows the kinds by heart: a server that cannot be asked what it serves is one of the
// things to find out.
func mapper() meta.RESTMapper {
	m := meta.NewDefaultRESTMapper(nil)
	root, namespaced := meta.RESTScopeRoot, meta.RESTScopeNamespace
	for _, kind := range []string{"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"} {
		m.Add(admissionv1.SchemeGroupVersion.WithKind(kind), root)
	}
	m.Add(extensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"), root)
	m.Add(schedulingv1.SchemeGroupVersion.WithKind("PriorityClass"), root)
	m.Add(corev1.SchemeGroupVersion.WithKind("Node"), root)
	m.Add(corev1.SchemeGroupVersion.WithKind("Namespace"), root)
	m.Add(corev1.SchemeGroupVersion.WithKind("Pod"), namespaced)
	m.Add(corev1.SchemeGroupVersion.WithKind("ConfigMap"), namespaced)
	m.Add(appsv1.SchemeGroupVersion.WithKind("DaemonSet"), namespaced)
	m.Add(coordinationv1.SchemeGroupVersion.WithKind("Lease"), namespaced)
	m.Add(authorizationv1.SchemeGroupVersion.WithKind("SubjectAccessReview"), root)
	m.Add(authorizationv1.SchemeGroupVersion.WithKind("SelfSubjectAccessReview"), root)
	m.Add(v1alpha1.GroupVersion.WithKind("TenantQuota"), root)
	m.Add(v1alpha1.GroupVersion.WithKind("GPUNode"), root)
	m.Add(v1alpha1.GroupVersion.WithKind("LendingPolicy"), namespaced)
	m.Add(v1alpha1.GroupVersion.WithKind("TrainingQueue"), namespaced)
	return m
}

// Examine makes all checks, in the order in which things are installed. ctx bounds each
// question; what fails to answer is Unknown.
func (c *Cluster) Examine(ctx context.Context) []Finding {
	c.look(ctx)
	ahead, _ := c.Ahead()
	c.now = c.Clock.Now().Add(ahead)
	checks := []struct {
		name string
		run  func(context.Context) Finding
	}{
		{"kubernetes", c.kubernetes},
		{"definitions", c.definitions},
		{"admission-policies", c.policies},
		{"priority-classes", c.classes},
		{"broker-account", func(ctx context.Context) Finding { return c.account(ctx, brokerName) }},
		{"scheduler-account", func(ctx context.Context) Finding { return c.account(ctx, schedulerName) }},
		{"versions", c.versions},
		{"clock", c.clock},
		{"scheduler", c.scheduler},
		{"broker", c.broker},
		{"decisions", c.decisions},
		{"gpu-nodes", c.gpuNodes},
		{"device-plugin", c.devicePlugin},
		{"agents", c.agents},
		{"quotas", c.quotas},
		{"capacity", c.capacity},
		{"namespaces", c.namespaces},
		{"queues", c.queues},
		{"lenders", c.lenders},
		{"load", c.load},
		{"other-schedulers", c.otherSchedulers},
	}
	findings := make([]Finding, len(checks))
	for i, check := range checks {
		f := check.run(ctx)
		f.Name = check.name
		findings[i] = f
	}
	return findings
}

// Failed tells whether any check failed.
func Failed(findings []Finding) bool {
	for _, f := range findings {
		if f.Status == Fail {
			return true
		}
	}
	return false
}

func ok(format string, args ...any) Finding {
	return Finding{Status: OK, Found: fmt.Sprintf(format, args...)}
}

func warn(mend, format string, args ...any) Finding {
	return Finding{Status: Warn, Mend: mend, Found: fmt.Sprintf(format, args...)}
}

func fail(mend, format string, args ...any) Finding {
	return Finding{Status: Fail, Mend: mend, Found: fmt.Sprintf(format, args...)}
}

func unknown(mend, format string, args ...any) Finding {
	return Finding{Status: Unknown, Mend: mend, Found: fmt.Sprintf(format, args...)}
}
