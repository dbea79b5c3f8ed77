package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// manifest makes a job; parts replace pieces of it, in pairs.
func manifest(replace ...string) string {
	return strings.NewReplacer(replace...).Replace(`apiVersion: batch/v1
kind: Job
metadata:
  name: tune
spec:
  parallelism: 2
  completions: 2
  template:
    spec:
      restartPolicy: Never
      containers:
      - name: train
        image: registry.example/train:1
        resources:
          limits: {nvidia.com/gpu: "8"}
`)
}

// examples are the flags for files with a job of each kind.
func examples(kinds ...string) string {
	var flags []string
	for _, kind := range kinds {
		flags = append(flags, "-f ../jobs/testdata/"+kind+".yaml")
	}
	return strings.Join(flags, " ")
}

func jobSet(resource string) string {
	return `apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata: {name: tune}
spec:
  replicatedJobs:
  - name: workers
    template:
      spec:
        template:
          spec:
            containers: [{name: train, image: train, resources: {limits: {` + resource + `: 8}}}]
`
}

const trainJob = `apiVersion: trainer.kubeflow.org/v1alpha1
kind: TrainJob
metadata: {name: finetune-llm}
spec:
  runtimeRef: {name: torch-distributed}
  trainer: {numNodes: 2}
`

// rayJob keeps its cluster when it is finished.
const rayJob = `apiVersion: ray.io/v1
kind: RayJob
metadata: {name: segment}
spec:
  entrypoint: python train.py
  rayClusterSpec:
    headGroupSpec:
      template:
        spec:
          containers: [{name: ray-head, image: ray, resources: {limits: {nvidia.com/gpu: 8}}}]
`

