// Package deploy is what a cluster needs before Ebbtide's binaries run in it:
// the CustomResourceDefinitions, the namespace, the PriorityClasses, the roles
// and the admission policies.
//
// It promises that what Manifests returns is what `kubectl apply -k` applies of
// deploy/crds and deploy/kustomize/cluster, so that a program that installs
// Ebbtide (the lab does) and a person who applies the files by hand get the same
// cluster. It refuses to hold workloads: how the binaries run is the
// installer's business.
package deploy

import (
	"embed"
	"fmt"
	"io/fs"
	"slices"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

//go:embed crds/*.yaml kustomize/cluster/*.yaml kustomize/components/dynamic-resources/*.yaml kustomize/components/agent/access/*.yaml kustomize/components/two-brokers/access/*.yaml
var files embed.FS

// DynamicResources is the component for GPUs that are allocated by claims.
const DynamicResources = "dynamic-resources"

// AgentAccess is the part of the component agent that is not a workload: what agents may
// do, and that each does it to its own node.
const AgentAccess = "agent/access"

// TwoBrokersAccess is the part of the component two-brokers that is not a workload: what
// brokers may ask of each other.
const TwoBrokersAccess = "two-brokers/access"

// layers are the kustomizations that Manifests renders, in apply order.
var layers = []string{"crds", "kustomize/cluster"}

// Manifests returns all objects as one YAML stream, in an order in which they
// can be applied one after the other: definitions first, then the namespace,
// then everything else.
//
// The API server enforces an admission policy, and serves a new kind, only some
// moments after it accepted the object; a caller that depends on either must
// wait for it.
//
// components are those of deploy/kustomize/components that are part of it: of them,
// DynamicResources, AgentAccess and TwoBrokersAccess can be.
func Manifests(components ...string) ([]byte, error) {
	disk := filesys.MakeFsInMemory()
	if err := copyFiles(disk); err != nil {
		return nil, err
	}
	layers := slices.Clone(layers)
	if len(components) > 0 {
		layers[len(layers)-1] = overlay
		if err := disk.WriteFile(overlay+"/kustomization.yaml", compose(components)); err != nil {
			return nil, fmt.Errorf("add components: %w", err)
		}
	}
	// As `kubectl apply -k`: in the order of the kustomizations.
	options := krusty.MakeDefaultOptions()
	var stream []byte
	for _, layer := range layers {
		resources, err := krusty.MakeKustomizer(options).Run(disk, layer)
		if err != nil {
			return nil, fmt.Errorf("render %s: %w", layer, err)
		}
		rendered, err := resources.AsYaml()
		if err != nil {
			return nil, fmt.Errorf("write %s as YAML: %w", layer, err)
		}
		stream = append(append(stream, "---\n"...), rendered...)
	}
	return stream, nil
}

// overlay is where components are added to the cluster's layer.
const overlay = "kustomize/overlay"

func compose(components []string) []byte {
	text := "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [../cluster]\ncomponents:\n"
	for _, name := range components {
		text += "- ../components/" + name + "\n"
	}
	return []byte(text)
}

func copyFiles(disk filesys.FileSystem) error {
	return fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("list the embedded files: %w", err)
		}
		if entry.IsDir() {
			return nil
		}
		content, err := files.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read the embedded %s: %w", path, err)
		}
		if err := disk.WriteFile(path, content); err != nil {
			return fmt.Errorf("copy %s: %w", path, err)
		}
		return nil
	})
}
