package signal

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The API server takes exactly the profiles that there are, and the reference names them.
func TestProfilesAreNamed(t *testing.T) {
	source, err := os.ReadFile("../../api/v1alpha1/signal.go")
	if err != nil {
		t.Fatal(err)
	}
	enum := regexp.MustCompile(`(?s)// Profile names a built-in profile\..*?Enum=([a-z0-9;-]+)`).FindSubmatch(source)
	if enum == nil {
		t.Fatal("the API's field has no list of profiles")
	}
	if diff := cmp.Diff(ProfileNames(), slices.Sorted(slices.Values(strings.Split(string(enum[1]), ";")))); diff != "" {
		t.Errorf("profiles of the API (-there are +it takes):\n%s", diff)
	}
	page, err := os.ReadFile("../../../docs/reference/sources.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range ProfileNames() {
		if !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("docs/reference/sources.md does not name profile %s", name)
		}
	}
}
