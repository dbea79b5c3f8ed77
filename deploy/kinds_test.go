package deploy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/jsonmergepatch"
	"k8s.io/client-go/dynamic"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab/crds"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

// kind is a kind of jobs with a field that keeps them from running.
type kind struct {
	resource  schema.GroupVersionResource
	suspend   string   // path of that field
	templates []string // paths of the example's pod templates
	size      string   // path of a number of pods
}

// kinds by the names of their examples, which the broker's own tests read as well. The
// first template of each asks for units, if any does.
var kinds = map[string]kind{
	"jobset": {
		schema.GroupVersionResource{Group: "jobset.x-k8s.io", Version: "v1alpha2", Resource: "jobsets"}, "spec.suspend",
		[]string{"spec.replicatedJobs.1.template.spec.template", "spec.replicatedJobs.0.template.spec.template"},
		"spec.replicatedJobs.1.template.spec.parallelism",
	},
	"trainjob": {
		schema.GroupVersionResource{Group: "trainer.kubeflow.org", Version: "v1alpha1", Resource: "trainjobs"}, "spec.suspend",
		nil, "spec.trainer.numNodes",
	},
	"pytorchjob": {
		schema.GroupVersionResource{Group: "kubeflow.org", Version: "v1", Resource: "pytorchjobs"}, "spec.runPolicy.suspend",
		[]string{"spec.pytorchReplicaSpecs.Worker.template"}, "spec.pytorchReplicaSpecs.Worker.replicas",
	},
	"mpijob": {
		schema.GroupVersionResource{Group: "kubeflow.org", Version: "v1", Resource: "mpijobs"}, "spec.runPolicy.suspend",
		[]string{"spec.mpiReplicaSpecs.Worker.template", "spec.mpiReplicaSpecs.Launcher.template"}, "spec.mpiReplicaSpecs.Worker.replicas",
	},
	"rayjob": {
		schema.GroupVersionResource{Group: "ray.io", Version: "v1", Resource: "rayjobs"}, "spec.suspend",
		[]string{"spec.rayClusterSpec.workerGroupSpecs.0.template", "spec.rayClusterSpec.headGroupSpec.template", "spec.submitterPodTemplate"},
		"spec.rayClusterSpec.workerGroupSpecs.0.replicas",
	},
	"raycluster": {
		schema.GroupVersionResource{Group: "ray.io", Version: "v1", Resource: "rayclusters"}, "spec.suspend",
		[]string{"spec.workerGroupSpecs.0.template", "spec.headGroupSpec.template"}, "spec.workerGroupSpecs.0.replicas",
	},
}

// withKinds is a namespace for one test where the tenant may make jobs of all kinds. The
// kinds come after Ebbtide: its policies need none of them.
func (c *cluster) withKinds(t *testing.T) string {
	t.Helper()
	if err := installKinds(); err != nil {
		t.Fatal(err)
	}
	namespace := c.namespace(t)
	_, err := c.client(t, administrator).RbacV1().RoleBindings(namespace).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "kinds"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "kinds"},
		Subjects: []rbacv1.Subject{
			{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: tenant},
			{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: operator},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// The API server learns of bindings, and its admission of kinds, some time afterwards.
	labtest.Eventually(t, 2*time.Minute, func(ctx context.Context) (bool, string) {
		for name, k := range kinds {
			for _, user := range []string{tenant, operator} {
				_, err := k.as(t, c, user, namespace).Create(ctx, short(t, name), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
				if err != nil {
					return false, fmt.Sprintf("%s makes no %s yet: %v", user, name, err)
				}
			}
		}
		return true, ""
	})
	return namespace
}

// operator stands for the controllers of the kinds.
const operator = "system:serviceaccount:operators:operator"

var installKinds = sync.OnceValue(func() error {
	manifests, err := crds.Manifests()
	if err != nil {
		return err
	}
	rights, err := json.Marshal(&rbacv1.ClusterRole{
		TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRole"},
		ObjectMeta: metav1.ObjectMeta{Name: "kinds"},
		Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{"jobset.x-k8s.io", "trainer.kubeflow.org", "kubeflow.org", "ray.io"}, Resources: []string{"*"}, Verbs: []string{"*"}},
			{APIGroups: []string{"", "batch", "apps"}, Resources: []string{"pods", "jobs", "statefulsets"}, Verbs: []string{"*"}},
		},
	})
	if err != nil {
		return err
	}
	return shared.Apply(context.Background(), append(manifests, rights)...)
})

