package admission_test

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/ebbtide/ebbtide/deploy"
	"github.com/ebbtide/ebbtide/e2e/escapes/admission"
)

// asked is a request in short.
type asked struct {
	name        string
	user        admission.User
	resource    string // group/version/plural/Kind, with the subresource behind the plural after a dot
	object, old string
	// want is what the refusal says; empty: it is accepted.
	want string
}

func (a *asked) request(t *testing.T, w *town) admission.Request {
	t.Helper()
	parts := strings.Split(a.resource, "/")
	plural, sub, _ := strings.Cut(parts[2], ".")
	r := admission.Request{
		User: a.user, Resource: schema.GroupVersionResource{Group: parts[0], Version: parts[1], Resource: plural}, Subresource: sub,
		Kind: schema.GroupVersionKind{Group: parts[0], Version: parts[1], Kind: parts[3]},
	}
	if a.object != "" {
		r.Object = w.read(t, a.object)
		r.Object.SetGroupVersionKind(r.Kind)
	}
	if a.old != "" {
		r.Old = w.read(t, a.old)
		r.Old.SetGroupVersionKind(r.Kind)
	}
	return r
}

const (
	pods      = "/v1/pods/Pod"
	ephemeral = "/v1/pods.ephemeralcontainers/Pod"
	jobs      = "batch/v1/jobs/Job"
)

// pod is one in red with more in its metadata and its spec.
func pod(meta, spec string) string {
	return fmt.Sprintf(`{metadata: {namespace: red, name: p, %s}, spec: {schedulerName: ebbtide, %s}}`, meta, spec)
}

const (
	one   = `containers: [{name: main, resources: {limits: {nvidia.com/gpu: "1"}}}]`
	none  = `containers: [{name: main}]`
	eight = `containers: [{name: main, resources: {limits: {nvidia.com/gpu: "8"}}}]`
)

// imports is a container with variables from elsewhere.
func imports(limits, from string) string {
	return fmt.Sprintf(`containers: [{name: main, resources: {limits: {%s}}, envFrom: [%s]}]`, limits, from)
}

const (
	gpuLimit   = `nvidia.com/gpu: "1"`
	onlyPrefix = "spec.containers[].envFrom: in a pod that asks for a GPU"
)

