// Package crds has the real custom resource definitions of the kinds of jobs that
// Ebbtide admits, for clusters of tests. README.md says where each is from.
//
// It promises the published definitions, unchanged. It has no operators: what is
// installed are the kinds, and nothing acts on their objects.
package crds

import (
	"bytes"
	"compress/gzip"
	"embed"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
)

// The projects that define kinds.
const (
	JobSet           = "jobset"
	LeaderWorkerSet  = "lws"
	TrainingOperator = "training-operator"
	Trainer          = "trainer"
	KubeRay          = "kuberay"
)

//go:embed data/*/*.yaml.gz
var data embed.FS

// Projects are the names of all projects, in order.
func Projects() []string {
	return []string{JobSet, KubeRay, LeaderWorkerSet, Trainer, TrainingOperator}
}

// Manifests returns the definitions of the given projects, or of all if none is given:
// one YAML document each, in a fixed order. It fails for a project that there is not.
func Manifests(projects ...string) ([][]byte, error) {
	if len(projects) == 0 {
		projects = Projects()
	}
	var manifests [][]byte
	for _, project := range projects {
		if !slices.Contains(Projects(), project) {
			return nil, fmt.Errorf("no definitions of project %q; there are those of %v", project, Projects())
		}
		files, err := fs.ReadDir(data, path.Join("data", project))
		if err != nil {
			return nil, fmt.Errorf("list the definitions of %s: %w", project, err)
		}
		for _, file := range files {
			manifest, err := read(path.Join("data", project, file.Name()))
			if err != nil {
				return nil, fmt.Errorf("read definition %s: %w", file.Name(), err)
			}
			manifests = append(manifests, manifest)
		}
	}
	return manifests, nil
}

func read(name string) ([]byte, error) {
	packed, err := data.ReadFile(name)
	if err != nil {
		return nil, err
	}
	unpack, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(unpack)
}
