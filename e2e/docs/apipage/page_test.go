package apipage_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/e2e/docs/apipage"
)

var update = flag.Bool("update", false, "write docs/reference/api.md")

// The page says what the definitions say now.
func TestPageIsFresh(t *testing.T) {
	files, err := filepath.Glob("../../../deploy/crds/ebbtide.dev_*.yaml")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d definitions were found: %v", len(files), err)
	}
	var definitions [][]byte
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		definitions = append(definitions, text)
	}
	want, err := apipage.Page(definitions...)
	if err != nil {
		t.Fatal(err)
	}
	const page = "../../../docs/reference/api.md"
	if *update {
		if err := os.WriteFile(page, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")); diff != "" {
		t.Errorf("docs/reference/api.md is stale: go test ./e2e/docs/apipage -update writes it (-want +got):\n%s", diff)
	}
}

func TestPage(t *testing.T) {
	const definition = `
metadata: {name: things.example.dev}
spec:
  names: {kind: Thing, plural: things, shortNames: [th]}
  scope: Cluster
  versions:
  - name: v1
    schema:
      openAPIV3Schema:
        description: |-
          Thing is
          a thing.
        required: [spec]
        properties:
          spec:
            type: object
            required: [size]
            properties:
              size: {type: integer, format: int64, minimum: 1, maximum: 9, description: Size of it.}
              mode: {type: string, enum: [A, B], default: A}
              parts:
                type: array
                maxItems: 4
                items: {type: object, properties: {name: {type: string, pattern: "a|b"}}}
              labels: {type: object, additionalProperties: {type: string}}
              when: {type: string, format: date-time}
            x-kubernetes-validations: [{rule: "true", message: size fits}]
`
	want := "## Thing\n\nThing is a thing.\n\n`kubectl get things`, `th`; of the cluster.\n\n" + `| field | type | |
|---|---|---|
| ` + "`spec`" + ` | object | Required. Rule: size fits. |
| ` + "`spec.labels`" + ` | map to string |  |
| ` + "`spec.mode`" + ` | string | One of ` + "`A`, `B`. Default: `A`" + `. |
| ` + "`spec.parts`" + ` | list of object | Elements at most: 4. |
| ` + "`spec.parts[].name`" + ` | string | Pattern: ` + "`a\\|b`" + `. |
| ` + "`spec.size`" + ` | integer | Required. Size of it. At least: 1. At most: 9. |
| ` + "`spec.when`" + ` | time |  |
`
	got, err := apipage.Page([]byte(definition))
	if err != nil {
		t.Fatal(err)
	}
	_, kinds, _ := strings.Cut(string(got), "## ")
	if diff := cmp.Diff(want, "## "+kinds); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, text := range map[string]string{"no schema": "spec: {versions: [{name: v1}]}", "an unknown field": "spek: {}"} {
		if _, err := apipage.Page([]byte(text)); err == nil {
			t.Errorf("%s: want an error", name)
		}
	}
}
