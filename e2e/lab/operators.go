package lab

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/e2e/lab/build"
	"github.com/ebbtide/ebbtide/e2e/lab/crds"
)

//go:embed operators
var operatorManifests embed.FS

// operator is how a project's controllers are installed: as which service account,
// with which ClusterRole, as its own manifests say.
type operator struct {
	namespace, account, role string
}

var operators = map[string]operator{
	crds.JobSet:           {"jobset-system", "jobset-controller-manager", "jobset-manager-role"},
	crds.LeaderWorkerSet:  {"lws-system", "lws-controller-manager", "lws-manager-role"},
	crds.Trainer:          {"kubeflow-system", "kubeflow-trainer-controller-manager", "kubeflow-trainer-controller-manager"},
	crds.TrainingOperator: {"kubeflow", "training-operator", "training-operator"},
	crds.KubeRay:          {"ray-system", "kuberay-operator", "kuberay-operator"},
}

// StartOperators makes the API server serve the kinds of the given projects, starts
// the projects' own controllers and webhooks, each as a part of the project's name,
// and returns when they act. Names are those of package crds. Trainer makes JobSets,
// so it needs JobSet beside or before it.
//
// Each runs as the service account, with the rights and behind the webhooks that its
// project's manifests give it. What cannot be real where containers never run is
// listed at the program, e2e/operators.
func (l *Lab) StartOperators(ctx context.Context, names ...string) error {
	if len(names) == 0 {
		return nil
	}
	if err := l.checkOperators(names); err != nil {
		return err
	}
	if _, err := l.binary(ctx, build.Operators); err != nil {
		return err
	}
	definitions, err := crds.Manifests(names...)
	if err != nil {
		return err
	}
	for _, name := range names {
		account, err := operators[name].manifest()
		if err != nil {
			return fmt.Errorf("install %s: %w", name, err)
		}
		definitions = append(definitions, account)
	}
	if err := l.Apply(ctx, definitions...); err != nil {
		return err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	for _, name := range names {
		group.Go(func() error { return l.startOperator(groupCtx, name) })
	}
	return group.Wait()
}

func (l *Lab) checkOperators(names []string) error {
	for i, name := range names {
		if _, ok := operators[name]; !ok {
			return fmt.Errorf("start operator %q: there are those of %v", name, crds.Projects())
		}
		if slices.Contains(names[:i], name) || l.Part(name) != nil {
			return fmt.Errorf("start operator %s: a part of that name exists", name)
		}
	}
	if slices.Contains(names, crds.Trainer) && !slices.Contains(names, crds.JobSet) && l.Part(crds.JobSet) == nil {
		return fmt.Errorf("start operator %s: it needs %s, whose objects it makes", crds.Trainer, crds.JobSet)
	}
	return nil
}

// manifest is the operator's namespace and account, bound to its role.
func (o operator) manifest() ([]byte, error) {
	return json.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": []any{
		map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": o.namespace}},
		map[string]any{
			"apiVersion": "v1", "kind": "ServiceAccount",
			"metadata": map[string]any{"name": o.account, "namespace": o.namespace},
		},
		map[string]any{
			"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
			"metadata": map[string]any{"name": o.role},
			"roleRef":  map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": o.role},
			"subjects": []any{map[string]any{"kind": "ServiceAccount", "name": o.account, "namespace": o.namespace}},
		},
	}})
}

// startOperator gives an operator its rights, starts it, and then tells the API
// server of its webhooks, which must answer by then.
func (l *Lab) startOperator(ctx context.Context, name string) error {
	text, err := operatorManifests.ReadFile("operators/" + name + ".yaml")
	if err != nil {
		return fmt.Errorf("read the rights of %s: %w", name, err)
	}
	serving, err := l.Serving(name + "-webhooks")
	if err != nil {
		return err
	}
	rights, hooks, err := l.operatorObjects(text, serving.Addr)
	if err != nil {
		return fmt.Errorf("read the rights of %s: %w", name, err)
	}
	if err := l.Apply(ctx, rights...); err != nil {
		return err
	}
	args, health, err := l.operatorArgs(ctx, name, serving, len(hooks) > 0)
	if err != nil {
		return err
	}
	part := l.newPart(partSpec{name: name, path: l.bin(build.Operators), args: args, health: l.healthy(health)})
	if err := part.begin(ctx); err != nil {
		l.dropPart(part)
		return errors.Join(err, part.Stop())
	}
	if err := l.Apply(ctx, hooks...); err != nil {
		return err
	}
	return l.webhooksCalled(ctx, hooks)
}