// as writes objects of the kind as a user.
func (k kind) as(t *testing.T, c *cluster, user, namespace string) dynamic.ResourceInterface {
	t.Helper()
	client, err := dynamic.NewForConfig(c.as(user))
	if err != nil {
		t.Fatal(err)
	}
	return client.Resource(k.resource).Namespace(namespace)
}

// change does something to an object of a kind.
type change func(k kind, o *unstructured.Unstructured)

// at writes a field; nil takes it away. Paths have dots, and numbers for the places in
// lists.
func at(path string, value any) change {
	return func(_ kind, o *unstructured.Unstructured) { write(o.Object, strings.Split(path, "."), value) }
}

// inPods writes a field of the first pod template.
func inPods(path string, value any) change {
	return func(k kind, o *unstructured.Unstructured) {
		if len(k.templates) > 0 {
			at(k.templates[0]+"."+path, value)(k, o)
		}
	}
}

func suspended(is bool) change {
	return func(k kind, o *unstructured.Unstructured) { at(k.suspend, is)(k, o) }
}

func pods(n int64) change {
	return func(k kind, o *unstructured.Unstructured) { at(k.size, n)(k, o) }
}

// annotated writes an annotation; an empty value takes it away.
func annotated(key, value string) change {
	return func(_ kind, o *unstructured.Unstructured) {
		annotations := o.GetAnnotations()
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[key] = value
		if value == "" {
			delete(annotations, key)
		}
		o.SetAnnotations(annotations)
	}
}

func labelled(value string) change {
	return func(_ kind, o *unstructured.Unstructured) {
		labels := o.GetLabels()
		labels[v1alpha1.LabelQueue] = value
		if value == "" {
			delete(labels, v1alpha1.LabelQueue)
		}
		o.SetLabels(labels)
	}
}

func controlledBy(apiVersion, of, name string, uid types.UID) change {
	return func(_ kind, o *unstructured.Unstructured) {
		o.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: apiVersion, Kind: of, Name: name, UID: uid, Controller: ptr.To(true)}})
	}
}

func all(changes ...change) change {
	return func(k kind, o *unstructured.Unstructured) {
		for _, change := range changes {
			change(k, o)
		}
	}
}

func same(kind, *unstructured.Unstructured) {}

// write sets a field, and makes what is missing above it.
func write(in any, path []string, value any) {
	switch of := in.(type) {
	case map[string]any:
		switch {
		case len(path) > 1:
			if of[path[0]] == nil {
				of[path[0]] = map[string]any{}
			}
			write(of[path[0]], path[1:], value)
		case value == nil:
			delete(of, path[0])
		default:
			of[path[0]] = value
		}
	case []any:
		write(of[path[0][0]-'0'], path[1:], value)
	}
}

// read is the field at a path.
func read(in any, path string) any {
	for _, step := range strings.Split(path, ".") {
		switch of := in.(type) {
		case map[string]any:
			in = of[step]
		case []any:
			in = of[step[0]-'0']
		}
	}
	return in
}

