package copies

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// Value is one of a chart's values.
type Value struct {
	// Name is its path, such as broker.storage.size.
	Name string
	// Default as JSON.
	Default string
	// Text says what it is for; empty: nobody has said it.
	Text string
}

// mark begins what is said of a value.
const mark = "# -- "

// Values reads a chart's values.yaml: every scalar, list and empty object in it, and every
// object of which something is said.
func Values(text []byte) ([]Value, error) {
	document, err := yaml.Parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("read the values: %w", err)
	}
	return walk("", document.YNode())
}

func walk(path string, object *yaml.Node) (all []Value, err error) {
	for i := 0; i+1 < len(object.Content); i += 2 {
		key, value := object.Content[i], object.Content[i+1]
		name := strings.TrimPrefix(path+"."+key.Value, ".")
		said := text(key.HeadComment)
		if value.Kind == yaml.MappingNode && len(value.Content) > 0 && said == "" {
			inner, err := walk(name, value)
			if err != nil {
				return nil, err
			}
			all = append(all, inner...)
			continue
		}
		var plain any
		if err := value.Decode(&plain); err != nil {
			return nil, fmt.Errorf("read the value %s: %w", name, err)
		}
		encoded, err := json.Marshal(plain)
		if err != nil {
			return nil, fmt.Errorf("read the value %s: %w", name, err)
		}
		all = append(all, Value{name, string(encoded), said})
	}
	return all, nil
}

// text is what a comment says after its mark, in one line.
func text(comment string) string {
	_, said, found := strings.Cut(comment, mark)
	if !found {
		return ""
	}
	return strings.Join(strings.Fields(strings.ReplaceAll(said, "\n#", " ")), " ")
}

// readmes list the values of each chart.
func readmes(root fs.FS, files map[string][]byte) error {
	for folder, about := range map[string]string{
		chart:     "# ebbtide\n\nEbbtide's broker and scheduler, and what else is switched on. It goes into the namespace `ebbtide-system`, after the chart `ebbtide-crds`; [installing](../../../docs/tasks/install.md) says how.\n",
		crdsChart: "# ebbtide-crds\n\nThe kinds of Ebbtide. They are templates, so that an upgrade upgrades them, which helm never does to a chart's `crds/`; and they stay when the release is uninstalled.\n",
	} {
		raw, err := fs.ReadFile(root, folder+"values.yaml")
		if err != nil {
			return fmt.Errorf("read the values: %w", err)
		}
		values, err := Values(raw)
		if err != nil {
			return err
		}
		var b strings.Builder
		b.WriteString(about + "\n## Values\n\n| value | default | |\n|---|---|---|\n")
		for _, v := range values {
			fmt.Fprintf(&b, "| `%s` | `%s` | %s |\n", v.Name, v.Default, v.Text)
		}
		files[folder+"README.md"] = []byte(b.String())
	}
	return nil
}
