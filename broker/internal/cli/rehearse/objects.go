package rehearse

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/cli/definition"
)

// Objects are API objects in memory, with which no two have one name. As a client.Reader
// they are all that there is.
type Objects struct {
	all []client.Object
	// Notes say which were left out.
	Notes []string
}

// played are the kinds that make a difference, with an empty object of each.
var played = map[schema.GroupKind]func() client.Object{
	{Group: v1alpha1.GroupVersion.Group, Kind: "LendingPolicy"}: func() client.Object { return &v1alpha1.LendingPolicy{} },
	{Group: v1alpha1.GroupVersion.Group, Kind: "TenantQuota"}:   func() client.Object { return &v1alpha1.TenantQuota{} },
	{Group: v1alpha1.GroupVersion.Group, Kind: "TrainingQueue"}: func() client.Object { return &v1alpha1.TrainingQueue{} },
	{Kind: "Namespace"}:                                     func() client.Object { return &corev1.Namespace{} },
	{Group: "apps", Kind: "Deployment"}:                     func() client.Object { return &appsv1.Deployment{} },
	{Group: "apps", Kind: "StatefulSet"}:                    func() client.Object { return &appsv1.StatefulSet{} },
	{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}: func() client.Object { return &autoscalingv2.HorizontalPodAutoscaler{} },
}

// ReadObjects reads the objects of a YAML or JSON stream; those of kinds by which nothing is
// decided are left out, with a note. name is the file's, for errors.
func ReadObjects(name string, r io.Reader) (*Objects, error) {
	o := &Objects{}
	documents := utilyaml.NewYAMLReader(bufio.NewReader(r))
	for n := 1; ; n++ {
		text, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return o, nil
		}
		if err == nil {
			err = o.document(name, text)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: document %d: %w", name, n, err)
		}
	}
}

func (o *Objects) document(name string, text []byte) error {
	fields, err := fieldsOf(text)
	if err != nil {
		return err
	}
	if len(fields) == 0 {
		return nil // only comments
	}
	object := &unstructured.Unstructured{Object: fields}
	if object.IsList() {
		return object.EachListItem(func(item runtime.Object) error { return o.decode(name, item.(*unstructured.Unstructured)) })
	}
	return o.decode(name, object)
}

// fieldsOf reads one document, with whole numbers as such.
func fieldsOf(text []byte) (fields map[string]any, err error) {
	asJSON, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return nil, err
	}
	return fields, utiljson.Unmarshal(asJSON, &fields)
}

func (o *Objects) decode(name string, u *unstructured.Unstructured) error {
	kind := u.GroupVersionKind().GroupKind()
	if kind.Kind == "" || u.GetName() == "" {
		return errors.New("kind and metadata.name must be given")
	}
	empty, is := played[kind]
	if !is {
		o.Notes = append(o.Notes, fmt.Sprintf("%s: %s %s is left out: nothing is decided by it", name, kind.Kind, u.GetName()))
		return nil
	}
	if isOfCluster(kind.Kind) {
		u.SetNamespace("")
	} else if u.GetNamespace() == "" {
		return fmt.Errorf("%s %s: metadata.namespace must be given", kind.Kind, u.GetName())
	}
	object := empty()
	if err := admitted(u, object); err != nil {
		return fmt.Errorf("%s: %w", titleOf(kind.Kind, u), err)
	}
	o.put(object)
	return nil
}

// admitted reads what the API server makes of an object; of kinds that are not ours it only
// has to be readable.
func admitted(u *unstructured.Unstructured, into client.Object) error {
	if u.GroupVersionKind().Group == v1alpha1.GroupVersion.Group {
		d, err := definition.Of(u.GroupVersionKind())
		if err != nil {
			return err
		}
		if err := d.Admit(u); err != nil {
			return err
		}
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, into); err != nil {
		return err
	}
	into.GetObjectKind().SetGroupVersionKind(u.GroupVersionKind())
	return nil
}

// put adds an object, in the place of the one of that name.
func (o *Objects) put(object client.Object) (old client.Object) {
	if object.GetUID() == "" {
		object.SetUID(types.UID(title(object)))
	}
	i := slices.IndexFunc(o.all, func(a client.Object) bool { return title(a) == title(object) })
	if i < 0 {
		o.all = append(o.all, object)
		return nil
	}
	old, o.all[i] = o.all[i], object
	return old
}

// title of an object: its kind, and its name in its namespace.
func title(o client.Object) string { return titleOf(kindOf(o), o) }

func titleOf(kind string, o metav1.Object) string {
	name := o.GetName()
	if o.GetNamespace() != "" {
		name = o.GetNamespace() + "/" + name
	}
	return kind + " " + name
}

func kindOf(o any) string { return reflect.TypeOf(o).Elem().Name() }

// With returns the objects with others in the place of those of the same names, or beside
// them.
func (o *Objects) With(others *Objects) *Objects {
	out := &Objects{all: slices.Clone(o.all), Notes: append(slices.Clone(o.Notes), others.Notes...)}
	for _, object := range others.all {
		out.put(object)
	}
	return out
}

// clone can be added to without a change to the original.
func (o *Objects) clone() *Objects { return o.With(&Objects{}) }

// of are the objects of one kind.
func of[T client.Object](o *Objects) []T {
	var list []T
	for _, object := range o.all {
		if t, is := object.(T); is {
			list = append(list, t)
		}
	}
	return list
}

// Get implements client.Reader.
func (o *Objects) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	for _, object := range o.all {
		if reflect.TypeOf(object) == reflect.TypeOf(into) && client.ObjectKeyFromObject(object) == key {
			reflect.ValueOf(into).Elem().Set(reflect.ValueOf(object.DeepCopyObject()).Elem())
			return nil
		}
	}
	return apierrors.NewNotFound(schema.GroupResource{Resource: strings.ToLower(kindOf(into))}, key.String())
}

// List implements client.Reader.
func (o *Objects) List(_ context.Context, into client.ObjectList, _ ...client.ListOption) error {
	kind := strings.TrimSuffix(kindOf(into), "List")
	var items []runtime.Object
	for _, object := range o.all {
		if kindOf(object) == kind {
			items = append(items, object.DeepCopyObject())
		}
	}
	return meta.SetList(into, items)
}
