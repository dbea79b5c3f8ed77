package deploy_test

import (
	"context"
	"os"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

const oneReshape = `{reshapes: [{id: r1, gpu: GPU-a, lender: serving/chat, from: a100-1g, to: a100-4g, base: "0@0#1", undoSeconds: 7,
  destroy: [{profile: 0, start: 0}], create: [{profile: 3, start: 0}]}]}`

// The broker writes a GPUNode's spec and the agents its status; others do no more than to
// ask for an undo, which stays asked for.
func TestGPUNodesAreTheBrokersAndTheAgents(t *testing.T) {
	c := testCluster(t)
	as := func(user string) func(name, patch string, sub ...string) error {
		return func(name, patch string, sub ...string) error {
			_, err := c.ebbtide(t, user, "gpunodes", false, "").Patch(t.Context(), name, types.MergePatchType, []byte(patch),
				metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}}, sub...)
			return err
		}
	}
	// updates is what a user does who reads, changes and writes, as the broker and the
	// scheduler do.
	updates := func(user string, change func(*unstructured.Unstructured)) error {
		object, err := c.ebbtide(t, administrator, "gpunodes", false, "").Get(t.Context(), "gpu-7", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		change(object)
		_, err = c.ebbtide(t, user, "gpunodes", false, "").Update(t.Context(), object, metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	set := func(value any, fields ...string) func(*unstructured.Unstructured) {
		return func(o *unstructured.Unstructured) {
			if err := unstructured.SetNestedField(o.Object, value, fields...); err != nil {
				t.Fatal(err)
			}
		}
	}
	reshape := func(change func(map[string]any)) func(*unstructured.Unstructured) {
		return func(o *unstructured.Unstructured) {
			list, _, _ := unstructured.NestedSlice(o.Object, "spec", "reshapes")
			change(list[0].(map[string]any))
			if err := unstructured.SetNestedSlice(o.Object, list, "spec", "reshapes"); err != nil {
				t.Fatal(err)
			}
		}
	}
	undo := reshape(func(r map[string]any) { r["undo"] = true })
	made := func(user, name, spec string) error {
		_, err := c.ebbtide(t, user, "gpunodes", false, "").Create(t.Context(), ebbtideObject(t, "GPUNode", name, "spec: "+spec), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	admin := c.ebbtide(t, administrator, "gpunodes", false, "")
	if _, err := admin.Create(t.Context(), ebbtideObject(t, "GPUNode", "gpu-7", "spec: {}"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Delete(context.WithoutCancel(t.Context()), "gpu-7", metav1.DeleteOptions{}) })
	with := ebbtideObject(t, "GPUNode", "gpu-7", "spec: "+oneReshape)
	err := func() error {
		object, err := admin.Get(t.Context(), "gpu-7", metav1.GetOptions{})
		if err != nil {
			return err
		}
		object.Object["spec"] = with.Object["spec"]
		_, err = c.ebbtide(t, broker, "gpunodes", false, "").Update(t.Context(), object, metav1.UpdateOptions{})
		return err
	}()
	wantOutcome(t, err, "")

	const (
		pins   = "spec.pinned: only the broker writes it"
		list   = "spec.reshapes: only the broker adds and removes them"
		status = "status: only the agents write it"
		fixed  = "a reshape does not change but for undo"
		more   = "metadata: the scheduler sets spec.reshapes[].undo to true"
	)
	pinned := []any{map[string]any{"gpu": "GPU-a", "places": []any{map[string]any{"profile": int64(0), "start": int64(4)}}}}
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"the broker pins":                          {updates(broker, set(pinned, "spec", "pinned")), ""},
		"the broker takes one off the list":        {updates(broker, set([]any{}, "spec", "reshapes")), ""},
		"the broker changes one":                   {updates(broker, reshape(func(r map[string]any) { r["gpu"] = "GPU-b" })), fixed},
		"the broker writes the status":             {as(broker)("gpu-7", `{"status": {"driver": "1"}}`, "status"), `cannot patch resource "gpunodes/status"`},
		"the scheduler undoes":                     {updates(scheduler, undo), ""},
		"the scheduler pins":                       {updates(scheduler, set(pinned, "spec", "pinned")), pins},
		"the scheduler takes one off the list":     {updates(scheduler, set([]any{}, "spec", "reshapes")), list},
		"the scheduler changes one":                {updates(scheduler, reshape(func(r map[string]any) { r["lender"] = "other/one" })), fixed},
		"the scheduler gives itself time":          {updates(scheduler, reshape(func(r map[string]any) { r["undoSeconds"] = int64(600) })), fixed},
		"the scheduler forgets the time":           {updates(scheduler, reshape(func(r map[string]any) { delete(r, "undoSeconds") })), fixed},
		"the scheduler labels":                     {updates(scheduler, set("7", "metadata", "labels", "rack")), more},
		"the scheduler makes one":                  {made(scheduler, "gpu-8", "{}"), `cannot create resource "gpunodes"`},
		"an administrator undoes":                  {updates(administrator, undo), ""},
		"an administrator labels":                  {updates(administrator, set("7", "metadata", "labels", "rack")), ""},
		"an administrator pins":                    {updates(administrator, set(pinned, "spec", "pinned")), pins},
		"an administrator makes one with reshapes": {made(administrator, "gpu-8", oneReshape), list},
		"an administrator writes the status":       {as(administrator)("gpu-7", `{"status": {"driver": "1"}}`, "status"), status},
		"a tenant undoes":                          {updates(tenant, undo), `cannot update resource "gpunodes"`},
	} {
		t.Run(name, func(t *testing.T) { wantOutcome(t, test.err, test.want) })
	}
	if err := updates(broker, func(o *unstructured.Unstructured) {}); err != nil {
		t.Fatal(err)
	}
	t.Run("undo stays", func(t *testing.T) {
		object, err := admin.Get(t.Context(), "gpu-7", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		undo(object)
		if object, err = admin.Update(t.Context(), object, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		reshape(func(r map[string]any) { r["undo"] = false })(object)
		_, err = c.ebbtide(t, broker, "gpunodes", false, "").Update(t.Context(), object, metav1.UpdateOptions{})
		wantOutcome(t, err, "undo, once true, stays so")
	})
}

// Which instances a pod was given, only the scheduler says.
func TestInstancesAreTheSchedulers(t *testing.T) {
	c := testCluster(t)
	namespace := c.namespace(t)
	const rule = "metadata.annotations[ebbtide.dev/mig-instances]: only the scheduler writes it"
	annotate := func(pod *corev1.Pod) {
		pod.Annotations = map[string]string{v1alpha1.AnnotationInstances: "GPU-a/1g.5gb@4#1"}
	}
	pods := func(user string) func(change ...func(*corev1.Pod)) (*corev1.Pod, error) {
		return func(change ...func(*corev1.Pod)) (*corev1.Pod, error) {
			return c.client(t, user).CoreV1().Pods(namespace).Create(t.Context(), onlinePod(change...), metav1.CreateOptions{})
		}
	}
	_, err := pods(tenant)(annotate)
	wantOutcome(t, err, rule)
	made, err := pods(tenant)()
	wantOutcome(t, err, "")
	patch := []byte(`{"metadata": {"annotations": {"ebbtide.dev/mig-instances": "GPU-a/1g.5gb@4#1"}}}`)
	for user, want := range map[string]string{tenant: rule, broker: rule, scheduler: ""} {
		_, err := c.client(t, user).CoreV1().Pods(namespace).Patch(t.Context(), made.Name, types.MergePatchType, patch, metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
		wantOutcome(t, err, want)
	}
}

// What spec.mig of a LendingPolicy may say.
func TestMIGPolicy(t *testing.T) {
	c := testCluster(t)
	namespace := c.namespace(t)
	for mig, want := range map[string]string{
		`{pinned: 3, profile: 1g.5gb, reshape: Idle, minTrough: 1h}`: "",
		`{pinned: 7}`:                      "",
		`{profile: 1g.5gb+me}`:             "",
		`{profile: 1g.24gb-me}`:            "",
		`{profile: small}`:                 "profile must be a MIG profile's name",
		`{profile: 1g}`:                    "profile must be a MIG profile's name",
		`{profile: nvidia.com/mig-1g.5gb}`: "profile must be a MIG profile's name",
		`{profile: 3g.20gb, pinned: 3}`:    "pinned must fit on one GPU",
		`{profile: 1g.5gb, pinned: 8}`:     "pinned must fit on one GPU",
		`{pinned: -1}`:                     "spec.mig.pinned in body should be greater than or equal to 0",
		`{pinned: 17}`:                     "spec.mig.pinned in body should be less than or equal to 16",
		`{pinned: three}`:                  `spec.mig.pinned in body must be of type integer: "string"`,
		`{pinned: 1.5}`:                    "spec.mig.pinned in body must be of type int32",
		`{reshape: Always}`:                `spec.mig.reshape: Unsupported value: "Always": supported values: "Never", "Idle"`,
		`{reshape: Idle, minTrough: -30m}`: "minTrough must not be negative",
		`{reshape: Idle, minTrough: soon}`: "spec.mig.minTrough",
		`{reshape: Idle, minTrough: 30}`:   `spec.mig.minTrough in body must be of type string: "integer"`,
	} {
		_, err := c.ebbtide(t, tenant, "lendingpolicies", true, namespace).Create(t.Context(),
			ebbtideObject(t, "LendingPolicy", "try", "spec: {"+target+", mig: "+mig+"}"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		t.Run(mig, func(t *testing.T) { wantOutcome(t, err, want) })
	}
}

// What a GPUNode's spec may say, whoever writes it.
func TestGPUNodeSpec(t *testing.T) {
	c := testCluster(t)
	client, err := dynamic.NewForConfig(c.as(broker, "system:masters"))
	if err != nil {
		t.Fatal(err)
	}
	reshape := func(words string) string { return "{reshapes: [{" + words + "}]}" }
	const (
		who    = "id: r1, gpu: GPU-a, lender: serving/chat, from: a, to: b, base: x"
		change = who + ", destroy: [{profile: 0, start: 0}], create: [{profile: 3, start: 0}]"
	)
	for spec, want := range map[string]string{
		reshape(change): "",
		reshape(who + ", destroy: [], create: [{profile: 3, start: 0}]"):                        "spec.reshapes[0].destroy in body should have at least 1 items",
		reshape(who + ", destroy: [{profile: 0, start: 0}]"):                                    "spec.reshapes[0].create: Required value",
		reshape(who + ", destroy: [{profile: -1, start: 0}], create: [{profile: 3, start: 0}]"): "spec.reshapes[0].destroy[0].profile in body should be greater than or equal to 0",
		reshape(who + ", destroy: [{profile: 0, start: 0}], create: [{profile: 3, start: 16}]"): "spec.reshapes[0].create[0].start in body should be less than or equal to 15",
		reshape(change + ", undoSeconds: -1"):                                                   "spec.reshapes[0].undoSeconds in body should be greater than or equal to 0",
		"{reshapes: [{" + change + "}, {" + change + "}]}":                                      "spec.reshapes[1]: Duplicate value",
		"{pinned: [{gpu: GPU-a, places: [{profile: 0, start: -1}]}]}":                           "spec.pinned[0].places[0].start in body should be greater than or equal to 0",
		"{pinned: [{gpu: GPU-a, places: [{profile: 0}]}]}":                                      "spec.pinned[0].places[0].start: Required value",
		"{pinned: [{gpu: GPU-a, places: []}, {gpu: GPU-a, places: [{profile: 0, start: 1}]}]}":  "spec.pinned[1]: Duplicate value",
	} {
		_, err := client.Resource(ebbtideResource("gpunodes")).Create(t.Context(), ebbtideObject(t, "GPUNode", "try", "spec: "+spec),
			metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		t.Run(spec, func(t *testing.T) { wantOutcome(t, err, want) })
	}
}

// kubectl explain says of each field about slices what it is.
func TestSlicesAreExplained(t *testing.T) {
	for file, under := range map[string]string{"gpunodes": "", "lendingpolicies": "mig"} {
		text, err := os.ReadFile("crds/ebbtide.dev_" + file + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.Unmarshal(text, &crd); err != nil {
			t.Fatal(err)
		}
		for _, of := range []string{"spec", "status"} {
			schema := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties[of]
			if under != "" {
				schema = schema.Properties[under]
			}
			unexplained(t, file+"."+of+"."+under, schema)
		}
	}
}

func unexplained(t *testing.T, path string, schema apiextensionsv1.JSONSchemaProps) {
	t.Helper()
	if schema.Items != nil {
		schema.Properties = schema.Items.Schema.Properties
	}
	for name, field := range schema.Properties {
		if field.Description == "" {
			t.Errorf("%s.%s is not explained", path, name)
		}
		unexplained(t, path+"."+name, field)
	}
}
