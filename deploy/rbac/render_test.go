package rbac_test

import (
	"io/fs"
	"os"
	"path"
	"strings"
	"testing"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// rendered is the whole install with every component.
func rendered(t *testing.T) []byte {
	t.Helper()
	disk, tree := filesys.MakeFsInMemory(), os.DirFS("..")
	overlay := "resources: [../default]\ncomponents:\n"
	err := fs.WalkDir(tree, ".", func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || path.Ext(file) != ".yaml" {
			return err
		}
		text, err := fs.ReadFile(tree, file)
		if err != nil {
			return err
		}
		if component, found := strings.CutPrefix(path.Dir(file), "kustomize/components/"); found &&
			path.Base(file) == "kustomization.yaml" && !strings.Contains(component, "/") {
			overlay += "- ../components/" + component + "\n"
		}
		return disk.WriteFile(file, text)
	})
	if err != nil {
		t.Fatalf("read the manifests: %v", err)
	}
	if err := disk.WriteFile("kustomize/overlay/kustomization.yaml", []byte(overlay)); err != nil {
		t.Fatal(err)
	}
	options := krusty.MakeDefaultOptions()
	all, err := krusty.MakeKustomizer(options).Run(disk, "kustomize/overlay")
	if err != nil {
		t.Fatalf("render: %v", err)
	}
	text, err := all.AsYaml()
	if err != nil {
		t.Fatalf("write as YAML: %v", err)
	}
	return text
}
