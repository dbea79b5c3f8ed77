package monitoring

import (
	_ "embed"
	"fmt"

	"sigs.k8s.io/yaml"
)

//go:embed rules.yaml
var rulesText []byte

// Rules is a file of rules, as far as it is looked at here.
type Rules struct {
	Groups []Group `json:"groups"`
}

// Group is one of its groups.
type Group struct {
	Name  string `json:"name"`
	Rules []Rule `json:"rules"`
}

// Rule alerts or records.
type Rule struct {
	Alert       string            `json:"alert,omitempty"`
	Record      string            `json:"record,omitempty"`
	Expr        string            `json:"expr"`
	For         string            `json:"for,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// ReadRules reads rules.yaml.
func ReadRules() (*Rules, error) {
	var r Rules
	if err := yaml.UnmarshalStrict(rulesText, &r); err != nil {
		return nil, fmt.Errorf("read rules.yaml: %w", err)
	}
	return &r, nil
}

// PrometheusRule is the object by which the Prometheus Operator gives the rules to a
// Prometheus that selects it.
func (r *Rules) PrometheusRule() (string, error) {
	text, err := yaml.Marshal(map[string]any{
		"apiVersion": "monitoring.coreos.com/v1",
		"kind":       "PrometheusRule",
		"metadata": map[string]any{
			"name": "ebbtide", "namespace": "ebbtide-system",
			"labels": map[string]string{"app.kubernetes.io/name": "ebbtide", "app.kubernetes.io/part-of": "ebbtide"},
		},
		"spec": r,
	})
	if err != nil {
		return "", fmt.Errorf("write the PrometheusRule: %w", err)
	}
	return "# Written from rules.yaml by go test ./deploy/monitoring -update.\n" + string(text), nil
}
