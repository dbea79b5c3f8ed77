package monitoring

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ebbtide/ebbtide/deploy/monitoring/catalogue"
)

// open are the labels whose values nobody has listed, with what bounds their number.
var open = map[string]string{
	"flavor":          "flavors of TenantQuotas",
	"lender":          "LendingPolicies, as `namespace/name`",
	"tenant":          "TenantQuotas; `cohort:NAME` for those without namespaces",
	"queue":           "TrainingQueues",
	"queue_namespace": "namespaces with TrainingQueues or Loans",
	"resource":        "resources of flavors",
	"head":            "1: the ledger's last entry, `sequence:hash`",
	"id":              "1: the ledger's own name",
}

// openOf are labels that are open in one metric, and listed in others.
var openOf = map[string]map[string]string{
	"ebbtide_broker_lender_verdict": {"reason": "1 of [a lender's reasons](events.md) for each lender"},
}

// release is that in which a metric came, of those that are not of the first.
var release = map[string]string{}

// firstRelease is that of the others.
const firstRelease = "0.1.0"

// units of names by how they end; the first that fits counts.
var units = []struct{ suffix, unit string }{
	{"_timestamp_seconds", "seconds since 1970"},
	{"_unit_seconds_total", "unit-seconds"},
	{"_seconds", "seconds"},
	{"_units", "units"},
	{"_ratio", "1 is all"},
	{"_growth", "factor"},
	{"_dispersion", "ratio"},
	{"_verdict", "always 1"},
	{"_info", "always 1"},
	{"_state", "0 or 1"},
	{"_refused", "0 or 1"},
	{"_sequence", "number of an entry"},
	{"_head", "48 bits of a hash"},
}

func unitOf(name string) string {
	for _, u := range units {
		if strings.HasSuffix(name, u.suffix) {
			return u.unit
		}
	}
	words := strings.Split(strings.TrimSuffix(name, "_total"), "_")
	return words[len(words)-1]
}

// titles of the page's parts.
var titles = map[string]string{
	"broker":    "The broker",
	"scheduler": "The scheduler",
	"agent":     "The agents",
}

var intros = map[string]string{
	"broker":    "At `metrics.bindAddress` (port 8081). What a decision finds is shown for three intervals between decisions, and at least a minute; after that it is not known any more, and absent. Of several brokers the one that leads has it.",
	"scheduler": "At its HTTPS port (10259), beside kube-scheduler's own.",
	"agent":     "At `--listen` (port 9470), of each node on its own.",
}

// Page is docs/reference/metrics.md.
func Page() (string, error) {
	var b strings.Builder
	b.WriteString(`# Metrics

Written from the programs' own metrics by ` + "`go test ./deploy/monitoring -update`" + `; a test of each program fails when this page is stale.

All are served by HTTPS to those who may get ` + "`/metrics`" + ` ([who may ask](../security/access.md)). The broker has those of controller-runtime and client-go besides, such as ` + "`rest_client_requests_total`" + `, and all have Go's. [Alerts](../operations/alerts.md) says what to be told of, and ` + "`deploy/monitoring`" + ` has rules and dashboards.

The number of series is bounded by objects that administrators and owners of services and queues write: no label has the name of a pod or a job.
`)
	for _, program := range catalogue.Programs {
		list, err := catalogue.Of(program)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| metric | type | unit | labels | what it says | since |\n|---|---|---|---|---|---|\n", titles[program], intros[program])
		for i := range list {
			if m := &list[i]; strings.HasPrefix(m.Name, "ebbtide_") {
				since := release[m.Name]
				if since == "" {
					since = firstRelease
				}
				fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", m.Name, m.Type, unitOf(m.Name), labelsOf(m), m.Help, since)
			}
		}
	}
	b.WriteString("\n## Labels\n\n| label | as many values as |\n|---|---|\n")
	for _, label := range slices.Sorted(maps.Keys(open)) {
		fmt.Fprintf(&b, "| `%s` | %s |\n", label, open[label])
	}
	b.WriteString("\nAny other label has the values that stand beside it above.\n")
	return b.String(), nil
}

// labelsOf are a metric's labels, each with its values or, where they are open, without.
func labelsOf(m *catalogue.Metric) string {
	var texts []string
	for _, label := range slices.Sorted(maps.Keys(m.Labels)) {
		text := "`" + label + "`"
		switch {
		case openOf[m.Name][label] != "":
			text += " (" + openOf[m.Name][label] + ")"
		case open[label] == "":
			text += " (" + strings.Join(m.Labels[label], ", ") + ")"
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, ", ")
}
