package monitoring_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/deploy/monitoring"
	"github.com/ebbtide/ebbtide/deploy/monitoring/catalogue"
	"github.com/ebbtide/ebbtide/e2e/lab/build"
)

var update = flag.Bool("update", false, "write what is written from the rules, the dashboards and the lists of metrics")

const alertsPage = "../../docs/operations/alerts.md"

func rules(t *testing.T) *monitoring.Rules {
	t.Helper()
	r, err := monitoring.ReadRules()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func alerts(t *testing.T) (list []monitoring.Rule) {
	t.Helper()
	for _, g := range rules(t).Groups {
		for _, r := range g.Rules {
			if r.Alert != "" {
				list = append(list, r)
			}
		}
	}
	if len(list) < 12 {
		t.Fatalf("%d alerts, want at least 12", len(list))
	}
	return list
}

// TestWritten: what is written from something else is what it would be now.
func TestWritten(t *testing.T) {
	object, err := rules(t).PrometheusRule()
	if err != nil {
		t.Fatal(err)
	}
	page, err := monitoring.Page()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"prometheusrule.yaml": object, "../../docs/reference/metrics.md": page}
	for _, d := range monitoring.Dashboards() {
		text, err := d.JSON()
		if err != nil {
			t.Fatal(err)
		}
		files["dashboards/"+d.File+".json"] = text
	}
	for path, want := range files {
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o600); err != nil {
				t.Fatal(err)
			}
			continue
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(got), want); diff != "" {
			t.Errorf("%s is stale: run go test ./deploy/monitoring -update (-is +wanted):\n%s", path, diff)
		}
	}
	shipped, err := filepath.Glob("dashboards/*.json")
	if err != nil || len(shipped) != len(files)-2 {
		t.Errorf("%d dashboards are there, want %d (%v)", len(shipped), len(files)-2, err)
	}
}

// TestRulesNameWhatThereIs: every metric, label and listed value in a rule is a program's.
func TestRulesNameWhatThereIs(t *testing.T) {
	r := rules(t)
	known, err := monitoring.NewKnown(r)
	if err != nil {
		t.Fatal(err)
	}
	labels := regexp.MustCompile(`\$labels\.(\w+)`)
	for _, g := range r.Groups {
		for _, rule := range g.Rules {
			for _, problem := range known.Check(rule.Expr) {
				t.Errorf("%s%s: %s", rule.Alert, rule.Record, problem)
			}
			for _, text := range rule.Annotations {
				for _, m := range labels.FindAllStringSubmatch(text, -1) {
					if !strings.Contains(rule.Expr, "by ("+m[1]) {
						t.Errorf("%s: the text has the label %s, by which the expression does not group", rule.Alert, m[1])
					}
				}
			}
		}
	}
}

// TestUnknownNamesAreFound: the check can fail.
func TestUnknownNamesAreFound(t *testing.T) {
	known, err := monitoring.NewKnown(rules(t))
	if err != nil {
		t.Fatal(err)
	}
	for expr, want := range map[string]string{
		`ebbtide_broker_leant_units`:                                   "no program has ebbtide_broker_leant_units",
		`ebbtide_broker_reclaim_seconds`:                               "no program has ebbtide_broker_reclaim_seconds",
		`sum by (le) (rate(ebbtide_broker_reclaim_seconds_bucket[1h])`: "",
		`ebbtide_broker_units{colour="red"}`:                           "ebbtide_broker_units has no label colour",
		`ebbtide_broker_units{state="idle"}`:                           `state of ebbtide_broker_units is never "idle"`,
		`ebbtide_broker_units{state="free",flavor="any"}`:              "",
		`sum by (lender) (ebbtide_broker_units)`:                       "none of its metrics has the label lender",
		`vector(1)`:                                                    "names no metric",
	} {
		if got := strings.Join(known.Check(expr), "; "); got != want {
			t.Errorf("%s: %q, want %q", expr, got, want)
		}
	}
}

