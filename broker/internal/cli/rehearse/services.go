package rehearse

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/broker/workload"
)

// servingNamespace is where services are of which nothing says where, and the name of the
// tenant whose they are.
const servingNamespace = "serving"

// service is a load with the policy about it.
type service struct {
	load   *load
	policy *v1alpha1.LendingPolicy
	flavor string
	// perNode is how many units a node of the flavor has.
	perNode int64
	made    bool // the policy is assumed
}

// name of the policy.
func (s *service) name() string { return s.policy.Namespace + "/" + s.policy.Name }

// match finds the policy about each load, and makes one where there are none at all.
func (b *builder) match() error {
	policies := of[*v1alpha1.LendingPolicy](b.rules)
	used := map[string]string{}
	for i := range b.history.loads {
		s := &service{load: &b.history.loads[i]}
		p, err := find(policies, s.load.Service)
		if err != nil {
			return fmt.Errorf("--config: %w", err)
		}
		switch {
		case p != nil && used[title(p)] != "":
			return fmt.Errorf("--load: services %s and %s are both about %s", used[title(p)], s.load.Service, title(p))
		case p != nil:
			used[title(p)] = s.load.Service
		case len(policies) > 0 || b.quotas:
			return fmt.Errorf("--config: no LendingPolicy is about service %s of --load: name one so, or name the service otherwise with NAME=FILE", s.load.Service)
		default:
			if p, err = assumedPolicy(s.load.Service); err != nil {
				return err
			}
			s.made = true
		}
		s.policy = p.DeepCopy()
		b.services = append(b.services, s)
	}
	for _, p := range policies {
		if used[title(p)] == "" {
			b.missing("%s: no load is known of it; it is left out", title(p))
			b.rules.drop(p)
		}
	}
	return nil
}

// find the policy of a name, namespace/name or the name of its target.
func find(policies []*v1alpha1.LendingPolicy, name string) (*v1alpha1.LendingPolicy, error) {
	var found []*v1alpha1.LendingPolicy
	for _, is := range []func(*v1alpha1.LendingPolicy) bool{
		func(p *v1alpha1.LendingPolicy) bool { return p.Namespace+"/"+p.Name == name },
		func(p *v1alpha1.LendingPolicy) bool { return p.Name == name },
		func(p *v1alpha1.LendingPolicy) bool { return p.Spec.TargetRef.Name == name },
	} {
		for _, p := range policies {
			if is(p) {
				found = append(found, p)
			}
		}
		switch len(found) {
		case 0:
			continue
		case 1:
			return found[0], nil
		}
		return nil, fmt.Errorf("service %s could be %s or %s: name it with its namespace", name, title(found[0]), title(found[1]))
	}
	return nil, nil
}

// assumedPolicy is what somebody has who has written down no more than a target.
func assumedPolicy(name string) (*v1alpha1.LendingPolicy, error) {
	namespace, own, found := strings.Cut(name, "/")
	if !found {
		namespace, own = servingNamespace, name
	}
	u := &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"namespace": namespace, "name": own},
		"spec":     map[string]any{"targetRef": map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "name": own}},
	}}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("LendingPolicy"))
	p := &v1alpha1.LendingPolicy{}
	if err := admitted(u, p); err != nil {
		return nil, fmt.Errorf("--load: making a LendingPolicy for %s: %w", name, err)
	}
	return p, nil
}

// drop removes an object.
func (o *Objects) drop(object client.Object) {
	o.all = slices.DeleteFunc(o.all, func(a client.Object) bool { return title(a) == title(object) })
}

// size gives each service a flavor, an owned number of units and a target, where they are
// not said.
func (b *builder) size() error {
	for _, s := range b.services {
		s.flavor = cmp.Or(s.policy.Spec.Flavor, s.load.flavor, b.homeFlavor(s), b.main)
		if b.units[s.flavor] == 0 {
			return fmt.Errorf("--nodes: no node has any of flavor %q, of which LendingPolicy %s is", s.flavor, s.name())
		}
		s.perNode = b.largest[s.flavor]
		if n := b.in.Services.GPUs; n > s.perNode {
			return fmt.Errorf("--gpus-per-replica: is %d, and no node has more than %d of %s", n, s.perNode, s.flavor)
		}
		if s.policy.Spec.Flavor == "" && (s.made || !b.quotas) {
			s.policy.Spec.Flavor = s.flavor
		}
		b.target(s)
		if s.policy.Spec.Owned == nil && !b.autoscaled(s) {
			owned := b.owned(s)
			if owned < 1 {
				return fmt.Errorf("--owned-share: leaves service %s no GPU", s.load.Service)
			}
			s.policy.Spec.Owned = &owned
		}
		b.rules.put(s.policy)
	}
	return nil
}

