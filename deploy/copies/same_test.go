package copies_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/deploy/copies"
)

// installs are those that kustomize and helm both do. An overlay's folder, or a kustomization
// of one's own as the components' comments say it, and the chart's values for the same.
var installs = []struct {
	name, overlay, kustomization string
	files                        map[string]string
	values                       string
}{
	{name: "by default", overlay: "second-scheduler"},
	{name: "in the place of the default scheduler", overlay: "replace-default", values: "scheduler: {mode: replace}"},
	{name: "with agents", overlay: "with-agent", values: "agent: {enabled: true}"},
	{name: "advising only", overlay: "advise-only", values: "{advise: true, admissionPolicies: false, scheduler: {mode: none}}"},
	{
		name: "two brokers", values: "broker: {replicas: 2}",
		kustomization: "resources: [DEPLOY/kustomize/default]\ncomponents: [DEPLOY/kustomize/components/two-brokers]\n",
	},
	{
		name: "slices by claims", values: "{agent: {enabled: true}, dynamicResources: {enabled: true}}",
		kustomization: `resources: [DEPLOY/kustomize/default]
components: [DEPLOY/kustomize/components/agent, DEPLOY/kustomize/components/dynamic-resources]
patches:
- target: {kind: DaemonSet, name: ebbtide-agent}
  patch: |-
    - {op: add, path: /spec/template/spec/containers/0/args/-, value: --allocation=DynamicResources}
`,
	},
	{
		name: "with external metrics", values: "externalMetrics: {enabled: true}",
		kustomization: `resources: [DEPLOY/kustomize/default]
components: [DEPLOY/kustomize/components/external-metrics]
configMapGenerator:
- {name: ebbtide-broker-config, namespace: ebbtide-system, behavior: replace, files: [broker-config.yaml]}
`,
		files: map[string]string{"broker-config.yaml": `apiVersion: ebbtide.dev/v1alpha1
kind: BrokerConfiguration
prometheus: {url: "http://prometheus.monitoring.svc:9090"}
ledger: {path: /var/lib/ebbtide/ledger.db}
externalMetrics: {bindAddress: ":6443"}
`},
	},
	{
		name: "with monitors, alerts and agents", values: "{agent: {enabled: true}, monitors: {enabled: true, rules: true}}",
		// Dashboards are kustomize's alone.
		kustomization: `resources: [DEPLOY/kustomize/default]
components: [DEPLOY/kustomize/components/agent, DEPLOY/kustomize/components/monitors, DEPLOY/monitoring]
patches:
- target: {kind: ConfigMap, name: ebbtide-dashboards}
  patch: |-
    $patch: delete
    apiVersion: v1
    kind: ConfigMap
    metadata: {name: ebbtide-dashboards}
`,
	},
	{
		// docs/security: a certificate of yours, and Prometheus in another namespace.
		name: "with a certificate", values: "{broker: {certificate: {secretName: ebbtide-broker-tls}}, networkPolicy: {metricsFrom: {kubernetes.io/metadata.name: observability}}}",
		kustomization: `resources: [DEPLOY/kustomize/default]
patches:
- target: {kind: StatefulSet, name: ebbtide-broker}
  patch: |-
    - op: add
      path: /spec/template/spec/volumes/-
      value: {name: tls, secret: {secretName: ebbtide-broker-tls}}
    - op: add
      path: /spec/template/spec/containers/0/volumeMounts/-
      value: {name: tls, mountPath: /etc/ebbtide-tls, readOnly: true}
- target: {kind: NetworkPolicy, name: ebbtide-.*}
  patch: |-
    - op: replace
      path: /spec/ingress/0/from/0/namespaceSelector/matchLabels
      value: {kubernetes.io/metadata.name: observability}
configMapGenerator:
- {name: ebbtide-broker-config, namespace: ebbtide-system, behavior: replace, files: [broker-config.yaml]}
`,
		files: map[string]string{"broker-config.yaml": `apiVersion: ebbtide.dev/v1alpha1
kind: BrokerConfiguration
prometheus: {url: "http://prometheus.monitoring.svc:9090"}
ledger: {path: /var/lib/ebbtide/ledger.db}
http: {bindAddress: ":8443", certFile: /etc/ebbtide-tls/tls.crt, keyFile: /etc/ebbtide-tls/tls.key}
`},
	},
}

