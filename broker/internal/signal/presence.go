package signal

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
)

// podLabels are those by which a series of a query may say whose it is, besides instance.
var podLabels = []string{"pod", "exported_pod", "pod_name", "kubernetes_pod_name"}

const (
	// seenLabel of what presence finds has which selector it was, behind one of the two.
	seenLabel           = "ebbtide_seen"
	seenNow, seenLately = "now ", "lately "
)

// presence is PromQL of whose series each selector finds now, and found within the hour.
// It has no series of its own: what is of no pod is nobody's.
func presence(selectors []string) string {
	by := strings.Join(append(slices.Clone(podLabels), model.InstanceLabel), ", ")
	var parts []string
	for i, selector := range selectors {
		for _, part := range []struct{ which, vector string }{
			{seenNow, selector}, {seenLately, fmt.Sprintf("last_over_time(%s[%s])", selector, model.Duration(usually))},
		} {
			parts = append(parts, fmt.Sprintf(`label_replace(group by (%s) (%s), %q, "%s%d", "", "")`, by, part.vector, seenLabel, part.which, i))
		}
	}
	return strings.Join(parts, " or ")
}

var (
	grouping    = regexp.MustCompile(`^(?i:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)`)
	aggregation = regexp.MustCompile(`^(?i:sum|min|max|avg|group|stddev|stdvar|count|count_values|bottomk|topk|quantile|limitk|limit_ratio)\s*(?:by|without)\b`)
	call        = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*\s*\(`)
	number1     = regexp.MustCompile(`^(?i:inf|nan)\b`)
)

// selectors finds the selectors of a query by its text, each once: names and braces that
// are neither a function nor a label of a grouping.
func selectors(query string) []string {
	var found []string
	for s := (scan{text: query}); ; {
		rest := query[s.at:]
		if m := grouping.FindString(rest); m != "" {
			s.at, s.end = s.at+len(m), 0
			continue
		}
		isName := identifier.MatchString(rest) && !operators.MatchString(rest) &&
			!aggregation.MatchString(rest) && !call.MatchString(rest) && !number1.MatchString(rest)
		isBraces := braces.MatchString(rest)
		if !s.next() {
			return found
		}
		if !isName && !isBraces {
			continue
		}
		if m := braces.FindString(strings.TrimLeft(query[s.at:], " \t\n")); isName && m != "" {
			continue // its braces come next, and both are the selector
		}
		if selector := query[s.begin:s.end]; !slices.Contains(found, selector) {
			found = append(found, selector)
		}
	}
}