// short is an example as a tenant would write it: with nothing of what Ebbtide adds.
func short(t *testing.T, name string, changes ...change) *unstructured.Unstructured {
	t.Helper()
	text, err := os.ReadFile("../broker/internal/jobs/testdata/" + name + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(text, &o.Object); err != nil {
		t.Fatal(err)
	}
	k := kinds[name]
	o.SetNamespace("")
	o.SetName("")
	o.SetGenerateName(name + "-")
	if name == "rayjob" {
		at("spec.submitterPodTemplate.spec", map[string]any{"restartPolicy": "Never", "containers": []any{
			map[string]any{"name": "submitter", "image": "rayproject/ray:2.46.0"},
		}})(k, o)
	}
	at(k.suspend, nil)(k, o)
	at("spec.podTemplateOverrides", nil)(k, o)
	for _, template := range k.templates {
		at(template+".metadata", nil)(k, o)
		at(template+".spec.schedulerName", nil)(k, o)
	}
	for _, change := range changes {
		change(k, o)
	}
	return o
}

// What the API server makes of a tenant's job of every kind: it waits, and so do its
// pods, for Ebbtide's scheduler, as borrowers.
func TestQueuedKindsDefaults(t *testing.T) {
	c := testCluster(t)
	namespace := c.withKinds(t)
	forged := all(suspended(false), inPods("spec.schedulerName", "default-scheduler"), inPods("metadata.labels", map[string]any{
		v1alpha1.LabelQueue: "other", "example.com/run": "12"}))
	for _, annotation := range brokersOwn {
		forged = all(forged, annotated(annotation, "7"))
	}
	forged = all(forged, annotated(v1alpha1.AnnotationTakenBack, "7"))
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		k := kinds[name]
		for how, change := range map[string]change{"short form": same, "its own words for what Ebbtide decides": forged} {
			t.Run(name+", "+how, func(t *testing.T) {
				made, err := k.as(t, c, tenant, namespace).Create(t.Context(), short(t, name, change), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
				if err != nil {
					t.Fatal(err)
				}
				want := map[string]any{k.suspend: true}
				if name == "trainjob" {
					want["spec.labels."+labelInPath] = "default"
				}
				for _, template := range k.templates {
					want[template+".metadata.labels."+labelInPath] = "default"
					want[template+".spec.schedulerName"] = "ebbtide"
					want[template+".spec.priorityClassName"] = "ebbtide-borrower"
				}
				for path, value := range want {
					if got := readLabel(made.Object, path); got != value {
						t.Errorf("%s is %v, want %v", path, got, value)
					}
				}
				for _, annotation := range append(brokersOwn, v1alpha1.AnnotationTakenBack) {
					if got, is := made.GetAnnotations()[annotation]; is {
						t.Errorf("annotation %s is %q", annotation, got)
					}
				}
				if how != "short form" && len(k.templates) > 0 && readLabel(made.Object, k.templates[0]+".metadata.labels.example.com/run") != "12" {
					t.Error("its pods lost a label")
				}
			})
		}
		t.Run(name+", without the label nothing is changed", func(t *testing.T) {
			o := short(t, name, func(_ kind, o *unstructured.Unstructured) { o.SetLabels(nil) })
			made, err := k.as(t, c, tenant, namespace).Create(t.Context(), o, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			if err != nil {
				t.Fatal(err)
			}
			if read(made.Object, k.suspend) == true {
				t.Error("it is suspended")
			}
			for _, template := range k.templates {
				if got := read(made.Object, template+".spec.schedulerName"); got != nil {
					t.Errorf("%s is for scheduler %v", template, got)
				}
			}
		})
	}
}

// brokersOwn are the annotations that only the broker writes.
var brokersOwn = []string{v1alpha1.AnnotationAttempt, v1alpha1.AnnotationWhole, "ebbtide.dev/skipped-attempts", "ebbtide.dev/admission"}

// labelInPath is the label of the queue at the end of a path: it has a dot itself.
const labelInPath = v1alpha1.LabelQueue

func readLabel(in map[string]any, path string) any {
	if before, label, is := strings.Cut(path, ".labels."); is {
		labels, _ := read(in, before+".labels").(map[string]any)
		return labels[label]
	}
	return read(in, path)
}

func TestCreatingQueuedKinds(t *testing.T) {
	c := testCluster(t)
	namespace := c.withKinds(t)
	tests := []struct {
		name   string
		change change
		want   string // what the refusal says; empty: accepted
		podsOf bool   // only for kinds with pod templates
	}{
		{"an ordinary job", same, "", false},
		{"a queue without a name", func(_ kind, o *unstructured.Unstructured) { o.SetLabels(map[string]string{v1alpha1.LabelQueue: ""}) },
			"metadata.labels[ebbtide.dev/queue]: must name a TrainingQueue", false},
		{"the online class", inPods("spec.priorityClassName", "ebbtide-online"), ".spec.priorityClassName: ebbtide-online is not for jobs in a queue", true},
		{"a system class", inPods("spec.priorityClassName", "system-node-critical"), ".spec.priorityClassName: system-node-critical is not for jobs in a queue", true},
		{"its own class", inPods("spec.priorityClassName", "ebbtide-training"), "", true},
		{"an hour of grace", inPods("spec.terminationGracePeriodSeconds", int64(3600)), "", true},
		{"ten days of grace", inPods("spec.terminationGracePeriodSeconds", int64(864000)), ".spec.terminationGracePeriodSeconds: 864000 is more than 3600", true},
		{"a node of its own choice", inPods("spec.nodeName", "gpu-7"), ".spec.nodeName: must not be set", true},
		{"a finalizer on its pods", inPods("metadata.finalizers", []any{"example.com/stay"}), ".metadata.finalizers: must be empty", true},
		{"a forged notice on its pods", inPods("metadata.annotations", map[string]any{v1alpha1.AnnotationReclaimBy: "2030-01-01T00:00:00Z"}),
			"template.metadata.annotations: ebbtide.dev/reclaim-by", true},
		{"a forged admission of its pods", inPods("metadata.annotations", map[string]any{v1alpha1.AnnotationAttempt: "1"}),
			"template.metadata.annotations: ebbtide.dev/reclaim-by, ebbtide.dev/attempt", true},
		{"the queue on its pods only", func(k kind, o *unstructured.Unstructured) {
			o.SetLabels(map[string]string{"example.com/run": "12"})
			inPods("metadata.labels", map[string]any{v1alpha1.LabelQueue: "default"})(k, o)
		}, "metadata.labels[ebbtide.dev/queue]: is copied to the pods from the ", true},
		{"all devices of its nodes", inPods("spec.containers.0.env", []any{map[string]any{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}}),
			"env[NVIDIA_VISIBLE_DEVICES]: only none, void and the empty value", true},
		{"a harmless value", inPods("spec.containers.0.env", []any{map[string]any{"name": "NVIDIA_VISIBLE_DEVICES", "value": "none"}}), "", true},
		{"more units than numbers can add up", inPods("spec.containers.0.resources.limits", map[string]any{"nvidia.com/gpu": "9223372036854775807"}),
			"must be at most 1000000 of a GPU resource", true},
	}
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		k := kinds[name]
		for _, test := range tests {
			if test.podsOf && len(k.templates) == 0 {
				continue
			}
			t.Run(name+": "+test.name, func(t *testing.T) {
				_, err := k.as(t, c, tenant, namespace).Create(t.Context(), short(t, name, test.change), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
				wantOutcome(t, err, test.want)
			})
		}
	}
}

// A TrainJob says of its pods what it does in fields of its own.
func TestCreatingQueuedTrainJobs(t *testing.T) {
	c := testCluster(t)
	namespace := c.withKinds(t)
	overrides := func(with map[string]any) change {
		with["targetJobs"] = []any{map[string]any{"name": "node"}}
		return at("spec.podTemplateOverrides", []any{with})
	}
	unlabelled := func(_ kind, o *unstructured.Unstructured) { o.SetLabels(nil) }
	seesAll := []any{map[string]any{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}}
	for _, test := range []struct {
		name   string
		change change
		want   string
	}{
		{"its own labels for its JobSet", at("spec.labels", map[string]any{"example.com/run": "12"}), ""},
		{"its queue in an override", overrides(map[string]any{"metadata": map[string]any{"labels": map[string]any{v1alpha1.LabelQueue: "default"}}}), ""},
		{"another queue in an override", overrides(map[string]any{"metadata": map[string]any{"labels": map[string]any{v1alpha1.LabelQueue: "fast"}}}),
			"spec.podTemplateOverrides[].metadata.labels[ebbtide.dev/queue]: must be the job's own queue"},
		{"a queue in an override only", all(unlabelled, overrides(map[string]any{"metadata": map[string]any{"labels": map[string]any{v1alpha1.LabelQueue: "fast"}}})),
			"label the TrainJob instead of its pods"},
		{"a forged notice in an override", overrides(map[string]any{"metadata": map[string]any{"annotations": map[string]any{v1alpha1.AnnotationReclaimBy: "2030-01-01T00:00:00Z"}}}),
			"template.metadata.annotations: ebbtide.dev/reclaim-by"},
		{"all devices", at("spec.trainer.env", seesAll), "env[NVIDIA_VISIBLE_DEVICES]"},
		{"all devices in an override", overrides(map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"name": "node", "env": seesAll}}}}), "env[NVIDIA_VISIBLE_DEVICES]"},
		{"too many units", at("spec.trainer.resourcesPerNode.limits", map[string]any{"nvidia.com/gpu": "9223372036854775807"}), "must be at most 1000000"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := kinds["trainjob"].as(t, c, tenant, namespace).Create(t.Context(), short(t, "trainjob", test.change), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			wantOutcome(t, err, test.want)
		})
	}
}

