package rehearse

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/internal/past"
	"github.com/ebbtide/ebbtide/broker/internal/signal"
	"github.com/ebbtide/ebbtide/broker/workload"
)

// Live reads from a cluster what Objects can have. Whoever asks must be allowed to list it
// in all namespaces.
func Live(ctx context.Context, config *rest.Config) (*Objects, error) {
	from, err := newReader(config)
	if err != nil {
		return nil, err
	}
	o := &Objects{}
	for _, list := range []client.ObjectList{
		&v1alpha1.LendingPolicyList{}, &v1alpha1.TenantQuotaList{}, &v1alpha1.TrainingQueueList{}, &corev1.NamespaceList{},
		&appsv1.DeploymentList{}, &appsv1.StatefulSetList{}, &autoscalingv2.HorizontalPodAutoscalerList{},
	} {
		kind := strings.TrimSuffix(kindOf(list), "List")
		if err := from.List(ctx, list); err != nil {
			return nil, fmt.Errorf("list all of kind %s: %w", kind, err)
		}
		if err := meta.EachListItem(list, func(item runtime.Object) error { o.put(item.(client.Object)); return nil }); err != nil {
			return nil, fmt.Errorf("list all of kind %s: %w", kind, err)
		}
	}
	return o, nil
}

// newReader knows its kinds by heart and makes no discovery requests.
func newReader(config *rest.Config) (client.Reader, error) {
	scheme, mapper := runtime.NewScheme(), meta.NewDefaultRESTMapper(nil)
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, appsv1.AddToScheme, autoscalingv2.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("register API types: %w", err)
		}
	}
	for kind, empty := range played {
		scope := meta.RESTScopeNamespace
		if isOfCluster(kind.Kind) {
			scope = meta.RESTScopeRoot
		}
		known, _, err := scheme.ObjectKinds(empty())
		if err != nil {
			return nil, fmt.Errorf("register API types: %w", err)
		}
		mapper.Add(known[0], scope)
	}
	config = rest.CopyConfig(config)
	config.ContentType = runtime.ContentTypeJSON // one form for built-in kinds and ours
	c, err := client.New(config, client.Options{Scheme: scheme, Mapper: mapper})
	if err != nil {
		return nil, fmt.Errorf("make a client for %s: %w", config.Host, err)
	}
	return c, nil
}

func isOfCluster(kind string) bool { return kind == "Namespace" || kind == "TenantQuota" }

// questionTime bounds one question to Prometheus; those about the past are slow.
const questionTime = time.Minute

// Ask asks a Prometheus what the services, nodes and jobs of the inputs' rules lived through
// until now, for as long as last.
func (in *Inputs) Ask(ctx context.Context, url string, now time.Time, last time.Duration) error {
	if in.Rules == nil || len(of[*v1alpha1.LendingPolicy](in.Rules)) == 0 {
		return errors.New("--from-prometheus: there is no LendingPolicy, and so no service whose load counts: --config may have some")
	}
	b := &builder{rules: in.Rules.clone()}
	b.namespaces()
	r, err := (&gather.Gatherer{Cache: b.rules, Live: b.rules}).Rest(ctx, now)
	if err != nil {
		return fmt.Errorf("reading the rules: %w", err)
	}
	w := past.Window{
		Start: now.Add(-last), End: now, Jobs: workload.Options{Costs: in.Costs, Unqueued: true},
		Tenant: func(namespace string) string {
			if tenant := r.TenantOf[namespace]; tenant != "" {
				return tenant
			}
			return namespace
		},
	}
	for _, p := range of[*v1alpha1.LendingPolicy](b.rules) {
		w.Policies = append(w.Policies, *p)
	}
	known := map[string]bool{}
	for _, q := range of[*v1alpha1.TenantQuota](b.rules) {
		for _, f := range q.Spec.Flavors {
			if !known[f.Name] {
				known[f.Name] = true
				w.Flavors = append(w.Flavors, past.Flavor{Name: f.Name, Resource: corev1.ResourceName(f.Resource), NodeSelector: f.NodeSelector})
			}
		}
	}
	prometheus, err := signal.NewPrometheus(url, questionTime)
	if err == nil {
		in.Town, err = past.Ask(ctx, prometheus, w)
	}
	if err != nil {
		return fmt.Errorf("--from-prometheus: %w", err)
	}
	return nil
}
