package sample

import (
	"os"
	"strings"
	"testing"
)

// The page for people who write jobs shows the manifests that are tested.
func TestDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/tasks/write-a-job-that-can-be-taken-back.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"job.yaml", "rights.yaml"} {
		manifest, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(page), "```yaml\n"+string(manifest)+"```\n") {
			t.Errorf("the page does not show %s as it is", name)
		}
	}
}
