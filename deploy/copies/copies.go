// Package copies makes what stands under deploy a second time from the place where it is
// written: the charts' objects without parameters from deploy/kustomize and deploy/crds, the
// schedulers' configurations from scheduler-plugin/config, and the list of a chart's values
// from the comments in its values.yaml.
//
// It promises that a copy says what its source says, whatever braces are in it, and that it
// is the same to the byte whenever it is made from the same source. It refuses to copy what
// has parameters: the charts' templates of workloads are written by hand, and a test compares
// what they render with kustomize.
package copies

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

const (
	chart      = "deploy/charts/ebbtide/"
	crdsChart  = "deploy/charts/ebbtide-crds/"
	kustomize  = "deploy/kustomize/"
	components = kustomize + "components/"
	configs    = "scheduler-plugin/config/"
)

// source is a folder whose manifests are copied into the chart's templates.
type source struct {
	folder string
	// prefix of the copies' names.
	prefix string
	// when are conditions of a template, by how a file's name begins, the longest first.
	when []condition
}

type condition struct{ prefix, expression string }

var sources = []source{
	{kustomize + "cluster", "", []condition{
		{"admission-", ".Values.admissionPolicies"},
		{"priorityclasses", ".Values.priorityClasses.create"},
		{"rbac-scheduler", `ne .Values.scheduler.mode "none"`},
	}},
	{components + "agent/access", "agent-", []condition{{"", ".Values.agent.enabled"}}},
	{components + "two-brokers/access", "two-brokers-", []condition{{"", "gt (int .Values.broker.replicas) 1"}}},
	{components + "dynamic-resources", "dynamic-resources-", []condition{{"", ".Values.dynamicResources.enabled"}}},
	{components + "external-metrics", "external-metrics-", []condition{{"", ".Values.externalMetrics.enabled"}}},
}

// apart are the manifests of those folders that the chart's own templates have.
var apart = []string{
	// helm keeps its releases in the namespace, which is there before them.
	kustomize + "cluster/namespace.yaml",
	components + "external-metrics/service.yaml", components + "external-metrics/apiservice.yaml",
}

// schedulers are the copies of each configuration of the scheduler.
var schedulers = map[string][]string{
	"second-scheduler.yaml": {chart + "files/", kustomize + "scheduler/scheduler-config.yaml"},
	"beside-default.yaml":   {chart + "files/"},
	"replace-default.yaml":  {chart + "files/", kustomize + "overlays/replace-default/scheduler-config.yaml"},
}

// Folders hold copies and nothing else.
var Folders = []string{chart + "templates/generated", chart + "files"}

// Files returns the content of each copy, by its path from the root of the repository.
func Files(root fs.FS) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, add := range []func(fs.FS, map[string][]byte) error{definitions, objects, alerts, configurations, readmes} {
		if err := add(root, files); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// manifests are the paths of a folder's manifests.
func manifests(root fs.FS, folder string) ([]string, error) {
	all, err := fs.Glob(root, folder+"/*.yaml")
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", folder, err)
	}
	all = slices.DeleteFunc(all, func(file string) bool {
		return path.Base(file) == "kustomization.yaml" || slices.Contains(apart, file)
	})
	if len(all) == 0 {
		return nil, fmt.Errorf("list %s: there are no manifests", folder)
	}
	return all, nil
}

// definitions are kept when the chart is uninstalled, unless its values say otherwise.
func definitions(root fs.FS, files map[string][]byte) error {
	all, err := manifests(root, "deploy/crds")
	if err != nil {
		return err
	}
	const annotations = "\n  annotations:\n"
	for _, file := range all {
		text, err := fs.ReadFile(root, file)
		if err != nil {
			return fmt.Errorf("read a definition: %w", err)
		}
		escaped := escape(text)
		if bytes.Count(escaped, []byte(annotations)) != 1 {
			return fmt.Errorf("copy %s: it must have annotations, once", file)
		}
		keep := annotations + "    {{- if .Values.keep }}\n    helm.sh/resource-policy: keep\n    {{- end }}\n"
		files[crdsChart+"templates/"+path.Base(file)] = append(banner(file), bytes.Replace(escaped, []byte(annotations), []byte(keep), 1)...)
	}
	return nil
}

func objects(root fs.FS, files map[string][]byte) error {
	for _, s := range sources {
		all, err := manifests(root, s.folder)
		if err != nil {
			return err
		}
		for _, file := range all {
			text, err := fs.ReadFile(root, file)
			if err != nil {
				return fmt.Errorf("read a manifest: %w", err)
			}
			files[chart+"templates/generated/"+s.prefix+path.Base(file)] = append(banner(file), s.conditional(path.Base(file), escape(text))...)
		}
	}
	return nil
}

// alerts get the labels by which a Prometheus selects them.
func alerts(root fs.FS, files map[string][]byte) error {
	const file, labels = "deploy/monitoring/prometheusrule.yaml", "\n  labels:\n"
	text, err := fs.ReadFile(root, file)
	if err != nil {
		return fmt.Errorf("read the alerts: %w", err)
	}
	before, after, found := bytes.Cut(escape(text), []byte(labels))
	if !found {
		return fmt.Errorf("copy %s: it must have labels", file)
	}
	own := labels + "    {{- with .Values.monitors.labels }}\n    {{- toYaml . | nindent 4 }}\n    {{- end }}\n"
	s := source{when: []condition{{"", ".Values.monitors.rules"}}}
	files[chart+"templates/generated/monitoring-prometheusrule.yaml"] = append(banner(file), s.conditional(file, slices.Concat(before, []byte(own), after))...)
	return nil
}

// conditional puts a file into the condition that it is rendered under, if there is one.
func (s *source) conditional(name string, text []byte) []byte {
	for _, c := range s.when {
		if strings.HasPrefix(name, c.prefix) {
			return slices.Concat([]byte("{{- if "+c.expression+" }}\n"), text, []byte("{{- end }}\n"))
		}
	}
	return text
}

func banner(file string) []byte {
	return []byte("{{- /* Generated from " + file + " by make generate. Change it there. */ -}}\n")
}

// escape has a text rendered as it is.
func escape(text []byte) []byte {
	return bytes.ReplaceAll(text, []byte("{{"), []byte(`{{ "{{" }}`))
}

func configurations(root fs.FS, files map[string][]byte) error {
	for name, copies := range schedulers {
		text, err := fs.ReadFile(root, configs+name)
		if err != nil {
			return fmt.Errorf("read a scheduler's configuration: %w", err)
		}
		for _, to := range copies {
			if strings.HasSuffix(to, "/") {
				to += name
			}
			files[to] = text
		}
	}
	return nil
}