// TestAlertsAreComplete: each says how bad it is, what is so, and where it stands what to do.
func TestAlertsAreComplete(t *testing.T) {
	page, err := os.ReadFile(alertsPage)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, a := range alerts(t) {
		names = append(names, a.Alert)
		if s := a.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s: severity %q", a.Alert, s)
		}
		if a.Annotations["summary"] == "" || a.Annotations["description"] == "" {
			t.Errorf("%s: has no summary or no description", a.Alert)
		}
		if want := "https://github.com/ebbtide/ebbtide/blob/main/docs/operations/alerts.md#" + strings.ToLower(a.Alert); a.Annotations["runbook_url"] != want {
			t.Errorf("%s: runbook_url %s, want %s", a.Alert, a.Annotations["runbook_url"], want)
		}
		if !strings.Contains(string(page), "\n## "+a.Alert+"\n") {
			t.Errorf("%s has no section in %s", a.Alert, alertsPage)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^## (Ebbtide\w+)$`).FindAllStringSubmatch(string(page), -1) {
		if !slices.Contains(names, m[1]) {
			t.Errorf("%s says what to do about %s, which is no alert", alertsPage, m[1])
		}
	}
}

// TestPromtool: the rules are valid, and each alert fires and stays calm as its cases say.
func TestPromtool(t *testing.T) {
	bin, err := build.Programs(t.Context(), t.Logf, build.Promtool)
	if err != nil {
		t.Fatal(err)
	}
	promtool := func(args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), filepath.Join(bin, build.Promtool), args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	promtool("check", "rules", "rules.yaml")
	promtool("test", "rules", "rules_test.yaml")

	// A rule of each expression in a dashboard, with a value for what its reader chooses.
	var all monitoring.Rules
	group := monitoring.Group{Name: "dashboards"}
	for _, d := range dashboards(t) {
		for _, p := range d.Panels {
			for i, q := range p.Targets {
				group.Rules = append(group.Rules, monitoring.Rule{Record: fmt.Sprintf("%s:panel%d:%d", strings.ReplaceAll(d.UID, "-", "_"), p.ID, i), Expr: chosen(q.Expr)})
			}
		}
	}
	all.Groups = append(all.Groups, group)
	text, err := yaml.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "dashboards.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool("check", "rules", file)
}

var variable = regexp.MustCompile(`\$\w+`)

func chosen(expr string) string { return variable.ReplaceAllString(expr, "chosen") }

// TestEveryAlertIsTested: there is a case in which it fires, and one in which it does not.
func TestEveryAlertIsTested(t *testing.T) {
	text, err := os.ReadFile("rules_test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Tests []struct {
			Cases []struct {
				Expr    string `json:"expr"`
				Samples []any  `json:"exp_samples"`
			} `json:"promql_expr_test"`
		} `json:"tests"`
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	for _, a := range alerts(t) {
		fires, calm := false, false
		for _, test := range file.Tests {
			for _, c := range test.Cases {
				if strings.Contains(c.Expr, `alertname="`+a.Alert+`"`) {
					fires = fires || len(c.Samples) > 0 && strings.Contains(c.Expr, `alertstate="firing"`)
					calm = calm || len(c.Samples) == 0
				}
			}
		}
		if !fires || !calm {
			t.Errorf("%s: fires in a test %t, stays calm in one %t", a.Alert, fires, calm)
		}
	}
}

// dashboard is what is looked at of one.
type dashboard struct {
	UID           string `json:"uid"`
	Title         string `json:"title"`
	SchemaVersion int    `json:"schemaVersion"`
	Templating    struct {
		List []struct{ Name, Type, Definition string }
	} `json:"templating"`
	Panels []struct {
		ID          int                      `json:"id"`
		Title       string                   `json:"title"`
		Description string                   `json:"description"`
		Datasource  struct{ UID string }     `json:"datasource"`
		GridPos     struct{ X, Y, W, H int } `json:"gridPos"`
		FieldConfig struct {
			Defaults struct{ Unit string }
		} `json:"fieldConfig"`
		Targets []struct {
			Expr       string
			Datasource struct{ UID string }
		}
	} `json:"panels"`
}

func dashboards(t *testing.T) (list []dashboard) {
	t.Helper()
	files, err := filepath.Glob("dashboards/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no dashboards: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		list = append(list, d)
	}
	return list
}

