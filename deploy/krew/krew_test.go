// Package krew holds the manifest by which krew installs kubectl-ebbtide, and the test that it
// names what is built.
package krew

import (
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"
	"text/template"

	"sigs.k8s.io/yaml"
)

// plugin is krew's manifest, as far as there is anything in ours.
type plugin struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		Version          string     `json:"version"`
		Homepage         string     `json:"homepage"`
		ShortDescription string     `json:"shortDescription"`
		Description      string     `json:"description"`
		Caveats          string     `json:"caveats"`
		Platforms        []platform `json:"platforms"`
	} `json:"spec"`
}

type platform struct {
	Selector struct {
		MatchLabels map[string]string `json:"matchLabels"`
	} `json:"selector"`
	URI    string `json:"uri"`
	Sha256 string `json:"sha256"`
	Bin    string `json:"bin"`
}

// rendered is the manifest of a release, as a release makes it.
func rendered(t *testing.T, tag string) plugin {
	t.Helper()
	source, err := os.ReadFile("ebbtide.yaml")
	if err != nil {
		t.Fatal(err)
	}
	add := func(uri, tag string) string {
		return fmt.Sprintf("uri: %s\n    sha256: %s", strings.ReplaceAll(uri, "{{ .TagName }}", tag), strings.Repeat("0", 64))
	}
	manifest, err := template.New("krew").Option("missingkey=error").Funcs(template.FuncMap{"addURIAndSha": add}).Parse(string(source))
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := manifest.Execute(&text, map[string]string{"TagName": tag}); err != nil {
		t.Fatal(err)
	}
	var p plugin
	if err := yaml.UnmarshalStrict([]byte(text.String()), &p); err != nil {
		t.Fatalf("%v in\n%s", err, text.String())
	}
	return p
}

func TestManifest(t *testing.T) {
	p := rendered(t, "v1.2.3")
	if p.APIVersion != "krew.googlecontainertools.github.com/v1alpha2" || p.Kind != "Plugin" || p.Metadata.Name != "ebbtide" || p.Spec.Version != "v1.2.3" {
		t.Errorf("it is %s %s %s %s", p.APIVersion, p.Kind, p.Metadata.Name, p.Spec.Version)
	}
	// krew shows the short description in a table.
	if n := len(p.Spec.ShortDescription); n == 0 || n > 50 || p.Spec.Description == "" || p.Spec.Homepage == "" {
		t.Errorf("its short description has %d letters", n)
	}
	seen := map[string]bool{}
	for _, f := range p.Spec.Platforms {
		on := f.Selector.MatchLabels["os"] + "_" + f.Selector.MatchLabels["arch"]
		want := "kubectl-ebbtide"
		if f.Selector.MatchLabels["os"] == "windows" {
			want += ".exe"
		}
		if seen[on] || f.Bin != want || f.Sha256 == "" || f.URI != "https://github.com/ebbtide/ebbtide/releases/download/v1.2.3/kubectl-ebbtide_"+on+".tar.gz" {
			t.Errorf("%s: %+v", on, f)
		}
		seen[on] = true
	}
	for _, on := range []string{"linux_amd64", "linux_arm64", "darwin_arm64"} {
		if !seen[on] {
			t.Errorf("nothing for %s", on)
		}
	}
}

var buildRecipe = regexp.MustCompile(`(?m)^build:.*\n((?:\t.*\n)+)`)

// What krew installs is a program that `make build` puts into bin/ under that name.
func TestManifestNamesWhatIsBuilt(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	recipe := buildRecipe.FindStringSubmatch(string(makefile))
	if recipe == nil {
		t.Fatal("the Makefile has no target build")
	}
	for _, f := range rendered(t, "v1.2.3").Spec.Platforms {
		program := strings.TrimSuffix(f.Bin, ".exe")
		if !regexp.MustCompile(`-o bin/ .*\./broker/cmd/` + program + `(\s|$)`).MatchString(recipe[1]) {
			t.Errorf("make build makes no bin/%s:\n%s", program, recipe[1])
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), "../../broker/cmd/"+program+"/main.go", nil, parser.PackageClauseOnly)
		if err != nil || parsed.Name.Name != "main" {
			t.Errorf("broker/cmd/%s is no program: %v", program, err)
		}
	}
	if _, err := os.Stat("../../LICENSE"); err != nil {
		t.Error(err)
	}
}
