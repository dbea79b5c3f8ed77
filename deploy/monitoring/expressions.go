package monitoring

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/ebbtide/ebbtide/deploy/monitoring/catalogue"
)

// Known are the series that expressions may name, each with its labels and, of labels whose
// values are listed, these.
type Known map[string]map[string][]string

// ofScraping are the labels that Prometheus gives to all series of a target.
var ofScraping = []string{"job", "instance"}

// NewKnown has the series of all programs, those that the rules record, and ALERTS.
func NewKnown(r *Rules) (Known, error) {
	k := Known{"ALERTS": {"alertname": nil, "alertstate": {"pending", "firing"}, "severity": nil}}
	for _, program := range catalogue.Programs {
		list, err := catalogue.Of(program)
		if err != nil {
			return nil, err
		}
		for i := range list {
			m := &list[i]
			for name, labels := range m.Series() {
				k[name] = map[string][]string{}
				for _, label := range labels {
					k[name][label] = nil
					if open[label] == "" && openOf[m.Name][label] == "" {
						k[name][label] = m.Labels[label]
					}
				}
			}
		}
	}
	for _, g := range r.Groups {
		for _, rule := range g.Rules {
			if rule.Record != "" {
				k[rule.Record] = map[string][]string{}
				for _, label := range grouping(rule.Expr) {
					k[rule.Record][label] = nil
				}
			}
		}
	}
	return k, nil
}

var (
	selector = regexp.MustCompile(`\b((?:ebbtide[_:]|rest_client_)[\w:]+|ALERTS)(\{[^}]*\})?`)
	matcher  = regexp.MustCompile(`(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"`)
	by       = regexp.MustCompile(`\bby \(([^)]*)\)`)
)

// grouping are the labels by which an expression groups last.
func grouping(expr string) []string {
	m := by.FindStringSubmatch(expr)
	if m == nil {
		return nil
	}
	return slices.DeleteFunc(strings.Split(m[1], ", "), func(label string) bool { return label == "le" })
}

// Check finds what an expression names that nobody has: series, labels, and values of labels
// that are listed.
func (k Known) Check(expr string) (problems []string) {
	named := map[string]bool{"le": true}
	for _, label := range ofScraping {
		named[label] = true
	}
	found := selector.FindAllStringSubmatch(expr, -1)
	if len(found) == 0 {
		return []string{"names no metric"}
	}
	for _, m := range found {
		labels, known := k[m[1]]
		if !known {
			problems = append(problems, "no program has "+m[1])
			continue
		}
		for label := range labels {
			named[label] = true
		}
		problems = append(problems, matched(m[1], m[2], labels)...)
	}
	for _, m := range by.FindAllStringSubmatch(expr, -1) {
		for _, label := range strings.Split(m[1], ", ") {
			if !named[label] {
				problems = append(problems, "none of its metrics has the label "+label)
			}
		}
	}
	return problems
}

// matched finds what the matchers of a metric ask for that none of its series has.
func matched(metric, matchers string, labels map[string][]string) (problems []string) {
	for _, m := range matcher.FindAllStringSubmatch(matchers, -1) {
		label, is, value := m[1], m[2], m[3]
		values, has := labels[label]
		if !has && !slices.Contains(ofScraping, label) {
			problems = append(problems, fmt.Sprintf("%s has no label %s", metric, label))
		}
		if len(values) > 0 && (is == "=" || is == "!=") && !slices.Contains(values, value) {
			problems = append(problems, fmt.Sprintf("%s of %s is never %q", label, metric, value))
		}
	}
	return problems
}