func TestSubmitGolden(t *testing.T) {
	const configMap = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n"
	tests := map[string]struct {
		invocation
		forbidden []string
	}{
		"submit-only-queue":         {invocation: invocation{args: "submit -f - -n solo", stdin: manifest()}},
		"submit-flag":               {invocation: invocation{args: "submit -f - --queue default -n research", stdin: manifest()}},
		"submit-label":              {invocation: invocation{args: "submit -f - -n research -o name", stdin: manifest("name: tune", "name: tune\n  labels: {ebbtide.dev/queue: default}")}},
		"submit-flag-over-label":    {invocation: invocation{args: "submit -f - --queue nightly -n research", stdin: manifest("name: tune", "name: tune\n  labels: {ebbtide.dev/queue: default}")}},
		"submit-generate-name":      {invocation: invocation{args: "submit -f - -n solo", stdin: manifest("name: tune", "generateName: tune-")}},
		"submit-two":                {invocation: invocation{args: "submit -f - -n solo", stdin: manifest() + "---\n" + manifest("name: tune", "name: tune-2")}},
		"submit-dry-run-client":     {invocation: invocation{args: "submit -f - -n solo --dry-run=client", stdin: manifest()}},
		"submit-dry-run-server":     {invocation: invocation{args: "submit -f - -n solo --dry-run=server", stdin: manifest()}},
		"submit-dry-run-yaml":       {invocation: invocation{args: "submit -f - -n solo --dry-run=client -o yaml", stdin: manifest("spec:\n  parallelism", "spec:\n  suspend: false\n  parallelism")}},
		"submit-long-grace":         {invocation: invocation{args: "submit -f - -n solo", stdin: manifest("restartPolicy: Never", "restartPolicy: Never\n      terminationGracePeriodSeconds: 300")}},
		"submit-policies-hidden":    {invocation: invocation{args: "submit -f - -n solo", stdin: manifest("restartPolicy: Never", "restartPolicy: Never\n      terminationGracePeriodSeconds: 300")}, forbidden: []string{"lendingpolicies"}},
		"submit-no-file":            {invocation: invocation{args: "submit -n solo"}},
		"submit-missing-file":       {invocation: invocation{args: "submit -f testdata/none.yaml -n solo"}},
		"submit-empty":              {invocation: invocation{args: "submit -f - -n solo", stdin: "# nothing\n"}},
		"submit-no-yaml":            {invocation: invocation{args: "submit -f - -n solo", stdin: "a: [\n"}},
		"submit-bad-dry-run":        {invocation: invocation{args: "submit -f - --dry-run=maybe"}},
		"submit-which-queue":        {invocation: invocation{args: "submit -f - -n research", stdin: manifest()}},
		"submit-unknown-queue":      {invocation: invocation{args: "submit -f - --queue nope -n research", stdin: manifest()}},
		"submit-no-queue":           {invocation: invocation{args: "submit -f - -n sandbox", stdin: manifest()}},
		"submit-queues-forbidden":   {invocation: invocation{args: "submit -f - -n solo", stdin: manifest()}, forbidden: []string{"trainingqueues"}},
		"submit-exists":             {invocation: invocation{args: "submit -f - -n solo", stdin: manifest("name: tune", "name: finetune")}},
		"submit-other-namespace":    {invocation: invocation{args: "submit -f - -n solo", stdin: manifest("name: tune", "name: tune\n  namespace: research")}},
		"submit-not-a-job":          {invocation: invocation{args: "submit -f - -n solo", stdin: configMap}},
		"submit-misspelt":           {invocation: invocation{args: "submit -f - -n solo", stdin: manifest("parallelism", "paralelism")}},
		"submit-no-gpu":             {invocation: invocation{args: "submit -f - -n solo", stdin: manifest("nvidia.com/gpu", "cpu")}},
		"submit-no-pods":            {invocation: invocation{args: "submit -f - -n solo", stdin: manifest("parallelism: 2", "parallelism: 0")}},
		"submit-no-completions":     {invocation: invocation{args: "submit -f - -n solo", stdin: manifest("completions: 2", "completions: 0")}},
		"submit-bad-checkpoint":     {invocation: invocation{args: "submit -f - -n solo", stdin: manifest("name: tune", "name: tune\n  annotations: {ebbtide.dev/checkpoint-interval: 15 minutes, ebbtide.dev/last-checkpoint: noon}")}},
		"submit-kinds":              {invocation: invocation{args: "submit -n research --queue default " + examples("jobset", "trainjob", "pytorchjob", "mpijob", "rayjob", "raycluster", "leaderworkerset", "podgroup"), stdin: ""}},
		"submit-kind-dry-run-yaml":  {invocation: invocation{args: "submit -f - -n solo --dry-run=client -o yaml", stdin: trainJob}},
		"submit-kind-no-gpu":        {invocation: invocation{args: "submit -f - -n solo", stdin: jobSet("cpu")}},
		"submit-kind-problem":       {invocation: invocation{args: "submit -f - -n solo", stdin: rayJob}},
		"submit-flags":              {invocation: invocation{args: "submit --name train --image registry.example/train:1 --pods 2 --gpus 8 -n solo -- python train.py --epochs 3"}},
		"submit-flags-dry-run-yaml": {invocation: invocation{args: "submit --name train --image registry.example/train:1 --pods 4 --resource nvidia.com/mig-1g.10gb --node-selector nvidia.com/gpu.product=NVIDIA-H100-80GB-HBM3 --grace 20s --checkpoint-interval 15m --queue nightly -n research --dry-run=client -o yaml -- python train.py --epochs 3"}},
		"submit-flags-least":        {invocation: invocation{args: "submit --name train --image registry.example/train:1 -n solo --dry-run=client -o yaml"}},
		"submit-flags-long-grace":   {invocation: invocation{args: "submit --name train --image registry.example/train:1 --grace 5m -n solo"}},
		"submit-flags-bad":          {invocation: invocation{args: "submit --name Train --gpus 0 --pods 0 --resource cpu --grace 1500ms --checkpoint-interval=-1m --node-selector a=b/c -n solo"}},
		"submit-flags-slices":       {invocation: invocation{args: "submit --name train --image registry.example/train:1 --gpus 2 --resource nvidia.com/mig-1g.10gb -n solo"}},
		"submit-flags-no-name":      {invocation: invocation{args: "submit --image registry.example/train:1 -n solo"}},
		"submit-flags-long-name":    {invocation: invocation{args: "submit --name " + strings.Repeat("a", 61) + " --image registry.example/train:1 --pods 11 -n solo"}},
		"submit-flags-and-file":     {invocation: invocation{args: "submit -f - --pods 4 -n solo", stdin: manifest()}},
		"submit-flags-recursive":    {invocation: invocation{args: "submit -R --name train --image registry.example/train:1 -n solo"}},
		"submit-command-and-file":   {invocation: invocation{args: "submit -f - -n solo -- python", stdin: manifest()}},
		"submit-no-dashes":          {invocation: invocation{args: "submit job.yaml -n solo"}},
		"submit-flags-which-queue":  {invocation: invocation{args: "submit --name train --image registry.example/train:1 -n research"}},
		"submit-flags-exists":       {invocation: invocation{args: "submit --name finetune --image registry.example/train:1 -n solo"}},
		"submit-one-bad-sends-none": {invocation: invocation{args: "submit -f - -n solo", stdin: manifest() + "---\n" + configMap}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			server := newFakeAPIServer(t, nil)
			server.forbidden = tt.forbidden
			stdout, stderr, code := invoke(t, server.URL, tt.invocation)
			golden(t, name, tt.invocation, server.URL, stdout, stderr, code)
			if sent := len(server.created); code != ExitOK && sent > 0 {
				t.Errorf("%d jobs were created although the command failed", sent)
			}
			if strings.Contains(tt.args, "--dry-run") && len(server.created) > 0 {
				t.Errorf("a dry run created %d jobs", len(server.created))
			}
		})
	}
}

