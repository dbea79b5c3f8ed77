package signal

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// rateWindow is what rates and percentiles are over.
const rateWindow = "2m"

// promQL makes the query of a measure, and the one for when it was scraped: an
// aggregation has the time of its evaluation. The results have the label pod in
// ScopePod and no label in ScopeService.
type promQL struct {
	profile   *Profile
	metric    *Metric
	namespace string
	match     map[string]string
	// pods is a regular expression that the names of the pods must match; empty: any.
	pods string
}

// value is the measure, by pod or for the service.
func (q promQL) value() string {
	expression := q.each(q.metric.Series, q.term)
	if len(q.metric.Over) > 0 {
		var parts []string
		for _, s := range q.metric.Over {
			parts = append(parts, q.each([]Series{s}, q.term))
		}
		expression = fmt.Sprintf("(%s) / (%s)", expression, strings.Join(parts, " + "))
	}
	if q.metric.overWindow() {
		expression = fmt.Sprintf("(%s) and on (%s) (%s)", expression, q.key(), q.whole())
	}
	return expression
}

// time is the oldest sample's.
func (q promQL) time() string {
	return q.each(q.metric.Series, func(s Series, l Labels) string {
		return fmt.Sprintf("min by (%s) (%s)", q.key(), q.pod(fmt.Sprintf("timestamp(%s)", q.selector(s.flat(q.metric.Take), s, l)), l))
	})
}

// whole is true where a window has as many samples as it has when nothing is wrong.
// After Prometheus was down a rate stays low for a whole window, which is not a
// trough. One sample less may be the window's edge.
func (q promQL) whole() string {
	count := func(s Series, l Labels) string {
		return fmt.Sprintf("count_over_time(%s[%s])", q.selector(s.flat(q.metric.Take), s, l), rateWindow)
	}
	have := q.each(q.metric.Series, func(s Series, l Labels) string {
		return fmt.Sprintf("max by (%s) (%s)", q.key(), q.pod(count(s, l), l))
	})
	usual := q.each(q.metric.Series, func(s Series, l Labels) string {
		return fmt.Sprintf("max by (%s) (%s)", q.key(), q.pod(fmt.Sprintf("max_over_time(%s[1h:%s])", count(s, l), rateWindow), l))
	})
	return fmt.Sprintf("(%s) + 1 >= 0.9 * (%s)", have, usual)
}

// term is one series by pod.
func (q promQL) term(s Series, l Labels) string {
	var term string
	switch q.metric.Take {
	case TakeP99:
		rate := q.pod(fmt.Sprintf("rate(%s[%s])", q.selector(s.Name+"_bucket", s, l), rateWindow), l)
		term = fmt.Sprintf("histogram_quantile(0.99, sum by (%s) (%s))", q.key("le"), rate)
	case TakeRate:
		term = q.joined(q.pod(fmt.Sprintf("rate(%s[%s])", q.selector(s.Name, s, l), rateWindow), l))
	default:
		term = q.joined(q.pod(q.selector(s.Name, s, l), l))
	}
	if s.Scale != 0 {
		term += " * " + strconv.FormatFloat(s.Scale, 'g', -1, 64)
	}
	return term
}

func (q promQL) joined(vector string) string {
	join := map[Join]string{"": "sum", JoinSum: "sum", JoinMax: "max", JoinMean: "avg"}[q.metric.Join]
	if q.metric.Parts != nil {
		vector = fmt.Sprintf("max by (%s) (%s)", q.key(q.metric.Parts...), vector)
	}
	return fmt.Sprintf("%s by (%s) (%s)", join, q.key(), vector)
}

// each is the first of the series, and of the profile's labels, that is there.
func (q promQL) each(series []Series, term func(Series, Labels) string) string {
	var terms []string
	for _, s := range series {
		for _, l := range q.profile.Labels {
			terms = append(terms, term(s, l))
		}
	}
	if len(terms) == 1 {
		return terms[0]
	}
	return "(" + strings.Join(terms, " or ") + ")"
}

// key are the labels that a result is told apart by.
func (q promQL) key(more ...string) string {
	if q.profile.Scope == ScopePod {
		more = append([]string{"pod"}, more...)
	}
	return strings.Join(more, ", ")
}

// pod gives a vector the label pod.
func (q promQL) pod(vector string, l Labels) string {
	if q.profile.Scope != ScopePod || l.Pod == "pod" {
		return vector
	}
	return fmt.Sprintf(`label_replace(%s, "pod", "$1", %q, "(.*)")`, vector, l.Pod)
}

func (q promQL) selector(name string, s Series, l Labels) string {
	var matchers []string
	if l.Namespace != "" {
		matchers = append(matchers, l.Namespace+"="+strconv.Quote(q.namespace))
	}
	switch {
	case q.profile.Scope != ScopePod:
	case q.pods != "":
		matchers = append(matchers, l.Pod+"=~"+strconv.Quote(q.pods))
	case l.Pod != "pod":
		matchers = append(matchers, l.Pod+`!=""`)
	}
	for _, m := range []struct {
		operator string
		labels   map[string]string
	}{{"=", s.Match}, {"=~", s.MatchRegexp}, {"=", q.match}} {
		for _, label := range slices.Sorted(maps.Keys(m.labels)) {
			matchers = append(matchers, label+m.operator+strconv.Quote(m.labels[label]))
		}
	}
	return name + "{" + strings.Join(matchers, ",") + "}"
}