func TestChangingQueuedKinds(t *testing.T) {
	c := testCluster(t)
	namespace := c.withKinds(t)
	const (
		startsIt     = "uspend: only the broker starts a job that waits in a queue"
		onlyBroker   = "metadata.annotations: only the broker writes ebbtide.dev/attempt"
		onlySchedule = "metadata.annotations[ebbtide.dev/taken-back]: only the scheduler writes it"
		holds        = "cannot change while the job holds units; suspend the job first"
		notMore      = "spec: the scheduler changes nothing of a job but spec.suspend"
	)
	tests := []struct {
		state, user, name string
		change            change
		want              string
	}{
		{"waiting", tenant, "starts it", suspended(false), startsIt},
		{"waiting", administrator, "starts it", suspended(false), startsIt},
		{"waiting", operator, "starts it", suspended(false), startsIt},
		{"waiting", broker, "starts it", all(suspended(false), annotated(v1alpha1.AnnotationAttempt, "1")), ""},
		{"running", tenant, "suspends it", suspended(true), ""},
		{"waiting", tenant, "moves it to another queue", labelled("fast"), "metadata.labels[ebbtide.dev/queue]: is set when the job is created"},
		{"waiting", tenant, "takes it out of its queue", labelled(""), "metadata.labels[ebbtide.dev/queue]: must name a TrainingQueue, and stays"},
		{"unqueued", tenant, "puts it in a queue afterwards", labelled("default"), "metadata.labels[ebbtide.dev/queue]: is set when the job is created"},
		{"unqueued", tenant, "makes it larger", pods(8), ""},
		{"waiting", tenant, "makes it a part of another", controlledBy("ray.io/v1", "RayJob", "x", "y"), "metadata.ownerReferences: a job that waits in a queue cannot become a part"},
		{"waiting", tenant, "puts it under something else", controlledBy("example.com/v1", "Pipeline", "x", "y"), ""},
		{"waiting", tenant, "makes it larger", pods(8), ""},
		{"running", tenant, "makes it larger", pods(8), holds},
		{"running", tenant, "makes it smaller", pods(3), holds},
		{"running", broker, "makes it smaller", pods(3), ""},
		{"running", tenant, "suspends it and makes it larger", all(suspended(true), pods(8)), ""},
		{"running", tenant, "changes the attempt", annotated(v1alpha1.AnnotationAttempt, "2"), onlyBroker},
		{"running", tenant, "removes the attempt", annotated(v1alpha1.AnnotationAttempt, ""), onlyBroker},
		{"waiting", tenant, "says that an attempt was skipped", annotated("ebbtide.dev/skipped-attempts", "2"), onlyBroker},
		{"running", tenant, "says how large it was", annotated(v1alpha1.AnnotationWhole, `{"a":64}`), onlyBroker},
		{"waiting", tenant, "says that it is admitted", annotated("ebbtide.dev/admission", `{"admitted":true}`), onlyBroker},
		{"waiting", broker, "says why it waits", annotated("ebbtide.dev/admission", `{"admitted":false}`), ""},
		{"running", tenant, "reports a checkpoint", annotated(v1alpha1.AnnotationLastCheckpoint, "2030-01-01T00:00:00Z"), ""},
		{"running", tenant, "forges a taking back", annotated(v1alpha1.AnnotationTakenBack, "1"), onlySchedule},
		{"running", broker, "forges a taking back", annotated(v1alpha1.AnnotationTakenBack, "1"), onlySchedule},
		{"running", scheduler, "takes it back", all(suspended(true), annotated(v1alpha1.AnnotationTakenBack, "1")), ""},
		{"taken back", tenant, "hides the taking back", annotated(v1alpha1.AnnotationTakenBack, ""), onlySchedule},
		{"taken back", broker, "acknowledges the taking back", annotated(v1alpha1.AnnotationTakenBack, ""), ""},
		{"waiting", scheduler, "starts it", suspended(false), "only the broker starts"},
		{"unqueued", scheduler, "suspends it", suspended(true), "the scheduler changes no other jobs than those in a queue"},
		{"running", scheduler, "makes it smaller", all(suspended(true), pods(3)), notMore},
		{"running", scheduler, "counts an attempt", annotated(v1alpha1.AnnotationAttempt, "2"), "metadata.annotations"},
		{"running", scheduler, "reports a checkpoint", annotated(v1alpha1.AnnotationLastCheckpoint, "2030-01-01T00:00:00Z"),
			"metadata.annotations: the scheduler writes ebbtide.dev/taken-back only"},
		{"running", scheduler, "keeps it from going", func(_ kind, o *unstructured.Unstructured) { o.SetFinalizers([]string{"example.com/stay"}) },
			"metadata: the scheduler writes the annotation ebbtide.dev/taken-back only"},
		{"running", tenant, "gives its pods a finalizer", inPods("metadata.finalizers", []any{"example.com/stay"}), ".metadata.finalizers: must be empty"},
	}
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		k := kinds[name]
		states := map[string]*unstructured.Unstructured{}
		for _, state := range []string{"unqueued", "waiting", "running", "taken back"} {
			states[state] = c.jobOf(t, name, namespace, state)
		}
		for _, test := range tests {
			t.Run(fmt.Sprintf("%s %s: %s %s", test.state, name, who(test.user), test.name), func(t *testing.T) {
				job := states[test.state]
				changed := job.DeepCopy()
				test.change(k, changed)
				patch := merge(t, job, changed)
				if string(patch) == "{}" {
					return // it has no pods of its own
				}
				_, err := k.as(t, c, test.user, namespace).Patch(t.Context(), job.GetName(), types.MergePatchType, patch,
					metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
				wantOutcome(t, err, test.want)
			})
		}
	}
}