// The traps of what policies cover: every operation and subresource, every list of
// containers, both ways to variables, reserved prefixes.
func traps() []asked {
	inNamespace := func(text, namespace string) string {
		return strings.Replace(text, "namespace: red", "namespace: "+namespace, 1)
	}
	init := `initContainers: [{name: i, envFrom: [{secretRef: {name: s}}]}], ` + one
	debug := `ephemeralContainers: [{name: d, envFrom: [{configMapRef: {name: c}}]}], `
	const binding = `{metadata: {namespace: red, name: p}, target: {kind: Node, name: gpu-1}}`
	label := func(key string) string { return fmt.Sprintf(`labels: {%s: "x"}`, key) }
	note := func(key string) string { return fmt.Sprintf(`annotations: {%s: "x"}`, key) }
	return []asked{
		{"a pod that is as it should be", alice, pods, pod("", one), "", ""},
		{"variables from a ConfigMap beside a GPU", alice, pods, pod("", imports(gpuLimit, `{configMapRef: {name: c}}`)), "", onlyPrefix},
		{"variables from a Secret beside a slice", alice, pods, pod("", imports(`nvidia.com/mig-1g.10gb: "1"`, `{secretRef: {name: c}}`)), "", onlyPrefix},
		{"with an empty prefix", alice, pods, pod("", imports(gpuLimit, `{prefix: "", secretRef: {name: c}}`)), "", onlyPrefix},
		{"with the beginning of the name", alice, pods, pod("", imports(gpuLimit, `{prefix: NVIDIA_, secretRef: {name: c}}`)), "", onlyPrefix},
		{"with the name", alice, pods, pod("", imports(gpuLimit, `{prefix: NVIDIA_VISIBLE_DEVICES, secretRef: {name: c}}`)), "", onlyPrefix},
		{"one of several", alice, pods, pod("", imports(gpuLimit, `{prefix: A_, secretRef: {name: c}}, {secretRef: {name: d}}`)), "", onlyPrefix},
		{"with another prefix", alice, pods, pod("", imports(gpuLimit, `{prefix: CONFIG_, configMapRef: {name: c}}`)), "", ""},
		{"without a GPU", alice, pods, pod("", imports("", `{configMapRef: {name: c}}`)), "", ""},
		{"in an init container", alice, pods, pod("", init), "", onlyPrefix},
		{"beside a claim", alice, pods, pod("", `resourceClaims: [{name: s, resourceClaimTemplateName: mig-1g.5gb.ebbtide.dev}], `+imports("", `{secretRef: {name: c}}`)), "", onlyPrefix},
		{"in an ephemeral container", alice, ephemeral, pod("", debug+one), pod("", one), onlyPrefix},
		{"in an ephemeral container of a pod without a GPU", alice, ephemeral, pod("", debug+none), pod("", none), ""},
		{"of a driver", alice, pods, inNamespace(pod("", imports(gpuLimit, `{secretRef: {name: c}}`)), "drivers"), "", ""},
		{"an init container that sees all", alice, pods, pod("", `initContainers: [{name: i, env: [{name: NVIDIA_VISIBLE_DEVICES, value: all}]}], `+none), "", "env[NVIDIA_VISIBLE_DEVICES]"},
		{"an ephemeral container that sees all", alice, ephemeral,
			pod("", `ephemeralContainers: [{name: d, env: [{name: NVIDIA_VISIBLE_DEVICES, value: all}]}], `+none), pod("", none), "env[NVIDIA_VISIBLE_DEVICES]"},
		{"an init container's GPU for another scheduler", alice, pods,
			`{metadata: {namespace: red, name: p}, spec: {schedulerName: stock, initContainers: [{name: i, resources: {limits: {nvidia.com/gpu: "1"}}}], containers: [{name: main}]}}`, "", "must name ebbtide"},
		{"another scheduler with labels of its own", alice, pods,
			`{metadata: {namespace: red, name: p, labels: {hami.io/webhook: ignore}}, spec: {schedulerName: stock, containers: [{name: main, resources: {limits: {nvidia.com/gpu: "1"}}}]}}`, "", "must name ebbtide"},

		{"a binding", alice, "/v1/pods.binding/Binding", binding, "", "pods/binding: only schedulers"},
		{"the old way to bind", alice, "/v1/bindings/Binding", binding, "", "pods/binding: only schedulers"},
		{"a binding by a scheduler", scheduler, "/v1/pods.binding/Binding", binding, "", ""},
		{"more GPUs by a resize", alice, "/v1/pods.resize/Pod", pod("", eight), pod("", one), "the GPUs of a pod do not change"},
		{"fewer GPUs by a resize", alice, "/v1/pods.resize/Pod", pod("", none), pod("", one), "the GPUs of a pod do not change"},
		{"more cpu by a resize", alice, "/v1/pods.resize/Pod", pod("", `containers: [{name: main, resources: {limits: {cpu: "2", nvidia.com/gpu: "1"}}}]`), pod("", one), ""},

		{"an unknown label", alice, pods, pod(label("ebbtide.dev/exempt"), one), "", "metadata.labels[ebbtide.dev/*]"},
		{"an unknown annotation", alice, pods, pod(note("ebbtide.dev/grace"), none), "", "metadata.annotations[ebbtide.dev/*]"},
		{"an unknown label later", alice, pods, pod(label("ebbtide.dev/exempt"), none), pod("", none), "metadata.labels[ebbtide.dev/*]"},
		{"an unknown label that is there", alice, pods, pod(label("ebbtide.dev/exempt"), none), pod(label("ebbtide.dev/exempt"), none), ""},
		{"an unknown annotation of a job", alice, jobs, `{metadata: {namespace: red, name: j, annotations: {ebbtide.dev/x: "1"}}, spec: {template: {spec: {containers: []}}}}`, "", "metadata.annotations[ebbtide.dev/*]"},
		{"an unknown label of a RayCluster", alice, "ray.io/v1/rayclusters/RayCluster", `{metadata: {namespace: red, name: j, labels: {ebbtide.dev/x: "1"}}, spec: {}}`, "", "metadata.labels[ebbtide.dev/*]"},
		{"a known annotation", alice, pods, pod(note("ebbtide.dev/reclaim-hook"), none), "", ""},
		{"another prefix", alice, pods, pod(note("lab.ebbtide.dev/x"), none), "", ""},
		{"what Ebbtide writes", broker, pods, pod(note("ebbtide.dev/new"), none), pod("", none), ""},

		{"a Loan", alice, "ebbtide.dev/v1alpha1/loans/Loan", `{metadata: {namespace: red, name: l}, spec: {}}`, "", "only the broker writes Loans"},
		{"the status of a Loan", alice, "ebbtide.dev/v1alpha1/loans.status/Loan", `{metadata: {namespace: red, name: l}, status: {a: 1}}`, `{metadata: {namespace: red, name: l}}`, "only the broker writes Loans"},
		{"the end of a Loan", alice, "ebbtide.dev/v1alpha1/loans/Loan", "", `{metadata: {namespace: red, name: l}}`, "only the broker writes Loans"},
		{"the status of a queue", alice, "ebbtide.dev/v1alpha1/trainingqueues.status/TrainingQueue", `{metadata: {namespace: red, name: q}, status: {a: 1}}`, `{metadata: {namespace: red, name: q}}`, "status: only the broker writes it"},
		{"the status of a LendingPolicy", alice, "ebbtide.dev/v1alpha1/lendingpolicies.status/LendingPolicy", `{metadata: {namespace: red, name: q}, status: {a: 1}}`, `{metadata: {namespace: red, name: q}}`, "status: only the broker writes it"},
		{"a GPUNode's slices", alice, "ebbtide.dev/v1alpha1/gpunodes.status/GPUNode", `{metadata: {name: n}, status: {a: 1}}`, `{metadata: {name: n}}`, "status: only the agents write it"},
		{"a namespace into a tenant", alice, "/v1/namespaces/Namespace", `{metadata: {name: blue, labels: {team: red}}}`, `{metadata: {name: blue}}`, "metadata.labels: TenantQuota red"},
		{"a namespace into a tenant, by who hands out quota", root, "/v1/namespaces/Namespace", `{metadata: {name: blue, labels: {team: red}}}`, `{metadata: {name: blue}}`, ""},
		{"a privileged namespace", alice, "/v1/namespaces/Namespace", `{metadata: {name: red, labels: {team: red, pod-security.kubernetes.io/enforce: privileged}}}`, `{metadata: {name: red, labels: {team: red}}}`, "makes a namespace privileged"},
		{"devices under the driver's name", alice, "resource.k8s.io/v1/resourceslices/ResourceSlice", `{metadata: {name: s}, spec: {driver: gpu.ebbtide.dev, nodeName: gpu-0}}`, "", "only Ebbtide's agents publish devices"},
		{"a GPU's class for an uncounted resource", root, "resource.k8s.io/v1/deviceclasses/DeviceClass", `{metadata: {name: gpu.nvidia.com}, spec: {extendedResourceName: example.com/gpu}}`, "", "spec.extendedResourceName"},
	}
}