func (l *Lab) operatorArgs(ctx context.Context, name string, serving Serving, hooks bool) (args []string, health string, err error) {
	op := operators[name]
	kubeconfig, err := l.KubeconfigFor(ctx, op.namespace, op.account)
	if err != nil {
		return nil, "", err
	}
	addr, err := l.address(name + "/health")
	if err != nil {
		return nil, "", err
	}
	metrics, err := l.address(name + "/metrics")
	if err != nil {
		return nil, "", err
	}
	args = []string{name, "--kubeconfig=" + kubeconfig, "--health-addr=" + addr, "--metrics-addr=" + metrics}
	if hooks {
		args = append(args, "--webhooks-addr="+serving.Addr,
			"--tls-cert-file="+serving.CertFile, "--tls-private-key-file="+serving.KeyFile)
	}
	return args, "http://" + addr + "/readyz", nil
}

// sentinelHook is the name of a webhook that the lab adds to each configuration.
const sentinelHook = "sentinel.lab.ebbtide.dev"

// operatorObjects reads an operator's manifest: its rights, and the configurations
// of its webhooks, whose Services are replaced by the address where they are served.
//
// The API server learns of a configuration through a watch and reports nowhere that
// it has. So each gets a webhook more, which fails for a ConfigMap of the
// configuration's name and is asked for nothing else: see webhooksCalled.
func (l *Lab) operatorObjects(text []byte, addr string) (rights, hooks [][]byte, err error) {
	for _, document := range strings.Split(string(text), "\n---\n")[1:] {
		var object map[string]any
		if err := yaml.UnmarshalStrict([]byte(document), &object); err != nil {
			return nil, nil, err
		}
		list, isHook, err := unstructured.NestedSlice(object, "webhooks")
		if err != nil {
			return nil, nil, err
		}
		if !isHook {
			rights = append(rights, []byte(document))
			continue
		}
		for _, hook := range list {
			path, _, err := unstructured.NestedString(hook.(map[string]any), "clientConfig", "service", "path")
			if err != nil {
				return nil, nil, err
			}
			hook.(map[string]any)["clientConfig"] = map[string]any{
				"url": "https://" + addr + path, "caBundle": l.authority.CertPEM, // encoded as base64, as it must be
			}
		}
		name, _, err := unstructured.NestedString(object, "metadata", "name")
		if err != nil {
			return nil, nil, err
		}
		object["webhooks"] = append(list, sentinelWebhook(name))
		hook, err := json.Marshal(object)
		if err != nil {
			return nil, nil, err
		}
		hooks = append(hooks, hook)
	}
	return rights, hooks, nil
}

func sentinelWebhook(configuration string) map[string]any {
	return map[string]any{
		"name": sentinelHook, "admissionReviewVersions": []any{"v1"}, "sideEffects": "None",
		"failurePolicy": "Fail", "timeoutSeconds": 1,
		"clientConfig": map[string]any{"url": "https://127.0.0.1:1/"}, // nobody may listen there
		"rules": []any{map[string]any{
			"apiGroups": []any{""}, "apiVersions": []any{"v1"},
			"operations": []any{"CREATE"}, "resources": []any{"configmaps"},
		}},
		"matchConditions": []any{map[string]any{
			"name": "sentinel", "expression": fmt.Sprintf("object.metadata.name == %q", configuration),
		}},
	}
}

// webhooksCalled waits until the API server calls the webhooks of the given
// configurations.
func (l *Lab) webhooksCalled(ctx context.Context, configurations [][]byte) error {
	configMaps := l.dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}).Namespace(metav1.NamespaceDefault)
	for _, text := range configurations {
		var configuration unstructured.Unstructured
		if err := json.Unmarshal(text, &configuration.Object); err != nil {
			return fmt.Errorf("read a configuration of webhooks: %w", err)
		}
		probe := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": configuration.GetName()},
		}}
		err := wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(ctx context.Context) (bool, error) {
			_, err := configMaps.Create(ctx, probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			return err != nil && strings.Contains(err.Error(), sentinelHook), nil
		})
		if err != nil {
			return fmt.Errorf("wait until the webhooks of %s are called: %w", configuration.GetName(), ended(ctx, err))
		}
	}
	return nil
}