// target makes sure that the policy's target can be read.
func (b *builder) target(s *service) {
	ref := &s.policy.Spec.TargetRef
	key := client.ObjectKey{Namespace: s.policy.Namespace, Name: ref.Name}
	for _, object := range b.rules.all {
		if kindOf(object) == ref.Kind && client.ObjectKeyFromObject(object) == key {
			return
		}
	}
	units := cmp.Or(s.load.units, b.in.Services.GPUs, min(s.perNode, 8))
	if s.load.units == 0 {
		b.note("a replica of %s has %d GPUs", s.load.Service, units)
	}
	ref.APIVersion, ref.Kind = appsv1.SchemeGroupVersion.String(), "Deployment"
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	limits := corev1.ResourceList{b.resource(s.flavor): *resource.NewQuantity(units, resource.DecimalSI)}
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "server", Resources: corev1.ResourceRequirements{Limits: limits, Requests: limits}}}
	d.Spec.Template.Spec.NodeSelector = b.selector(s.flavor)
	b.rules.put(d)
}

// quotaOf is the first that defines a flavor.
func (b *builder) quotaOf(flavor string) *v1alpha1.FlavorQuota {
	for _, q := range of[*v1alpha1.TenantQuota](b.rules) {
		for i := range q.Spec.Flavors {
			if q.Spec.Flavors[i].Name == flavor {
				return &q.Spec.Flavors[i]
			}
		}
	}
	return nil
}

func (b *builder) resource(flavor string) corev1.ResourceName {
	if q := b.quotaOf(flavor); q != nil {
		return corev1.ResourceName(q.Resource)
	}
	return gpuResource
}

func (b *builder) selector(flavor string) map[string]string {
	if q := b.quotaOf(flavor); q != nil {
		return q.NodeSelector
	}
	return nil
}

// autoscaled tells whether a HorizontalPodAutoscaler says how many replicas there may be.
func (b *builder) autoscaled(s *service) bool {
	for _, h := range of[*autoscalingv2.HorizontalPodAutoscaler](b.rules) {
		if ref := h.Spec.ScaleTargetRef; h.Namespace == s.policy.Namespace && ref.Kind == s.policy.Spec.TargetRef.Kind && ref.Name == s.policy.Spec.TargetRef.Name {
			return true
		}
	}
	return false
}

// homeFlavor is that of the nodes whose home the service is.
func (b *builder) homeFlavor(s *service) string {
	for _, n := range b.nodes {
		if isHome(n.Home, s) && len(n.Units) > 0 {
			return n.Units[0].Flavor
		}
	}
	return ""
}

func isHome(home string, s *service) bool {
	return home != "" && (home == s.load.Service || home == s.name())
}

// owned is what a service owns of which no policy says it: the nodes that are its home,
// what it held at most, or its part of what all services own.
func (b *builder) owned(s *service) int64 {
	home := int64(0)
	for _, n := range b.nodes {
		for _, u := range n.Units {
			if isHome(n.Home, s) && u.Flavor == s.flavor {
				home += u.Count
			}
		}
	}
	_, _, highest := known(s.load.Curve, b.history.length)
	switch {
	case home > 0:
		return home
	case s.load.most > 0 && s.load.units > 0:
		b.note("%s owns as many GPUs as its replicas had at once: %d", s.load.Service, s.load.most*s.load.units)
		return s.load.most * s.load.units
	case s.load.Unit == workload.Nodes:
		b.note("%s owns as many nodes as it held at most", s.load.Service)
		return int64(highest) * s.perNode
	case s.load.Unit == workload.GPUs:
		b.note("%s owns as many GPUs as it held at most", s.load.Service)
		return int64(highest)
	}
	nodes := int64(float64(b.units[s.flavor])*b.in.Services.Share/float64(len(b.services))) / s.perNode
	b.note("%s owns %d GPUs: the services have %.0f%% of all together, in equal parts", s.load.Service, nodes*s.perNode, b.in.Services.Share*100)
	return nodes * s.perNode
}

// settle gives nodes to services as their home, as many as hold what they own.
func (b *builder) settle(services []sim.Service) error {
	for i := range b.nodes {
		for _, s := range b.services {
			if isHome(b.nodes[i].Home, s) {
				b.nodes[i].Home = s.name()
			}
		}
	}
	for i := range services {
		l := &services[i].Lender
		left := l.Owned
		for _, empty := range []bool{false, true} {
			for k := range b.nodes {
				n := &b.nodes[k]
				if left <= 0 || empty != (n.Home == "") || !empty && n.Home != l.Name {
					continue
				}
				for _, u := range n.Units {
					if u.Flavor == l.Flavor && u.Count > 0 {
						n.Home = l.Name
						left -= u.Count
					}
				}
			}
		}
		if left > 0 {
			return fmt.Errorf("--nodes: %d GPUs of %s are too few for what services own: LendingPolicy %s has %d, and finds %d", b.units[l.Flavor], l.Flavor, l.Name, l.Owned, l.Owned-left)
		}
	}
	return nil
}
