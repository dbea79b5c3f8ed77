package copies_test

import (
	"encoding/json"
	"flag"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write what a release pins, which no later one may change")

// fixed are the fields, by kind, that Kubernetes lets nobody change: an upgrade that would
// is refused, or has to delete what runs.
var fixed = map[string][][]string{
	"StatefulSet":              {{"spec", "serviceName"}, {"spec", "selector"}, {"spec", "podManagementPolicy"}, {"spec", "volumeClaimTemplates"}},
	"Deployment":               {{"spec", "selector"}},
	"DaemonSet":                {{"spec", "selector"}},
	"Service":                  {{"spec", "clusterIP"}},
	"PriorityClass":            {{"value"}, {"preemptionPolicy"}},
	"ClusterRoleBinding":       {{"roleRef"}},
	"RoleBinding":              {{"roleRef"}},
	"CustomResourceDefinition": {{"spec", "group"}, {"spec", "scope"}, {"spec", "names", "plural"}, {"spec", "names", "kind"}},
}

// TestUpgradesArePossible: what cannot be changed in a cluster stays as it is, in all that the
// charts can install. testdata/pinned.txt is what is released: a line in it may be added, or
// go with its object, and never change.
func TestUpgradesArePossible(t *testing.T) {
	out, stderr, err := template(t, "ebbtide-crds", "{}")
	if err != nil {
		t.Fatalf("helm template: %v\n%s", err, stderr)
	}
	all := chart(t, everything)
	maps.Copy(all, objects(t, []byte(out)))
	var lines []string
	for name, object := range all {
		for _, path := range fixed[object.GetKind()] {
			value, found := field(object, path)
			if !found {
				continue
			}
			text, err := json.Marshal(value)
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, name+" "+strings.Join(path, ".")+" "+string(text))
		}
	}
	slices.Sort(lines)
	if len(lines) < 30 {
		t.Fatalf("%d fields are pinned, which cannot be all", len(lines))
	}
	const file = "testdata/pinned.txt"
	got := strings.Join(lines, "\n") + "\n"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("what cannot be changed in a cluster has changed (-released +now):\n%s", diff)
	}
}
