package rbac

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

// Rule is what a role lets its subjects do with one resource.
type Rule struct {
	// Role is "ClusterRole name" or "Role namespace/name".
	Role string
	// Resource is resource.group, or the resource alone in the core group, with its
	// subresource; followed by [name, ...] if it is about objects of these names only. A URL
	// that is no resource stands for itself.
	Resource string
	// Verbs are sorted.
	Verbs []string
}

// Binding gives a role to somebody.
type Binding struct {
	// Subject is "Kind name", or "ServiceAccount namespace/name".
	Subject string
	Role    string
	// In is the namespace; empty: the whole cluster.
	In string
}

// object is a role or a binding of either scope.
type object struct {
	rbacv1.ClusterRole `json:",inline"`
	RoleRef            rbacv1.RoleRef   `json:"roleRef"`
	Subjects           []rbacv1.Subject `json:"subjects"`
}

// Rules are those of all roles in a stream of YAML documents, sorted, with equal resources
// of a role put together.
func Rules(stream []byte) ([]Rule, error) {
	verbs := map[[2]string][]string{}
	err := each(stream, func(o *object) {
		if o.Kind != "ClusterRole" && o.Kind != "Role" {
			return
		}
		role := name(o.Kind, o.Namespace, o.Name)
		for _, rule := range o.Rules {
			for _, resource := range resources(rule) {
				key := [2]string{role, resource}
				verbs[key] = append(verbs[key], rule.Verbs...)
			}
		}
	})
	var out []Rule
	for key, granted := range verbs {
		slices.Sort(granted)
		out = append(out, Rule{Role: key[0], Resource: key[1], Verbs: slices.Compact(granted)})
	}
	slices.SortFunc(out, func(a, b Rule) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.Resource, b.Resource))
	})
	return out, err
}

// Bindings are all in a stream, sorted.
func Bindings(stream []byte) ([]Binding, error) {
	var out []Binding
	err := each(stream, func(o *object) {
		if !strings.HasSuffix(o.Kind, "RoleBinding") {
			return
		}
		in := "" // of a Role is its namespace
		if o.RoleRef.Kind == "Role" {
			in = o.Namespace
		}
		for _, s := range o.Subjects {
			out = append(out, Binding{Subject: name(s.Kind, s.Namespace, s.Name), Role: name(o.RoleRef.Kind, in, o.RoleRef.Name), In: o.Namespace})
		}
	})
	slices.SortFunc(out, func(a, b Binding) int {
		return cmp.Or(cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Role, b.Role), cmp.Compare(a.In, b.In))
	})
	return out, err
}

// resources are the names that Rule.Resource has.
func resources(rule rbacv1.PolicyRule) []string {
	out := slices.Clone(rule.NonResourceURLs)
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			if group != "" {
				plural, sub, found := strings.Cut(resource, "/")
				resource = plural + "." + group
				if found {
					resource += "/" + sub
				}
			}
			if len(rule.ResourceNames) > 0 {
				resource += " [" + strings.Join(rule.ResourceNames, ", ") + "]"
			}
			out = append(out, resource)
		}
	}
	return out
}

func name(kind, namespace, name string) string {
	if namespace != "" {
		return kind + " " + namespace + "/" + name
	}
	return kind + " " + name
}

// each reads the documents of a stream; of kinds other than roles and bindings it
// understands nothing but the kind.
func each(stream []byte, do func(*object)) error {
	for _, document := range split(stream) {
		var o object
		var kind struct {
			Kind string `json:"kind"`
		}
		if err := yaml.Unmarshal(document, &kind); err != nil {
			return fmt.Errorf("read a document: %w", err)
		}
		if !strings.HasSuffix(kind.Kind, "Role") && !strings.HasSuffix(kind.Kind, "RoleBinding") {
			continue
		}
		if err := yaml.Unmarshal(document, &o); err != nil {
			return fmt.Errorf("read a %s: %w", kind.Kind, err)
		}
		o.Kind = kind.Kind
		do(&o)
	}
	return nil
}

func split(stream []byte) [][]byte {
	return bytes.Split(bytes.TrimPrefix(stream, []byte("---\n")), []byte("\n---\n"))
}
