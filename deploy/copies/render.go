package copies

import (
	"bytes"
	"fmt"
	"io/fs"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// Overlays are the folders of deploy/kustomize/overlays, as an administrator applies them.
func Overlays(root fs.FS) ([]string, error) {
	entries, err := fs.ReadDir(root, kustomize+"overlays")
	if err != nil {
		return nil, fmt.Errorf("list the overlays: %w", err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names, nil
}

// Overlay renders one of them, in the order in which `kubectl apply -k` applies it, from a checkout at root: the
// definitions, and everything else.
func Overlay(root, name string) (definitions, rest []byte, err error) {
	options := krusty.MakeDefaultOptions()
	all, err := krusty.MakeKustomizer(options).Run(filesys.MakeFsOnDisk(), root+"/"+kustomize+"overlays/"+name)
	if err != nil {
		return nil, nil, fmt.Errorf("render the overlay %s: %w", name, err)
	}
	for _, object := range all.Resources() {
		text, err := object.AsYAML()
		if err != nil {
			return nil, nil, fmt.Errorf("write the overlay %s: %w", name, err)
		}
		to := &rest
		if object.GetKind() == "CustomResourceDefinition" {
			to = &definitions
		}
		*to = append(append(*to, "---\n"...), bytes.TrimPrefix(text, []byte("---\n"))...)
	}
	return definitions, rest, nil
}
