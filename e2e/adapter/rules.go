package adapter

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// Selector is what a Rule's query contains where the matchers of the objects go.
const Selector = "$selector"

// Rule says what PromQL a metric is.
type Rule struct {
	// Metric is its name in the custom metrics API.
	Metric string
	// Resource that it describes, in the plural: "pods", "deployments.apps".
	Resource string
	// Label of the series that has the object's name; "namespace" has its namespace.
	Label string
	// Query yields one series for each object, with Label on it, for instance
	// sum by (pod) (vllm:num_requests_running{$selector}).
	Query string
}

// Validate returns all that is wrong with the rule, or nil.
func (r Rule) Validate() error {
	var errs []error
	for _, field := range []struct{ name, value string }{{"Metric", r.Metric}, {"Resource", r.Resource}, {"Label", r.Label}} {
		if field.value == "" {
			errs = append(errs, fmt.Errorf("rule %q: %s must not be empty", r.Metric, field.name))
		}
	}
	if !strings.Contains(r.Query, Selector) {
		errs = append(errs, fmt.Errorf("rule %q: Query must contain %s", r.Metric, Selector))
	}
	return errors.Join(errs...)
}

// promQL is the rule's query about some objects of a namespace. Of a metric's own
// selector only equality can be said in PromQL's matchers as it is.
func (r Rule) promQL(namespace string, names []string, selector labels.Selector) (string, error) {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = regexp.QuoteMeta(name)
	}
	slices.Sort(quoted)
	matchers := []string{fmt.Sprintf("namespace=%q", namespace), fmt.Sprintf("%s=~%q", r.Label, strings.Join(quoted, "|"))}
	requirements, _ := selector.Requirements()
	for _, requirement := range requirements {
		values := requirement.Values().UnsortedList()
		if op := requirement.Operator(); op != selection.Equals && op != selection.DoubleEquals || len(values) != 1 {
			return "", fmt.Errorf("metric %s: selector %s: only equality can be asked for", r.Metric, selector)
		}
		matchers = append(matchers, fmt.Sprintf("%s=%q", requirement.Key(), values[0]))
	}
	return strings.ReplaceAll(r.Query, Selector, strings.Join(matchers, ",")), nil
}
