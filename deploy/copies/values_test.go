package copies_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/deploy/copies"
)

var charts = []string{"ebbtide", "ebbtide-crds"}

// TestEveryValueIsDocumented: a value of which nothing is said cannot be set with sense.
func TestEveryValueIsDocumented(t *testing.T) {
	for _, name := range charts {
		text, err := os.ReadFile(root + "/deploy/charts/" + name + "/values.yaml")
		if err != nil {
			t.Fatal(err)
		}
		values, err := copies.Values(text)
		if err != nil {
			t.Fatal(err)
		}
		if len(values) == 0 {
			t.Errorf("%s has no values", name)
		}
		for _, v := range values {
			if v.Text == "" {
				t.Errorf("%s: %s: say with %q above it what it is for", name, v.Name, "# -- ")
			}
		}
	}
}

func TestValues(t *testing.T) {
	got, err := copies.Values([]byte(`# Of the file.

# -- Of a, over
# two lines.
a: 1
b:
  # -- Of c.
  c: {d: [e]}
  # No mark.
  f: ""
# -- Of g as a whole.
g:
  h: true
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []copies.Value{
		{Name: "a", Default: "1", Text: "Of a, over two lines."}, {Name: "b.c", Default: `{"d":["e"]}`, Text: "Of c."},
		{Name: "b.f", Default: `""`}, {Name: "g", Default: `{"h":true}`, Text: "Of g as a whole."},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := copies.Values([]byte("a: [")); err == nil {
		t.Error("what is no YAML was read")
	}
}

// TestSchemaIsStrict: the schema has every value of values.yaml, each object in it refuses
// others, and what it has that values.yaml has not is optional by nature.
func TestSchemaIsStrict(t *testing.T) {
	for _, name := range charts {
		folder := root + "/deploy/charts/" + name
		values, schema := map[string]any{}, map[string]any{}
		for file, to := range map[string]*map[string]any{"/values.yaml": &values, "/values.schema.json": &schema} {
			text, err := os.ReadFile(folder + file)
			if err != nil {
				t.Fatal(err)
			}
			if err := yaml.Unmarshal(text, to); err != nil {
				t.Fatal(err)
			}
		}
		for _, problem := range lax(name, values, schema) {
			t.Error(problem)
		}
	}
}

// lax is what is wrong with the schema of an object, in all its depth.
func lax(path string, values, schema map[string]any) (problems []string) {
	properties, _ := schema["properties"].(map[string]any)
	if schema["additionalProperties"] != false {
		problems = append(problems, path+": unknown values are taken")
	}
	for name, value := range values {
		property, _ := properties[name].(map[string]any)
		if property == nil {
			problems = append(problems, path+"."+name+" is not in the schema")
			continue
		}
		if object, ok := value.(map[string]any); ok && property["properties"] != nil && len(object) > 0 {
			problems = append(problems, lax(path+"."+name, object, property)...)
		}
	}
	for name := range properties {
		if _, known := values[name]; !known && name != "global" {
			problems = append(problems, path+"."+name+" is not in values.yaml")
		}
	}
	return problems
}

// TestValuesAreRefused: who mistypes a value hears which, and what it must be, before
// anything is installed.
func TestValuesAreRefused(t *testing.T) {
	for _, test := range []struct{ values, want string }{
		{"shceduler: {mode: second}", "additional properties 'shceduler' not allowed"},
		{"scheduler: {mod: second}", "at '/scheduler': additional properties 'mod' not allowed"},
		{"scheduler: {mode: third}", "at '/scheduler/mode': value must be one of 'second', 'beside', 'replace', 'none'"},
		{"scheduler: {replicas: two}", "at '/scheduler/replicas': got string, want integer"},
		{"scheduler: {replicas: 0}", "at '/scheduler/replicas': minimum: got 0, want 1"},
		{"scheduler: {plugin: {maxGrace: 60}}", "at '/scheduler/plugin/maxGrace': got number, want string"},
		{"scheduler: {plugin: {maxGrace: a minute}}", "at '/scheduler/plugin/maxGrace': 'a minute' does not match pattern"},
		{"broker: {replicas: 3}", "at '/broker/replicas': value must be one of 1, 2"},
		{"broker: {config: {polcy: {}}}", "at '/broker/config': additional properties 'polcy' not allowed"},
		{"broker: {config: {advise: true}}", "at '/broker/config': additional properties 'advise' not allowed"},
		{"broker: {storage: {size: large}}", "at '/broker/storage/size': 'large' does not match pattern"},
		{"broker: {resources: {request: {cpu: 1}}}", "at '/broker/resources': additional properties 'request' not allowed"},
		{"broker: {extraArgs: [verbose]}", "at '/broker/extraArgs/0': 'verbose' does not match pattern"},
		{"broker: {certificate: {secretName: A_B}}", "at '/broker/certificate/secretName': 'A_B' does not match pattern"},
		{"prometheus: {url: prometheus.monitoring}", "at '/prometheus/url': 'prometheus.monitoring' does not match pattern"},
		{"image: {pullPolicy: always}", "at '/image/pullPolicy': value must be one of '', 'Always', 'IfNotPresent', 'Never'"},
		{"imagePullSecrets: [pull]", "at '/imagePullSecrets/0': got string, want object"},
		{"agent: {enabled: 'yes'}", "at '/agent/enabled': got string, want boolean"},
		{"agent: {nodeSelector: {a: true}}", "at '/agent/nodeSelector/a': got boolean, want string"},
		{"networkPolicy: {apiServerPorts: [https]}", "at '/networkPolicy/apiServerPorts/0': got string, want integer"},
		{"networkPolicy: {apiServerPorts: []}", "at '/networkPolicy/apiServerPorts': minItems: got 0, want 1"},
		{"admissionPolicies: false", "admissionPolicies: false takes advise: true, since nothing is lent without the policies"},
		{"dynamicResources: {enabled: true}", "dynamicResources.enabled takes agent.enabled"},
		{"broker: {certificate: {certManager: true}}", "broker.certificate.certManager takes broker.certificate.secretName"},
		{"broker: {certificate: {certManager: true, secretName: tls}}", "broker.certificate.certManager takes broker.certificate.issuerRef.name"},
	} {
		t.Run(test.values, func(t *testing.T) {
			_, stderr, err := template(t, "ebbtide", test.values)
			if err == nil || !strings.Contains(stderr, test.want) {
				t.Errorf("want %q, got %v:\n%s", test.want, err, stderr)
			}
		})
	}
	if _, stderr, err := template(t, "ebbtide-crds", "keep: 'no'"); err == nil || !strings.Contains(stderr, "at '/keep': got string, want boolean") {
		t.Errorf("of the definitions: %v:\n%s", err, stderr)
	}
	_, stderr, err := template(t, "ebbtide", "{}", "--namespace", "kube-system")
	if want := "Ebbtide installs into the namespace ebbtide-system, not kube-system"; err == nil || !strings.Contains(stderr, want) {
		t.Errorf("in another namespace: %v:\n%s", err, stderr)
	}
}

// TestLint: helm finds nothing to warn of, with the values of any install.
func TestLint(t *testing.T) {
	for _, test := range installs {
		if out, stderr, err := helm(t, test.values, "lint", "--strict", "--namespace", "ebbtide-system", root+"/deploy/charts/ebbtide"); err != nil {
			t.Errorf("%s: %v\n%s%s", test.name, err, out, stderr)
		}
	}
	if out, stderr, err := helm(t, "", "lint", "--strict", root+"/deploy/charts/ebbtide-crds"); err != nil {
		t.Errorf("the definitions: %v\n%s%s", err, out, stderr)
	}
}

// TestValuesAreHeard: what each value that is not a whole install's does.
func TestValuesAreHeard(t *testing.T) {
	const broker, scheduler, agent = "StatefulSet ebbtide-system/ebbtide-broker", "Deployment ebbtide-system/ebbtide-scheduler", "DaemonSet ebbtide-agent/ebbtide-agent"
	pod, container := []string{"spec", "template", "spec"}, []string{"spec", "template", "spec", "containers", "0"}
	for _, test := range []struct {
		values, object string
		path           []string
		want           string // as JSON; empty: nothing is there
	}{
		{"image: {registry: example.com/a, tag: v2}", broker, slices.Concat(container, []string{"image"}), `"example.com/a/ebbtide-broker:v2"`},
		{"image: {registry: example.com/a, tag: v2}", scheduler, slices.Concat(container, []string{"image"}), `"example.com/a/ebbtide-scheduler:v2"`},
		{"{image: {tag: v2}, agent: {enabled: true}}", agent, slices.Concat(container, []string{"image"}), `"ghcr.io/ebbtide/ebbtide-agent:v2"`},
		{"image: {pullPolicy: Always}", broker, slices.Concat(container, []string{"imagePullPolicy"}), `"Always"`},
		{"image: {pullPolicy: Always}", scheduler, slices.Concat(container, []string{"imagePullPolicy"}), `"Always"`},
		{"imagePullSecrets: [{name: pull}]", broker, slices.Concat(pod, []string{"imagePullSecrets"}), `[{"name":"pull"}]`},
		{"imagePullSecrets: [{name: pull}]", scheduler, slices.Concat(pod, []string{"imagePullSecrets"}), `[{"name":"pull"}]`},
		{"{imagePullSecrets: [{name: pull}], agent: {enabled: true}}", agent, slices.Concat(pod, []string{"imagePullSecrets"}), `[{"name":"pull"}]`},
		{"broker: {nodeSelector: {pool: system}}", broker, slices.Concat(pod, []string{"nodeSelector"}), `{"pool":"system"}`},
		{"scheduler: {nodeSelector: {pool: system}}", scheduler, slices.Concat(pod, []string{"nodeSelector"}), `{"pool":"system"}`},
		{"broker: {tolerations: [{key: a, operator: Exists}]}", broker, slices.Concat(pod, []string{"tolerations"}), `[{"key":"a","operator":"Exists"}]`},
		{"scheduler: {affinity: {nodeAffinity: {}}}", scheduler, slices.Concat(pod, []string{"affinity"}), `{"nodeAffinity":{}}`},
		{"broker: {replicas: 2, affinity: {nodeAffinity: {}}}", broker, slices.Concat(pod, []string{"affinity"}), `{"nodeAffinity":{}}`},
		{"broker: {priorityClassName: ''}", broker, slices.Concat(pod, []string{"priorityClassName"}), ""},
		{"broker: {resources: {limits: {memory: 4Gi}}}", broker, slices.Concat(container, []string{"resources", "limits", "memory"}), `"4Gi"`},
		{"broker: {podLabels: {team: x}}", broker, []string{"spec", "template", "metadata", "labels", "team"}, `"x"`},
		{"broker: {podLabels: {app.kubernetes.io/name: x}}", broker, []string{"spec", "template", "metadata", "labels", "app.kubernetes.io/name"}, `"ebbtide-broker"`},
		{"scheduler: {podAnnotations: {a: b}}", scheduler, []string{"spec", "template", "metadata", "annotations", "a"}, `"b"`},
		{"broker: {extraArgs: [-v=2]}", broker, slices.Concat(container, []string{"args", "1"}), `"-v=2"`},
		{"broker: {storage: {size: 50Gi, className: fast}}", broker, []string{"spec", "volumeClaimTemplates", "0", "spec"},
			`{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"50Gi"}},"storageClassName":"fast"}`},
		{"scheduler: {replicas: 3}", scheduler, []string{"spec", "replicas"}, "3"},
		{"scheduler: {certificate: {secretName: tls}}", scheduler, slices.Concat(container, []string{"args"}),
			`["--config=/etc/ebbtide/scheduler-config.yaml","--tls-cert-file=/etc/ebbtide-tls/tls.crt","--tls-private-key-file=/etc/ebbtide-tls/tls.key"]`},
		{"scheduler: {certificate: {secretName: tls}}", scheduler, slices.Concat(pod, []string{"volumes", "1"}), `{"name":"tls","secret":{"secretName":"tls"}}`},
		{"broker: {certificate: {secretName: tls, certManager: true, issuerRef: {name: ca}}}", "Certificate ebbtide-system/ebbtide-broker", []string{"spec"},
			`{"dnsNames":["ebbtide-broker.ebbtide-system.svc"],"issuerRef":{"group":"cert-manager.io","kind":"ClusterIssuer","name":"ca"},"secretName":"tls"}`},
		{"agent: {enabled: true, runtimeClassName: ''}", agent, slices.Concat(pod, []string{"runtimeClassName"}), ""},
		{"externalMetrics: {enabled: true, secretName: tls, caBundle: YQ==}", "APIService /v1beta1.external.metrics.k8s.io", []string{"spec", "caBundle"}, `"YQ=="`},
		{"externalMetrics: {enabled: true, secretName: tls, caBundle: YQ==}", "APIService /v1beta1.external.metrics.k8s.io", []string{"spec", "insecureSkipTLSVerify"}, ""},
		{"networkPolicy: {apiServerPorts: [16443]}", "NetworkPolicy ebbtide-system/ebbtide-scheduler", []string{"spec", "egress", "1", "ports"}, `[{"port":16443}]`},
		{"networkPolicy: {brokerEgress: [{ports: [{port: 9090}]}]}", "NetworkPolicy ebbtide-system/ebbtide-broker", []string{"spec", "egress", "3"}, `{"ports":[{"port":9090}]}`},
		{"networkPolicy: {brokerIngress: [{ports: [{port: https}]}]}", "NetworkPolicy ebbtide-system/ebbtide-broker", []string{"spec", "ingress", "1"}, `{"ports":[{"port":"https"}]}`},
		{"networkPolicy: {enabled: false}", "NetworkPolicy ebbtide-system/ebbtide-broker", nil, ""},
		{"priorityClasses: {create: false}", "PriorityClass /ebbtide-online", nil, ""},
		{"monitors: {enabled: true, labels: {release: prometheus}}", "PodMonitor ebbtide-system/ebbtide-scheduler", []string{"metadata", "labels", "release"}, `"prometheus"`},
		{"monitors: {enabled: true}", "PodMonitor ebbtide-system/ebbtide-agent", nil, ""},
		{"monitors: {rules: true, labels: {release: prometheus}}", "PrometheusRule ebbtide-system/ebbtide", []string{"metadata", "labels", "release"}, `"prometheus"`},
		{"monitors: {enabled: true}", "PrometheusRule ebbtide-system/ebbtide", nil, ""},
	} {
		t.Run(test.values+" "+test.object, func(t *testing.T) {
			got := ""
			if found, ok := field(chart(t, test.values)[test.object], test.path); ok {
				text, err := json.Marshal(found)
				if err != nil {
					t.Fatal(err)
				}
				got = string(text)
			}
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// field is what an object has at a path of names and numbers.
func field(object *unstructured.Unstructured, path []string) (any, bool) {
	if object == nil {
		return nil, false
	}
	var at any = object.Object
	for _, step := range path {
		switch here := at.(type) {
		case map[string]any:
			next, found := here[step]
			if !found {
				return nil, false
			}
			at = next
		case []any:
			n := int(step[0] - '0')
			if n >= len(here) {
				return nil, false
			}
			at = here[n]
		default:
			return nil, false
		}
	}
	return at, true
}

// TestChangesRestart: a change of a configuration is one of the pods that read it, and of no
// others.
func TestChangesRestart(t *testing.T) {
	checksum := func(values, object string) any {
		sum, _ := field(chart(t, values)[object], []string{"spec", "template", "metadata", "annotations", "checksum/config"})
		return sum
	}
	const broker, scheduler = "StatefulSet ebbtide-system/ebbtide-broker", "Deployment ebbtide-system/ebbtide-scheduler"
	for values, restarted := range map[string]map[string]bool{
		"broker: {config: {interval: 20s}}":    {broker: true},
		"advise: true":                         {broker: true},
		"scheduler: {plugin: {maxGrace: 90s}}": {scheduler: true},
		"scheduler: {mode: replace}":           {scheduler: true},
		"networkPolicy: {enabled: false}":      {},
	} {
		for _, object := range []string{broker, scheduler} {
			before, after := checksum("{}", object), checksum(values, object)
			if before == nil || after == nil {
				t.Fatalf("%s has no checksum", object)
			}
			if (before != after) != restarted[object] {
				t.Errorf("%s restarts %s: %v", values, object, before != after)
			}
		}
	}
}

// TestPluginArguments: arguments reach every profile that has the plugin, and the rest of the
// configuration stays as it is.
func TestPluginArguments(t *testing.T) {
	config := func(values string) map[string]any {
		return parsed(t, chart(t, values)["ConfigMap ebbtide-system/ebbtide-scheduler-config"])["scheduler-config.yaml"].(map[string]any)
	}
	for mode, profiles := range map[string]int{"second": 1, "beside": 2, "replace": 2} {
		want, got := config("scheduler: {mode: "+mode+"}"), config("scheduler: {mode: "+mode+", plugin: {maxGrace: 90s}}")
		all := want["profiles"].([]any)
		if len(all) != profiles {
			t.Errorf("mode %s has %d profiles, want %d", mode, len(all), profiles)
		}
		set := 0
		for _, profile := range all {
			plugins, _ := profile.(map[string]any)["pluginConfig"].([]any)
			for _, plugin := range plugins {
				if plugin := plugin.(map[string]any); plugin["name"] == "Ebbtide" {
					plugin["args"].(map[string]any)["maxGrace"] = "90s"
					set++
				}
			}
		}
		if set == 0 {
			t.Errorf("mode %s: no profile has the plugin", mode)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("mode %s (-want +got):\n%s", mode, diff)
		}
	}
}
