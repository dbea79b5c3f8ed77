package controller

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The reference shows every field with its default.
func TestDocumentedConfigurationIsTheDefault(t *testing.T) {
	page, err := os.ReadFile("../../../docs/reference/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(page), "```yaml\n")
	if !found {
		t.Fatal("the page shows no YAML")
	}
	text, _, _ := strings.Cut(rest, "```")
	documented, err := ParseConfig([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(DefaultConfig(), documented); diff != "" {
		t.Errorf("the documented configuration is not the default (-default +documented):\n%s", diff)
	}
}