func TestSubmitSendsSuspendedJobsOfTheQueue(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "b"} {
		text := manifest("name: tune", "name: "+name, "spec:\n  parallelism", "spec:\n  suspend: false\n  parallelism")
		if err := os.WriteFile(filepath.Join(dir, name+".yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	server := newFakeAPIServer(t, nil)
	if _, stderr, code := invoke(t, server.URL, invocation{args: "submit -n solo -f " + dir}); code != ExitOK {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	type sent struct {
		Name, Namespace, Queue, PodQueue string
		Suspend                          bool
	}
	var got []sent
	for _, o := range server.created {
		suspend, _, _ := unstructured.NestedBool(o.Object, "spec", "suspend")
		pods, _, _ := unstructured.NestedStringMap(o.Object, "spec", "template", "metadata", "labels")
		got = append(got, sent{o.GetName(), o.GetNamespace(), o.GetLabels()["ebbtide.dev/queue"], pods["ebbtide.dev/queue"], suspend})
	}
	want := []sent{{"a", "solo", "only", "only", true}, {"b", "solo", "only", "only", true}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("created jobs (-want +got):\n%s", diff)
	}
}

// What flags describe is what a manifest with the same would be: the completed object of each
// is the same.
func TestSubmitFromFlagsIsAsFromAFile(t *testing.T) {
	const file = "submit -f - -n solo -o json"
	server := newFakeAPIServer(t, nil)
	args := "submit -n solo --name tune --image registry.example/train:1 --pods 2 --gpus 8 --grace 20s --checkpoint-interval 15m -- python train.py"
	if _, stderr, code := invoke(t, server.URL, invocation{args: args}); code != ExitOK {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	other := newFakeAPIServer(t, nil)
	text := manifest("name: tune", "name: tune\n  annotations: {ebbtide.dev/checkpoint-interval: 15m}", "completions: 2", "completions: 2\n  completionMode: Indexed",
		"restartPolicy: Never", "restartPolicy: Never\n      terminationGracePeriodSeconds: 20", "      - name: train", "      - name: train\n        command: [python, train.py]")
	if _, stderr, code := invoke(t, other.URL, invocation{args: file, stdin: text}); code != ExitOK {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	if len(server.created) != 1 || len(other.created) != 1 {
		t.Fatalf("%d and %d jobs were created", len(server.created), len(other.created))
	}
	if diff := cmp.Diff(other.created[0].Object, server.created[0].Object); diff != "" {
		t.Errorf("the job from flags differs (-file +flags):\n%s", diff)
	}
}