// Whoever applies the same manifest again, as kubectl, Helm and others do, changes
// nothing: what the manifest does not say of the pods is written again. Nor does one
// change it who says otherwise.
func TestApplyingQueuedKindsAgain(t *testing.T) {
	c := testCluster(t)
	namespace := c.withKinds(t)
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		k := kinds[name]
		for _, state := range []string{"waiting", "running", "taken back"} {
			job := c.jobOf(t, name, namespace, state)
			for what, change := range map[string]change{
				"as it is":                      same,
				"with its pods in no queue":     inPods("metadata.labels", map[string]any{"a": "b"}),
				"with its pods in another one":  inPods("metadata.labels", map[string]any{v1alpha1.LabelQueue: "fast"}),
				"for another scheduler":         inPods("spec.schedulerName", "default-scheduler"),
				"by the operator, without more": nil,
			} {
				t.Run(fmt.Sprintf("%s %s, %s", state, name, what), func(t *testing.T) {
					user := tenant
					if change == nil {
						user, change = operator, same
					}
					manifest := short(t, name)
					sent := short(t, name, change)
					patch, err := jsonmergepatch.CreateThreeWayJSONMergePatch(text(t, manifest), text(t, sent), text(t, job))
					if err != nil {
						t.Fatal(err)
					}
					got, err := k.as(t, c, user, namespace).Patch(t.Context(), job.GetName(), types.MergePatchType, patch, metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
					if err != nil {
						t.Fatal(err)
					}
					for _, template := range k.templates {
						for _, path := range []string{".metadata.labels." + labelInPath, ".spec.schedulerName", ".spec.priorityClassName"} {
							if was, is := readLabel(job.Object, template+path), readLabel(got.Object, template+path); was != is {
								t.Errorf("%s was %v and is %v", template+path, was, is)
							}
						}
					}
					if was, is := read(job.Object, k.suspend), read(got.Object, k.suspend); was != is {
						t.Errorf("suspended was %v and is %v", was, is)
					}
					for key, was := range job.GetAnnotations() {
						if is := got.GetAnnotations()[key]; was != is {
							t.Errorf("annotation %s was %q and is %q", key, was, is)
						}
					}
				})
			}
		}
	}
}