// TestDashboards: every panel says what it shows, in a unit, from the Prometheus that its
// reader chooses, by metrics that there are.
func TestDashboards(t *testing.T) {
	known, err := monitoring.NewKnown(rules(t))
	if err != nil {
		t.Fatal(err)
	}
	values := regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`)
	for _, d := range dashboards(t) {
		names := map[string]bool{}
		for _, v := range d.Templating.List {
			names[v.Name] = true
			if v.Type != "query" {
				continue
			}
			m := values.FindStringSubmatch(v.Definition)
			if m == nil || known[m[1]] == nil {
				t.Errorf("%s: the variable %s reads %s", d.Title, v.Name, v.Definition)
			} else if _, has := known[m[1]][m[2]]; !has && m[2] != "job" {
				t.Errorf("%s: the variable %s: %s has no label %s", d.Title, v.Name, m[1], m[2])
			}
		}
		if !names["datasource"] || d.SchemaVersion < 41 || len(d.Panels) < 4 {
			t.Errorf("%s: datasource to choose %t, schemaVersion %d, %d panels", d.Title, names["datasource"], d.SchemaVersion, len(d.Panels))
		}
		for _, p := range d.Panels {
			where := d.Title + ", " + p.Title
			if p.Title == "" || p.Description == "" || p.FieldConfig.Defaults.Unit == "" || p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
				t.Errorf("%s: has no title, description, unit, query or variable datasource", where)
			}
			if p.GridPos.X+p.GridPos.W > 24 || p.GridPos.W == 0 || p.GridPos.H == 0 {
				t.Errorf("%s: stands at %v", where, p.GridPos)
			}
			for _, q := range p.Targets {
				if q.Datasource.UID != "${datasource}" {
					t.Errorf("%s: a query reads %s", where, q.Datasource.UID)
				}
				for _, problem := range known.Check(q.Expr) {
					// What is chosen is one of the listed values, or all.
					if !strings.Contains(problem, "is never \"$") {
						t.Errorf("%s: %s", where, problem)
					}
				}
				for _, m := range variable.FindAllString(q.Expr, -1) {
					if !names[m[1:]] {
						t.Errorf("%s: there is no variable %s", where, m)
					}
				}
			}
		}
	}
}

// TestPagesNameWhatThereIs: every metric that a page names is one that a program has.
func TestPagesNameWhatThereIs(t *testing.T) {
	known, err := monitoring.NewKnown(rules(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, program := range catalogue.Programs { // pages name histograms as wholes
		list, err := catalogue.Of(program)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range list {
			known[m.Name] = map[string][]string{}
		}
	}
	name := regexp.MustCompile("[`( ](ebbtide_(?:broker|ledger|queue|loan|lendable|agent|scheduler)_[a-z_]+[a-z])")
	named := 0
	err = filepath.WalkDir("../../docs", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".md" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range name.FindAllStringSubmatch(string(text), -1) {
			named++
			if known[m[1]] == nil {
				t.Errorf("%s names %s, which no program has", path, m[1])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if named < 60 {
		t.Errorf("%d names were found, want at least 60", named)
	}
}

// TestComponent: the component has the rules, and a ConfigMap with each dashboard that
// Grafana's sidecar finds.
func TestComponent(t *testing.T) {
	folder := t.TempDir()
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	relative, err := filepath.Rel(folder, here)
	if err != nil {
		t.Fatal(err)
	}
	text := "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\ncomponents: [" + relative + "]\n"
	if err := os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	objects, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, o := range objects.Resources() {
		kinds[o.GetKind()]++
		if data := o.GetDataMap(); o.GetKind() == "ConfigMap" && (o.GetLabels()["grafana_dashboard"] != "1" || len(data) != len(monitoring.Dashboards())) {
			t.Errorf("the ConfigMap has the labels %v and %d dashboards", o.GetLabels(), len(data))
		}
	}
	if diff := cmp.Diff(map[string]int{"ConfigMap": 1, "PrometheusRule": 1}, kinds); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
}