func TestTraps(t *testing.T) {
	w := newTown(t)
	refused := 0
	for _, a := range traps() {
		t.Run(a.name, func(t *testing.T) {
			err := w.Judge.Judge(t.Context(), a.request(t, w))
			switch {
			case a.want == "" && err != nil:
				t.Errorf("it is refused: %v", err)
			case a.want != "" && (err == nil || !strings.Contains(err.Error(), a.want)):
				t.Errorf("the answer is %v, want one with %q", err, a.want)
			case a.want != "":
				refused++
				if reason := apierrors.ReasonForError(err); reason != metav1.StatusReasonForbidden && reason != metav1.StatusReasonInvalid {
					t.Errorf("the reason is %s", reason)
				}
			}
		})
	}
	if refused < 25 {
		t.Errorf("only %d requests were refused", refused)
	}
}

// Each refusal is the work of one policy: without it the request passes. That is what this
// package's judgements are worth, and why the broker lends nothing while one is gone.
func TestEachPolicyIsNeeded(t *testing.T) {
	w := newTown(t)
	needed := map[string]bool{}
	cut := map[string]*town{}
	for _, a := range traps() {
		if a.want == "" {
			continue
		}
		err := w.Judge.Judge(t.Context(), a.request(t, w))
		policy := denier(err)
		if policy == "" {
			t.Errorf("%s: no policy is named: %v", a.name, err)
			continue
		}
		needed[policy] = true
		if cut[policy] == nil {
			cut[policy] = without(t, policy)
		}
		if err := cut[policy].Judge.Judge(t.Context(), a.request(t, w)); err != nil {
			t.Errorf("%s: without %s it is refused all the same: %v", a.name, policy, err)
		}
	}
	if len(needed) < 11 {
		t.Errorf("only %d policies refused something: %v", len(needed), maps.Keys(needed))
	}
}

// denier is the policy that a refusal names.
func denier(err error) string {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return ""
	}
	_, rest, _ := strings.Cut(err.Error(), "ValidatingAdmissionPolicy '")
	name, _, _ := strings.Cut(rest, "'")
	return name
}

// No policy that refuses leaves objects out by their labels, which their owners write; and
// namespaces are told apart by labels that tenants cannot set.
func TestNoObjectSelector(t *testing.T) {
	stream, err := deploy.Manifests(deploy.AgentAccess, deploy.DynamicResources)
	if err != nil {
		t.Fatal(err)
	}
	if wrong := exemptions(string(stream)); len(wrong) > 0 {
		t.Errorf("tenants could step aside by %v", wrong)
	}
	loose := strings.ReplaceAll(string(stream), "- key: pod-security.kubernetes.io/enforce", "- key: team")
	loose = strings.Replace(loose, "kind: ValidatingAdmissionPolicy\n", "kind: ValidatingAdmissionPolicy\nobjectSelector: {}\n", 1)
	if wrong := exemptions(loose); len(wrong) != 2 {
		t.Errorf("the control finds %v, want two ways", wrong)
	}
}

// exemptions are the selectors by which a tenant could step aside.
func exemptions(stream string) (wrong []string) {
	selector, key := regexp.MustCompile(`(?m)^\s*objectSelector:`), regexp.MustCompile(`(?m)^\s*- key: (\S+)$`)
	for _, document := range strings.Split(stream, "\n---\n") {
		if !strings.Contains(document, "\nkind: ValidatingAdmissionPolicy") {
			continue
		}
		if selector.MatchString(document) {
			wrong = append(wrong, "objectSelector")
		}
		for _, m := range key.FindAllStringSubmatch(document, -1) {
			if m[1] != "kubernetes.io/metadata.name" && m[1] != "pod-security.kubernetes.io/enforce" {
				wrong = append(wrong, m[1])
			}
		}
	}
	return wrong
}