// TestChartIsKustomize: whichever of the two somebody installs with, he gets the same
// cluster, object by object and field by field.
func TestChartIsKustomize(t *testing.T) {
	tried := map[string]bool{}
	for _, test := range installs {
		t.Run(test.name, func(t *testing.T) {
			kustomization := test.kustomization
			if test.overlay != "" {
				tried[test.overlay] = true
				kustomization = "resources: [DEPLOY/kustomize/overlays/" + test.overlay + "]\n"
			}
			compare(t, kustomized(t, kustomization, test.files), chart(t, test.values))
		})
	}
	overlays, err := copies.Overlays(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range overlays {
		if !tried[name] {
			t.Errorf("no values are compared with the overlay %s", name)
		}
	}
}

// TestDefinitionsAreKustomize: the chart of definitions has the same ones, which it keeps.
func TestDefinitionsAreKustomize(t *testing.T) {
	want := kustomized(t, "resources: [DEPLOY/crds]\n", nil)
	for values, keep := range map[string]bool{"{}": true, "keep: false": false} {
		out, stderr, err := template(t, "ebbtide-crds", values)
		if err != nil {
			t.Fatalf("helm template: %v\n%s", err, stderr)
		}
		got := objects(t, []byte(out))
		if len(got) != len(want) || len(want) < 5 {
			t.Errorf("%d definitions were rendered, and kustomize has %d", len(got), len(want))
		}
		for name, definition := range got {
			annotations := definition.GetAnnotations()
			if kept := annotations["helm.sh/resource-policy"] == "keep"; kept != keep {
				t.Errorf("with %s %s is kept: %v", values, name, kept)
			}
			delete(annotations, "helm.sh/resource-policy")
			definition.SetAnnotations(annotations)
			if diff := cmp.Diff(want[name], definition); diff != "" {
				t.Errorf("%s (-kustomize +helm):\n%s", name, diff)
			}
		}
	}
	notes, err := os.ReadFile(root + "/deploy/charts/ebbtide-crds/templates/NOTES.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, definition := range want {
		if !strings.Contains(string(notes), " "+definition.GetName()) {
			t.Errorf("the notes do not say how to delete %s", definition.GetName())
		}
	}
}

// TestCopiesAreFresh is what make verify-generate asks, for those who only test.
func TestCopiesAreFresh(t *testing.T) {
	files, err := copies.Files(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 30 {
		t.Errorf("there are %d copies, which cannot be all", len(files))
	}
	for path, want := range files {
		got, err := os.ReadFile(root + "/" + path)
		if err != nil {
			t.Errorf("%v: run make generate", err)
			continue
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s is stale, run make generate (-want +got):\n%s", path, diff)
		}
	}
	for _, folder := range copies.Folders {
		entries, err := os.ReadDir(root + "/" + folder)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			if files[folder+"/"+entry.Name()] == nil {
				t.Errorf("%s/%s is no copy, run make generate", folder, entry.Name())
			}
		}
	}
}

// TestVersionsAgree: the charts, and what kustomize installs, are one release.
func TestVersionsAgree(t *testing.T) {
	versions := map[string][]string{}
	for _, name := range []string{"ebbtide", "ebbtide-crds"} {
		text, err := os.ReadFile(root + "/deploy/charts/" + name + "/Chart.yaml")
		if err != nil {
			t.Fatal(err)
		}
		var about struct{ Version, AppVersion string }
		if err := yaml.Unmarshal(text, &about); err != nil {
			t.Fatal(err)
		}
		if about.AppVersion != "v"+about.Version {
			t.Errorf("%s has version %s and appVersion %s", name, about.Version, about.AppVersion)
		}
		versions[about.AppVersion] = append(versions[about.AppVersion], name)
	}
	for _, install := range installs {
		if install.overlay == "" {
			continue
		}
		_, rest, err := copies.Overlay(root, install.overlay)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(rest), "\n") {
			if image, found := strings.CutPrefix(strings.TrimSpace(line), "image: "); found {
				tag := image[strings.LastIndex(image, ":")+1:]
				versions[tag] = append(versions[tag], install.overlay+" "+image)
			}
		}
	}
	if len(versions) != 1 {
		t.Errorf("several versions: %v", versions)
	}
}

// TestRenderedOverlays: definitions are apart, and all overlays have the same.
func TestRenderedOverlays(t *testing.T) {
	overlays, err := copies.Overlays(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"advise-only", "replace-default", "second-scheduler", "with-agent"}; !slices.Equal(overlays, want) {
		t.Errorf("overlays %v, want %v", overlays, want)
	}
	var first []byte
	for _, name := range overlays {
		definitions, rest, err := copies.Overlay(root, name)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = definitions
		}
		if diff := cmp.Diff(string(first), string(definitions)); diff != "" {
			t.Errorf("%s has other definitions:\n%s", name, diff)
		}
		if n := len(objects(t, definitions)); n != 5 {
			t.Errorf("%s has %d definitions, want 5", name, n)
		}
		for key, object := range objects(t, rest) {
			if object.GetKind() == "CustomResourceDefinition" {
				t.Errorf("%s: %s is not apart", name, key)
			}
		}
	}
}
