package cli

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
)

const kindsPage = "../../../docs/tasks/run-training-jobs-of-other-kinds.md"

func documents(t *testing.T, text []byte) []*unstructured.Unstructured {
	t.Helper()
	var objects []*unstructured.Unstructured
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096); ; {
		o := &unstructured.Unstructured{}
		if err := decoder.Decode(&o.Object); errors.Is(err, io.EOF) {
			return objects
		} else if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, o)
	}
}

// asWritten takes away what the API server adds to a queued job.
func asWritten(o any) {
	switch of := o.(type) {
	case map[string]any:
		delete(of, "suspend")
		delete(of, "schedulerName")
		delete(of, "podTemplateOverrides")
		if labels, ok := of["labels"].(map[string]any); ok && of["name"] == nil {
			if delete(labels, v1alpha1.LabelQueue); len(labels) == 0 {
				delete(of, "labels")
			}
		}
		for key, value := range of {
			asWritten(value)
			if below, ok := value.(map[string]any); ok && key == "metadata" && len(below) == 0 {
				delete(of, key)
			}
		}
	case []any:
		for _, value := range of {
			asWritten(value)
		}
	}
}

// The examples of the page are those that every kind's adapter is tested with, and what
// submit takes.
func TestPageOfKindsHasTestedExamples(t *testing.T) {
	page, err := os.ReadFile(kindsPage)
	if err != nil {
		t.Fatal(err)
	}
	files := []string{"jobset", "trainjob", "pytorchjob", "mpijob", "rayjob", "raycluster", "leaderworkerset", "podgroup"}
	blocks := yamlBlock.FindAllStringSubmatch(string(page), -1)
	if len(blocks) != len(files) {
		t.Fatalf("%d examples, want %d", len(blocks), len(files))
	}
	for i, file := range files {
		tested, err := os.ReadFile("../jobs/testdata/" + file + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		shown, want := documents(t, []byte(blocks[i][1])), documents(t, tested)
		for _, o := range append(documents(t, []byte(blocks[i][1])), want...) {
			asWritten(o.Object)
		}
		for _, o := range shown {
			asWritten(o.Object)
		}
		if diff := cmp.Diff(want, shown); diff != "" {
			t.Errorf("the example of %s is not the tested one (-tested +shown):\n%s", file, diff)
		}
		server := newFakeAPIServer(t, nil)
		_, stderr, code := invoke(t, server.URL, invocation{args: "submit -f - -n research --queue default", stdin: blocks[i][1]})
		if code != ExitOK || len(server.created) != len(shown) {
			t.Errorf("%s: exit %d, %d objects created: %s", file, code, len(server.created), stderr)
		}
	}
}

// Every kind that has a field to keep it from running is in the page's table with it.
func TestPageOfKindsNamesTheFields(t *testing.T) {
	page, err := os.ReadFile(kindsPage)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range jobs.Fields() {
		path := strings.ReplaceAll(strings.TrimPrefix(f.Path, "/"), "/", ".")
		found := false
		for _, line := range strings.Split(string(page), "\n") {
			found = found || strings.HasPrefix(line, "| ") && strings.Contains(line, f.Kind.Kind) && strings.Contains(line, "`"+path+"`")
		}
		if !found {
			t.Errorf("no row of the table has %s with `%s`", f.Kind.Kind, path)
		}
	}
}
