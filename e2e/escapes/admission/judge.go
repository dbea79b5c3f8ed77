package admission

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	registration "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

// User is who asks.
type User struct {
	Name   string
	Groups []string
	// Quotas: may update TenantQuotas, which some policies ask for.
	Quotas bool
}

// schedulers may bind pods everywhere, by Kubernetes' own role for them.
var schedulers = map[string]bool{
	"system:kube-scheduler": true, "system:serviceaccount:ebbtide-system:ebbtide-scheduler": true,
}

// Request is what is asked. Object is nil for a deletion, Old for a creation.
type Request struct {
	User User
	// Resource is its plural, with the group and the version.
	Resource schema.GroupVersionResource
	// Subresource is empty for the object itself.
	Subresource string
	Kind        schema.GroupVersionKind
	Object, Old *unstructured.Unstructured
}

// Judge knows the policies.
type Judge struct {
	plugin *validating.Plugin
	quotas authorizerFunc
	scheme *runtime.Scheme
}

// authorizerFunc answers the policies' questions about the one who asks.
type authorizerFunc map[string]bool

func (f authorizerFunc) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	quotas := a.GetAPIGroup() == "ebbtide.dev" && a.GetResource() == "tenantquotas" && f[a.GetUser().GetName()]
	binds := a.GetResource() == "pods" && a.GetSubresource() == "binding" && a.GetNamespace() == "" && schedulers[a.GetUser().GetName()]
	if quotas || binds {
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}

// New reads the policies of a stream of YAML documents. namespaces are those that there are,
// params what policies are evaluated with. It must be given no other users than in requests.
// What it has started ends with ctx.
func New(ctx context.Context, stream []byte, users []User, namespaces []*corev1.Namespace, params ...*unstructured.Unstructured) (*Judge, error) {
	j := &Judge{quotas: authorizerFunc{}, scheme: clientgoscheme.Scheme}
	for _, u := range users {
		j.quotas[u.Name] = u.Quotas
	}
	objects, err := policies(stream)
	if err != nil {
		return nil, err
	}
	for _, namespace := range namespaces {
		namespace = namespace.DeepCopy()
		metav1.SetMetaDataLabel(&namespace.ObjectMeta, corev1.LabelMetadataName, namespace.Name)
		objects = append(objects, namespace)
	}
	client := fake.NewClientset(objects...)
	mapper := meta.NewDefaultRESTMapper(nil)
	lists := map[schema.GroupVersionResource]string{}
	for kind, gvr := range paramKinds {
		mapper.AddSpecific(kind, gvr, gvr, meta.RESTScopeRoot)
		lists[gvr] = kind.Kind + "List"
	}
	var given []runtime.Object
	for _, p := range params {
		given = append(given, p)
	}
	scheme := runtime.NewScheme()
	dynamic := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(scheme, lists, given...)
	if j.plugin, err = validating.NewPlugin(nil); err != nil {
		return nil, fmt.Errorf("make the admission plugin: %w", err)
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	j.plugin.SetExternalKubeClientSet(client)
	j.plugin.SetExternalKubeInformerFactory(factory)
	j.plugin.SetDynamicClient(dynamic)
	j.plugin.SetRESTMapper(mapper)
	j.plugin.SetAuthorizer(j.quotas)
	j.plugin.SetDrainedNotification(ctx.Done())
	if err := j.plugin.ValidateInitialization(); err != nil {
		return nil, fmt.Errorf("start the admission plugin: %w", err)
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	for began := time.Now(); !j.plugin.WaitForReady(); { // which waits for ten seconds
		if err := ctx.Err(); err != nil || time.Since(began) > patience {
			return nil, errors.Join(fmt.Errorf("the admission plugin knows no policies after %s", time.Since(began)), err)
		}
	}
	return j, nil
}

// patience is how long it may take until the policies are compiled, on a machine with much
// else to do.
const patience = 3 * time.Minute

// paramKinds are the kinds that policies have parameters of.
var paramKinds = map[schema.GroupVersionKind]schema.GroupVersionResource{
	{Group: "ebbtide.dev", Version: "v1alpha1", Kind: "TenantQuota"}: {Group: "ebbtide.dev", Version: "v1alpha1", Resource: "tenantquotas"},
	{Group: "resource.k8s.io", Version: "v1", Kind: "DeviceClass"}:   {Group: "resource.k8s.io", Version: "v1", Resource: "deviceclasses"},
}

// policies are the validating ones of a stream, with their bindings.
func policies(stream []byte) (out []runtime.Object, err error) {
	for _, document := range bytes.Split(bytes.TrimPrefix(stream, []byte("---\n")), []byte("\n---\n")) {
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal(document, &kind); err != nil {
			return nil, fmt.Errorf("read a document: %w", err)
		}
		var o runtime.Object
		switch kind.Kind {
		case "ValidatingAdmissionPolicy":
			o = &registration.ValidatingAdmissionPolicy{}
		case "ValidatingAdmissionPolicyBinding":
			o = &registration.ValidatingAdmissionPolicyBinding{}
		default:
			continue
		}
		if err := yaml.UnmarshalStrict(document, o); err != nil {
			return nil, fmt.Errorf("read a %s: %w", kind.Kind, err)
		}
		defaults(o)
		out = append(out, o)
	}
	return out, nil
}

// defaults are those of the API server that matching needs.
func defaults(o runtime.Object) {
	equivalent, all := registration.Equivalent, registration.AllScopes
	var m *registration.MatchResources
	switch o := o.(type) {
	case *registration.ValidatingAdmissionPolicy:
		m = o.Spec.MatchConstraints
	case *registration.ValidatingAdmissionPolicyBinding:
		m = o.Spec.MatchResources
	}
	if m == nil {
		return
	}
	if m.MatchPolicy == nil {
		m.MatchPolicy = &equivalent
	}
	if m.NamespaceSelector == nil {
		m.NamespaceSelector = &metav1.LabelSelector{}
	}
	if m.ObjectSelector == nil {
		m.ObjectSelector = &metav1.LabelSelector{}
	}
	for i := range m.ResourceRules {
		if m.ResourceRules[i].Scope == nil {
			m.ResourceRules[i].Scope = &all
		}
	}
}

// Judge is the API server's answer: nil, or the refusal.
func (j *Judge) Judge(ctx context.Context, r Request) error {
	operation, subject := admission.Update, r.Object
	var options runtime.Object = &metav1.UpdateOptions{}
	switch {
	case r.Old == nil:
		operation, options = admission.Create, &metav1.CreateOptions{}
	case r.Object == nil:
		operation, subject, options = admission.Delete, r.Old, &metav1.DeleteOptions{}
	}
	// An interface that holds a nil pointer is no nil.
	var object, old runtime.Object
	if r.Object != nil {
		object = r.Object
	}
	if r.Old != nil {
		old = r.Old
	}
	info := &user.DefaultInfo{Name: r.User.Name, Groups: append([]string{user.AllAuthenticated}, r.User.Groups...)}
	attributes := admission.NewAttributesRecord(object, old, r.Kind, subject.GetNamespace(), subject.GetName(),
		r.Resource, r.Subresource, operation, options, false, info)
	return j.plugin.Validate(ctx, attributes, admission.NewObjectInterfacesFromScheme(j.scheme))
}
