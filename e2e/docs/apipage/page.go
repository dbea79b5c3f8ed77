package apipage

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

const head = `# The API

Group ` + "`ebbtide.dev`" + `, version ` + "`v1alpha1`" + `. This page is made from the definitions in [deploy/crds](../../deploy/crds), and has every field. What fields are for, with examples: [LendingPolicy](lendingpolicy.md), [quota](quota.md), [GPUNode](gpunode.md), [queues](../concepts/queues.md), [lending](../concepts/lending.md). ` + "`kubectl explain`" + ` says the same as this page.

A field is required where it says so. A path ends with ` + "`[]`" + ` for the elements of a list, and with ` + "`{}`" + ` for the values of a map.

`

// Page returns the page for definitions in YAML, in the order given.
func Page(definitions ...[]byte) ([]byte, error) {
	var b strings.Builder
	b.WriteString(head)
	for _, text := range definitions {
		crd := apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict(text, &crd); err != nil {
			return nil, fmt.Errorf("read a definition: %w", err)
		}
		for _, version := range crd.Spec.Versions {
			if version.Schema == nil || version.Schema.OpenAPIV3Schema == nil {
				return nil, fmt.Errorf("%s %s has no schema", crd.Name, version.Name)
			}
			kind(&b, &crd, version.Schema.OpenAPIV3Schema)
		}
	}
	return []byte(strings.TrimRight(b.String(), "\n") + "\n"), nil
}

func kind(b *strings.Builder, crd *apiextensionsv1.CustomResourceDefinition, schema *apiextensionsv1.JSONSchemaProps) {
	names := crd.Spec.Names
	fmt.Fprintf(b, "## %s\n\n%s\n\n", names.Kind, oneLine(schema.Description))
	fmt.Fprintf(b, "`kubectl get %s`", names.Plural)
	for _, short := range names.ShortNames {
		fmt.Fprintf(b, ", `%s`", short)
	}
	fmt.Fprintf(b, "; %s.\n\n", map[apiextensionsv1.ResourceScope]string{
		apiextensionsv1.NamespaceScoped: "of a namespace", apiextensionsv1.ClusterScoped: "of the cluster",
	}[crd.Spec.Scope])
	for _, part := range []string{"spec", "status"} {
		s, there := schema.Properties[part]
		if !there {
			continue
		}
		b.WriteString("| field | type | |\n|---|---|---|\n")
		row(b, part, &s, slices.Contains(schema.Required, part))
		below(b, part, &s)
		b.WriteString("\n")
	}
}

// below writes the rows of the fields of an object.
func below(b *strings.Builder, path string, s *apiextensionsv1.JSONSchemaProps) {
	switch {
	case s.Items != nil && s.Items.Schema != nil:
		below(b, path+"[]", s.Items.Schema)
		return
	case s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil:
		below(b, path+"{}", s.AdditionalProperties.Schema)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		field := s.Properties[name]
		row(b, path+"."+name, &field, slices.Contains(s.Required, name))
		below(b, path+"."+name, &field)
	}
}

func row(b *strings.Builder, path string, s *apiextensionsv1.JSONSchemaProps, required bool) {
	var notes []string
	if required {
		notes = append(notes, "Required.")
	}
	if text := oneLine(s.Description); text != "" {
		notes = append(notes, text)
	}
	notes = append(notes, bounds(s)...)
	for _, rule := range s.XValidations {
		if rule.Message != "" {
			notes = append(notes, "Rule: "+oneLine(rule.Message)+".")
		}
	}
	fmt.Fprintf(b, "| `%s` | %s | %s |\n", path, typeOf(s), strings.ReplaceAll(strings.Join(notes, " "), "|", `\|`))
}

func typeOf(s *apiextensionsv1.JSONSchemaProps) string {
	switch {
	case s.XIntOrString:
		return "integer or string"
	case s.Items != nil && s.Items.Schema != nil:
		return "list of " + typeOf(s.Items.Schema)
	case s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil:
		return "map to " + typeOf(s.AdditionalProperties.Schema)
	case s.Format == "date-time":
		return "time"
	case s.Type == "":
		return "any"
	}
	return s.Type
}

// bounds say what a value must be, and what it is when absent.
func bounds(s *apiextensionsv1.JSONSchemaProps) []string {
	var all []string
	if len(s.Enum) > 0 {
		var values []string
		for _, value := range s.Enum {
			values = append(values, plain(value))
		}
		all = append(all, "One of "+strings.Join(values, ", ")+".")
	}
	if s.Default != nil {
		all = append(all, "Default: "+plain(*s.Default)+".")
	}
	for _, limit := range []struct {
		name  string
		value any
		set   bool
	}{
		{"At least", deref(s.Minimum), s.Minimum != nil}, {"At most", deref(s.Maximum), s.Maximum != nil},
		{"Characters at least", deref(s.MinLength), s.MinLength != nil}, {"Characters at most", deref(s.MaxLength), s.MaxLength != nil},
		{"Elements at least", deref(s.MinItems), s.MinItems != nil}, {"Elements at most", deref(s.MaxItems), s.MaxItems != nil},
	} {
		if limit.set {
			all = append(all, fmt.Sprintf("%s: %v.", limit.name, limit.value))
		}
	}
	if s.Pattern != "" {
		all = append(all, "Pattern: `"+s.Pattern+"`.")
	}
	return all
}

func deref[T any](value *T) (v T) {
	if value != nil {
		v = *value
	}
	return v
}

func plain(value apiextensionsv1.JSON) string {
	var text string
	if json.Unmarshal(value.Raw, &text) == nil {
		return "`" + text + "`"
	}
	return "`" + string(value.Raw) + "`"
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
