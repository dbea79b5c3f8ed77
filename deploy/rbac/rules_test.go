package rbac_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/deploy/rbac"
	"github.com/ebbtide/ebbtide/e2e/arch"
)

const page = "../../docs/security/roles.md"

// row is a line of the page's tables.
type row struct {
	rule rbac.Rule
	test string
}

// documented reads the page.
func documented(t *testing.T) (rows []row, bindings []rbac.Binding) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	role := ""
	for _, line := range strings.Split(string(text), "\n") {
		if title, found := strings.CutPrefix(line, "### "); found {
			role = title
		}
		if strings.HasPrefix(line, "## ") {
			role = ""
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| Resource") || strings.HasPrefix(line, "| Subject"):
		case role != "" && len(cells) == 4:
			rows = append(rows, row{
				rbac.Rule{Role: role, Resource: strings.Trim(cells[0], "`"), Verbs: strings.Split(cells[1], ", ")}, strings.Trim(cells[3], "`"),
			})
		case len(cells) == 3:
			b := rbac.Binding{Subject: cells[0], Role: cells[1], In: cells[2]}
			if b.In == "everywhere" {
				b.In = ""
			}
			bindings = append(bindings, b)
		default:
			t.Errorf("%s: cannot read %q", page, line)
		}
	}
	return rows, bindings
}

// What is granted is what is documented, verb for verb.
func TestRolesAreThePage(t *testing.T) {
	stream := rendered(t)
	rules, err := rbac.Rules(stream)
	if err != nil {
		t.Fatal(err)
	}
	bindings, err := rbac.Bindings(stream)
	if err != nil {
		t.Fatal(err)
	}
	rows, bound := documented(t)
	var said []rbac.Rule
	for _, r := range rows {
		said = append(said, r.rule)
	}
	if len(rules) < 80 || len(bindings) < 10 {
		t.Fatalf("only %d rules and %d bindings were rendered", len(rules), len(bindings))
	}
	if diff := cmp.Diff(said, rules); diff != "" {
		t.Errorf("the roles are not those of %s (-page +rendered):\n%s", page, diff)
	}
	if diff := cmp.Diff(bound, bindings); diff != "" {
		t.Errorf("the bindings are not those of %s (-page +rendered):\n%s", page, diff)
	}
}

// Whatever the page says, no account of Ebbtide may have these.
func TestNoRoleHasTooMuch(t *testing.T) {
	rules, err := rbac.Rules(rendered(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, wrong := range tooMuch(rules) {
		t.Error(wrong)
	}
	for name, rule := range map[string]rbac.Rule{
		"a wildcard of verbs":     {Role: "ClusterRole ebbtide-broker", Resource: "pods", Verbs: []string{"*"}},
		"a wildcard of resources": {Role: "ClusterRole ebbtide-broker", Resource: "*", Verbs: []string{"get"}},
		"Secrets":                 {Role: "ClusterRole ebbtide-broker", Resource: "secrets", Verbs: []string{"get"}},
		"making pods":             {Role: "ClusterRole ebbtide-broker", Resource: "pods", Verbs: []string{"create"}},
		"binding pods":            {Role: "ClusterRole ebbtide-broker", Resource: "pods/binding", Verbs: []string{"create"}},
		"impersonating":           {Role: "ClusterRole ebbtide-agent", Resource: "users", Verbs: []string{"impersonate"}},
		"escalating":              {Role: "ClusterRole ebbtide-agent", Resource: "clusterroles.rbac.authorization.k8s.io", Verbs: []string{"escalate"}},
		"changing its policies":   {Role: "ClusterRole ebbtide-broker", Resource: "validatingadmissionpolicies.admissionregistration.k8s.io", Verbs: []string{"patch"}},
		"moving namespaces":       {Role: "ClusterRole ebbtide-broker", Resource: "namespaces", Verbs: []string{"update"}},
	} {
		if len(tooMuch([]rbac.Rule{rule})) == 0 {
			t.Errorf("%s would pass", name)
		}
	}
}

// tooMuch is what no account may have.
func tooMuch(rules []rbac.Rule) (wrong []string) {
	writes := []string{"create", "update", "patch", "delete", "deletecollection"}
	reading := regexp.MustCompile(`^(namespaces|nodes|resourcequotas|limitranges)$|^(priorityclasses\.scheduling|.*\.(admissionregistration|rbac\.authorization))\.k8s\.io`)
	for _, r := range rules {
		has := func(verbs ...string) bool {
			return slices.ContainsFunc(verbs, func(v string) bool { return slices.Contains(r.Verbs, v) })
		}
		bad := func(why string) {
			wrong = append(wrong, r.Role+" "+r.Resource+" "+strings.Join(r.Verbs, ", ")+": "+why)
		}
		plural, _, _ := strings.Cut(r.Resource, ".")
		switch {
		case has("*"), strings.HasPrefix(r.Resource, "*") && !strings.HasSuffix(r.Resource, ".metrics.k8s.io"):
			bad("a wildcard")
		case has("impersonate", "escalate", "bind"):
			bad("a way to other rights")
		case plural == "secrets", strings.HasPrefix(r.Resource, "serviceaccounts/token"):
			bad("credentials")
		case reading.MatchString(r.Resource) && has(writes...):
			bad("only to be read")
		case r.Resource == "pods" && has("create", "update"), r.Resource == "pods/binding", r.Resource == "pods/exec":
			bad("pods are made by others")
		}
	}
	return wrong
}

// Every test that the page names exists, in a package of that name.
func TestThePageNamesTests(t *testing.T) {
	tests, err := arch.Tests("../..")
	if err != nil {
		t.Fatal(err)
	}
	rows, _ := documented(t)
	for _, r := range rows {
		if !tests[r.test] {
			t.Errorf("%s, %s: there is no %s", r.rule.Role, r.rule.Resource, r.test)
		}
	}
}
