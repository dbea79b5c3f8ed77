package copies_test

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/e2e/lab/build"
)

const root = "../.."

var helmFolder = sync.OnceValues(func() (string, error) {
	return build.Programs(context.Background(), func(string, ...any) {}, build.Helm)
})

// helm runs helm with values as YAML, and with nothing of the caller's own configuration.
func helm(t *testing.T, values string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	bin, err := helmFolder()
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, build.Helm), append(args, "--values", "-")...)
	cmd.Stdin = strings.NewReader(values)
	for _, folder := range []string{"CACHE", "CONFIG", "DATA"} {
		cmd.Env = append(cmd.Env, "HELM_"+folder+"_HOME="+filepath.Join(home, folder))
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// chart renders the chart of Ebbtide with values as YAML.
func chart(t *testing.T, values string) map[string]*unstructured.Unstructured {
	t.Helper()
	out, stderr, err := template(t, "ebbtide", values)
	if err != nil {
		t.Fatalf("helm template: %v\n%s", err, stderr)
	}
	return objects(t, []byte(out))
}

func template(t *testing.T, name, values string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	return helm(t, values, append([]string{"template", name, root + "/deploy/charts/" + name, "--namespace", "ebbtide-system"}, args...)...)
}

// objects are the documents of a stream, by "kind namespace/name".
func objects(t *testing.T, stream []byte) map[string]*unstructured.Unstructured {
	t.Helper()
	found := map[string]*unstructured.Unstructured{}
	for _, document := range regexp.MustCompile(`(?m)^---$`).Split(string(stream), -1) {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(document), &object.Object); err != nil {
			t.Fatalf("read %q: %v", document, err)
		}
		if object.Object == nil {
			continue
		}
		key := fmt.Sprintf("%s %s/%s", object.GetKind(), object.GetNamespace(), object.GetName())
		if found[key] != nil {
			t.Errorf("%s is there twice", key)
		}
		found[key] = object
	}
	return found
}

// kustomized renders a kustomization that is written beside the tree.
func kustomized(t *testing.T, text string, files map[string]string) map[string]*unstructured.Unstructured {
	t.Helper()
	folder := t.TempDir()
	tree, err := filepath.Abs(root + "/deploy")
	if err != nil {
		t.Fatal(err)
	}
	up, err := filepath.Rel(folder, tree)
	if err != nil {
		t.Fatal(err)
	}
	disk := filesys.MakeFsOnDisk()
	for name, content := range files {
		if err := disk.WriteFile(folder+"/"+name, []byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := disk.WriteFile(folder+"/kustomization.yaml", []byte(strings.ReplaceAll(text, "DEPLOY", up))); err != nil {
		t.Fatal(err)
	}
	options := krusty.MakeDefaultOptions()
	resources, err := krusty.MakeKustomizer(options).Run(disk, folder)
	if err != nil {
		t.Fatal(err)
	}
	rendered, err := resources.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	return objects(t, rendered)
}

// hashed is the name of a ConfigMap to which kustomize has added a hash of its content.
var hashed = regexp.MustCompile(`^(ebbtide-(?:broker|scheduler)-config)-[a-z0-9]{10}$`)

// plain takes out of an install in what helm and kustomize differ on purpose: by what name a
// change of a configuration restarts its pods, and how a configuration is written. What helm
// does not install is the definitions and the namespace, in which it keeps its releases.
func plain(t *testing.T, all map[string]*unstructured.Unstructured) map[string]map[string]any {
	t.Helper()
	out := map[string]map[string]any{}
	for name, object := range all {
		if object.GetKind() == "CustomResourceDefinition" || name == "Namespace /ebbtide-system" {
			continue
		}
		annotations, found, _ := unstructured.NestedStringMap(object.Object, "spec", "template", "metadata", "annotations")
		if delete(annotations, "checksum/config"); found && len(annotations) == 0 {
			unstructured.RemoveNestedField(object.Object, "spec", "template", "metadata", "annotations")
		}
		volumes, found, _ := unstructured.NestedSlice(object.Object, "spec", "template", "spec", "volumes")
		for _, v := range volumes {
			if m, ok := v.(map[string]any)["configMap"].(map[string]any); ok {
				m["name"] = hashed.ReplaceAllString(m["name"].(string), "$1")
			}
		}
		if found {
			if err := unstructured.SetNestedSlice(object.Object, volumes, "spec", "template", "spec", "volumes"); err != nil {
				t.Fatal(err)
			}
		}
		if object.GetKind() == "ConfigMap" {
			object.SetName(hashed.ReplaceAllString(object.GetName(), "$1"))
			name = hashed.ReplaceAllString(strings.TrimPrefix(name, "ConfigMap ebbtide-system/"), "ConfigMap ebbtide-system/$1")
			if !strings.HasPrefix(name, "ConfigMap ") {
				name = "ConfigMap ebbtide-system/" + name
			}
			object.Object["data"] = parsed(t, object)
		}
		out[name] = object.Object
	}
	return out
}

// parsed is the data of a ConfigMap, each file of YAML as what it says.
func parsed(t *testing.T, object *unstructured.Unstructured) map[string]any {
	t.Helper()
	data, _, err := unstructured.NestedStringMap(object.Object, "data")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	for file, text := range data {
		var content any
		if err := yaml.Unmarshal([]byte(text), &content); err != nil {
			t.Fatalf("%s %s: %v", object.GetName(), file, err)
		}
		out[file] = content
	}
	return out
}

func compare(t *testing.T, want, got map[string]*unstructured.Unstructured) {
	t.Helper()
	kustomize, helm := plain(t, want), plain(t, got)
	if len(kustomize) < 20 {
		t.Fatalf("kustomize rendered %d objects, which cannot be all", len(kustomize))
	}
	for name, object := range kustomize {
		if diff := cmp.Diff(object, helm[name]); diff != "" {
			t.Errorf("%s (-kustomize +helm):\n%s", name, diff)
		}
	}
	for name := range helm {
		if kustomize[name] == nil {
			t.Errorf("%s is in the chart only", name)
		}
	}
}