// A PyTorchJob goes on with fewer workers if it is elastic and makes lost ones again.
func TestRunningPyTorchJobsStayAsElasticAsTheyAre(t *testing.T) {
	c := testCluster(t)
	namespace := c.withKinds(t)
	k := kinds["pytorchjob"]
	metrics := []any{map[string]any{"type": "Resource", "resource": map[string]any{"name": "cpu", "target": map[string]any{"type": "Utilization", "averageUtilization": int64(80)}}}}
	for state, want := range map[string]string{"waiting": "", "running": "cannot change while the job holds units; suspend the job first"} {
		job := c.jobOf(t, "pytorchjob", namespace, state)
		for what, change := range map[string]change{
			"its workers are not made again": at("spec.pytorchReplicaSpecs.Worker.restartPolicy", "Never"),
			"it is scaled by load":           at("spec.elasticPolicy.metrics", metrics),
		} {
			t.Run(state+": "+what, func(t *testing.T) {
				changed := job.DeepCopy()
				change(k, changed)
				_, err := k.as(t, c, tenant, namespace).Patch(t.Context(), job.GetName(), types.MergePatchType, merge(t, job, changed), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
				wantOutcome(t, err, want)
			})
		}
	}
}

// jobOf makes a job of a kind, in a state as cluster.job does.
func (c *cluster) jobOf(t *testing.T, name, namespace, state string) *unstructured.Unstructured {
	t.Helper()
	k := kinds[name]
	o := short(t, name)
	if state == "unqueued" {
		o.SetLabels(map[string]string{"example.com/run": "12"})
	}
	o, err := k.as(t, c, tenant, namespace).Create(t.Context(), o, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	then := func(user string, change change) {
		changed := o.DeepCopy()
		change(k, changed)
		if o, err = k.as(t, c, user, namespace).Patch(t.Context(), o.GetName(), types.MergePatchType, merge(t, o, changed), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if state == "running" || state == "taken back" {
		then(broker, all(suspended(false), annotated(v1alpha1.AnnotationAttempt, "1")))
	}
	if state == "taken back" {
		then(scheduler, all(suspended(true), annotated(v1alpha1.AnnotationTakenBack, "1")))
	}
	return o
}

// merge is the patch that turns one object into another.
func merge(t *testing.T, from, to *unstructured.Unstructured) []byte {
	t.Helper()
	old := text(t, from)
	patch, err := jsonmergepatch.CreateThreeWayJSONMergePatch(old, text(t, to), old)
	if err != nil {
		t.Fatal(err)
	}
	return patch
}

func text(t *testing.T, o *unstructured.Unstructured) []byte {
	t.Helper()
	out, err := o.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return out
}
